"""The loop learns, stops, and goes on bit for bit."""

import json
import math
import os
import signal
import subprocess
import sys
from dataclasses import replace

from nca_lib.cells import ORIGIN, seed_state
from nca_lib.checkpoint import load, read_tensors
from nca_lib.data import Pictures
from nca_lib.inputs import InputError
from nca_lib.model import ModelConfig
from nca_lib.training import (
    Outputs,
    Stopped,
    TrainingConfig,
    TrainingDiverged,
    alive_target,
    growth_losses,
    origin_target,
    second_half,
    train,
)
from nca_lib.training import run as run_module
from nca_lib.training.batch import draw_batch
from nca_lib.training.loop import training_step
from nca_lib.training.optimisers import learning_rate
from nca_lib.training.pool import Pool
from nca_lib.training.pretrain import initial_model, merge, pretrain, widen
from nca_lib.training.run import new_run

import pytest
import torch

RULE = ModelConfig(channels=6, hidden=16, label_dim=4, style_dim=3)
CONFIG = TrainingConfig(
    iterations=8,
    batch_size=4,
    loss_steps=(4, 6),
    loss_weights=(1.0, 1.0),
    pool_size=8,
    pool_start=0.2,
)


@pytest.fixture(scope="module")
def digits():
    """Thirty pictures of bars, three of each label."""
    images = torch.zeros(30, 1, 28, 28)
    for i in range(30):
        images[i, 0, 8:20, 10 + i // 10 : 13 + i // 10] = 1.0
    return Pictures(images, torch.arange(30) % 10)


def weights_of(folder, name="unified"):
    return read_tensors(folder / f"{name}.run.safetensors", "nca_lib run")


def assert_same_run(a, b):
    """Weights, optimiser, pool, random state: all equal to the bit."""
    (tensors_a, meta_a), (tensors_b, meta_b) = a, b
    assert tensors_a.keys() == tensors_b.keys()
    for name, tensor in tensors_a.items():
        assert torch.equal(tensor, tensors_b[name]), name
    assert meta_a["progress"]["iteration"] == meta_b["progress"]["iteration"]


def test_loss_falls(digits):
    config = replace(CONFIG, iterations=120, loss_steps=(12, 16), pool_share=0.0, batch_size=8)
    log = train(initial_model(ModelConfig(8, 32), 0), digits, config, log_every=1, progress=False)
    first, last = (sum(e["ink"] for e in part) / 5 for part in (log[:5], log[-5:]))
    assert last < 0.7 * first, (first, last)


RULES = {
    "grow": RULE,
    "restore": replace(RULE, style_dim=0),
    "classify": ModelConfig(channels=13, hidden=8, label_dim=0, style_dim=0, frozen=(0, 1)),
}


@pytest.mark.parametrize("task", RULES)
def test_a_stopped_run_goes_on_bit_for_bit(tmp_path, digits, task):
    config = replace(CONFIG, task=task, damage=0.5, blurs=("box3", "gauss"), noise=0.1)
    model = RULES[task]
    outputs = {name: Outputs(tmp_path / name, "unified") for name in ("whole", "broken")}
    train(initial_model(model, 0), digits, config, outputs["whole"], log_every=1, progress=False)
    asked = iter([False, False, False, False, True])
    with pytest.raises(Stopped, match=r"after iteration 5 of 8.*--resume"):
        train(
            initial_model(model, 0),
            digits,
            config,
            outputs["broken"],
            log_every=1,
            stop=lambda: next(asked),
            progress=False,
        )
    train(
        initial_model(model, 1),
        digits,
        config,
        outputs["broken"],
        log_every=1,
        resume=True,
        progress=False,
    )
    assert_same_run(weights_of(tmp_path / "whole"), weights_of(tmp_path / "broken"))

    def log(name):
        entries = [json.loads(line) for line in outputs[name].log.read_text().splitlines()]
        return [{k: v for k, v in e.items() if k != "seconds"} for e in entries]

    assert log("whole") == log("broken")
    assert torch.equal(
        load(outputs["whole"].model).output.weight, load(outputs["broken"].model).output.weight
    )


KILLED = """
import sys, torch
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_training import CONFIG, RULE, replace, initial_model, train, Outputs, Pictures, Stopped
images = torch.zeros(30, 1, 28, 28); images[:, 0, 8:20, 10:13] = 1.0
config = replace(CONFIG, iterations=400)
try:
    train(initial_model(RULE, 0), Pictures(images, torch.arange(30) % 10), config,
          Outputs(Path(sys.argv[1]), "unified"), resume=True, save_every=20,
          on_iteration=lambda i: print(i, flush=True), progress=False)
except Stopped as error:
    sys.exit(128 + error.number)
"""
SIGNALS = [signal.SIGTERM, signal.SIGINT, signal.SIGKILL, signal.SIGHUP]


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_a_killed_process_goes_on_bit_for_bit(tmp_path, number):
    code = KILLED.format(tests=os.path.dirname(__file__))

    def start(name):
        return subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path / name)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )

    whole, broken = start("whole"), start("broken")
    for line in broken.stdout:
        if int(line) == 50:
            broken.send_signal(number)
            break
    broken.communicate()
    assert broken.returncode == (-9 if number == signal.SIGKILL else 128 + number)
    assert not (tmp_path / "broken" / "unified.safetensors").exists()
    again = start("broken")
    resumed_at = int(again.stdout.readline()) - 1
    assert resumed_at in ([40] if number == signal.SIGKILL else range(50, 60))
    again.communicate()
    whole.communicate()
    assert whole.returncode == again.returncode == 0
    assert_same_run(weights_of(tmp_path / "whole"), weights_of(tmp_path / "broken"))


