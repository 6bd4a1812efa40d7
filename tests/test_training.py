"""Whole runs: they learn, stop, and go on bit for bit; files; pretraining and merging."""

import json
import math
import os
import signal
import subprocess
import sys
from dataclasses import replace

from nca_lib.checkpoint import load, read_tensors
from nca_lib.data import Dataset, Pictures
from nca_lib.inputs import InputError
from nca_lib.model import NCA, ModelConfig
from nca_lib.spec import MNIST, ImageSpec
from nca_lib.training import Outputs, Stopped, TrainingConfig, train
from nca_lib.training.loop import training_step
from nca_lib.training.pretrain import initial_model, merge, pretrain

import pytest
import torch
from test_pool import new_run

MODEL = ModelConfig(channels=6, hidden=16, label_dim=4, style_dim=3)
CONFIG = TrainingConfig(iterations=8, batch_size=4, loss_steps=(4, 6), pool_size=8, pool_start=0.2)
MODELS = {
    "grow": MODEL,
    "restore": replace(MODEL, style_dim=0),
    "classify": ModelConfig(channels=13, hidden=8, label_dim=0, frozen=(0, 1)),
}


def new(config=MODEL, seed=0):
    return initial_model(MNIST, config, seed)


@pytest.fixture(scope="module")
def digits():
    """Thirty pictures of bars, three of each label."""
    images = torch.zeros(30, 1, 28, 28)
    for i in range(30):
        images[i, 0, 8:20, 10 + i // 10 : 13 + i // 10] = 1.0
    return Pictures(images, torch.arange(30) % 10)


def run_file(folder):
    return read_tensors(folder / "unified.run.safetensors", "nca_lib run")


def assert_same_run(a, b):
    """Parameters, optimiser, pool, random state: all equal to the bit."""
    (tensors_a, header_a), (tensors_b, header_b) = a, b
    assert tensors_a.keys() == tensors_b.keys()
    for name, tensor in tensors_a.items():
        assert torch.equal(tensor, tensors_b[name]), name
    assert header_a["progress"]["iteration"] == header_b["progress"]["iteration"]


def test_the_loss_falls(digits):
    model = NCA(MNIST, channels=8, hidden=32, style_dim=4)
    history = train(model, digits, CONFIG, iterations=120, loss_steps=(12, 16), pool_share=0.0,
                    batch_size=8, log_every=1, progress=False)  # fmt: skip
    first, last = (sum(e["ink"] for e in part) / 5 for part in (history[:5], history[-5:]))
    assert last < 0.7 * first, (first, last)


@pytest.mark.parametrize("task", MODELS)
def test_a_stopped_run_goes_on_bit_for_bit(tmp_path, digits, task):
    config = replace(CONFIG, task=task, damage=0.5, blurs=("box3", "gauss"), noise=0.1)
    whole, broken = (Outputs(tmp_path / name, "unified") for name in ("whole", "broken"))
    options = {"log_every": 1, "progress": False}
    train(new(MODELS[task]), digits, config, whole, **options)
    asked = iter([False, False, False, False, True])
    with pytest.raises(Stopped, match=r"after iteration 5 of 8.*--resume"):
        train(new(MODELS[task]), digits, config, broken, stop=lambda: next(asked), **options)
    train(new(MODELS[task], 1), digits, config, broken, resume=True, **options)
    assert_same_run(run_file(tmp_path / "whole"), run_file(tmp_path / "broken"))

    def log(outputs):
        entries = [json.loads(line) for line in outputs.log.read_text().splitlines()]
        return [{k: v for k, v in e.items() if k != "seconds"} for e in entries]

    assert log(whole) == log(broken)
    one, other = load(whole.model), load(broken.model)
    assert torch.equal(one.output.weight, other.output.weight)
    assert one.task == other.task == task


KILLED = """
import sys, torch
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_training import CONFIG, new, replace, train, Outputs, Pictures, Stopped
from nca_lib.training import loop
loop.SAVE_EVERY = 20
images = torch.zeros(30, 1, 28, 28); images[:, 0, 8:20, 10:13] = 1.0
try:
    train(new(), Pictures(images, torch.arange(30) % 10), CONFIG, Outputs(Path(sys.argv[1]),
          "unified"), resume=True, log_every=1, iterations=400,
          callbacks=lambda step, *_: print(step, flush=True), progress=False)
except Stopped as error:
    sys.exit(128 + error.number)
"""


def start_training(folder):
    code = KILLED.format(tests=os.path.dirname(__file__))
    command = [sys.executable, "-c", code, str(folder)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, **pipes)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The same run, never interrupted."""
    folder = tmp_path_factory.mktemp("whole")
    process = start_training(folder)
    process.communicate()
    assert process.returncode == 0
    return run_file(folder)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGKILL", "SIGHUP"])
def test_a_killed_process_goes_on_bit_for_bit(tmp_path, whole, name):
    number, broken = getattr(signal, name), start_training(tmp_path)
    for line in broken.stdout:
        if int(line) == 50:
            broken.send_signal(number)
            break
    broken.communicate()
    assert broken.returncode == (-9 if name == "SIGKILL" else 128 + number)
    assert not (tmp_path / "unified.safetensors").exists()
    again = start_training(tmp_path)
    resumed_at = int(again.stdout.readline()) - 1
    assert resumed_at in ([40] if name == "SIGKILL" else range(50, 60))
    again.communicate()
    assert again.returncode == 0
    assert_same_run(whole, run_file(tmp_path))


def test_resume_refuses_other_settings_and_new_runs_refuse_old_outputs(tmp_path, digits):
    outputs = Outputs(tmp_path, "unified")
    train(new(), digits, CONFIG, outputs, init_from={"a": 1}, progress=False)
    before, again = outputs.model.read_bytes(), new(seed=7)
    train(again, digits, CONFIG, outputs, init_from={"a": 1}, resume=True, progress=False)
    assert torch.equal(again.output.weight, load(outputs.model).output.weight)  # it was finished
    for model, change, message in [
        (MODEL, {"learning_rate": 0.1}, r"training\.learning_rate = 0.002, now it is 0.1"),
        (replace(MODEL, hidden=17), {}, r"model\.hidden = 16, now it is 17"),
        (MODEL, {"init_from": {"a": 2}}, r"init_from\.a = 1, now it is 2"),
        (MODEL, {"loss": lambda frames, *_: frames.mean()}, r"hooks\.loss = None, now it is"),
    ]:
        given = {"init_from": {"a": 1}} | change
        with pytest.raises(InputError, match=message):
            train(new(model), digits, CONFIG, outputs, resume=True, progress=False, **given)
    with pytest.raises(InputError, match="exists: continue it with --resume"):
        train(new(), digits, CONFIG, outputs, progress=False)
    outputs.run.unlink()
    with pytest.raises(InputError, match="exists: choose another --out, or move it away"):
        train(new(), digits, CONFIG, outputs, progress=False)
    assert outputs.model.read_bytes() == before


@pytest.mark.parametrize("poison", [float("nan"), float("inf"), 1e30])
def test_a_sample_that_explodes_does_not_end_the_training(digits, poison):
    """Found in a long training run: one pooled sample in thousands of iterations ended it."""
    run = new_run(new(), replace(CONFIG, iterations=40))
    while run.pool.filled < run.pool.size:
        training_step(run, digits)
    run.iteration = run.config.iterations // 2
    before = run.model.from_condition.weight.clone()
    run.pool.states[::3, 3, 10:20, 10:20] = poison
    run.pool.states[::3, 1] = 1.0
    for _ in range(15):
        assert math.isfinite(training_step(run, digits)["loss"])
    assert not torch.equal(run.model.from_condition.weight, before)
    assert (run.pool.states.abs() < 1e3).all(1).float().mean() > 0.9


@pytest.mark.parametrize("task", MODELS)
def test_training_in_double_precision(digits, task):
    """The model's type is the training's; in its first steps it is the same training."""
    logs = {}
    for dtype in (torch.float32, torch.float64):
        model = new(MODELS[task]).to(dtype)
        logs[dtype] = train(model, digits, CONFIG, task=task, iterations=4, pool_start=0.0,
                            log_every=1, progress=False)  # fmt: skip
        assert {p.dtype for p in model.parameters()} == {dtype}
        assert model(model.seed(), model.condition(3), 4).dtype == dtype
    for single, double in zip(*logs.values(), strict=True):
        assert single["loss"] == pytest.approx(double["loss"], rel=2e-2)
    assert logs[torch.float32] != logs[torch.float64]


# ---- pretraining and merging


def bars_of(spec, digits):
    return Dataset(digits, digits, digits, "here", "bars", spec)


def test_pretraining_gives_a_model_for_each_class(tmp_path, digits):
    data, config = bars_of(MNIST, digits), replace(CONFIG, iterations=3)
    files = pretrain(MODEL, data, config, tmp_path, progress=False)
    assert [file.name for file in files] == [f"digit-{d}.safetensors" for d in range(10)]
    zero, seven = load(files[0]), load(files[7])
    assert not torch.equal(zero.output.weight, seven.output.weight)
    assert seven.trained_labels == [7]
    assert seven.metadata["training"]["seed"] == 8
    again = pretrain(MODEL, data, config, tmp_path, resume=True, progress=False)
    assert torch.equal(load(again[0]).output.weight, zero.output.weight)
    pets = ImageSpec(("cat", "dog"), 1, (28, 28))
    with pytest.raises(InputError, match="there is no picture of a dog"):
        pretrain(MODEL, bars_of(pets, digits.only(0)), config, tmp_path / "pets", progress=False)
    two = Pictures(digits.images[:4], torch.arange(4) % 2)
    files = pretrain(MODEL, bars_of(pets, two), config, tmp_path / "pets", progress=False)
    assert [file.name for file in files] == ["class-0.safetensors", "class-1.safetensors"]
    assert merge(list(map(load, files)), "mean").spec == pets


def test_merging():
    models = [new(seed=10 + d) for d in range(10)]
    models[0].conditioning.mean.fill_(3.0)
    mean = merge(models, "mean")
    torch.testing.assert_close(mean.hidden.weight, sum(m.hidden.weight for m in models) / 10)
    for d, model in enumerate(models):
        assert torch.equal(mean.conditioning.labels.weight[d], model.conditioning.labels.weight[d])
    assert not mean.conditioning.mean.any()
    assert torch.equal(merge(models, "last").hidden.weight, models[9].hidden.weight)
    scratch = merge(models, "scratch", seed=4)
    assert torch.equal(scratch.hidden.weight, new(seed=4).hidden.weight)
    for wrong, how, message in [
        (models[:9], "mean", "^9 models to merge: give one for each class$"),
        ([], "mean", "^0 models to merge"),
        ([*models[:3], new(replace(MODEL, hidden=8)), *models[4:]], "mean",
         "^the model of label 3 has another configuration than that of label 0"),
        (models, "median", "^merging is 'median': choose mean, last or scratch$"),
    ]:  # fmt: skip
        with pytest.raises(InputError, match=message):
            merge(wrong, how)
