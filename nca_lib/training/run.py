"""The state of a training, its files, and going on from them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from nca_lib.blurs import blurred_at_random
from nca_lib.cells import inked_state, inner, starts, widened
from nca_lib.checkpoints import (
    RUN,
    load_tensors_into,
    read_tensors,
    write_atomically,
    write_tensors,
)
from nca_lib.dataset import Pictures
from nca_lib.errors import InputError
from nca_lib.judge import Judge
from nca_lib.reading import count_votes
from nca_lib.rule import NCA
from nca_lib.training.losses import Losses, OwnLoss, growth_losses, reading_losses
from nca_lib.training.optimisers import Optimisers
from nca_lib.training.pool import Pool
from nca_lib.training.ranks import Ranks
from nca_lib.training.settings import TrainingConfig

import torch
from filelock import FileLock, Timeout
from torch import Tensor


@dataclass(frozen=True)
class Outputs:
    """Where a training writes: the rule, the run to resume, the log, the picture."""

    folder: Path
    name: str
    claimed: bool = False  # whoever started this process is the folder's one writer already

    @property
    def rule(self) -> Path:
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


class Task(NamedTuple):
    """Where states start, what they are compared with, and what share of it is right."""

    start: Callable[[Tensor, Tensor, Tensor], Tensor]  # images, labels, streams -> [B, C, H, W]
    loss: Callable[[Tensor, Tensor, Tensor], Losses]  # frames [R, B, C, H, W], images, labels
    right: Callable[[Tensor, Tensor, Tensor], Tensor]  # states [B, C, H, W], images, labels -> [B]


def task_of(
    rule: NCA, config: TrainingConfig, start: Callable | None, loss: OwnLoss | None, critic=None
) -> Task:
    """The task of the settings; a start and a loss of one's own take the place of its parts."""
    channels, margin = rule.config.channels, config.margin
    if critic is not None:
        critic = critic.to(rule.kernels)  # its device and its type

    def begin(images: Tensor, labels: Tensor, streams: Tensor) -> Tensor:
        if start is None and config.task == "restore":
            soft = blurred_at_random(images, config.blurs, config.noise, streams)
            return widened(inked_state(soft, channels, above=0), margin)
        if start is None:
            return widened(starts(config.task, images, channels), margin)
        states, wanted = start(images, labels), (len(images), channels, *rule.kind.size)
        if states.shape != wanted:
            raise InputError(f"start gave states {list(states.shape)}: want {list(wanted)}")
        return widened(states.to(images), margin)

    def losses(frames: Tensor, images: Tensor, labels: Tensor) -> Losses:
        if config.task == "read":
            wide = widened(images, margin)
            parts = reading_losses(frames, wide, labels, rule.kind, config)
        else:
            parts = growth_losses(frames, images, config, critic)
        if loss is None:
            return parts
        own = loss(inner(frames, margin), images, labels)
        if own.dim():
            raise InputError(f"loss gave the shape {list(own.shape)}: want one number, its mean")
        return parts._replace(ink=own)

    def right(states: Tensor, images: Tensor, labels: Tensor) -> Tensor:
        states = inner(states, margin)
        if config.task == "read":
            tally = count_votes(states, images, rule.kind)  # [B, L]
            return tally.gather(1, labels[:, None])[:, 0] / tally.sum(1).clamp(min=1)
        same = (states[:, : rule.kind.ink] > 0.5) == (images > 0.5)  # [B, I, H, W]
        return same.float().mean((1, 2, 3))

    return Task(begin, losses, right)