def test_resume_refuses_other_settings_and_new_runs_refuse_old_outputs(tmp_path, digits):
    outputs = Outputs(tmp_path, "unified")
    train(initial_model(RULE, 0), digits, CONFIG, outputs, progress=False)
    before = outputs.model.read_bytes()
    for config, model, message in [
        (
            replace(CONFIG, learning_rate=0.1),
            RULE,
            r"learning_rate = 0.002, now it is 0.1",
        ),
        (CONFIG, replace(RULE, hidden=17), r"model\.hidden = 16, now it is 17"),
    ]:
        with pytest.raises(InputError, match=message):
            train(initial_model(model, 0), digits, config, outputs, resume=True, progress=False)
    with pytest.raises(InputError, match="exists: continue it with --resume"):
        train(initial_model(RULE, 0), digits, CONFIG, outputs, progress=False)
    assert outputs.model.read_bytes() == before


def test_a_finished_run_is_loaded_and_left(tmp_path, digits):
    outputs = Outputs(tmp_path, "unified")
    model = initial_model(RULE, 0)
    train(model, digits, CONFIG, outputs, progress=False)
    again = initial_model(RULE, 7)
    train(again, digits, CONFIG, outputs, resume=True, progress=False)
    assert torch.equal(again.output.weight, model.output.weight)


def test_a_loss_that_is_not_finite_says_where_and_what_to_try(tmp_path, digits):
    outputs = Outputs(tmp_path, "unified")

    def poison(iteration):
        if iteration == 5:
            model.output.weight.data.fill_(float("nan"))

    model = initial_model(RULE, 0)
    with pytest.raises(TrainingDiverged, match=r"iteration 6\..*last good state.*--learning-rate"):
        train(model, digits, CONFIG, outputs, save_every=4, on_iteration=poison, progress=False)
    _, metadata = weights_of(tmp_path)
    assert metadata["progress"]["iteration"] == 4
    assert not outputs.model.exists()


