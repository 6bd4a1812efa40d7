"""Every rollout computes what the dense step defines: states and all gradients."""

from nca_lib import rule as rule_module
from nca_lib.cells import alive, seed_state
from nca_lib.rollout import compiled, graphed
from nca_lib.rollout.compiled import compiled_rollout
from nca_lib.rollout.dense import dense_rollout
from nca_lib.rollout.graphed import graphed_rollout
from nca_lib.rollout.plan import Plan
from nca_lib.rollout.sparse import sparse_rollout
from nca_lib.rule import NCA, RuleConfig

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

PATHS = {"sparse": sparse_rollout, "graphed": graphed_rollout}
if not compiled.IMPORT_PROBLEM:
    PATHS["compiled"] = compiled_rollout


class Again:
    """What a CUDA graph does, without a GPU: all of it once more, into the same memory."""

    def __init__(self, do):
        self.do, self.gradients = do, torch.is_grad_enabled()
        self.result = do()

    def replay(self):
        with torch.set_grad_enabled(self.gradients):
            result = self.do()
        if result is not None:
            kept, new = ([x] if torch.is_tensor(x) else x for x in (self.result, result))
            for mine, theirs in zip(kept, new, strict=True):
                mine.detach().copy_(theirs.detach())


@pytest.fixture(params=PATHS, autouse=True)
def path(request, monkeypatch):
    """`NCA.rollout` takes this path here, whatever it would choose."""
    monkeypatch.setattr(rule_module, "choose_rollout", lambda *_: PATHS[request.param])
    monkeypatch.setattr(graphed, "warm_up", lambda do: do())
    monkeypatch.setattr(graphed, "capture", lambda do, beside=None: ((a := Again(do)), a.result))
    yield request.param
    graphed.film.cache_clear()
    graphed.there_and_back.cache_clear()


def plan(steps, record, first_step=0, fire_rate=0.5, sobel=True):
    return Plan(steps, record, first_step, fire_rate, sobel, (), 1, 0.1)


def random_rule(
    perception="sobel", dtype=torch.float64, fire_rate=0.5, channels=6, hidden=20, held=()
):
    """`perception` may also be "own": four kernels of no kind that we know."""
    kind = "sobel" if perception == "own" else perception
    config = RuleConfig(channels, hidden, 3, 2, kind, fire_rate, held)
    rule = NCA(config)
    if perception == "own":
        rule.kernels = torch.randn(4, 1, 3, 3) / 2
        rule.perceived = torch.nn.Linear(4 * channels, hidden)
    torch.nn.init.normal_(rule.perceived.weight, std=0.1)  # tame: chaos would magnify rounding
    torch.nn.init.normal_(rule.update.weight, std=0.1)
    return rule.to(dtype)


def random_state(batch, channels, height, width, alive_share, dtype):
    state = torch.randn(batch, channels, height, width, dtype=dtype)
    state[:, 1] = torch.where(torch.rand(batch, height, width) < alive_share, 0.5, -0.5)
    return state


def with_gradients(rollout, rule, state, genome, *args):
    """The frames, and the gradients of a random function of them, for everything trainable."""
    rule.zero_grad()
    state, genome = state.clone().requires_grad_(), genome.detach().clone().requires_grad_()
    frames = rollout(state, genome, *args)
    weight = torch.randn(frames.shape, generator=torch.Generator().manual_seed(1)).to(frames)
    (frames * weight).sum().backward()
    gradients = {n: p.grad for n, p in rule.named_parameters() if p.grad is not None}
    return frames.detach(), gradients | {"state": state.grad, "genome": genome.grad}


def assert_close(a, b, tolerance, name):
    """Equal, in units of the largest number; of no samples there is nothing to compare."""
    assert a.shape == b.shape, name
    if b.numel():
        scale = b.abs().max().clamp(min=1e-3)
        off = (a - b).abs().max() / scale
        assert off <= tolerance, f"{name}: {off:.1e}"


@pytest.fixture
def threads():
    kept = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(kept)


def example(batch=3, size=10, alive_share=0.4, dtype=torch.float64, channels=6, **options):
    torch.manual_seed(0)
    nca = random_rule(dtype=dtype, channels=channels, **options)
    state = random_state(batch, channels, size, size, alive_share, dtype)
    return nca, state, torch.randn(batch, 5, dtype=dtype), torch.arange(5, 5 + batch)


