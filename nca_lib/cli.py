"""The command line: `nca COMMAND`. Settings are declared in the dataclasses that use them."""

from __future__ import annotations

import io
import os
import platform
import re
import sys
from contextlib import redirect_stderr
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Literal

from nca_lib import __version__
from nca_lib.checkpoint import load, sha256
from nca_lib.classifier import (
    KIND,
    classifier_for,
    perceptual_network,
    save_network,
    train_classifier,
)
from nca_lib.data import DataName, Dataset, load_data, read_digit
from nca_lib.data.handwriting import label_warning
from nca_lib.evaluation import evaluate
from nca_lib.evaluation.report import progress_callback, read_logs, report
from nca_lib.inputs import InputError, as_labels
from nca_lib.interrupts import Stopped, say
from nca_lib.model import NCA, ModelConfig
from nca_lib.rollout.fire import check_seed
from nca_lib.spec import MNIST, ImageSpec
from nca_lib.training import Outputs, TrainingConfig, TrainingDiverged, train
from nca_lib.training.distributed import Distributed
from nca_lib.training.presets import PAINT, PRESETS
from nca_lib.training.pretrain import Merging, initial_model, load_digit_models, merge, pretrain
from nca_lib.training.tasks import Classify, task_of
from nca_lib.visual.plots import growth_strip, save_figure, save_gif

import torch
import tyro
from torch import Tensor
from tyro.conf import Fixed, FlagCreatePairsOff, OmitArgPrefixes, Positional, Suppress

ABOUT = """Neural cellular automata that grow pictures: train, measure and watch them. Start with
`nca run`: ten minutes on a laptop, no network needed. Then try `nca redraw` and `nca paint`."""
PERCEPTUAL_EPOCHS = 6  # of the perceptual network that `run` trains for itself
DRAW_EVERY = 250  # iterations between two pictures of the progress
KL = {"kl_weight", "kl_warmup"}  # settings of models with styles
GROWTH = {"origin_weight", "position_weight", "perceptual_weight"}  # of models that grow pictures
BLUR = {"task", "blurs", "noise"}  # of models that restore them
DeviceName = Literal["auto", "cpu", "cuda", "mps"]
PresetName = Literal["quick", "full"]
DataRoot = Annotated[str | None, tyro.conf.arg(metavar="DIR")]


def pick_device(name: str) -> torch.device:
    """The device of that name, if it is there."""
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not there.get(name, True):
        raise InputError(f"--device {name}: PyTorch finds no such GPU; use cpu or auto")
    return torch.device(("cuda" if there["cuda"] else "cpu") if name == "auto" else name)


def refuse(given: dict, usual: dict, names: set[str], why: str) -> None:
    """Raise InputError if a setting was changed that can't take effect."""
    for name in sorted(names):
        if given[name] != usual[name]:
            raise InputError(f"--{name.replace('_', '-')} can't take effect: {why}")


@dataclass(frozen=True, kw_only=True)
class Common:
    """What most commands take."""

    data: DataName = "mnist"  # which pictures; 'pictures' are those of a folder of your own
    data_root: DataRoot = None  # holds MNIST/raw, or 'embedded'; default $NCA_DATA, else by preset
    preset: PresetName = "quick"  # quick: embedded sample, minutes. full: all of MNIST, hours
    device: DeviceName = "auto"  # auto takes a CUDA GPU if there is one

    def load_data(self) -> Dataset:
        data = load_data(self.data, self.data_root, self.preset)
        print(f"data: {data.source}")
        return data