@pytest.mark.parametrize("poison", [float("nan"), float("inf"), 1e30])
def test_a_sample_that_explodes_does_not_end_the_training(digits, poison):
    """Found in a long training: one pooled sample in thousands of iterations, and all was over."""
    config = replace(CONFIG, iterations=40)
    run = new_run(initial_model(RULE, 0), config)
    while not run.pool.full:
        training_step(run, digits, config)
    run.iteration = config.iterations // 2
    before = run.model.from_condition.weight.clone()
    run.pool.states[::3, 3, 10:20, 10:20] = poison
    run.pool.states[::3, 1] = 1.0
    for _ in range(30):
        assert math.isfinite(training_step(run, digits, config)["loss"])
    assert not torch.equal(run.model.from_condition.weight, before)
    assert (run.pool.states.abs() < 1e3).all(1).float().mean() > 0.9


def test_a_batch_that_explodes_is_drawn_anew(digits, monkeypatch):
    right, calls = growth_losses, []

    def explode_twice(frames, images, config, perceptual):
        calls.append(images)
        losses = right(frames, images, config, perceptual)
        return losses if len(calls) > 2 else losses._replace(ink=losses.ink * math.inf)

    monkeypatch.setattr(run_module, "growth_losses", explode_twice)
    run = new_run(initial_model(RULE, 0), CONFIG)
    assert math.isfinite(training_step(run, digits, CONFIG)["loss"])
    assert (len(calls), run.iteration) == (3, 1)
    assert not torch.equal(calls[0], calls[2])


def test_the_loss_is_taken_at_the_steps_asked_for():
    images = torch.zeros(1, 1, 28, 28)
    frames = torch.zeros(2, 1, 6, 28, 28)
    frames[0, :, 0] = 1.0  # wrong at the first loss step only
    config = replace(CONFIG, loss_weights=(1.0, 3.0))
    assert growth_losses(frames, images, config).ink.item() == pytest.approx(0.25)
    frames[:, :, 5] = 3.0  # one unit too large
    assert growth_losses(frames, images, config).overflow.item() == pytest.approx(0.1 / 6)


def test_tissue_surrounds_the_ink_and_fills_its_holes():
    ring = torch.zeros(1, 1, 28, 28)
    ring[:, :, 6:21, 9:18] = 1.0
    ring[:, :, 8:19, 11:16] = 0.0  # a hole 5 cells wide
    tissue = alive_target(ring)
    assert tissue[0, 0, 4:23, 7:20].all()
    assert tissue.sum() == 19 * 13
    apart = torch.zeros(1, 1, 28, 28)
    apart[:, :, :, 2] = apart[:, :, :, 25] = 1.0
    assert not alive_target(apart)[0, 0, :, 10:18].any()  # too far to be a hole


def test_tissue_keeps_away_from_the_edge():
    """Where it touched the edge, models took their bearings from there, not from the anchor."""
    digit = torch.zeros(1, 1, 28, 28)
    digit[:, :, 4:24, 4:24] = 1.0  # as large as MNIST's digits are
    tissue = alive_target(digit)[0, 0]
    assert tissue[2:26, 2:26].all()
    assert tissue.sum() == 24 * 24


def test_the_anchor_is_where_the_seed_is():
    images = torch.rand(2, 1, 28, 28)
    assert torch.equal(origin_target(images), seed_state(2, 3)[:, ORIGIN : ORIGIN + 1])
    frames = seed_state(2, 6).repeat(2, 1, 1, 1, 1)  # [R, B, C, H, W]
    config = replace(CONFIG, origin_weight=1.0)
    assert growth_losses(frames, images, config).anchor == 0
    moved = growth_losses(frames.roll(1, 3), images, config)
    assert moved.anchor.item() == pytest.approx(2 / 784)  # gone here, there too much
    assert growth_losses(frames.roll(1, 3), images, CONFIG).anchor == 0
    assert growth_losses(frames, images, replace(config, task="restore")).anchor == 0


def test_learning_rate_rises_and_falls():
    config = replace(CONFIG, iterations=100)
    rates = [learning_rate(i, config) for i in range(100)]
    assert max(rates) == pytest.approx(config.learning_rate)
    assert rates[0] < rates[5] < rates[9] > rates[50] > rates[99] > 0


