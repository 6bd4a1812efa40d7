"""On a CUDA GPU: both rollouts, which one is taken, and a training. Skipped where there is none."""

from nca_lib.cells import seed_state
from nca_lib.checkpoint import load
from nca_lib.evaluation import redraw
from nca_lib.model import NCA, ModelConfig
from nca_lib.rollout import choose_rollout
from nca_lib.rollout.dense import dense_rollout
from nca_lib.rollout.graphed import graphed_rollout
from nca_lib.rollout.sparse import sparse_rollout
from nca_lib.training import TrainingConfig, train

import pytest
import torch

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA GPU")


def example(perception="sobel", frozen=(), batch=3, dtype=torch.float64):
    torch.manual_seed(0)
    model = NCA(ModelConfig(6, 20, 3, 2, perception, frozen=held))
    torch.nn.init.normal_(model.output.weight, std=0.1)
    state = torch.randn(batch, 6, 12, 9)
    state[:, 1] = torch.where(torch.rand(batch, 12, 9) < 0.4, 0.5, -0.5)
    parts = state, torch.randn(batch, 5)
    return model.to("cuda", dtype), *(part.to("cuda", dtype) for part in parts), torch.arange(batch)


def gradients(model, rollout, state, condition):
    model.zero_grad()
    state = state.clone().requires_grad_()
    frames = rollout(state, condition)
    weight = torch.randn(frames.shape, generator=torch.Generator().manual_seed(1)).to(frames)
    (frames * weight).sum().backward()
    learned = [model.hidden.weight.grad, model.hidden.bias.grad, model.output.weight.grad]
    return [frames.detach(), state.grad, *(grad.clone() for grad in learned)]


@pytest.mark.parametrize("path", [graphed_rollout, sparse_rollout], ids=["graphed", "sparse"])
@pytest.mark.parametrize("perception", ["sobel", "patch"])
@pytest.mark.parametrize("held", [(), (0, 2)])
def test_a_rollout_on_a_gpu_equals_the_dense_step(path, perception, held, monkeypatch):
    model, state, condition, seeds = example(perception, held)
    monkeypatch.setattr("nca_lib.model.choose_rollout", lambda *_: path)
    args = 7, seeds.cuda(), (3, 7), 5
    for scale in (1.0, 0.5):  # a recording is used again, with other states and weights
        model.output.weight.data *= scale
        dense = gradients(model, lambda s, g: dense_rollout(model, s, g, *args), state, condition)
        fast = gradients(model, lambda s, g: model.rollout(s, g, *args), state * 1.0, condition)
        for mine, wanted in zip(fast, dense, strict=True):
            torch.testing.assert_close(mine, wanted, rtol=1e-9, atol=1e-9)
        with torch.inference_mode():
            torch.testing.assert_close(model.rollout(state, condition, *args), dense[0])
        state = state * 0.7


def test_small_batches_are_graphed_and_large_ones_sparse():
    model = NCA().cuda()
    for count, wanted in ((1, graphed_rollout), (0, sparse_rollout), (2000, sparse_rollout)):
        state, condition = seed_state(count, 16).cuda(), torch.zeros(count, 32).cuda()
        assert choose_rollout(state, model._weights(condition)) is wanted


def test_a_training_on_a_gpu_goes_as_one_on_the_cpu():
    """Rounding apart, which Adam magnifies in the weights: so the losses are compared."""
    digits = load_digits("embedded")
    config = TrainingConfig(iterations=6, batch_size=4, pool_size=8, loss_steps=(3, 5))
    losses = []
    for device in ("cpu", "cuda"):
        torch.manual_seed(0)
        model = NCA(ModelConfig(12, 16)).to(device)
        log = train(model, digits.train, config, progress=False, log_every=1)
        losses.append(torch.tensor([entry["loss"] for entry in log]))
    torch.testing.assert_close(*losses, rtol=1e-2, atol=1e-4)


def test_an_evaluation_on_a_gpu_sees_what_one_on_the_cpu_sees():
    few, model = load_digits("embedded").test.limit(5), load("unified")
    frames = [redraw(model.to(device), few, (5, 20)) for device in ("cpu", "cuda")]
    torch.testing.assert_close(*frames, rtol=1e-2, atol=1e-2)
