"""The models that come with the package still grow, hold, heal and classify."""

import json
from importlib.resources import files

from nca_lib.checkpoint import SHIPPED, load
from nca_lib.classifier import load_classifier
from nca_lib.data import load_data
from nca_lib.evaluation.behaviour import regeneration, regrow
from nca_lib.evaluation.classifying import measure_classifying
from nca_lib.evaluation.metrics import classify, pixel_accuracy

import pytest
import torch
from safetensors import safe_open

WEIGHTS = files("nca_lib") / "weights"


def drawn_digits(model, labels):
    """Digits `[N, 1, 28, 28]` in drawn styles, after the steps of the training."""
    size, generator = model.config.style_dim, torch.Generator().manual_seed(0)
    styles = torch.randn(len(labels), size, generator=generator)
    with torch.inference_mode():
        state = model(model.seed(len(labels)), model.condition(labels, styles), model.steps)
    return state[:, :1].clamp(0, 1)


def test_unified_grows_all_digits():
    labels = torch.arange(10).repeat_interleave(20)
    read, _ = classify(load_classifier(), drawn_digits(load("unified"), labels))
    assert (read == labels).double().mean() > 0.97


@pytest.mark.parametrize("digit", range(10))
def test_each_digit_model_grows_its_digit(digit):
    model = load(f"digit-{digit}")
    assert model.trained_labels == [digit]
    labels = torch.full((30,), digit)
    read, _ = classify(load_classifier(), drawn_digits(model, labels))
    assert (read == labels).double().mean() > 0.9


@pytest.mark.slow
def test_unified_regrows_digits_it_never_saw_holds_them_and_heals():
    digits, model = load_data("mnist", "embedded").test.limit(50), load("unified")
    steps = model.steps
    states = regrow(model, digits, (steps, 10 * steps))
    grown, later = states[:, :, :1]
    assert pixel_accuracy(grown, digits.images) > 0.978
    assert pixel_accuracy(later, digits.images) > 0.978  # and keeps them in their place
    healed = regeneration(model, digits, states[0], steps, seed=0)
    whole = healed.pop("none")  # the same digits at the same steps, undamaged
    assert len(healed) == 10
    for name, row in healed.items():
        assert row["after_damage"] < whole["before"] - 0.01, name
        for step in ("after_64_steps", "after_256_steps"):
            assert row[step] > whole[step] - 0.005, (name, step)


def test_restore_sharpens_a_blur():
    digits, model = load_data("mnist", "embedded").test.limit(100), load("restore")
    grown = regrow(model, digits, (model.steps,))[-1, :, :1]
    assert pixel_accuracy(grown, digits.images) > 0.99


def test_reader_classifies_digits_it_never_saw():
    digits = load_data("mnist", "embedded").test.limit(100)
    found = measure_classifying(load("reader"), digits)
    assert found["after_60_steps"]["cells"] > 0.93
    assert found["after_200_steps"]["cells"] > 0.93
    assert found["after_200_steps"]["agree"] > 0.8
    assert found["replaced"]["majority"] > 0.9  # a different digit, laid under the cells


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_file_is_small_knows_its_training_and_has_a_card(name):
    path = WEIGHTS / f"{name}.safetensors"
    assert path.stat().st_size <= 300_000
    with safe_open(path, "pt") as file:
        metadata = json.loads(file.metadata()["metadata"])
    assert metadata["training"]["iterations"] == metadata["iteration"]
    card = "digits" if name.startswith("digit") else name
    text = (WEIGHTS / f"{card}.md").read_text()
    assert "| command | `" in text  # that makes it again
    assert load(name).parameter_count <= (25_000 if name == "reader" else 60_000)
