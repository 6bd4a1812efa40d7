"""The compiled rollout: threads, memory, its cache on disk, and what can be wrong with it."""

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import nca_lib
from nca_lib import model as model_module
from nca_lib.rollout import compiled, roll_out
from nca_lib.rollout.compiled import compiled_rollout
from nca_lib.rollout.plan import Weights

import pytest
import torch
from test_rollout import assert_close, example, plan, with_gradients
from threadpoolctl import ThreadpoolController

pytestmark = pytest.mark.skipif(
    bool(compiled.IMPORT_PROBLEM), reason=f"no compiled rollout: {compiled.IMPORT_PROBLEM}"
)


@pytest.fixture(autouse=True)
def always_compiled(monkeypatch):
    def chosen(*given):
        return roll_out(*given[:-1], "compiled" if given[-1] == "auto" else given[-1])

    monkeypatch.setattr(model_module, "roll_out", chosen)


@pytest.fixture
def threads():
    kept = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(kept)


def test_the_result_does_not_depend_on_threads_or_company(threads):
    nca, state, condition, seeds = example(9, 12, dtype=torch.float32)
    weights = Weights(
        nca.hidden.weight.detach(),
        (nca.hidden.bias + nca.from_condition(condition)).detach(),
        nca.output.weight.detach(),
    )
    results = []
    for n in (1, 2, 1):
        threads(n)
        leaves = [w.clone().requires_grad_() for w in weights]
        frames = compiled_rollout(state, Weights(*leaves), seeds, plan(20, (10, 20)))
        frames.square().sum().backward()
        results.append([frames.detach(), *(leaf.grad for leaf in leaves)])
    for result in results[1:]:
        assert all(map(torch.equal, result, results[0]))
    one = Weights(weights.hidden, weights.bias[4:5], weights.output)
    alone = compiled_rollout(state[4:5], one, seeds[4:5], plan(20, (20,)))
    assert torch.equal(alone, results[0][0][1:, 4:5])


# --- blocks of cells, and who multiplies them


def none_found():
    """The BLAS of a machine that has no OpenBLAS."""
    return ThreadpoolController().select(internal_api="of no library")


def test_blocks_are_small_where_a_blas_can_not_be_kept_to_one_thread(monkeypatch):
    """Then a product has 2**18 multiplications at most, and at least one cell."""
    monkeypatch.setattr(compiled, "blas", none_found)
    sizes = {n: compiled.block_size(n) for n in (1, 2730, 2731, 10_000, 2**17, 2**18, 2**20)}
    wanted = {1: 96, 2730: 96, 2731: 95, 10_000: 26, 2**17: 2, 2**18: 1, 2**20: 1}
    assert sizes == wanted


@pytest.mark.skipif(not len(compiled.blas()), reason="no OpenBLAS here")
def test_blocks_are_of_96_cells_where_it_can():
    assert [compiled.block_size(n) for n in (1, 10_000, 2**20)] == [96] * 3


@pytest.mark.parametrize("perception", ["sobel", "patch"])
@pytest.mark.parametrize("block", [1, 7, 95, 97, 1000])
def test_the_result_does_not_depend_on_the_size_of_a_block(monkeypatch, block, perception):
    """Some hundred cells act in a step; only the order of sums differs."""
    nca, state, condition, seeds = example(2, 16, alive_share=1.0, perception=perception)
    args = state, condition, 4, seeds, (2, 4)
    wanted, wanted_gradients = with_gradients(nca.rollout, nca, *args)
    monkeypatch.setattr(compiled, "block_size", lambda _: block)
    frames, gradients = with_gradients(nca.rollout, nca, *args)
    assert_close(frames, wanted, 1e-12, "frames")
    assert gradients.keys() == wanted_gradients.keys()
    for name, gradient in gradients.items():
        assert_close(gradient, wanted_gradients[name], 1e-12, name)


def test_without_openblas_the_result_is_the_same(monkeypatch):
    nca, state, condition, seeds = example(2, 16, alive_share=1.0)
    wanted = with_gradients(nca.rollout, nca, state, condition, 4, seeds, (2, 4))
    monkeypatch.setattr(compiled, "blas", none_found)
    monkeypatch.setattr(compiled, "ALONE", 20 * 18 * 5)
    assert compiled.block_size(20 * 18) == 5
    frames, gradients = with_gradients(nca.rollout, nca, state, condition, 4, seeds, (2, 4))
    assert_close(frames, wanted[0], 1e-12, "frames")
    assert_close(gradients["condition"], wanted[1]["condition"], 1e-12, "condition")


def blas_threads():
    return {library.num_threads for library in compiled.blas().lib_controllers}


