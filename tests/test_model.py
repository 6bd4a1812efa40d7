"""The model: configuration, natural forms, engines, parts of one's own, and what bad input gets."""

import copy
import warnings

from nca_lib.inputs import InputError
from nca_lib.masks import half_plane
from nca_lib.model import NCA, ModelConfig, perception_kernels
from nca_lib.rollout import COMPILED_UP_TO, Weights, compiled_is_faster
from nca_lib.rollout import plan as planning
from nca_lib.rollout.fire import SEEDS, rng_seeds
from nca_lib.spec import MNIST, ImageSpec

import numpy as np
import pytest
import torch

PETS = ImageSpec(("cat", "dog", "newt"), channels=4, size=(12, 17))


def lively(spec=MNIST, **settings):
    """A small model with random parameters: something happens."""
    torch.manual_seed(0)
    model = NCA(spec, **{"channels": 9, "hidden": 12, "label_dim": 3} | settings)
    torch.nn.init.normal_(model.output.weight, std=0.05)
    return model


def test_sobel_sees_gradients():
    ramp = torch.arange(5.0).repeat(5, 1)[None, None]
    seen = torch.nn.functional.conv2d(ramp, perception_kernels("sobel"))[0, :, 1, 1]
    assert seen.tolist() == [2.0, 1.0, 0.0]  # itself, one per cell across, level down


def test_a_config_or_its_fields():
    config = ModelConfig(channels=9, hidden=12, label_dim=3)
    assert NCA(MNIST, config).config == NCA(MNIST, channels=9, hidden=12, label_dim=3).config
    with pytest.raises(InputError, match=r"^give a ModelConfig or keywords, not both \(hidden\)$"):
        NCA(MNIST, config, hidden=3)
    with pytest.raises(InputError, match=r"^NCA has no setting 'width': choose from channels, hid"):
        NCA(MNIST, width=3)
    with pytest.raises(InputError, match=r"^spec is int: give an ImageSpec, such as data.spec$"):
        NCA(16)
    with pytest.raises(InputError, match=r"^channels is 4: 4 of ink and an alive one"):
        NCA(PETS, channels=4)
    with pytest.raises(InputError, match=r"^kernels have shape \[2, 3, 3\]: want \[K, 1, 3, 3\]$"):
        NCA(MNIST, kernels=torch.zeros(2, 3, 3))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fire_rate": 0.0}, "fire_rate is 0.0"),
        ({"channels": 1}, "channels is 1"),
        ({"channels": 2.5}, "channels is 2.5: give a whole number"),
        ({"style_dim": -1}, "style_dim is -1"),
        ({"perception": "eye"}, "perception is 'eye': choose 'sobel' or 'patch'"),
        ({"frozen": (16,)}, "frozen channel 16: they go from 0 to 15"),
        ({"frozen": (0.5,)}, "a frozen channel is 0.5"),
    ],
)
def test_configuration_says_what_is_wrong(change, message):
    with pytest.raises(InputError, match=message):
        ModelConfig(**change)


def test_parameters_are_counted():
    model = NCA(MNIST, channels=9, hidden=12, label_dim=3, style_dim=2)
    own = 12 * 27 + 12 + 12 * 5 + 9 * 12 + 10 * 3
    assert model.parameter_count == own
    assert sum(p.numel() for p in model.encoder.parameters()) > 0


def test_an_untrained_model_changes_nothing_that_lives():
    model = NCA(MNIST, channels=16, hidden=8)
    state = model.seed(2)
    assert torch.equal(model(state, model.condition([1, 2]), steps=5), state)


# ---- what a rollout is given


def arguments(**changes):
    given = {"state": torch.zeros(2, 16, 8, 8), "condition": torch.zeros(2, 16), "steps": 4}
    return given | changes


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 0}, "steps is 0: give a whole number of at least 1"),
        ({"steps": 2.0}, "steps is 2.0: give a whole number"),
        ({"record_steps": (0, 2)}, "from 1 to"),
        ({"record_steps": (2, 1)}, "increasing"),
        ({"record_steps": (1.5, 4)}, "a step to record is 1.5: give a whole number"),
        ({"record_steps": ()}, "increasing"),
        ({"record_steps": 5}, "from 1 to 4"),
        ({"first_step": -1}, "first_step is -1"),
        ({"state": torch.zeros(2, 5, 8, 8)}, "state has shape"),
        ({"state": torch.zeros(2, 16, 0, 8)}, "state has shape"),
        ({"condition": torch.zeros(2, 3)}, "condition has shape"),
        ({"condition": torch.zeros(3, 16)}, "condition has shape"),
        ({"condition": None}, "this model needs condition"),
        ({"rng_seeds": torch.zeros(2)}, "rng_seeds: want whole numbers"),
        ({"rng_seeds": [1, 2, 3]}, "rng_seeds: want whole numbers"),
        ({"rng_seeds": torch.tensor([1, -1])}, "rng_seeds: want whole numbers"),
        ({"rng_seeds": -1}, "seed is -1"),
        ({"rng_seeds": SEEDS}, f"from 0 to {SEEDS - 1}"),
        ({"rng_seeds": "a"}, "rng_seeds"),
        ({"state": torch.zeros(2, 16, 8, 8).double()}, "state is torch.float64 on cpu, the model"),
        ({"condition": torch.zeros(2, 16).half()}, "condition is torch.float16 on cpu, the model"),
        ({"engine": "fast"}, "engine is 'fast': choose one of auto, dense"),
        ({"engine": "graph"}, "engine 'graph' replays a CUDA graph"),
    ],
)
def test_rollout_says_what_is_wrong(change, message):
    with pytest.raises(InputError, match=message):
        NCA(MNIST).rollout(**arguments(**change))


