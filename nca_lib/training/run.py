"""The state of a training run, its files, and resuming from them."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from nca_lib.checkpoint import (
    RUN,
    TEMPORARY,
    load_tensors_into,
    read_tensors,
    write_atomically,
    write_tensors,
)
from nca_lib.data import Pictures
from nca_lib.inputs import InputError
from nca_lib.interrupts import say
from nca_lib.model import NCA
from nca_lib.rollout import compiled_is_faster
from nca_lib.rollout.plan import sees_sobel, weights_of
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

try:
    import fcntl
except ImportError:
    fcntl = None


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
def locked(folder: Path):
    """Lock the folder itself, too: somebody may delete its `.lock`."""
    if fcntl is None:  # Windows, where nobody can delete a file that is open
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise Timeout(str(folder)) from None
    except OSError:
        pass  # some network drives can't lock folders
    try:
        yield
    finally:
        os.close(descriptor)


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
        with lock, ExitStack() as stack:
            if lock.lock_counter == 1:
                stack.enter_context(locked(folder))
            for left in folder.glob(f".*{TEMPORARY}") if lock.lock_counter == 1 else []:
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
        self.place = self.find_place()
        if self.outputs.run.exists():
            if not resume:
                raise InputError(
                    f"{self.outputs.run} exists: continue it with --resume, or choose another --out"
                )
            self.load(self.outputs.run)
        for path in (self.outputs.model, self.outputs.picture):
            if path.exists() and not self.outputs.run.exists():
                raise InputError(f"{path} exists: choose another --out, or move it away")

    def find_place(self) -> tuple[int, int] | None:
        """Which folder it is on the disk that this run writes into, whatever its name."""
        with suppress(OSError):
            found = os.stat(self.outputs.folder)
            return found.st_dev, found.st_ino

    def check_place(self) -> None:
        """Raise InputError if the folder was moved or deleted since the run began."""
        if self.find_place() != self.place:
            raise InputError(
                f"{self.outputs.folder} was moved or deleted: stopped at iteration "
                f"{self.iteration}, and nothing more was written"
            )

    def engine_used(self) -> str:
        """The engine of the rollouts, or what 'auto' stands for here."""
        weights = weights_of(self.model, None, 2, sees_sobel(self.model))
        if self.engine != "auto" or weights is None:
            return self.engine
        return "compiled" if compiled_is_faster(self.model.seed(2), weights) else "sparse"

    def save(self) -> None:
        """Write the checkpoint."""
        if not self.writes:
            return
        self.check_place()
        tensors = {f"model.{k}": v for k, v in self.model.state_dict().items()}
        tensors |= {f"optimiser.{k}": v for k, v in self.optimisers.tensors().items()}
        tensors |= {f"pool.{name}": getattr(self.pool, name) for name in POOLED}
        tensors["generator."] = self.generator.get_state()
        names = ("iteration", "seconds", "last")
        progress = {name: getattr(self, name) for name in names} | {"filled": self.pool.filled}
        progress["engine"] = self.engine_used()
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
            self.check_place()
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
            old, new = progress.get("engine", "auto"), self.engine_used()
            if new != old != "auto" and self.ranks.is_main:
                say(f"{path} was computed by the {old} engine, now it is {new}: not bit for bit", 0)
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
    """The lines of a log; one that was torn by a crash, or is no entry, is left out."""
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    lines = []
    for line in text.splitlines():
        try:
            entry = json.loads(line)
            usual = abs(entry["ink"] + sum(entry.values())) < 1e30  # no NaN, either
            if isinstance(entry["iteration"], int) and usual:
                lines.append(entry)
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
            continue
    return lines
