"""Draw `results.json`: speed beside the dense step, and cost against the size of the grid."""

import json
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

COLOURS = {"dense": "#8c8c8c", "sparse": "#56b4e9", "compiled": "#0072b2", "CAX 0.3.3": "#d55e00"}
MARKERS = {"dense": "s", "sparse": "^", "compiled": "o"}


def speed(axes, works: dict) -> None:
    shown = [w for w in works if w != "rollout, batch 8"]
    names = list(works["rollout, batch 1"])
    height = 0.8 / len(names)
    for k, name in enumerate(names):
        for row, work in enumerate(shown):
            if name not in works[work]:
                continue
            ratio = works[work][name]["ratio"]
            y = row + (k - (len(names) - 1) / 2) * height
            axes.barh(y, ratio, height * 0.9, color=COLOURS[name], label=name if row == 2 else None)
            text = f"{ratio:.2g}" if ratio < 1 else f"{ratio:.1f}"
            axes.text(ratio + 0.3, y, text, va="center", fontsize=8)
    axes.set_yticks(range(len(shown)), shown)
    axes.invert_yaxis()
    axes.set_xlabel("times as fast as the dense step (one thread)")
    axes.legend(frameon=False, loc="lower right")
    axes.set_title("Speed", loc="left")


def growth(axes, rows: dict, living: str, key: str, title: str, label: str) -> None:
    for name in ("dense", "sparse", "compiled"):
        points = rows[f"{name}, {living}"]
        axes.plot(
            [p["size"] ** 2 for p in points], [max(p[key], 0.05) for p in points],
            color=COLOURS[name], marker=MARKERS[name], label=name,
        )  # fmt: skip
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("cells in the grid")
    axes.set_ylabel(label)
    axes.set_title(title, loc="left")


def main() -> None:
    path = Path(sys.argv[1])
    results = json.loads(path.read_text())
    plt.rcParams.update({"font.size": 10, "axes.spines.top": False, "axes.spines.right": False})
    figure, axes = plt.subplots(
        1, 3, figsize=(14, 4.4), layout="constrained", width_ratios=[1.3, 1, 1]
    )
    speed(axes[0], results["one_thread"]["works"])
    same, share = "the same cells alive", "35 % of the grid alive"
    rows = results["growth_of_cost"]
    growth(
        axes[1], rows, same, "microseconds", "As many living cells, more empty ones", "µs a step"
    )
    growth(axes[2], rows, share, "microseconds", "More living cells too (35 %)", "µs a step")
    top = axes[2].get_ylim()
    axes[1].set_ylim(top)
    axes[1].legend(frameon=False, loc="upper left")
    figure.savefig(path.with_name("benchmarks.png"), dpi=130)


if __name__ == "__main__":
    main()
