"""The command line: what it writes, and that bad input ends in one line and exit code 2."""

import contextlib
import io
import json
import os
import resource
import signal
import subprocess
import sys

import pytest
import torch
from safetensors.torch import save_file

from nca_lib.__main__ import main
from nca_lib.checkpoints import RULE, load, read_tensors, save_rule, write_tensors
from nca_lib.pretraining import initial_rule
from nca_lib.rule import RuleConfig

RECORD = {"training": {"task": "grow", "loss_steps": [4, 6]}}


def in_own_process(arguments, **kwargs):
    done = subprocess.run(
        [sys.executable, "-m", "nca_lib", *arguments],
        capture_output=True, text=True, env=os.environ, check=False, **kwargs,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


def in_this_process(arguments):
    """The same without the seconds of start-up: what most tests do."""
    out, err = io.StringIO(), io.StringIO()
    old = sys.argv, {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)}
    sys.argv = ["nca", *arguments]
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main()
    except SystemExit as end:
        return end.code or 0, out.getvalue(), err.getvalue()
    finally:
        sys.argv = old[0]
        for number, handler in old[1].items():
            signal.signal(number, handler)
    raise AssertionError("a command ends by exiting")


def nca(*arguments, code=0, own_process=False, **kwargs):
    """Run the command; returns its output, or its errors where they are expected."""
    arguments = [str(a) for a in arguments]
    if own_process:
        returned, out, err = in_own_process(arguments, **kwargs)
    else:
        returned, out, err = in_this_process(arguments)
    assert returned == code, err + out
    return out if code == 0 else err


@pytest.fixture(autouse=True)
def only_the_options(monkeypatch):
    monkeypatch.delenv("NCA_DATA", raising=False)


def fails(message, *arguments, **kwargs):
    error = nca(*arguments, code=2, **kwargs)
    lines = [line for line in error.splitlines() if line.startswith("nca: ")]
    assert len(lines) == 1, error
    assert message in lines[0]
    assert "Traceback" not in error


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    torch.manual_seed(0)
    rule = initial_rule(RuleConfig(channels=6, hidden=16, label_dim=4, style_dim=3), 0)
    torch.nn.init.normal_(rule.update.weight, std=0.05)
    path = tmp_path_factory.mktemp("rule") / "unified.safetensors"
    save_rule(path, rule, RECORD)
    return path


@pytest.mark.parametrize("command", ["pretrain", "finetune", "restore", "evaluate", "grow", "run"])
def test_help(command):
    text = nca(command, "--help")
    assert "--seed" in text
    assert "--device" in text


def test_train_evaluate_grow(tmp_path):
    small = ("--iterations", 2, "--batch-size", 2, "--steps", 4, "--hidden", 8, "--out", tmp_path)
    nca("finetune", "--merge", "scratch", *small)
    nca("finetune", "--from", tmp_path / "unified.safetensors", *small[:6], "--hidden", 12,
        "--out", tmp_path / "wider")  # fmt: skip
    assert load(tmp_path / "wider" / "unified.safetensors").config.hidden == 12
    nca("restore", *small)
    out = nca("evaluate", "--weights", tmp_path / "unified.safetensors", "--limit", 100,
              "--json", tmp_path / "m.json", "--figures", tmp_path / "figures")  # fmt: skip
    assert "class pca" in out
    results = json.loads((tmp_path / "m.json").read_text())
    wanted = {"n", "pixel_accuracy", "ink_iou", "mse", "psnr", "ssim", "judge_accuracy"}
    wanted |= {"baselines", "persistence", "regeneration", "samples", "weights", "seed"}
    assert wanted <= results.keys()
    assert results["n"] == 100
    rows = {"black", "class_mean", "blur_threshold", "linear_deblur", "class_pca"}
    assert results["baselines"].keys() == rows
    assert {"judge_accuracy", "fid", "coverage"} <= results["samples"].keys()
    first = sorted(p.name for p in (tmp_path / "figures").iterdir())[0]
    assert first == "01_originals_and_grown.png"
    for suffix in ("gif", "png"):
        nca("grow", 3, "--out", tmp_path / f"three.{suffix}",
            "--weights", tmp_path / "unified.safetensors")  # fmt: skip
        assert (tmp_path / f"three.{suffix}").stat().st_size > 500
    fails("restores blurred pictures", "grow", 3, "--out", tmp_path / "x.gif",
          "--weights", tmp_path / "restore.safetensors")  # fmt: skip


