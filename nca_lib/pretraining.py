"""From ten rules to one: a rule per digit, trained in parallel, and their merger.

All ten start from one common initialisation, so that their weights stay comparable and a mean of
them can make sense. Whether it helps is an experiment, not a belief: `merge` offers several ways.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from tqdm.auto import tqdm

from nca_lib.checkpoints import load
from nca_lib.data import Digits
from nca_lib.errors import InputError
from nca_lib.genome import DIGITS
from nca_lib.rule import NCA, RuleConfig
from nca_lib.training import Outputs, TrainingConfig, TrainingStopped, train

Merging = Literal["mean", "last", "scratch"]
LABEL_TABLES = ("genome.labels.weight", "encoder.label.weight")  # row d belongs to digit d


def initial_rule(config: RuleConfig, seed: int) -> NCA:
    """The common initialisation: the same weights for the same configuration and seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return NCA(config)


@dataclass(frozen=True)
class Job:
    """One digit's pretraining, as sent to a worker process."""

    digit: int
    rule: RuleConfig
    training: TrainingConfig
    digits: Digits  # of this digit alone
    folder: Path
    source: str
    resume: bool
    device: str


_done = _stop = None  # in a worker: iterations done by each digit; an event that asks to stop


def _start_worker(done, stop) -> None:
    global _done, _stop
    _done, _stop = done, stop
    torch.set_num_threads(1)  # one digit a core
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent asks through the event
    signal.signal(signal.SIGTERM, lambda number, frame: stop.set())


def _pretrain_one(job: Job) -> None:
    def count(iteration: int) -> None:
        _done[job.digit] = iteration

    train(
        initial_rule(job.rule, job.training.seed).to(job.device),
        job.digits,
        replace(job.training, seed=job.training.seed + 1 + job.digit),
        Outputs(job.folder, f"digit-{job.digit}"),
        source=job.source,
        resume=job.resume,
        stop=_stop.is_set,
        on_iteration=count,
        progress=False,
    )


def pretrain(
    rule: RuleConfig,
    digits: Digits,
    training: TrainingConfig,
    folder: Path,
    *,
    source: str = "",
    resume: bool = False,
    workers: int | None = None,
    device: str = "cpu",
    only: tuple[int, ...] = tuple(range(DIGITS)),
    stop: threading.Event | None = None,
    progress: bool = True,
) -> list[Path]:
    """Train a rule for each digit in `only`, in parallel processes, one a core.

    Returns:
        The ten (or fewer) files `folder/digit-D.safetensors`.

    Raises:
        InputError, TrainingStopped, TrainingDiverged: as `training.train` does, from any digit.
    """
    jobs = [
        Job(d, rule, training, digits.only(d), Path(folder), source, resume, device) for d in only
    ]
    for job in jobs:
        if not len(job.digits):
            raise InputError(f"there is no picture of a {job.digit} in the training digits")
    context = multiprocessing.get_context("spawn")
    done, asked = context.Array("l", DIGITS), context.Event()
    workers = min(workers or os.cpu_count() or 1, len(jobs))
    with (
        ProcessPoolExecutor(workers, context, _start_worker, (done, asked)) as pool,
        tqdm(
            total=len(jobs) * training.iterations,
            desc="ten digits",
            unit="it",
            leave=False,
            disable=not progress,
        ) as bar,
    ):
        futures = [pool.submit(_pretrain_one, job) for job in jobs]
        try:
            follow(futures, bar, done, asked, stop)
        except BaseException:
            asked.set()  # the other digits save themselves and end
            raise
    return [Outputs(Path(folder), f"digit-{d}").rule for d in only]


def follow(futures: list[Future], bar, done, asked, stop: threading.Event | None) -> None:
    """Show progress until all digits are done; pass on a wish to stop, and the first error."""
    stopped = None
    while futures:
        if stop is not None and stop.is_set():
            asked.set()
        for future in [f for f in futures if f.done()]:
            futures.remove(future)
            try:
                future.result()
            except TrainingStopped as error:
                stopped = error
        bar.update(sum(done) - bar.n)
        time.sleep(0.1)
    if stopped is not None:
        raise stopped


def merge(rules: list[NCA], how: Merging, seed: int = 0) -> NCA:
    """Ten digit rules, in order of their digits, become the start of the unified rule.

    mean: the average of all weights; each digit keeps its own row of the label tables.
    last: the weights of digit 9, as when ten files are loaded one over another.
    scratch: none of them, the common initialisation again.

    Raises:
        InputError: not ten rules, or rules of different configurations.
    """
    if len(rules) != DIGITS:
        raise InputError(f"{len(rules)} rules to merge: the unified rule is made of {DIGITS}")
    for digit, rule in enumerate(rules):
        if rule.config != rules[0].config:
            raise InputError(
                f"the rule of digit {digit} has another configuration than that of digit 0: "
                "pretrain all ten with the same options"
            )
    merged = initial_rule(rules[0].config, seed)
    if how == "last":
        merged.load_state_dict(rules[-1].state_dict())
    elif how == "mean":
        states = [rule.state_dict() for rule in rules]
        mean = {name: torch.stack([s[name] for s in states]).mean(0) for name in states[0]}
        for name in mean.keys() & set(LABEL_TABLES):
            mean[name] = torch.stack([s[name][digit] for digit, s in enumerate(states)])
        merged.load_state_dict(mean)
    elif how != "scratch":
        raise InputError(f"merging is {how!r}: choose mean, last or scratch")
    merged.genome.forget_styles()  # each digit's codes had a scale of their own
    return merged


def widen(rule: NCA, hidden: int, seed: int = 0) -> NCA:
    """The same rule with a wider hidden layer: it does what it did, with room to learn more.

    The new units perceive as those of a new rule do, and change nothing yet (Net2Net: Chen et al.,
    2016, with zeros where they copy).

    Raises:
        InputError: the layer would become narrower.
    """
    old, width = rule.state_dict(), rule.config.hidden
    if hidden < width:
        raise InputError(f"hidden is {hidden}, the rule has {width} already: choose more")
    wide = initial_rule(replace(rule.config, hidden=hidden), seed)
    new = wide.state_dict()
    for name in ("perceived.weight", "perceived.bias", "told.weight"):  # [hidden, ...]
        new[name][:width] = old.pop(name)
    new["update.weight"][:, :width] = old.pop("update.weight")  # [C, hidden]
    wide.load_state_dict(new | old)
    wide.record = rule.record
    return wide


def load_digit_rules(folder: Path) -> list[NCA]:
    """The ten rules of a pretraining.

    Raises:
        InputError: one is missing or can't be used.
    """
    return [load(Outputs(Path(folder), f"digit-{d}").rule) for d in range(DIGITS)]