def test_loss_steps_lie_in_the_second_half():
    assert second_half(32) == (20, 24, 28, 32)
    assert second_half(1) == (1,)
    with pytest.raises(InputError, match="at least 1 step"):
        second_half(0)


def test_pool_fills_up_then_mixes():
    model = initial_model(replace(RULE, channels=2, style_dim=1), 0)
    pool, generator = Pool.empty(10, model), torch.Generator().manual_seed(0)
    for expected in ([0, 1, 2, 3], [4, 5, 6, 7], [8, 9]):
        taken, given = pool.choose_slots(2, 2, generator)
        assert len(taken) == 0
        assert given.tolist() == expected
        n = len(given)
        pool.put(given, torch.ones(n, 2, 28, 28), given, torch.ones(n, 1))
    taken, given = pool.choose_slots(2, 2, generator)
    assert len(set(taken.tolist() + given.tolist())) == 4


def test_pooled_samples_are_damaged_switched_or_just_go_on(digits):
    config = replace(CONFIG, batch_size=16, pool_size=16, pool_start=0.0, pool_share=0.5)
    run = new_run(initial_model(RULE, 0), config)
    slots = torch.arange(16)
    styles = torch.rand(16, 3)
    run.pool.filled = 16
    run.pool.put(slots, torch.ones(16, 6, 28, 28), slots, styles)
    batch = draw_batch(run, digits, config)
    assert (batch.fresh, batch.new, len(batch.states)) == (8, 10, 16)
    assert batch.counts == (16, 10, 8)
    assert batch.noise.shape == (10, 3)
    assert (batch.states[:8].flatten(1).sum(1) == 5).all()  # seeds
    assert (batch.states[8:10] == 1).all()  # switched: grown as they are, to another picture
    assert (batch.states[10:12] == 0).flatten(1).any(1).all()  # damaged
    assert (batch.states[12:] == 1).all()
    taken, given = batch.slots[8:], batch.slots[:8]
    assert (given >= 0).sum() == 2  # fresh samples that enter the pool
    assert len(set(batch.slots.tolist()) - {-1}) == 10
    assert torch.equal(batch.pictures[10:], taken[2:])
    assert torch.equal(batch.styles, styles[taken[2:]])
    restored = draw_batch(run, digits, replace(config, task="restore"))
    assert restored.new == restored.fresh


def test_something_always_grows_from_its_start(digits):
    config = replace(CONFIG, pool_share=1.0, pool_start=0.0)
    history = train(initial_model(RULE, 0), digits, config, log_every=1, progress=False)
    assert all(0 <= record["pixel_accuracy"] <= 1 for record in history)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"damage": 0.7, "switch_share": 0.7}, "together"),
        ({"iterations": 0}, "iterations"),
        ({"loss_steps": ()}, "loss_steps"),
        ({"loss_steps": (3, 3)}, "increasing"),
        ({"loss_weights": (1.0,)}, "loss_weights"),
        ({"task": "paint"}, "paint"),
        ({"pool_share": 1.5}, "pool_share"),
        ({"pool_size": 2}, "pool_size"),
    ],
)
def test_configuration_says_what_is_wrong(change, message):
    with pytest.raises(InputError, match=message):
        replace(CONFIG, **change)


def test_pretraining_gives_a_rule_for_each_digit(tmp_path, digits):
    config = replace(CONFIG, iterations=3)
    files = pretrain(RULE, digits, config, tmp_path, workers=2, only=(0, 7), progress=False)
    assert [f.name for f in files] == ["digit-0.safetensors", "digit-7.safetensors"]
    zero, seven = map(load, files)
    assert not torch.equal(zero.output.weight, seven.output.weight)
    assert seven.metadata["digits"] == [7]
    again = pretrain(RULE, digits, config, tmp_path, only=(0, 7), resume=True, progress=False)
    assert torch.equal(load(again[0]).output.weight, zero.output.weight)


