"""The checks of chapter 6 accept what is right, and say what is wrong with a near miss."""

from nca_lib.cells import disc, erase, seed_state
from nca_lib.evaluation import ink_iou
from nca_lib.exercises.chapter6 import (
    check_erase_discs,
    check_heal_score,
    check_takers,
    check_training_batch,
)

import pytest
import torch


def erase_discs(states, hit, centres, radius):
    region = disc(centres[:, 0], centres[:, 1], radius, tuple(states.shape[2:]))
    return erase(states, region & hit[:, None, None])


def by_loops(states, hit, centres, radius):
    states = states.clone()
    for sample in hit.nonzero()[:, 0].tolist():
        for y in range(states.shape[2]):
            for x in range(states.shape[3]):
                off = torch.tensor([y, x]) - centres[sample]
                if off.norm() <= radius[sample] + 1e-6:
                    states[sample, :, y, x] = 0
    return states


def ink_alone(states, hit, centres, radius):
    erased = erase_discs(states, hit, centres, radius)
    return torch.cat([erased[:, :1], states[:, 1:]], 1)


def in_place(states, hit, centres, radius):
    states *= erase_discs(torch.ones_like(states), hit, centres, radius)
    return states


def squares(states, hit, centres, radius):
    y = (torch.arange(states.shape[2])[:, None] - centres[:, 0, None, None]).abs()
    x = (torch.arange(states.shape[3]) - centres[:, 1, None, None]).abs()
    return erase(states, (torch.maximum(y, x) <= radius[:, None, None]) & hit[:, None, None])


def disc_is_left(states, hit, centres, radius):
    left = states - erase_discs(states, hit, centres, radius)
    return torch.where(hit[:, None, None, None], left, states)


DISCS = [
    (erase_discs, "Right"),
    (by_loops, "Right"),
    (lambda *given: erase_discs(*given).double(), "Right"),
    (lambda s, hit, c, r: erase_discs(s, torch.ones_like(hit), c, r), "All samples lost a disc"),
    (lambda s, hit, c, r: erase_discs(s, ~hit, c, r), "The others are hit"),
    (lambda s, hit, c, r: s.clone(), "Nothing is erased"),
    (disc_is_left, "The disc is what stays"),
    (ink_alone, "Only the ink is gone"),
    (in_place, "The states that you were given have changed"),
    (squares, "Those are squares"),
    (lambda s, hit, c, r: erase_discs(s, hit, c.flip(1), r), "Rows and columns"),
    (lambda s, hit, c, r: erase_discs(s, hit, c, r - 1e-3), "Cells at a distance of exactly"),
    (lambda s, hit, c, r: erase_discs(s, hit, c, r.sqrt()), "Compare distances"),
    (lambda s, hit, c, r: erase_discs(s, hit, c, r + 1), ""),
    (lambda *given: erase_discs(*given)[:1], "the damaged batch has the shape"),
]


@pytest.mark.parametrize(("given", "said"), DISCS)
def test_erase_discs(capsys, given, said):
    check_erase_discs(given)
    out = capsys.readouterr().out
    assert out.strip()
    assert out.startswith(said)
    assert out.startswith("Right") == (said == "Right")


def training_batch(pool, taken, fresh, wounds, revive=True, shift=0):
    seed, states = seed_state(1, pool.shape[1]), pool[taken].clone()
    hit = slice(shift, shift + len(wounds))
    states[hit] = erase(states[hit], wounds)
    dead = (states[:, 1] <= 0.1).flatten(1).all(1)
    states[dead & torch.tensor(revive)] = seed
    return torch.cat([seed.expand(fresh, -1, -1, -1), states])


def one_by_one(pool, taken, fresh, wounds):
    batch = [seed_state(1, pool.shape[1])[0] for _ in range(fresh)]
    for number, place in enumerate(taken.tolist()):
        state = pool[place].clone()
        if number < len(wounds):
            state[:, wounds[number]] = 0
        batch.append(state if (state[1] > 0.1).any() else seed_state(1, pool.shape[1])[0])
    return torch.stack(batch)


def pool_is_wounded(pool, taken, fresh, wounds):
    for place, wound in zip(taken, wounds, strict=False):
        pool[place] *= ~wound
    return training_batch(pool, taken, fresh, wounds)


def wounded_at_the_end(pool, taken, fresh, wounds):
    return training_batch(pool, taken, fresh, wounds, shift=len(taken) - len(wounds))


