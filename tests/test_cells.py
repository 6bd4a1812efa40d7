"""States: the seed, life, the blur, the starts of both tasks, damage; on grids of any sides."""

from nca_lib import cells
from nca_lib.cells import (
    alive,
    blur,
    blurred_state,
    disc,
    erase,
    half_plane,
    seed_state,
    sides,
    square,
    starts,
)

import pytest
import torch


def test_the_channels_have_their_places():
    assert (cells.INK, cells.LIFE, cells.ANCHOR) == (0, 1, 2)
    assert (cells.ALIVE_ABOVE, cells.SIZE, cells.BLUR) == (0.1, 28, 5)


def test_one_number_means_a_square():
    assert sides(5) == (5, 5)
    assert sides((28, 40)) == (28, 40)


@pytest.mark.parametrize(
    ("size", "shape", "middle"),
    [(28, (28, 28), (14, 14)), ((28, 40), (28, 40), (14, 20)), (5, (5, 5), (2, 2))],
)
def test_the_seed_is_one_living_cell_in_the_middle(size, shape, middle):
    state = seed_state(3, 4, size)
    assert state.shape == (3, 4, *shape)
    assert state.dtype == torch.float32
    for sample in state:
        assert sample.nonzero().tolist() == [[channel, *middle] for channel in (1, 2, 3)]
    assert set(state.unique().tolist()) == {0.0, 1.0}
    assert seed_state(1, 2).shape == (1, 2, 28, 28)


def test_a_cell_lives_by_more_than_a_tenth_next_to_it():
    state = torch.zeros(2, 3, 28, 40)
    state[0, 1, 0, 39] = 0.11  # in the corner
    state[1, 1, 10, 10], state[1, 0], state[1, 2] = 0.1, 1.0, 1.0  # just not enough, and no life
    mask = alive(state)
    assert mask.shape == (2, 1, 28, 40)
    assert mask.dtype == torch.bool
    assert mask.nonzero().tolist() == [[0, 0, y, x] for y in (0, 1) for x in (38, 39)]
    state[1, 1, 10, 10] = 0.5
    assert alive(state)[1, 0].nonzero().tolist() == [
        [y, x] for y in (9, 10, 11) for x in (9, 10, 11)
    ]


def test_the_blur_is_the_mean_of_five_by_five_beyond_the_edge_too():
    images = torch.zeros(1, 1, 28, 40)
    images[0, 0, 10, 20] = 1.0
    images[0, 0, 0, 0] = 0.5
    wanted = torch.zeros(1, 1, 28, 40)
    wanted[0, 0, 8:13, 18:23] = 1 / 25
    wanted[0, 0, :3, :3] = 0.5 / 25
    torch.testing.assert_close(blur(images), wanted)


def test_restoration_starts_from_the_blur_with_life_where_it_shows():
    images = torch.zeros(2, 1, 28, 40, dtype=torch.float64)
    images[1, 0, 10, 20] = 1.0
    state = blurred_state(images, 5)
    assert state.shape == (2, 5, 28, 40)
    assert state.dtype == torch.float64
    assert not state[0].any()
    assert torch.equal(state[:, :1], blur(images))
    life = torch.zeros(28, 40, dtype=torch.float64)
    life[8:13, 18:23] = 1.0
    assert torch.equal(state[1, 1], life)
    assert not state[:, 2:].any()


def test_each_task_has_its_start():
    images = torch.rand(2, 1, 28, 40, dtype=torch.float64)
    grown = starts("grow", images, 4)
    assert torch.equal(grown, seed_state(2, 4, (28, 40)).double())
    assert grown.dtype == torch.float64
    assert torch.equal(starts("restore", images, 4), blurred_state(images, 4))


def test_what_is_erased_is_zero_in_all_channels_and_nothing_else_is():
    state = torch.ones(2, 3, 28, 40)
    both = torch.zeros(28, 40, dtype=torch.bool)
    both[3:5, 30:] = True
    erased = erase(state, both)
    assert (erased == 0).nonzero().tolist() == [
        [b, c, y, x] for b in (0, 1) for c in range(3) for y in (3, 4) for x in range(30, 40)
    ]
    one = torch.stack([both, torch.zeros_like(both)])
    erased = erase(state, one)
    assert torch.equal(erased[0] == 0, both.expand(3, 28, 40))
    assert erased[1].all()
    assert state.all()  # the one given stays as it is
    assert set(erased.unique().tolist()) == {0.0, 1.0}


def test_damage_follows_the_state_to_its_device():
    state = torch.zeros(2, 3, 8, 8, device="meta")
    assert erase(state, square(2, 2, 2, 8)).device.type == "meta"


def test_discs_hold_the_cells_up_to_their_radius():
    region = disc(
        torch.tensor([3.0, 20.0]), torch.tensor([38.0, 10.0]), torch.tensor([1.0, 2.0]), (28, 40)
    )
    assert region.shape == (2, 28, 40)
    assert region.dtype == torch.bool
    assert region[0].nonzero().tolist() == [[2, 38], [3, 37], [3, 38], [3, 39], [4, 38]]
    assert region[1].sum() == 13
    assert region[1, 18:23, 8:13].sum() == 13
    assert disc(torch.zeros(1), torch.zeros(1), torch.zeros(1)).shape == (1, 28, 28)


def test_squares():
    region = square(2, 30, 3, (28, 40))
    assert region.dtype == torch.bool
    assert region.nonzero().tolist() == [[y, x] for y in (2, 3, 4) for x in (30, 31, 32)]
    assert square(26, 26, 5).shape == (28, 28)
    assert square(26, 26, 5).sum() == 4  # it ends at the edge


@pytest.mark.parametrize(
    ("side", "rows", "columns"),
    [
        ("top", slice(0, 14), slice(0, 40)),
        ("bottom", slice(14, 28), slice(0, 40)),
        ("left", slice(0, 28), slice(0, 20)),
        ("right", slice(0, 28), slice(20, 40)),
    ],
)
def test_half_planes(side, rows, columns):
    wanted = torch.zeros(28, 40, dtype=torch.bool)
    wanted[rows, columns] = True
    region = half_plane(side, (28, 40))
    assert torch.equal(region, wanted)
    region[0, 0] = not region[0, 0]  # a mask of its own, not a view of one row
    assert (region != wanted).sum() == 1
    assert half_plane(side).shape == (28, 28)
    assert half_plane(side).sum() == 14 * 28


def test_of_an_odd_number_the_middle_is_below_and_to_the_right():
    sizes = {side: half_plane(side, (5, 7)).sum() for side in ("top", "bottom", "left", "right")}
    assert sizes == {"top": 14, "bottom": 21, "left": 15, "right": 20}
