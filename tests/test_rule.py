"""The rule's configuration, and what is said of bad input."""

from nca_lib.cells import seed_state
from nca_lib.errors import InputError
from nca_lib.rollout import COMPILED_UP_TO, Weights, choose_rollout
from nca_lib.rollout.fire import SEEDS, streams
from nca_lib.rollout.sparse import sparse_rollout
from nca_lib.rule import NCA, RuleConfig, perception_kernels

import numpy as np
import pytest
import torch


def test_sobel_sees_slopes():
    ramp = torch.arange(5.0).repeat(5, 1)[None, None]
    seen = torch.nn.functional.conv2d(ramp, perception_kernels("sobel"))[0, :, 1, 1]
    assert seen.tolist() == [2.0, 1.0, 0.0]  # itself, one a cell across, level down


def arguments(**changes):
    given = {
        "state": torch.zeros(2, 16, 8, 8),
        "genome": torch.zeros(2, 32),
        "steps": 4,
        "seeds": torch.zeros(2, dtype=torch.int64),
    }
    return given | changes


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 0}, "at least 1 step"),
        ({"steps": 2.0}, "steps is 2.0: give a whole number"),
        ({"record": (0, 2)}, "from 1 to"),
        ({"record": (2, 1)}, "increasing"),
        ({"record": (1.5, 4)}, "a step to record is 1.5: give a whole number"),
        ({"record": ()}, "increasing"),
        ({"record": 5}, "from 1 to 4"),
        ({"first_step": -1}, "first_step is -1"),
        ({"state": torch.zeros(2, 5, 8, 8)}, "state has shape"),
        ({"state": torch.zeros(2, 16, 0, 8)}, "state has shape"),
        ({"genome": torch.zeros(2, 3)}, "genome has shape"),
        ({"seeds": torch.zeros(2)}, "seeds: want whole numbers"),
        ({"seeds": [1, 2, 3]}, "seeds: want whole numbers"),
        ({"seeds": torch.tensor([1, -1])}, "seeds: want whole numbers"),
        ({"seeds": -1}, "seed is -1"),
        ({"seeds": SEEDS}, f"from 0 to {SEEDS - 1}"),
        ({"seeds": "a"}, "seeds"),
        ({"state": torch.zeros(2, 16, 8, 8).double()}, "state is torch.float64 on cpu, the rule"),
        ({"genome": torch.zeros(2, 32).half()}, "genome is torch.float16 on cpu, the rule"),
    ],
)
def test_rollout_says_what_is_wrong(change, message):
    with pytest.raises(InputError, match=message):
        NCA().rollout(**arguments(**change))


def test_autocast_is_refused():
    with torch.autocast("cpu"), pytest.raises(InputError, match="outside autocast"):
        NCA().rollout(**arguments())


def test_natural_forms_are_taken():
    torch.manual_seed(0)
    rule = NCA(RuleConfig(6, 8, 4, 2))
    torch.nn.init.normal_(rule.update.weight, std=0.1)
    three = rule.genome(torch.tensor([3]))
    forms = (3, [3], np.int8(3), np.array([3], np.uint8), torch.tensor(3, dtype=torch.int16))
    for labels in forms:
        assert torch.equal(rule.genome(labels), three)
    style = [0.5, -1.0]
    wanted = rule.genome(3, torch.tensor([style]))
    for given in (style, [style], np.array(style), np.array([style], np.float32)):
        assert torch.equal(rule.genome([3], given), wanted)
    state = seed_state(1, 6)
    frames = rule.rollout(state, three, 6, torch.tensor([0]), (6,))
    for seeds in (0, [0], np.array([0]), torch.zeros(1, dtype=torch.int32)):
        for record in (None, 6, [6], np.array([6]), torch.tensor([6]), range(6, 7), np.int64(6)):
            assert torch.equal(rule.rollout(state, three, 6, seeds, record), frames)
    both = rule.rollout(seed_state(2, 6), rule.genome([3, 3]), 6, 7)[-1]
    assert not torch.equal(both[0], both[1])  # a stream for each sample
    again = rule.rollout(seed_state(2, 6), rule.genome([3, 3]), 6, streams(2, 7))[-1]
    assert torch.equal(both, again)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (10, "label 10: labels go from 0 to 9"),
        ([3, -1], "label -1: labels go from 0 to 9"),
        (3.0, "want integers"),
        (True, "want integers"),
        ([[1]], r"the shape \[1, 1\]"),
        ("three", "label 'three': choose one of 0, 1, 2"),
        ([1, None], "labels: want numbers"),
        ([[1], [2, 3]], "labels: want numbers"),
    ],
)
def test_labels_of_another_kind(labels, message):
    with pytest.raises(InputError, match=message):
        NCA().genome(labels)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fire_rate": 0.0}, "fire_rate"),
        ({"channels": 1}, "channels"),
        ({"channels": 2.5}, "channels is 2.5: give a whole number"),
        ({"style_dim": -1}, "style_dim"),
        ({"perception": "eye"}, "eye"),
        ({"held": (16,)}, "held channel 16: they go from 0 to 15"),
        ({"held": (0.5,)}, "a held channel is 0.5"),
    ],
)
def test_configuration_says_what_is_wrong(change, message):
    with pytest.raises(InputError, match=message):
        RuleConfig(**change)


def test_the_faster_path_is_chosen_by_the_size_of_the_rule(monkeypatch):
    state = torch.zeros(8, 16, 9, 9)

    def chosen(numbers, batch=8, learns=False):
        w = torch.zeros(1, numbers, requires_grad=learns)
        path = choose_rollout(state[:batch], Weights(w, torch.zeros(batch, 1), torch.zeros(16, 1)))
        return path.__module__.rsplit(".", 1)[1]

    for learns, batch, limit in (
        (True, 8, COMPILED_UP_TO["training"]),
        (False, 8, COMPILED_UP_TO["rollout"]),
        (False, 1, COMPILED_UP_TO["rollout of one sample"]),
    ):
        assert chosen(limit, batch, learns) == "compiled"
        assert chosen(limit + 1, batch, learns) == "sparse"
    with torch.no_grad():
        assert chosen(COMPILED_UP_TO["rollout"], 8, True) == "compiled"
    monkeypatch.setenv("NCA_COMPILED", "0")
    assert chosen(1) == "sparse"
    weights = Weights(torch.zeros(1, 1), torch.zeros(1, 1), torch.zeros(16, 1))
    assert choose_rollout(state.half(), weights) is sparse_rollout
