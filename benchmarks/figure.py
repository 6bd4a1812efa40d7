"""Draw `results.json`: speed compared with the dense step, and cost by size of the grid."""

import json
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

COLOURS = ["#8c8c8c", "#56b4e9", "#0072b2", "#d55e00", "#e69f00", "#009e73"]
OURS = {"dense": "s", "sparse": "^", "compiled": "o"}  # with their markers
FLOOR = {"microseconds": 0, "mib": 0.1}  # less memory than this is not measurable


def speed(axes, works: dict) -> None:
    """A bar for every implementation, in groups by work."""
    names = list(works["rollout, batch 1"])
    height = 0.85 / len(names)
    for k, name in enumerate(names):
        places = [i + (k - (len(names) - 1) / 2) * height for i in range(len(works))]
        ratios = [row[name]["ratio"] if name in row else 0 for row in works.values()]
        axes.barh(places, ratios, height * 0.9, color=COLOURS[k], label=name)
        for place, ratio in zip(places, ratios, strict=True):
            text = f"{ratio:.{1 if ratio >= 1 else 2}f}" if ratio else ""
            axes.text(ratio + 0.2, place, text, va="center", fontsize=7.5)
    axes.set_yticks(range(len(works)), [work.replace(", ", "\n") for work in works])
    axes.set_ylim(len(works) - 0.5, -0.5)
    axes.set_xlabel("times as fast as the dense step, one thread")
    axes.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.1), ncols=3)
    axes.set_title("Speed", loc="left")


def growth(axes, rows: dict, living: str, key: str) -> None:
    """Cost of a step against the cells of the grid, on logarithmic axes."""
    for (name, marker), colour in zip(OURS.items(), COLOURS, strict=False):
        points = rows[f"{name}, {living}"]
        axes.plot(
            [p["size"] ** 2 for p in points], [max(p[key], FLOOR[key]) for p in points],
            color=colour, marker=marker, markersize=5, label=name,
        )  # fmt: skip
    axes.set(xscale="log", yscale="log")
    axes.set_xticks([28**2, 112**2, 448**2], ["28²", "112²", "448²"])
    axes.minorticks_off()


def main() -> None:
    path = Path(sys.argv[1])
    results = json.loads(path.read_text())
    plt.rcParams.update({"font.size": 10, "axes.spines.top": False, "axes.spines.right": False})
    figure = plt.figure(figsize=(13, 7), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=[1, 1.1])
    speed(left.subplots(), results["one_thread"]["works"])
    axes = right.subplots(2, 2, sharex=True, sharey="row")
    rows = results["growth_of_cost"]
    titles = {
        "the same cells alive": "Grid grows, tissue does not",
        "35 % of the grid alive": "Both grow (35 % alive)",
    }
    for column, (living, title) in enumerate(titles.items()):
        for row, key in enumerate(("microseconds", "mib")):
            growth(axes[row, column], rows, living, key)
        axes[0, column].set_title(title, loc="left")
        axes[1, column].set_xlabel("cells in the grid")
    axes[0, 0].set_ylabel("µs a step")
    axes[1, 0].set_ylabel("MiB beyond a small rollout's")
    axes[0, 0].legend(frameon=False, loc="upper left")
    figure.savefig(path.with_name("benchmarks.png"), dpi=130)


if __name__ == "__main__":
    main()
