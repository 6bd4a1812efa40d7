"""The wounds of training: each kind by what can be seen of it, and drawn anew from its seed."""

import math
from dataclasses import replace

from nca_lib.cells import disc, stripes
from nca_lib.training import TrainingConfig
from nca_lib.training.batch import draw_batch
from nca_lib.training.damage import WOUNDS, draw_wound, draw_wounds

import pytest
import torch
from test_pool import CONFIG, digits, filled_run  # noqa: F401

SIZES = [(28, 28), (40, 56)]
SEEDS = range(20)


def drawn(kind, seed=0, size=(28, 28)):
    return draw_wound(kind, size, torch.Generator().manual_seed(seed))


def draws(seed):
    """What a wound is made of: share, angle, radius and phase, then its place; all in [0, 1]."""
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


def test_there_are_six_kinds_and_a_training_knows_them_all():
    assert WOUNDS == ("disc", "half", "ring", "scattered", "stripes", "middle")
    assert TrainingConfig().wounds == WOUNDS


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", WOUNDS)
def test_a_wound_follows_from_its_generator(kind, size):
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
    assert torch.equal(region, stripes(angle[None], width[None], phase[None])[0])
    assert region.double().mean().item() == pytest.approx(0.5, abs=0.13)
    crossed = 27 * max(abs(math.sin(angle)), abs(math.cos(angle))) / width.item()
    assert max(turns(region)) == pytest.approx(crossed, abs=1.01)  # a border every `width` cells


@pytest.mark.parametrize("seed", SEEDS)
def test_the_middle_is_the_cell_of_the_anchor_and_what_is_around_it(seed):
    region = drawn("middle", seed)
    assert region[14, 14]
    assert torch.equal(region, as_disc(region, (14, 14)))
    (*_, radius, _), _ = draws(seed)
    assert region[14].sum() == 2 * int(3 + 4 * radius) + 1


@pytest.mark.parametrize("seed", SEEDS)
def test_wounds_grow_with_the_shorter_side(seed):
    """On 56 x 84 cells they are twice as large; the middle of the grid is the middle."""
    (*_, radius, _), place = draws(seed)
    centre, radius = torch.tensor([14.0, 21.0]) + torch.tensor([28, 42]) * place, 6 + 8 * radius
    region = drawn("disc", seed, (56, 84))
    assert torch.equal(region, disc(*centre[:, None], radius[None], (56, 84))[0])
    middle = drawn("middle", seed, (56, 84))
    assert torch.equal(middle, as_disc(middle, (28, 42)))
    assert middle[28].sum() == 2 * int(radius) + 1


@pytest.mark.parametrize("size", SIZES)
def test_each_sample_gets_a_wound_of_its_own(size):
    """The kinds are drawn first, then one wound after the other."""
    wounds = draw_wounds(12, WOUNDS, size, torch.Generator().manual_seed(4))
    generator = torch.Generator().manual_seed(4)
    kinds = [WOUNDS[k] for k in torch.randint(6, (12,), generator=generator)]
    assert len(set(kinds)) > 3
    for wound, kind in zip(wounds, kinds, strict=True):
        assert torch.equal(wound, draw_wound(kind, size, generator))


def test_a_kind_that_is_named_twice_is_twice_as_likely():
    wounds = draw_wounds(
        600, ("half", "middle", "half"), (28, 28), torch.Generator().manual_seed(0)
    )
    small = [torch.equal(wound, as_disc(wound, (14, 14))) for wound in wounds]
    assert sum(small) == pytest.approx(200, abs=46)  # four deviations


def test_nobody_is_wounded():
    none = draw_wounds(0, WOUNDS, (28, 40), torch.Generator())
    assert none.shape == (0, 28, 40)
    assert none.dtype == torch.bool


@pytest.mark.parametrize("kind", ["middle", "ring"])
def test_a_training_wounds_as_its_settings_say(digits, kind):  # noqa: F811
    config = replace(CONFIG, batch_size=8, pool_size=8, damage_share=1.0, switch_share=0.0)
    config = replace(config, wounds=(kind,))
    batch = draw_batch(filled_run(config), digits, config)
    lost = (batch.states[4:] == 0).all(1)
    assert len(lost) == 4
    for region in lost:
        whole = region if kind == "middle" else ~region
        centre = whole.nonzero().double().mean(0)
        assert torch.equal(whole, as_disc(whole, centre if kind == "ring" else (14, 14)))