@dataclass(frozen=True, kw_only=True)
class Training(Common):
    """A command that trains one sort of model, in one process or in several (torchrun)."""

    out: Path | None = None  # folder for all that is written; default: runs/PRESET
    resume: bool = False  # continue a stopped run; finished parts are kept
    model: ModelConfig = field(default_factory=ModelConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)

    name = ""  # of the model's file
    usual = staticmethod(lambda preset: (preset.model, preset.finetune))  # the settings above
    idle = BLUR  # those that can't take effect

    @property
    def folder(self) -> Path:
        return self.out or Path("runs") / self.preset

    def __call__(self) -> None:
        model, training = self.usual(PRESETS[self.preset])
        given, usual = vars(self.model) | vars(self.training), vars(model) | vars(training)
        refuse(given, usual, self.idle, f"{type(self).__name__.lower()} doesn't use it")
        refuse(given, usual, set() if self.model.style_dim else KL, "the model has no styles")
        ranks, device = Distributed.join(pick_device(self.device))
        data, config = self.load_data(), self.training
        if config.perceptual_weight == training.perceptual_weight > 0 and data.spec != MNIST:
            print("no perceptual network ships for these pictures: training without its loss")
            config = replace(config, perceptual_weight=0.0)
        self.work(config, data, device, ranks=ranks)
        ranks.leave()

    def work(self, config: TrainingConfig, data: Dataset, device, **options) -> list[Path]:
        """Train; returns the files of the models. `options` are those of `train`."""
        (model, init_from), outputs = self.begin(config, data.spec), Outputs(self.folder, self.name)
        draw = progress_callback(data, outputs.picture)

        def callback(step: int, metrics: dict, model: NCA) -> None:
            if step % DRAW_EVERY == 0 or step == config.iterations:
                draw(step, metrics, model)

        options |= {"callbacks": callback, "init_from": init_from, "resume": self.resume}
        print(f"{self.name}: {config.iterations} iterations, log in {outputs.log}", flush=True)
        train(model.to(device), data, config, outputs, **options)
        print(f"{self.name}: {config.iterations} iterations -> {outputs.model}", flush=True)
        return [outputs.model]

    def begin(self, config: TrainingConfig, spec: ImageSpec) -> tuple[NCA, dict]:
        """The model to start from, and what it is made of."""
        return initial_model(spec, self.model, config.seed), {"merge": "scratch"}


class Pretrain(Training):
    """Train a model per class: ten models for ten digits, all from one initialisation."""

    usual = staticmethod(lambda preset: (preset.model, preset.pretrain))
    idle = BLUR | {"switch_share"}

    def work(self, config: TrainingConfig, data: Dataset, device, **options) -> list[Path]:
        options |= {"resume": self.resume, "device": device}
        files = pretrain(self.model, data, config, self.folder, **options)
        each = f"{config.iterations} iterations each"
        print(f"{len(files)} models: {each} -> {files[0]} ... {files[-1].name}", flush=True)
        return files


@dataclass(frozen=True, kw_only=True)
class Finetune(Training):
    """Merge the pretrained models into one and train it on all classes: the unified model."""

    merge: Merging | None = None  # how ten models become one: mean
    start: Annotated[Path | None, tyro.conf.arg(name="from")] = None
    """Folder with digit-0 ... digit-9 (default: --out), or a model to train further."""

    name = "unified"

    def begin(self, config: TrainingConfig, spec: ImageSpec) -> tuple[NCA, dict]:
        start, one = self.start or self.folder, bool(self.start and self.start.suffix)
        if self.merge and (one or (self.start and self.merge == "scratch")):
            raise InputError(f"--merge {self.merge} can't take effect on --from {start}: give one")
        if self.merge == "scratch":
            return super().begin(config, spec)
        if one:
            model, init_from = load(start).train(), {"file": start.name, "sha256": sha256(start)}
        else:
            models, how = load_digit_models(start, spec), self.merge or "mean"
            hashes = [model.metadata["sha256"] for model in models]
            model, init_from = merge(models, how, config.seed), {"merge": how, "sha256": hashes}
        given, own = vars(self.model), vars(model.config)
        usual, names = self.usual(PRESETS[self.preset])[0], {n for n in given if given[n] != own[n]}
        refuse(given, vars(usual), names, f"{start} has its own")
        return model, init_from


