"""The command line: `nca COMMAND`. Settings are declared in the dataclasses that use them."""

from __future__ import annotations

import io
import os
import platform
import re
import sys
import time
from contextlib import redirect_stderr
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Annotated, Literal

from nca_lib import __version__
from nca_lib.checkpoints import load, sha256
from nca_lib.data import DataName, load_data
from nca_lib.dataset import Dataset
from nca_lib.errors import InputError
from nca_lib.evaluation import pixel_accuracy
from nca_lib.handwriting import read_picture, style_warning
from nca_lib.inputs import as_labels, as_whole
from nca_lib.judge import critic_for, judge_for, save_judge, train_judge
from nca_lib.kinds import MNIST, Kind
from nca_lib.plots import save_gif, save_strip
from nca_lib.report import painter, read_logs, report
from nca_lib.rival import save_rival, train_rival
from nca_lib.rollout.fire import check_seed
from nca_lib.rule import NCA, RuleConfig
from nca_lib.stopping import Stopped, say
from nca_lib.training import Outputs, TrainingConfig, TrainingDiverged, train
from nca_lib.training.presets import PAINT, PRESETS
from nca_lib.training.pretraining import (
    initial_rule,
    load_digit_rules,
    merge,
    pretrain,
    rule_name,
    widen,
)
from nca_lib.training.ranks import Ranks, from_torchrun

import torch
import tyro
from tyro.conf import FlagCreatePairsOff, OmitArgPrefixes, Positional

ABOUT = """Grow handwritten digits with a neural cellular automaton: train the rule, measure it,
watch it. Start with `nca run`: ten minutes on a laptop, no network needed. Then give it your own
handwriting (`nca redraw`) and your own coloured pictures (`nca paint`)."""
GPU_ROLLOUTS = " (small batches are graphed, large ones sparse)"
DeviceName = Literal["auto", "cpu", "cuda", "mps"]
PresetName = Literal["quick", "full"]
DataRoot = Annotated[str | None, tyro.conf.arg(metavar="DIR")]


def pick_device(name: str) -> torch.device:
    """The device of that name, if it is there."""
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not there.get(name, True):
        raise InputError(f"--device {name}: PyTorch finds no GPU of this kind; use cpu or auto")
    return torch.device(("cuda" if there["cuda"] else "cpu") if name == "auto" else name)


@dataclass(frozen=True)
class Common:
    """What most commands take."""

    data: DataName = "mnist"  # which pictures; 'pictures' are those of a folder of your own
    data_root: DataRoot = None  # holds MNIST/raw, or 'embedded'; default $NCA_DATA, else by preset
    preset: PresetName = "quick"  # quick: embedded sample, minutes. full: all of MNIST, hours
    device: DeviceName = "auto"  # auto takes a CUDA GPU if there is one

    def open(self) -> tuple[torch.device, Dataset]:
        """The device and the data."""
        device = pick_device(self.device)
        data = load_data(self.data, self.data_root, self.preset)
        print(f"data: {data.source}")
        return device, data


@dataclass(frozen=True)
class Training(Common):
    """What the trainings take."""

    out: Path | None = None  # folder for all that is written; default: runs/PRESET
    resume: bool = False  # go on where a stopped run left off; finished parts are kept

    @property
    def folder(self) -> Path:
        return self.out or Path("runs") / self.preset

    def train_one(
        self, rule: NCA, config, data: Dataset, name: str, origin: dict, ranks=None, critic=None
    ):
        """One training, with its picture; returns the rule's file."""
        outputs = Outputs(self.folder, name)
        if sys.stderr is None or not sys.stderr.isatty():
            print(f"{name}: {config.iterations} iterations, log in {outputs.log}", flush=True)
        train(
            rule, data.train, config, outputs, source=data.name, origin=origin, resume=self.resume,
            watch=painter(data, outputs.picture, config.steps), ranks=ranks, critic=critic,
        )  # fmt: skip
        print(f"{name}: {config.iterations} iterations -> {outputs.rule}", flush=True)
        return outputs.rule

    def train_from_scratch(self, rule: RuleConfig, config: TrainingConfig, name: str) -> None:
        """One training of a new rule, by all ranks together."""
        ranks, device = Ranks.join(pick_device(self.device))
        _, data = self.open()
        begun = initial_rule(rule, config.seed, data.kind).to(device)
        self.train_one(begun, config, data, name, {"merge": "scratch"}, ranks)
        ranks.leave()


