"""The checks of chapter 2 accept what is right and say what is wrong."""

from dataclasses import replace

from nca_lib.cells import seed_state
from nca_lib.exercises.chapter2 import (
    check_age,
    check_config,
    check_learn_once,
    check_loss,
    check_pool,
)
from nca_lib.training import TrainingConfig, growth_losses, life_target

import numpy as np
import pytest
import torch
from torch.nn.utils import clip_grad_norm_

NOTHING = (None, ..., 3, "step", [1, 2])  # where a function is wanted
USELESS = (
    lambda *given: None,
    lambda *given: ...,
    lambda *given: 1 / 0,
    lambda *given: [0.0, 1.0],
    lambda *given: (1, 2, 3),
    lambda *given: "ab",
    lambda *given: 0.5,
    lambda *given: torch.zeros(2, 3),
    lambda *given: torch.tensor(torch.nan),
    lambda: 0,
)


def said(capsys, check, *given):
    check(*given)
    text = capsys.readouterr().out
    assert len(text.splitlines()) == 1, text
    return text


# ---- the loss ------------------------------------------------------------------------------------


def terms(frames, picture, tissue):
    """Ink, life and overflow at each loss step, `[R]` each."""
    ink = (frames[:, :, 0] - picture[:, 0]).square().mean((1, 2, 3))
    life = (frames[:, :, 1] - tissue[:, 0]).square().mean((1, 2, 3))
    return ink, life, (frames.abs() - 2).relu().square().mean((1, 2, 3, 4))


def loss_of(frames, picture, tissue):
    ink, life, overflow = terms(frames, picture, tissue)
    return (ink + 0.25 * life + 0.1 * overflow).mean()


def loss_by_steps(frames, picture, tissue):
    total = 0
    for state in frames:
        ink = torch.nn.functional.mse_loss(state[:, :1], picture.expand(len(state), -1, -1, -1))
        life = (state[:, 1:2] - tissue).pow(2).mean()
        beyond = (state - state.clamp(-2, 2)).pow(2).mean()
        total = total + (ink + life / 4 + beyond / 10) / len(frames)
    return total


def loss_of_the_library(frames, picture, tissue):
    return sum(growth_losses(frames, picture, TrainingConfig(loss_steps=range(1, len(frames) + 1))))


def one_sided(frames, picture, tissue):
    ink, life, _ = terms(frames, picture, tissue)
    return (ink + 0.25 * life).mean() + 0.1 * (frames - 2).relu().square().mean()


def weighted(ink, life, overflow, step=None):
    def function(*given):
        each = sum(w * term for w, term in zip((ink, life, overflow), terms(*given), strict=True))
        return each.mean() if step is None else each[step]

    return function


def one_sample_for_each_target(frames, picture, tissue):
    """Right for a target each; with shared ones it leaves samples out."""
    return loss_of(frames[:, : len(picture)], picture, tissue)


def one_target_each(frames, picture, tissue):
    """Right for a target each; with shared ones it stops."""
    ink = (frames[:, :, 0] - picture.reshape(frames.shape[1], 28, 28)).square().mean()
    life = (frames[:, :, 1] - tissue[:, 0]).square().mean()
    return ink + 0.25 * life + 0.1 * (frames.abs() - 2).relu().square().mean()


WRONG_LOSSES = {
    "sum over the loss steps": lambda *given: loss_of(*given) * len(given[0]),
    "at the last step alone": weighted(1, 0.25, 0.1, -1),
    "at the first step alone": weighted(1, 0.25, 0.1, 0),
    "Life counts a quarter": weighted(1, 1, 0.1),
    "life channel is missing": weighted(1, 0, 0.1),
    "penalty for large numbers is missing": weighted(1, 0.25, 0),
    "counts a tenth": weighted(1, 0.25, 1),
    "as bad as those above 2": one_sided,
    "target of its own": lambda frames, picture, tissue: loss_of(frames, picture, picture),
    "compute the three terms": weighted(0.25, 1, 0.1),
    "no gradient": lambda *given: loss_of(*given).item(),
    "has no gradient": lambda *given: loss_of(*given).detach(),
    "shape [4]": lambda *given: terms(*given)[0],
    "not if all samples share one": one_sample_for_each_target,
    "that share one picture and tissue, stopped with RuntimeError": one_target_each,
}


