"""The state of a training run, its files, and resuming from them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from nca_lib.checkpoint import (
    RUN,
    load_tensors_into,
    read_tensors,
    write_atomically,
    write_tensors,
)
from nca_lib.data import Pictures
from nca_lib.inputs import InputError
from nca_lib.model import NCA
from nca_lib.state import crop, pad
from nca_lib.training.config import TrainingConfig
from nca_lib.training.distributed import Distributed
from nca_lib.training.losses import Losses
from nca_lib.training.optimisers import Optimisers
from nca_lib.training.pool import POOLED, Pool
from nca_lib.training.tasks import TASKS

import torch
from filelock import FileLock, Timeout
from torch import Tensor, nn


@dataclass(frozen=True)
class Hooks:
    """Parts of one's own; None: the library's."""

    loss: Callable | None = None
    start: Callable | None = None
    optimiser: Callable | None = None

    def names(self) -> dict[str, str]:
        """What to call them in a fingerprint: functions, classes and callables of any kind."""
        given = {name: hook for name, hook in vars(self).items() if hook is not None}
        return {n: getattr(h, "__qualname__", type(h).__qualname__) for n, h in given.items()}


@dataclass(frozen=True)
class Outputs:
    """Where a training run writes: the model, the state to resume from, the log, a picture."""

    folder: Path
    name: str

    @property
    def model(self) -> Path:
        return Path(self.folder) / f"{self.name}.safetensors"

    @property
    def run(self) -> Path:
        return Path(self.folder) / f"{self.name}.run.safetensors"

    @property
    def log(self) -> Path:
        return Path(self.folder) / f"{self.name}.jsonl"

    @property
    def picture(self) -> Path:
        return Path(self.folder) / f"{self.name}.png"


@contextmanager
def only_writer(folder: Path):
    """A folder of runs has one writer at a time.

    Raises:
        InputError: another process writes there, or nobody can.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".lock", timeout=0, is_singleton=True)  # again from within is fine
        with lock:
            for left in folder.glob(".*.tmp") if lock.lock_counter == 1 else []:
                left.unlink(missing_ok=True)  # of a writer that was killed
            yield
    except Timeout:
        raise InputError(
            f"another process is writing into {folder}: wait until it ends, or choose another --out"
        ) from None
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"can't write into {folder} ({reason}); choose another --out") from error


