"""The compiled rollout computes what the dense step defines: states and all gradients."""

import os
import subprocess
import sys
import time

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_rule import assert_close, dense_rollout, random_rule, random_state, with_gradients

from nca_lib import compiled, rule
from nca_lib.compiled import compiled_rollout
from nca_lib.sparse import Weights, sparse_rollout

pytestmark = pytest.mark.skipif(
    bool(compiled.IMPORT_PROBLEM), reason=f"no compiled rollout: {compiled.IMPORT_PROBLEM}"
)


@pytest.fixture(autouse=True)
def always_compiled(monkeypatch):
    """`NCA.rollout` takes the compiled path here, whatever it would choose."""
    monkeypatch.setattr(rule, "choose_rollout", lambda state: compiled_rollout)


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
    assert_close(frames, expected, tolerance, "frames")
    assert gradients.keys() == expected_gradients.keys()
    for name, gradient in gradients.items():
        assert_close(gradient, expected_gradients[name], tolerance, name)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 2**31),
    batch=st.integers(1, 4),
    height=st.integers(1, 12),
    width=st.integers(1, 12),
    alive_share=st.sampled_from([0.0, 0.02, 0.05, 0.3, 1.0]),
    steps=st.integers(1, 6),
    first_step=st.sampled_from([0, 1000]),
    perception=st.sampled_from(["sobel", "patch"]),
    fire_rate=st.sampled_from([0.25, 0.5, 1.0]),
    precision=st.sampled_from([(torch.float64, 1e-10), (torch.float32, 1e-5)]),
)
def test_rollout_equals_dense_steps(
    seed, batch, height, width, alive_share, steps, first_step, perception, fire_rate, precision
):
    dtype, tolerance = precision
    torch.manual_seed(seed)
    nca = random_rule(perception, dtype, fire_rate)
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


def test_the_result_does_not_depend_on_threads_or_company(threads):
    nca, state, genome, seeds = example(9, 12, dtype=torch.float32)
    weights = Weights(
        nca.perceived.weight.detach(),
        (nca.perceived.bias + nca.told(genome)).detach(),
        nca.update.weight.detach(),
    )
    results = []
    for n in (1, 2, 1):
        threads(n)
        leaves = [w.clone().requires_grad_() for w in weights]
        frames = compiled_rollout(state, Weights(*leaves), seeds, 20, (10, 20))
        frames.square().sum().backward()
        results.append([frames.detach(), *(leaf.grad for leaf in leaves)])
    for result in results[1:]:
        assert all(map(torch.equal, result, results[0]))
    one = Weights(weights.perceive, weights.bias[4:5], weights.update)
    alone = compiled_rollout(state[4:5], one, seeds[4:5], 20, (20,))
    assert torch.equal(alone, results[0][0][1:, 4:5])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_threads_start_anew_in_a_forked_process(threads):
    threads(2)
    _, state, _, seeds = example(8, 9, dtype=torch.float32)
    weights = Weights(torch.rand(4, 18), torch.rand(8, 4), torch.rand(6, 4) / 100)

    def rollout():
        return compiled_rollout(state, weights, seeds, 20, (20,))

    expected = rollout()
    child = os.fork()
    if child == 0:
        os._exit(0 if torch.equal(rollout(), expected) else 1)
    for _ in range(300):
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            break
        time.sleep(0.1)
    else:
        os.kill(child, 9)
        os.waitpid(child, 0)
        raise AssertionError("the forked process hangs")
    assert os.waitstatus_to_exitcode(status) == 0


def test_inputs_in_any_memory_layout_stay_as_they_are():
    nca, state, genome, seeds = example()
    strided = state.transpose(2, 3).contiguous().transpose(2, 3)
    kept = strided.clone()
    whole = nca.rollout(strided, genome, 6, seeds, (2, 6))
    assert torch.equal(strided, kept)
    assert not strided.is_contiguous()
    assert torch.equal(whole, nca.rollout(state, genome, 6, seeds, (2, 6)))
    half = nca.rollout(whole[0], genome, 4, torch.stack([seeds, seeds], 1)[:, 0], first_step=2)
    assert torch.equal(half[-1], whole[-1])


def test_the_way_back_can_be_taken_twice():
    nca, state, genome, seeds = example()
    state.requires_grad_()
    frames = nca.rollout(state, genome, 5, seeds)
    first, second = (
        torch.autograd.grad(frames.square().sum(), state, retain_graph=True)[0] for _ in range(2)
    )
    assert torch.equal(first, second)


@pytest.mark.parametrize("poison", [float("nan"), float("inf"), -float("inf")])
def test_numbers_out_of_range_stay_visible(poison, monkeypatch):
    nca, state, genome, seeds = example(alive_share=0.3)
    state[0, 2, 5, 5] = state[1, 1, 3, 3] = poison
    args = state, genome, 6, seeds, (1, 2, 6)
    frames = nca.rollout(*args)
    with monkeypatch.context() as patch:
        patch.setattr(rule, "choose_rollout", lambda state: sparse_rollout)
        torch.testing.assert_close(frames, nca.rollout(*args), equal_nan=True)
    assert not frames[-1].isfinite().all()
    nca.update.weight.data[0, 0] = float("nan")
    frames, gradients = with_gradients(nca.rollout, nca, *example()[1:3], 6, seeds, (6,))
    assert frames.isnan().any()
    assert gradients["state"].isnan().any()


def test_without_gradients_nothing_is_kept():
    nca, state, genome, seeds = example(1, 12, dtype=torch.float32)
    weights = nca.perceived.weight.t(), nca.told(genome), nca.update.weight.t()
    arrays = [compiled.as_array(w) for w in weights]
    frames = torch.empty(1, *state.shape).numpy()
    rest = 2000, torch.tensor([2000]).numpy(), 0, 2**31, True
    for keep in (False, True):
        _, cells, values, marks = compiled.forward(
            0, state.numpy(), *arrays, seeds.numpy(), *rest, keep, frames
        )
        assert (len(cells) > 0, values.nbytes > 0, len(marks) > 0) == (keep, keep, keep)
    with torch.no_grad():
        assert nca.rollout(state, genome, 3, seeds).grad_fn is None


def test_it_can_be_switched_off(monkeypatch):
    assert compiled.available() == (True, "compiled by numba")
    monkeypatch.setenv("NCA_COMPILED", "0")
    assert compiled.available() == (False, "switched off by NCA_COMPILED=0")


SAY = "from nca_lib import compiled; print(*compiled.available())"


def python(code, **environment):
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert not done.stderr
    return done.stdout


def test_without_numba_it_says_so_and_no_more():
    out = python("import sys; sys.modules['numba'] = None; " + SAY)
    assert out.startswith("False numba or SciPy cannot be imported")


def test_the_package_does_not_import_numba():
    assert python("import sys, nca_lib, nca_lib.rule; print('numba' in sys.modules)") == "False\n"


@pytest.mark.parametrize("mode", ["inference_mode", "no_grad"])
def test_the_trial_works_whatever_the_gradient_mode(mode):
    """Found in `nca evaluate`: its first rollout is in inference mode, where the trial failed."""
    code = f"import torch; from nca_lib import compiled\nwith torch.{mode}(): compiled.available()"
    code += "\nprint(compiled.available())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("(True"), done.stdout