class Restore(Training):
    """Train a model that restores blurred digits: not growth, the start shows the target."""

    name, idle = "restore", GROWTH | {"task", "switch_share"}
    usual = staticmethod(lambda preset: (preset.restorer, preset.restore))


class Read(Training):
    """Train a self-classifying model: the ink is given, the cells agree which digit it is."""

    name, usual = "reader", staticmethod(lambda preset: (preset.self_classifier, preset.classify))
    idle = BLUR | GROWTH | {"alive_weight", "label_dim", "style_dim", "frozen"}


@dataclass(frozen=True, kw_only=True)
class Paint(Training):
    """Learn to grow coloured pictures of your own, one per class: they grow, persist and heal."""

    data: Suppress[Fixed[DataName]] = "pictures"
    data_root: DataRoot = None  # folder of PNGs, up to 96 x 96; default: our three
    preset: Suppress[Fixed[PresetName]] = "quick"
    out: Path | None = Path("runs/paint")  # folder for all that is written

    name, usual = "paint", staticmethod(lambda preset: PAINT)

    def work(self, config: TrainingConfig, data: Dataset, device, **options) -> list[Path]:
        files = super().work(config, data, device, **options)
        if options["ranks"].is_main:
            present(files, data, config.seed, self.device)
        return files


@dataclass(frozen=True, kw_only=True)
class RunAll(Common):
    """All of it, in order: pretrain, finetune, restore, evaluate, and pictures of the result."""

    out: Path | None = None  # folder for all that is written; default: runs/PRESET
    resume: bool = False  # continue a stopped run; finished parts are kept
    seed: int = 0  # all random draws follow from it

    def __call__(self) -> None:
        device, seed, data = pick_device(self.device), check_seed(self.seed), self.load_data()
        if not data.held_out:
            raise InputError(f"{data.source}: too few pictures per class to measure; use nca paint")
        files, network = [], None
        for command in (Pretrain, Finetune, Restore):
            model, config = command.usual(PRESETS[self.preset])
            ready = command(preset=self.preset, out=self.out, resume=self.resume, model=model)
            network = network or self.train_perceptual_network(data, ready.folder)
            config = replace(config, seed=seed)
            files += ready.work(config, data, device, perceptual=network)
        present(files[-2:], data, seed, self.device)

    def train_perceptual_network(self, data: Dataset, folder: Path) -> torch.nn.Module:
        """A perceptual network for these pictures, whichever they are; kept when resumed."""
        path = folder / "perceptual.safetensors"
        if not (self.resume and path.exists()):
            network, metadata = train_classifier(data, PERCEPTUAL_EPOCHS, self.seed + 1)
            save_network(path, KIND, network, metadata)
        return perceptual_network(data.spec, path)


def present(files: list[Path], data: Dataset, seed: int, device: str) -> None:
    """Evaluate models that were just trained, and grow every class with the first of them."""
    folder = files[0].parent
    for file in files:
        print(f"\n{file.stem}, on {data.source}", flush=True)
        model, figures = load(file).to(pick_device(device)), folder / "figures" / file.stem
        results, json = evaluate(model, data, seed=seed), file.with_suffix(".json")
        report(model, results, data, json, figures, read_logs(folder))
        print(f"-> {json} and {figures}", flush=True)
    for name in data.spec.classes:
        out = folder / f"grow-{name.replace('/', '-')}.gif"
        Grow(label=name, out=out, weights=str(files[0]), seed=seed, device=device)()


@dataclass(frozen=True, kw_only=True)
class Evaluate(Common):
    """Measure a model on held-out pictures, always compared with trivial baselines."""

    weights: str = tyro.MISSING  # unified, restore, reader, digit-0 ... digit-9, or a file
    split: Literal["test", "validation"] = "test"  # validation is for choosing between models
    json: Path | None = None  # write all results here
    figures: Path | None = None  # write figures into this folder
    limit: int | None = None  # only the first pictures
    seed: int = 0  # of fire masks, damage and styles

    def __call__(self) -> None:
        device, model = pick_device(self.device), load(self.weights)
        if self.figures and isinstance(task_of(model), Classify):
            raise InputError(f"--figures can't take effect: {self.weights} draws nothing")
        data, options = self.load_data(), {"split": self.split, "limit": self.limit}
        results = evaluate(model.to(device), data, seed=self.seed, **options)
        report(model, results, data, self.json, self.figures)


