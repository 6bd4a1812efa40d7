"""Training: one loop for pretraining, unified fine-tuning and restoration.

Every iteration grows a batch, part of it from fresh starts and part of it from the pool, and takes
the loss at several steps of the growth. The three trainings differ in two things only: the digits
they are given, and where a fresh sample starts (`Task`).
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm.auto import tqdm

from nca_lib.checkpoints import RUN, load_tensors_into, read_tensors, save_rule, write_tensors
from nca_lib.data import Digits
from nca_lib.errors import InputError
from nca_lib.pool import Pool
from nca_lib.ranks import Ranks
from nca_lib.rule import INK, NCA
from nca_lib.seeds import SIZE, blurred_state, disc, erase, seed_state
from nca_lib.sparse import ALIVE_ABOVE, LIFE

ANCHOR = 2  # channel of the cell state: where the growth began, for rules that are taught to know
STATE_BOUND = 2.0  # |state| above this is penalised
WILD = 10.0  # |state| above this never comes back: such a sample of the pool starts anew
TRIES = 5  # batches in a row whose loss is not finite before training gives up
MUON_RATE = 10  # Muon's learning rate, in units of Adam's; measured on 600 iterations


@dataclass(frozen=True)
class TrainingConfig:
    """Everything that decides what a training does; stored in its checkpoints."""

    task: Literal["grow", "restore"] = "grow"
    iterations: int = 1000
    batch_size: int = 16
    loss_steps: tuple[int, ...] = (20, 24, 28, 32)  # where the loss is taken; a rollout ends at
    loss_weights: tuple[float, ...] = (1.0, 1.0, 1.0, 1.0)  # the last of them
    learning_rate: float = 2e-3  # the highest of the one-cycle schedule, for Adam; Muon's is 10x
    pool_size: int = 256
    pool_share: float = 0.5  # of a batch that is taken from the pool,
    pool_start: float = 0.4  # from this share of the iterations on: first grow, then persist
    pool_renewal: float = 0.25  # of the fresh samples that enter it: those there grow on for long
    damage_share: float = 0.25  # of the pooled samples that lose a disc,
    switch_share: float = 0.25  # and, in growth, that are told to become another digit
    life_weight: float = 0.25  # of the life channel's error, beside the ink's
    anchor_weight: float = 0.0  # in growth, of the error of the anchor: see `anchor_target`
    overflow_weight: float = 0.1  # of the penalty on |state| > 2
    kl_weight: float = 0.05  # nats a pixel, against squared errors, rising from 0 until
    kl_full: float = 0.5  # this share of the iterations: first find the digits, then tidy styles
    clip_norm: float = 1.0
    seed: int = 0

    def __post_init__(self):
        for name in ("iterations", "batch_size", "pool_size"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}: it must be at least 1")
        if self.task not in ("grow", "restore"):
            raise InputError(f"task is {self.task!r}: choose 'grow' or 'restore'")
        ordered = sorted(set(self.loss_steps))
        if not ordered or list(self.loss_steps) != ordered or ordered[0] < 1:
            raise InputError(f"loss_steps are {self.loss_steps}: give increasing numbers from 1 on")
        if len(self.loss_weights) != len(self.loss_steps):
            raise InputError("give as many loss_weights as loss_steps")
        for name in ("pool_share", "pool_start", "pool_renewal", "damage_share", "switch_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name} is {getattr(self, name)}: it is a share, from 0 to 1")
        if self.damage_share + self.switch_share > 1:
            raise InputError("damage_share and switch_share are above 1 together")
        if not 0 < self.kl_full <= 1:
            raise InputError(f"kl_full is {self.kl_full}: it is a share, above 0")
        if self.pool_size < self.batch_size:
            raise InputError(f"pool_size {self.pool_size} is below batch_size {self.batch_size}")

    @property
    def steps(self) -> int:
        """Length of a rollout in training."""
        return self.loss_steps[-1]


def second_half(steps: int, count: int = 4) -> tuple[int, ...]:
    """`count` loss steps in the second half of a rollout: before, the seed is still spreading.

    Raises:
        InputError: steps below 1.
    """
    if steps < 1:
        raise InputError(f"steps is {steps}: a rollout has at least 1 step")
    return tuple(
        sorted({max(1, round(steps * (0.5 + 0.5 * k / count))) for k in range(1, count + 1)})
    )


class TrainingStopped(Exception):
    """The run was asked to stop; it saved itself first."""


class TrainingDiverged(Exception):
    """The loss is not finite any more; the message says what is left and what to try."""


# --- what is learned ------------------------------------------------------------------------


def life_target(images: Tensor) -> Tensor:
    """Where tissue should be: the ink dilated by two cells, its gaps closed. `[B, 1, H, W]`.

    Gaps of up to six cells are filled (a dilation by five, an erosion by three), so that the inside
    of a 0 lives, and with it the cell in the middle where the growth began.
    """
    ink = F.pad((images > 0.1).to(images.dtype), (5, 5, 5, 5))  # beyond the grid is nothing
    wide = F.max_pool2d(ink, 11, stride=1, padding=5)
    return -F.max_pool2d(-wide, 7, stride=1, padding=3)[..., 5:-5, 5:-5]


def anchor_target(images: Tensor) -> Tensor:
    """The third channel marks the cell that grew first, `[B, 1, H, W]`: 1 there, 0 elsewhere.

    The seed carries this mark (`seeds.seed_state`). A rule has no coordinates, so a picture may
    drift, and nobody can tell it back; a rule that keeps the mark can measure from it.
    """
    target = torch.zeros_like(images)
    target[:, :, images.shape[2] // 2, images.shape[3] // 2] = 1.0
    return target


class Losses(NamedTuple):
    """Scalars, already weighted; what is minimised is their sum."""

    ink: Tensor
    life: Tensor
    anchor: Tensor
    overflow: Tensor
    kl: Tensor


def growth_losses(frames: Tensor, images: Tensor, config: TrainingConfig) -> Losses:
    """The loss at the intermediate steps: frames `[R, B, C, H, W]`, targets `[B, 1, H, W]`."""
    weights = torch.tensor(config.loss_weights, device=frames.device)
    weights = weights / weights.sum()
    ink = (frames[:, :, INK] - images[:, 0]).square().mean((1, 2, 3))  # [R]
    life = (frames[:, :, LIFE] - life_target(images)[:, 0]).square().mean((1, 2, 3))  # [R]
    anchor = torch.zeros_like(ink)
    if config.task == "grow" and config.anchor_weight:
        off = frames[:, :, ANCHOR] - anchor_target(images)[:, 0]
        anchor = off.square().mean((1, 2, 3))  # [R]
    overflow = (frames.abs() - STATE_BOUND).relu().square().mean()
    return Losses(
        ink @ weights,
        config.life_weight * (life @ weights),
        config.anchor_weight * (anchor @ weights),
        config.overflow_weight * overflow,
        torch.zeros((), device=frames.device),
    )


def learning_rate(iteration: int, config: TrainingConfig) -> float:
    """One cycle (Smith, 2018): up over the first tenth, then down along a cosine to almost 0."""
    warm_up = max(1, config.iterations // 10)
    if iteration < warm_up:
        return config.learning_rate * (iteration + 1) / warm_up
    progress = (iteration - warm_up) / max(1, config.iterations - warm_up)
    return config.learning_rate * (0.001 + 0.999 * 0.5 * (1 + math.cos(math.pi * progress)))


class Optimisers:
    """Muon (Jordan et al., 2024) for the rule's three matrices, Adam for everything else.

    Muon gives all directions of a matrix's update the same length. Measured here: 600 iterations
    with it reach what takes Adam some 2,000.
    """

    def __init__(self, rule: NCA):
        matrices = [rule.perceived.weight, rule.told.weight, rule.update.weight]
        taken = {id(matrix) for matrix in matrices}
        rest = [p for p in rule.parameters() if id(p) not in taken]
        self.each = {
            "muon": torch.optim.Muon(matrices, lr=0.0, weight_decay=0.0),
            "adam": torch.optim.Adam(rest, lr=0.0),
        }

    def step(self, rate: float) -> None:
        """Change the weights along their gradients."""
        for name, optimiser in self.each.items():
            optimiser.param_groups[0]["lr"] = rate * (MUON_RATE if name == "muon" else 1)
            optimiser.step()

    def tensors(self) -> dict[str, Tensor]:
        """Everything they remember, by name."""
        return {
            f"{name}.{number}.{key}": value
            for name, optimiser in self.each.items()
            for number, state in optimiser.state_dict()["state"].items()
            for key, value in state.items()
        }

    def load(self, tensors: dict[str, Tensor]) -> None:
        states = {name: optimiser.state_dict() for name, optimiser in self.each.items()}
        for full_name, tensor in tensors.items():
            name, number, key = full_name.split(".")
            states[name]["state"].setdefault(int(number), {})[key] = tensor
        for name, optimiser in self.each.items():
            optimiser.load_state_dict(states[name])


# --- the state of a run, and its checkpoint -------------------------------------------------

POOLED = ("states", "pictures", "labels", "styles")  # what is saved of the pool


@dataclass
class Run:
    """Everything that changes while training: saved and restored, it goes on bit for bit."""

    rule: NCA
    optimisers: Optimisers
    pool: Pool
    generator: torch.Generator  # the only source of randomness
    iteration: int = 0
    seconds: float = 0.0

    def save(self, path: Path, identity: dict) -> None:
        """Write the checkpoint; all ranks take part, the first one writes."""
        ranks = self.pool.ranks
        pool = {name: ranks.collect(getattr(self.pool, name), self.pool.size) for name in POOLED}
        if not ranks.first:
            return
        tensors = {f"rule.{k}": v for k, v in self.rule.state_dict().items()}
        tensors |= {f"optimiser.{k}": v for k, v in self.optimisers.tensors().items()}
        tensors |= {f"pool.{name}": tensor for name, tensor in pool.items()}
        tensors["generator"] = self.generator.get_state()
        progress = {
            "iteration": self.iteration,
            "seconds": self.seconds,
            "filled": self.pool.filled,
        }
        write_tensors(path, RUN, tensors, identity=identity, progress=progress)

    def load(self, path: Path, identity: dict) -> None:
        tensors, metadata = read_tensors(path, RUN)
        check_same_run(path, metadata.get("identity", {}), identity)
        parts = {"rule": {}, "optimiser": {}, "pool": {}, "generator": {}}
        for name, tensor in tensors.items():
            part, _, rest = name.partition(".")
            parts[part][rest] = tensor
        load_tensors_into(self.rule, parts["rule"], path)
        self.optimisers.load(parts["optimiser"])
        for name, tensor in parts["pool"].items():
            setattr(self.pool, name, self.pool.ranks.part(tensor))
        self.generator.set_state(parts["generator"][""])
        progress = metadata["progress"]
        self.iteration, self.seconds = progress["iteration"], progress["seconds"]
        self.pool.filled = progress["filled"]


def check_same_run(path: Path, saved: dict, wanted: dict, prefix: str = "") -> None:
    """Raise InputError at the first setting in which the saved run differs from this one."""
    for key in sorted(saved.keys() | wanted.keys()):
        old, new = saved.get(key), wanted.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            check_same_run(path, old, new, f"{prefix}{key}.")
        elif old != new:
            raise InputError(
                f"can't resume {path}: it was started with {prefix}{key} = {old}, now it is {new}. "
                "Give the same settings, or another --out"
            )


# --- the loop -------------------------------------------------------------------------------


class Batch(NamedTuple):
    """This rank's samples: those with a new target (fresh, then switched), then all others."""

    states: Tensor  # [b, C, H, W]
    pictures: Tensor  # [b], index of the target
    new: int  # how many have a new target; their styles are inferred
    fresh: int  # how many of those begin their growth here
    noise: Tensor  # [new, S], for the styles of the new ones
    styles: Tensor  # [b - new, S], of the others
    seeds: Tensor  # [b], streams of fire masks
    slots: Tensor  # [b], where the grown states go in the pool; -1: nowhere
    counts: tuple[int, int, int]  # how many samples, new and fresh ones all ranks have together


