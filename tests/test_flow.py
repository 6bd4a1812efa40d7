"""The flow of the styles: it can be undone, it is a density, and it is fitted to what is there."""

import math
from dataclasses import replace

from nca_lib.checkpoints import RULE, load, read_tensors, save_rule, write_tensors
from nca_lib.errors import InputError
from nca_lib.flow import LAYERS, STRETCH, WIDTH, Flow
from nca_lib.genome import Genome, StyleCode
from nca_lib.rule import NCA, RuleConfig
from nca_lib.training import Outputs, Stopped, TrainingConfig, TrainingDiverged, loop, train
from nca_lib.training.pretraining import initial_rule, merge, widen

import pytest
import torch
from test_training import digits  # noqa: F401

LENGTHS = [1, 2, 5]


def bend(flow, size=0.2):
    """Any weights, well away from those that change nothing."""
    generator = torch.Generator().manual_seed(1)
    for weight in flow.weights:
        weight.copy_(weight + size * torch.randn(weight.shape, generator=generator).to(weight))
    return flow


def bent(length, classes=3, size=0.2):
    return bend(Flow(length, classes).double(), size)


def some(length, count=50, classes=3):
    """Styles and labels."""
    generator = torch.Generator().manual_seed(2)
    styles = torch.randn(count, length, generator=generator).double()
    return styles, torch.randint(classes, (count,), generator=generator)


def normal(x):
    """The logarithm of the density of N(0, I), `[B]`."""
    return torch.distributions.Normal(0, 1).log_prob(x).sum(1)


# --- the map


@pytest.mark.parametrize("length", LENGTHS)
def test_a_flow_that_was_not_fitted_changes_nothing(length):
    flow, (styles, labels) = Flow(length, 3).double(), some(length)
    assert torch.equal(flow(styles, labels), styles)
    back, volume = flow.inverse(styles, labels)
    assert torch.equal(back, styles)
    assert not volume.any()
    torch.testing.assert_close(flow.log_density(styles, labels), normal(styles))


@pytest.mark.parametrize("length", LENGTHS)
def test_a_style_leads_to_one_code_and_the_code_back(length):
    flow, (styles, labels) = bent(length), some(length)
    codes = flow(styles, labels)
    assert (codes - styles).abs().amax(1).min() > 1e-3
    back, _ = flow.inverse(codes, labels)
    torch.testing.assert_close(back, styles, rtol=0, atol=1e-10)
    torch.testing.assert_close(flow(flow.inverse(styles, labels)[0], labels), styles)


@pytest.mark.parametrize("length", LENGTHS)
def test_each_sample_and_each_label_goes_its_own_way(length):
    flow, (styles, labels) = bent(length), some(length)
    codes = flow(styles, labels)
    alone = torch.cat([flow(styles[k : k + 1], labels[k : k + 1]) for k in range(50)])
    torch.testing.assert_close(codes, alone)
    other = flow(styles, (labels + 1) % 3)
    assert (codes - other).abs().amax(1).min() > 1e-3


@pytest.mark.parametrize("length", [2, 4, 5, 16, 24, 32, 64])
def test_every_number_moves_and_every_number_is_looked_at(length):
    """Found by counting: in orders at random some number never moved, and followed no fit."""
    flow, every = Flow(length, 3), set(range(length))
    assert all(set(order) == every for order in flow.orders.tolist())
    assert set(flow.orders[:, flow.half :].flatten().tolist()) == every
    assert set(flow.orders[:, : flow.half].flatten().tolist()) == every


def test_all_flows_begin_alike():
    """So that rules which begin alike stay comparable."""
    one, same = Flow(5, 3).state_dict(), Flow(5, 3).state_dict()
    assert all(torch.equal(tensor, same[name]) for name, tensor in one.items())