@dataclass(frozen=True, kw_only=True)
class Growing:
    """What the commands that grow pictures take."""

    out: Path  # a film strip (.png) or an animation (.gif)
    weights: str = "unified"  # a shipped model, or a file
    steps: int | None = None  # default: twice the training steps
    seed: int = 0  # of fire masks and of a drawn style
    device: DeviceName = "auto"  # auto takes a CUDA GPU if there is one

    def load(self, labels: list[str]) -> NCA:
        """A model that grows pictures of these classes from one cell."""
        check_seed(self.seed)
        if self.out.suffix.lower() not in (".png", ".gif"):
            raise InputError(f"--out {self.out}: end it in .png (film strip) or .gif (animation)")
        model = load(self.weights).to(pick_device(self.device))
        if not task_of(model).from_seed:
            raise InputError(f"{self.weights} {task_of(model).does}, it can't grow: evaluate it")
        if model.metadata.get("hooks", {}).get("start"):
            raise InputError(f"{self.weights} grows from your own states: roll it out yourself")
        for name in labels:
            if as_labels(name, model.spec.classes).item() not in model.trained_labels:
                raise InputError(f"{self.weights} has never seen a {name}: give other --weights")
        return model

    def save(self, ink: Tensor, names: list[str], title: str) -> None:
        """Write ink `[T + 1, B, I, H, W]` as an animation or as a film strip, by suffix."""
        if self.out.suffix.lower() == ".gif":
            save_gif(ink, self.out)
        else:
            save_figure(growth_strip(ink.clamp(0, 1).cpu(), names, title), self.out)


@dataclass(frozen=True, kw_only=True)
class Grow(Growing):
    """Grow a picture from one cell, in a style drawn from the seed, and save the growth."""

    label: Positional[str]  # 0 to 9, or the name of another class

    def __call__(self) -> None:
        model, generator = self.load([self.label]), torch.Generator().manual_seed(self.seed)
        style = torch.randn(1, model.config.style_dim, generator=generator)
        frames = model.grow(self.label, style, self.steps, self.seed)
        ink = frames[:, :, : model.spec.channels]  # [T + 1, 1, I, H, W]
        self.save(ink, [""], f"One cell grows into a {self.label}")
        print(f"a {self.label} in {len(frames) - 1} steps -> {self.out}")


@dataclass(frozen=True, kw_only=True)
class Redraw(Growing):
    """Grow a digit in your own handwriting: from a photo, scan or drawing with one digit on it."""

    picture: Positional[Path]  # PNG or JPG, dark on light or light on dark, any size
    label: str  # which digit it is
    labels: str | None = None  # what to write in this handwriting: 0-9, or 3,5,7; default: --label

    def __call__(self) -> None:
        if self.out.exists() and self.picture.exists() and self.out.samefile(self.picture):
            raise InputError(f"--out {self.out} is the picture itself: choose another name")
        text = self.labels or self.label
        ends = re.fullmatch(r"(\d)-(\d)", text)
        names = list("0123456789"[int(ends[1]) : int(ends[2]) + 1]) if ends else text.split(",")
        model = self.load([self.label, *names])
        if model.spec.channels != 1 or model.encoder is None:
            raise InputError(f"{self.weights} has no styles of handwriting: give other --weights")
        picture = read_digit(self.picture)  # [1, H, W]
        classifier = classifier_for(model.spec)
        warning = classifier and label_warning(classifier, picture, int(self.label))
        if warning:
            print(f"careful: {warning}")
        ink = model.redraw(picture, self.label, names, self.steps, self.seed)[:, :, :1].cpu()
        original = picture.expand(len(ink), 1, *picture.shape)  # [T + 1, 1, 1, H, W]
        film, names = torch.cat([original, ink], 1), [self.picture.name, *names]
        self.save(film, names, "Your handwriting, grown from one cell")
        print(f"{', '.join(names[1:])} in the handwriting of {names[0]} -> {self.out}")