@pytest.mark.parametrize("function", [loss_of, loss_by_steps, loss_of_the_library])
def test_a_right_loss(capsys, function):
    assert said(capsys, check_loss, function).startswith("Right")


@pytest.mark.parametrize("what", WRONG_LOSSES)
def test_a_wrong_loss(capsys, what):
    assert what in said(capsys, check_loss, WRONG_LOSSES[what])


# ---- one iteration -------------------------------------------------------------------------------

PICTURE = torch.zeros(1, 1, 28, 28)
PICTURE[..., 6:22, 12:16] = 0.8
TISSUE = life_target(PICTURE)


def learning(
    clean=True, clip=True, step=True, detach=True, number=True, label=3, last=-1, sign=1, every=True
):
    """An iteration, right or with one thing wrong."""

    def learn_once(rule, optimiser, states, seeds, record):
        genome = rule.genome(torch.full((len(states),), label))
        frames = rule.rollout(states, genome, record[-1], seeds, record)
        loss = loss_of(frames if every else frames[-1:], PICTURE, TISSUE)
        if clean:
            optimiser.zero_grad()
        (sign * loss).backward()
        if clip:
            clip_grad_norm_(rule.parameters(), 1.0)
        if step:
            optimiser.step()
        grown = frames[last].detach() if detach else frames[last]
        return (loss.item() if number else loss), grown

    return learn_once


def cleaned_afterwards(rule, optimiser, states, seeds, record):
    given = learning(clean=False)(rule, optimiser, states, seeds, record)
    optimiser.zero_grad()
    return list(given)


def reversed_results(*given):
    return learning()(*given)[::-1]


def one_result(*given):
    return learning()(*given)[0]


RIGHT_LEARNING = (learning(), cleaned_afterwards)
WRONG_LEARNING = {
    "optimiser.step() is missing": learning(step=False),
    "is not clipped": learning(clip=False),
    "zero_grad()": learning(clean=False),
    "neither cleared before nor clipped": learning(clean=False, clip=False),
    "detach()": learning(detach=False),
    ".item()": learning(number=False),
    "not of a 3": learning(label=4),
    "at the end of the rollout": learning(last=0),
    "the loss first": reversed_results,
    "two things": one_result,
    "check the order": learning(sign=-1),
    "all loss steps": learning(every=False),
}


@pytest.mark.parametrize("function", RIGHT_LEARNING)
def test_an_iteration_as_it_should_be(capsys, function):
    assert said(capsys, check_learn_once, function, PICTURE).startswith("Right")


@pytest.mark.parametrize("what", WRONG_LEARNING)
def test_an_iteration_with_one_thing_wrong(capsys, what):
    assert what in said(capsys, check_learn_once, WRONG_LEARNING[what], PICTURE)


# ---- the pool ------------------------------------------------------------------------------------


def draw(pool, count, generator):
    slots = torch.randperm(len(pool), generator=generator)[:count]
    states = pool[slots]
    states[0] = seed_state(1, pool.shape[1])[0]
    return slots, states


def draw_by_weights(pool, count, generator):
    slots = torch.multinomial(torch.ones(len(pool)), count, generator=generator)
    fresh = seed_state(1, pool.shape[1], tuple(pool.shape[2:]))
    return [slots, torch.cat([fresh, pool[slots[1:]]])]


def put_back(pool, slots, states):
    pool[slots] = states.detach()
    return pool


def put_back_one_by_one(pool, slots, states):
    with torch.no_grad():
        for slot, state in zip(slots.tolist(), states, strict=True):
            pool[slot].copy_(state)
    return pool


def draws(slots_of=None, change=None):
    """A draw with slots of one's own, or whose states are changed."""

    def function(pool, count, generator):
        slots = torch.randperm(len(pool), generator=generator)[:count]
        slots = slots if slots_of is None else slots_of(pool, count, generator)
        states = pool[slots]
        if change is None:
            states[0] = seed_state(1, pool.shape[1])[0]
        else:
            states = change(states, pool, slots)
        return slots, states

    return function


def spoils_the_pool(states, pool, slots):
    pool[slots[0]] = seed_state(1, pool.shape[1])[0]
    return pool[slots]


def seed_at_the_end(states, pool, slots):
    states[-1] = seed_state(1, pool.shape[1])[0]
    return states


def with_repeats(pool, count, generator):
    return torch.randint(len(pool), (count,), generator=generator)


def without_the_last(pool, count, generator):
    return torch.randperm(len(pool) - 1, generator=generator)[:count]