def assert_same_as_dense(nca, state, genome, steps, seeds, record, first_step, tolerance):
    def dense(*args):
        return dense_rollout(nca, *args)

    args = state, genome, steps, seeds, record, first_step
    expected, expected_gradients = with_gradients(dense, nca, *args)
    frames, gradients = with_gradients(nca.rollout, nca, *args)
    assert frames.dtype == state.dtype
    assert_close(frames, expected, tolerance, "frames")
    assert gradients.keys() == expected_gradients.keys()
    for name, gradient in gradients.items():
        assert_close(gradient, expected_gradients[name], tolerance, name)


@settings(
    max_examples=80, deadline=None, derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],  # the path is the same throughout
)  # fmt: skip
@given(
    seed=st.integers(0, 2**31),
    batch=st.integers(0, 4),
    height=st.integers(1, 12),
    width=st.integers(1, 12),
    alive_share=st.sampled_from([0.0, 0.02, 0.05, 0.3, 1.0]),
    steps=st.integers(1, 6),
    first_step=st.sampled_from([0, 1000]),
    perception=st.sampled_from(["sobel", "patch", "own"]),
    fire_rate=st.sampled_from([0.25, 0.5, 1.0]),
    held=st.sampled_from([(), (0,), (1,), (0, 2, 5)]),
    precision=st.sampled_from([(torch.float64, 1e-9), (torch.float32, 1e-4)]),
)
def test_rollout_equals_dense_steps(
    path, seed, batch, height, width, alive_share, steps, first_step, perception, fire_rate, held,
    precision,
):  # fmt: skip
    dtype, tolerance = precision
    torch.manual_seed(seed)
    nca = random_rule(perception, dtype, fire_rate, held=held)
    state = random_state(batch, 6, height, width, alive_share, dtype)
    genome = torch.randn(batch, 5, dtype=dtype)
    seeds = torch.randint(0, 2**62, (batch,))
    record = tuple(sorted({(steps + 1) // 2, steps}))
    assert_same_as_dense(nca, state, genome, steps, seeds, record, first_step, tolerance)


@pytest.mark.parametrize("perception", ["sobel", "patch"])
def test_cells_beyond_one_block_and_life_that_dies_out(perception):
    nca, state, genome, seeds = example(2, 20, 1.0, perception=perception, hidden=33)
    assert_same_as_dense(nca, state, genome, 8, seeds, (1, 3, 8), 0, 1e-10)
    nca.update.weight.data[1] = -nca.update.weight.data[1].abs()  # life only shrinks
    state[:, 1] = 0.15
    assert_same_as_dense(nca, state, genome, 8, seeds, (2, 8), 0, 1e-10)
    assert nca.rollout(state, genome, 40, seeds).count_nonzero() == 0


def test_a_living_spot_on_a_large_grid():
    nca, state, genome, seeds = example(1, 60, 0.0)
    state[:, 1, 20:23, 30:36] = 0.7
    assert_same_as_dense(nca, state, genome, 12, seeds, (1, 6, 12), 0, 1e-10)


def test_a_grid_need_not_be_square():
    nca = random_rule()
    state = seed_state(2, 6, (28, 40)).double()
    state[:, 1:, 10:16, 12:25] = 0.5
    genome = torch.randn(2, 5, dtype=torch.float64)
    assert_same_as_dense(nca, state, genome, 6, torch.tensor([3, 4]), (2, 6), 0, 1e-9)


def test_life_is_spared_by_living_cells_only():
    """Found by a random kernel: a dead cell that got life in a step kept its neighbour alive."""
    nca, state, genome, seeds = example(4, 11, 0.05)
    nca.update.weight.data[1] *= 20
    assert_same_as_dense(nca, state, genome, 4, seeds, (1, 4), 0, 1e-9)


def test_held_channels_stay_as_given():
    nca, state, genome, seeds = example(2, 9, 0.3, held=(0, 2))
    frames = nca.rollout(state, genome, 12, seeds, (1, 12))
    assert torch.equal(frames[:, :, [0, 2]], state[:, [0, 2]].expand(2, -1, -1, -1, -1))
    assert not torch.equal(frames[1, :, 3], state[:, 3])
    nothing = nca.rollout(state * 0, genome, 3, seeds)
    assert not nothing.any()


class Blind(NCA):
    """Somebody's own rule: its cells see nothing but themselves, and never change their life."""

    def perceive(self, state):
        return state.repeat(1, 3, 1, 1)

    def change(self, seen, genome):
        change = super().change(seen, genome)
        change[:, 1] = 0
        return change


@pytest.mark.parametrize("how", ["class", "instance", "step", "layer", "told"])
def test_whatever_step_does_rollout_does(how):
    """Found by users who wrote their own perception: step changed, rollout and training did not."""
    torch.manual_seed(0)
    config = RuleConfig(6, 20, 3, 2)
    rule = (Blind if how == "class" else NCA)(config)
    torch.nn.init.normal_(rule.update.weight, std=0.1)
    if how == "instance":
        rule.perceive = lambda state: NCA.perceive(rule, state).flip(2)
    elif how == "step":
        rule.step = lambda state, genome, fire: state * 0.5 + 0 * genome.sum()
    elif how == "layer":
        rule.update = torch.nn.Sequential(torch.nn.Linear(20, 9), torch.nn.Linear(9, 6))
    elif how == "told":
        rule.told = torch.nn.Linear(5, 20)
    rule = rule.double()
    state, genome = random_state(2, 6, 9, 9, 0.4, torch.float64), torch.randn(2, 5).double()
    assert_same_as_dense(rule, state, genome, 4, torch.arange(2), (2, 4), 0, 1e-9)


def test_a_sample_draws_the_same_alone_and_in_a_batch():
    torch.manual_seed(0)
    rule = random_rule()
    state = random_state(3, 6, 10, 10, 0.4, torch.float64)
    genome, seeds = torch.randn(3, 5, dtype=torch.float64), torch.tensor([5, 6, 7])
    together = rule.rollout(state, genome, 4, seeds)[-1]
    alone = rule.rollout(state[1:2], genome[1:2], 4, seeds[1:2])[-1]
    torch.testing.assert_close(together[1:2], alone)


def test_an_untrained_rule_changes_nothing_that_lives():
    rule = NCA()
    state = torch.zeros(1, 16, 9, 9)
    state[:, 1:, 4, 4] = 1.0
    out = rule.rollout(state, torch.zeros(1, 32), 5, torch.tensor([0]))[-1]
    assert torch.equal(out, state)


def test_dead_cells_are_emptied_and_life_spreads_one_cell_a_step():
    torch.manual_seed(0)
    rule = random_rule(fire_rate=1.0)
    rule.update.weight.data[1] = 1.0  # life only grows
    state = torch.zeros(1, 6, 15, 15, dtype=torch.float64)
    state[:, 1:, 7, 7] = 1.0
    state[:, 0, 0, 0] = 3.0  # ink without life
    for t in range(1, 5):
        out = rule.rollout(state, torch.zeros(1, 5).double(), t, torch.tensor([3]))[-1]
        y, x = out.abs().sum(1)[0].nonzero().T
        assert max((y - 7).abs().max(), (x - 7).abs().max()) == t
        assert not (out != 0).any(1, keepdim=True)[~alive(out)].any()


def test_two_rollouts_at_once_keep_their_own_gradients():
    """A recorded rollout has one memory: the second one overwrites what the first left there."""
    nca, state, genome, seeds = example(2, 8)
    other = state.flip(0) * 0.5

    def gradient(*states):
        nca.zero_grad()
        frames = [nca.rollout(one, genome, 4, seeds, (2, 4)) for one in states]
        sum(k * frame.square().sum() for k, frame in enumerate(frames, 1)).backward()
        return nca.perceived.weight.grad.clone()

    together, first, second = gradient(state, other), gradient(state), gradient(other)
    torch.testing.assert_close(together, first + 2 * second)


def test_what_a_rollout_gave_stays_when_another_follows():
    nca, state, genome, seeds = example(2, 8)
    with torch.inference_mode():
        frames = nca.rollout(state, genome, 4, seeds)
        kept = frames.clone()
        nca.rollout(state * 0.5, genome, 4, seeds)
    assert torch.equal(frames, kept)
    assert torch.equal(nca.rollout(state, genome, 4, seeds).detach(), kept)