def test_a_shift_by_hand():
    """Each coupling adds 1/2 to what it moves."""
    flow, (styles, labels) = Flow(5, 3).double(), some(5)
    flow.offset[:, 3:] = 0.5  # of the three that move
    moves = torch.stack([(flow.orders[:, 2:] == number).sum() for number in range(5)])
    assert moves.sum() == 3 * LAYERS
    torch.testing.assert_close(flow(styles, labels), styles + moves / 2)
    back, volume = flow.inverse(styles, labels)
    torch.testing.assert_close(back, styles - moves / 2)
    assert not volume.any()


def test_a_stretch_by_hand_and_its_bounds():
    """Each coupling multiplies what it moves, by exp(1.5) at most."""
    flow, (styles, labels) = Flow(5, 3).double(), some(5)
    moves = torch.stack([(flow.orders[:, 2:] == number).sum() for number in range(5)])
    for asked, given in ((99.0, STRETCH), (-99.0, -STRETCH), (0.1, 1.5 * math.tanh(0.1 / 1.5))):
        flow.offset[:, :3] = asked
        torch.testing.assert_close(flow(styles, labels), styles * (given * moves).exp())
        back, volume = flow.inverse(styles, labels)
        torch.testing.assert_close(back, styles * (-given * moves).exp())
        torch.testing.assert_close(volume, torch.full((50,), -given * 3.0 * LAYERS).double())
    assert STRETCH == 1.5


def test_a_coupling_by_hand():
    """A hidden unit sees twice the number that stays, the label and -5; half of it is the shift."""
    flow = Flow(2, 3).double()
    for tensor in flow.weights:
        tensor.zero_()
    flow.first[1, 7] = torch.tensor([2.0, 0.0, 1.0, 10.0])
    flow.bias[1, 7], flow.last[1, 1, 7] = -5.0, 0.5
    stay, move = flow.orders[1].tolist()
    styles, labels = torch.zeros(4, 2).double(), torch.tensor([0, 1, 2, 2])
    styles[:, stay], styles[:, move] = torch.tensor([3.0, 3.0, 0.5, -7.0]).double(), 100.0
    codes = flow(styles, labels)
    assert codes[:, stay].tolist() == [3.0, 3.0, 0.5, -7.0]
    assert codes[:, move].tolist() == [100 + 1 / 2, 100 + 2 / 2, 100 + 6 / 2, 100]


# --- the density


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("width", [1.0, 0.5])
def test_the_change_of_volume_is_that_of_the_jacobian(length, width):
    flow, (codes, labels) = bent(length), some(length, 12)
    flow.width.fill_(width)
    styles, volume = flow.inverse(codes, labels)
    for k in range(12):
        label = labels[k : k + 1]
        jacobian = torch.autograd.functional.jacobian(
            lambda x, label=label: flow.inverse(x[None], label)[0][0], codes[k]
        )
        torch.testing.assert_close(volume[k], torch.linalg.slogdet(jacobian).logabsdet)
    assert volume.abs().min() > 1e-3
    if width == 1:
        torch.testing.assert_close(flow.log_density(codes, labels), normal(styles) + volume)


def test_styles_reach_as_far_as_the_width_says():
    """The same codes, with styles that are longer; and the density that was fitted stays."""
    flow, (codes, labels) = bent(3), some(3, 12)
    styles, density = flow.inverse(codes, labels)[0], flow.log_density(codes, labels)
    flow.width.fill_(0.5)
    torch.testing.assert_close(flow.inverse(codes, labels)[0], 2 * styles)
    torch.testing.assert_close(flow(2 * styles, labels), codes)
    torch.testing.assert_close(flow.log_density(codes, labels), density)
    flow.forget()
    assert flow.width == 1


def test_a_fitted_flow_is_narrowed():
    flow, (codes, labels) = Flow(2, 3), some(2, 12)
    codes = codes.float()
    flow.fit(lambda: (codes, labels), 3)
    assert flow.width == WIDTH < 1
    flow.fit(lambda: (codes, labels), 3)  # from the whole width again
    assert flow.width == WIDTH


def grid():
    """The middles of cells of 1/10 x 1/10, `[240 * 240, 2]`."""
    line = torch.linspace(-11.95, 11.95, 240).double()
    return torch.cartesian_prod(line, line)


