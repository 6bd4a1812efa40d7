"""Checks for chapter 6, damage and regrowth."""

from course.checking import Check, reports, require
from nca_lib.masks import disc, erase, evaluation_damage
from nca_lib.spec import MNIST
from nca_lib.state import seed_state

import torch


def erase_discs(states, hit, centres, radius, which=lambda d, h: d & h, channels=None):
    inside = disc(*centres.T, radius, tuple(states.shape[2:]))  # [B, H, W]
    damaged = erase(states[:, :channels], which(inside, hit[:, None, None]))
    return torch.cat([damaged, states[:, damaged.shape[1] :]], 1)


def disc_cases():
    states, hit = 0.5 + torch.rand(4, 5, 12, 16), torch.tensor([True, False, True, False])
    centres = torch.tensor([[4.0, 10.0], [6.0, 6.0], [0.5, 2.5], [3.0, 3.0]])
    radius = torch.tensor([3.0, 2.0, 2.5, 4.0])
    return [(states, one, centres, radius) for one in (hit, ~hit, hit & False, hit | True)]


DISC = {
    "Right: a disc is gone from every sample that is hit, in all channels.": {},
    "All samples lost a disc: only those that are hit may.": {"which": lambda d, h: d},
    "The disc is what stays: erase the inside, keep the rest.": {"which": lambda d, h: ~d & h},
    "The others are hit: hit is True where a disc goes.": {"which": lambda d, h: d & ~h},
    "Only the ink is gone: erase all channels.": {"channels": 1},
    "A centre is (row, column).": lambda s, hit, c, r: erase_discs(s, hit, c.flip(1), r),
    "At exactly the radius, use <=.": lambda s, hit, c, r: erase_discs(s, hit, c, r - 1e-3),
}
check_erase_discs = Check(erase_discs, disc_cases, DISC, keeps=True)


def training_batch(pool, taken, fresh, regions, revive=True, channels=None):
    states, seed = pool[taken], seed_state(MNIST, pool.shape[1])
    states[: len(regions), :channels] = erase(states[: len(regions), :channels], regions)
    if revive:
        states[(states[:, 1] <= 0.1).flatten(1).all(1)] = seed
    return torch.cat([seed.expand(fresh, -1, -1, -1), states])


def batch_cases():
    pool, regions = 0.2 + torch.rand(8, 6, 28, 28), torch.rand(3, 28, 28) < 0.4
    regions[1] = True  # nothing is left of this one
    slots = ([5, 2, 7, 0], 2, 2), ([1, 3, 6], 1, 3), ([4], 3, 0)
    return [(pool, torch.tensor(taken), fresh, regions[:hit]) for taken, fresh, hit in slots]


BATCH = {
    "Right: seeds first, then the pool, some of it damaged; what has died begins anew.": {},
    "A sample without a living cell can't heal: let it begin anew, from a seed.": {"revive": False},
    "The fresh samples come first.": lambda *given: training_batch(*given).roll(-given[2], 0),
    "Nothing is damaged.": lambda *given: training_batch(*given[:3], given[3][:0]),
    "Only the ink is damaged: erase all channels.": {"channels": 1},
}
check_training_batch = Check(training_batch, batch_cases, BATCH, keeps=True)


def ink_iou(pictures, images):
    a, b = (pictures > 0.5).flatten(1), (images > 0.5).flatten(1)
    return ((a & b).sum(1) / (a | b).sum(1)).double().mean()


def heal_score(hurt, later, control, images, over=lambda h, n, c: (n - h) / (c - h), iou=ink_iou):
    return over(iou(hurt, images), iou(later, images), iou(control, images))


def score_cases():
    images, missing = (torch.rand(6, 1, 28, 28) < 0.4).float(), torch.rand(6, 1, 28, 28)
    images[0, :, 3:] = 0  # little ink: a mean over pictures is not one over pixels
    shares = (0.6, 0.2), (0.5, 0.1), (0.4, 0.4), (0.3, 0.7)  # of the ink that is missing
    worse = [[images * (missing > share) * 0.8 for share in pair] for pair in shares]
    return [(hurt, later, worse[1][1], images) for hurt, later in worse]


SCORE = {
    "Right: 0 for what has not healed at all, 1 for what is as if never damaged.": {},
    "Compare with the control, not with 1.": {"over": lambda h, n, c: (n - h) / (1 - h)},
    "Subtract the IoU after the damage below the line, too.": {"over": lambda h, n, c: (n - h) / c},
    "Subtract the IoU after the damage above the line, too.": {"over": lambda h, n, c: n / (c - h)},
    "A picture that has not healed should get 0.": {"over": lambda h, n, c: n / c},
    "1 stands for healed, 0 for not.": {"over": lambda h, n, c: (c - n) / (c - h)},
    "Take the mean IoU of the pictures (ink_iou).": {"iou": lambda a, b: ink_iou(a[None], b[None])},
}
check_heal_score = Check(heal_score, score_cases, SCORE)


@reports
def check_takers(names):
    """Which kinds of damage that are alike for all digits erase the origin's cell."""
    regions = evaluation_damage(1, 0, MNIST.size)
    regions = {name: region for name, region in regions.items() if region.dim() == 2}
    several = isinstance(names, set | frozenset | list | tuple | dict)
    require(several, 'Give a set of names: takers = {"square", ...}')
    odd = ", ".join(sorted({str(name) for name in names} - set(regions)))
    require(not odd, f"No such damage: {odd}.")
    for name, region in regions.items():
        right = bool(region[14, 14]) == (name in names)
        require(right, f"Look at {name} again: what is its mask[14, 14]?")
    return "Right: these erase the origin's cell, the others leave it alone."