@dataclass
class Run:
    """Everything that changes during training: saved and restored, it goes on bit for bit."""

    model: NCA
    config: TrainingConfig
    hooks: Hooks
    perceptual: nn.Module | None
    ranks: Distributed
    engine: str
    iteration: int = 0
    seconds: float = 0.0
    last: dict = field(default_factory=dict)  # the newest metrics
    outputs: Outputs | None = None
    fingerprint: dict = field(default_factory=dict)  # what a run that is resumed must share

    def __post_init__(self):
        model, config, ranks = self.model, self.config, self.ranks
        self.task = TASKS[config.task]
        self.optimisers = Optimisers(model, config.learning_rate, self.hooks.optimiser)
        own = ranks.share(config.pool_size, "pool_size")
        self.pool = Pool(own, model, config.margin)
        # the only source of randomness
        self.generator = torch.Generator().manual_seed(config.seed + 2**32 * ranks.rank)

    # ---- the task, and parts of one's own in its place -------------------------------------------

    def initial_state(self, images: Tensor, labels: Tensor, rng_seeds: Tensor) -> Tensor:
        """Where samples begin, `[B, C, H, W]`, margin included."""
        if self.hooks.start is None:
            return self.task.training_state(self.model, images, rng_seeds, self.config)
        states = self.hooks.start(images, labels)
        wanted = (len(images), self.model.config.channels, *self.model.spec.size)
        if tuple(states.shape) != wanted:
            raise InputError(f"start gave states {list(states.shape)}: want {list(wanted)}")
        return pad(states.to(images), self.config.margin)

    def losses(self, frames: Tensor, images: Tensor, labels: Tensor) -> Losses:
        """The task's losses of frames `[R, B, C, H, W]`, or the user's loss alone."""
        if self.hooks.loss is None:
            parts = frames, images, labels, self.config, self.perceptual
            return self.task.losses(self.model, *parts)
        own = self.hooks.loss(crop(frames, self.config.margin), images, labels)
        if own.dim():
            raise InputError(f"loss gave the shape {list(own.shape)}: want one number, its mean")
        return Losses(own, *[frames.new_zeros(())] * (len(Losses._fields) - 1))

    def accuracy(self, states: Tensor, images: Tensor, labels: Tensor) -> Tensor:
        """The task's accuracy of each sample, `[B]`."""
        return self.task.accuracy(self.model, crop(states, self.config.margin), images, labels)

    # ---- files -----------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        return self.outputs.name if self.outputs else self.task.name

    @property
    def writes(self) -> bool:
        """The main rank alone writes files."""
        return self.outputs is not None and self.ranks.is_main

    def open(self, resume: bool) -> None:
        """Resume the saved run, if there is one and that is wanted.

        Raises:
            InputError: there are outputs already and `resume` is not given.
        """
        if self.outputs is None:
            return
        if self.outputs.run.exists():
            if not resume:
                raise InputError(
                    f"{self.outputs.run} exists: continue it with --resume, or choose another --out"
                )
            self.load(self.outputs.run)
        elif self.outputs.model.exists():
            raise InputError(f"{self.outputs.model} exists: choose another --out, or move it away")

    def save(self) -> None:
        """Write the checkpoint."""
        if not self.writes:
            return
        tensors = {f"model.{k}": v for k, v in self.model.state_dict().items()}
        tensors |= {f"optimiser.{k}": v for k, v in self.optimisers.tensors().items()}
        tensors |= {f"pool.{name}": getattr(self.pool, name) for name in POOLED}
        tensors["generator."] = self.generator.get_state()
        names = ("iteration", "seconds", "last")
        progress = {name: getattr(self, name) for name in names} | {"filled": self.pool.filled}
        header = {"fingerprint": self.fingerprint, "progress": progress}
        write_tensors(self.outputs.run, RUN, tensors, **header)

    def open_log(self) -> list[dict]:
        """The history so far; what came after the saved iteration comes again."""
        kept = []
        if self.writes:
            kept = [e for e in read_log(self.outputs.log) if e["iteration"] <= self.iteration]
            text = "".join(json.dumps(entry) + "\n" for entry in kept)
            write_atomically(self.outputs.log, text.encode())
        return kept or ([self.last] if self.last else [])

    def log(self, metrics: dict) -> dict:
        """Note metrics in the log, with their iteration and the seconds so far."""
        self.last = {"iteration": self.iteration, **metrics, "seconds": round(self.seconds, 2)}
        if self.writes:
            with self.outputs.log.open("a", encoding="utf-8") as file:
                file.write(json.dumps(self.last) + "\n")
        return self.last

    def load(self, path: Path) -> None:
        """Resume from a checkpoint. Ranks other than the main one begin with an empty pool.

        Raises:
            InputError: the file can't be used, or was started with other settings.
        """
        tensors, header = read_tensors(path, RUN)
        check_same_run(path, header.get("fingerprint", {}), self.fingerprint)
        parts = {"model": {}, "optimiser": {}, "pool": {}, "generator": {}}
        try:
            for name, tensor in tensors.items():
                part, _, rest = name.partition(".")
                parts[part][rest] = tensor
            load_tensors_into(self.model, parts["model"], path)
            self.optimisers.load(parts["optimiser"])
            progress = header["progress"]
            self.iteration, self.seconds = int(progress["iteration"]), float(progress["seconds"])
            self.last = dict(progress["last"])
            if self.ranks.is_main:
                self.pool.load(parts["pool"], int(progress["filled"]))
                self.generator.set_state(parts["generator"][""])
            else:
                own = self.config.seed + 2**32 * self.ranks.rank
                self.generator.manual_seed(own + 2**40 * self.iteration)
        except Exception as error:  # whatever is wrong inside, it is the file that is wrong
            raise InputError(
                f"{path} is no run that this nca_lib can resume ({type(error).__name__}: {error}); "
                "move it away and start anew"
            ) from error


def fingerprint_of(run: Run, pictures: Pictures, source: str, init_from: dict) -> dict:
    """What a run must have in common with the one that it resumes; plain values.

    Where the pictures lie is not part of it, which they are is.
    """
    learned = ("task", "steps", "trained_labels")  # follow from the settings and the pictures
    model = {k: v for k, v in run.model.settings().items() if k not in learned}
    pixels = pictures.images.mul(255).round().byte().contiguous().numpy().tobytes()
    return {
        "training": run.config.plain(),
        "model": model,
        "source": source,
        "init_from": init_from,
        "hooks": run.hooks.names(),
        "pictures": len(pictures),
        "pictures_sha256": hashlib.sha256(pixels).hexdigest()[:16],
        "labels": pictures.labels.unique().tolist(),
        "world_size": run.ranks.world_size,
    }


def check_same_run(path: Path, saved: dict, wanted: dict, prefix: str = "") -> None:
    """Raise InputError at the first setting in which the saved run differs from this one."""
    if not isinstance(saved, dict):
        raise InputError(f"can't resume {path}: its metadata can't be read; start anew")
    for key in sorted(saved.keys() | wanted.keys()):
        old, new = saved.get(key), wanted.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            check_same_run(path, old, new, f"{prefix}{key}.")
        elif old != new:
            raise InputError(
                f"can't resume {path}: it was started with {prefix}{key} = {old}, now it is {new}. "
                "Give the same settings, or another --out"
            )


def read_log(path: Path) -> list[dict]:
    """The lines of a log; one that was torn by a crash is left out."""
    text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
    lines = []
    for line in text.splitlines():
        try:
            entry = json.loads(line)
            if isinstance(entry, dict) and isinstance(entry["iteration"], int):
                lines.append(entry)
        except (ValueError, KeyError, RecursionError):
            continue
    return lines