@pytest.mark.skipif(not len(compiled.blas()), reason="no OpenBLAS here")
@pytest.mark.parametrize(("n", "batch", "steps"), [(1, 3, 99), (2, 3, 1), (2, 3, 99)])
def test_each_sample_multiplies_alone_and_afterwards_all_is_as_before(threads, n, batch, steps):
    threads(n)
    with compiled.blas().limit(limits=2):
        found = compiled.each_sample(lambda s: (s, blas_threads()), batch, steps)
        assert found == [(s, {1}) for s in range(batch)]
        assert blas_threads() == {2}
        with pytest.raises(ZeroDivisionError):
            compiled.each_sample(lambda s: 1 / s, batch, steps)
        assert blas_threads() == {2}


@pytest.mark.skipif(not len(compiled.blas()), reason="no OpenBLAS here")
def test_the_result_does_not_depend_on_the_threads_of_blas(threads):
    """To the bit, however many threads were asked for outside, and of us."""
    large = {"channels": 16, "hidden": 96, "perception": "patch"}
    nca, state, condition, seeds = example(3, 24, alive_share=1.0, dtype=torch.float32, **large)
    results = []
    for ours, of_blas in ((1, 1), (1, 2), (2, 1), (2, 2)):
        threads(ours)
        with compiled.blas().limit(limits=of_blas):
            args = state, condition, 30, seeds, (15, 30)
            frames, gradients = with_gradients(nca.rollout, nca, *args)
            results.append([frames, *gradients.values()])
    for result in results[1:]:
        assert all(map(torch.equal, result, results[0]))


# --- processes, memory, the way back


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_threads_start_anew_in_a_forked_process(threads):
    threads(2)
    _, state, _, seeds = example(8, 9, dtype=torch.float32)
    weights = Weights(torch.rand(4, 18), torch.rand(8, 4), torch.rand(6, 4) / 100)

    def rollout():
        return compiled_rollout(state, weights, seeds, plan(20, (20,)))

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
    nca, state, condition, seeds = example()
    strided = state.transpose(2, 3).contiguous().transpose(2, 3)
    kept = strided.clone()
    whole = nca.rollout(strided, condition, 6, seeds, (2, 6))
    assert torch.equal(strided, kept)
    assert not strided.is_contiguous()
    assert torch.equal(whole, nca.rollout(state, condition, 6, seeds, (2, 6)))
    half = nca.rollout(whole[0], condition, 4, torch.stack([seeds, seeds], 1)[:, 0], first_step=2)
    assert torch.equal(half[-1], whole[-1])


def test_the_way_back_can_be_taken_twice():
    nca, state, condition, seeds = example()
    state.requires_grad_()
    frames = nca.rollout(state, condition, 5, seeds)
    first, second = (
        torch.autograd.grad(frames.square().sum(), state, retain_graph=True)[0] for _ in range(2)
    )
    assert torch.equal(first, second)


@pytest.mark.parametrize("poison", [float("nan"), float("inf"), -float("inf")])
def test_numbers_out_of_range_stay_visible(poison):
    nca, state, condition, seeds = example(alive_share=0.3)
    state[0, 2, 5, 5] = state[1, 1, 3, 3] = poison
    args = state, condition, 6, seeds, (1, 2, 6)
    frames = nca.rollout(*args)
    torch.testing.assert_close(frames, nca.rollout(*args, engine="sparse"), equal_nan=True)
    assert not frames[-1].isfinite().all()
    nca.output.weight.data[0, 0] = float("nan")
    frames, gradients = with_gradients(nca.rollout, nca, *example()[1:3], 6, seeds, (6,))
    assert frames.isnan().any()
    assert gradients["state"].isnan().any()


def test_without_gradients_nothing_is_kept():
    nca, state, condition, seeds = example(1, 12, dtype=torch.float32)
    weights = nca.hidden.weight.t(), nca.from_condition(condition), nca.output.weight.t()
    arrays = [compiled.as_array(w) for w in weights]
    frames = torch.empty(1, *state.shape).numpy()
    settings, block = compiled.settings_of(plan(1, (1,)), 6, frames.dtype), compiled.block_size(360)
    for keep in (False, True):
        _, cells, values, marks = compiled.forward(
            0, state.numpy(), *arrays, seeds.numpy(), 2000, torch.tensor([2000]).numpy(), 0,
            settings, block, keep, frames,
        )  # fmt: skip
        assert (len(cells) > 0, values.nbytes > 0, len(marks) > 0) == (keep, keep, keep)
    with torch.no_grad():
        assert nca.rollout(state, condition, 3, seeds).grad_fn is None


SAY = "from nca_lib.rollout import compiled; print(*compiled.available())"


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
    assert python("import sys, nca_lib, nca_lib.model; print('numba' in sys.modules)") == "False\n"