def sorted_slots(pool, count, generator):
    return torch.cat([torch.tensor([0]), 1 + torch.randperm(len(pool) - 1)[: count - 1]])


WRONG_DRAWS = {
    "Drawing changes the pool": draws(change=spoils_the_pool),
    "drawn twice": draws(with_repeats),
    "None of the states is a seed": draws(change=lambda states, pool, slots: states),
    "The first of the states is to be a seed": draws(change=seed_at_the_end),
    "not those of the slots": draws(
        change=lambda s, pool, slots: seed_state(len(s), pool.shape[1])
    ),
    "the same slots each time": draws(lambda pool, count, generator: torch.arange(count)),
    "Some slots are never drawn": draws(without_the_last),
    "shuffle the slots": draws(sorted_slots),
    "two things": lambda *given: draw(*given)[1],
    "see the task": lambda *given: draw(*given)[::-1],
    "whole numbers": lambda *given: (draw(*given)[0].float(), draw(*given)[1]),
}
WRONG_PUTS = {
    "holds gradients": lambda pool, slots, states: (pool.__setitem__(slots, states), pool)[1],
    "has to change, not a copy": lambda pool, *given: put_back(pool.clone(), *given),
    "into its own slot": lambda pool, slots, states: put_back(pool, slots.sort().values, states),
    "all other slots stay": lambda pool, slots, states: put_back(
        pool, torch.arange(len(states)), states
    ),
    "shape": lambda pool, slots, states: put_back(pool, slots, states)[slots],
    "put_back returns nothing yet": lambda *given: None,
}


@pytest.mark.parametrize("drawing", [draw, draw_by_weights])
@pytest.mark.parametrize("putting", [put_back, put_back_one_by_one])
def test_a_right_pool(capsys, drawing, putting):
    assert said(capsys, check_pool, drawing, putting).startswith("Right")


@pytest.mark.parametrize("what", WRONG_DRAWS)
def test_a_wrong_draw(capsys, what):
    assert what in said(capsys, check_pool, WRONG_DRAWS[what], put_back)


@pytest.mark.parametrize("what", WRONG_PUTS)
def test_what_is_put_back_wrongly(capsys, what):
    assert what in said(capsys, check_pool, draw, WRONG_PUTS[what])


@pytest.mark.parametrize("function", [*NOTHING, *USELESS])
def test_what_is_no_answer_is_said_and_nothing_raises(capsys, function):
    for check, given in (
        (check_loss, (function,)),
        (check_learn_once, (function, PICTURE)),
        (check_pool, (function, put_back)),
        (check_pool, (draw, function)),
        (check_pool, (function, function)),
    ):
        check(*given)
        text = capsys.readouterr().out
        assert text.strip()
        assert not text.startswith("Right")


# ---- exercises -----------------------------------------------------------------------------------


@pytest.mark.parametrize("answer", [8, 8.0, torch.tensor(8), np.float64(8), 1 / (1 / 8)])
def test_the_right_age(capsys, answer):
    assert said(capsys, check_age, answer).startswith("Right")


@pytest.mark.parametrize("answer", [None, ..., 7, 8.4, 1 / 8, 256, [8, 8], "8 rollouts", {}])
def test_another_age(capsys, answer):
    assert not said(capsys, check_age, answer).startswith("Right")


CONFIG = TrainingConfig(iterations=300, batch_size=8, pool_share=0.0, damage_share=0.0)


@pytest.mark.parametrize("start", [0, 0.0])
def test_a_right_configuration(capsys, start):
    mine = replace(CONFIG, pool_share=0.75, pool_start=start)
    assert said(capsys, check_config, mine, CONFIG).startswith("Right")


@pytest.mark.parametrize(
    ("mine", "what"),
    [
        (None, "Make one"),
        (..., "Make one"),
        ({"pool_share": 0.75}, "Make one"),
        (CONFIG, "pool_share is 0.0"),
        (replace(CONFIG, pool_share=0.75), "would wait"),
        (replace(CONFIG, pool_share=0.7, pool_start=0.0), "pool_share is 0.7"),
        (TrainingConfig(pool_share=0.75, pool_start=0.0), "no copy of config: iterations"),
        (replace(CONFIG, pool_share=0.75, pool_start=0.0, seed=1), "no copy of config: seed"),
    ],
)
def test_another_configuration(capsys, mine, what):
    assert what in said(capsys, check_config, mine, CONFIG)
