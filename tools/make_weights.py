"""Make every shipped file anew, from nothing: two judges, the rival, and all rules. `make weights`

Hours on two cores. What is finished is kept, and a stopped training goes on where it was: run the
same command again. At the end everything is rounded to half precision and put into the package,
and each card is told how its file was made.

    python tools/make_weights.py --data-root DIR
    python tools/make_weights.py --miniature --out FOLDER --ship FOLDER   # minutes, learns nothing
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from nca_lib.checkpoints import RULE, halved, load, write_atomically, write_tensors
from nca_lib.rule import NCA

ROOT = Path(__file__).resolve().parents[1]
WEIGHTS = ROOT / "nca_lib" / "weights"
CARDS = ROOT / "tools" / "cards"  # what they say of themselves; figures come from `make results`
LIMIT = 400_000  # bytes of a rule, which everyone downloads who clones the repository
DIGITS = [f"digit-{digit}" for digit in range(10)]
COMMANDS = {  # of nca, each into a folder of its own; files have the step's name, or `FILES`
    "judge": "judge --epochs 12 --out {out}/judge/judge.safetensors",
    "critic": "judge --epochs 12 --seed 1 --out {out}/critic/critic.safetensors",
    "rival": "rival --out {out}/rival/rival.safetensors",
    "digits": "pretrain --critic {out}/critic/critic.safetensors --out {out}/digits --resume",
    "unified": "finetune --from {out}/digits --critic {out}/critic/critic.safetensors "
    "--out {out}/unified --resume",
    "restore": "restore --out {out}/restore --resume",
    "reader": "read --out {out}/reader --resume",
}
FILES = {"digits": DIGITS}
NETWORKS = ("judge", "critic", "rival")  # no rules; written in half precision already
# One stage after the other; the lanes of a stage run beside each other, the steps of a lane do not.
STAGES = [
    [["judge"], ["critic"]],
    [["digits"]],
    [["unified"], ["rival", "restore", "reader"]],
]
TINY = "--iterations 4 --batch-size 4 --pool-size 8 --loss-steps 3 5"
MINIATURE = {  # settings that take seconds
    **dict.fromkeys(NETWORKS, "--epochs 1"),
    **dict.fromkeys(("restore", "reader"), TINY),
    **dict.fromkeys(("digits", "unified"), f"{TINY} --flow-iterations 4"),
}


def files_of(step: str, out: Path) -> list[Path]:
    """What a step has written."""
    return [out / step / f"{name}.safetensors" for name in FILES.get(step, [step])]


def command_of(step: str, out: str, miniature: bool) -> str:
    """As a reader would type it."""
    settings = f" {MINIATURE[step]}" if miniature else ""
    return f"{COMMANDS[step]} --preset full{settings}".format(out=out)


def make(step: str, threads: int, arguments: argparse.Namespace) -> None:
    """Run a step, if it is not finished, and note how it was made."""
    out, notes = arguments.out, arguments.out / step / "made.json"
    if notes.exists():
        return
    command = command_of(step, str(out), arguments.miniature).split()
    if arguments.data_root:
        command += ["--data-root", arguments.data_root]
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "PASSIVE"}
    sys.stdout.write(f"$ nca {' '.join(command)}\n")  # in one piece: two lanes begin at once
    sys.stdout.flush()
    git = ["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"]
    revision = subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip()
    started = time.perf_counter()
    code = subprocess.call([sys.executable, "-m", "nca_lib", *command], env=environment, cwd=ROOT)
    if code:
        raise SystemExit(f"{step} ended with {code}; run the same command again to go on")
    note = {
        "command": f"nca {command_of(step, 'runs/weights', arguments.miniature)}",
        "seconds": round(time.perf_counter() - started),
        "threads": threads,
        "revision": revision,
        "machine": machine(),
    }
    write_atomically(notes, (json.dumps(note, indent=1) + "\n").encode())


def make_all(lane: list[str], threads: int, arguments: argparse.Namespace) -> None:
    for step in lane:
        make(step, threads, arguments)


def machine() -> str:
    """The processor's name, and how SciPy's OpenBLAS was told to see it."""
    name, kind = platform.processor() or platform.machine(), os.environ.get("OPENBLAS_CORETYPE")
    lines = Path("/proc/cpuinfo")
    if lines.exists():
        found = re.search(r"model name\s*: (.+)", lines.read_text())
        name = found[1] if found else name
    return f"{name}, OPENBLAS_CORETYPE={kind}" if kind else name


def ship_rule(source: Path, folder: Path) -> None:
    """Round a rule to half precision; its record keeps how it was trained."""
    rule = load(source)
    record = {key: value for key, value in rule.record.items() if key != "sha256"}
    target = folder / source.name
    write_tensors(target, RULE, halved(rule), config=rule.settings(), record=record)
    if target.stat().st_size > LIMIT:
        raise SystemExit(f"{target} is larger than {LIMIT} bytes")


def size_of(rule: NCA) -> str:
    """How many numbers, what grows and what knows styles apart."""
    parts = [f"{rule.rule_parameters:,} numbers"]
    if rule.encoder is not None:
        encoder = sum(parameter.numel() for parameter in rule.encoder.parameters())
        parts += [f"{encoder:,} of the style encoder", f"{rule.fitted_numbers:,} of the styles"]
    return ", ".join(parts)


def made(step: str, out: Path) -> str:
    """The lines of a card that say how its file was made, from the run's own record."""
    note = json.loads((out / step / "made.json").read_text())
    rows = [f"| command | `{note['command']}` |"]
    seconds = note["seconds"]
    if step not in NETWORKS:
        rules = [load(path) for path in files_of(step, out)]
        record = [rule.record for rule in rules]
        training, seconds = record[0]["training"], sum(r["seconds"] for r in record)
        each = " for each digit" if step == "digits" else ""
        rows += [
            f"| training | {training['iterations']:,} iterations of {training['batch_size']} "
            f"samples{each}, seed {training['seed']} |",
            f"| data | {record[0]['source']}, {sum(r['pictures'] for r in record):,} pictures |",
            f"| size | {size_of(rules[0])} |",
        ]
    cores = f"{note['threads']} thread" + ("s" if note["threads"] > 1 else "")
    rows.append(f"| duration | {seconds / 60:.0f} minutes with {cores} ({note['machine']}) |")
    rows.append(f"| revision | {note['revision']} |")
    return "\n".join(["| | |", "| --- | --- |", *rows])