def test_the_density_adds_up_to_one():
    flow, cells = bent(2, size=0.05), grid()
    for label in range(3):
        density = flow.log_density(cells, torch.full((len(cells),), label)).exp()
        assert density.sum().item() * 0.1**2 == pytest.approx(1, abs=1e-3)
        assert (density - normal(cells).exp()).abs().max() > 0.02


def test_what_is_drawn_is_as_dense_as_it_says():
    """The share of styles that land in a quadrant is that of the density there."""
    flow, cells = bent(2, size=0.05), grid()
    styles = torch.randn(10_000, 2, generator=torch.Generator().manual_seed(0)).double()
    for label in range(3):
        density = flow.log_density(cells, torch.full((len(cells),), label)).exp() * 0.1**2
        drawn = flow(styles, torch.full((10_000,), label))
        middle = drawn.median(0).values
        for sides in ([1, 1], [1, -1], [-1, 1], [-1, -1]):
            side = torch.tensor(sides)
            share = ((drawn - middle) * side > 0).all(1).double().mean().item()
            inside = ((cells - middle) * side > 0).all(1)
            assert density[inside].sum().item() == pytest.approx(share, abs=0.04)


# --- the fit


def shifted(count=400):
    """Two labels: around 2 with a spread of 1/2, and around -1 with a spread of 1.5."""
    generator = torch.Generator().manual_seed(3)
    labels = torch.arange(count) % 2
    mean, spread = torch.tensor([2.0, -1.0])[labels], torch.tensor([0.5, 1.5])[labels]
    return mean[:, None] + spread[:, None] * torch.randn(count, 2, generator=generator), labels


def moons(count=4000, generator=None):
    """Two half rings of radius 1 that reach into each other, with a little noise."""
    generator = generator or torch.Generator().manual_seed(4)
    turn, noise = torch.rand(count, generator=generator), torch.randn(count, 2, generator=generator)
    turn, upper = math.pi * turn, torch.arange(count) % 2
    x = torch.stack([turn.cos() - 0.5, turn.sin() - 0.25], 1)
    x = torch.where(upper[:, None] == 1, x, -x)
    return (1.5 * (x + 0.08 * noise)), torch.zeros(count, dtype=torch.int64)


def drawing(x, labels, seed=0):
    """Batches of these."""
    generator = torch.Generator().manual_seed(seed)

    def draw():
        pick = torch.randint(len(x), (256,), generator=generator)
        return x[pick], labels[pick]

    return draw


def test_a_fit_finds_gaussians_again():
    """No density is better than the true one; it comes within a few hundredths of a nat."""
    flow, (x, labels) = Flow(2, 2), shifted(20_000)
    flow.fit(drawing(x, labels), 400)
    held_out, of = shifted(2001)
    spread = torch.tensor([0.5, 1.5])
    off = (held_out - torch.tensor([2.0, -1.0])[of, None]) / spread[of, None]
    truth = normal(off) - 2 * spread[of].log()
    found = flow.log_density(held_out, of)
    for label in range(2):
        lost = (truth - found)[of == label].mean().item()
        assert -0.02 < lost < 0.1, label


def test_a_fit_bends_a_gaussian_into_moons():
    """Far likelier than in the best Gaussian; and what is drawn lies where they are."""
    flow, (x, labels) = Flow(2, 1), moons()
    before = flow.log_density(x, labels).mean().item()
    flow.fit(drawing(x, labels), 500)
    held_out, of = moons(2000, torch.Generator().manual_seed(5))
    gaussian = torch.distributions.MultivariateNormal(x.mean(0), x.T.cov())
    best = gaussian.log_prob(held_out).mean().item()
    found = flow.log_density(held_out, of).mean().item()
    assert found > best + 0.5 > before + 0.5
    styles = torch.randn(2000, 2, generator=torch.Generator().manual_seed(6))
    plain = x.mean(0) + styles @ torch.linalg.cholesky(x.T.cov()).T
    far = [
        (torch.cdist(drawn, held_out).amin(1) > 0.2).double().mean().item()
        for drawn in (plain, flow(styles, of))
    ]
    assert far[1] < far[0] / 3