def starts(task: str, images: Tensor, channels: int) -> Tensor:
    """Starting states `[B, C, 28, 28]`: a seed, or for restoration the blurred picture."""
    if task == "restore":
        return blurred_state(images, channels)
    return seed_state(len(images), channels).to(images.device)


def pooling(run: Run, config: TrainingConfig) -> bool:
    """Whether the pool is in use already."""
    return config.pool_share > 0 and run.iteration >= config.pool_start * config.iterations


def draw_batch(run: Run, digits: Digits, config: TrainingConfig) -> Batch:
    """All random draws of an iteration happen here, for all ranks alike; then come the shares."""
    generator, pool = run.generator, run.pool
    taken = given = torch.zeros(0, dtype=torch.int64)
    fresh = config.batch_size
    if pooling(run, config):
        take = min(round(config.pool_share * fresh), fresh - 1)  # at least one grows from its start
        renewed = max(1, round(config.pool_renewal * (fresh - take)))
        taken, given = pool.choose_slots(take, renewed, generator)
        fresh -= len(taken)
    switched = round(config.switch_share * len(taken)) if config.task == "grow" else 0
    new, hit = fresh + switched, round(config.damage_share * len(taken))
    drawn = torch.randint(len(digits), (new,), generator=generator)
    noise = torch.randn(new, run.rule.config.style_dim, generator=generator)
    centre = SIZE / 4 + torch.rand(2, hit, generator=generator) * SIZE / 2  # where the digit is
    regions = disc(centre[0], centre[1], 3 + 4 * torch.rand(hit, generator=generator))
    seeds = torch.randint(2**62, (config.batch_size,), generator=generator)

    slots = torch.cat([given, taken.new_full((fresh - len(given),), -1), taken])  # [B]
    mine = pool.ranks.share(slots)  # [b]
    ours, pooled = mine[mine < new], mine[mine >= fresh]
    states, pictures, styles = pool.take(slots[pooled])
    going_on = pooled >= new
    damaged = going_on & (pooled < new + hit)
    states[damaged] = erase(states[damaged], regions[pooled[damaged] - new])
    pictures = torch.cat([drawn[ours], pictures[going_on]])  # [b]
    first = starts(config.task, digits.images[pictures], run.rule.config.channels).cpu()
    dead = (states[:, LIFE] <= ALIVE_ABOVE).flatten(1).all(1)
    lost = dead | ~(states.abs() < WILD).flatten(1).all(1)  # or not a number
    begin = len(mine) - len(pooled)
    states[lost] = first[begin:][lost]
    return Batch(
        torch.cat([first[:begin], states]),
        pictures,
        len(ours),
        begin,
        noise[ours],
        styles[going_on],
        seeds[mine],
        slots[mine],
        (config.batch_size, new, fresh),
    )