def test_other_wrong_use_of_a_model():
    with torch.autocast("cpu"), pytest.raises(InputError, match="outside autocast"):
        NCA(MNIST).rollout(**arguments())
    with pytest.raises(InputError, match="this model takes no condition"):
        NCA(MNIST, label_dim=0).rollout(**arguments())
    with pytest.raises(InputError, match="this model has no styles"):
        NCA(MNIST).redraw(torch.zeros(28, 28), 3)


def test_natural_forms_are_accepted():
    model = lively(channels=6, style_dim=2)
    three = model.condition(torch.tensor([3]))
    for labels in (3, "3", [3], ["3"], np.int8(3), np.array([3], np.uint8), torch.tensor(3)):
        assert torch.equal(model.condition(labels), three)
    style = [0.5, -1.0]
    wanted = model.condition(3, torch.tensor([style]))
    for given in (style, [style], np.array(style), np.array([style], np.float32)):
        assert torch.equal(model.condition([3], given), wanted)
    state = model.seed()
    frames = model.rollout(state, three, 6, torch.tensor([0]), (6,))
    for seeds in (0, [0], np.array([0]), torch.zeros(1, dtype=torch.int32)):
        for record in (None, 6, [6], np.array([6]), torch.tensor([6]), range(6, 7), np.int64(6)):
            assert torch.equal(model.rollout(state, three, 6, seeds, record), frames)
    both = model.rollout(model.seed(2), model.condition([3, 3]), 6, 7)[-1]
    assert not torch.equal(both[0], both[1])  # each sample has its own seed
    again = model.rollout(model.seed(2), model.condition([3, 3]), 6, rng_seeds(2, 7))[-1]
    assert torch.equal(both, again)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (10, "label 10: labels go from 0 to 9"),
        ([3, -1], "label -1: labels go from 0 to 9"),
        (3.0, "want integers"),
        (True, "want integers"),
        ([[1]], r"got torch.int64 \[1, 1\]"),
        ("three", "label 'three': choose one of 0, 1, 2"),
        ([1, None], "labels: want numbers"),
        ([[1], [2, 3]], "labels: want numbers"),
    ],
)
def test_labels_of_another_form(labels, message):
    with pytest.raises(InputError, match=message):
        NCA(MNIST).condition(labels)


def test_forward_is_a_rollout_and_one_condition_serves_a_batch():
    model = lively()
    model.steps = 7
    state, condition = model.seed(4), model.condition("3")
    wanted = model.rollout(state, condition.expand(4, -1), 7, 5)[-1]
    assert torch.equal(model(state, condition, rng_seeds=5), wanted)
    assert torch.equal(model(state, condition, steps=7, rng_seeds=5, engine="auto"), wanted)
    assert wanted.shape == (4, 9, 28, 28)


def test_growth_begins_with_the_seed_and_says_what_it_shows():
    model = lively(PETS, channels=9)
    frames = model.grow(["newt", "cat"], steps=3, rng_seeds=1, at=(2, 5))
    assert frames.shape == (4, 2, 9, 12, 17)
    assert frames.spec == PETS
    assert torch.equal(frames[0], model.seed(2, at=(2, 5)))
    assert torch.equal(frames[-1], model(frames[0], model.condition([2, 0]), 3, rng_seeds=1))
    assert model.grow(0).shape[0] == 2 * model.steps + 1
    frames += 1  # no inference tensor: readers edit what they grew


# ---- engines, and parts of one's own


@pytest.mark.parametrize("perception", ["sobel", "patch"])
def test_colours_grow_alike_by_every_engine(perception):
    """The alive channel stands behind four of ink; all engines must look for it there."""
    model = lively(PETS, perception=perception)
    state, condition = model.seed(3), model.condition(["cat", "dog", "newt"])
    grown = [model(state, condition, 12, 5, e) for e in ("dense", "sparse", "compiled", "auto")]
    for other in grown[1:]:
        torch.testing.assert_close(other, grown[0], atol=1e-5, rtol=1e-5)
    assert (grown[0] != state).any()


