"""What researchers bring along: hooks, pruning, Hessians, torch.func, threads."""

from concurrent.futures import ThreadPoolExecutor
from threading import Event

from nca_lib.inputs import InputError
from nca_lib.model import NCA
from nca_lib.rollout import compiled
from nca_lib.spec import ImageSpec

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune

SPEC = ImageSpec(("a", "b"), 1, (9, 9))
FAST = [
    "sparse",
    pytest.param("compiled", marks=pytest.mark.skipif(bool(compiled.IMPORT_PROBLEM), reason="no")),
]
pytestmark = pytest.mark.filterwarnings("ignore:.*rollouts take the dense step")


def lively(dtype=torch.float64):
    torch.manual_seed(0)
    model = NCA(SPEC, channels=6, hidden=12, label_dim=3)
    nn.init.normal_(model.output.weight, std=0.1)
    return model.to(dtype)


def loss_of(model, state, engine="auto"):
    frames = model.rollout(state, model.condition([0, 1]), 6, 3, (3, 6), engine=engine)
    return frames.square().mean()


# ---- derivatives


@pytest.mark.parametrize("engine", FAST)
@pytest.mark.parametrize("linear", [True, False])
def test_second_derivatives_are_refused_by_the_fast_engines(engine, linear):
    """A loss that is linear in the states does not hide that a second derivative is wanted."""
    model = lively()
    state = torch.rand(2, 6, 9, 9, dtype=torch.float64)
    last = model(state, model.condition([0, 1]), 6, 3, engine)
    loss = last.sum() if linear else last.square().sum()
    with pytest.raises(InputError, match="second derivatives of a rollout want engine='dense'"):
        torch.autograd.grad(loss, list(model.parameters()), create_graph=True, allow_unused=True)


def test_the_dense_engine_has_second_derivatives():
    model = lively()
    state = torch.rand(2, 6, 9, 9, dtype=torch.float64)
    towards = torch.randn(state.shape, dtype=torch.float64)

    def loss(state):
        return loss_of(model, state, "dense")

    _, product = torch.autograd.functional.hvp(loss, state, towards)
    step = 1e-5
    slopes = [
        torch.autograd.functional.vjp(loss, state + sign * step * towards)[1] for sign in (1, -1)
    ]
    torch.testing.assert_close(product, (slopes[0] - slopes[1]) / (2 * step), rtol=1e-4, atol=1e-9)
    assert product.abs().max() > 1e-4


@pytest.mark.parametrize("transform", ["grad", "vmap", "jacrev"])
def test_torch_func_takes_the_dense_step(transform):
    model, state = lively(), torch.rand(2, 6, 9, 9, dtype=torch.float64)
    names = [name for name, _ in model.named_parameters()]
    values = [value.detach() for value in model.parameters()]
    condition = model.condition([0, 1]).detach()

    def last(values, state, engine="auto"):
        given = dict(zip(names, values, strict=True))
        return torch.func.functional_call(model, given, (state, condition, 4, 3, engine))

    if transform == "grad":
        given = torch.func.grad(lambda v: last(v, state).square().sum())(values)
        wanted = torch.autograd.grad(
            loss := last(values := [v.requires_grad_() for v in values], state).square().sum(),
            values,
            allow_unused=True,
        )
        assert loss > 0
        for one, other in zip(given, wanted, strict=True):
            torch.testing.assert_close(one, torch.zeros_like(one) if other is None else other)
    elif transform == "vmap":
        batch = torch.rand(3, *state.shape, dtype=torch.float64)
        given = torch.func.vmap(lambda s: last(values, s))(batch)
        wanted = torch.stack([last(values, s, "dense") for s in batch])
        torch.testing.assert_close(given, wanted)
    else:
        given = torch.func.jacrev(lambda s: last(values, s).sum((0, 2, 3)))(state)
        wanted = torch.autograd.functional.jacobian(lambda s: last(values, s).sum((0, 2, 3)), state)
        torch.testing.assert_close(given, wanted)


# ---- hooks and layers of another make


