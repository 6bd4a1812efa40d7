"""Checks for chapter 2, one rule per digit."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import asdict, replace

from nca_lib.cells import seed_state
from nca_lib.exercises.chapter1 import told_apart
from nca_lib.exercises.trying import as_tensor, attempt, same
from nca_lib.rule import NCA, RuleConfig
from nca_lib.training import TrainingConfig, growth_losses, life_target

import torch
from torch import Tensor

STEPS = (3, 5)  # of the rollouts in checks
RATE = 0.5  # so that one iteration of plain descent shows
# Steps, samples, targets (one each, or one for all) and channels.
LOSS_CASES = ((4, 3, 3, 6), (1, 2, 2, 4), (3, 1, 1, 16), (2, 3, 1, 5))


# ---- the loss ------------------------------------------------------------------------------------


def lost_wrongly(frames: Tensor, picture: Tensor, tissue: Tensor) -> dict[str, Tensor]:
    """Typical mistakes in the loss, each with what is said of it."""
    ink = (frames[:, :, 0] - picture[:, 0]).square().mean((1, 2, 3))  # [R]
    life = (frames[:, :, 1] - tissue[:, 0]).square().mean((1, 2, 3))
    over = (frames.abs() - 2).relu().square().mean((1, 2, 3, 4))
    loss = ink + 0.25 * life + 0.1 * over
    return {
        "That is the sum over the loss steps: take their mean.": loss.sum(),
        "That is the loss at the last step alone: take the mean over all of `frames`.": loss[-1],
        "That is the loss at the first step alone: take the mean over all of `frames`.": loss[0],
        "Life counts a quarter.": (ink + life + 0.1 * over).mean(),
        "The life channel is missing.": (ink + 0.1 * over).mean(),
        "The penalty for large numbers is missing.": (ink + 0.25 * life).mean(),
        "The penalty for large numbers counts a tenth.": (ink + 0.25 * life + over).mean(),
        "Numbers below -2 are as bad as those above 2.": (
            ink + 0.25 * life + 0.1 * (frames - 2).relu().square().mean((1, 2, 3, 4))
        ).mean(),
        "Numbers from -2 to 2 cost nothing.": (
            ink + 0.25 * life + 0.1 * (frames.abs() - 2).square().mean((1, 2, 3, 4))
        ).mean(),
        "Life has a target of its own, the tissue.": (
            ink + 0.25 * (frames[:, :, 1] - picture[:, 0]).square().mean((1, 2, 3)) + 0.1 * over
        ).mean(),
    }


def check_loss(loss_of: Callable | None) -> None:
    """`(frames [R, B, C, H, W], picture, tissue) -> scalar`; targets `[B, 1, H, W]`, or shared."""
    generator, name = torch.Generator().manual_seed(0), "the loss"
    for steps, count, targets, channels in LOSS_CASES:
        picture = torch.zeros(targets, 1, 28, 28)
        picture[:, :, 8:20, 13:16] = torch.rand(targets, 1, 12, 3, generator=generator)
        frames = 1.6 * torch.randn(steps, count, channels, 28, 28, generator=generator)
        frames *= torch.linspace(0.6, 1.2, steps)[:, None, None, None, None]
        frames, tissue = frames.requires_grad_(), life_target(picture)
        shared, called = targets < count, "loss_of"
        if shared:
            called = "loss_of, for three samples that share one picture and tissue,"
        given = attempt(loss_of, frames, picture, tissue, name=called)
        if given is None:
            return
        config = TrainingConfig(loss_steps=tuple(range(1, steps + 1)))
        each = picture.expand(count, -1, -1, -1)
        wanted = sum(growth_losses(frames, each, config)).detach()
        mistakes = lost_wrongly(frames.detach(), picture, tissue)
        otherwise = "Not yet: compute the three terms one by one, and compare with the equation."
        if shared:
            otherwise = (
                "Right for a target each, but not if all samples share one picture and tissue, "
                "[1, 1, H, W]: all of the samples count."
            )
        if not told_apart(given, wanted, mistakes, name, otherwise, atol=1e-5):
            return
        if not (isinstance(given, Tensor) and given.requires_grad):
            print("The number is right, but has no gradient: return the tensor itself.")
            return
    print("Right: three terms, and their mean over the loss steps.")


# ---- one iteration -------------------------------------------------------------------------------


def descended(
    rule: NCA, picture: Tensor, states: list[Tensor], seeds: list[Tensor], **wrong
) -> tuple[list[float], list[Tensor], NCA]:
    """Iterations of plain descent, right or `wrong` in one way: losses, states, and the rule."""
    rule, tissue, losses, grown = deepcopy(rule), life_target(picture), [], []
    optimiser = torch.optim.SGD(rule.parameters(), RATE)
    for start, numbers in zip(states, seeds, strict=True):
        genome = rule.genome(torch.full((len(start),), wrong.get("label", 3)))
        frames = rule.rollout(start, genome, STEPS[-1], numbers, STEPS)
        ink = (frames[:, :, 0] - picture[:, 0]).square().mean()
        life = (frames[:, :, 1] - tissue[:, 0]).square().mean()
        loss = ink + 0.25 * life + 0.1 * (frames.abs() - 2).relu().square().mean()
        if wrong.get("clean", True):
            optimiser.zero_grad()
        loss.backward()
        if wrong.get("clip", True):
            torch.nn.utils.clip_grad_norm_(rule.parameters(), 1.0)
        if wrong.get("step", True):
            optimiser.step()
        losses.append(loss.item())
        grown.append(frames[-1].detach())
    return losses, grown, rule


def weights_of(rule: NCA) -> Tensor:
    return torch.cat([weight.detach().flatten() for weight in rule.parameters()])


def blame(ours: NCA, picture: Tensor, start: NCA, states: list, seeds: list) -> str:
    """What is probably wrong, by what the weights became after two iterations."""
    wrongs = {
        "The weights have not changed: optimiser.step() is missing.": {"step": False},
        "The gradient is not clipped to length 1 before the step.": {"clip": False},
        "Old gradients are still there: optimiser.zero_grad() before backward().": {"clean": False},
        "The gradient is neither cleared before nor clipped after backward().": {
            "clean": False,
            "clip": False,
        },
    }
    for said, wrong in wrongs.items():
        other = weights_of(descended(start, picture, states, seeds, **wrong)[2])
        if torch.allclose(weights_of(ours), other, atol=1e-5):
            return said
    return "The loss is right, but not what the weights became: check the order of the lines."


def check_learn_once(learn_once: Callable | None, picture: Tensor) -> None:
    """`(rule, optimiser, states, seeds, record) -> (loss, last states)`: one iteration."""
    generator = torch.Generator().manual_seed(0)
    start = NCA(RuleConfig(hidden=12, style_dim=0))
    for weight in start.parameters():
        weight.data.copy_(0.25 * torch.randn(weight.shape, generator=generator))
    states = [seed_state(2, 16), 0.5 * torch.rand(3, 16, 28, 28, generator=generator)]
    seeds = [torch.tensor([4, 9]), torch.tensor([5, 1, 7])]
    losses, grown, _ = descended(start, picture, states, seeds)
    rule = deepcopy(start)
    optimiser = torch.optim.SGD(rule.parameters(), RATE)
    for k in range(2):
        name = "learn_once"
        given = attempt(learn_once, rule, optimiser, states[k], seeds[k], STEPS, name=name)
        if given is None:
            return
        if not isinstance(given, tuple | list) or len(given) != 2:
            print("Return two things: the loss, and the states at the end.")
            return
        loss, last = as_tensor(given[0], "the loss"), given[1]
        if loss is None:
            return
        if loss.numel() != 1 or isinstance(last, int | float):
            print("Return the loss first, then the states.")
            return
        if not same(last, grown[k], "the second result"):
            if torch.is_tensor(last) and last.shape == grown[k].shape:
                print("Those are not the states at the end of the rollout, or not of a 3.")
            return
        if abs(loss.item() - losses[k]) > 1e-4:
            print("The loss is not that of all loss steps: give loss_of the frames as they are.")
            return
        if isinstance(last, Tensor) and last.requires_grad:
            print("The states still hold their gradients: detach() them.")
            return
        so_far = states[: k + 1], seeds[: k + 1]
        right = descended(start, picture, *so_far)[2]
        if not torch.allclose(weights_of(rule), weights_of(right), atol=1e-5):
            print(blame(rule, picture, start, *so_far))
            return
        if isinstance(given[0], Tensor) and given[0].requires_grad:
            print("The loss still holds its gradients: .item() makes a number of it.")
            return
    print("Right: two iterations, and the weights are those that they should be.")


# ---- the pool ------------------------------------------------------------------------------------


def watched(function: Callable | None, *inputs, name: str):
    """What the reader's function gives, and what it made of its first input; None if it fails."""
    made = []

    def inner(first, *others):
        made.append(first)
        return function(first, *others)

    given = attempt(inner if callable(function) else function, *inputs, name=name)
    return None if given is None else (given, made[0])


