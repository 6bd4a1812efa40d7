"""The command line: what it writes, and that bad input ends in one line and exit code 2."""

import contextlib
import io
import json
import os
import signal
import struct
import subprocess
import sys

from nca_lib import report
from nca_lib.__main__ import main
from nca_lib.checkpoints import RULE, load, pack_tensors, read_tensors, save_rule, write_tensors
from nca_lib.plots import compare
from nca_lib.rule import RuleConfig
from nca_lib.training.pretraining import initial_rule

import pytest
import torch
from safetensors.torch import save_file

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
    """One line, whatever was wrong."""
    (line,) = nca(*arguments, code=2, **kwargs).splitlines()
    assert line.startswith("nca: ")
    assert message in line


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    torch.manual_seed(0)
    rule = initial_rule(RuleConfig(channels=6, hidden=16, label_dim=4, style_dim=3), 0)
    torch.nn.init.normal_(rule.update.weight, std=0.05)
    path = tmp_path_factory.mktemp("rule") / "unified.safetensors"
    save_rule(path, rule, RECORD)
    return path


@pytest.mark.parametrize(
    "command", ["pretrain", "finetune", "restore", "read", "evaluate", "grow", "run"]
)
def test_help(command):
    text = nca(command, "--help")
    assert "--seed" in text
    assert "--device" in text


def test_train_evaluate_grow(tmp_path):
    small = (
        "--iterations",
        2,
        "--batch-size",
        2,
        "--loss-steps",
        3,
        4,
        "--hidden",
        8,
        "--out",
        tmp_path,
    )
    nca("finetune", "--merge", "scratch", *small)
    nca("finetune", "--from", tmp_path / "unified.safetensors", *small[:7], "--hidden", 12,
        "--out", tmp_path / "wider")  # fmt: skip
    assert load(tmp_path / "wider" / "unified.safetensors").config.hidden == 12
    nca("restore", *small)
    out = nca("evaluate", "--weights", tmp_path / "unified.safetensors", "--limit", 100,
              "--json", tmp_path / "m.json", "--figures", tmp_path / "figures")  # fmt: skip
    assert "class pca" in out
    results = json.loads((tmp_path / "m.json").read_text())
    wanted = {"n", "pixel_accuracy", "ink_iou", "mse", "psnr", "ssim", "judge_accuracy"}
    wanted |= {"baselines", "persistence", "unwounded", "regeneration"}
    wanted |= {"samples", "weights", "seed"}
    assert wanted <= results.keys()
    assert results["n"] == 100
    rows = {
        "black", "class_mean", "blur_threshold", "linear_deblur", "class_pca", "conv_decoder",
    }  # fmt: skip
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


