"""The fire mask: which cells update in a step, drawn from a counter instead of a generator.

Whether cell `c` of a sample fires in step `t` is a hash of (the sample's RNG seed, `t`, `c`). A
draw therefore belongs to the sample: it is the same in the dense, sparse and compiled rollout,
alone or in a batch, on one machine or spread over several, in one long rollout or in two halves.
The hash is the finaliser of MurmurHash3 (Appleby, 2011; public domain), in 32-bit arithmetic.

An RNG seed is a number of 63 bits, and all of them count: both halves enter the key of a step, one
before and one after a scrambling, so two different seeds never draw the same masks for long.
"""

from __future__ import annotations

from nca_lib.inputs import InputError

import torch
from torch import Tensor

GOLDEN = 0x9E3779B9  # 2**32 / golden ratio: consecutive cells land far apart
MIX_1, MIX_2 = 0x85EBCA6B, 0xC2B2AE35  # the two multipliers of MurmurHash3's finaliser
MASK = 0xFFFFFFFF
SEEDS = 2**28  # seeds go from 0 to this, exclusive
PURPOSES = 8  # independent sets of per-sample seeds that one seed gives


def mix(x: Tensor) -> Tensor:
    """Scramble 32-bit integers, held in int64 tensors of any shape (products may wrap)."""
    x = ((x ^ (x >> 16)) * MIX_1) & MASK
    x = ((x ^ (x >> 13)) * MIX_2) & MASK
    return x ^ (x >> 16)


def check_seed(seed: int) -> int:
    """The seed, if it is a whole number from 0 to 2**28 - 1."""
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < SEEDS:
        raise InputError(f"seed is {seed!r}: give a whole number from 0 to {SEEDS - 1}")
    return seed


def rng_seeds(count: int, seed: int, purpose: int = 0) -> Tensor:
    """One RNG seed per sample, int64 `[count]`; no two seeds or purposes share one.

    Args:
        count: at most 2**32 samples.
        seed: from 0 to 2**28 - 1.
        purpose: from 0 to 7: what the draws are for.

    Raises:
        InputError: a seed or a purpose out of range.
    """
    if purpose not in range(PURPOSES):
        raise InputError(f"purpose is {purpose!r}: give a whole number from 0 to {PURPOSES - 1}")
    high, low = divmod(purpose, 4)  # 4 * seed + low has 30 bits
    return torch.arange(count) + ((high * 2**30 + 4 * check_seed(seed) + low) << 32)


def step_keys(rng_seeds: Tensor, step: int) -> Tensor:
    """One 32-bit key per sample for this step; RNG seeds int64 `[B]`, >= 0."""
    return mix(mix((mix(rng_seeds & MASK) + step * GOLDEN) & MASK) ^ (rng_seeds >> 32))


def fires(keys: Tensor, cells: Tensor, fire_rate: float) -> Tensor:
    """True where a cell fires. `keys` and `cells` broadcast; a cell's number is y * width + x."""
    threshold = round(fire_rate * 2**32)
    return mix((keys + cells * GOLDEN) & MASK) < threshold


def fire_mask(rng_seeds: Tensor, step: int, height: int, width: int, fire_rate: float) -> Tensor:
    """The whole mask of one step, bool `[B, H, W]`, each cell True with probability `fire_rate`."""
    cells = torch.arange(height * width, device=rng_seeds.device)
    mask = fires(step_keys(rng_seeds, step)[:, None], cells, fire_rate)  # [B, H * W]
    return mask.view(-1, height, width)