def drawn_wrongly(pool: Tensor, after: Tensor, slots: Tensor, states: Tensor) -> str | None:
    """What is wrong with one draw, in a sentence."""
    seed, count = seed_state(1, pool.shape[1])[0], len(states)
    if not torch.equal(pool, after):
        return "Drawing changes the pool: the seed belongs into the states that were drawn, alone."
    if len(slots.unique()) < count:
        return "The same slot may be drawn twice: draw different ones."
    if torch.equal(states, pool[slots]):
        return "None of the states is a seed: the rule would forget how to begin."
    if not torch.equal(states[0], seed):
        return "The first of the states is to be a seed."
    if not torch.equal(states[1:], pool[slots[1:]]):
        return "The states are not those of the slots, in the same order."
    return None


def check_draw(draw: Callable | None) -> bool:
    """`(pool [P, C, H, W], count, generator) -> (slots [count], states [count, C, H, W])`."""
    generator, count = torch.Generator().manual_seed(0), 4
    pool = torch.rand(7, 5, 28, 28, generator=generator)
    found = []
    for _ in range(30):
        both = watched(draw, pool, count, generator, name="draw")
        if both is None:
            return False
        given, after = both
        if not isinstance(given, tuple | list) or len(given) != 2:
            print("draw returns two things: the slots, and the states that were in them.")
            return False
        slots, states = (as_tensor(one, "what draw returns") for one in given)
        if slots is None or states is None:
            return False
        if slots.shape != (count,) or states.shape != (count, *pool.shape[1:]):
            print(f"draw gives {list(slots.shape)} and {list(states.shape)}: see the task.")
            return False
        if slots.dtype != torch.int64 or not ((slots >= 0) & (slots < len(pool))).all():
            print("The slots are whole numbers, from 0 to the last one of the pool.")
            return False
        wrong = drawn_wrongly(pool, after, slots, states.to(pool.dtype))
        if wrong:
            print(wrong)
            return False
        found.append(slots)
    if len(torch.stack(found).unique(dim=0)) == 1:
        print("It draws the same slots each time: draw them at random.")
    elif len(torch.cat(found).unique()) < len(pool):
        print("Some slots are never drawn.")
    elif len(torch.stack(found)[:, 0].unique()) == 1:
        print("The seed always takes the place of the same slot: shuffle the slots.")
    else:
        return True
    return False


