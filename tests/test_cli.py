"""The command line: what it writes, and that bad input ends in one line and exit code 2."""

import contextlib
import errno
import io
import json
import os
import shutil
import struct
import sys
from dataclasses import replace

from nca_lib import cli, load
from nca_lib.__main__ import main
from nca_lib.cli import commands, run_command
from nca_lib.data import mnist
from nca_lib.evaluation import report, samples
from nca_lib.model import ModelConfig
from nca_lib.spec import MNIST
from nca_lib.training.pretrain import initial_model

import pytest
import torch
from PIL import Image

TINY = ("--iterations", 1, "--batch-size", 2, "--loss-steps", 2)
BASELINES = {"black", "class_mean", "blur_threshold", "linear_deblur", "class_pca", "conv_decoder"}


def nca(*arguments, code=0):
    """Run the command; returns its output, or its errors where they are expected."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            returned = run_command([str(argument) for argument in arguments])
        except SystemExit as end:  # after --help
            returned = end.code
    assert returned == code, err.getvalue() + out.getvalue()
    return out.getvalue() if code == 0 else err.getvalue()


def fails(message, *arguments):
    """One line, whatever was wrong."""
    (line,) = nca(*arguments, code=2).splitlines()
    assert line.startswith("nca: ")
    assert message in line


@pytest.fixture(autouse=True)
def only_the_options(monkeypatch):
    monkeypatch.delenv("NCA_DATA", raising=False)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    torch.manual_seed(0)
    model = initial_model(MNIST, ModelConfig(channels=6, hidden=16, label_dim=4, style_dim=3), 0)
    torch.nn.init.normal_(model.output.weight, std=0.05)
    model.steps, path = 6, tmp_path_factory.mktemp("model") / "unified.safetensors"
    model.save(path)
    return path


def test_every_command_has_its_help():
    known = sorted(commands("quick"))
    assert " ".join(known) == "evaluate finetune grow info paint pretrain read redraw restore run"
    for command in set(known) - {"info"}:
        text = nca(command, "--help")
        assert "--seed" in text
        assert "--device" in text
    assert "rollout" in nca("info")


def test_train_evaluate_grow(tmp_path, monkeypatch):
    whole = mnist("embedded")
    data = replace(whole, train=whole.train.limit(256))  # few, and fewer styles: seconds
    monkeypatch.setattr(cli, "load_data", lambda *_: data)
    monkeypatch.setattr(samples, "SWITCH_STYLES", 1)
    seen, compare = [], report.plots.compare
    monkeypatch.setattr(report.plots, "compare", lambda *a: seen.append(a) or compare(*a))
    small = (*TINY, "--hidden", 8, "--out", tmp_path)
    nca("finetune", "--merge", "scratch", *small)
    nca("restore", *small)
    nca("read", *small)
    out = nca("evaluate", "--weights", tmp_path / "unified.safetensors", "--limit", 70,
              "--split", "validation", "--json", tmp_path / "m.json",
              "--figures", tmp_path / "figures")  # fmt: skip
    assert "class pca" in out
    results = json.loads((tmp_path / "m.json").read_text())
    wanted = {"n", "pixel_accuracy", "ink_iou", "mse", "psnr", "ssim", "classifier_accuracy"}
    wanted |= {"baselines", "persistence", "undamaged", "regeneration"}
    wanted |= {"samples", "weights", "seed"}
    assert wanted <= results.keys()
    assert (results["n"], results["seed"]) == (70, 0)
    assert results["baselines"].keys() == BASELINES
    row = {"before", "after_damage", "after_64_steps", "after_256_steps"}
    assert all(kind.keys() == row for kind in results["regeneration"].values())
    assert {"classifier_accuracy", "fid", "coverage"} <= results["samples"].keys()
    first = min(p.name for p in (tmp_path / "figures").iterdir())
    assert first == "01_originals_and_grown.png"
    measured = data.validation.limit(70).images  # and these the figures show
    for originals, *_ in seen:
        assert all(any(torch.equal(o, m) for m in measured) for o in originals)
    assert seen[1][2] == "The worst 10 of 70"


def test_a_growth_is_a_strip_or_an_animation_and_the_seed_decides(tmp_path, weights):
    grow = ("grow", 3, "--weights", weights, "--steps", 5, "--out")
    assert nca(*grow, tmp_path / "a.GIF") == f"a 3 in 5 steps -> {tmp_path / 'a.GIF'}\n"
    nca(*grow, tmp_path / "b.gif", "--seed", 0)
    nca(*grow, tmp_path / "c.gif", "--seed", 1)
    nca(*grow, tmp_path / "d.png")
    same, again, different = (next(tmp_path.glob(f"{n}.*")).read_bytes() for n in "abc")
    assert same == again != different
    with Image.open(tmp_path / "a.GIF") as gif, Image.open(tmp_path / "d.png") as strip:
        assert (gif.n_frames > 3, strip.format) == (True, "PNG")


@pytest.mark.parametrize(
    ("message", "options"),
    [
        ("label '10': choose one of 0, 1, 2", "grow 10 --out x.gif"),
        ("digit-7 has never seen a 3", "grow 3 --weights digit-7 --out x.gif"),
        ("reader classifies pictures, it can't grow", "grow 3 --weights reader --out x.gif"),
        ("reader draws nothing", "evaluate --weights reader --figures x"),
        ("steps is 0", "grow 3 --steps 0 --out x.gif"),
        ("seed is -1", "grow 3 --seed -1 --out x.gif"),
        ("end it in .png", "grow 3 --out x.jpg"),
        ("Missing from nca grow", "grow 3"),
        ("no checkpoint at nowhere", "grow 3 --weights nowhere --out x.gif"),
        ("Unrecognized", "grow 3 --out x.gif --resume"),
        ("MNIST", "evaluate --weights unified --data-root ."),
        ("Expected one of ('test', 'validation')", "evaluate --weights unified --split train"),
        ("--limit is 0", "evaluate --weights unified --limit 0"),
        ("seed is 268435456", "evaluate --weights unified --seed 268435456"),
        ("nca: a loss step is 0", "finetune --merge scratch --loss-steps 0"),
        ("it is a share", "restore --damage 2"),
        ("no checkpoint at empty", "finetune --out empty"),
        ("--damage-kinds", "finetune --damage-kinds bite"),
        ("--task can't take effect: finetune", "finetune --task restore"),
        ("--blurs can't take effect: pretrain", "pretrain --blurs box3"),
        ("--origin-weight can't take effect", "restore --origin-weight 1"),
        ("--kl-weight can't take effect: the model has no styles", "restore --kl-weight 1"),
        ("--label-dim can't take effect: read", "read --label-dim 2"),
        ("--merge scratch can't take effect", "finetune --merge scratch --from ten"),
        ("--merge last can't take effect", "finetune --merge last --from x.safetensors"),
        ("want 9: choose more", "finetune --merge scratch --channels 7"),
        ("Unrecognized", "paint --preset full"),
        ("PyTorch finds no such GPU", "grow 3 --out x.gif --device mps"),
        ("doodle", "doodle"),
    ],
)
def test_bad_options(message, options, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fails(message, *options.split())
    assert not any(p.suffix in (".gif", ".safetensors") for p in tmp_path.rglob("*"))


@pytest.mark.parametrize("out", ["--out=~/a.gif", "--out ~/a.gif"])
def test_a_tilde_is_the_home_folder_in_every_form(out, tmp_path, monkeypatch, weights):
    monkeypatch.setenv("HOME" if os.name != "nt" else "USERPROFILE", str(tmp_path))
    assert run_command(["grow", "3", f"--weights={weights}", "--steps", "3", *out.split()]) == 0
    assert (tmp_path / "a.gif").is_file()


def test_what_a_model_is_made_from_decides_its_settings(tmp_path, weights):
    for digit in range(10):
        shutil.copy(weights, tmp_path / f"digit-{digit}.safetensors")
    start = ("finetune", "--from", tmp_path, "--out", tmp_path / "out",
             "--position-weight", 0, *TINY)  # fmt: skip
    fails(f"--hidden can't take effect: {tmp_path} has its own", *start, "--hidden", 64)
    fails("--style-dim can't take effect", *start, "--style-dim", 4)
    nca(*start, "--hidden", 16)  # as they have it
    init_from = load(tmp_path / "out" / "unified.safetensors").metadata["init_from"]
    assert (init_from["merge"], len(init_from["sha256"])) == ("mean", 10)
    fails("init_from.merge = mean, now it is last", *start, "--merge", "last", "--resume")
    one = ("finetune", "--from", weights, "--out", tmp_path, "--position-weight", 0, *TINY)
    fails("--style-dim can't take effect", *one, "--style-dim", 4)
    nca(*one, "--damage", 0.5, "--damage-kinds", "half", "half", "ring")
    model = load(tmp_path / "unified.safetensors")
    assert model.config == load(weights).config
    assert model.metadata["training"]["damage_kinds"] == ["half", "half", "ring"]
    assert model.metadata["init_from"]["file"] == "unified.safetensors"


def make_mnist(root, count=60, ink=100, name="MNIST"):
    """Very few pictures in MNIST's format."""
    raw = root / name / "raw"
    raw.mkdir(parents=True, exist_ok=True)
    for part in ("train", "t10k"):
        image = bytes([0] * 300 + [ink] * 100 + [0] * 384)
        head = struct.pack(">4I", 2051, count, 28, 28)
        (raw / f"{part}-images-idx3-ubyte").write_bytes(head + image * count)
        labels = bytes(i % 10 for i in range(count))
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(struct.pack(">2I", 2049, count) + labels)