def pool_first(pool, taken, fresh, wounds):
    return training_batch(pool, taken, fresh, wounds).roll(-fresh, 0)


def ink_wounded(pool, taken, fresh, wounds):
    batch = training_batch(pool, taken, fresh, wounds[:0])
    batch[fresh : fresh + len(wounds), 0] *= ~wounds
    return batch


BATCHES = [
    (training_batch, "Right"),
    (one_by_one, "Right"),
    (lambda *given: training_batch(*given, revive=False), "A sample without a living cell"),
    (pool_is_wounded, "The pool has changed"),
    (pool_first, "The fresh samples come first"),
    (wounded_at_the_end, "The last samples are wounded"),
    (lambda p, t, f, w: training_batch(p, t, f, w[:0]), "Nothing is wounded"),
    (lambda p, t, f, w: training_batch(p, torch.arange(len(t)), f, w), "Take the samples at"),
    (ink_wounded, "Only the ink"),
    (lambda p, t, f, w: training_batch(p, t, f, ~w), "Of a batch of"),
    (lambda p, t, f, w: training_batch(p, t, 0, w), "the batch has the shape"),
]


@pytest.mark.parametrize(("given", "said"), BATCHES)
def test_training_batch(capsys, given, said):
    check_training_batch(given)
    assert capsys.readouterr().out.startswith(said)


def share(now, low, high):
    return (now - low) / (high - low)


def score_by(form):
    """A score as a formula of the three IoUs: just after the wound, later, of the control."""
    return lambda hurt, later, control, images: form(
        *(ink_iou(ink, images) for ink in (hurt, later, control))
    )


def over_pixels(hurt, later, control, images):
    pairs = [(ink > 0.5, images > 0.5) for ink in (hurt, later, control)]
    low, now, high = ((a & b).sum() / (a | b).sum() for a, b in pairs)
    return share(now, low, high)


SCORES = [
    (score_by(lambda low, now, high: share(now, low, high)), "Right"),
    (score_by(lambda low, now, high: torch.tensor(1 - (high - now) / (high - low))), "Right"),
    (score_by(lambda low, now, high: share(now, low, 1)), "Compare with the control"),
    (score_by(lambda low, now, high: (now - low) / high), "Subtract the IoU after the wound below"),
    (score_by(lambda low, now, high: now / (high - low)), "Subtract the IoU after the wound above"),
    (score_by(lambda low, now, high: now / high), "That is later over control"),
    (score_by(lambda low, now, high: (high - now) / (high - low)), "That is the share"),
    (score_by(lambda low, now, high: (high - low) / (now - low)), "Upside down"),
    (over_pixels, "Take the IoU of each picture"),
    (score_by(lambda low, now, high: now), ""),
    (lambda *given: torch.zeros(6), "One number is wanted"),
]


@pytest.mark.parametrize(("given", "said"), SCORES)
def test_heal_score(capsys, given, said):
    check_heal_score(given)
    out = capsys.readouterr().out
    assert out.strip()
    assert out.startswith(said)
    assert out.startswith("Right") == (said == "Right")


TAKERS = {"square", "right_half", "bottom_half", "stripes", "middle"}


@pytest.mark.parametrize("names", [TAKERS, sorted(TAKERS), dict.fromkeys(TAKERS)])
def test_takers(capsys, names):
    check_takers(names)
    assert capsys.readouterr().out.startswith("Right")


@pytest.mark.parametrize(
    "names",
    [None, ..., 5, "square", set(), TAKERS - {"stripes"}, TAKERS | {"left_half"}, {"top", "disc"}],
)
def test_not_the_takers(capsys, names):
    check_takers(names)
    out = capsys.readouterr().out
    assert out.strip()
    assert not out.startswith("Right")


@pytest.mark.parametrize("names", [TAKERS - {"stripes"}, TAKERS | {"left_half"}])
def test_a_hint_speaks_of_the_mask_as_the_task_does(capsys, names):
    check_takers(names)
    assert "mask[14, 14]" in capsys.readouterr().out


@pytest.mark.parametrize("nothing", [None, ..., 3, "batch", lambda *given: None, lambda: 1])
def test_nothing_yet(capsys, nothing):
    for check in (check_erase_discs, check_training_batch, check_heal_score):
        check(nothing)
        said = capsys.readouterr().out
        assert said.strip()
        assert not said.startswith("Right")