def test_a_fit_leaves_numbers_that_do_not_learn():
    flow, (x, labels) = Flow(2, 2), shifted()
    with torch.no_grad():  # as a rule fits it
        flow.fit(drawing(x, labels), 3)
    assert flow.last.any()
    assert flow.offset.any()
    for weight in flow.weights:
        assert not weight.requires_grad
        assert weight.grad is None
    assert list(flow.parameters()) == []
    assert set(flow.state_dict()) == {"orders", "first", "bias", "last", "offset", "width"}


@pytest.mark.parametrize("iterations", [1, 2, 3, 10])
def test_the_same_draws_give_the_same_fit(iterations):
    x, labels = shifted()
    flows = [Flow(2, 2) for _ in range(3)]
    for flow, seed in zip(flows, (0, 0, 1), strict=True):
        flow.fit(drawing(x, labels, seed), iterations)
    one, same, other = (torch.cat([w.flatten() for w in flow.weights]) for flow in flows)
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert one.isfinite().all()


def test_a_flow_that_forgets_changes_nothing_again():
    flow, (styles, labels) = bent(5), some(5)
    flow.forget()
    assert torch.equal(flow(styles, labels), styles)
    assert torch.equal(flow.inverse(styles, labels)[0], styles)


# --- the genome


def curved(count=3000):
    """Codes on a ring around (1, 2) for one label, around (-4, 0) for the other; no noise."""
    generator = torch.Generator().manual_seed(7)
    turn = 2 * math.pi * torch.rand(count, generator=generator)
    labels = torch.arange(count) % 2
    ring = 3 * torch.stack([turn.cos(), turn.sin()], 1)
    mean = ring + torch.tensor([[1.0, 2.0], [-4.0, 0.0]])[labels]
    return StyleCode(mean, torch.full_like(mean, math.log(0.2**2))), labels


@pytest.fixture(scope="module")
def fitted():
    genome, (code, labels) = Genome(1, 2), curved()
    with torch.no_grad():
        genome.fit_styles(code, labels, 400)
    return genome, code, labels


def test_the_flow_covers_what_a_gaussian_misses(fitted):
    """Most of a Gaussian lies inside the ring, where no code is."""
    genome, code, labels = fitted
    plain = Genome(1, 2)
    plain.fit_styles(code, labels)
    styles = torch.randn(2000, 2, generator=torch.Generator().manual_seed(8))
    on_ring = []
    for each in (plain, genome):
        told = each(labels[:2000], styles).detach()[:, 1:]
        centre = torch.tensor([[1.0, 2.0], [-4.0, 0.0]])[labels[:2000]]
        radius = (told - centre).norm(dim=1)
        on_ring.append(((radius > 2.4) & (radius < 3.6)).double().mean().item())
    assert on_ring[0] < 0.4
    assert on_ring[1] > 0.75
    assert torch.equal(genome.average, plain.average)  # the Gaussians are the same
    assert torch.equal(genome.spread, plain.spread)


def test_styles_of_codes_are_standard_normal_in_the_fitted_density(fitted):
    genome, code, labels = fitted
    drawn = code.sample(torch.randn(3000, 2, generator=torch.Generator().manual_seed(9)))
    styles = genome.style_of(drawn, labels) * WIDTH
    assert styles.mean(0).abs().max() < 0.15
    torch.testing.assert_close(styles.T.cov(), torch.eye(2), rtol=0, atol=0.25)
    inside = (styles.square().sum(1) < 2 * math.log(2)).double().mean()  # half of a Gaussian
    assert inside.item() == pytest.approx(0.5, abs=0.1)