def check_put_back(put_back: Callable | None) -> bool:
    """`(pool [P, C, H, W], slots [n], states [n, C, H, W]) -> pool`, changed in place."""
    generator = torch.Generator().manual_seed(1)
    pool = torch.rand(7, 5, 9, 9, generator=generator)
    slots = torch.tensor([5, 0, 2])
    states = torch.rand(3, 5, 9, 9, generator=generator).requires_grad_()
    both = watched(put_back, pool, slots, states, name="put_back")
    if both is None:
        return False
    given, after = both
    wanted = pool.clone()
    wanted[slots] = states.detach()
    if not same(given, wanted, "the pool"):
        if torch.is_tensor(given) and given.shape == wanted.shape:
            print("put_back: each state goes into its own slot, and all other slots stay.")
        return False
    if after.requires_grad or (torch.is_tensor(given) and given.requires_grad):
        print(
            "put_back: the pool holds gradients now, and would grow with it: detach() the states."
        )
        return False
    if not torch.equal(after, wanted):
        print("put_back: the pool itself has to change, not a copy of it.")
        return False
    return True


def check_pool(draw: Callable | None, put_back: Callable | None) -> None:
    """The sample pool: draw states from it, the first one a seed, and put the grown ones back."""
    if check_draw(draw) and check_put_back(put_back):
        print("Right: 30 draws and what is put back are as they should be.")


# ---- exercises -----------------------------------------------------------------------------------


def check_age(age: float | None) -> None:
    """The mean number of rollouts of a sample that is replaced with probability 1/8 each time."""
    number = as_tensor(age, "my_age")
    if number is None:
        return
    if number.numel() != 1:
        print("Give one number.")
    elif abs(number.item() - 8) < 0.01:
        print("Right: the mean of a geometric distribution with p = 1/8 is 8 rollouts.")
    elif number.item() == 256:
        print("Those are its steps: count rollouts, of 32 steps each.")
    elif number.item() == 7:
        print("Almost: the rollout after which it is replaced counts, too.")
    else:
        print(f"Not {number.item():g}: if one of eight leaves each time, how long does one stay?")


def check_config(config: TrainingConfig | None, original: TrainingConfig) -> None:
    """A copy of a configuration in which three of four samples come from the pool, at once."""
    if not isinstance(config, TrainingConfig):
        print("Make one: my_config = replace(config, ...)")
        return
    wanted = asdict(replace(original, pool_share=0.75, pool_start=0.0))
    off = [name for name, value in asdict(config).items() if value != wanted[name]]
    if not off:
        print("Right: a copy of config, and two settings are new.")
    elif "pool_share" in off:
        print(f"pool_share is {config.pool_share}: three of four is another number.")
    elif "pool_start" in off:
        print(f"pool_start is {config.pool_start}: the pool would wait.")
    else:
        print(f"It is no copy of config: {', '.join(off)} should be as it was there.")
