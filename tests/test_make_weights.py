"""tools/make_weights.py makes all that is shipped from nothing: here on few pictures, in seconds."""

import re
import sys
from argparse import Namespace
from dataclasses import replace
from pathlib import Path

from nca_lib.checkpoint import SHIPPED, load
from nca_lib.classifier import load_classifier
from nca_lib.data import mnist
from nca_lib.evaluation.decoder import load_decoder
from nca_lib.training.presets import PRESETS

import pytest
import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tools"))
import make_weights as tool

FULL = PRESETS["full"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with `runs` and, shipped, `all`; every step was run in this process."""
    folder, whole, ran = tmp_path_factory.mktemp("weights"), mnist("embedded"), []
    parts = {"train": whole.train.limit(160), "validation": whole.validation.limit(40)}
    few = replace(whole, **parts, test=whole.test.limit(40))
    arguments = Namespace(out=folder / "runs", ship=folder / "all", data_root=None, miniature=True)

    def call(command, **_):
        ran.append(command[command.index("--step") + 1])
        tool.run_step(ran[-1], arguments)
        return 0

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tool, "load_data", lambda *_: few)
        patch.setattr(tool.subprocess, "call", call)
        for _ in range(2):  # the second time everything is finished
            for lane in sum(tool.STAGES, []):
                tool.make_all(lane, 1, arguments)
        tool.ship(arguments)
    assert sorted(ran) == sorted(tool.STEPS)
    return folder


def test_everything_that_is_shipped_is_made(made):
    configs = dict.fromkeys(SHIPPED, (FULL.model, "grow"))
    configs |= {"restore": (FULL.restorer, "restore")}
    configs |= {"reader": (FULL.self_classifier, "classify")}
    for name, expected in configs.items():
        model = load(made / "all" / f"{name}.safetensors")
        assert (model.config, model.task) == expected, name
        assert (model.steps, model.metadata["iteration"]) == (5, 4)
        digits = [int(name[-1])] if name.startswith("digit") else list(range(10))
        assert model.trained_labels == digits
    assert load_classifier(made / "all" / "classifier.safetensors").metadata["seed"] == 0
    assert load_classifier(made / "all" / "perceptual.safetensors").metadata["seed"] == 1
    assert load_decoder(made / "all" / "decoder.safetensors").metadata["style_dim"] == 32
    shipped = {path.name for path in (ROOT / "nca_lib" / "weights").iterdir()}
    assert shipped == {path.name for path in (made / "all").iterdir()}


def test_the_unified_model_starts_as_the_mean_and_uses_the_new_perceptual_network(made):
    unified = load(made / "runs" / "unified" / "unified.safetensors").metadata
    ten = [load(path).metadata for path in tool.files_of("digits", made / "runs")]
    assert unified["init_from"] == {"merge": "mean", "sha256": [m["sha256"] for m in ten]}
    assert len({m["perceptual_sha256"] for m in [unified, *ten]}) == 1
    old = load("unified").metadata.get("perceptual_sha256")
    assert unified["perceptual_sha256"] != old


def test_what_is_shipped_is_the_trained_model_in_half_precision(made):
    exact = load(made / "runs" / "unified" / "unified.safetensors").state_dict()
    half = load(made / "all" / "unified.safetensors").state_dict()
    assert all(torch.equal(half[name], tensor.half().float()) for name, tensor in exact.items())
    assert any(not torch.equal(half[name], tensor) for name, tensor in exact.items())


def test_cards_say_how_their_files_were_made(made):
    for card, steps in {"unified": ["unified"], "networks": tool.NETWORKS}.items():
        text = (made / "all" / f"{card}.md").read_text()
        for step in steps:
            marks = rf"<!-- made {step} -->\n(.*?)<!-- /made {step} -->"
            lines = re.search(marks, text, re.DOTALL)[1]
            assert f"`python tools/make_weights.py --step {step}`" in lines
            assert step in tool.NETWORKS or "| 4 iterations of 4 samples" in lines