def double(module, given, output=None):
    return tuple(2 * x for x in given) if output is None else 2 * output


ADDED = {
    "forward hook": lambda m: m.hidden.register_forward_hook(double),
    "hook before": lambda m: m.from_condition.register_forward_pre_hook(double),
    "backward hook": lambda m: m.output.register_full_backward_hook(lambda *_: None),
    "hook before the way back": lambda m: m.output.register_full_backward_pre_hook(lambda *_: None),
    "pruning": lambda m: prune.l1_unstructured(m.hidden, "weight", amount=0.5),
    "weight norm": lambda m: parametrizations.weight_norm(m.output),
    "spectral norm": lambda m: parametrizations.spectral_norm(m.hidden),
    "orthogonal": lambda m: parametrizations.orthogonal(m.from_condition),
    "layers in a row": lambda m: setattr(m, "hidden", nn.Sequential(m.hidden, nn.Identity())),
}


@pytest.mark.parametrize("added", ADDED)
def test_layers_with_something_added_are_rolled_out_as_they_are(added):
    model, state = lively(), torch.rand(2, 6, 9, 9, dtype=torch.float64)
    ADDED[added](model)
    model.eval()  # spectral norm improves its estimate while it trains
    given, wanted = loss_of(model, state), loss_of(model, state, "dense")
    assert torch.equal(given, wanted)
    given.backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    with pytest.raises(InputError, match="'sparse' knows only NCA's own step"):
        loss_of(model, state, "sparse")


def test_what_a_hook_is_given_counts():
    seen, model, state = [], lively(), torch.rand(2, 6, 9, 9, dtype=torch.float64)
    plain = loss_of(model, state)
    handle = model.hidden.register_forward_hook(lambda *given: seen.append(given[2].shape))
    loss_of(model, state)
    assert seen == [(2, 9, 9, 12)] * 6  # every step
    handle.remove()
    torch.testing.assert_close(loss_of(model, state), plain)
    assert len(seen) == 6  # and the fast path again


# ---- threads


def blas_threads():
    return {library.num_threads for library in compiled.blas().lib_controllers}


@pytest.mark.skipif(bool(compiled.IMPORT_PROBLEM), reason="no compiled rollout")
@pytest.mark.skipif(not len(compiled.blas()), reason="no OpenBLAS here")
def test_blas_stays_on_one_thread_until_the_last_rollout_ends():
    inside, left = Event(), Event()

    def long(sample):
        inside.set()
        assert left.wait(60)
        return blas_threads()

    with compiled.blas().limit(limits=2), ThreadPoolExecutor(1) as pool:
        running = pool.submit(compiled.each_sample, long, 1, 1)
        assert inside.wait(60)
        assert compiled.each_sample(lambda sample: blas_threads(), 1, 1) == [{1}]
        left.set()
        assert running.result() == [{1}]
        assert blas_threads() == {2}


@pytest.mark.skipif(bool(compiled.IMPORT_PROBLEM), reason="no compiled rollout")
@pytest.mark.skipif(not len(compiled.blas()), reason="no OpenBLAS here")
def test_overlapping_rollouts_are_equal_and_leave_blas_as_it_was():
    """As in a web server: rollouts of several lengths at once, some of which fail."""
    torch.manual_seed(0)
    model = NCA(SPEC, channels=16, hidden=96, perception="patch", label_dim=3)
    nn.init.normal_(model.output.weight, std=0.05)
    state = torch.rand(2, 16, 28, 28)

    def grow(number):
        steps = 3 + number % 5
        if number % 7 == 6:
            with pytest.raises(ZeroDivisionError):
                compiled.each_sample(lambda s: 1 / 0, 1, 1)
        with torch.no_grad():
            return model(state, model.condition([0, 1]), steps, number, "compiled")

    with compiled.blas().limit(limits=2):
        alone = [grow(number) for number in range(24)]
        with ThreadPoolExecutor(6) as pool:
            together = list(pool.map(grow, range(24)))
        assert blas_threads() == {2}
    assert all(map(torch.equal, together, alone))
