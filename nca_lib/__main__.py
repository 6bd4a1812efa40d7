"""The command line: `nca COMMAND`, or `python -m nca_lib COMMAND`."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from dataclasses import asdict, replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Optional

import torch
import typer

from nca_lib import __version__
from nca_lib.checkpoints import load, write_atomically
from nca_lib.data import Dataset, load_digits
from nca_lib.errors import InputError
from nca_lib.presets import PRESETS
from nca_lib.pretraining import initial_rule, load_digit_rules, merge, pretrain, widen
from nca_lib.ranks import Ranks
from nca_lib.rule import INK, NCA, RuleConfig
from nca_lib.training import (
    Outputs,
    TrainingConfig,
    TrainingDiverged,
    TrainingStopped,
    second_half,
    starts,
    train,
)

app = typer.Typer(
    name="nca",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Grow handwritten digits with a neural cellular automaton: train the rule, measure it, "
    "watch it. Start with [bold]nca run[/bold]: ten minutes on a laptop, no network needed.",
    rich_markup_mode="rich",
)


class PresetName(StrEnum):
    quick = "quick"
    full = "full"


class DeviceName(StrEnum):
    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


class MergeName(StrEnum):
    mean = "mean"
    last = "last"
    scratch = "scratch"


DataRoot = Annotated[
    Optional[str],
    typer.Option(
        help="Folder that holds MNIST/raw, or 'embedded' for the sample in the package. "
        "Default: $NCA_DATA, else what the preset says.",
        show_default=False,
    ),
]
PresetOption = Annotated[
    PresetName,
    typer.Option(help="quick: embedded sample, minutes. full: all of MNIST, hours on a CPU."),
]
Out = Annotated[
    Optional[Path],
    typer.Option(
        help="Folder for everything that is written. Default: runs/PRESET.", show_default=False
    ),
]
Seed = Annotated[int, typer.Option(help="All random draws follow from it.", min=0)]
Device = Annotated[DeviceName, typer.Option(help="auto takes a GPU where there is one.")]
Resume = Annotated[
    bool,
    typer.Option("--resume", help="Go on where a stopped run left off; finished parts are kept."),
]
Iterations = Annotated[
    Optional[int], typer.Option(help="Instead of the preset's.", show_default=False)
]
BatchSize = Annotated[
    Optional[int], typer.Option(help="Instead of the preset's.", show_default=False)
]
Steps = Annotated[
    Optional[int],
    typer.Option(
        help="Length of a rollout; the loss is taken at four steps of its second half.",
        show_default=False,
    ),
]
LearningRate = Annotated[
    Optional[float],
    typer.Option(help="Highest value of the one-cycle schedule.", show_default=False),
]
Settings = Annotated[
    Optional[list[str]],
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help="Any setting of training.TrainingConfig, e.g. damage_share=0.5. Repeatable.",
        show_default=False,
    ),
]
StyleDim = Annotated[
    Optional[int], typer.Option(help="Numbers in the style code; 0 for none.", show_default=False)
]
Hidden = Annotated[
    Optional[int], typer.Option(help="Width of the hidden layer.", show_default=False)
]


# --- shared by the commands -----------------------------------------------------------------


def pick_device(name: str) -> torch.device:
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("--device cuda: PyTorch finds no GPU here; use --device cpu or auto")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def open_data(data_root: str | None, preset: str) -> Dataset:
    data = load_digits(data_root, preset)
    print(f"data: {data.source}")
    return data


def settings_from(
    base: TrainingConfig,
    seed: int,
    iterations: int | None = None,
    batch_size: int | None = None,
    steps: int | None = None,
    learning_rate: float | None = None,
    settings: list[str] | None = None,
) -> TrainingConfig:
    """The preset's training, with what the options change."""
    changes = {
        "seed": seed,
        "iterations": iterations,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
    }
    if steps is not None:
        loss_steps = second_half(steps)
        changes |= {"loss_steps": loss_steps, "loss_weights": (1.0,) * len(loss_steps)}
    base = replace(base, **{k: v for k, v in changes.items() if v is not None})
    return replace(base, **dict(parse_setting(base, setting) for setting in settings or []))