class Info:
    """What this installation uses: versions, which rollout and why, threads, GPU, data."""

    def __call__(self) -> None:
        from nca_lib.rollout import compiled

        (ready, why), place = compiled.available(), "memory only"
        if ready:
            from nca_lib.rollout import kept  # it needs numba

            place = kept.cache_folder() if kept.is_kept() else place
        slow = f"sparse, in plain PyTorch: two to ten times as slow ({why})"
        python, gpu = platform.python_version(), torch.cuda.is_available()
        print(f"nca_lib   {__version__}, Python {python}, PyTorch {torch.__version__}")
        print(f"rollout   {f'compiled by numba, kept in {place}' if ready else slow}")
        print(f"threads   {torch.get_num_threads()} of {os.cpu_count()} cores")
        print(f"GPU       {torch.cuda.get_device_name() if gpu else 'none'}")
        print(f"NCA_DATA  {os.environ.get('NCA_DATA', 'not set')}")


def commands(preset: str) -> dict:
    """Every command, with the settings that the preset gives it."""
    known = {"run": RunAll(preset=preset)}
    for command in (Pretrain, Finetune, Restore, Read, Paint):
        model, training = command.usual(PRESETS[preset])
        chosen = {} if command is Paint else {"preset": preset}
        known[command.__name__.lower()] = command(model=model, training=training, **chosen)
    known["grow"] = Grow(label=tyro.MISSING, out=tyro.MISSING)
    known["redraw"] = Redraw(picture=tyro.MISSING, label=tyro.MISSING, out=tyro.MISSING)
    return known | {"evaluate": Evaluate(preset=preset), "info": Info()}


HOME = re.compile(r"^((?:--[\w-]+=)?)(~.*)", re.S)  # shells leave the ~ of --out=~/x to us


def parse(arguments: list[str]):
    """The command that was asked for, with what its preset says where nothing is given."""
    arguments = [HOME.sub(lambda m: m[1] + os.path.expanduser(m[2]), part) for part in arguments]
    full = re.search(r"--preset[= ]full\b", " ".join(arguments))
    known = commands("full" if full else "quick")
    about = {name: type(command).__doc__ for name, command in known.items()}
    types = tyro.extras.subcommand_type_from_defaults(known, about, prefix_names=False)
    types, errors = OmitArgPrefixes[FlagCreatePairsOff[types]], io.StringIO()
    try:
        with redirect_stderr(errors):
            return tyro.cli(types, prog="nca", description=ABOUT, args=arguments)
    except SystemExit as end:
        if not end.code:
            raise
        # tyro's message stands in a frame, its title in the first row, hints below the sentence
        rows = [line.strip("│|─-╭╮╰╯+ \r") for line in errors.getvalue().splitlines()]
        sentence = "\n".join(rows[1:]).strip().split("\n\n")[0]
        sentence = re.sub(r"Error parsing __tyro\S+: ", "", " ".join(sentence.split()))
        raise InputError(f"{sentence} (see --help)") from None


def run_command(arguments: list[str]) -> int:
    """Run a command; returns the exit code. Bad input is one line and exit code 2."""
    try:
        parse(arguments or ["--help"])()
        sys.stdout.flush()
    except BrokenPipeError:  # as in `nca info | head -1`: nobody listens any more
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (InputError, OSError) as error:
        return say(str(error), 2)
    except (MemoryError, RuntimeError) as error:
        if "memory" not in str(error) and not isinstance(error, MemoryError):
            raise
        return say("out of memory: choose smaller numbers, or a machine with more of it", 2)
    except TrainingDiverged as error:
        return say(str(error), 1)
    except Stopped as error:
        return say(str(error), 128 + error.number)
    return 0
