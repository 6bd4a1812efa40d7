"""Damage: regions by hand, the random damage of training, the ten kinds of an evaluation."""

import math

from nca_lib.masks import (
    DAMAGE,
    disc,
    draw_damage,
    draw_damages,
    erase,
    evaluation_damage,
    half_at,
    half_plane,
    scattered,
    square,
    stripes,
)

import pytest
import torch

GRID = (28, 28)


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
    assert erase(state, square(2, 2, 2, (8, 8))).device.type == "meta"


def test_discs_hold_the_cells_up_to_their_radius():
    region = disc(
        torch.tensor([3.0, 20.0]), torch.tensor([38.0, 10.0]), torch.tensor([1.0, 2.0]), (28, 40)
    )
    assert region.shape == (2, 28, 40)
    assert region.dtype == torch.bool
    assert region[0].nonzero().tolist() == [[2, 38], [3, 37], [3, 38], [3, 39], [4, 38]]
    assert region[1].sum() == 13
    assert region[1, 18:23, 8:13].sum() == 13


def test_squares():
    region = square(2, 30, 3, (28, 40))
    assert region.dtype == torch.bool
    assert region.nonzero().tolist() == [[y, x] for y in (2, 3, 4) for x in (30, 31, 32)]
    assert square(26, 26, 5, GRID).shape == (28, 28)
    assert square(26, 26, 5, GRID).sum() == 4  # it ends at the edge


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


# ---- the damage of training


SIZES = [(28, 28), (40, 56)]
SEEDS = range(20)


def drawn(kind, seed=0, size=(28, 28)):
    return draw_damage(kind, size, torch.Generator().manual_seed(seed))