def parse_setting(base: TrainingConfig, setting: str) -> tuple[str, object]:
    """`name=value` as a pair; the value is written as in JSON, of the type that is there now."""
    name, _, text = setting.partition("=")
    if name not in asdict(base):
        raise InputError(f"--set {setting}: the settings are {', '.join(asdict(base))}")
    wanted = type(getattr(base, name))
    try:
        value = text if wanted is str else json.loads(text)
        value = tuple(value) if wanted is tuple else value
        if type(value) is int and wanted is float:
            value = float(value)
        if type(value) is not wanted:
            raise ValueError
    except (ValueError, TypeError):
        raise InputError(f"--set {setting}: {name} is {wanted.__name__}, as in {name}="
                         f"{json.dumps(getattr(base, name))}") from None  # fmt: skip
    return name, value


def rule_from(base: RuleConfig, style_dim: int | None, hidden: int | None) -> RuleConfig:
    changes = {"style_dim": style_dim, "hidden": hidden}
    return replace(base, **{k: v for k, v in changes.items() if v is not None})


def stop_on_signals() -> threading.Event:
    """An event set by Ctrl-C or SIGTERM; a second Ctrl-C ends at once."""
    stop = threading.Event()

    def ask(number, frame):
        if stop.is_set():
            raise KeyboardInterrupt
        print("\nstopping after this iteration ...", file=sys.stderr)
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, ask)
    return stop


def painter(data: Dataset, path: Path, steps: int):
    """Draws, every so often in training, some validation digits as the rule grows them now."""
    from nca_lib.evaluation import redraw
    from nca_lib.plots import progress_picture, save_picture

    first = torch.cat([(data.validation.labels == d).nonzero()[:2, 0] for d in range(10)])
    digits = data.validation.select(first)

    def paint(rule: NCA, iteration: int) -> None:
        with torch.inference_mode():
            save_picture(progress_picture(redraw(rule, digits, (steps,))[-1, :, INK]), path)

    return paint


def train_one(rule, digits, data, config, folder, name, resume, stop, ranks=None):
    """One training, with its picture; returns the rule's file."""
    outputs = Outputs(folder, name)
    train(
        rule,
        digits,
        config,
        outputs,
        source=data.source,
        resume=resume,
        stop=stop.is_set,
        watch=painter(data, outputs.picture, config.steps),
        ranks=ranks,
    )
    print(f"{name}: {config.iterations} iterations -> {outputs.rule}")
    return outputs.rule


# --- the commands ---------------------------------------------------------------------------


