"""From ten rules to one: a rule per digit, trained in parallel, and their merger.

All ten start from one common initialisation, so that their weights stay comparable and a mean of
them can make sense. Whether it helps is an experiment, not a belief: `merge` offers several ways.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from nca_lib.checkpoints import load
from nca_lib.data import Digits
from nca_lib.errors import InputError
from nca_lib.inputs import DIGITS, as_whole
from nca_lib.rule import NCA, RuleConfig
from nca_lib.stopping import SIGNALS, Stopped, Wish, asked_to_stop, die_with_parent, signals_wait
from nca_lib.training.loop import train
from nca_lib.training.ranks import Ranks
from nca_lib.training.run import Outputs, only_writer
from nca_lib.training.settings import TrainingConfig

import torch
from tqdm.auto import tqdm

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
    die_with_parent()
    torch.set_num_threads(1)  # one digit a core
    for number in SIGNALS:  # the parent asks through the event
        signal.signal(number, signal.SIG_IGN)


def _pretrain_one(job: Job) -> None:
    def count(iteration: int) -> None:
        _done[job.digit] = iteration

    train(
        initial_rule(job.rule, job.training.seed).to(job.device),
        job.digits,
        replace(job.training, seed=job.training.seed + 1 + job.digit),
        Outputs(job.folder, f"digit-{job.digit}", claimed=True),
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
    progress: bool = True,
    ranks: Ranks | None = None,
) -> list[Path]:
    """Train a rule for each digit in `only`, in parallel processes, one a core.

    Under torchrun each of the ranks has some of the digits.

    Returns:
        The ten (or fewer) files `folder/digit-D.safetensors`.

    Raises:
        InputError, Stopped, TrainingDiverged: as `train` does, from any digit.
    """
    ranks, folder = ranks or Ranks(), Path(folder)
    workers = max(1, (os.cpu_count() or 1) // ranks.count) if workers is None else workers
    as_whole(workers, "workers", least=1)
    jobs = [
        Job(d, rule, training, digits.only(d), folder, source, resume, device)
        for d in only[ranks.number :: ranks.count]
    ]
    for job in jobs:
        if not len(job.digits):
            raise InputError(f"there is no picture of a {job.digit} in the training digits")
    with ExitStack() as stack:
        if ranks.first:
            stack.enter_context(only_writer(folder))
        wish = stack.enter_context(asked_to_stop())
        if jobs:
            work_off(jobs, min(workers, len(jobs)), training.iterations, wish, progress)
        if wish():
            raise Stopped("the ten digits are finished; stopped there", wish.number)
    return [Outputs(folder, f"digit-{d}").rule for d in only]


def work_off(jobs: list[Job], workers: int, iterations: int, wish: Wish, progress: bool) -> None:
    """Train all digits in a crew of processes."""
    context = multiprocessing.get_context("spawn")
    with signals_wait():  # the process that tracks what they share starts here
        done, asked = context.Array("l", DIGITS), context.Event()
    with (
        ProcessPoolExecutor(workers, context, _start_worker, (done, asked)) as pool,
        tqdm(
            total=len(jobs) * iterations,
            desc="ten digits",
            unit="it",
            leave=False,
            disable=None if progress else True,
        ) as bar,
    ):
        with signals_wait():
            futures = [pool.submit(_pretrain_one, job) for job in jobs]
        try:
            follow(futures, bar, done, asked, wish)
        except BrokenProcessPool:
            raise Stopped("a worker was killed; what the others did is saved, go on with --resume",
                          signal.SIGTERM) from None  # fmt: skip
        finally:
            asked.set()  # after an error the other digits save themselves and end


def follow(futures: list[Future], bar, done, asked, wish: Wish) -> None:
    """Show progress until all digits are done; pass on a wish to stop, and the first error."""
    stopped = None
    while futures:
        if wish():
            asked.set()
            waiting = [f for f in futures if f.cancel()]
            futures = [f for f in futures if f not in waiting]
            if waiting:
                stopped = Stopped("stopped; --resume trains the digits that are left", wish.number)
        for future in [f for f in futures if f.done()]:
            futures.remove(future)
            try:
                future.result()
            except Stopped as error:
                stopped = Stopped(str(error), wish.number or error.number)
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