def refuse(given, usual, names: set[str], why: str) -> None:
    """Settings that can't take effect here must be the usual ones."""
    for name in sorted(names):
        if getattr(given, name) != getattr(usual, name):
            raise InputError(f"--{name.replace('_', '-')} can't take effect: {why}")


def refuse_critic(given: Path | None, training: TrainingConfig) -> None:
    if given is not None and not training.critic_weight:
        raise InputError("--critic can't take effect: --critic-weight is 0")


def without_critic(training: TrainingConfig, usual: TrainingConfig, kind: Kind) -> TrainingConfig:
    """The same training of pictures for which no critic is shipped, if it was not asked for one."""
    if kind == MNIST or training.critic_weight != usual.critic_weight or not usual.critic_weight:
        return training
    print("no critic is shipped for these pictures: trained without (nca judge makes one)")
    return replace(training, critic_weight=0.0)


CRITIC_EPOCHS = 6  # of the critic that `run` trains for itself
ELSEWHERE = {"task", "blurs", "noise"}  # settings of the trainings that grow nothing
RULE_FIELDS = {f.name for f in fields(RuleConfig)}


@dataclass(frozen=True)
class Pretrain(Training):
    """Train a rule per class: ten rules for ten digits, in parallel, from one initialisation."""

    rule: RuleConfig = field(default_factory=RuleConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    workers: int | None = None  # processes; default: one a core
    critic: Path | None = None  # of `nca judge`, for --critic-weight; default: the shipped one

    def __call__(self) -> None:
        usual = PRESETS[self.preset].pretrain
        refuse(self.training, usual, {"switch_share"}, "a digit's rule knows one digit")
        refuse(self.training, usual, ELSEWHERE, "use `nca restore` or `nca read`")
        refuse_critic(self.critic, self.training)
        ranks, device = Ranks.join(pick_device(self.device))
        _, data = self.open()
        training = self.training if self.critic else without_critic(self.training, usual, data.kind)
        pretrain(
            self.rule, data.train, training, self.folder, kind=data.kind, source=data.name,
            resume=self.resume, workers=self.workers, device=str(device), progress=ranks.first,
            ranks=ranks, critic=self.critic,
        )  # fmt: skip
        ranks.leave()
        count, name = len(data.kind.classes), rule_name(0, data.kind)
        files = f"{self.folder / name}.safetensors ..."
        print(f"{count} rules, {self.training.iterations} iterations each -> {files}")


@dataclass(frozen=True)
class Finetune(Training):
    """Merge the ten rules into one and train it on all digits: the unified rule."""

    rule: RuleConfig = field(default_factory=RuleConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    merge: Literal["mean", "last", "scratch"] | None = None  # how ten rules become one: mean
    start: Annotated[Path | None, tyro.conf.arg(name="from")] = None
    """Folder with digit-0 ... digit-9 (default: --out), or a rule to train further."""
    critic: Path | None = None  # of `nca judge`, for --critic-weight; default: the shipped one

    def __call__(self) -> None:
        usual = PRESETS[self.preset].finetune
        refuse(self.training, usual, ELSEWHERE, "use `nca restore` or `nca read`")
        refuse_critic(self.critic, self.training)
        ranks, device = Ranks.join(pick_device(self.device))
        _, data = self.open()
        rule, origin = self.begin(data.kind)
        critic = self.critic and critic_for(data.kind, self.critic)
        training = self.training if critic else without_critic(self.training, usual, data.kind)
        self.train_one(rule.to(device), training, data, "unified", origin, ranks, critic=critic)
        ranks.leave()

    def begin(self, kind: Kind) -> tuple[NCA, dict]:
        """The rule to start from, and what it is made of."""
        usual, seed = PRESETS[self.preset].rule, self.training.seed
        if self.start is not None and (self.start.is_file() or self.start.suffix):
            if self.merge:
                raise InputError(f"--merge can't take effect: {self.start} is one rule already")
            rule = load(self.start).train()
            refuse(self.rule, usual, RULE_FIELDS - {"hidden"}, f"{self.start} has its own")
            if self.rule.hidden != usual.hidden:
                rule = widen(rule, self.rule.hidden, seed)
            return rule, {"file": self.start.name, "sha256": sha256(self.start)}
        if self.merge == "scratch":
            if self.start is not None:
                raise InputError(
                    f"--from {self.start} can't take effect: --merge scratch uses none"
                )
            return initial_rule(self.rule, seed, kind), {"merge": "scratch"}
        return merged(self.start or self.folder, kind, self.merge or "mean", self.rule, usual, seed)


def merged(folder: Path, kind: Kind, how: str, given: RuleConfig, usual: RuleConfig, seed: int):
    """The merger of the rules in a folder, one for each class, and what it is made of."""
    rules = load_digit_rules(folder, kind)
    names = {n for n in RULE_FIELDS if getattr(given, n) != getattr(rules[0].config, n)}
    refuse(given, usual, names, f"the rules in {folder} have their own")
    origin = {"merge": how, "sha256": [rule.record["sha256"] for rule in rules]}
    return merge(rules, how, seed), origin


@dataclass(frozen=True)
class Restore(Training):
    """Train a rule that restores a blurred digit: not growth, the start shows the target."""

    rule: RuleConfig = field(default_factory=RuleConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)

    def __call__(self) -> None:
        plan, why = PRESETS[self.preset], "restoration is told neither label nor style to change"
        names = {"task", "switch_share", "anchor_weight", "place_weight", "critic_weight"}
        names |= set() if self.rule.style_dim else {"kl_weight", "kl_full"}
        refuse(self.training, plan.restore, names, why)
        self.train_from_scratch(self.rule, self.training, "restore")


@dataclass(frozen=True)
class Read(Training):
    """Train cells that read: the ink is given, and all must come to agree which digit it is."""

    rule: RuleConfig = field(default_factory=RuleConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)

    def __call__(self) -> None:
        plan, why = PRESETS[self.preset], "cells that read draw nothing, and are told nothing"
        names = {"life_weight", "anchor_weight", "place_weight", "critic_weight", "kl_weight"}
        refuse(self.training, plan.read, ELSEWHERE | names | {"kl_full"}, why)
        refuse(self.rule, plan.reader, {"label_dim", "style_dim", "held"}, why)
        self.train_from_scratch(self.rule, self.training, "reader")


@dataclass(frozen=True)
class Evaluate(Common):
    """Measure a rule on held-out digits, always beside the trivial baselines."""

    weights: str = tyro.MISSING  # unified, restore, digit-0 ... digit-9, or a file
    split: Literal["test", "validation"] = "test"  # validation is for choosing between rules
    json: Path | None = None  # write all results here
    figures: Path | None = None  # write figures into this folder
    judge: Path | None = None  # of `nca judge`, for pictures that the shipped judge can't read
    limit: int | None = None  # only the first pictures
    seed: int = 0  # of fire masks, damage and styles

    def __call__(self) -> None:
        device, rule = pick_device(self.device), load(self.weights)
        check_seed(self.seed)
        _, data = self.open()
        reads = rule.task == "read"
        if reads and (self.figures or self.judge):
            raise InputError("a reading rule draws nothing: --figures and --judge have no effect")
        judge = None if reads else judge_for(data.kind, self.judge)
        report(
            rule.to(device), data, self.split, self.seed, self.limit, self.json, self.figures,
            judge=judge,
        )  # fmt: skip


def save_growth(frames, names: list[str], out: Path, title: str) -> None:
    """Write states `[R, B, C, H, W]` as a film strip or as an animation, by suffix.

    Raises:
        InputError: another suffix, or a file that can't be written.
    """
    ink = frames.clamp(0, 1).cpu()
    if out.suffix.lower() == ".gif":
        save_gif(ink, out)
    else:
        save_strip(ink, out, names, title)


def check_film(out: Path) -> None:
    if out.suffix.lower() not in (".png", ".gif"):
        raise InputError(f"--out {out}: end it in .png (film strip) or .gif (animation)")


def grower(weights: str, device: str) -> NCA:
    """A rule that grows pictures from one cell."""
    rule = load(weights).to(pick_device(device))
    if rule.task != "grow":
        what = {"restore": "restores blurred pictures", "read": "reads pictures"}[rule.task]
        raise InputError(f"{weights} {what}, it can't grow: evaluate it")
    if rule.record.get("hooks", {}).get("start"):
        raise InputError(f"{weights} was trained from starts of its own: roll it out from those")
    return rule


def label_in(text: str, rule: NCA, weights: str) -> int:
    """A label that was given by number or name, and that the rule has learned."""
    classes = rule.kind.classes
    number = re.fullmatch(r"-?\d+", text) and text not in classes
    label = as_labels(int(text) if number else text, classes).item()
    if label not in rule.known:
        raise InputError(f"{weights} has never seen a {classes[label]}: give another rule")
    return label


def labels_in(text: str, rule: NCA, weights: str) -> list[int]:
    """Labels given as a range (0-9) or as a list (3,5,7, or names)."""
    ends = re.fullmatch(r"(\d{1,3})-(\d{1,3})", text)
    many = [str(n) for n in range(int(ends[1]), int(ends[2]) + 1)] if ends else text.split(",")
    if not many or len(many) > len(rule.kind.classes):
        raise InputError(f"--labels {text}: give a range (0-9) or a list (3,5,7), each label once")
    return [label_in(name.strip(), rule, weights) for name in many]


@dataclass(frozen=True)
class Grow:
    """Grow a digit from one cell, in a style drawn from the seed, and save the growth."""

    digit: Positional[str]  # 0 to 9, or the name of another class
    out: Path  # a film strip (.png) or an animation (.gif)
    weights: str = "unified"  # a shipped rule, or a file
    steps: int | None = None  # default: twice the training steps
    seed: int = 0  # of style and fire masks
    device: DeviceName = "auto"  # auto takes a CUDA GPU if there is one

    def __call__(self) -> None:
        check_film(self.out)
        rule = grower(self.weights, self.device)
        label, generator = label_in(self.digit, rule, self.weights), torch.Generator()
        style = torch.randn(
            1, rule.config.style_dim, generator=generator.manual_seed(check_seed(self.seed))
        )
        frames, name = rule.grow(label, style, self.steps, self.seed), rule.kind.classes[label]
        ink = frames[:, :, : rule.kind.ink]  # [steps + 1, 1, I, H, W]
        save_growth(ink, [""], self.out, f"One cell grows into a {name}")
        print(f"a {name} in {len(frames) - 1} steps -> {self.out}")


@dataclass(frozen=True)
class Redraw:
    """Grow a digit of your own handwriting: a photo, a scan or a drawing, one digit on it."""

    picture: Positional[Path]  # PNG or JPG, dark on light or light on dark, any size
    label: str  # which digit it is
    out: Path  # a film strip (.png) or an animation (.gif)
    labels: str | None = None  # what to write in this hand: 0-9, or 3,5,7; default: --label
    weights: str = "unified"  # a shipped rule, or a file
    steps: int | None = None  # default: twice the training steps
    seed: int = 0  # of the fire masks
    device: DeviceName = "auto"  # auto takes a CUDA GPU if there is one

    def __call__(self) -> None:
        check_film(self.out)
        rule = grower(self.weights, self.device)
        if rule.kind.ink != 1 or rule.encoder is None:
            raise InputError(f"{self.weights} knows no handwriting: give a rule with styles")
        label = label_in(self.label, rule, self.weights)
        labels = labels_in(self.labels or self.label, rule, self.weights)
        picture = read_picture(self.picture)  # [1, H, W]
        warning = style_warning(rule, rule.infer_style(picture[None], label)[0])
        if warning:
            print(f"careful: {warning}")
        frames = rule.redraw(picture, label, labels, self.steps, check_seed(self.seed)).cpu()
        ink = frames[:, :, :1]  # [steps + 1, B, 1, H, W]
        original = picture.expand(len(ink), 1, *picture.shape)
        names = [self.picture.name, *(rule.kind.classes[label] for label in labels)]
        film = torch.cat([original, ink], 1)
        save_growth(film, names, self.out, "Your hand, grown from one cell")
        print(f"{', '.join(names[1:])} in the hand of {names[0]} -> {self.out}")


@dataclass(frozen=True)
class Paint:
    """Learn to grow coloured pictures of your own, one per class: they grow, hold and heal."""

    data_root: DataRoot = None  # folder of PNGs, up to 96 x 96; default: our three
    rule: RuleConfig = field(default_factory=lambda: PAINT.rule)
    training: TrainingConfig = field(default_factory=lambda: PAINT.training)
    out: Path = Path("runs/paint")  # folder for all that is written
    resume: bool = False  # go on where a stopped run left off
    device: DeviceName = "auto"  # auto takes a CUDA GPU if there is one

    def __call__(self) -> None:
        started, seed = time.perf_counter(), self.training.seed
        refuse(self.training, PAINT.training, ELSEWHERE, "use `nca restore --data pictures`")
        work = Training(
            data="pictures", data_root=self.data_root, out=self.out, resume=self.resume,
            device=self.device,
        )  # fmt: skip
        device, data = work.open()
        rule = initial_rule(self.rule, seed, data.kind).to(device)
        file = work.train_one(rule, self.training, data, "paint", {"merge": "scratch"})
        rule, places = load(file).to(device), (self.out / "paint.json", self.out / "figures")
        files = report(rule, data, "test", seed, None, *places, logs=read_logs(self.out))
        for name in data.kind.classes:
            files.append(self.out / f"grow-{name}.gif")
            Grow(name, files[-1], str(file), None, seed, self.device)()
        print(f"\nwritten in {(time.perf_counter() - started) / 60:.1f} minutes:")
        print("\n".join(f"  {path}" for path in [file, *files]))


@dataclass(frozen=True)
class Judge(Common):
    """Train a judge, the classifier that reads grown pictures, for digits or for other classes."""

    epochs: int = 12
    seed: int = 0
    out: Path = Path("runs/judge.safetensors")  # give it to `nca evaluate --judge`

    def __call__(self) -> None:
        if self.device not in ("auto", "cpu"):
            raise InputError(
                f"--device {self.device} can't take effect: a judge needs the CPU only"
            )
        _, data = self.open()
        if min(len(data.train), len(data.validation)) == 0 or min(data.kind.size) < 8:
            raise InputError(f"{data.source}: too few pictures, or too small, to train a judge")
        epochs = as_whole(self.epochs, "--epochs", 1)
        judge, record = train_judge(data, epochs, check_seed(self.seed))
        command = f"nca judge --data {self.data} --epochs {self.epochs} --seed {self.seed}"
        save_judge(self.out, judge, record | {"command": command})
        print(f"reads {record['test_accuracy']:.2%} of the test pictures -> {self.out}")


@dataclass(frozen=True)
class TrainRival(Common):
    """Train the fair rival: the same encoder and code, a conventional decoder in place of cells."""

    style_dim: int = PRESETS["full"].rule.style_dim
    kl_weight: float = PRESETS["full"].finetune.kl_weight
    epochs: int = 12
    seed: int = 0
    out: Path = Path("runs/rival.safetensors")

    def __call__(self) -> None:
        if self.device not in ("auto", "cpu"):
            raise InputError(
                f"--device {self.device} can't take effect: a rival needs the CPU only"
            )
        _, data = self.open()
        epochs, length = (
            as_whole(getattr(self, name), f"--{name.replace('_', '-')}", 1)
            for name in ("epochs", "style_dim")
        )
        if not 0 <= self.kl_weight < float("inf"):
            raise InputError(f"--kl-weight is {self.kl_weight}: choose 0 or more")
        seed = check_seed(self.seed)
        rival, record = train_rival(data, length, self.kl_weight, epochs, seed)
        save_rival(self.out, rival, record)
        right = pixel_accuracy(rival.redraw(data.test), data.test.images)
        print(f"redraws {right:.2%} of the test pixels right -> {self.out}")


@dataclass(frozen=True)
class RunAll(Training):
    """All of it, in order: pretrain, finetune, restore, evaluate, and pictures of the result."""

    seed: int = 0  # all random draws follow from it

    def __call__(self) -> None:
        if from_torchrun("WORLD_SIZE", 1) > 1:
            raise InputError("run is for one process: give torchrun pretrain, finetune or restore")
        check_seed(self.seed)
        started, plan, folder = time.perf_counter(), PRESETS[self.preset], self.folder
        device, data = self.open()
        if not data.held_out:
            raise InputError(f"{data.source}: there is one per class: use nca paint")
        kind, common = data.kind, {"source": data.name, "resume": self.resume}
        asked = plan.pretrain.critic_weight or plan.finetune.critic_weight
        critic = self.own_critic(data) if asked else None
        files = pretrain(
            plan.rule, data.train, replace(plan.pretrain, seed=self.seed), folder, kind=kind,
            device=device.type, critic=critic, **common,
        )  # fmt: skip
        each = f"{plan.pretrain.iterations} iterations each"
        print(f"{len(files)} rules: {each} -> {files[0]} ... {files[-1].name}", flush=True)
        rule, origin = merged(folder, kind, "mean", plan.rule, plan.rule, self.seed)
        config = replace(plan.finetune, seed=self.seed)
        judge = critic and critic_for(kind, critic)
        files.append(self.train_one(rule.to(device), config, data, "unified", origin, critic=judge))
        config = replace(plan.restore, seed=self.seed)
        rule, origin = initial_rule(plan.restorer, self.seed, kind), {"merge": "scratch"}
        files.append(self.train_one(rule.to(device), config, data, "restore", origin))
        for name in ("unified", "restore"):
            print(f"\n{name}, on {data.source}", flush=True)
            rule = load(folder / f"{name}.safetensors").to(device)
            places = folder / f"{name}.json", folder / "figures" / name
            files += report(rule, data, "test", self.seed, None, *places, logs=read_logs(folder))
        for label in range(len(kind.classes)):
            files.append(folder / f"grow-{label}.gif")
            Grow(str(label), files[-1], str(folder / "unified.safetensors"), None, self.seed,
                 self.device)()  # fmt: skip
        print(f"\nwritten in {(time.perf_counter() - started) / 60:.1f} minutes:")
        print("\n".join(f"  {file}" for file in files))

    def own_critic(self, data: Dataset) -> Path:
        """A critic of these pictures, whichever they are, trained first; kept for a resume."""
        path = self.folder / "critic.safetensors"
        if not (self.resume and path.exists()):
            critic, record = train_judge(data, CRITIC_EPOCHS, self.seed + 1)
            save_judge(path, critic, record)
        return path


@dataclass(frozen=True)
class Info:
    """What this installation uses: versions, which rollout and why, threads, GPU, data."""

    def __call__(self) -> None:
        from nca_lib.rollout import compiled

        python = platform.python_version()
        print(f"nca_lib   {__version__}, Python {python}, PyTorch {torch.__version__}")
        started = time.perf_counter()
        ready, why = compiled.available()
        took = time.perf_counter() - started
        print(f"rollout   {'compiled' if ready else 'sparse, plain PyTorch'}: {why}")
        if ready:
            kept = "kept in" if compiled.kept() else "can't be kept, each process compiles anew:"
            print(
                f"kernels   {kept} {compiled.cache_folder()}; ready after {took:.1f} seconds here"
            )
        else:
            print("kernels   none: rollouts take two to ten times as long (benchmarks/results.md)")
        print(f"threads   {torch.get_num_threads()} of {os.cpu_count()} cores", end=", ")
        print(f"OMP_WAIT_POLICY {os.environ.get('OMP_WAIT_POLICY', 'not set')}")
        gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
        print(f"GPU       {gpu}" + (GPU_ROLLOUTS if gpu != "none" else ""))
        print(f"NCA_DATA  {os.environ.get('NCA_DATA', 'not set')}")


def commands(preset: str) -> dict:
    """Every command, with the settings that the preset gives it."""
    plan, common = PRESETS[preset], {"preset": preset}
    return {
        "run": RunAll(**common),
        "pretrain": Pretrain(rule=plan.rule, training=plan.pretrain, **common),
        "finetune": Finetune(rule=plan.rule, training=plan.finetune, **common),
        "restore": Restore(rule=plan.restorer, training=plan.restore, **common),
        "read": Read(rule=plan.reader, training=plan.read, **common),
        "evaluate": Evaluate(**common),
        "grow": Grow(digit=tyro.MISSING, out=tyro.MISSING),
        "redraw": Redraw(picture=tyro.MISSING, label=tyro.MISSING, out=tyro.MISSING),
        "paint": Paint(),
        "judge": Judge(**common),
        "rival": TrainRival(**common),
        "info": Info(),
    }


def parse(arguments: list[str]):
    """The command that was asked for. A second reading fills in what the preset says."""
    text = " ".join(arguments)
    preset = "full" if re.search(r"--preset[= ]full\b", text) else "quick"
    known = commands(preset)
    kinds = tyro.extras.subcommand_type_from_defaults(
        known, {name: type(command).__doc__ for name, command in known.items()}, prefix_names=False
    )
    said = io.StringIO()
    try:
        with redirect_stderr(said):
            return tyro.cli(
                OmitArgPrefixes[FlagCreatePairsOff[kinds]], prog="nca", description=ABOUT,
                args=arguments,
            )  # fmt: skip
    except SystemExit as end:
        if end.code:
            raise InputError(first_sentence(said.getvalue())) from None
        raise


def first_sentence(box: str) -> str:
    """What tyro's box says first, in one line; above and below it are rules."""
    rows = [line.strip("│|─-╭╮╰╯+ \r") for line in box.splitlines()]
    if len(rows) > 1 and rows[0]:  # the title, set into the upper rule
        rows[0] = ""
    text = "\n".join(rows).strip("\n").split("\n\n")[0]
    return " ".join(text.split()) + " (see --help)"


def run_command(arguments: list[str]) -> int:
    """Run a command; returns the exit code. Bad input is one line and exit code 2."""
    if arguments == ["--version"]:
        print(f"nca_lib {__version__}, PyTorch {torch.__version__}")
        return 0
    try:
        parse(arguments or ["--help"])()
        sys.stdout.flush()
    except BrokenPipeError:  # as in `nca info | head -1`: nobody listens any more
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        return say(f"{error}; look at the file, its folder and the room on the disk", 2)
    except InputError as error:
        return say(str(error), 2)
    except TrainingDiverged as error:
        return say(str(error), 1)
    except Stopped as error:
        return say(str(error), 128 + error.number)
    return 0