@pytest.mark.parametrize("mode", ["inference_mode", "no_grad"])
def test_the_self_test_works_whatever_the_gradient_mode(mode):
    """Found in `nca evaluate`, whose first rollout is in inference mode: the self-test failed."""
    code = "import torch; from nca_lib.rollout import compiled\n"
    code += f"with torch.{mode}(): compiled.available()"
    code += "\nprint(compiled.available())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("(True"), done.stdout


STATES = """
import torch
torch.manual_seed(0)
from nca_lib.model import NCA
from nca_lib.rollout.kept import cache_folder
from nca_lib.spec import MNIST
model = NCA(MNIST, channels=6, hidden=20, label_dim=3, style_dim=2)
torch.nn.init.normal_(model.hidden.weight, std=0.1)
torch.nn.init.normal_(model.output.weight, std=0.1)
state, condition = torch.rand(2, 6, 12, 12), torch.randn(2, 5)
state[:, 1] -= 0.3
dense, frames = (model(state, condition, 6, engine=engine) for engine in ("dense", "compiled"))
print((frames - dense).abs().max().item(), frames.abs().sum().item(), cache_folder().name)
"""


@pytest.mark.slow
def test_a_changed_constant_or_function_changes_what_is_compiled(tmp_path):
    """Found by changing ALIVE_THRESHOLD to 0.3: the cache went on with the old sources."""
    shutil.copytree(Path(nca_lib.__file__).parent, tmp_path / "nca_lib",
                    ignore=shutil.ignore_patterns("weights", "sample", "__pycache__"))  # fmt: skip
    cache = tmp_path / "cache"
    cache.mkdir()

    def states():
        done = subprocess.run(
            [sys.executable, "-c", STATES],
            cwd=tmp_path, check=True, capture_output=True, text=True,
            env=os.environ | {"NUMBA_CACHE_DIR": str(cache), "PYTHONPATH": str(tmp_path)},
        )  # fmt: skip
        off, total, folder = done.stdout.split()
        return float(off), float(total), folder

    def change(file, old, new):
        text = (tmp_path / "nca_lib" / file).read_text()
        assert old in text
        (tmp_path / "nca_lib" / file).write_text(text.replace(old, new))

    off, before, folder = states()
    assert off < 1e-5
    assert states() == (off, before, folder)  # warm
    change("state.py", "ALIVE_THRESHOLD = 0.1", "ALIVE_THRESHOLD = 0.3")
    off, after, same = states()
    assert off < 1e-5
    assert after != before
    assert same == folder  # an argument of the kernels: nothing is compiled anew
    change("rollout/fire.py", "GOLDEN = 0x9E3779B9", "GOLDEN = 0x9E3779B1")
    off, then, other = states()
    assert off < 1e-5
    assert then != after
    assert other != folder
    change("rollout/compiled.py", "row[j] = zero if v <= zero else v", "row[j] = v")
    assert states()[0] > 1e-3  # no ReLU any more


GROW = """
import sys, torch
from nca_lib.model import NCA
from nca_lib.rollout.kept import cache_folder, is_kept
from nca_lib.spec import MNIST
model = NCA(MNIST, channels=6, hidden=20, label_dim=3).to(getattr(torch, sys.argv[1]))
frames = model(model.seed(2), model.condition([1, 2]), 6, engine="compiled")
frames.sum().backward()
print(frames.abs().sum().item(), is_kept(), cache_folder())
"""
COMPILES = "compiling the fast rollout, half a minute\n"
FULL = """
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (200, 200))
"""  # a limit on file sizes stands in for a full disk


def grow(where, dtype="float32", before=""):
    """What a new process prints that keeps its kernels in a folder, and what it warns of."""
    done = subprocess.run(
        [sys.executable, "-c", before + GROW, dtype], capture_output=True, text=True, check=True,
        env=os.environ | {"NUMBA_CACHE_DIR": str(where), "PYTHONDONTWRITEBYTECODE": "1"},
    )  # fmt: skip
    return done.stdout.split(), done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("problem", ["full", "forbidden"])
def test_a_cache_that_cannot_be_written_costs_the_cache_only(tmp_path, problem):
    """A file stands where a folder should."""
    pytest.importorskip("resource")
    where = tmp_path / "cache"
    if problem == "forbidden":
        where.write_text("in the way")
    printed, warned = grow(where, before=FULL if problem == "full" else "")
    assert printed[1] == "False"
    assert COMPILES in warned
    assert re.search(r"can't be kept in .*every process compiles them anew", warned)


@pytest.mark.slow
def test_damaged_kernels_are_compiled_anew_and_good_ones_used_where_nobody_may_write(tmp_path):
    """Found with torn files: float32 was slow for good, without a word; float64 did not run."""
    for dtype, ending in (("float32", "nbi"), ("float64", "nbc")):
        whole, warned = grow(tmp_path, dtype)
        assert (whole[1], COMPILES in warned, "damaged" in warned) == ("True", True, False)
        assert grow(tmp_path, dtype) == (whole, "")
        for path in Path(whole[2]).glob(f"*.{ending}"):
            path.write_bytes(b"" if ending == "nbi" else path.read_bytes()[:99])
        printed, warned = grow(tmp_path, dtype)
        assert printed == whole
        assert COMPILES in warned
        assert "are damaged (" in warned
        assert grow(tmp_path, dtype) == (whole, "")
    # as on a disk that can't be written: the compiled kernels are there, and nothing new fits
    assert grow(tmp_path, "float32", FULL) == (grow(tmp_path, "float32")[0], "")
