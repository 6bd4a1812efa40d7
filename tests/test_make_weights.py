"""tools/make_weights.py makes all that is shipped: here from few pictures, in seconds."""

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
import make_weights as tool  # noqa: E402

FULL = PRESETS["full"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with `runs` and, shipped, `all`; every step was run in this process."""
    folder, whole, ran = tmp_path_factory.mktemp("weights"), mnist("embedded"), []
    parts = {name: getattr(whole, name).limit(160) for name in ("train", "validation", "test")}
    arguments = Namespace(out=folder / "runs", ship=folder / "all", data_root=None, miniature=True)

    def call(command, **_):
        ran.append(command[command.index("--step") + 1])
        tool.run_step(ran[-1], arguments)
        return 0

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tool, "load_data", lambda *_: replace(whole, **parts))
        patch.setattr(tool.subprocess, "call", call)
        for lanes in tool.STAGES * 2:  # the second time everything is finished
            for lane in lanes:
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
        assert (model.config, model.task, model.metadata["iteration"]) == (*expected, 4), name
        digits = [int(name[-1])] if name.startswith("digit") else list(range(10))
        assert model.trained_labels == digits
    for seed, name in enumerate(("classifier", "perceptual")):
        assert load_classifier(made / "all" / f"{name}.safetensors").metadata["seed"] == seed
    assert load_decoder(made / "all" / "decoder.safetensors").metadata["style_dim"] == 32
    shipped = {path.name for path in (ROOT / "nca_lib" / "weights").iterdir()}
    assert shipped == {path.name for path in (made / "all").iterdir()}


def test_the_unified_model_starts_as_the_mean_and_uses_the_new_perceptual_network(made):
    model = load(made / "runs" / "unified" / "unified.safetensors")
    ten = [load(path).metadata for path in tool.files_of("digits", made / "runs")]
    assert model.metadata["init_from"] == {"merge": "mean", "sha256": [m["sha256"] for m in ten]}
    new = model.metadata["perceptual_sha256"]
    assert {m["perceptual_sha256"] for m in ten} == {new}
    assert new != load("unified").metadata.get("perceptual_sha256")
    half = load(made / "all" / "unified.safetensors").state_dict()
    assert all(torch.equal(half[n], t.half().float()) for n, t in model.state_dict().items())


@pytest.mark.parametrize(("card", "step"), [("unified", "unified"), ("networks", "decoder")])
def test_cards_say_how_their_files_were_made(made, card, step):
    text = (made / "all" / f"{card}.md").read_text()
    lines = text.split(f"<!-- made {step} -->\n")[1].split(f"<!-- /made {step} -->")[0]
    assert f"`python tools/make_weights.py --step {step}`" in lines
    assert ("| 4 iterations of 4 samples" in lines) == (step == "unified")