def test_where_the_data_lie_is_not_part_of_a_run_but_which_they_are(tmp_path):
    small = ("finetune", "--merge", "scratch", *TINY, "--hidden", 4, "--style-dim", 1, "--resume",
             "--out", tmp_path / "out")  # fmt: skip
    for place in ("here", "there"):
        make_mnist(tmp_path / place)
        assert str(tmp_path / place) in nca(*small, "--data-root", tmp_path / place)
    assert str(tmp_path) not in json.dumps(load(tmp_path / "out" / "unified.safetensors").metadata)
    there = (*small, "--data-root", tmp_path / "there")
    fails("batch_size = 2, now it is 3", *there, "--batch-size", 3)
    fails("exists: continue it with --resume", *(word for word in there if word != "--resume"))
    make_mnist(tmp_path / "there", ink=200)
    fails("pictures_sha256", *there)


def test_pictures_without_a_perceptual_network_train_without_it(tmp_path):
    make_mnist(tmp_path, name="FashionMNIST")
    out = nca("finetune", "--merge", "scratch", *TINY, "--hidden", 4, "--data", "fashion",
              "--data-root", tmp_path, "--out", tmp_path)  # fmt: skip
    assert "no perceptual network ships for these pictures: training without its loss" in out
    training = load(tmp_path / "unified.safetensors").metadata["training"]
    assert training["perceptual_weight"] == 0
    fails("perceptual_weight can't take effect", "finetune", "--merge", "scratch", *TINY,
          "--data", "fashion", "--data-root", tmp_path, "--perceptual-weight", 0.5)  # fmt: skip