@pytest.mark.parametrize(
    ("message", "options"),
    [
        ("label 10: labels go from 0 to 9", "grow 10 --out x.gif"),
        ("label -1: labels go from 0 to 9", "grow -1 --out x.gif"),
        ("has never seen a 3", "grow 3 --weights digit-7 --out x.gif"),
        ("steps is 0", "grow 3 --steps 0 --out x.gif"),
        ("seed is -1", "grow 3 --seed -1 --out x.gif"),
        ("end it in .png", "grow 3 --out x.jpg"),
        ("Missing from nca grow", "grow 3"),
        ("no checkpoint at nowhere", "grow 3 --weights nowhere --out x.gif"),
        ("no MNIST in", "evaluate --weights unified --data-root ."),
        ("Expected one of ('test', 'validation')", "evaluate --weights unified --split train"),
        ("at least 1 picture", "evaluate --weights unified --limit 0"),
        ("seed is 268435456", "evaluate --weights unified --seed 268435456"),
        ("Unrecognized", "evaluate --weights unified --resume"),
        ("loss_steps are (0,)", "finetune --loss-steps 0"),
        ("--loss-steps", "finetune --loss-steps 1 a"),
        ("--loss-steps", "finetune --loss-steps 2.5 6"),
        ("as many loss_weights as loss_steps", "finetune --loss-weights 1 2"),
        ("--damage-share", "restore --damage-share x"),
        ("it is a share", "restore --damage-share 2"),
        ("learning_rate is -1.0", "finetune --learning-rate -1"),
        ("learning_rate is nan", "finetune --learning-rate nan"),
        ("kl_weight is inf", "finetune --kl-weight inf"),
        ("seed is 99999999999999999999", "finetune --seed 99999999999999999999"),
        ("workers is -1", "pretrain --workers -1"),
        ("no checkpoint at empty", "finetune --out empty"),
        ("--task can't take effect: use `nca restore`", "finetune --task restore"),
        ("--blurs can't take effect: use `nca restore`", "finetune --blurs box3"),
        ("--wounds", "finetune --wounds bite"),
        ("flow_iterations is -1", "finetune --flow-iterations -1"),
        ("--switch-share can't take effect", "pretrain --switch-share 0.5"),
        ("--anchor-weight can't take effect", "restore --anchor-weight 1"),
        ("--kl-weight can't take effect", "restore --kl-weight 1"),
        ("--from ten can't take effect", "finetune --merge scratch --from ten"),
        ("an anchor wants 3 channels", "finetune --merge scratch --channels 2 --anchor-weight 1"),
        ("doodle", "doodle"),
    ],
)
def test_bad_options(message, options, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fails(message, *options.split())
    assert not any(p.suffix in (".gif", ".safetensors") for p in tmp_path.rglob("*"))


def test_bad_options_in_a_process_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setenv("RANK", "")
    fails(
        "label 10: labels go from 0 to 9", "grow", 10, "--out", tmp_path / "x.gif", own_process=True
    )
    monkeypatch.setenv("WORLD_SIZE", "two")
    fails("$WORLD_SIZE is 'two'", "run", "--out", tmp_path)


def test_suffixes_in_capitals(tmp_path, weights):
    nca("grow", 3, "--weights", weights, "--out", tmp_path / "X.GIF", "--steps", 3)
    assert (tmp_path / "X.GIF").read_bytes()[:3] == b"GIF"


def test_options_that_a_start_decides(tmp_path, weights):
    """Found by comparing rules: --hidden and --style-dim of a merger did nothing."""
    for digit in range(10):
        save_rule(tmp_path / f"digit-{digit}.safetensors", load(weights), RECORD)
    start = ("finetune", "--from", tmp_path, "--out", tmp_path / "out", "--iterations", 1,
             "--batch-size", 1, "--loss-steps", 2, "--place-weight", 0)  # fmt: skip
    fails(f"--hidden can't take effect: the rules in {tmp_path}", *start, "--hidden", 64)
    fails(f"--style-dim can't take effect: the rules in {tmp_path}", *start, "--style-dim", 4)
    nca(*start, "--hidden", 16)  # as they have it
    record = load(tmp_path / "out" / "unified.safetensors").record
    assert record["start"]["merge"] == "mean"
    assert len(record["start"]["sha256"]) == 10
    one = ("finetune", "--from", weights, "--out", tmp_path / "one")
    fails("--style-dim can't take effect", *one, "--style-dim", 4)
    fails("--merge can't take effect", *one, "--merge", "last")
    fails("start.merge = mean, now it is last", *start, "--merge", "last", "--resume")


def test_where_the_data_lie_is_not_part_of_a_run(tmp_path):
    small = ("finetune", "--merge", "scratch", "--iterations", 1, "--hidden", 4,
             "--batch-size", 1, "--loss-steps", 2, "--style-dim", 1, "--resume",
             "--out", tmp_path / "out")  # fmt: skip
    for place in ("here", "there"):
        make_mnist(tmp_path / place)
        out = nca(*small, "--data-root", tmp_path / place)
        assert str(tmp_path / place) in out
    assert str(tmp_path) not in json.dumps(load(tmp_path / "out" / "unified.safetensors").record)
    make_mnist(tmp_path / "there", ink=200)
    fails("pictures_sha256", *small, "--data-root", tmp_path / "there")


def make_mnist(root, count=50, ink=100):
    """Very few pictures in MNIST's format."""
    raw = root / "MNIST" / "raw"
    raw.mkdir(parents=True, exist_ok=True)
    for part in ("train", "t10k"):
        image = bytes([0] * 300 + [ink] * 100 + [0] * 384)
        head = struct.pack(">4I", 2051, count, 28, 28)
        (raw / f"{part}-images-idx3-ubyte").write_bytes(head + image * count)
        labels = bytes(i % 10 for i in range(count))
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(struct.pack(">2I", 2049, count) + labels)


def test_figures_show_what_was_measured(tmp_path, weights, monkeypatch):
    """Found by looking: the figures of a validation were of test digits, and of all of them."""
    seen = []
    monkeypatch.setattr(report, "compare", lambda *a: seen.append(a) or compare(*a))
    nca("evaluate", "--weights", weights, "--split", "validation", "--limit", 40,
        "--figures", tmp_path)  # fmt: skip
    from nca_lib.data import load_digits

    measured = load_digits("embedded").validation.limit(40).images
    for originals, *_ in seen:
        assert all(any(torch.equal(o, m) for m in measured) for o in originals)
    assert seen[1][2] == "The worst 10 of 40"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_cuda_where_there_is_none(tmp_path, weights):
    fails("finds no GPU of this kind", "evaluate", "--weights", weights, "--device", "cuda")


def test_outputs_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("in the way")
    fails("can't write", "finetune", "--merge", "scratch", "--iterations", 1, "--batch-size", 1,
          "--out", tmp_path / "file" / "runs")  # fmt: skip


def test_a_full_disk_loses_nothing(tmp_path, weights):
    """A limit on file sizes stands in for a full disk: the write fails half way."""
    resource = pytest.importorskip("resource")
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
    nca("finetune", "--from", weights, "--iterations", 1, "--batch-size", 2,
        "--loss-weights", 1, 2, "--loss-steps", 1, 2, "--damage-share", 0.5,
        "--wounds", "half", "half", "ring", "--flow-iterations", 3, "--place-weight", 0,
        "--out", tmp_path)  # fmt: skip
    rule = load(tmp_path / "unified.safetensors")
    assert rule.config == load(weights).config
    assert rule.record["training"]["loss_weights"] == [1, 2]
    assert rule.record["training"]["damage_share"] == 0.5
    assert rule.record["training"]["wounds"] == ["half", "half", "ring"]
    assert rule.genome.flow.last.any()


def test_resume_with_other_options(tmp_path):
    common = ("finetune", "--merge", "scratch", "--iterations", 2, "--loss-steps", 2, "--hidden", 8)
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
        target.write_bytes(target.read_bytes().replace(b'"version":"2"', b'"version":"9"'))
    if how == "bit":
        content = bytearray(target.read_bytes())
        content[-40] ^= 1
        target.write_bytes(content)
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
        ("bit", "digest does not fit"),
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


def test_the_same_rule_makes_the_same_file(weights):
    tensors, metadata = read_tensors(weights, RULE)
    assert len({pack_tensors(RULE, tensors, **metadata) for _ in range(9)}) == 1
    assert pack_tensors(RULE, tensors, **metadata) == weights.read_bytes()


def test_files_of_version_1_still_load(weights, tmp_path, monkeypatch):
    tensors, metadata = read_tensors(weights, RULE)
    del metadata["config"]["held"]  # came later
    header = {"kind": RULE, "version": "1"} | {k: json.dumps(v) for k, v in metadata.items()}
    save_file(tensors, tmp_path / "old.safetensors", header)
    assert load(tmp_path / "old.safetensors").config == load(weights).config