def test_the_engine_is_chosen_by_the_size_of_the_model(monkeypatch):
    state = torch.zeros(8, 16, 9, 9)

    def fast(numbers, batch=8, learns=False):
        w = torch.zeros(1, numbers, requires_grad=learns)
        weights = Weights(w, torch.zeros(batch, 1), torch.zeros(16, 1))
        return compiled_is_faster(state[:batch], weights)

    for learns, batch, limit in (
        (True, 8, COMPILED_UP_TO["training"]),
        (False, 8, COMPILED_UP_TO["rollout"]),
        (False, 1, COMPILED_UP_TO["rollout of one sample"]),
    ):
        assert fast(limit, batch, learns)
        assert not fast(limit + 1, batch, learns)
    with torch.no_grad():
        assert fast(COMPILED_UP_TO["rollout"], 8, True)
    weights = Weights(torch.zeros(1, 1), torch.zeros(1, 1), torch.zeros(16, 1))
    assert not compiled_is_faster(state.half(), weights)
    monkeypatch.setenv("NCA_COMPILED", "0")
    assert not fast(1)
    model = lively()
    with pytest.raises(InputError, match="switched off by NCA_COMPILED=0"):
        model(model.seed(), model.condition(3), 2, engine="compiled")


class Blind(NCA):
    """Its cells see nothing but themselves."""

    def perceive(self, state):
        return state.repeat(1, 3, 1, 1)


def own(how):
    model = (Blind if how == "class" else NCA)(MNIST, channels=6, hidden=20, label_dim=5)
    torch.nn.init.normal_(model.output.weight, std=0.1)
    if how == "perceive":
        model.perceive = lambda state: NCA.perceive(model, state).flip(2)
    elif how == "step":
        model.step = lambda state, condition, fire: state * 0.5
    elif how == "layer":
        model.output = torch.nn.Sequential(torch.nn.Linear(20, 9), torch.nn.Linear(9, 6))
    elif how == "bias":
        model.output = torch.nn.Linear(20, 6)
    return model


@pytest.mark.parametrize("how", ["class", "perceive", "step", "layer", "bias"])
def test_what_leaves_the_fast_path_says_so_once(how, monkeypatch):
    """Found by users who wrote their own perception: step changed, rollout did not."""
    monkeypatch.setattr(planning, "_warned", set())
    torch.manual_seed(0)
    model, state = own(how), torch.rand(2, 6, 9, 9)
    condition = torch.randn(2, 5)
    wanted = model(state, condition, 4, engine="dense")
    with pytest.warns(UserWarning, match="layers or hooks: its rollouts take the dense step"):
        given = model(state, condition, 4)
    assert torch.equal(given, wanted)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model(state, condition, 4)
    with pytest.raises(InputError, match="'sparse' knows only NCA's own step"):
        model(state, condition, 4, engine="sparse")


def test_kernels_may_be_exchanged_or_changed_in_place():
    """Whether they are Sobel's is looked up anew only when they changed."""
    model = lively(channels=6)
    state, condition = model.seed(2), model.condition([1, 2])
    model(state, condition, 2)
    model.kernels[1] *= 2
    twice = model(state, condition, 9, engine="sparse")
    torch.testing.assert_close(twice, model(state, condition, 9, engine="dense"), atol=1e-4, rtol=0)
    model.kernels = torch.randn(3, 1, 3, 3)
    other = model(state, condition, 9, engine="sparse")
    torch.testing.assert_close(other, model(state, condition, 9, engine="dense"), atol=1e-4, rtol=0)
    assert not torch.equal(twice, other)
    blurred = NCA(MNIST, channels=6, hidden=8, kernels=torch.ones(2, 1, 3, 3) / 9)
    assert "kernels" in blurred.state_dict()
    assert "kernels" not in model.state_dict()


def test_a_copy_is_a_model_of_its_own():
    model = lively()
    again = copy.deepcopy(model)
    again.output.weight.data.zero_()
    state, condition = model.seed(), model.condition(3)
    assert not torch.equal(model(state, condition, 8), again(state, condition, 8))


def test_damage_is_regrown_by_a_rollout_that_goes_on():
    """One long rollout and two halves are the same."""
    model = lively()
    state, condition = model.seed(2), model.condition([1, 2])
    whole = model.rollout(state, condition, 10, 3, (4, 10))
    rest = model.rollout(whole[0], condition, 6, 3, first_step=4)
    assert torch.equal(rest[-1], whole[1])
    assert half_plane("left", model.spec.size).shape == whole.shape[-2:]
