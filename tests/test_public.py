"""The public face: one import, names that load when used, wrong use in one line."""

import subprocess
import sys

import nca_lib as nca
from nca_lib.visual import show

import pytest
import torch

QUIET = """
import os, sys
before = dict(os.environ)
import nca_lib
assert dict(os.environ) == before, "importing set an environment variable"
heavy = {"torch", "numpy", "numba", "matplotlib", "scipy"} & sys.modules.keys()
assert not heavy, heavy
assert "train" in dir(nca_lib) and "load" in nca_lib.__all__
"""


def test_importing_the_package_imports_nothing_heavy_and_changes_nothing():
    subprocess.run([sys.executable, "-c", QUIET], check=True)


@pytest.mark.parametrize("first", ["torch", "nca_lib"])
def test_no_import_order_is_demanded(first):
    second = {"torch": "nca_lib", "nca_lib": "torch"}[first]
    code = f"import {first}, {second}; m = nca_lib.load('unified'); "
    code += "print(m(m.seed(), m.condition(3)).shape)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "torch.Size([1, 20, 28, 28])\n"


def test_every_public_name_is_there():
    for name in nca.__all__:
        assert getattr(nca, name) is not None
    assert nca.show is show  # a function, also after its package was imported
    with pytest.raises(AttributeError, match="has no attribute 'grow'; it has NCA, ModelConfig"):
        nca.grow  # noqa: B018


def test_a_model_that_was_saved_without_training_keeps_its_task(tmp_path):
    """Found: `save` with empty metadata reset task and steps, which were read out of them."""
    model = nca.load("reader")
    model.metadata = {}
    model.save(tmp_path / "again.safetensors")
    again = nca.load(tmp_path / "again.safetensors")
    assert (again.task, again.steps) == ("classify", model.steps) == (model.task, 32)
    assert again.trained_labels == model.trained_labels


def test_a_class_of_ones_own_is_loaded_as_such(tmp_path):
    class Mine(nca.NCA):
        pass

    model = Mine(nca.mnist().spec, channels=4, hidden=4, kernels=torch.ones(2, 1, 3, 3))
    model.save(tmp_path / "mine.safetensors")
    again = nca.load(tmp_path / "mine.safetensors", Mine)
    assert type(again) is Mine
    assert torch.equal(again.kernels, model.kernels)
    with pytest.raises(nca.InputError, match="it is a Mine, not a NCA: give its class to load"):
        nca.load(tmp_path / "mine.safetensors")