def draws(seed):
    """What damage is made of: share, angle, radius and phase, then its place; all in [0, 1]."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(4, generator=generator), torch.rand(2, generator=generator)


def as_disc(region, centre):
    """The disc around a centre that reaches as far as the region does."""
    y, x = torch.arange(region.shape[0])[:, None], torch.arange(region.shape[1])
    distance = (y - centre[0]) ** 2 + (x - centre[1]) ** 2
    return distance <= distance[region].max()


def turns(region):
    """The most changes between lost and kept along a row, and along a column."""
    return [region.int().diff(dim=dim).abs().sum(dim).max().item() for dim in (1, 0)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_follows_from_its_generator(kind, size):
    region = drawn(kind, 3, size)
    assert region.shape == size
    assert region.dtype == torch.bool
    assert torch.equal(drawn(kind, 3, size), region)
    others = [drawn(kind, seed, size) for seed in SEEDS]
    assert sum(torch.equal(other, region) for other in others) < 5
    assert all(0 < other.sum() < other.numel() for other in others)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_disc_lies_near_the_middle_and_has_a_radius_of_three_to_seven(seed):
    (*_, radius, _), place = draws(seed)
    centre, radius = 7 + 14 * place, 3 + 4 * radius
    region = drawn("disc", seed)
    y, x = torch.arange(28)[:, None], torch.arange(28)
    assert torch.equal(region, (y - centre[0]) ** 2 + (x - centre[1]) ** 2 <= radius**2)
    assert 9 * math.pi - 6 < region.sum() < 49 * math.pi + 10
    middle = region.nonzero().double().mean(0)
    assert ((middle - centre).abs() < 0.5).all()  # no part of it is beyond the edge


@pytest.mark.parametrize("seed", SEEDS)
def test_a_ring_is_what_a_disc_leaves(seed):
    assert torch.equal(drawn("ring", seed), ~drawn("disc", seed))


@pytest.mark.parametrize("seed", SEEDS)
def test_a_half_lies_on_one_side_of_a_line_near_the_middle(seed):
    region, (_, place) = drawn("half", seed), draws(seed)
    assert max(turns(region)) == 1  # no line of cells enters it twice
    centre = (7 + 14 * place).round().int().tolist()
    around = region[centre[0] - 1 : centre[0] + 2, centre[1] - 1 : centre[1] + 2]
    assert around.any()
    assert not around.all()


def test_halves_lie_on_all_sides():
    corners = torch.stack([drawn("half", seed)[::27, ::27] for seed in SEEDS])
    assert (corners.double().mean(0) > 0.2).all()
    assert (corners.double().mean(0) < 0.8).all()


def test_scattered_cells_are_a_third_to_more_than_half():
    """The share is drawn, then each cell by itself: a few have neighbours, none of them must."""
    shares = []
    for seed in SEEDS:
        (share, *_), _ = draws(seed)
        region = drawn("scattered", seed)
        shares.append(region.double().mean().item())
        assert shares[-1] == pytest.approx(0.3 + 0.3 * share.item(), abs=0.07)  # four deviations
        both = (region[:, 1:] & region[:, :-1]).double().mean().item()
        assert both == pytest.approx(shares[-1] ** 2, abs=0.07)
    assert max(shares) - min(shares) > 0.2


@pytest.mark.parametrize("seed", SEEDS)
def test_stripes_are_one_and_a_half_to_three_and_a_half_cells_wide(seed):
    (_, angle, radius, phase), _ = draws(seed)
    region, angle, width = drawn("stripes", seed), 2 * math.pi * angle, (3 + 4 * radius) / 2
    assert torch.equal(region, stripes(angle[None], width[None], phase[None], GRID)[0])
    assert region.double().mean().item() == pytest.approx(0.5, abs=0.13)
    crossed = 27 * max(abs(math.sin(angle)), abs(math.cos(angle))) / width.item()
    assert max(turns(region)) == pytest.approx(crossed, abs=1.01)  # a border every `width` cells


@pytest.mark.parametrize("seed", SEEDS)
def test_the_middle_is_the_cell_of_the_seed_and_what_is_around_it(seed):
    region = drawn("middle", seed)
    assert region[14, 14]
    assert torch.equal(region, as_disc(region, (14, 14)))
    (*_, radius, _), _ = draws(seed)
    assert region[14].sum() == 2 * int(3 + 4 * radius) + 1


@pytest.mark.parametrize("seed", SEEDS)
def test_damage_grows_with_the_shorter_side(seed):
    """On 56 x 84 cells they are twice as large; the middle of the grid is the middle."""
    (*_, radius, _), place = draws(seed)
    centre, radius = torch.tensor([14.0, 21.0]) + torch.tensor([28, 42]) * place, 6 + 8 * radius
    region = drawn("disc", seed, (56, 84))
    assert torch.equal(region, disc(*centre[:, None], radius[None], (56, 84))[0])
    middle = drawn("middle", seed, (56, 84))
    assert torch.equal(middle, as_disc(middle, (28, 42)))
    assert middle[28].sum() == 2 * int(radius) + 1


@pytest.mark.parametrize("size", SIZES)
def test_each_sample_gets_its_own_damage(size):
    """The kinds are drawn first, then one region after another."""
    regions = draw_damages(12, DAMAGE, size, torch.Generator().manual_seed(4))
    generator = torch.Generator().manual_seed(4)
    kinds = [DAMAGE[k] for k in torch.randint(6, (12,), generator=generator)]
    assert len(set(kinds)) > 3
    for region, kind in zip(regions, kinds, strict=True):
        assert torch.equal(region, draw_damage(kind, size, generator))


def test_a_kind_that_is_named_twice_is_twice_as_likely():
    regions = draw_damages(
        600, ("half", "middle", "half"), (28, 28), torch.Generator().manual_seed(0)
    )
    small = [torch.equal(region, as_disc(region, (14, 14))) for region in regions]
    assert sum(small) == pytest.approx(200, abs=46)  # four deviations


def test_none_is_damaged():
    none = draw_damages(0, DAMAGE, (28, 40), torch.Generator())
    assert none.shape == (0, 28, 40)
    assert none.dtype == torch.bool


# ---- the damage of an evaluation


def test_the_ten_kinds_of_an_evaluation():
    regions = evaluation_damage(50, 3, GRID)
    sums = {name: int(region.sum()) for name, region in regions.items() if region.dim() == 2}
    assert sums == {
        "square": 100, "left_half": 392, "right_half": 392, "top_half": 392, "bottom_half": 392,
        "stripes": 420, "middle": 29, "all_but_middle": 784 - 29,
    }  # fmt: skip
    assert torch.equal(regions["square"], square(9, 9, 10, GRID))
    assert regions["middle"][14, 14]
    discs, half = regions["disc"], regions["random_half"]
    assert discs.shape == half.shape == (50, 28, 28)
    centres = torch.stack([region.nonzero().double().mean(0) for region in discs])
    assert 8.9 < centres.min() < 11
    assert 17 < centres.max() < 19.1
    assert half.double().mean().item() == pytest.approx(0.5, abs=0.02)
    again, other = evaluation_damage(50, 3, GRID), evaluation_damage(50, 4, GRID)
    assert all(torch.equal(again[name], region) for name, region in regions.items())
    assert not torch.equal(other["disc"], discs)


def test_the_damage_of_an_evaluation_grows_with_the_grid():
    regions = evaluation_damage(2, 0, (56, 84))
    assert torch.equal(regions["square"], square(18, 32, 20, (56, 84)))
    assert regions["middle"].sum() == 113  # a radius of 6 cells