def grow_batch(run: Run, batch: Batch, digits: Digits, config: TrainingConfig) -> Tensor:
    """Grow this rank's share, leave its gradients in the rule, put it into the pool.

    Returns:
        The losses and the pixel accuracy `[6]`, this rank's part of the sums.
    """
    rule, (size, new, fresh) = run.rule, batch.counts
    device = rule.kernels.device
    images = digits.images[batch.pictures].to(device)
    labels = digits.labels[batch.pictures].to(device)
    styles, kl = torch.cat([batch.noise, batch.styles]).to(device), torch.zeros((), device=device)
    if rule.encoder is not None and batch.new:
        code = rule.encoder(images[: batch.new], labels[: batch.new])
        drawn = code.sample(styles[: batch.new])  # [new, S]
        styles = torch.cat([drawn, styles[batch.new :]])  # [b, S]
        risen = min(1.0, run.iteration / (config.kl_full * config.iterations))
        kl = risen * config.kl_weight * code.kl().sum() / new / images[0].numel()
    frames = rule.rollout(
        batch.states.to(device),
        rule.genome(labels, styles),
        config.steps,
        batch.seeds.to(device),
        config.loss_steps,
    )
    share = len(images) / size
    losses = Losses(*(share * loss for loss in growth_losses(frames, images, config)))
    losses = losses._replace(kl=kl)
    sum(losses).backward()
    final, kept = frames[-1].detach(), batch.slots >= 0
    run.pool.put(
        batch.slots[kept],
        final.cpu()[kept],
        batch.pictures[kept],
        labels.cpu()[kept],
        styles.detach().cpu()[kept],
    )
    right = (final[: batch.fresh, INK] > 0.5) == (images[: batch.fresh, 0] > 0.5)
    accuracy = right.float().sum() / (fresh * images[0].numel())
    return torch.stack([*losses, accuracy]).detach()


