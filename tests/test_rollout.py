"""Every engine computes what the dense step defines: states and all gradients."""

from nca_lib import model as model_module
from nca_lib.model import NCA
from nca_lib.rollout import compiled, roll_out
from nca_lib.rollout.plan import Plan
from nca_lib.spec import MNIST
from nca_lib.state import alive_mask

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

ENGINES = ["sparse", *([] if compiled.IMPORT_PROBLEM else ["compiled"])]


@pytest.fixture(params=ENGINES, autouse=True)
def engine(request, monkeypatch):
    """`NCA.rollout` takes this engine wherever it would choose one itself."""

    def chosen(*given):
        return roll_out(*given[:-1], request.param if given[-1] == "auto" else given[-1])

    monkeypatch.setattr(model_module, "roll_out", chosen)
    return request.param


def plan(steps, record_steps, first_step=0, fire_rate=0.5, sobel=True):
    return Plan(steps, record_steps, first_step, fire_rate, sobel, (), 1, 0.1)


def random_model(
    perception="sobel", dtype=torch.float64, fire_rate=0.5, channels=6, hidden=20, frozen=()
):
    """`perception` may also be "own": four random kernels."""
    own = {"kernels": torch.randn(4, 1, 3, 3) / 2} if perception == "own" else {}
    model = NCA(
        MNIST, channels=channels, hidden=hidden, label_dim=3, style_dim=2, fire_rate=fire_rate,
        perception="sobel" if own else perception, frozen=frozen, **own,
    )  # fmt: skip
    torch.nn.init.normal_(model.hidden.weight, std=0.1)  # tame: chaos would magnify rounding
    torch.nn.init.normal_(model.output.weight, std=0.1)
    return model.to(dtype)


def random_state(batch, channels, height, width, alive_share, dtype):
    state = torch.randn(batch, channels, height, width, dtype=dtype)
    state[:, 1] = torch.where(torch.rand(batch, height, width) < alive_share, 0.5, -0.5)
    return state


def with_gradients(rollout, model, state, condition, *args):
    """The frames, and the gradients of a random function of them, for everything trainable."""
    model.zero_grad()
    state, condition = state.clone().requires_grad_(), condition.detach().clone().requires_grad_()
    frames = rollout(state, condition, *args)
    weight = torch.randn(frames.shape, generator=torch.Generator().manual_seed(1)).to(frames)
    (frames * weight).sum().backward()
    gradients = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    return frames.detach(), gradients | {"state": state.grad, "condition": condition.grad}


def assert_close(a, b, tolerance, name):
    """Equal, in units of the largest number; of no samples there is nothing to compare."""
    assert a.shape == b.shape, name
    if b.numel():
        scale = b.abs().max().clamp(min=1e-3)
        off = (a - b).abs().max() / scale
        assert off <= tolerance, f"{name}: {off:.1e}"


def example(batch=3, size=10, alive_share=0.4, dtype=torch.float64, channels=6, **options):
    torch.manual_seed(0)
    nca = random_model(dtype=dtype, channels=channels, **options)
    state = random_state(batch, channels, size, size, alive_share, dtype)
    return nca, state, torch.randn(batch, 5, dtype=dtype), torch.arange(5, 5 + batch)


def assert_same_as_dense(nca, state, condition, steps, seeds, record, first_step, tolerance):
    def dense(*args):
        return nca.rollout(*args, engine="dense")

    args = state, condition, steps, seeds, record, first_step
    expected, expected_gradients = with_gradients(dense, nca, *args)
    frames, gradients = with_gradients(nca.rollout, nca, *args)
    assert frames.dtype == state.dtype
    assert_close(frames, expected, tolerance, "frames")
    assert gradients.keys() == expected_gradients.keys()
    for name, gradient in gradients.items():
        assert_close(gradient, expected_gradients[name], tolerance, name)