def test_merging():
    models = [initial_model(RULE, 10 + d) for d in range(10)]
    mean = merge(models, "mean")
    torch.testing.assert_close(mean.hidden.weight, sum(r.hidden.weight for r in models) / 10)
    for d, model in enumerate(models):
        assert torch.equal(mean.conditioning.labels.weight[d], model.conditioning.labels.weight[d])
    assert torch.equal(merge(models, "last").hidden.weight, models[9].hidden.weight)
    scratch = merge(models, "scratch", seed=4)
    assert torch.equal(scratch.hidden.weight, initial_model(RULE, 4).hidden.weight)
    with pytest.raises(InputError, match="9 models"):
        merge(models[:9], "mean")
    with pytest.raises(InputError, match="digit 3 has another configuration"):
        merge([*models[:3], initial_model(replace(RULE, hidden=8), 0), *models[4:]], "mean")


def test_a_wider_rule_does_the_same_and_can_learn_more(digits):
    model = initial_model(RULE, 1)
    torch.nn.init.normal_(model.output.weight, std=0.1)
    wide = widen(model, 24)
    condition = model.condition(torch.tensor([3]))
    torch.testing.assert_close(wide.conditioning(torch.tensor([3])), condition)
    frames = [r.rollout(seed_state(1, 6), condition, 8, torch.tensor([0])) for r in (model, wide)]
    torch.testing.assert_close(*frames)
    assert wide.hidden.weight[16:].abs().min() > 0  # new units perceive,
    assert not wide.output.weight[:, 16:].any()  # and change nothing yet
    train(wide, digits, replace(CONFIG, iterations=2), progress=False)
    assert wide.output.weight[:, 16:].any()
    with pytest.raises(InputError, match="hidden is 8, the model has 16"):
        widen(model, 8)


@pytest.mark.parametrize("task", RULES)
def test_training_in_double_precision(digits, task):
    """The model's type is the training's, throughout; in its first steps it is the same training."""
    config = replace(CONFIG, task=task, iterations=4, pool_start=0.0)
    logs = {}
    for dtype in (torch.float32, torch.float64):
        model = initial_model(RULES[task], 0).to(dtype)
        logs[dtype] = train(model, digits, config, log_every=1, progress=False)
        assert {p.dtype for p in model.parameters()} == {dtype}
        state = seed_state(1, model.config.channels).to(dtype)
        assert model.rollout(state, model.condition(3), 4, 0).dtype == dtype
    for single, double in zip(*logs.values(), strict=True):
        assert single["loss"] == pytest.approx(double["loss"], rel=2e-2)
    assert logs[torch.float32] != logs[torch.float64]


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (torch.zeros(0, 1, 28, 28), torch.zeros(0, dtype=torch.int64), "0 images and 0 labels"),
        (torch.zeros(3, 1, 28, 28), torch.arange(2), "3 images and 2 labels"),
        (torch.full((2, 1, 28, 28), 255.0), torch.arange(2), r"outside \[0, 1\]"),
        (torch.zeros(2, 1, 28, 28, dtype=torch.uint8), torch.arange(2), "uint8"),
        (torch.zeros(2, 1, 32, 32), torch.arange(2), r"want \[N, 1, 28, 28\]"),
        (torch.zeros(2, 4, 28, 28), torch.arange(2), r"want \[N, 1, 28, 28\]"),
        (torch.zeros(2, 1, 28, 28), torch.tensor([1, 10]), "label 10: labels go from 0 to 9"),
    ],
)
def test_pictures_that_cannot_be_trained_with(images, labels, message):
    with pytest.raises(InputError, match=message):
        train(initial_model(RULE, 0), Pictures(images, labels), CONFIG, progress=False)


def test_any_integer_type_serves_as_labels(digits):
    small = Pictures(digits.images, digits.labels.to(torch.uint8))
    logs = [
        train(initial_model(RULE, 0), given, CONFIG, log_every=1, progress=False)
        for given in (digits, small)
    ]
    assert [r["loss"] for r in logs[0]] == [r["loss"] for r in logs[1]]
