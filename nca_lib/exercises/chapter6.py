"""Checks for chapter 6, damage and regrowth."""

from __future__ import annotations

from nca_lib.cells import ALIVE_ABOVE, LIFE, SIZE, disc, erase, seed_state
from nca_lib.evaluation import damages, ink_iou
from nca_lib.exercises.trying import as_tensor, attempt, same

import torch
from torch import Tensor


def on_a_copy(function, states: Tensor, *others, name: str):
    """What the function gives for the states, and whether it changed those that it was given."""
    mine = states.clone()
    tried = (lambda *rest: function(mine, *rest)) if callable(function) else function
    return attempt(tried, *others, name=name), not torch.equal(mine, states)


def check_erase_discs(erase_discs) -> None:
    """A disc is erased from some samples of a batch."""
    generator = torch.Generator().manual_seed(0)
    states = 0.5 + torch.rand(4, 5, 12, 16, generator=generator)
    hit = torch.tensor([True, False, True, False])
    centres = torch.tensor([[4.0, 10.0], [6.0, 6.0], [0.5, 2.5], [3.0, 3.0]])
    radius = torch.tensor([3.0, 2.0, 2.5, 4.0])
    inside = disc(centres[:, 0], centres[:, 1], radius, (12, 16))  # [4, 12, 16]
    for who in (hit, ~hit, torch.zeros(4, dtype=torch.bool), torch.ones(4, dtype=torch.bool)):
        given, changed = on_a_copy(erase_discs, states, who, centres, radius, name="erase_discs")
        if given is None:
            return
        given = as_tensor(given, "the damaged batch")
        if given is None:
            return
        if changed:
            print("The states that you were given have changed: work on a copy, states.clone().")
            return
        wanted = erase(states, inside & who[:, None, None])
        if same(given, wanted, "the damaged batch"):
            continue
        if given.shape == wanted.shape:
            print(which_wound(given, states, who, centres, radius))
        return
    print("Right: a disc is gone from every sample that is hit, in all channels.")


def which_wound(given: Tensor, states: Tensor, hit: Tensor, centres: Tensor, radius: Tensor) -> str:
    """A sentence for a damaged batch that is not the one wanted."""
    size, hits = states.shape[2:], hit[:, None, None]
    row, column = centres.T
    inside = disc(row, column, radius, size)
    ink_alone, small = states.clone(), disc(row, column, radius - 1e-3, size)
    ink_alone[:, 0] *= ~(inside & hits)
    y, x = torch.arange(size[0])[:, None], torch.arange(size[1])
    box = torch.maximum((y - row[:, None, None]).abs(), (x - column[:, None, None]).abs())
    others = {
        "All samples lost a disc: only those that are hit may.": erase(states, inside),
        "Nothing is erased.": states,
        "The disc is what stays: erase the inside, keep the rest.": erase(states, ~inside & hits),
        "The others are hit: hit is True where a disc is to be erased.": erase(
            states, inside & ~hits
        ),
        "Only the ink is gone: erase all channels.": ink_alone,
        "Rows and columns are exchanged: a centre is (row, column).": erase(
            states, disc(column, row, radius, size) & hits
        ),
        "Cells at a distance of exactly the radius belong to the disc: use <=.": erase(
            states, small & hits
        ),
        "Those are squares: the distance is the root of the sum of both squares.": erase(
            states, (box <= radius[:, None, None]) & hits
        ),
        "Compare distances with the radius, or squares with its square.": erase(
            states, disc(row, column, radius.sqrt(), size) & hits
        ),
    }
    for sentence, wrong in others.items():
        if torch.allclose(given.double(), wrong.double()):
            return sentence
    wanted = erase(states, inside & hits)
    wrong = ((given - wanted).abs() > 1e-6).any(1).sum().item()
    return f"{wrong} cells of this batch are not as they should be."


def check_training_batch(training_batch) -> None:
    """A batch of fresh samples and of samples from the pool, some of them wounded."""
    generator = torch.Generator().manual_seed(0)
    pool = 0.2 + torch.rand(8, 6, SIZE, SIZE, generator=generator)
    wounds = torch.rand(3, SIZE, SIZE, generator=generator) < 0.4
    wounds[1] = True  # nothing is left of this one
    for taken, fresh, hurt in (([5, 2, 7, 0], 2, 2), ([1, 3, 6], 1, 3), ([4], 3, 0)):
        taken, some = torch.tensor(taken), wounds[:hurt]
        given, changed = on_a_copy(training_batch, pool, taken, fresh, some, name="training_batch")
        if given is None:
            return
        given = as_tensor(given, "the batch")
        if given is None:
            return
        if changed:
            print("The pool has changed: pool[taken] is a copy, wound that one.")
            return
        if same(given, batch_of(pool, taken, fresh, some), "the batch"):
            continue
        if given.shape == (fresh + len(taken), *pool.shape[1:]):
            print(which_batch(given, pool, taken, fresh, some))
        return
    print("Right: seeds first, then the pool, some of it wounded; what has died begins anew.")


def batch_of(pool, taken, fresh: int, wounds: Tensor, shift: int = 0, revive: bool = True):
    """The batch; `shift` moves the wounds to samples further back."""
    states, seed = pool[taken], seed_state(1, pool.shape[1])
    hit = slice(shift, shift + len(wounds))
    states[hit] = erase(states[hit], wounds[: len(states[hit])])
    if revive:
        states[(states[:, LIFE] <= ALIVE_ABOVE).flatten(1).all(1)] = seed
    return torch.cat([seed.expand(fresh, -1, -1, -1), states])