def test_a_bent_style_becomes_the_code_it_came_from():
    genome, (code, labels) = Genome(1, 2).double(), curved(200)
    genome.average[:2] = torch.tensor([[1.0, 2.0], [-4.0, 0.5]])
    genome.spread[0] = torch.tensor([[2.0, 0.0], [4.0, 0.5]])
    bend(genome.flow)
    codes = code.mean.double()
    styles = genome.style_of(codes, labels)
    torch.testing.assert_close(genome(labels, styles)[:, 1:], codes)
    torch.testing.assert_close(genome.style_of(genome(labels, styles)[:, 1:], labels), styles)
    assert (genome.centred(codes, labels) - styles).abs().max() > 0.1


def test_the_same_codes_give_the_same_flow():
    code, labels = curved(300)
    genomes = [Genome(1, 2) for _ in range(2)]
    for genome in genomes:
        genome.fit_styles(code, labels, 5)
    for one, same in zip(*(genome.flow.weights for genome in genomes), strict=True):
        assert torch.equal(one, same)


def test_the_uncertainty_of_codes_is_drawn_anew_for_every_batch(monkeypatch):
    """One code with a wide spread: batches of the flow differ, and cover that spread."""
    batches = []
    monkeypatch.setattr(Flow, "fit", lambda self, draw, _: batches.extend(draw() for _ in "ab"))
    genome, labels = Genome(1, 2), torch.tensor([3] * 400)
    mean = torch.tensor([[5.0, -1.0]]).repeat(400, 1)
    genome.fit_styles(StyleCode(mean, torch.full((400, 2), math.log(4.0))), labels, 1)
    (x, one), (y, two) = batches
    assert x.shape == (400, 2)
    assert set(torch.cat([one, two]).tolist()) == {3}
    assert not torch.equal(x, y)
    codes = genome.average[3] + x @ genome.spread[3].T  # they are measured in this Gaussian
    torch.testing.assert_close(codes.mean(0), mean[0], rtol=0, atol=0.4)  # four deviations
    torch.testing.assert_close(codes.std(0), torch.full((2,), 2.0), rtol=0, atol=0.28)


def test_without_iterations_no_flow_is_fitted_and_forgetting_undoes_one():
    code, labels = curved(300)
    genome = Genome(1, 2)
    genome.fit_styles(code, labels)
    assert not genome.flow.last.any()
    genome.fit_styles(code, labels, 3)
    assert genome.flow.last.any()
    genome.fit_styles(code, labels)
    assert not genome.flow.last.any()
    genome.fit_styles(code, labels, 3)
    genome.forget_styles()
    style = torch.randn(5, 2)
    assert torch.equal(genome(torch.arange(5), style)[:, 1:], style)


def test_a_flow_in_double_precision():
    code, labels = curved(300)
    double = StyleCode(code.mean.double(), code.log_variance.double())
    genome = Genome(1, 2).double()
    genome.fit_styles(double, labels, 3)
    assert {weight.dtype for weight in genome.flow.weights} == {torch.float64}
    assert genome.flow.last.any()
    assert genome.style_of(double.mean, labels).dtype == torch.float64


def test_rules_without_styles_have_no_flow():
    rule = initial_rule(RuleConfig(channels=6, hidden=8, label_dim=4, style_dim=0), 0)
    assert rule.genome.flow is None
    assert not any("flow" in name for name in rule.state_dict())
    rule.fit_styles(torch.rand(2, 1, 28, 28), torch.tensor([1, 2]), 3)
    rule.genome.fit_styles(StyleCode(*torch.zeros(2, 4, 0)), torch.zeros(4).long(), 0)
    assert rule.fitted_numbers == 0


# --- files


CONFIG = RuleConfig(channels=6, hidden=8, label_dim=4, style_dim=3)
GAUSSIANS = 10 * (3 + 6)  # numbers that are fitted to the codes of ten labels


def bent_rule():
    rule = initial_rule(CONFIG, 0)
    bend(rule.genome.flow)
    return rule


def test_fitted_numbers_are_those_that_say_something():
    rule = initial_rule(CONFIG, 0)
    assert rule.fitted_numbers == GAUSSIANS
    numbers = sum(weight.numel() for weight in rule.genome.flow.weights)
    rule.genome.flow.offset[0, 0] = 0.1
    assert rule.fitted_numbers == GAUSSIANS + numbers
    rule.genome.flow.forget()
    rule.genome.flow.last[0, 0, 0] = 0.1
    assert rule.fitted_numbers == GAUSSIANS + numbers
    assert rule.rule_parameters == initial_rule(CONFIG, 0).rule_parameters  # nothing was learned