@app.command("pretrain")
def pretrain_command(
    data_root: DataRoot = None,
    preset: PresetOption = PresetName.quick,
    out: Out = None,
    seed: Seed = 0,
    device: Device = DeviceName.auto,
    resume: Resume = False,
    iterations: Iterations = None,
    batch_size: BatchSize = None,
    steps: Steps = None,
    learning_rate: LearningRate = None,
    settings: Settings = None,
    style_dim: StyleDim = None,
    hidden: Hidden = None,
    workers: Annotated[
        Optional[int], typer.Option(help="Processes. Default: one a core.", show_default=False)
    ] = None,
) -> None:
    """Train ten rules, one per digit, in parallel and from one common initialisation."""
    plan, folder = PRESETS[preset], out or Path("runs") / preset
    config = settings_from(
        plan.pretrain, seed, iterations, batch_size, steps, learning_rate, settings
    )
    rule = rule_from(plan.rule, style_dim, hidden)
    ranks, target = Ranks.join(pick_device(device))
    data, mine = open_data(data_root, preset), tuple(range(ranks.number, 10, ranks.count))
    if mine:  # under torchrun each rank has some of the digits
        pretrain(
            rule,
            data.train,
            config,
            folder,
            source=data.source,
            resume=resume,
            workers=workers or max(1, (os.cpu_count() or 1) // ranks.count),
            device=str(target),
            only=mine,
            stop=stop_on_signals(),
            progress=ranks.first,
        )
    ranks.leave()
    print(
        f"ten digits, {config.iterations} iterations each -> {folder / 'digit-0.safetensors'} ..."
    )


@app.command()
def finetune(
    data_root: DataRoot = None,
    preset: PresetOption = PresetName.quick,
    out: Out = None,
    seed: Seed = 0,
    device: Device = DeviceName.auto,
    resume: Resume = False,
    iterations: Iterations = None,
    batch_size: BatchSize = None,
    steps: Steps = None,
    learning_rate: LearningRate = None,
    settings: Settings = None,
    style_dim: StyleDim = None,
    hidden: Hidden = None,
    merging: Annotated[
        MergeName,
        typer.Option(
            "--merge",
            help="How ten rules become the start: their mean, the last one, or none of them.",
        ),
    ] = MergeName.mean,
    start: Annotated[
        Optional[Path],
        typer.Option(
            "--from",
            help="Folder with digit-0 ... digit-9 (default: --out), or a rule to train further.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Merge the ten rules into one and train it on all digits: the unified rule."""
    plan, folder = PRESETS[preset], out or Path("runs") / preset
    config = settings_from(
        plan.finetune, seed, iterations, batch_size, steps, learning_rate, settings
    )
    ranks, target = Ranks.join(pick_device(device))
    if start is not None and start.is_file():
        rule = load(start).train()
        rule = widen(rule, hidden) if hidden else rule
    elif merging == MergeName.scratch:
        rule = initial_rule(rule_from(plan.rule, style_dim, hidden), seed)
    else:
        rule = merge(load_digit_rules(start or folder), merging.value, seed)
    data = open_data(data_root, preset)
    train_one(
        rule.to(target), data.train, data, config, folder, "unified", resume, stop_on_signals(),
        ranks,
    )  # fmt: skip
    ranks.leave()


@app.command()
def restore(
    data_root: DataRoot = None,
    preset: PresetOption = PresetName.quick,
    out: Out = None,
    seed: Seed = 0,
    device: Device = DeviceName.auto,
    resume: Resume = False,
    iterations: Iterations = None,
    batch_size: BatchSize = None,
    steps: Steps = None,
    learning_rate: LearningRate = None,
    settings: Settings = None,
    hidden: Hidden = None,
) -> None:
    """Train a rule that restores a blurred digit: not growth, the start shows the target."""
    plan, folder = PRESETS[preset], out or Path("runs") / preset
    config = settings_from(
        plan.restore, seed, iterations, batch_size, steps, learning_rate, settings
    )
    ranks, target = Ranks.join(pick_device(device))
    data = open_data(data_root, preset)
    rule = initial_rule(rule_from(plan.restorer, None, hidden), seed).to(target)
    train_one(rule, data.train, data, config, folder, "restore", resume, stop_on_signals(), ranks)
    ranks.leave()


@app.command("evaluate")
def evaluate_command(
    weights: Annotated[str, typer.Option(help="unified, restore, digit-0 ... digit-9, or a file.")],
    split: Annotated[
        str, typer.Option(help="test, or validation for choosing between rules.")
    ] = "test",
    json_file: Annotated[
        Optional[Path], typer.Option("--json", help="Write all results here.", show_default=False)
    ] = None,
    figures: Annotated[
        Optional[Path], typer.Option(help="Write figures into this folder.", show_default=False)
    ] = None,
    limit: Annotated[
        Optional[int], typer.Option(help="Only the first N pictures.", show_default=False)
    ] = None,
    data_root: DataRoot = None,
    preset: PresetOption = PresetName.quick,
    seed: Seed = 0,
    device: Device = DeviceName.auto,
) -> None:
    """Measure a rule on held-out digits, always beside the trivial baselines."""
    target = pick_device(device)
    rule = load(weights).to(target)
    report(rule, open_data(data_root, preset), split, seed, limit, json_file, figures)


def report(rule, data, split, seed, limit, json_file, figures, logs=None) -> list[Path]:
    """Evaluate, print the table, write JSON and figures; returns what was written."""
    from nca_lib.evaluation import evaluate, table
    from nca_lib.plots import write_figures

    results = evaluate(rule, data, split=split, seed=seed, limit=limit)
    print(table(results))
    written = []
    if json_file is not None:
        write_atomically(json_file, (json.dumps(results, indent=2) + "\n").encode())
        written.append(json_file)
    if figures is not None:
        written += write_figures(rule, results, data, figures, logs=logs)
    return written


@app.command()
def grow(
    digit: Annotated[int, typer.Argument(help="Which digit, 0 to 9.")],
    out: Annotated[Path, typer.Option(help="A film strip (.png) or an animation (.gif).")],
    weights: Annotated[str, typer.Option(help="A shipped rule, or a file.")] = "unified",
    steps: Annotated[
        Optional[int], typer.Option(help="Default: twice the training steps.", show_default=False)
    ] = None,
    seed: Seed = 0,
    device: Device = DeviceName.auto,
) -> None:
    """Grow a digit from one cell, in a style drawn from the seed, and save the growth."""
    from nca_lib.evaluation import trained_for
    from nca_lib.plots import save_gif, save_strip

    if out.suffix not in (".png", ".gif"):
        raise InputError(f"--out {out}: the name must end in .png (film strip) or .gif (animation)")
    target = pick_device(device)
    rule = load(weights).to(target)
    task, trained = trained_for(rule)
    if task != "grow":
        raise InputError(f"{weights} restores blurred pictures, it does not grow: use evaluate")
    steps = 2 * trained if steps is None else steps
    labels = torch.tensor([digit], device=target)
    noise = torch.randn(1, rule.config.style_dim, generator=torch.Generator().manual_seed(seed))
    genome = rule.genome(labels, noise.to(target) if rule.encoder is not None else None)
    start = starts("grow", torch.zeros(1, 1, 28, 28, device=target), rule.config.channels)
    with torch.inference_mode():
        frames = rule.rollout(
            start, genome, steps, torch.tensor([seed], device=target), tuple(range(1, steps + 1))
        )
    frames = torch.cat([start[None], frames])[:, 0, INK].clamp(0, 1).cpu()  # [steps + 1, 28, 28]
    (save_gif if out.suffix == ".gif" else save_strip)(frames, out)
    print(f"a {digit} in {steps} steps -> {out}")


@app.command()
def run(
    data_root: DataRoot = None,
    preset: PresetOption = PresetName.quick,
    out: Out = None,
    seed: Seed = 0,
    device: Device = DeviceName.auto,
    resume: Resume = False,
) -> None:
    """All of it, in order: pretrain, finetune, restore, evaluate, and pictures of the result."""
    if int(os.environ.get("WORLD_SIZE", 1)) > 1:
        raise InputError("run is for one process: give torchrun pretrain, finetune or restore")
    started = time.perf_counter()
    plan, folder = PRESETS[preset], out or Path("runs") / preset
    target, data, stop = pick_device(device), open_data(data_root, preset), stop_on_signals()
    files = pretrain(
        plan.rule,
        data.train,
        replace(plan.pretrain, seed=seed),
        folder,
        source=data.source,
        resume=resume,
        device=target.type,
        stop=stop,
    )
    print(
        f"ten digits: {plan.pretrain.iterations} iterations each -> {files[0]} ... {files[-1].name}"
    )
    for name, config in (("unified", plan.finetune), ("restore", plan.restore)):
        if name == "unified":
            rule = merge(load_digit_rules(folder), "mean", seed)
        else:
            rule = initial_rule(plan.restorer, seed)
        config = replace(config, seed=seed)
        files.append(
            train_one(rule.to(target), data.train, data, config, folder, name, resume, stop)
        )
    for name in ("unified", "restore"):
        print(f"\n{name}, on {data.source}")
        files += report(
            load(folder / f"{name}.safetensors").to(target),
            data,
            "test",
            seed,
            None,
            folder / f"{name}.json",
            folder / "figures" / name,
            logs=read_logs(folder),
        )
    for digit in range(10):
        grow(
            digit,
            folder / f"grow-{digit}.gif",
            str(folder / "unified.safetensors"),
            None,
            seed,
            device,
        )
        files.append(folder / f"grow-{digit}.gif")
    print(f"\nwritten in {(time.perf_counter() - started) / 60:.1f} minutes:")
    for file in files:
        print(f"  {file}")


@app.command()
def info() -> None:
    """What this installation uses: versions, which rollout and why, threads, GPU, data."""
    import platform

    from nca_lib import compiled

    ready, why = compiled.available()
    print(
        f"nca_lib   {__version__}, Python {platform.python_version()}, PyTorch {torch.__version__}"
    )
    print(f"rollout   {'compiled' if ready else 'sparse, plain PyTorch'}: {why}")
    print(f"threads   {torch.get_num_threads()} of {os.cpu_count()} cores")
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    print(f"GPU       {gpu}" + (" (uses the sparse rollout)" if gpu != "none" else ""))
    print(f"NCA_DATA  {os.environ.get('NCA_DATA', 'not set')}")


def read_logs(folder: Path) -> dict[str, list[dict]]:
    return {
        path.stem: [json.loads(line) for line in path.read_text().splitlines()]
        for path in sorted(folder.glob("*.jsonl"))
    }


def version(value: bool) -> None:
    if value:
        print(f"nca_lib {__version__}, PyTorch {torch.__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Bad input ends in one line and exit code 2, never in a traceback."""
    if int(os.environ.get("RANK", 0)):  # of the processes that torchrun starts one speaks
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
    try:
        app()
    except InputError as error:
        sys.exit(fail(error, 2))
    except TrainingDiverged as error:
        sys.exit(fail(error, 1))
    except TrainingStopped as error:
        sys.exit(fail(error, 130))


def fail(error: Exception, code: int) -> int:
    print(f"nca: {error}", file=sys.stderr)
    return code


if __name__ == "__main__":
    main()
