"""The rollout computes what the dense step defines: states and all gradients."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nca_lib import rule as rule_module
from nca_lib import sparse
from nca_lib.errors import InputError
from nca_lib.fire import fire_mask
from nca_lib.rule import NCA, RuleConfig, alive, perception_kernels
from nca_lib.sparse import sparse_rollout


@pytest.fixture(autouse=True)
def always_sparse(monkeypatch):
    """`NCA.rollout` takes the pure PyTorch path here; test_compiled.py has the other."""
    monkeypatch.setattr(rule_module, "choose_rollout", lambda state: sparse_rollout)


def random_rule(perception="sobel", dtype=torch.float64, fire_rate=0.5, channels=6, hidden=20):
    config = RuleConfig(
        channels, hidden, label_dim=3, style_dim=2, perception=perception, fire_rate=fire_rate
    )
    rule = NCA(config)
    torch.nn.init.normal_(rule.perceived.weight, std=0.1)  # tame: chaos would magnify rounding
    torch.nn.init.normal_(rule.update.weight, std=0.1)
    return rule.to(dtype)


def random_state(batch, channels, height, width, alive_share, dtype):
    state = torch.randn(batch, channels, height, width, dtype=dtype)
    state[:, 1] = torch.where(torch.rand(batch, height, width) < alive_share, 0.5, -0.5)
    return state


def dense_rollout(rule, state, genome, steps, seeds, record, first_step=0):
    frames = []
    for t in range(first_step, first_step + steps):
        fire = fire_mask(seeds, t, *state.shape[2:], rule.config.fire_rate)
        state = rule.step(state, genome, fire)
        if t + 1 - first_step in record:
            frames.append(state)
    return torch.stack(frames)


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
    scale = b.abs().max().clamp(min=1e-3)
    assert (a - b).abs().max() <= tolerance * scale, f"{name}: {(a - b).abs().max() / scale:.1e}"


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 2**31),
    batch=st.integers(1, 4),
    height=st.integers(1, 12),
    width=st.integers(1, 12),
    alive_share=st.sampled_from([0.0, 0.05, 0.3, 1.0]),
    steps=st.integers(1, 5),
    perception=st.sampled_from(["sobel", "patch"]),
    fire_rate=st.sampled_from([0.25, 0.5, 1.0]),
    precision=st.sampled_from([(torch.float64, 1e-10), (torch.float32, 1e-5)]),
)
def test_rollout_equals_dense_steps(
    seed, batch, height, width, alive_share, steps, perception, fire_rate, precision
):
    dtype, tolerance = precision
    torch.manual_seed(seed)
    rule = random_rule(perception, dtype, fire_rate)
    state = random_state(batch, 6, height, width, alive_share, dtype)
    genome = torch.randn(batch, 5, dtype=dtype)
    seeds = torch.randint(0, 2**62, (batch,))
    record = tuple(sorted({(steps + 1) // 2, steps}))

    def dense(*args):
        return dense_rollout(rule, *args)

    expected, expected_gradients = with_gradients(dense, rule, state, genome, steps, seeds, record)
    frames, gradients = with_gradients(rule.rollout, rule, state, genome, steps, seeds, record)
    assert_close(frames, expected, tolerance, "frames")
    assert gradients.keys() == expected_gradients.keys()
    for name, gradient in gradients.items():
        assert_close(gradient, expected_gradients[name], tolerance, name)


def test_rollout_does_not_touch_its_input_and_can_be_continued():
    torch.manual_seed(0)
    rule = random_rule()
    state = random_state(3, 6, 10, 10, 0.4, torch.float64)
    kept = state.clone()
    genome, seeds = torch.randn(3, 5, dtype=torch.float64), torch.tensor([5, 6, 7])
    whole = rule.rollout(state, genome, 6, seeds, (2, 6))
    assert torch.equal(state, kept)
    half = rule.rollout(whole[0], genome, 4, seeds, first_step=2)
    assert torch.equal(half[-1], whole[-1])


def test_without_gradients_no_tape_is_kept(monkeypatch):
    rule = random_rule(dtype=torch.float32)
    state, seeds = random_state(2, 6, 8, 8, 0.5, torch.float32), torch.arange(2)
    genome = torch.randn(2, 5)
    kept = []

    def spy(*args, keep):
        kept.append(keep)
        return sparse.run_for_test(*args, keep=keep)

    monkeypatch.setattr(sparse, "run_for_test", sparse.run, raising=False)
    monkeypatch.setattr(sparse, "run", spy)
    with torch.no_grad():
        expected = rule.rollout(state, genome, 20, seeds)
    assert torch.equal(rule.rollout(state, genome, 20, seeds), expected)
    assert kept == [False, True]


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


def test_fire_masks_have_the_rate_and_no_pattern():
    masks = torch.stack(
        [fire_mask(torch.arange(64), t, 28, 28, 0.5) for t in range(20)]
    ).float()  # [T, B, H, W]
    assert abs(masks.mean() - 0.5) < 0.002
    signs = masks * 2 - 1
    for shifted in (
        signs[1:] * signs[:-1],
        signs[:, 1:] * signs[:, :-1],
        signs[..., 1:] * signs[..., :-1],
        signs[:, :, 1:] * signs[:, :, :-1],
    ):
        assert abs(shifted.mean()) < 5 / shifted.numel() ** 0.5
    assert abs(fire_mask(torch.arange(64), 0, 28, 28, 0.1).float().mean() - 0.1) < 0.005
    assert fire_mask(torch.arange(3), 0, 28, 28, 1.0).all()


def test_sobel_sees_slopes():
    ramp = torch.arange(5.0).repeat(5, 1)[None, None]
    seen = torch.nn.functional.conv2d(ramp, perception_kernels("sobel"))[0, :, 1, 1]
    assert seen.tolist() == [2.0, 1.0, 0.0]  # itself, one a cell across, level down


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 0}, "at least 1 step"),
        ({"record": (0, 2)}, "from 1 to"),
        ({"record": (2, 1)}, "increasing"),
        ({"state": torch.zeros(2, 5, 8, 8)}, "state has shape"),
        ({"genome": torch.zeros(2, 3)}, "genome has shape"),
        ({"seeds": torch.zeros(2)}, "seeds"),
    ],
)
def test_rollout_says_what_is_wrong(change, message):
    arguments = {
        "state": torch.zeros(2, 16, 8, 8),
        "genome": torch.zeros(2, 32),
        "steps": 4,
        "seeds": torch.zeros(2, dtype=torch.int64),
    }
    with pytest.raises(InputError, match=message):
        NCA().rollout(**(arguments | change))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fire_rate": 0.0}, "fire_rate"),
        ({"channels": 1}, "channels"),
        ({"perception": "eye"}, "eye"),
    ],
)
def test_configuration_says_what_is_wrong(change, message):
    with pytest.raises(InputError, match=message):
        RuleConfig(**change)
