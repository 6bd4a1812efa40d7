"""The training loop: one for pretraining, fine-tuning, restoration and classification.

Every iteration grows a batch, part of it from initial states and part of it from the pool, and
takes the loss at several steps of the growth. What differs is the pictures and the task.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from copy import deepcopy
from dataclasses import replace

from nca_lib.checkpoint import digest_of, save_model
from nca_lib.classifier import perceptual_network
from nca_lib.data import Pictures, as_pictures
from nca_lib.inputs import InputError, as_labels, check_images
from nca_lib.interrupts import Stopped, stop_flag
from nca_lib.model import NCA
from nca_lib.training.batch import draw_batch, grow_batch
from nca_lib.training.config import TrainingConfig
from nca_lib.training.distributed import Distributed
from nca_lib.training.losses import Losses
from nca_lib.training.optimisers import learning_rate
from nca_lib.training.run import Hooks, Outputs, Run, fingerprint_of, only_writer

import torch
from torch import nn
from tqdm.auto import tqdm

SAVE_EVERY = 250  # iterations
TRIES = 5  # batches in a row whose loss is not finite before training gives up

Callback = Callable[[int, dict, NCA], None]


class TrainingDiverged(Exception):
    """The loss is not finite any more; the message says what is left and what to try."""


def train(
    model: NCA,
    data,
    config: TrainingConfig | None = None,
    outputs: Outputs | None = None,
    *,
    loss: Callable | None = None,
    start: Callable | None = None,
    optimiser: Callable[[NCA], torch.optim.Optimizer] | None = None,
    perceptual: nn.Module | None = None,
    callbacks: Callback | Sequence[Callback] = (),
    init_from: dict | None = None,
    resume: bool = False,
    stop: Callable[[], bool] | None = None,
    engine: str = "auto",
    ranks: Distributed | None = None,
    log_every: int = 25,
    progress: bool = True,
    **settings,
) -> list[dict]:
    """Train `model` in place and return its history: metrics every `log_every` iterations.

    However it ends, the model can be used: its styles are fitted to what it has learned so far.

    Args:
        model: trained on the device and in the type that it has.
        data: a data set of the model's spec (its training pictures), `Pictures`, or a torchvision
            data set.
        config: what to do; or give its settings as keywords, `train(model, data, iterations=100)`.
        outputs: where to write; None writes nothing.
        loss: `(frames [R, B, C, H, W], images [B, I, H, W], labels [B])` -> a scalar that takes the
            place of the task's losses. A style encoder's divergence and the birth loss stay.
        start: `(images, labels)` -> states `[B, C, H, W]` that growths begin with.
        optimiser: makes an optimiser for the model; its rates are the highest of the cycle.
        perceptual: the network that `perceptual_weight` compares features in; None: the shipped
            one (`classifier.perceptual_network`).
        callbacks: one or several `(step, metrics, model)`, called every `log_every` iterations.
        init_from: what the model is made of (a merger, a file and its hash), for its metadata.
        resume: go on with the saved run where there is one. A finished run is loaded and left.
        stop: asked after every iteration; once True the run saves itself and stops. None: a signal
            (Ctrl-C, or the stop button of a notebook) asks.
        engine: of the rollouts, as in `NCA.rollout`.
        ranks: the processes that train this model together; None: this one alone.

    Raises:
        InputError: pictures or settings that can't be; outputs exist and `resume` is not given, or
            another process writes there; a saved run with other settings.
        Stopped: after somebody asked; what was learned until then is saved.
        TrainingDiverged: the loss or the gradient is not finite.
    """
    hooks, ranks = Hooks(loss, start, optimiser), ranks or Distributed()
    config, pictures = make_config(model, config, settings), check_pictures(model, data)
    perceptual = frozen_network(model, config, perceptual)
    run = Run(model, config, hooks, perceptual, ranks, engine)
    run.task.check(model, config)
    run.fingerprint = fingerprint_of(run, pictures, getattr(data, "name", ""), init_from or {})
    if perceptual is not None:
        weights = {name: tensor.cpu() for name, tensor in perceptual.state_dict().items()}
        run.fingerprint["perceptual_sha256"] = digest_of(weights, {})[:16]
    with ExitStack() as stack:  # until the model is written
        if outputs is not None:
            run.outputs = outputs
            if ranks.is_main:
                stack.enter_context(only_writer(outputs.folder))
        stop = stop or stack.enter_context(stop_flag())
        run.open(resume)
        model.task, model.steps = config.task, config.steps
        model.trained_labels = pictures.labels.unique().tolist()
        callbacks = [callbacks] if callable(callbacks) else list(callbacks)
        history = learn(run, pictures, callbacks, stop, log_every, progress)
        if run.writes:
            save_model(outputs.model, model)
    if number := getattr(stop, "number", None):
        raise Stopped(f"{run.name} is finished; stopped there", number)
    return history


def learn(
    run: Run,
    pictures: Pictures,
    callbacks: Sequence[Callback],
    stop: Callable[[], bool],
    log_every: int,
    progress: bool,
) -> list[dict]:
    """All iterations that are left; the history. Styles are fitted however it ends."""
    model, total, history = run.model, run.config.iterations, run.open_log()
    model.metadata = {k: v for k, v in run.fingerprint.items() if k != "model"}
    if model.conditioning is not None:
        model.conditioning.reset_styles()  # codes reach the model as they are
    bar = tqdm(
        total=total, initial=run.iteration, desc=run.name, leave=False, unit="it",
        disable=None if progress and run.ranks.is_main else True,
    )  # fmt: skip
    started = time.perf_counter() - run.seconds
    try:
        while run.iteration < total:
            metrics = training_step(run, pictures)
            run.seconds = time.perf_counter() - started
            logged = run.iteration % log_every == 0 or run.iteration in (1, total)
            if logged:
                history.append(run.log(metrics))
            save_or_stop(run, stop)
            bar.update()
            bar.set_postfix(loss=f"{metrics['loss']:.4f}", accuracy=f"{metrics['accuracy']:.1%}")
            for callback in callbacks if logged and run.ranks.is_main else ():
                callback(run.iteration, run.last, model)
    finally:
        with suppress(OSError):  # the terminal may be gone
            bar.close()
        with suppress(torch.linalg.LinAlgError):  # parameters are not finite: styles stay codes
            model.fit_styles(pictures.images, pictures.labels)
    model.metadata |= run.last
    return history


def save_or_stop(run: Run, stop: Callable[[], bool]) -> None:
    """Save the run where it is time to; raise Stopped if somebody asked on any rank."""
    iteration, total = run.iteration, run.config.iterations
    stopping = run.ranks.any(stop()) and iteration < total
    if stopping or iteration % SAVE_EVERY == 0 or iteration == total:
        run.save()
    if stopping:
        saved = f"; {run.outputs.run} is saved, go on with --resume" if run.outputs else ""
        message = f"stopped after iteration {iteration} of {total}{saved}"
        raise Stopped(message, getattr(stop, "number", None))


def training_step(run: Run, pictures: Pictures) -> dict[str, float]:
    """One iteration; its metrics. If a sample explodes, another batch is drawn.

    Raises:
        TrainingDiverged: the loss or the gradient of `TRIES` batches in a row is not finite.
    """
    for _ in range(TRIES):
        metrics = try_step(run, pictures)
        if metrics is not None:
            return metrics
    saved = ""
    if run.outputs and run.outputs.run.exists():
        saved = f" The last good state is in {run.outputs.run}, the log in {run.outputs.log}."
    raise TrainingDiverged(
        f"the loss is not finite at iteration {run.iteration + 1}.{saved} "
        "Try a lower --learning-rate, shorter rollouts (--loss-steps) or another --seed."
    )


def try_step(run: Run, pictures: Pictures) -> dict[str, float] | None:
    """Grow a batch and learn from it; None if its loss or gradient is not finite."""
    model, config = run.model, run.config
    model.zero_grad()
    numbers = grow_batch(run, draw_batch(run, pictures, run.config), pictures, run.config)
    for parameter in model.parameters():
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    run.ranks.average_gradients(model)
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip_norm)
    *losses, accuracy = run.ranks.average(numbers).tolist()
    rate = learning_rate(run.iteration, config.learning_rate, config.iterations)
    metrics = {"loss": sum(losses), **dict(zip(Losses._fields, losses, strict=True))}
    metrics |= {"gradient": norm.item(), "learning_rate": rate, "accuracy": accuracy}
    if not math.isfinite(metrics["loss"]) or not math.isfinite(metrics["gradient"]):
        return None  # its samples are in the pool, where they start anew
    run.optimisers.step(rate)
    run.iteration += 1
    return metrics


# ---- before and after ----------------------------------------------------------------------------


def make_config(model: NCA, config: TrainingConfig | None, settings: dict) -> TrainingConfig:
    """The settings of a run, from a whole configuration, from keywords, or from both."""
    unknown = settings.keys() - TrainingConfig.__dataclass_fields__.keys()
    if unknown:
        known = ", ".join(TrainingConfig.__dataclass_fields__)
        raise InputError(f"train has no setting {sorted(unknown)[0]!r}: choose from {known}")
    return replace(config or TrainingConfig(task=model.task), **settings)


def check_pictures(model: NCA, data) -> Pictures:
    """The training pictures, once it is sure that the model can be trained with them."""
    pictures, spec = as_pictures(data), model.spec
    given = getattr(data, "spec", spec)
    if given.classes != spec.classes:
        raise InputError(
            f"the data have the classes {', '.join(given.classes[:3])}, ...; the model "
            f"{', '.join(spec.classes[:3])}, ...: make the model with NCA(data.spec)"
        )
    images, labels = check_images(pictures.images, spec), as_labels(pictures.labels, spec.classes)
    if not len(images) or len(images) != len(labels):
        raise InputError(f"{len(images)} images and {len(labels)} labels: give as many, at least 1")
    return Pictures(images, labels)


def frozen_network(model: NCA, config: TrainingConfig, network: nn.Module | None):
    """The perceptual network, if it is wanted: a copy, for its owner may go on training it."""
    if not config.perceptual_weight:
        return None
    network = perceptual_network(model.spec) if network is None else deepcopy(network)
    return network.eval().requires_grad_(False).to(model.hidden.weight)