def test_bad_options(tmp_path, weights):
    grow = ("grow", "--weights", weights, "--out", tmp_path / "x.gif")
    fails("label 10 is not a digit", *grow, 10)
    fails("label -1 is not a digit", *grow, "--", -1)
    fails("steps is 0", *grow, 3, "--steps", 0)
    fails("steps is 0", "finetune", "--merge", "scratch", "--steps", 0, "--out", tmp_path)
    fails("must end in .png", "grow", 3, "--weights", weights, "--out", tmp_path / "x.jpg")
    fails("no MNIST in", "evaluate", "--weights", weights, "--data-root", tmp_path)
    fails("choose test or validation", "evaluate", "--weights", weights, "--split", "train")
    fails("at least 1 picture", "evaluate", "--weights", weights, "--limit", 0)
    fails("the settings are task, iterations", "finetune", "--set", "damage=1", "--out", tmp_path)
    fails("damage_share is float", "restore", "--set", "damage_share=x", "--out", tmp_path)
    fails("it is a share", "restore", "--set", "damage_share=2", "--out", tmp_path)
    fails("no checkpoint at", "finetune", "--out", tmp_path / "empty")
    fails("label 10 is not a digit", *grow, 10, own_process=True)
    assert not (tmp_path / "x.gif").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_cuda_where_there_is_none(tmp_path, weights):
    fails("finds no GPU", "evaluate", "--weights", weights, "--device", "cuda")


def test_outputs_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("in the way")
    fails("can't write", "finetune", "--merge", "scratch", "--iterations", 1, "--batch-size", 1,
          "--out", tmp_path / "file" / "runs")  # fmt: skip


def test_a_full_disk_loses_nothing(tmp_path, weights):
    """A limit on file sizes stands in for a full disk: the write fails half way."""
    grow = ("grow", 3, "--weights", weights, "--out", tmp_path / "x.gif")
    nca(*grow)
    before = (tmp_path / "x.gif").read_bytes()

    def limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (200, 200))

    fails("can't write", *grow, "--seed", 1, own_process=True, preexec_fn=limit)
    assert (tmp_path / "x.gif").read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["x.gif"]


def test_a_rule_can_be_trained_further(tmp_path, weights):
    nca("finetune", "--from", weights, "--iterations", 1, "--batch-size", 2, "--steps", 2,
        "--set", "loss_weights=[1, 2]", "--set", "loss_steps=[1, 2]", "--set", "damage_share=0.5",
        "--out", tmp_path)  # fmt: skip
    rule = load(tmp_path / "unified.safetensors")
    assert rule.config == load(weights).config
    assert rule.record["training"]["loss_weights"] == [1, 2]
    assert rule.record["training"]["damage_share"] == 0.5


def test_resume_with_other_options(tmp_path):
    common = ("finetune", "--merge", "scratch", "--iterations", 2, "--steps", 2, "--hidden", 8)
    nca(*common, "--batch-size", 2, "--out", tmp_path)
    fails("batch_size = 2, now it is 3", *common, "--batch-size", 3, "--out", tmp_path, "--resume")
    fails("exists: continue it with --resume", *common, "--batch-size", 2, "--out", tmp_path)


def break_file(path, how):
    tensors, metadata = read_tensors(path, RULE)
    target = path.with_name("broken.safetensors")
    name = "update.weight"
    if how == "truncated":
        target.write_bytes(path.read_bytes()[:-100])
        return target
    if how == "pickle":
        torch.save(tensors, target)
        return target
    if how == "foreign":
        save_file(tensors, target)
        return target
    if how == "missing":
        del tensors[name]
    elif how == "extra":
        tensors["more"] = torch.zeros(1)
    elif how == "nan":
        tensors[name][0, 0] = float("nan")
    elif how == "shape":
        tensors[name] = tensors[name].T
    elif how == "setting":
        metadata["config"]["colour"] = 1
    write_tensors(target, "nca_lib judge" if how == "kind" else RULE, tensors, **metadata)
    if how == "version":
        target.write_bytes(target.read_bytes().replace(b'"version":"1"', b'"version":"9"'))
    return target


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("truncated", "damaged"),
        ("pickle", "is a pickle"),
        ("foreign", "wanted was 'nca_lib rule'"),
        ("kind", "holds 'nca_lib judge'"),
        ("missing", "'update.weight' is missing"),
        ("extra", "unexpected tensor 'more'"),
        ("nan", "holds NaN"),
        ("shape", "has shape [16, 6]"),
        ("setting", "unknown setting 'colour'"),
        ("version", "has version 9"),
    ],
)
def test_broken_checkpoints(weights, how, message):
    path = break_file(weights, how)
    from nca_lib.errors import InputError

    with pytest.raises(InputError) as error:
        load(path)
    assert message in str(error.value)


def test_a_broken_checkpoint_on_the_command_line(weights, tmp_path):
    broken = break_file(weights, "truncated")
    fails("damaged", "grow", 3, "--weights", broken, "--out", tmp_path / "x.gif")


def test_a_checkpoint_comes_back_as_it_was(weights):
    rule = load(weights)
    assert rule.record["training"] == RECORD["training"]
    assert len(rule.record["sha256"]) == 64
    assert not rule.training