@settings(
    max_examples=80, deadline=None, derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],  # one engine a test
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
    frozen=st.sampled_from([(), (0,), (1,), (0, 2, 5)]),
    precision=st.sampled_from([(torch.float64, 1e-9), (torch.float32, 1e-4)]),
)
def test_rollout_equals_dense_steps(
    engine, seed, batch, height, width, alive_share, steps, first_step, perception, fire_rate,
    frozen, precision,
):  # fmt: skip
    dtype, tolerance = precision
    torch.manual_seed(seed)
    nca = random_model(perception, dtype, fire_rate, frozen=frozen)
    state = random_state(batch, 6, height, width, alive_share, dtype)
    condition = torch.randn(batch, 5, dtype=dtype)
    seeds = torch.randint(0, 2**62, (batch,))
    record = tuple(sorted({(steps + 1) // 2, steps}))
    assert_same_as_dense(nca, state, condition, steps, seeds, record, first_step, tolerance)


@pytest.mark.parametrize("perception", ["sobel", "patch"])
def test_cells_beyond_one_block_and_cells_that_die_out(perception):
    nca, state, condition, seeds = example(2, 20, 1.0, perception=perception, hidden=33)
    assert_same_as_dense(nca, state, condition, 8, seeds, (1, 3, 8), 0, 1e-10)
    nca.output.weight.data[1] = -nca.output.weight.data[1].abs()  # alive only shrinks
    state[:, 1] = 0.15
    assert_same_as_dense(nca, state, condition, 8, seeds, (2, 8), 0, 1e-10)
    assert nca.rollout(state, condition, 40, seeds).count_nonzero() == 0


def test_a_living_spot_on_a_large_grid():
    nca, state, condition, seeds = example(1, 60, 0.0)
    state[:, 1, 20:23, 30:36] = 0.7
    assert_same_as_dense(nca, state, condition, 12, seeds, (1, 6, 12), 0, 1e-10)


def test_a_grid_need_not_be_square():
    nca = random_model()
    state = torch.zeros(2, 6, 28, 40).double()
    state[:, 1:, 10:16, 12:25] = 0.5
    condition = torch.randn(2, 5, dtype=torch.float64)
    assert_same_as_dense(nca, state, condition, 6, torch.tensor([3, 4]), (2, 6), 0, 1e-9)


def test_cells_stay_alive_by_living_cells_only():
    """Found by a random kernel: a dead cell that came alive in a step kept its neighbour alive."""
    nca, state, condition, seeds = example(4, 11, 0.05)
    nca.output.weight.data[1] *= 20
    assert_same_as_dense(nca, state, condition, 4, seeds, (1, 4), 0, 1e-9)


def test_frozen_channels_stay_as_given():
    nca, state, condition, seeds = example(2, 9, 0.3, frozen=(0, 2))
    frames = nca.rollout(state, condition, 12, seeds, (1, 12))
    assert torch.equal(frames[:, :, [0, 2]], state[:, [0, 2]].expand(2, -1, -1, -1, -1))
    assert not torch.equal(frames[1, :, 3], state[:, 3])
    nothing = nca.rollout(state * 0, condition, 3, seeds)
    assert not nothing.any()


def test_a_sample_draws_the_same_alone_and_in_a_batch():
    torch.manual_seed(0)
    model = random_model()
    state = random_state(3, 6, 10, 10, 0.4, torch.float64)
    condition, seeds = torch.randn(3, 5, dtype=torch.float64), torch.tensor([5, 6, 7])
    together = model.rollout(state, condition, 4, seeds)[-1]
    alone = model.rollout(state[1:2], condition[1:2], 4, seeds[1:2])[-1]
    torch.testing.assert_close(together[1:2], alone)


def test_dead_cells_are_emptied_and_life_spreads_one_cell_a_step():
    torch.manual_seed(0)
    model = random_model(fire_rate=1.0)
    model.output.weight.data[1] = 1.0  # alive only grows
    state = torch.zeros(1, 6, 15, 15, dtype=torch.float64)
    state[:, 1:, 7, 7] = 1.0
    state[:, 0, 0, 0] = 3.0  # ink of a dead cell
    for t in range(1, 5):
        out = model.rollout(state, torch.zeros(1, 5).double(), t, torch.tensor([3]))[-1]
        y, x = out.abs().sum(1)[0].nonzero().T
        assert max((y - 7).abs().max(), (x - 7).abs().max()) == t
        assert not (out != 0).any(1, keepdim=True)[~alive_mask(out, 1)].any()