def which_batch(given: Tensor, pool: Tensor, taken: Tensor, fresh: int, wounds: Tensor) -> str:
    """A sentence for a batch that is not the one wanted."""
    wanted = batch_of(pool, taken, fresh, wounds)
    others = {
        "A sample without a living cell can't heal: let it begin anew, from a seed.": batch_of(
            pool, taken, fresh, wounds, revive=False
        ),
        "The fresh samples come first, those from the pool behind them.": wanted.roll(-fresh, 0),
        "Nothing is wounded: the first samples from the pool get a wound each.": batch_of(
            pool, taken, fresh, wounds[:0]
        ),
        "The last samples are wounded: take the first ones from the pool.": batch_of(
            pool, taken, fresh, wounds, len(taken) - len(wounds)
        ),
        "Take the samples at the places `taken`, not the first ones.": batch_of(
            pool, torch.arange(len(taken)), fresh, wounds
        ),
        "Only the ink is wounded: erase all channels.": with_ink_wounded(
            pool, taken, fresh, wounds
        ),
    }
    for sentence, wrong in others.items():
        if torch.allclose(given.double(), wrong.double(), atol=1e-6):
            return sentence
    wrong = ((given - wanted).abs() > 1e-6).flatten(1).any(1).nonzero()[:, 0].tolist()
    return f"Of a batch of {len(wanted)}, the samples {wrong} are not as they should be."


def with_ink_wounded(pool: Tensor, taken: Tensor, fresh: int, wounds: Tensor) -> Tensor:
    batch = batch_of(pool, taken, fresh, wounds[:0])
    hit = slice(fresh, fresh + len(wounds))
    batch[hit, 0] = batch[hit, 0] * ~wounds
    return batch


def check_heal_score(heal_score) -> None:
    """The share of what a wound took that has come back, beside the unwounded control."""
    generator = torch.Generator().manual_seed(0)
    images = (torch.rand(6, 1, SIZE, SIZE, generator=generator) < 0.4).float()
    images[0, :, 3:] = 0  # little ink: a mean over pictures is not one over pixels

    def worse(share: float) -> Tensor:
        return images * (torch.rand(images.shape, generator=generator) > share) * 0.8

    control = worse(0.1)
    same_as_hurt = worse(0.4)
    for hurt, later in (
        (worse(0.6), worse(0.2)),
        (worse(0.5), control),
        (same_as_hurt, same_as_hurt),
        (worse(0.3), worse(0.7)),
    ):
        given = attempt(heal_score, hurt, later, control, images, name="heal_score")
        given = None if given is None else as_tensor(given, "the score")
        if given is None:
            return
        if given.numel() != 1:
            print(f"One number is wanted, yours has the shape {list(given.shape)}.")
            return
        said = what_score(given.double().item(), hurt, later, control, images)
        if said:
            print(said)
            return
    print("Right: 0 for what has not healed at all, 1 for what is as if never wounded.")


def what_score(given: float, hurt: Tensor, later: Tensor, control: Tensor, images: Tensor) -> str:
    """Nothing for the right score, else what is wrong with it."""

    def over_pixels(a: Tensor) -> float:
        a, b = a > 0.5, images > 0.5
        return ((a & b).sum() / (a | b).sum()).item()

    low, now, high = (ink_iou(ink, images) for ink in (hurt, later, control))
    if abs(given - (now - low) / (high - low)) < 1e-4:
        return ""
    l2, n2, h2 = (over_pixels(ink) for ink in (hurt, later, control))
    for sentence, other in (
        ("Compare with the control, not with a perfect picture.", (now - low) / (1 - low)),
        ("Subtract the IoU after the wound below the line, too.", (now - low) / high),
        ("Subtract the IoU after the wound above the line, too.", now / (high - low)),
        ("That is later over control: a picture that has not healed should get 0.", now / high),
        ("That is the share that is missing: 1 stands for healed.", (high - now) / (high - low)),
        ("Upside down: what came back stands above the line.", (high - low) / (now - low or 1)),
        ("Take the IoU of each picture first, then the mean (ink_iou).", (n2 - l2) / (h2 - l2)),
    ):
        if abs(given - other) < 1e-4:
            return sentence
    return f"{given:.2f} for IoUs of {low:.2f} after the wound, {now:.2f} later, {high:.2f} unhurt."


def check_takers(names) -> None:
    """Which of the wounds that are alike for all digits erase the anchor's cell."""
    wounds = {name: mask for name, mask in damages(1, 0).items() if mask.dim() == 2}
    if names is None or names is ...:
        print('Give a set of names: takers = {"square", ...}')
        return
    try:
        names = {str(name) for name in names} if not isinstance(names, str) else {names}
    except Exception:  # whatever the reader gave
        print(f"Give a set of names, not a {type(names).__name__}.")
        return
    if names - set(wounds):
        print(f"No such wound: {', '.join(sorted(names - set(wounds)))}.")
        return
    for name, mask in wounds.items():
        if bool(mask[SIZE // 2, SIZE // 2]) != (name in names):
            print(f"Look at {name} again: what is its mask[14, 14]?")
            return
    print("Right: these take the anchor's cell, the others leave it alone.")
