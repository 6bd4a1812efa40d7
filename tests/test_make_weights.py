"""Everything that is shipped can be made from nothing: the same command, a few iterations of it."""

import os
import re
import subprocess
import sys
from pathlib import Path

from nca_lib.checkpoints import SHIPPED, load
from nca_lib.judge import critic_for, judge_for
from nca_lib.kinds import MNIST
from nca_lib.rival import load_rival
from nca_lib.training.presets import PRESETS

import pytest
import torch

FULL = PRESETS["full"]
MADE = {
    **{f"digit-{digit}": (FULL.rule, "grow") for digit in range(10)},
    "unified": (FULL.rule, "grow"),
    "restore": (FULL.restorer, "restore"),
    "reader": (FULL.reader, "read"),
}
ROOT = Path(__file__).resolve().parents[1]
TOOL = [sys.executable, str(ROOT / "tools" / "make_weights.py"), "--miniature"]


def make(folder):
    command = [*TOOL, "--data-root", "embedded", "--out", folder / "runs", "--ship", folder / "all"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    return folder, make(folder)


def test_everything_that_is_shipped_is_made(made):
    folder, _ = made[0] / "all", made[1]
    assert set(SHIPPED) <= MADE.keys()
    for name in MADE:
        rule, (config, task) = load(folder / f"{name}.safetensors"), MADE[name]
        assert rule.record["iteration"] == 4
        assert (rule.config, rule.task) == (config, task)
        assert rule.known == ([int(name[-1])] if name.startswith("digit") else list(range(10)))
    assert judge_for(MNIST, folder / "judge.safetensors").record["epochs"] == 1
    assert critic_for(MNIST, folder / "critic.safetensors").record["seed"] == 1
    assert load_rival(folder / "rival.safetensors").record["style_dim"] == 32
    shipped = {path.name for path in (ROOT / "nca_lib" / "weights").iterdir()}
    assert shipped <= {path.name for path in folder.iterdir()}


def test_the_unified_rule_begins_as_the_mean_of_the_ten_and_learns_from_the_new_critic(made):
    folder = made[0] / "runs"
    record = load(folder / "unified" / "unified.safetensors").record
    ten = [load(folder / "digits" / f"digit-{d}.safetensors").record for d in range(10)]
    assert record["start"] == {"merge": "mean", "sha256": [r["sha256"] for r in ten]}
    assert {r["critic_sha256"] for r in [record, *ten]} == {record["critic_sha256"]}
    shipped = load("unified").record.get("critic_sha256")
    assert record["critic_sha256"] != shipped


def test_what_is_shipped_is_the_training_in_half_precision(made):
    folder = made[0]
    exact = load(folder / "runs" / "unified" / "unified.safetensors").state_dict()
    half = load(folder / "all" / "unified.safetensors").state_dict()
    assert exact.keys() == half.keys()
    for name, tensor in exact.items():
        wanted = tensor.half().float() if tensor.is_floating_point() else tensor
        assert torch.equal(half[name], wanted), name
    assert any(not torch.equal(half[name], exact[name]) for name in exact)


def test_cards_are_written_from_the_record(made):
    folder = made[0] / "all"
    for card, said in {
        "unified": "nca finetune",
        "digits": "nca pretrain",
        "reader": "nca read",
    }.items():
        text = (folder / f"{card}.md").read_text()
        between = re.search(rf"<!-- made {card} -->\n(.*?)<!-- /made {card} -->", text, re.DOTALL)
        assert said in between[1]
        assert "| 4 iterations of 4 samples" in between[1]


def test_what_is_finished_is_kept(made):
    folder, first = made
    before = {path: path.stat().st_mtime_ns for path in (folder / "runs").rglob("*.safetensors")}
    assert "$ nca finetune" in first
    assert "$ nca" not in make(folder)
    assert before == {p: p.stat().st_mtime_ns for p in (folder / "runs").rglob("*.safetensors")}