@dataclass
class Run:
    """Everything that changes while training: saved and restored, it goes on bit for bit."""

    rule: NCA
    optimisers: Optimisers
    pool: Pool
    task: Task
    generator: torch.Generator  # the only source of randomness
    iteration: int = 0
    seconds: float = 0.0
    last: dict = field(default_factory=dict)  # the newest record of the log

    def save(self, path: Path, identity: dict) -> None:
        """Write the checkpoint; all ranks take part, the first one writes."""
        pool = self.pool.collect()
        if not self.pool.ranks.first:
            return
        tensors = {f"rule.{k}": v for k, v in self.rule.state_dict().items()}
        tensors |= {f"optimiser.{k}": v for k, v in self.optimisers.tensors().items()}
        tensors |= {f"pool.{name}": tensor for name, tensor in pool.items()}
        tensors["generator."] = self.generator.get_state()
        names = ("iteration", "seconds", "last")
        progress = {name: getattr(self, name) for name in names} | {"filled": self.pool.filled}
        write_tensors(path, RUN, tensors, identity=identity, progress=progress)

    def load(self, path: Path, identity: dict) -> None:
        """Go on from a checkpoint.

        Raises:
            InputError: the file can't be used, or was started with other settings.
        """
        tensors, metadata = read_tensors(path, RUN)
        check_same_run(path, metadata.get("identity", {}), identity)
        parts = {"rule": {}, "optimiser": {}, "pool": {}, "generator": {}}
        try:
            for name, tensor in tensors.items():
                part, _, rest = name.partition(".")
                parts[part][rest] = tensor
            load_tensors_into(self.rule, parts["rule"], path)
            self.optimisers.load(parts["optimiser"])
            progress = metadata["progress"]
            self.pool.load(parts["pool"], int(progress["filled"]))
            self.generator.set_state(parts["generator"][""])
            self.iteration, self.seconds = int(progress["iteration"]), float(progress["seconds"])
            self.last = dict(progress["last"])
        except InputError:
            raise
        except Exception as error:  # whatever is wrong inside, it is the file that is wrong
            raise InputError(
                f"{path} is no run that this nca_lib can go on with ({type(error).__name__}: "
                f"{error}); move it away and start anew"
            ) from error


def new_run(
    rule: NCA,
    config: TrainingConfig,
    ranks: Ranks | None = None,
    hooks: dict | None = None,
    critic: Judge | None = None,
) -> Run:
    """The beginning of a run; `hooks` may hold a `start`, a `loss` and an `optimiser`."""
    hooks = hooks or {}
    return Run(
        rule,
        Optimisers(rule, config, hooks.get("optimiser")),
        Pool.empty(config.pool_size, rule, ranks or Ranks(), config.margin),
        task_of(rule, config, hooks.get("start"), hooks.get("loss"), critic),
        torch.Generator().manual_seed(config.seed),
    )


def identity_of(
    rule: NCA, digits: Pictures, config: TrainingConfig, source: str, origin: dict, hooks: dict
) -> dict:
    """What a run must have in common with the one that it goes on from; plain values.

    Where the pictures lie is not part of it, which they are is.
    """
    bits = digits.images.mul(255).round().byte().contiguous().numpy().tobytes()
    return {
        "training": config.plain(),
        "rule": rule.settings(),
        "source": source,
        "start": origin,
        "hooks": {name: f.__qualname__ for name, f in hooks.items() if f is not None},
        "pictures": len(digits),
        "pictures_sha256": hashlib.sha256(bits).hexdigest()[:16],
        "digits": digits.labels.unique().tolist(),
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


def open_outputs(run: Run, outputs: Outputs, identity: dict, resume: bool) -> None:
    """Go on with the saved run, if there is one and that is wanted.

    Raises:
        InputError: there are outputs already and `resume` is not given.
    """
    if outputs.run.exists():
        if not resume:
            raise InputError(
                f"{outputs.run} exists: continue it with --resume, or choose another --out"
            )
        run.load(outputs.run, identity)
    elif outputs.rule.exists():
        raise InputError(f"{outputs.rule} exists: choose another --out, or move it away")


def read_log(path: Path) -> list[dict]:
    """The records of a log; a line that was torn by a crash is left out."""
    try:
        text = Path(path).read_text(encoding="utf-8", errors="replace") if path.exists() else ""
    except OSError as error:
        raise InputError(f"can't read {path}: {error.strerror}") from error
    records = []
    for line in text.splitlines():
        try:
            record = json.loads(line)
            if isinstance(record, dict) and isinstance(record["iteration"], int):
                records.append(record)
        except (ValueError, KeyError, RecursionError):
            continue
    return records


class Log:
    """The history of a training, in memory and, where there is a path, on disk: a line a record."""

    def __init__(self, path: Path | None, iteration: int, last: dict):
        """What came after `iteration` was not saved, and comes again."""
        self.records = [last] if last else []
        self.file = None
        if path is not None:
            kept = [r for r in read_log(path) if r["iteration"] <= iteration]
            self.records = kept or self.records
            text = "".join(json.dumps(record) + "\n" for record in kept)
            write_atomically(path, text.encode())
            self.file = path.open("a", buffering=1, encoding="utf-8")

    def add(self, record: dict) -> None:
        self.records.append(record)
        if self.file:
            self.file.write(json.dumps(record) + "\n")

    def close(self) -> None:
        if self.file:
            self.file.close()