def test_a_flow_is_saved_with_its_rule(tmp_path):
    rule = bent_rule()
    save_rule(tmp_path / "x.safetensors", rule, {})
    again = load(tmp_path / "x.safetensors")
    style, labels = torch.randn(10, 3), torch.arange(10)
    assert torch.equal(again.genome(labels, style), rule.genome(labels, style))
    assert not torch.equal(again.genome(labels, style)[:, 4:], style)
    assert again.fitted_numbers == rule.fitted_numbers > GAUSSIANS


def test_files_from_before_styles_had_a_flow_work_as_they_did(tmp_path):
    rule = bent_rule()
    rule.genome.average.normal_()
    save_rule(tmp_path / "x.safetensors", rule, {})
    tensors, metadata = read_tensors(tmp_path / "x.safetensors", RULE)
    old = {name: tensor for name, tensor in tensors.items() if ".flow." not in name}
    assert len(tensors) - len(old) == 6
    write_tensors(tmp_path / "old.safetensors", RULE, old, **metadata)
    again = load(tmp_path / "old.safetensors")
    wide = {name: tensor for name, tensor in tensors.items() if name != "genome.flow.width"}
    write_tensors(tmp_path / "wide.safetensors", RULE, wide, **metadata)
    assert load(tmp_path / "wide.safetensors").genome.flow.width == 1  # reached as far as it could
    style, labels = torch.randn(10, 3), torch.arange(10)
    torch.testing.assert_close(again.genome(labels, style)[:, 4:], rule.genome.average + style)
    assert again.fitted_numbers == GAUSSIANS


def test_orders_that_leave_out_a_number_are_refused(tmp_path):
    """Found by breaking files: some of them ended in an IndexError, others could not be undone."""
    rule, file = bent_rule(), tmp_path / "x.safetensors"
    for wrong in ([0, 1, 1], [1, 2, 3], [-1, 0, 1]):
        rule.genome.flow.orders[2] = torch.tensor(wrong)
        save_rule(file, rule, {})
        with pytest.raises(InputError, match="an order in the flow of its styles leaves out"):
            load(file)
    rule.genome.flow.orders[2] = torch.tensor([2, 0, 1])
    save_rule(file, rule, {})
    assert torch.equal(load(file).genome.flow.orders, rule.genome.flow.orders)


def test_a_mean_of_rules_bends_no_styles():
    """Each label's codes had a flow of their own."""
    rules = [initial_rule(CONFIG, seed) for seed in range(10)]
    for rule in rules:
        bend(rule.genome.flow, 0.1 * (1 + rule.perceived.weight[0, 0].abs().item()))
    for how in ("mean", "last", "scratch"):
        merged = merge(rules, how)
        assert merged.fitted_numbers == GAUSSIANS
        assert torch.equal(merged.genome.flow.orders, rules[0].genome.flow.orders)
        style = torch.randn(10, 3)
        assert torch.equal(merged.genome(torch.arange(10), style)[:, 4:], style)


def test_a_wider_rule_bends_styles_as_it_did():
    rule = bent_rule()
    wide = widen(rule, 12)
    style, labels = torch.randn(10, 3), torch.arange(10)
    assert torch.equal(wide.genome(labels, style), rule.genome(labels, style))


# --- in a training


TRAINING = TrainingConfig(
    iterations=4, batch_size=4, loss_steps=(2, 3), pool_size=4, flow_iterations=5
)


@pytest.fixture
def fits(monkeypatch):
    """How long a flow was to be fitted, every time."""
    asked, right = [], Flow.fit
    monkeypatch.setattr(Flow, "fit", lambda self, draw, n: asked.append(n) or right(self, draw, n))
    return asked


