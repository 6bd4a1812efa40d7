"""States: the channel layout, the seed, who is alive, states that show pictures, margins."""

from nca_lib import state as states
from nca_lib.spec import MNIST, ImageSpec
from nca_lib.state import alive_mask, crop, pad, seed_state, state_from_image

import pytest
import torch

WIDE = ImageSpec(("cat", "dog"), channels=1, size=(28, 40))


def test_the_layout_of_the_channels():
    assert (MNIST.alive, MNIST.origin, MNIST.positional) == (1, 2, slice(3, 9))
    colours = ImageSpec(("fish",), channels=4, size=(5, 7))
    assert (colours.alive, colours.origin, colours.positional) == (4, 5, slice(6, 12))
    assert (MNIST.classes, MNIST.channels, MNIST.size) == (tuple("0123456789"), 1, (28, 28))
    assert (states.ALIVE_THRESHOLD, states.INK_THRESHOLD) == (0.1, 0.1)


@pytest.mark.parametrize(
    ("size", "at", "place"),
    [((28, 28), None, (14, 14)), ((28, 40), None, (14, 20)), ((5, 5), None, (2, 2)),
     ((28, 40), (0, 39), (0, 39))],
)  # fmt: skip
def test_the_seed_is_one_living_cell(size, at, place):
    state = seed_state(ImageSpec(("x",), 1, size), 4, 3, at)
    assert state.shape == (3, 4, *size)
    assert state.dtype == torch.float32
    for sample in state:
        assert sample.nonzero().tolist() == [[channel, *place] for channel in (1, 2, 3)]
    assert set(state.unique().tolist()) == {0.0, 1.0}
    assert seed_state(MNIST, 2).shape == (1, 2, 28, 28)


def test_a_seed_of_colours_carries_no_ink():
    state = seed_state(ImageSpec(("fish",), 4, (6, 6)), 7)
    assert state.nonzero().tolist() == [[0, channel, 3, 3] for channel in (4, 5, 6)]


def test_a_cell_is_alive_by_more_than_a_tenth_next_to_it():
    state = torch.zeros(2, 3, 28, 40)
    state[0, 1, 0, 39] = 0.11  # in the corner
    state[1, 1, 10, 10], state[1, 0], state[1, 2] = 0.1, 1.0, 1.0  # just not enough
    mask = alive_mask(state, 1)
    assert (mask.shape, mask.dtype) == ((2, 1, 28, 40), torch.bool)
    assert mask.nonzero().tolist() == [[0, 0, y, x] for y in (0, 1) for x in (38, 39)]
    state[1, 1, 10, 10] = 0.5
    around = [[y, x] for y in (9, 10, 11) for x in (9, 10, 11)]
    assert alive_mask(state, 1)[1, 0].nonzero().tolist() == around
    assert not alive_mask(state, 1, threshold=0.5).any()
    assert alive_mask(state, 0)[1].all()


def test_a_picture_is_alive_where_it_shows():
    """Ink of a tenth does not show; of colours any channel may."""
    images = torch.zeros(2, 2, 28, 40, dtype=torch.float64)
    images[0, 1, 3, 4], images[1, 0, 5, 6], images[1, :, 7, 8] = 0.11, 1.0, 0.1
    state = state_from_image(images, 6)
    assert (state.shape, state.dtype) == ((2, 6, 28, 40), torch.float64)
    assert torch.equal(state[:, :2], images)
    assert state[:, 2].nonzero().tolist() == [[0, 3, 4], [1, 5, 6]]
    assert set(state[:, 2].unique().tolist()) == {0.0, 1.0}
    assert not state[:, 3:].any()
    faint = state_from_image(images, 6, threshold=0)
    assert faint[:, 2].nonzero().tolist() == [[0, 3, 4], [1, 5, 6], [1, 7, 8]]


def test_a_margin_is_added_and_removed():
    grids = torch.rand(2, 3, 4, 6)
    wide = pad(grids, 2)
    assert wide.shape == (2, 3, 8, 10)
    assert wide.count_nonzero() == grids.count_nonzero()
    assert torch.equal(wide[..., 2:6, 2:8], grids)
    assert torch.equal(crop(wide, 2), grids)
    assert torch.equal(crop(pad(grids, 0), 0), grids)