def training_step(run: Run, digits: Digits, config: TrainingConfig) -> dict[str, float]:
    """One iteration. A batch in which a sample explodes teaches nothing: another one is drawn.

    Returns:
        What to log.

    Raises:
        FloatingPointError: the loss or the gradient of `TRIES` batches in a row is not finite.
    """
    for _ in range(TRIES - 1):
        try:
            return try_step(run, digits, config)
        except FloatingPointError:
            continue  # its samples are in the pool, where they start anew
    return try_step(run, digits, config)


def try_step(run: Run, digits: Digits, config: TrainingConfig) -> dict[str, float]:
    """Grow a batch and learn from it, together with the other ranks."""
    rule = run.rule
    rule.zero_grad()
    batch = draw_batch(run, digits, config)
    numbers = torch.zeros(len(Losses._fields) + 1, device=rule.kernels.device)
    if len(batch.states):
        numbers = grow_batch(run, batch, digits, config)
    for parameter in rule.parameters():
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    numbers = run.pool.ranks.add_up([p.grad for p in rule.parameters()], numbers)
    norm = torch.nn.utils.clip_grad_norm_(rule.parameters(), config.clip_norm)
    *losses, accuracy = numbers.tolist()
    entry = {"loss": sum(losses), **dict(zip(Losses._fields, losses, strict=True))}
    entry |= {"gradient": norm.item(), "learning_rate": learning_rate(run.iteration, config)}
    entry["pixel_accuracy"] = accuracy
    if not math.isfinite(entry["loss"]) or not math.isfinite(entry["gradient"]):
        raise FloatingPointError
    run.optimisers.step(entry["learning_rate"])
    run.iteration += 1
    return entry