def test_the_flow_is_fitted_when_all_else_is_learned(tmp_path, digits, fits):  # noqa: F811
    rule, outputs = initial_rule(CONFIG, 0), Outputs(tmp_path, "toy")
    watched = []
    train(
        rule, digits, TRAINING, outputs, progress=False, watch_every=1,
        watch=lambda rule, _: watched.append(rule.fitted_numbers),
    )  # fmt: skip
    assert fits == [5]
    assert watched == [GAUSSIANS] * 4
    assert load(outputs.rule).fitted_numbers == rule.fitted_numbers > GAUSSIANS
    again = initial_rule(CONFIG, 1)
    again.encoder.load_state_dict(rule.encoder.state_dict())
    again.fit_styles(digits.images, digits.labels, 5)
    assert all(map(torch.equal, again.genome.flow.weights, rule.genome.flow.weights))


def test_no_flow_is_fitted_unless_it_is_wanted(digits, fits):  # noqa: F811
    rule = initial_rule(CONFIG, 0)
    train(rule, digits, replace(TRAINING, flow_iterations=0), progress=False)
    assert fits == []
    assert rule.fitted_numbers == GAUSSIANS


def test_a_stopped_training_has_fitted_none_and_a_resumed_one_the_same(tmp_path, digits, fits):  # noqa: F811
    outputs = {name: Outputs(tmp_path / name, "toy") for name in ("whole", "broken")}
    train(initial_rule(CONFIG, 0), digits, TRAINING, outputs["whole"], progress=False)
    rule, wishes = initial_rule(CONFIG, 0), iter([False, True])
    with pytest.raises(Stopped):
        train(rule, digits, TRAINING, outputs["broken"], stop=lambda: next(wishes), progress=False)
    assert fits == [5]
    assert rule.fitted_numbers == GAUSSIANS
    assert rule.genome.average.any()
    for _ in range(2):  # resumed, then asked for again
        rule = initial_rule(CONFIG, 1)
        train(rule, digits, TRAINING, outputs["broken"], resume=True, progress=False)
        whole = load(outputs["whole"].rule).state_dict()
        for name, tensor in rule.state_dict().items():
            assert torch.equal(tensor, whole[name]), name
    assert fits == [5] * 3


def test_a_training_that_diverged_fits_none(digits, fits, monkeypatch):  # noqa: F811
    def diverge(*_):
        raise FloatingPointError

    monkeypatch.setattr(loop, "training_step", diverge)
    with pytest.raises(TrainingDiverged):
        train(initial_rule(CONFIG, 0), digits, TRAINING, progress=False)
    assert fits == []


def test_styles_are_codes_while_a_training_goes_on(digits):  # noqa: F811
    """A rule that had a flow is trained further: the encoder's codes reach it as they are."""
    rule, seen = bent_rule(), []
    style = torch.randn(10, 3)
    train(
        rule, digits, replace(TRAINING, flow_iterations=0), progress=False,
        on_iteration=lambda _: seen.append(rule.genome(torch.arange(10), style)[:, 4:].detach()),
    )  # fmt: skip
    assert len(seen) == 4
    assert all(torch.equal(told, style) for told in seen)


def test_cells_are_told_the_code_of_the_picture():
    """To redraw it the flow is taken both ways."""
    rule = NCA(replace(CONFIG, channels=4))
    torch.manual_seed(0)
    images, labels = torch.rand(30, 1, 28, 28), torch.arange(30) % 10
    rule.fit_styles(images, labels, 20)
    told = rule.genome(labels, rule.infer_style(images, labels))
    with torch.no_grad():
        wanted = rule.encoder(images, labels).mean
    torch.testing.assert_close(told[:, 4:], wanted, rtol=1e-3, atol=1e-3)


def test_a_flow_that_forgot_is_as_fresh_from_the_constructor():
    flow, fresh = Flow(5, 3), Flow(5, 3).state_dict()
    for weight in flow.weights:
        weight += 1
    flow.forget()
    assert all(torch.equal(tensor, fresh[name]) for name, tensor in flow.state_dict().items())
