"""The loop: one for pretraining, unified fine-tuning and restoration.

Every iteration grows a batch, part of it from fresh starts and part of it from the pool, and takes
the loss at several steps of the growth. The trainings differ in two things only: the pictures they
are given, and where a fresh sample starts (`TrainingConfig.task`, or a `start` of your own).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from copy import deepcopy
from dataclasses import dataclass

from nca_lib.checkpoints import save_rule
from nca_lib.dataset import Pictures
from nca_lib.errors import InputError
from nca_lib.inputs import as_labels, check_images
from nca_lib.judge import Judge, critic_for, fingerprint
from nca_lib.rule import NCA
from nca_lib.stopping import Stopped, Wish, asked_to_stop
from nca_lib.training.batch import draw_batch, grow_batch
from nca_lib.training.losses import Losses, OwnLoss
from nca_lib.training.optimisers import learning_rate
from nca_lib.training.ranks import Ranks
from nca_lib.training.run import Log, Outputs, Run, identity_of, new_run, only_writer, open_outputs
from nca_lib.training.settings import TrainingConfig

import torch
from torch import Tensor
from tqdm.auto import tqdm

TRIES = 5  # batches in a row whose loss is not finite before training gives up


class TrainingDiverged(Exception):
    """The loss is not finite any more; the message says what is left and what to try."""


def training_step(run: Run, digits: Pictures, config: TrainingConfig) -> dict[str, float]:
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


def try_step(run: Run, digits: Pictures, config: TrainingConfig) -> dict[str, float]:
    """Grow a batch and learn from it, together with the other ranks."""
    rule = run.rule
    rule.zero_grad()
    batch = draw_batch(run, digits, config)
    numbers = rule.kernels.new_zeros(len(Losses._fields) + 1)
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


@dataclass(frozen=True)
class Habits:
    """What a training does beside learning."""

    log_every: int
    save_every: int
    watch: Callable[[NCA, int], None] | None
    watch_every: int
    stop: Callable[[], bool]
    on_iteration: Callable[[int], None]


def train(
    rule: NCA,
    digits: Pictures,
    config: TrainingConfig,
    outputs: Outputs | None = None,
    *,
    loss: OwnLoss | None = None,
    start: Callable[[Tensor, Tensor], Tensor] | None = None,
    optimiser: Callable[[NCA], torch.optim.Optimizer] | None = None,
    critic: Judge | None = None,
    source: str = "",
    origin: dict | None = None,
    resume: bool = False,
    log_every: int = 25,
    save_every: int = 250,
    watch: Callable[[NCA, int], None] | None = None,
    watch_every: int = 250,
    stop: Callable[[], bool] | None = None,
    on_iteration: Callable[[int], None] = lambda iteration: None,
    progress: bool = True,
    ranks: Ranks | None = None,
) -> list[dict]:
    """Train `rule` in place and return its log, one record every `log_every` iterations.

    However it ends, the rule can be used: its styles are fitted to what it has learned so far.

    Args:
        rule: the start; it is moved nowhere, train it on the device and in the type that it has.
        digits: the training pictures, of the rule's kind.
        config: what to do.
        outputs: where to write; None writes nothing.
        loss: `(frames [R, B, C, H, W], images [B, I, H, W], labels [B])` -> a scalar that takes the
            place of the ink's error. The other terms stay: a weight of 0 leaves one out.
        start: `(images, labels)` -> states `[B, C, H, W]` that growths begin with.
        optimiser: makes an optimiser for the rule; its learning rates are the highest of the cycle.
        critic: whom a `critic_weight` above 0 asks; None: the shipped one (`judge.critic_for`).
        source: what the pictures are, for the record.
        origin: what the rule is made of (a merger, a file and its hash), for the record.
        resume: go on with the saved run where there is one. A finished run is loaded and left.
        watch: called with the rule and the iteration every `watch_every` iterations.
        stop: asked after every iteration; once True the run saves itself and stops. None: a signal
            (Ctrl-C, or the stop button of a notebook) asks.
        on_iteration: told every finished iteration (a progress display elsewhere).
        ranks: the processes that train this rule together; None: this one alone.

    Raises:
        InputError: pictures or settings that can't be; outputs exist and `resume` is not given, or
            somebody else writes there; a saved run with other settings.
        Stopped: after somebody asked; what was learned until then is saved.
        TrainingDiverged: the loss or the gradient is not finite.
    """
    hooks, ranks = {"loss": loss, "start": start, "optimiser": optimiser}, ranks or Ranks()
    digits = check_training(rule, digits, config, ranks)
    if config.critic_weight:
        critic = critic_for(rule.kind) if critic is None else deepcopy(critic)
        critic.eval().requires_grad_(False)  # whoever gave it may still be training it
    run = new_run(rule, config, ranks, hooks, critic if config.critic_weight else None)
    identity = identity_of(rule, digits, config, source, origin or {}, hooks)
    if config.critic_weight:
        identity["critic_sha256"] = fingerprint(critic)
    writing = outputs is not None and ranks.first
    name = outputs.name if outputs else config.task
    with ExitStack() as around:  # until the rule is written
        if writing and not outputs.claimed:
            around.enter_context(only_writer(outputs.folder))
        stop = stop or around.enter_context(asked_to_stop())
        if outputs:
            open_outputs(run, outputs, identity, resume)
        log = Log(outputs.log if writing else None, run.iteration, run.last)
        with ExitStack() as within:  # until nothing more is learned
            within.callback(log.close)
            rule.record = identity  # whoever watches can see what it is trained for
            rule.genome.forget_styles()  # the encoder's codes reach the rule as they are
            within.callback(fit_styles, run, digits, config)
            bar = tqdm(
                total=config.iterations, initial=run.iteration, desc=name, leave=False, unit="it",
                disable=None if progress and ranks.first else True,  # None: unless nobody watches
            )  # fmt: skip
            within.callback(close_quietly, bar)
            habits = Habits(log_every, save_every, watch, watch_every, stop, on_iteration)
            iterate(run, digits, config, outputs, identity, habits, log, bar)
        if writing:
            save_rule(outputs.rule, rule, identity | run.last)
    if isinstance(stop, Wish) and stop():
        raise Stopped(f"{name} is finished; stopped there", stop.number)
    return log.records


def iterate(
    run: Run,
    digits: Pictures,
    config: TrainingConfig,
    outputs: Outputs | None,
    identity: dict,
    habits: Habits,
    log: Log,
    bar: tqdm,
) -> None:
    """All iterations that are left, with what happens beside them."""
    ranks, started = run.pool.ranks, time.perf_counter() - run.seconds
    while run.iteration < config.iterations:
        try:
            entry = training_step(run, digits, config)
        except FloatingPointError:
            raise TrainingDiverged(advice(run.iteration + 1, outputs)) from None
        run.seconds = time.perf_counter() - started
        finished = run.iteration == config.iterations
        habits.on_iteration(run.iteration)
        if run.iteration % habits.log_every == 0 or finished or run.iteration == 1:
            run.last = {"iteration": run.iteration, **entry, "seconds": round(run.seconds, 2)}
            log.add(run.last)
        stopping = ranks.any(habits.stop()) and not finished
        if outputs and (run.iteration % habits.save_every == 0 or finished or stopping):
            run.save(outputs.run, identity)
        if stopping:
            saved = f"; {outputs.run} is saved, go on with --resume" if outputs else ""
            message = f"stopped after iteration {run.iteration} of {config.iterations}{saved}"
            number = habits.stop.number if isinstance(habits.stop, Wish) else None
            raise Stopped(message, *([number] if number else []))
        bar.update()
        bar.set_postfix(loss=f"{entry['loss']:.4f}", accuracy=f"{entry['pixel_accuracy']:.1%}")
        if habits.watch and ranks.first and (run.iteration % habits.watch_every == 0 or finished):
            habits.watch(run.rule, run.iteration)


def check_training(rule: NCA, digits: Pictures, config: TrainingConfig, ranks: Ranks) -> Pictures:
    """The digits, once it is sure that they and the settings can be trained with."""
    kind = rule.kind
    images, labels = check_images(digits.images, kind), as_labels(digits.labels, kind.classes)
    if not len(images) or len(images) != len(labels):
        raise InputError(f"{len(images)} images and {len(labels)} labels: give as many, at least 1")
    if config.batch_size < ranks.count:
        raise InputError(f"batch_size {config.batch_size} is too small for {ranks.count} processes")
    if config.anchor_weight and rule.config.channels <= kind.anchor:
        raise InputError(f"an anchor wants {kind.anchor + 1} channels, this rule has fewer")
    if config.task == "read":
        check_reading(rule)
    if config.place_weight and rule.config.channels < kind.place.stop:
        raise InputError(
            f"places want {kind.place.stop} channels, this rule has fewer: choose more, or "
            "--place-weight 0"
        )
    return Pictures(images, labels)


def check_reading(rule: NCA) -> None:
    """Raise InputError for a rule that has no room for its votes, or is told the answer."""
    config, wanted = rule.config, rule.kind.life + 1 + len(rule.kind.classes)
    if config.channels < wanted:
        raise InputError(f"votes want {wanted} channels, this rule has {config.channels}")
    if config.label_dim or config.style_dim:
        raise InputError("cells that read are told nothing: choose label_dim and style_dim 0")


def fit_styles(run: Run, digits: Pictures, config: TrainingConfig) -> None:
    """Styles get their scale; those of weights that are not finite stay codes.

    The flow takes seconds, and waits for the end of the training.
    """
    finished = run.iteration >= config.iterations
    with suppress(torch.linalg.LinAlgError):
        run.rule.fit_styles(digits.images, digits.labels, config.flow_iterations * finished)


def close_quietly(bar: tqdm) -> None:
    """The terminal may be gone."""
    with suppress(OSError):
        bar.close()


def advice(iteration: int, outputs: Outputs | None) -> str:
    saved = ""
    if outputs and outputs.run.exists():
        saved = f" The last good state is in {outputs.run}, the log in {outputs.log}."
    return (
        f"the loss is not finite at iteration {iteration}.{saved} "
        "Try a lower --learning-rate, shorter rollouts (--loss-steps) or another --seed."
    )
