"""Train every shipped file from nothing, and put it into the package: `make weights`

Hours on two cores. Finished files are kept and a stopped training run resumes: run the same command
again. At the end models are rounded to half precision, and each card says how its file was made.

    python tools/make_weights.py --data-root DIR
    python tools/make_weights.py --step unified     # this step alone; its file is not shipped
    python tools/make_weights.py --miniature --out FOLDER --ship FOLDER   # a minute, learns nothing
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
from dataclasses import replace
from pathlib import Path

from nca_lib.checkpoint import load, save_model, write_atomically
from nca_lib.classifier import (
    KIND,
    perceptual_network,
    save_network,
    train_classifier,
    train_epochs,
)
from nca_lib.cli import Finetune, Pretrain, Read, Restore, pick_device
from nca_lib.data import Dataset, load_data
from nca_lib.evaluation.decoder import KIND as DECODER
from nca_lib.evaluation.decoder import Decoder
from nca_lib.interrupts import Stopped
from nca_lib.model import NCA
from nca_lib.training.presets import PRESETS

import torch
from torch import Tensor

ROOT = Path(__file__).resolve().parents[1]
WEIGHTS = ROOT / "nca_lib" / "weights"
LIMIT = 400_000  # bytes of a model, which everyone downloads who clones the repository
EPOCHS = 12
NETWORKS = ("classifier", "perceptual", "decoder")  # no models; half precision already
MODELS = {"digits": Pretrain, "unified": Finetune, "restore": Restore, "reader": Read}
STEPS = (*NETWORKS, *MODELS)
DIGITS = [f"digit-{digit}" for digit in range(10)]
# One stage after the other; the lanes of a stage run at the same time, the steps of a lane do not.
STAGES = [
    [["classifier"], ["perceptual"]],
    [["digits"]],
    [["unified"], ["decoder", "restore", "reader"]],
]
TINY = {"iterations": 4, "batch_size": 4, "pool_size": 8, "loss_steps": (3, 5)}


# ---- one step ------------------------------------------------------------------------------------


def files_of(step: str, out: Path) -> list[Path]:
    """The files that a step writes, in a folder of its own."""
    names = DIGITS if step == "digits" else [step]
    return [out / step / f"{name}.safetensors" for name in names]


def train_decoder(
    data: Dataset, style_dim: int, kl_weight: float, epochs: int, seed: int = 0
) -> tuple[Decoder, dict]:
    """Train a decoder as models are: squared error of the ink, and the codes' divergence.

    The metadata hold the validation error of every epoch.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        decoder = Decoder(data.spec, style_dim)

    def loss(images: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        code = decoder.encoder(images, labels)
        drawn = code.sample(torch.randn(code.mean.shape, generator=generator))
        error = (decoder.decode(labels, drawn) - images).square().mean()
        return error + kl_weight * code.kl().mean() / images[0].numel()

    optimiser = torch.optim.Adam(decoder.parameters(), 2e-3)
    metadata = {"seed": seed, "epochs": epochs, "kl_weight": kl_weight, "source": data.name}
    metadata |= {"style_dim": style_dim, "validation_error": []}
    for _ in train_epochs(decoder, optimiser, loss, data.train, epochs, seed):
        off = decoder.redraw(data.validation) - data.validation.images
        metadata["validation_error"].append(round(off.square().mean().item(), 5))
    return decoder, metadata


def train_network(step: str, data: Dataset, file: Path, epochs: int) -> None:
    """The classifier, its twin for the perceptual loss, or the convolutional decoder."""
    if step == "decoder":
        full = PRESETS["full"]
        style_dim, kl_weight = full.model.style_dim, full.finetune.kl_weight
        save_network(file, DECODER, *train_decoder(data, style_dim, kl_weight, epochs))
    else:
        network, metadata = train_classifier(data, epochs, seed=int(step == "perceptual"))
        save_network(file, KIND, network, metadata)


def train_models(step: str, data: Dataset, out: Path, changes: dict) -> None:
    """As the command of nca does with `--preset full`, with the perceptual network made here."""
    command = MODELS[step]
    model, config = command.usual(PRESETS["full"])
    more = {"start": out / "digits"} if step == "unified" else {}
    ready = command(preset="full", out=out / step, resume=True, model=model, **more)
    network = None
    if config.perceptual_weight:
        network = perceptual_network(data.spec, *files_of("perceptual", out))
    ready.work(replace(config, **changes), data, pick_device("auto"), perceptual=network)


def run_step(step: str, arguments: argparse.Namespace) -> None:
    """Train what one step makes, in this process."""
    data = load_data("mnist", arguments.data_root, "full")
    if step in NETWORKS:
        epochs = 1 if arguments.miniature else EPOCHS
        train_network(step, data, *files_of(step, arguments.out), epochs)
    else:
        train_models(step, data, arguments.out, TINY if arguments.miniature else {})


# ---- all steps -----------------------------------------------------------------------------------


def make(step: str, threads: int, arguments: argparse.Namespace) -> None:
    """Run a step in a process of its own, unless it is finished, and note how it was made."""
    notes = arguments.out / step / "made.json"
    if notes.exists():
        return
    command = [sys.executable, __file__, "--step", step, "--out", str(arguments.out)]
    command += ["--data-root", arguments.data_root] if arguments.data_root else []
    command += ["--miniature"] if arguments.miniature else []
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "PASSIVE"}
    sys.stdout.write(f"$ {' '.join(command)}\n")  # in one piece: two lanes begin at once
    sys.stdout.flush()
    git = ["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"]
    revision = subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip()
    started = time.perf_counter()
    code = subprocess.call(command, env=environment, cwd=ROOT)
    if code:
        raise SystemExit(f"{step} ended with {code}; run the same command again to resume")
    note = {
        "command": f"python tools/make_weights.py --step {step}",
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
    """The processor's name, and what SciPy's OpenBLAS was set to take it for."""
    name, kind = platform.processor() or platform.machine(), os.environ.get("OPENBLAS_CORETYPE")
    lines = Path("/proc/cpuinfo")
    if lines.exists():
        found = re.search(r"model name\s*: (.+)", lines.read_text())
        name = found[1] if found else name
    return f"{name}, OPENBLAS_CORETYPE={kind}" if kind else name


# ---- the package ---------------------------------------------------------------------------------


def ship_model(source: Path, folder: Path) -> None:
    """Round a model to half precision; its metadata still say how it was trained."""
    target = folder / source.name
    save_model(target, load(source).half())
    if target.stat().st_size > LIMIT:
        raise SystemExit(f"{target} is larger than {LIMIT} bytes")


def size_of(model: NCA) -> str:
    """How many parameters: the automaton, the encoder, and what is fitted to the styles."""
    parts = [f"{model.parameter_count:,} parameters"]
    if model.encoder is not None:
        encoder = sum(parameter.numel() for parameter in model.encoder.parameters())
        styles = model.style_parameters
        parts += [f"{encoder:,} of the style encoder", f"{styles:,} of the styles' Gaussians"]
    return ", ".join(parts)


def made(step: str, out: Path) -> str:
    """The lines of a card that say how its file was made, from the run's own metadata."""
    note = json.loads((out / step / "made.json").read_text())
    rows, seconds = [f"| command | `{note['command']}` |"], note["seconds"]
    if step not in NETWORKS:
        models = [load(path) for path in files_of(step, out)]
        metadata = [model.metadata for model in models]
        training, source = metadata[0]["training"], metadata[0]["source"]
        seconds = sum(m["seconds"] for m in metadata)
        each = " for each digit" if step == "digits" else ""
        rows += [
            f"| training | {training['iterations']:,} iterations of {training['batch_size']} "
            f"samples{each}, seed {training['seed']} |",
            f"| data | {source}, {sum(m['pictures'] for m in metadata):,} pictures |",
            f"| size | {size_of(models[0])} |",
        ]
    threads = f"{note['threads']} thread" + ("s" if note["threads"] > 1 else "")
    rows.append(f"| duration | {seconds / 60:.0f} minutes with {threads} ({note['machine']}) |")
    rows.append(f"| revision | {note['revision']} |")
    return "\n".join(["| | |", "| --- | --- |", *rows])


def ship(arguments: argparse.Namespace) -> None:
    """Copy the files into the package, and fill in their cards."""
    folder, out = arguments.ship, arguments.out
    folder.mkdir(parents=True, exist_ok=True)
    for step in STEPS:
        for source in files_of(step, out):
            if step in NETWORKS:
                shutil.copyfile(source, folder / source.name)
            else:
                ship_model(source, folder)
            print(f"{source.stem}: {(folder / source.name).stat().st_size:,} bytes", flush=True)
    for card in WEIGHTS.glob("*.md"):
        text = card.read_text(encoding="utf-8")
        for step in STEPS:
            between = re.compile(rf"(<!-- made {step} -->\n).*?(<!-- /made {step} -->)", re.DOTALL)
            if between.search(text):
                lines = made(step, out)
                text = between.sub(lambda m, lines=lines: f"{m[1]}{lines}\n{m[2]}", text)
        write_atomically(folder / card.name, text.encode())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-root", help="of nca; default: $NCA_DATA, or a download")
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "weights")
    parser.add_argument("--ship", type=Path, default=WEIGHTS)
    parser.add_argument("--step", choices=STEPS)
    parser.add_argument("--miniature", action="store_true", help="a few iterations of everything")
    arguments = parser.parse_args()
    arguments.out = arguments.out.resolve()
    if arguments.step:
        try:
            return run_step(arguments.step, arguments)
        except Stopped as stopped:
            sys.exit(str(stopped))
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
