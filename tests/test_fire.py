"""The fire masks: values that never change, the rate, and seeds that no other sample shares."""

from itertools import pairwise

from nca_lib.inputs import InputError
from nca_lib.rollout import fire
from nca_lib.rollout.fire import check_seed, fire_mask, fires, mix, rng_seeds, step_keys

import pytest
import torch


def test_the_hash_is_murmurs_finaliser():
    """Published values of fmix32; every shipped result depends on them."""
    numbers = torch.tensor([0, 1, 2, 0xFFFFFFFF, 123456789])
    assert mix(numbers).tolist() == [0, 0x514E28B7, 0x30F4C306, 0x81F16F39, 0xBA60D89A]


def test_keys_are_what_they_were():
    for seed, step, key in [
        (0, 0, 0),
        (0, 1, 0xAA3E5B61),
        (1, 0, 0x5716F995),
        (2**32, 0, 0x514E28B7),
        (2**62 - 1, 7, 0x73674D18),
        (5 * 2**32 + 3, 1000, 0x589B208E),
    ]:
        assert step_keys(torch.tensor([seed]), step).item() == key


def test_masks_are_what_they_were():
    seeds = torch.tensor([3 << 32 | 5])
    half = [[0, 1, 0, 0, 1, 1], [1, 1, 1, 0, 0, 1], [0, 1, 1, 0, 0, 1]]
    quarter = [[0, 0, 0, 0, 0, 1], [1, 0, 1, 0, 0, 0], [0, 1, 0, 0, 0, 1]]
    for rate, wanted in ((0.5, half), (0.25, quarter)):
        mask = fire_mask(seeds, 2, 3, 6, rate)
        assert mask.dtype == torch.bool
        assert mask.int().tolist() == [wanted]


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_cells_fire_at_their_rate(rate):
    mask = fire_mask(rng_seeds(500, 1), 3, 28, 28, rate).double()
    deviation = (rate * (1 - rate)) ** 0.5
    assert abs(mask.mean() - rate) < 4 * deviation / mask.numel() ** 0.5
    assert (mask.mean(0) - rate).abs().max() < 5 * deviation / 500**0.5  # in every cell
    assert (mask.mean((1, 2)) - rate).abs().max() < 5 * deviation / 28  # in every sample


def test_neighbours_steps_and_samples_are_independent():
    def drawn(*seed, step=0):
        return fire_mask(rng_seeds(200, *seed), step, 28, 28, 0.5).double() - 0.5

    here = drawn(0)
    shifted = [here.roll(1, dim) for dim in range(3)]
    for other in (*shifted, drawn(0, step=1), drawn(1), drawn(0, 1)):
        assert abs((here * other).mean()) < 4 * 0.25 / here.numel() ** 0.5


def test_at_rate_one_all_fire_and_just_below_the_threshold_only_some():
    assert fire_mask(rng_seeds(50, 0), 5, 28, 28, 1.0).all()
    key, cell = torch.tensor([0]), torch.tensor([0])  # its hash is 0
    assert fires(key, cell, 2.0**-32).item()
    assert not fires(key, cell, 2.0**-40).item()  # rounds to no chance at all
    one = torch.tensor([1])  # 0x514E28B7
    assert not fires(one, cell, 0x514E28B7 / 2**32).item()
    assert fires(one, cell, 0x514E28B8 / 2**32).item()
    assert fires(one, cell, (0x514E28B7 + 0.6) / 2**32).item()  # the nearest threshold


def test_cells_are_numbered_row_by_row():
    seeds = torch.tensor([7, 8])
    mask, keys = fire_mask(seeds, 0, 3, 5, 0.5), step_keys(seeds, 0)
    for sample in range(2):
        for number in range(15):
            alone = fires(keys[sample], torch.tensor(number), 0.5)
            assert mask[sample].flatten()[number] == alone


def test_masks_are_drawn_on_the_device_of_their_seeds():
    mask = fire_mask(torch.zeros(2, dtype=torch.int64, device="meta"), 0, 3, 5, 0.5)
    assert mask.device.type == "meta"


def test_rng_seeds_by_hand():
    assert rng_seeds(3, 0).tolist() == [0, 1, 2]
    assert rng_seeds(2, 0, 1).tolist() == [2**32, 2**32 + 1]
    assert rng_seeds(2, 5, 3).tolist() == [23 * 2**32, 23 * 2**32 + 1]
    assert rng_seeds(2, 5, 6).tolist() == [(2**30 + 22) * 2**32, (2**30 + 22) * 2**32 + 1]
    assert rng_seeds(2, 0).dtype == torch.int64
    assert rng_seeds(1, 2**28 - 1, 7).item() == (2**31 - 1) * 2**32


def test_no_seed_shares_a_purpose_of_another():
    """Purpose 4 of seed 3 was purpose 0 of seed 4."""
    every = torch.cat([rng_seeds(2, seed, p) for seed in range(12) for p in range(fire.PURPOSES)])
    assert len(every.unique()) == len(every) == 192
    assert (every >= 0).all()


@pytest.mark.parametrize("purpose", [-1, 8, 0.5])
def test_a_purpose_is_one_of_eight(purpose):
    with pytest.raises(InputError, match=r"^purpose is .*: give a whole number from 0 to 7$"):
        rng_seeds(1, 0, purpose)


@pytest.mark.parametrize("seed", [-1, 2**28, 1.0, True, "1", None])
def test_a_seed_is_a_whole_number_below_its_bound(seed):
    wanted = rf"^seed is {seed!r}: give a whole number from 0 to 268435455$"
    for call in (check_seed, lambda seed: rng_seeds(1, seed)):
        with pytest.raises(InputError, match=wanted):
            call(seed)
    assert [check_seed(seed) for seed in (0, 1, 2**28 - 1)] == [0, 1, 2**28 - 1]


def test_no_two_samples_of_an_evaluation_draw_the_same_masks():
    """Three seeds, ten thousand pictures, all purposes: not at once, and not a step later."""
    every = torch.cat([rng_seeds(10_000, seed, p) for seed in range(3) for p in range(5)])
    assert len(every.unique()) == 150_000
    keys = [step_keys(every, step) for step in range(4)]
    assert all((key >= 0).all() and (key < 2**32).all() for key in keys)
    runs = torch.cat([first << 32 | second for first, second in pairwise(keys)])
    assert len(runs.unique()) == 450_000  # three pairs of steps each


def test_all_bits_of_a_seed_count():
    base = 0x2AAA_5555_1234_5678
    seeds = torch.tensor([base, *(base ^ 1 << bit for bit in range(62))])
    for step in (0, 1):
        assert len(step_keys(seeds, step).unique()) == 63
