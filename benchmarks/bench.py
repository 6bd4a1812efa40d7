"""How fast is a model? Ratios measured in one run: `make bench`, or `python benchmarks/bench.py`.

Every implementation has a process of its own and gets one piece of work after another, in
interleaved rounds, so that a slow phase of the machine slows all of them. The measure is processor
time, the median of the rounds; the dense eager step of this project is 1.0.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from datetime import date
from importlib.metadata import version
from pathlib import Path
from statistics import median

from pipe import HERE, PEERS, WARM_HEAP, Worker
from reference import CHANNELS, FLOP_PER_CELL, HIDDEN, SIZE, STEPS, WORKS

OURS = ("dense", "sparse", "compiled")
OTHERS = {
    "CAX 0.4.4": "peer_cax.py",
    "NCALab 0.5.1": "peer_ncalab.py",
    "neural-ca 0.1.1": "peer_neural_ca.py",
}
OTHERS_ROUNDS = 2  # they are slow
GRIDS = (28, 56, 112, 224, 448)
ONE_THREAD = WARM_HEAP | {"OMP_NUM_THREADS": "1"}
TARGETS = {  # (implementation, work): at least this ratio
    ("sparse", "training, batch 8"): 5, ("sparse", "training, batch 32"): 5,
    ("sparse", "rollout, batch 32"): 5, ("sparse", "rollout, batch 1"): 2,
    ("compiled", "training, batch 8"): 9, ("compiled", "training, batch 32"): 9,
    ("compiled", "rollout, batch 32"): 15, ("compiled", "rollout, batch 1"): 12,
}  # fmt: skip


def report_progress(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def peers() -> tuple[dict[str, Worker], dict[str, str]]:
    """The peers that can run here, and what became of the others."""
    if not (PEERS / "bin" / "python").exists():
        return {}, dict.fromkeys(OTHERS, "there is no .venv-peers")
    there, absent = {}, {}
    for name, script in OTHERS.items():
        worker = Worker.peer(script)
        try:
            worker.ask(what="rollout", batch=1)
            there[name] = worker
        except RuntimeError as error:
            absent[name] = str(error)
            worker.close()
    return there, absent


def one_thread(rounds: int) -> dict:
    """Microseconds per step and sample of every implementation and work; ratios to dense."""
    workers = {name: Worker.ours(name) for name in OURS}
    others, absent = peers()
    gemm = workers["dense"].ask(what="gemm")
    counts = {
        work: workers["dense"].ask(what="count", batch=batch) for work, (_, batch) in WORKS.items()
    }
    workers |= others
    answers = {work: {name: [] for name in workers} for work in WORKS}
    for number in range(rounds):
        for work, (what, batch) in WORKS.items():
            for name, worker in workers.items():
                if name in others and number >= OTHERS_ROUNDS:
                    continue
                job = {"what": what, "batch": batch, "repeats": 5 if batch == 1 else 1}
                answers[work][name].append(worker.ask(**job, warm_up=number == 0))
        report_progress(f"round {number + 1} of {rounds}")
    for worker in workers.values():
        worker.close()
    table = {}
    for work, (what, batch) in WORKS.items():
        flop = counts[work]["acting_cells"] * FLOP_PER_CELL * (3 if what == "training" else 1)
        seconds = {n: [a["busy"] for a in given] for n, given in answers[work].items()}
        table[work] = {
            name: {
                "microseconds": median(values) * 1e6 / batch / STEPS,
                "ratio": median(seconds["dense"]) / median(values),
                "gflops": flop / median(values) / 1e9,
                "share_of_gemm": flop / median(values) / 1e9 / gemm["square"],
                "rounds": values,
            }
            for name, values in seconds.items()
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
            results[f"{name}, {what}"] = median(times[name, 1]) / median(times[name, 2])
    for worker in workers.values():
        worker.close()
    return results


def memory() -> dict:
    """MiB that a training iteration, batch 32, takes beyond what the process held before."""
    results = {}
    for name in OURS:
        worker = Worker.ours(name)
        before = worker.ask(what="training", batch=1, warm_up=1)["peak_mib"]
        results[name] = worker.ask(what="training", batch=32)["peak_mib"] - before
        worker.close()
    return results


def growth_of_cost() -> dict:
    """Microseconds and MiB per step on growing grids, with as many living cells, and with more."""
    job, small = {"what": "rollout", "batch": 1}, {"size": SIZE, "living": SIZE, "steps": 2}
    results = {}
    for living in ("the same cells alive", "35 % of the grid alive"):
        for name in OURS:
            rows = results[f"{name}, {living}"] = []
            for size in GRIDS:
                worker, repeats = Worker.ours(name), 3 if size < 224 else 1
                before = worker.ask(**job, **small)["peak_mib"]
                answer = worker.ask(
                    **job, size=size, living=SIZE if living.startswith("the same") else size,
                    warm_up=1, repeats=repeats,
                )  # fmt: skip
                worker.close()
                microseconds, mib = answer["busy"] * 1e6 / STEPS, answer["peak_mib"] - before
                rows.append({"size": size, "microseconds": microseconds, "mib": mib})
        report_progress(f"growth of cost: {living}")
    worker = Worker.ours("compiled")
    peaks = [worker.ask(**job, steps=steps)["peak_mib"] for steps in (100, 1000, 10_000)]
    worker.close()
    return results | {"long rollouts, peak MiB after 100, 1,000 and 10,000 steps": peaks}


def script(*command: str) -> str:
    """What one of our commands prints, on one thread."""
    return subprocess.run(
        [sys.executable, *command], cwd=HERE, env=os.environ | ONE_THREAD, check=True,
        stdout=subprocess.PIPE, text=True,
    ).stdout  # fmt: skip


def processes() -> dict:
    """Iterations per second of `finetune`, one thread per process, by processes and batch."""
    rates = {}
    for count, batch in ((1, 16), (2, 16), (2, 32)):
        launch = f"-m torch.distributed.run --standalone --nproc-per-node {count}".split()
        arguments = f"-m nca_lib finetune --merge scratch --iterations 75 --batch-size {batch}"
        with tempfile.TemporaryDirectory() as out:
            files = ("--out", out, "--data-root", "embedded")
            script(*(launch if count > 1 else []), *arguments.split(), *files)
            lines = (Path(out) / "unified.jsonl").read_text().splitlines()
        records = {r["iteration"]: r["seconds"] for r in map(json.loads, lines)}
        rates[f"{count} x, batch {batch}"] = 50 / (records[75] - records[25])
    return rates


def machine() -> dict:
    name = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next((line.split(": ")[1] for line in lines if line.startswith("model name")), name)
    return {
        "date": date.today().isoformat(),
        "processor": name,
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0,  # what others do here
        "system": platform.system(),
        "python": platform.python_version(),
        "pytorch": version("torch"),
    }


def listed(numbers: dict, form: str) -> str:
    return ", ".join(f"{name} {format(value, form)}" for name, value in numbers.items())


def cell(work: str, name: str, row: dict) -> str:
    """One measurement: ratio, arithmetic, and the target where it was missed."""
    if name not in row:
        return ""
    ratio, share = row[name]["ratio"], row[name]["share_of_gemm"]
    text = f"{ratio:.{1 if ratio >= 1 else 2}f} ({row[name]['gflops']:.1f}, {share:.0%})"
    target = TARGETS.get((name, work), 0)
    return text if ratio >= target else f"{text} **target {target}**"


def speed_table(machine: dict, one: dict) -> list[str]:
    """Every implementation compared with the dense step, on one thread."""
    names = list(one["works"]["rollout, batch 1"])
    lines = [
        f"{machine['processor']}, {machine['system']}, PyTorch {machine['pytorch']}, "
        f"{machine['date']}. One thread, {one['alive_share']:.0%} of the grid alive, "
        f"{SIZE} x {SIZE} cells, {CHANNELS} channels, {3 * CHANNELS} -> {HIDDEN} -> {CHANNELS}, "
        f"{STEPS} steps; the dense eager step is 1.0.",
        "",
        "| ratio (GFLOP/s, share of GEMM rate) | " + " | ".join(names) + " |",
        "| --- |" + " --- |" * len(names),
    ]
    for work, row in one["works"].items():
        lines.append(f"| {work} | " + " | ".join(cell(work, name, row) for name in names) + " |")
    return lines


def report(results: dict) -> str:
    """The results as Markdown, with each target that was missed."""
    m, one, loop = (results[key] for key in ("machine", "one_thread", "loop"))
    gemm = one["gemm_gflops"]
    lines = [
        *speed_table(m, one),
        "",
        f"GEMM rate of one thread: {gemm['square']:.0f} GFLOP/s (1024 x 1024 x 1024), "
        f"{gemm['layer']:.0f} in the hidden layer's shape (4096 x 48 x 128).",
        f"Speed of two threads, one thread is 1.0: {listed(results['two_threads'], '.2f')} "
        "(batch 32).",
        f"MiB of a training iteration, batch 32: {listed(results['memory'], '.0f')}.",
        f"Iterations per second of the real training loop, by processes and batch: "
        f"{listed(results['processes'], '.2f')}.",
        f"{loop['overhead']:.1%} of an iteration (batch {loop['batch_size']}) is neither growing "
        f"nor learning: {listed(loop['shares'], '.1%')}.",
        *(f"{name} was not measured: {why}." for name, why in one["absent"].items()),
    ]
    if m["load"] > 0.5:
        lines.append(
            f"The load was {m['load']:.1f} at the start: if others used the machine meanwhile, two "
            "threads and two processes gained less than they can."
        )
    heading = (
        "Speed of the compiled engine, the sparse one is 1.0, by size of model; in brackets the "
        "engine that 'auto' chooses (32 steps; a choice that is over 15 % slower is marked)."
    )
    return "\n".join([*lines, "", heading, "", *results["sizes"]])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=HERE / "results.json")
    arguments = parser.parse_args()
    started = time.perf_counter()
    results = {"machine": machine()}
    results["one_thread"] = one_thread(arguments.rounds)
    results["sizes"] = script("sizes.py").splitlines()
    results["two_threads"] = two_threads(arguments.rounds)
    results["memory"] = memory()
    results["processes"] = processes()
    results["growth_of_cost"] = growth_of_cost()
    results["loop"] = json.loads(script("loop.py"))
    results["seconds"] = round(time.perf_counter() - started)
    arguments.out.write_text(json.dumps(results, indent=1) + "\n")
    text = report(results)
    arguments.out.with_suffix(".md").write_text(text + "\n")
    print(text)
    script("figure.py", str(arguments.out.resolve()))


if __name__ == "__main__":
    main()