def test_painted_pictures_are_measured_and_grown(tmp_path):
    Image.new("RGBA", (12, 12), (200, 30, 30, 255)).save(tmp_path / "brick.png")
    out = nca("paint", *TINY, "--hidden", 8, "--pool-size", 8, "--data-root", tmp_path,
              "--out", tmp_path / "out")  # fmt: skip
    assert "this model" in out
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"paint.safetensors", "paint.json", "figures", "grow-brick.gif", "paint.png"} <= written


def test_outputs_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("in the way")
    fails("can't write", "finetune", "--merge", "scratch", *TINY, "--out", tmp_path / "file" / "x")


def test_a_full_disk_loses_nothing(tmp_path, weights, monkeypatch):
    grow = ("grow", 3, "--weights", weights, "--out", tmp_path / "x.gif")
    nca(*grow)
    before = (tmp_path / "x.gif").read_bytes()

    def full(file):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    fails("No space left on device; nothing that was there is lost", *grow, "--seed", 1)
    assert (tmp_path / "x.gif").read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["x.gif"]


def test_nobody_listens(monkeypatch):
    """Standard output is closed from the start, or its reader has left (`nca info | head -1`)."""
    monkeypatch.setattr(sys, "argv", ["nca", "info"])
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")
    reader, writer = os.pipe()
    os.close(reader)
    for stream in (None, os.fdopen(writer, "w")):
        monkeypatch.setattr(sys, "stdout", stream)
        with pytest.raises(SystemExit) as end:
            main()
        assert end.value.code == 0
        sys.stdout.close()  # writes what is left, and complains no more
