"""From ten rules to one: a rule per class (digit), trained in parallel, and their merger.

All start from one common initialisation, so that their weights stay comparable and a mean of
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
from nca_lib.dataset import Pictures
from nca_lib.errors import InputError
from nca_lib.inputs import as_whole
from nca_lib.judge import critic_for
from nca_lib.kinds import MNIST, Kind
from nca_lib.rule import NCA, RuleConfig
from nca_lib.stopping import SIGNALS, Stopped, Wish, asked_to_stop, die_with_parent, signals_wait
from nca_lib.training.loop import train
from nca_lib.training.ranks import Ranks
from nca_lib.training.run import Outputs, only_writer
from nca_lib.training.settings import TrainingConfig

import torch
from tqdm.auto import tqdm

Merging = Literal["mean", "last", "scratch"]
LABEL_TABLES = ("genome.labels.weight", "encoder.label.weight")  # row d belongs to label d


def initial_rule(config: RuleConfig, seed: int, kind: Kind = MNIST) -> NCA:
    """The common initialisation: the same weights for the same configuration, seed and kind."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return NCA(config, kind)


def rule_name(label: int, kind: Kind) -> str:
    """The name of the rule of one class: digit-3, or class-3 where classes are no digits."""
    return f"{'digit' if kind.classes == MNIST.classes else 'class'}-{label}"


@dataclass(frozen=True)
class Job:
    """The pretraining of one class, as sent to a worker process."""

    label: int
    rule: RuleConfig
    kind: Kind
    training: TrainingConfig
    digits: Pictures  # of this class alone
    folder: Path
    source: str
    resume: bool
    device: str
    critic: Path | None


_done = _stop = None  # in a worker: iterations done for each label; an event that asks to stop


def _start_worker(done, stop) -> None:
    global _done, _stop
    _done, _stop = done, stop
    die_with_parent()
    torch.set_num_threads(1)  # one class a core
    for number in SIGNALS:  # the parent asks through the event
        signal.signal(number, signal.SIG_IGN)


def _pretrain_one(job: Job) -> None:
    def count(iteration: int) -> None:
        _done[job.label] = iteration

    train(
        initial_rule(job.rule, job.training.seed, job.kind).to(job.device),
        job.digits,
        replace(job.training, seed=job.training.seed + 1 + job.label),
        Outputs(job.folder, rule_name(job.label, job.kind), claimed=True),
        source=job.source,
        critic=job.critic and critic_for(job.kind, job.critic),
        resume=job.resume,
        stop=_stop.is_set,
        on_iteration=count,
        progress=False,
    )


def pretrain(
    rule: RuleConfig,
    digits: Pictures,
    training: TrainingConfig,
    folder: Path,
    *,
    kind: Kind = MNIST,
    source: str = "",
    resume: bool = False,
    workers: int | None = None,
    device: str = "cpu",
    critic: Path | None = None,
    only: tuple[int, ...] | None = None,
    progress: bool = True,
    ranks: Ranks | None = None,
) -> list[Path]:
    """Train a rule for each label (in `only`), in parallel processes, one a core.

    Under torchrun each of the ranks has some of the labels.

    Returns:
        The files `folder/digit-D.safetensors`, or `class-D` where classes are no digits.

    Raises:
        InputError, Stopped, TrainingDiverged: as `train` does, from any of them.
    """
    only = tuple(range(len(kind.classes))) if only is None else only
    ranks, folder = ranks or Ranks(), Path(folder)
    workers = max(1, (os.cpu_count() or 1) // ranks.count) if workers is None else workers
    as_whole(workers, "workers", least=1)
    jobs = [
        Job(d, rule, kind, training, digits.only(d), folder, source, resume, device, critic)
        for d in only[ranks.number :: ranks.count]
    ]
    for job in jobs:
        if not len(job.digits):
            name = kind.classes[job.label]
            raise InputError(f"there is no picture of a {name} in the training digits")
    with ExitStack() as stack:
        if ranks.first:
            stack.enter_context(only_writer(folder))
        wish = stack.enter_context(asked_to_stop())
        if jobs:
            work_off(jobs, min(workers, len(jobs)), training.iterations, wish, progress)
        if wish():
            raise Stopped("the digits are finished; stopped there", wish.number)
    return [Outputs(folder, rule_name(d, kind)).rule for d in only]


def work_off(jobs: list[Job], workers: int, iterations: int, wish: Wish, progress: bool) -> None:
    """Train all classes in a crew of processes."""
    context = multiprocessing.get_context("spawn")
    with signals_wait():  # the process that tracks what they share starts here
        done, asked = context.Array("l", 1 + max(job.label for job in jobs)), context.Event()
    with (
        ProcessPoolExecutor(workers, context, _start_worker, (done, asked)) as pool,
        tqdm(
            total=len(jobs) * iterations,
            desc=f"{len(jobs)} rules",
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
            asked.set()  # after an error the others save themselves and end


def follow(futures: list[Future], bar, done, asked, wish: Wish) -> None:
    """Show progress until all are done; pass on a wish to stop, and the first error."""
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
    """A rule for each class, in order of their labels, become the start of the unified rule.

    mean: the average of all weights; each digit keeps its own row of the label tables.
    last: the weights of the last digit, as when ten files are loaded one over another.
    scratch: none of them, the common initialisation again.

    Raises:
        InputError: not one for each class, or rules of different configurations.
    """
    count = len(rules[0].kind.classes) if rules else len(MNIST.classes)
    if len(rules) != count:
        raise InputError(f"{len(rules)} rules to merge: the unified rule is made of {count}")
    for digit, rule in enumerate(rules):
        if (rule.config, rule.kind) != (rules[0].config, rules[0].kind):
            raise InputError(
                f"the rule of digit {digit} has another configuration than that of digit 0: "
                "pretrain all of them with the same options"
            )
    merged = initial_rule(rules[0].config, seed, rules[0].kind)
    if how == "last":
        merged.load_state_dict(rules[-1].state_dict())
    elif how == "mean":
        states = [rule.state_dict() for rule in rules]
        learned = [name for name, tensor in states[0].items() if tensor.is_floating_point()]
        mean = {name: torch.stack([s[name] for s in states]).mean(0) for name in learned}
        for name in mean.keys() & set(LABEL_TABLES):
            mean[name] = torch.stack([s[name][digit] for digit, s in enumerate(states)])
        merged.load_state_dict(merged.state_dict() | mean)
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
    wide = initial_rule(replace(rule.config, hidden=hidden), seed, rule.kind)
    new = wide.state_dict()
    for name in ("perceived.weight", "perceived.bias", "told.weight"):  # [hidden, ...]
        new[name][:width] = old.pop(name)
    new["update.weight"][:, :width] = old.pop("update.weight")  # [C, hidden]
    wide.load_state_dict(new | old)
    wide.record = rule.record
    return wide


def load_digit_rules(folder: Path, kind: Kind = MNIST) -> list[NCA]:
    """The rules of a pretraining, one for each class.

    Raises:
        InputError: one is missing or can't be used.
    """
    labels = range(len(kind.classes))
    return [load(Outputs(Path(folder), rule_name(label, kind)).rule) for label in labels]