def new_run(rule: NCA, config: TrainingConfig, ranks: Ranks | None = None) -> Run:
    pool = Pool.empty(config.pool_size, rule.config.channels, SIZE, rule.config.style_dim, ranks)
    return Run(rule, Optimisers(rule), pool, torch.Generator().manual_seed(config.seed))


@dataclass(frozen=True)
class Outputs:
    """Where a training writes: the rule, the run to resume, the log, the picture."""

    folder: Path
    name: str

    @property
    def rule(self) -> Path:
        return self.folder / f"{self.name}.safetensors"

    @property
    def run(self) -> Path:
        return self.folder / f"{self.name}.run.safetensors"

    @property
    def log(self) -> Path:
        return self.folder / f"{self.name}.jsonl"

    @property
    def picture(self) -> Path:
        return self.folder / f"{self.name}.png"


def open_log(path: Path, iteration: int):
    """The log, cut back to `iteration`: what came after it was not saved and will come again."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = path.read_text().splitlines() if path.exists() else []
        kept = [line for line in lines if json.loads(line)["iteration"] <= iteration]
        path.write_text("".join(line + "\n" for line in kept))
        return path.open("a", buffering=1)
    except OSError as error:
        raise InputError(f"can't write {path}: {error.strerror}; choose another --out") from error


def train(
    rule: NCA,
    digits: Digits,
    config: TrainingConfig,
    outputs: Outputs | None = None,
    *,
    source: str = "",
    resume: bool = False,
    log_every: int = 25,
    save_every: int = 250,
    watch: Callable[[NCA, int], None] | None = None,
    watch_every: int = 250,
    stop: Callable[[], bool] = lambda: False,
    on_iteration: Callable[[int], None] = lambda iteration: None,
    progress: bool = True,
    ranks: Ranks | None = None,
) -> list[dict]:
    """Train `rule` in place and return its log, one record every `log_every` iterations.

    Args:
        rule: the start; it is moved nowhere, train it on the device where it is.
        digits: the training digits.
        config: what to do.
        outputs: where to write; None writes nothing.
        source: where the digits come from, for the record.
        resume: go on with the saved run where there is one. A finished run is loaded and left.
        watch: called with the rule and the iteration every `watch_every` iterations.
        stop: asked after every iteration; once True the run saves itself and stops.
        on_iteration: told every finished iteration (a progress display elsewhere).
        ranks: the processes that train this rule together; None: this one alone.

    Raises:
        InputError: outputs exist and `resume` is not given; a saved run with other settings.
        TrainingStopped: after `stop()` was True.
        TrainingDiverged: the loss or the gradient is not finite.
    """
    identity = {"training": plain(config), "rule": rule.settings(), "source": source}
    identity |= {"pictures": len(digits), "digits": digits.labels.unique().tolist()}
    rule.record = identity  # whoever watches can see what it is trained for
    rule.genome.forget_styles()  # the encoder's codes reach the rule as they are
    run, ranks = new_run(rule, config, ranks), ranks or Ranks()
    if config.batch_size < ranks.count:
        raise InputError(f"batch_size {config.batch_size} is too small for {ranks.count} processes")
    if outputs and outputs.run.exists():
        if not resume:
            raise InputError(
                f"{outputs.run} exists: continue it with --resume, or choose another --out"
            )
        run.load(outputs.run, identity)
    elif outputs and outputs.rule.exists():
        raise InputError(f"{outputs.rule} exists: choose another --out, or move it away")
    writing = outputs is not None and ranks.first
    log = open_log(outputs.log, run.iteration) if writing else None
    history = [json.loads(line) for line in outputs.log.read_text().splitlines()] if writing else []
    bar = tqdm(
        total=config.iterations,
        initial=run.iteration,
        desc=outputs.name if outputs else config.task,
        disable=not (progress and ranks.first),
        leave=False,
        unit="it",
    )
    started = time.perf_counter() - run.seconds
    try:
        while run.iteration < config.iterations:
            try:
                entry = training_step(run, digits, config)
            except FloatingPointError:
                raise TrainingDiverged(advice(run.iteration + 1, outputs)) from None
            run.seconds = time.perf_counter() - started
            finished = run.iteration == config.iterations
            bar.update()
            on_iteration(run.iteration)
            if run.iteration % log_every == 0 or finished or run.iteration == 1:
                record = {"iteration": run.iteration, **entry, "seconds": round(run.seconds, 2)}
                history.append(record)
                bar.set_postfix(
                    loss=f"{entry['loss']:.4f}", accuracy=f"{entry['pixel_accuracy']:.1%}"
                )
                if log:
                    log.write(json.dumps(record) + "\n")
            stopping = ranks.any(stop()) and not finished
            if outputs and (run.iteration % save_every == 0 or finished or stopping):
                run.save(outputs.run, identity)
            if watch and ranks.first and (run.iteration % watch_every == 0 or finished):
                watch(rule, run.iteration)
            if stopping:
                raise TrainingStopped(
                    f"stopped after iteration {run.iteration} of {config.iterations}"
                    + (f"; {outputs.run} is saved, go on with --resume" if outputs else "")
                )
    finally:
        bar.close()
        if log:
            log.close()
    rule.fit_styles(digits.images, digits.labels)
    if writing:
        save_rule(outputs.rule, rule, {**identity, "seconds": round(run.seconds, 1), **history[-1]})
    return history


def plain(config: TrainingConfig) -> dict:
    """The settings as JSON would give them back (tuples become lists)."""
    return json.loads(json.dumps(asdict(config)))


def advice(iteration: int, outputs: Outputs | None) -> str:
    saved = ""
    if outputs and outputs.run.exists():
        saved = f" The last good state is in {outputs.run}, the log in {outputs.log}."
    return (
        f"the loss is not finite at iteration {iteration}.{saved} "
        "Try a lower --learning-rate, shorter rollouts (--steps) or another --seed."
    )
