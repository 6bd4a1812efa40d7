"""On a CUDA GPU: the engines, and a training run. Skipped where there is none."""

import nca_lib as nca

import pytest
import torch
from test_rollout import random_model, random_state

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA GPU")


@pytest.mark.parametrize("engine", ["sparse", "graph"])
@pytest.mark.parametrize("perception", ["sobel", "patch"])
def test_an_engine_on_a_gpu_equals_the_dense_step(engine, perception):
    torch.manual_seed(0)
    model = random_model(perception).cuda()
    state = random_state(3, 6, 12, 9, 0.4, torch.float64).cuda()
    condition, results = torch.randn(3, 5, dtype=torch.float64).cuda(), []
    for name in ("dense", engine):
        model.zero_grad()
        frames = model.rollout(state, condition, 7, 5, (3, 7), engine=name)
        frames.square().sum().backward()
        results.append([frames.detach(), model.hidden.weight.grad, model.output.weight.grad])
    for given, wanted in zip(results[1], results[0], strict=True):
        torch.testing.assert_close(given, wanted)


def test_a_training_run_on_a_gpu():
    data = nca.mnist()
    model = nca.NCA(data.spec, channels=8, hidden=32, style_dim=4).cuda()
    history = nca.train(model, data, iterations=60, batch_size=8, progress=False, log_every=1)
    assert history[-1]["ink"] < history[0]["ink"]
