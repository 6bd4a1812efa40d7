"""How fast is the rule? Ratios measured in one run: `make bench`, or `python benchmarks/bench.py`.

Every implementation lives in a process of its own and is asked for one piece of work after another,
in interleaved rounds, so that a machine that slows down slows all of them. The median of the rounds
counts. The dense eager step of this project is 1.0.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

from reference import CHANNELS, FLOP_PER_CELL, HIDDEN, SIZE, STEPS, WORKS

HERE = Path(__file__).resolve().parent
SIZES = (28, 56, 112, 224, 448)
# Large temporaries make glibc map and unmap pages at every step, which costs the dense step most:
# every implementation runs with a heap that stays warm.
WARM_HEAP = {"MALLOC_MMAP_THRESHOLD_": str(2**30), "MALLOC_TRIM_THRESHOLD_": str(2**30)}
TARGETS = {  # (implementation, work): at least this ratio
    ("sparse", "training, batch 8"): 5, ("sparse", "training, batch 32"): 5,
    ("sparse", "rollout, batch 32"): 5, ("sparse", "rollout, batch 1"): 2,
    ("compiled", "training, batch 8"): 9, ("compiled", "training, batch 32"): 9,
    ("compiled", "rollout, batch 32"): 15, ("compiled", "rollout, batch 1"): 12,
}  # fmt: skip


class Worker:
    """A process that answers JSON lines."""

    def __init__(self, *command: str, threads: int = 1):
        env = os.environ | WARM_HEAP | {"OMP_NUM_THREADS": str(threads)}
        env["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
        self.process = subprocess.Popen(
            command, cwd=HERE, env=env, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip

    @classmethod
    def ours(cls, name: str, threads: int = 1) -> Worker:
        return cls(sys.executable, "worker.py", name, str(threads), threads=threads)

    def ask(self, **job) -> dict:
        self.process.stdin.write(json.dumps(job) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.process.args} stopped with {self.process.wait()}")
        return json.loads(line)

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()


def peers() -> tuple[dict[str, Worker], dict[str, str]]:
    """The peers that can run here, and what became of the others."""
    absent = {"NCALab": "its package was not to be had from the package index used"}
    python = HERE.parent / ".venv-peers" / "bin" / "python"
    if not python.exists():
        return {}, absent | {"CAX": "no .venv-peers: its packages could not be installed"}
    worker = Worker(str(python), "peer_cax.py")
    try:
        worker.ask(what="rollout", batch=1)
    except (RuntimeError, BrokenPipeError) as error:
        return {}, absent | {"CAX": f"it does not run here ({error})"}
    return {"CAX 0.3.3": worker}, absent


def one_thread(rounds: int) -> dict:
    """Microseconds a step and sample of every implementation and work, and ratios to dense."""
    ours = {name: Worker.ours(name) for name in ("dense", "sparse", "compiled")}
    others, absent = peers()
    gemm = ours["dense"].ask(what="rollout", batch=1, gemm=True)
    counts = {}
    times: dict[str, dict[str, list[float]]] = {}
    for number in range(rounds):
        for work, (what, batch) in WORKS.items():
            counts[work] = ours["dense"].ask(what="rollout", batch=batch, count=True)
            row = times.setdefault(work, {})
            repeats = 5 if batch == 1 else 1
            for name, worker in ours.items():
                answer = worker.ask(what=what, batch=batch, warm_up=number == 0, repeats=repeats)
                row.setdefault(name, []).append(answer["seconds"])
            for name, worker in others.items():
                if number < 2 and (what == "rollout" or batch == 8):  # they take long
                    answer = worker.ask(what=what, batch=batch, warm_up=number == 0)
                    row.setdefault(name, []).append(answer["seconds"])
        print(f"round {number + 1} of {rounds}", file=sys.stderr)
    for worker in [*ours.values(), *others.values()]:
        worker.close()
    table = {}
    for work, row in times.items():
        what, batch = WORKS[work]
        dense = statistics.median(row["dense"])
        flop = counts[work]["acting_cells"] * FLOP_PER_CELL * (3 if what == "training" else 1)
        table[work] = {
            name: {
                "microseconds": statistics.median(seconds) * 1e6 / batch / STEPS,
                "ratio": dense / statistics.median(seconds),
                "gflops": flop / statistics.median(seconds) / 1e9,
                "share_of_gemm": flop / statistics.median(seconds) / 1e9 / gemm["square"],
                "rounds": seconds,
            }
            for name, seconds in row.items()
        }
    alive = counts["rollout, batch 1"]["alive_share"]
    return {"works": table, "gemm_gflops": gemm, "absent": absent, "alive_share": alive}


def two_threads(rounds: int) -> dict:
    """One thread against two, at batch 32."""
    workers = {(n, k): Worker.ours(n, k) for n in ("sparse", "compiled") for k in (1, 2)}
    results = {}
    for what in ("training", "rollout"):
        times = {key: [] for key in workers}
        for number in range(rounds):
            for key, worker in workers.items():
                answer = worker.ask(what=what, batch=32, warm_up=number == 0)
                times[key].append(answer["seconds"])
        for name in ("sparse", "compiled"):
            one, two = (statistics.median(times[name, k]) for k in (1, 2))
            results[f"{name}, {what}"] = one / two
    for worker in workers.values():
        worker.close()
    return results


def memory() -> dict:
    """MiB that a training iteration, batch 32, takes beyond what the process held before."""
    results = {}
    for name in ("dense", "sparse", "compiled"):
        worker = Worker.ours(name)
        before = worker.ask(what="training", batch=1, warm_up=1)["peak_mib"]
        results[name] = worker.ask(what="training", batch=32)["peak_mib"] - before
        worker.close()
    return results


def growth_of_cost() -> dict:
    """Microseconds and MiB a step on growing grids, with as many living cells, and with more."""
    results = {}
    for living in ("the same cells alive", "35 % of the grid alive"):
        for name in ("dense", "sparse", "compiled"):
            rows = []
            for size in SIZES:
                worker = Worker.ours(name)
                job = {"what": "rollout", "batch": 1, "size": size}
                job["living"] = SIZE if living.startswith("the same") else size
                before = worker.ask(**job | {"size": SIZE, "living": SIZE, "steps": 2})["peak_mib"]
                answer = worker.ask(**job, steps=STEPS, warm_up=1, repeats=3 if size < 224 else 1)
                rows.append(
                    {
                        "size": size,
                        "microseconds": answer["seconds"] * 1e6 / STEPS,
                        "mib": answer["peak_mib"] - before,
                    }
                )
                worker.close()
            results[f"{name}, {living}"] = rows
        print(f"growth of cost: {living}", file=sys.stderr)
    worker = Worker.ours("compiled")
    long = {"what": "rollout", "batch": 1}
    peaks = [worker.ask(**long, steps=steps)["peak_mib"] for steps in (100, 1000, 10_000)]
    worker.close()
    results["long rollouts, peak MiB after 100, 1,000 and 10,000 steps"] = peaks
    return results


def processes() -> dict:
    """Iterations a second of `finetune`, one thread a process, by processes and batch."""
    rates = {}
    for count, batch in ((1, 16), (2, 16), (2, 32)):
        with tempfile.TemporaryDirectory() as out:
            launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count)]
            arguments = f"-m nca_lib finetune --merge scratch --iterations 75 --batch-size {batch}"
            subprocess.run(
                [sys.executable, *(launch if count > 1 else []), *arguments.split(), "--out", out,
                 "--data-root", "embedded"],
                env=os.environ | WARM_HEAP | {"OMP_NUM_THREADS": "1"}, check=True,
                capture_output=True,
            )  # fmt: skip
            lines = (Path(out) / "unified.jsonl").read_text().splitlines()
        records = {r["iteration"]: r["seconds"] for r in map(json.loads, lines)}
        rates[f"{count} x, batch {batch}"] = 50 / (records[75] - records[25])
    return rates


def machine() -> dict:
    import torch

    name = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next((line.split(": ")[1] for line in lines if line.startswith("model name")), name)
    return {
        "date": date.today().isoformat(),
        "processor": name,
        "cores": os.cpu_count(),
        "system": platform.system(),
        "python": platform.python_version(),
        "pytorch": torch.__version__,
    }


def report(results: dict) -> str:
    """The results as Markdown, with each target and whether it was reached."""
    m, one = results["machine"], results["one_thread"]
    names = list(one["works"]["rollout, batch 1"])
    lines = [
        f"{m['processor']}, {m['system']}, PyTorch {m['pytorch']}, {m['date']}. One thread, "
        f"{one['alive_share']:.0%} of the grid alive, {SIZE} x {SIZE} cells, {CHANNELS} channels, "
        f"{3 * CHANNELS} -> {HIDDEN} -> {CHANNELS}, {STEPS} steps; the dense eager step is 1.0.",
        "",
        "| ratio (GFLOP/s, share of GEMM rate) | " + " | ".join(names) + " |",
        "| --- |" + " --- |" * len(names),
    ]
    for work, row in one["works"].items():
        cells = []
        for name in names:
            if name not in row:
                cells.append("")
                continue
            cell = f"{row[name]['ratio']:.2g}" if row[name]["ratio"] < 1 else (
                f"{row[name]['ratio']:.1f}"
            )  # fmt: skip
            cell += f" ({row[name]['gflops']:.1f}, {row[name]['share_of_gemm']:.0%})"
            target = TARGETS.get((name, work))
            if target and row[name]["ratio"] < target:
                cell += f" **target {target}**"
            cells.append(cell)
        lines.append(f"| {work} | " + " | ".join(cells) + " |")
    gemm = one["gemm_gflops"]
    lines += [
        "",
        f"GEMM rate of one thread: {gemm['square']:.0f} GFLOP/s (1024 x 1024 x 1024), "
        f"{gemm['layer']:.0f} in the hidden layer's shape (4096 x 48 x 128).",
        "Two threads against one, batch 32: "
        + ", ".join(f"{k} {v:.2f}x" for k, v in results["two_threads"].items())
        + ".",
        "Memory of a training iteration, batch 32: "
        + ", ".join(f"{k} {v:.0f} MiB" for k, v in results["memory"].items())
        + ".",
        "Iterations a second of the real training loop, by processes and batch: "
        + ", ".join(f"{k} {v:.2f}" for k, v in results["processes"].items())
        + ".",
        f"Of an iteration (batch 16), {results['loop']['overhead']:.1%} is neither growing nor "
        "learning: "
        + ", ".join(f"{k} {v:.1%}" for k, v in results["loop"]["shares"].items())
        + ".",
        *(f"{name} was not measured: {why}." for name, why in one["absent"].items()),
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=HERE / "results.json")
    arguments = parser.parse_args()
    started = time.perf_counter()
    results = {"machine": machine()}
    results["one_thread"] = one_thread(arguments.rounds)
    results["two_threads"] = two_threads(arguments.rounds)
    results["memory"] = memory()
    results["processes"] = processes()
    results["growth_of_cost"] = growth_of_cost()
    results["loop"] = json.loads(
        subprocess.run(
            [sys.executable, "loop.py"], cwd=HERE, check=True, capture_output=True, text=True
        ).stdout
    )
    results["seconds"] = round(time.perf_counter() - started)
    arguments.out.write_text(json.dumps(results, indent=1) + "\n")
    text = report(results)
    arguments.out.with_suffix(".md").write_text(text + "\n")
    print(text)
    subprocess.run([sys.executable, "figure.py", str(arguments.out)], cwd=HERE, check=True)


if __name__ == "__main__":
    main()
