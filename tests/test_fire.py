"""The fire masks: values that never change, the rate, and streams that are nobody else's."""

from itertools import pairwise

from nca_lib import evaluation
from nca_lib.errors import InputError
from nca_lib.rollout import fire
from nca_lib.rollout.fire import check_seed, fire_mask, fires, mix, stream_keys, streams

import pytest
import torch


def test_the_hash_is_murmurs_finaliser():
    """Published values of fmix32; every shipped result depends on them."""
    numbers = torch.tensor([0, 1, 2, 0xFFFFFFFF, 123456789])
    wanted = [0, 0x514E28B7, 0x30F4C306, 0x81F16F39, 0xBA60D89A]
    assert mix(numbers).tolist() == wanted


def test_keys_are_what_they_were():
    for stream, step, key in [
        (0, 0, 0),
        (0, 1, 0xAA3E5B61),
        (1, 0, 0x5716F995),
        (2**32, 0, 0x514E28B7),
        (2**62 - 1, 7, 0x73674D18),
        (5 * 2**32 + 3, 1000, 0x589B208E),
    ]:
        assert stream_keys(torch.tensor([stream]), step).item() == key


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
    mask = fire_mask(streams(500, 1), 3, 28, 28, rate).double()
    assert mask.shape == (500, 28, 28)
    spread = (rate * (1 - rate)) ** 0.5
    assert abs(mask.mean() - rate) < 4 * spread / mask.numel() ** 0.5
    assert (mask.mean(0) - rate).abs().max() < 5 * spread / 500**0.5  # in every cell
    assert (mask.mean((1, 2)) - rate).abs().max() < 5 * spread / 28  # in every sample


def test_neighbours_steps_and_samples_are_independent():
    here = fire_mask(streams(200, 0), 0, 28, 28, 0.5).double() - 0.5
    for other in (
        here.roll(1, 0),
        here.roll(1, 1),
        here.roll(1, 2),
        fire_mask(streams(200, 0), 1, 28, 28, 0.5).double() - 0.5,
        fire_mask(streams(200, 1), 0, 28, 28, 0.5).double() - 0.5,
        fire_mask(streams(200, 0, 1), 0, 28, 28, 0.5).double() - 0.5,
    ):
        assert abs((here * other).mean()) < 4 * 0.25 / here.numel() ** 0.5


def test_at_rate_one_all_fire_and_just_below_the_threshold_only_some():
    assert fire_mask(streams(50, 0), 5, 28, 28, 1.0).all()
    key, cell = torch.tensor([0]), torch.tensor([0])  # its hash is 0
    assert fires(key, cell, 2.0**-32).item()
    assert not fires(key, cell, 2.0**-40).item()  # rounds to no chance at all
    one = torch.tensor([1])  # 0x514E28B7
    assert not fires(one, cell, 0x514E28B7 / 2**32).item()
    assert fires(one, cell, 0x514E28B8 / 2**32).item()
    assert fires(one, cell, (0x514E28B7 + 0.6) / 2**32).item()  # the nearest threshold


def test_cells_are_numbered_row_by_row():
    seeds = torch.tensor([7, 8])
    mask = fire_mask(seeds, 0, 3, 5, 0.5)
    keys = stream_keys(seeds, 0)
    for sample in range(2):
        for y in range(3):
            for x in range(5):
                alone = fires(keys[sample], torch.tensor(y * 5 + x), 0.5)
                assert mask[sample, y, x] == alone


def test_masks_are_drawn_on_the_device_of_their_seeds():
    mask = fire_mask(torch.zeros(2, dtype=torch.int64, device="meta"), 0, 3, 5, 0.5)
    assert mask.device.type == "meta"
    assert mask.shape == (2, 3, 5)


def test_streams_by_hand():
    assert streams(3, 0).tolist() == [0, 1, 2]
    assert streams(2, 0, 1).tolist() == [2**32, 2**32 + 1]
    assert streams(2, 5, 3).tolist() == [23 * 2**32, 23 * 2**32 + 1]
    assert streams(2, 0).dtype == torch.int64
    assert streams(1, 2**28 - 1, 3).item() == (2**30 - 1) * 2**32


@pytest.mark.parametrize("seed", [-1, 2**28, 1.0, True, "1", None])
def test_a_seed_is_a_whole_number_below_its_bound(seed):
    wanted = rf"^seed is {seed!r}: give a whole number from 0 to 268435455$"
    for call in (check_seed, lambda seed: streams(1, seed)):
        with pytest.raises(InputError, match=wanted):
            call(seed)


def test_the_smallest_and_the_largest_seed():
    assert [check_seed(seed) for seed in (0, 1, 2**28 - 1)] == [0, 1, 2**28 - 1]
    assert (fire.SEEDS, fire.PARTS) == (2**28, 4)


def test_no_two_samples_of_an_evaluation_draw_the_same_masks():
    """Three seeds, ten thousand pictures, all parts: not at once, and not a step later."""
    parts = (evaluation.MAIN, evaluation.SWITCHING, evaluation.SAMPLES, 3)
    assert len(set(parts)) == fire.PARTS
    every = torch.cat([streams(10_000, seed, part) for seed in range(3) for part in parts])
    assert len(every.unique()) == 120_000
    keys = [stream_keys(every, step) for step in range(4)]
    assert all((key >= 0).all() and (key < 2**32).all() for key in keys)
    runs = torch.cat([first << 32 | second for first, second in pairwise(keys)])
    assert len(runs.unique()) == 360_000  # three pairs of steps each


def test_all_bits_of_a_stream_count():
    base = 0x2AAA_5555_1234_5678
    seeds = torch.tensor([base, *(base ^ 1 << bit for bit in range(62))])
    for step in (0, 1):
        assert len(stream_keys(seeds, step).unique()) == 63
