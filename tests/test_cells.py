"""States: the seed, life, the starts of all tasks, damage; on grids of any sides."""

import math

from nca_lib import cells
from nca_lib.blurs import box
from nca_lib.cells import (
    alive,
    disc,
    erase,
    half_at,
    half_plane,
    inked_state,
    scattered,
    seed_state,
    sides,
    square,
    starts,
    stripes,
)

import pytest
import torch


def test_the_channels_have_their_places():
    assert (cells.INK, cells.LIFE, cells.ANCHOR) == (0, 1, 2)
    assert (cells.ALIVE_ABOVE, cells.SIZE) == (0.1, 28)


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


def test_restoration_starts_from_the_blur_with_life_where_it_shows():
    soft = torch.zeros(2, 1, 28, 40, dtype=torch.float64)
    soft[1, 0, 8:13, 18:23] = 1 / 25
    state = inked_state(soft, 5, above=0)
    assert state.shape == (2, 5, 28, 40)
    assert state.dtype == torch.float64
    assert not state[0].any()
    assert torch.equal(state[:, :1], soft)
    assert torch.equal(state[:, 1], (soft[:, 0] > 0).double())
    assert not state[:, 2:].any()


def test_reading_starts_from_the_picture_with_life_where_it_shows():
    """Ink of a tenth is no ink yet; of colours any channel may show."""
    images = torch.zeros(2, 2, 28, 40, dtype=torch.float64)
    images[0, 1, 3, 4], images[1, 0, 5, 6], images[1, :, 7, 8] = 0.11, 1.0, 0.1
    state = inked_state(images, 6)
    assert state.shape == (2, 6, 28, 40)
    assert state.dtype == torch.float64
    assert torch.equal(state[:, :2], images)
    assert state[:, 2].nonzero().tolist() == [[0, 3, 4], [1, 5, 6]]
    assert set(state[:, 2].unique().tolist()) == {0.0, 1.0}
    assert not state[:, 3:].any()


def test_each_task_has_its_start():
    images = torch.rand(2, 1, 28, 40, dtype=torch.float64)
    grown = starts("grow", images, 4)
    assert torch.equal(grown, seed_state(2, 4, (28, 40)).double())
    assert grown.dtype == torch.float64
    assert torch.equal(starts("restore", images, 4), inked_state(box(images), 4, above=0))
    assert torch.equal(starts("read", images, 4), inked_state(images, 4))


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


def turned(quarters):
    return torch.tensor([quarters * math.pi / 2])


def test_half_planes_at_any_angle():
    """At 0 the cells to the right are taken, a quarter later those below; at 45 degrees both."""
    centre = torch.tensor([13.5]), torch.tensor([19.5])
    for quarters, side in enumerate(("right", "bottom", "left", "top")):
        region = half_at(*centre, turned(quarters), (28, 40))
        assert torch.equal(region[0], half_plane(side, (28, 40)))
    y, x = torch.arange(28)[:, None], torch.arange(40)
    slanted = half_at(torch.tensor([3.25]), torch.tensor([5.0]), turned(0.5), (28, 40))
    assert torch.equal(slanted[0], x + y > 8.25)


def test_stripes_are_as_wide_as_the_gaps_between_them():
    """The first begins at the edge, where the phase is 0; half a cycle later gaps are bands."""
    width, none = torch.tensor([3.0]), torch.tensor([0.0])
    wanted = torch.arange(40) % 6 < 3
    upright = stripes(turned(0), width, none, (28, 40))
    assert upright.dtype == torch.bool
    assert torch.equal(upright[0], wanted.expand(28, 40))
    level = stripes(turned(1), width, none, (28, 40))
    assert torch.equal(level[0], wanted[:28, None].expand(28, 40))
    assert torch.equal(stripes(turned(0), width, none + 0.5, (28, 40)), ~upright)
    assert stripes(turned(0), width, none).shape == (1, 28, 28)


def test_stripes_of_each_sample():
    """Two alike, one of 1.5 cells along a diagonal; each is drawn as when alone."""
    angle, width = torch.tensor([0.0, 0.0, math.pi / 4]), torch.tensor([2.0, 2.0, 1.5])
    phase = torch.tensor([0.25, 0.25, 0.125])
    together = stripes(angle, width, phase, (28, 40))
    assert torch.equal(together[0], together[1])
    begun = [True, False, False, True, True]  # one began a cell before the edge
    assert together[0, 0, :5].tolist() == begun
    for k in range(3):
        one = slice(k, k + 1)
        assert torch.equal(stripes(angle[one], width[one], phase[one], (28, 40))[0], together[k])
    assert torch.equal(together[2, 1:, :-1], together[2, :-1, 1:])  # the same along the diagonal
    across = together[2].diagonal().float()  # sqrt(2) from cell to cell
    assert across.diff().abs().sum().item() == pytest.approx(27 * math.sqrt(2) / 1.5, abs=1)


def test_scattered_cells_follow_from_the_generator():
    def draw(share, seed=0):
        return scattered(50, share, torch.Generator().manual_seed(seed), (28, 40))

    region = draw(0.3)
    assert region.shape == (50, 28, 40)
    assert torch.equal(region, draw(0.3))
    assert not torch.equal(region, draw(0.3, 1))
    assert not torch.equal(region[0], region[1])
    assert region.double().mean().item() == pytest.approx(0.3, abs=0.01)  # five deviations
    assert not (region & ~draw(0.6)).any()  # more of the same draws
    assert not draw(0.0).any()
    assert draw(1.0).all()