def ship(arguments: argparse.Namespace) -> None:
    """Put what was made into the package, and tell the cards."""
    folder, out = arguments.ship, arguments.out
    folder.mkdir(parents=True, exist_ok=True)
    for step in COMMANDS:
        for source in files_of(step, out):
            if step in NETWORKS:
                shutil.copyfile(source, folder / source.name)
            else:
                ship_rule(source, folder)
            print(f"{source.stem}: {(folder / source.name).stat().st_size:,} bytes", flush=True)
    for card in CARDS.glob("*.md"):
        text = card.read_text(encoding="utf-8")
        for step in COMMANDS:
            between = re.compile(rf"(<!-- made {step} -->\n).*?(<!-- /made {step} -->)", re.DOTALL)
            if between.search(text):
                lines = made(step, out)
                text = between.sub(lambda m, lines=lines: f"{m[1]}{lines}\n{m[2]}", text)
        write_atomically(folder / card.name, text.encode())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-root", help="as nca's; default: $NCA_DATA, or a download")
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "weights")
    parser.add_argument("--ship", type=Path, default=WEIGHTS)
    parser.add_argument("--miniature", action="store_true", help="a few iterations of everything")
    arguments = parser.parse_args()
    arguments.out = arguments.out.resolve()
    started = time.perf_counter()
    for lanes in STAGES:
        threads = max(1, (os.cpu_count() or 1) // len(lanes))
        with ThreadPoolExecutor(len(lanes)) as pool:
            work = [pool.submit(make_all, lane, threads, arguments) for lane in lanes]
        for part in work:
            part.result()
    ship(arguments)
    print(f"all made in {(time.perf_counter() - started) / 60:.1f} minutes of this run")


if __name__ == "__main__":
    main()
