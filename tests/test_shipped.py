"""The models that come with the package still grow: loaded, grown on the CPU, read by the classifier."""

import json
from importlib.resources import files

from nca_lib.cells import INK, seed_state
from nca_lib.checkpoint import SHIPPED, load
from nca_lib.classifier import load_classifier
from nca_lib.evaluation import classify, pixel_accuracy, redraw, regeneration
from nca_lib.reading import measure_reading

import pytest
import torch
from safetensors import safe_open

WEIGHTS = files("nca_lib") / "weights"


def grow_from_the_prior(model, labels):
    """Digits `[N, 1, 28, 28]` in drawn styles, after the steps of the training."""
    styles = torch.randn(
        len(labels), model.config.style_dim, generator=torch.Generator().manual_seed(0)
    )
    with torch.inference_mode():
        state = seed_state(len(labels), model.config.channels)
        steps = model.steps
        condition = model.condition(labels, styles)
        state = model.rollout(state, condition, steps, torch.arange(len(labels)))[-1]
    return state[:, INK : INK + 1].clamp(0, 1)


def test_unified_grows_all_digits():
    labels = torch.arange(10).repeat_interleave(20)
    read, _ = classify(load_classifier(), grow_from_the_prior(load("unified"), labels))
    assert (read == labels).double().mean() > 0.95


@pytest.mark.parametrize("digit", range(10))
def test_each_digit_rule_grows_its_digit(digit):
    labels = torch.full((30,), digit)
    model = load(f"digit-{digit}")
    assert model.metadata["digits"] == [digit]
    read, _ = classify(load_classifier(), grow_from_the_prior(model, labels))
    assert (read == labels).double().mean() > 0.9


def test_unified_redraws_digits_it_never_saw():
    digits = load_digits("embedded").test.limit(100)
    model = load("unified")
    steps = model.steps
    states = redraw(model, digits, (steps, 10 * steps))
    grown, later = states[:, :, :1]
    assert pixel_accuracy(grown, digits.images) > 0.975
    assert pixel_accuracy(later, digits.images) > 0.97  # and keeps them in their place
    healed = regeneration(model, digits, states[0], steps, seed=0)
    whole = healed.pop("none")  # the same digits at the same steps, without a wound
    assert len(healed) == 10
    for name, row in healed.items():
        assert row["after_damage"] < whole["before"] - 0.01, name  # it was hurt
        for step in ("after_64_steps", "after_256_steps"):
            assert row[step] > whole[step] - 0.015, (name, step)  # and heals, and stays so


def test_restore_sharpens_a_blur():
    digits = load_digits("embedded").test.limit(100)
    model = load("restore")
    grown = redraw(model, digits, (model.steps,))[-1, :, :1]
    assert pixel_accuracy(grown, digits.images) > 0.99


def test_reader_reads_digits_it_never_saw():
    digits = load_digits("embedded").test.limit(100)
    found = measure_reading(load("reader"), digits)
    assert found["after_60_steps"]["cells"] > 0.93
    assert found["after_200_steps"]["cells"] > 0.93
    assert found["after_200_steps"]["agree"] > 0.8
    assert found["replaced"]["classify"] > 0.9  # another digit, laid under them


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_file_is_small_tells_its_training_and_has_a_card(name):
    path = WEIGHTS / f"{name}.safetensors"
    assert path.stat().st_size <= 300_000
    with safe_open(path, "pt") as file:
        record = json.loads(file.metadata()["record"])
    assert record["training"]["iterations"] == record["iteration"]
    card = "digits" if name.startswith("digit") else name
    text = (WEIGHTS / f"{card}.md").read_text()
    assert "nca " in text  # the command that makes it again
    assert load(name).parameter_count <= (25_000 if name == "reader" else 60_000)
