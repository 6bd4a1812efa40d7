"""The checks of chapter 5 accept what is right, and say what is wrong with a near miss."""

from nca_lib.cells import seed_state
from nca_lib.exercises.chapter5 import check_film, check_probe, check_reach
from nca_lib.rollout.fire import fire_mask

import pytest
import torch


def film_with(mask=lambda step: step, rate=None, late=False, digit=None, keep=lambda s: s[0]):
    """A film by hand, with a mistake where one is asked for."""

    def film(rule, wanted, chosen):
        genome = rule.genome(torch.tensor([wanted if digit is None else digit]))
        state, states = seed_state(1, rule.config.channels), []
        for step in range(max(chosen) + 1):
            if step in chosen and not late:
                states.append(keep(state))
            fire = fire_mask(torch.tensor([0]), mask(step), 28, 28, rate or rule.config.fire_rate)
            state = rule.step(state, genome, fire)
            if step in chosen and late:
                states.append(keep(state))
        return torch.stack(states)

    return film


def by_the_library(rule, digit, chosen):
    return rule.grow(digit, None, max(max(chosen), 1), torch.tensor([0]))[list(chosen), 0]


def with_numpy(rule, digit, chosen):
    return film_with()(rule, digit, chosen).numpy()


FILMS = [
    (film_with(), "Right"),
    (by_the_library, "Right"),
    (with_numpy, "Right"),
    (film_with(late=True), "Each state is one step late"),
    (film_with(mask=lambda step: 0), "The same cells fire"),
    (film_with(mask=lambda step: step + 1), "The masks are one ahead"),
    (film_with(rate=1.0), "All cells fire"),
    (film_with(digit=3), "That is not a 7"),
    (film_with(keep=lambda s: s), "Your states have a batch of one"),
    (film_with(keep=lambda s: s[0, 0]), "That is one channel"),
    (lambda rule, digit, chosen: film_with()(rule, digit, range(9)), "the film has the shape"),
    (lambda *given: 1.01 * film_with()(*given), "Of the states at"),
    (lambda *given: list(film_with()(*given)), "the film is of type list"),
    (lambda rule: rule, "film stopped with TypeError"),
]


@pytest.mark.parametrize(("film", "said"), FILMS)
def test_film(capsys, film, said):
    check_film(film)
    assert capsys.readouterr().out.startswith(said)


def reach(mask, row, column, distance=torch.maximum, absolute=True):
    """The right reach, or one with a mistake."""
    y = (torch.arange(mask.shape[1]) - row)[:, None]
    x = torch.arange(mask.shape[2]) - column
    y, x = (y.abs(), x.abs()) if absolute else (y, x)
    return (distance(y, x) * mask).amax((1, 2))


def reach_by_loops(mask, row, column):
    return [
        max([max(abs(y - row), abs(x - column)) for y, x in grid.nonzero().tolist()], default=0)
        for grid in mask
    ]


REACHES = [
    (reach, "Right"),
    (reach_by_loops, "Right"),
    (lambda *given: reach(*given).float(), "Right"),
    (lambda *given: reach(*given, torch.add), "You add rows and columns"),
    (
        lambda *given: reach(*given, lambda y, x: (y**2 + x**2).sqrt()),
        "That is the length of a straight line",
    ),
    (lambda *given: reach(*given, torch.minimum), "You take the smaller"),
    (lambda *given: reach(*given, absolute=False), "Cells above"),
    (lambda *given: reach(*given, lambda y, x: y + 0 * x), "You count the rows alone"),
    (lambda *given: reach(*given, lambda y, x: x + 0 * y), "You count the columns alone"),
    (lambda mask, y, x: reach(torch.ones_like(mask), y, x), "That is the furthest cell"),
    (lambda mask, y, x: reach(mask, y, x) - 1.0 * ~mask.any((1, 2)), "Where no cell is True"),
    (lambda *given: reach(*given) + (reach(*given) > 0), "Your reach is"),
    (lambda mask, y, x: reach(mask, x, y), "Your reach is"),
    (lambda *given: reach(*given)[:1], "reach has the shape"),
    (lambda *given: "far", "reach is of type str"),
]


@pytest.mark.parametrize(("given", "said"), REACHES)
def test_reach(capsys, given, said):
    check_reach(given)
    assert capsys.readouterr().out.startswith(said)


def ones(x):
    return torch.cat([x, torch.ones(len(x), 1)], 1)


def probe(x, y):
    return torch.linalg.lstsq(ones(x), y[:, None]).solution[:, 0]


def by_normal_equations(x, y):
    a = ones(x).double()
    return torch.linalg.solve(a.T @ a, a.T @ y.double())


def r_squared(guess, y):
    return 1 - (y - guess).square().sum() / (y - y.mean()).square().sum()


def sample_variance(guess, y):
    return 1 - (y - guess).square().mean() / y.var()


PROBES = [
    (probe, r_squared, "Right"),
    (by_normal_equations, lambda *given: r_squared(*given).item(), "Right"),
    (lambda x, y: probe(x, y).tolist(), lambda *given: r_squared(*given)[None], "Right"),
    (lambda x, y: torch.linalg.lstsq(x, y[:, None]).solution[:, 0], r_squared, "A weight for"),
    (lambda x, y: probe(x, y)[:, None], r_squared, "The weights are a column"),
    (lambda x, y: probe(x, y).roll(1), r_squared, "The constant comes last"),
    (lambda x, y: 0.9 * probe(x, y), r_squared, "Your weights leave a squared error"),
    (lambda x, y: ones(x) @ probe(x, y), r_squared, "The weights have the shape"),
    (lambda x, y: None, r_squared, "probe returns nothing yet"),
    (probe, lambda *given: 1 - r_squared(*given), "That is what is left"),
    (probe, lambda guess, y: 1 - (y - guess).square().mean(), "Divide what is left"),
    (probe, lambda g, y: 1 - (y - g).square().sum() / y.square().sum(), "Measure y from its mean"),
    (
        probe,
        lambda guess, y: torch.corrcoef(torch.stack([guess, y]))[0, 1].nan_to_num() ** 2,
        "That is a squared correlation",
    ),
    (probe, lambda guess, y: 1 - (y - guess).abs().sum() / (y - y.mean()).abs().sum(), "r_squared"),
    (probe, sample_variance, "r_squared gives"),
    (probe, lambda guess, y: 1 - (y - guess).square() / y.var(), "r_squared is one number"),
    (probe, None, "r_squared is no function"),
]


@pytest.mark.parametrize(("given", "measure", "said"), PROBES)
def test_probe(capsys, given, measure, said):
    check_probe(given, measure)
    assert capsys.readouterr().out.startswith(said)


@pytest.mark.parametrize("nothing", [None, ..., 3, "film", lambda *given: None, lambda *given: ...])
def test_nothing_yet(capsys, nothing):
    for check in (check_film, check_reach, lambda answer: check_probe(answer, answer)):
        check(nothing)
        said = capsys.readouterr().out
        assert said.strip()
        assert not said.startswith("Right")


def test_the_readers_random_numbers_stay(capsys):
    torch.manual_seed(0)
    wanted = torch.rand(1)
    torch.manual_seed(0)
    check_film(film_with())
    assert torch.equal(torch.rand(1), wanted)
