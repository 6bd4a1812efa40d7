"""What training learns, how fast, and what it does beside learning: exact numbers."""

import json
import math
import signal
from contextlib import contextmanager
from dataclasses import asdict, replace
from types import SimpleNamespace

from nca_lib.cells import crop, pad, seed_state
from nca_lib.checkpoint import load
from nca_lib.classifier import load_classifier
from nca_lib.data import Pictures
from nca_lib.inputs import InputError
from nca_lib.interrupts import Wish
from nca_lib.model import NCA, ModelConfig
from nca_lib.spec import MNIST
from nca_lib.training import (
    Outputs,
    Stopped,
    TrainingConfig,
    TrainingDiverged,
    alive_target,
    growth_losses,
    loop,
    second_half,
    train,
)
from nca_lib.training.distributed import Ranks
from nca_lib.training.loop import check_training, training_step, try_step
from nca_lib.training.losses import (
    Losses,
    birth_error,
    origin_target,
    position_error,
    position_target,
)
from nca_lib.training.optimisers import MUON_RATE, Optimisers, learning_rate
from nca_lib.training.run import new_run

import pytest
import torch
import toy
from toy import toy_model

CONFIG = TrainingConfig(
    iterations=6, batch_size=4, loss_steps=(2, 3), pool_size=4, pool_start=0.0, seed=5
)


@pytest.fixture
def digits():
    """Twelve pictures, all different, three of each of four labels."""
    images = torch.rand(12, 1, 28, 28, generator=torch.Generator().manual_seed(3))
    return Pictures(images, torch.arange(12) % 4)


@pytest.fixture
def model():
    """The toy with an encoder that sees something, ready to learn."""
    model = toy_model(0.5, (0.25, 0.125)).requires_grad_(True)
    torch.manual_seed(1)
    for parameter in model.encoder.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return model


# --- the settings


def test_the_defaults():
    assert asdict(TrainingConfig()) == {
        "task": "grow",
        "iterations": 1000,
        "batch_size": 16,
        "blurs": ("box5",),
        "noise": 0.0,
        "margin": 0,
        "loss_steps": (20, 24, 28, 32),
        "loss_weights": (),
        "learning_rate": 2e-3,
        "pool_size": 256,
        "pool_share": 0.5,
        "pool_start": 0.4,
        "pool_renewal": 0.25,
        "damage": 0.25,
        "wounds": ("disc", "half", "ring", "scattered", "stripes", "middle"),
        "switch_share": 0.25,
        "alive_weight": 0.25,
        "origin_weight": 0.0,
        "position_weight": 0.0,
        "perceptual_weight": 0.0,
        "overflow_weight": 0.1,
        "kl_weight": 0.05,
        "kl_warmup": 0.5,
        "flow_iterations": 0,
        "clip_norm": 1.0,
        "seed": 0,
    }


def test_steps_weights_and_plain_values():
    config = TrainingConfig(loss_steps=[3, 9], damage_kinds=["ring", "half"], blurs=["gauss"])
    assert (config.loss_steps, config.steps, config.weights) == ((3, 9), 9, (1.0, 1.0))
    config = replace(config, loss_weights=[1.0, 0.0])
    assert config.loss_weights == config.weights == (1.0, 0.0)
    assert (config.wounds, config.blurs) == (("ring", "half"), ("gauss",))
    plain = config.plain()
    assert plain == json.loads(json.dumps(plain))
    lists = {"loss_steps": [3, 9], "loss_weights": [1.0, 0.0]}
    lists |= {"wounds": ["ring", "half"], "blurs": ["gauss"]}
    assert plain == asdict(config) | lists


SHARES = ("pool_share", "pool_start", "pool_renewal", "damage", "switch_share")
AMOUNTS = (
    "noise", "alive_weight", "origin_weight", "position_weight", "perceptual_weight", "overflow_weight",
    "kl_weight",
)  # fmt: skip


@pytest.mark.parametrize(
    ("change", "message"),
    [
        *[({name: 0}, f"^{name} is 0: give a whole number of at least 1$")
          for name in ("iterations", "batch_size", "pool_size")],
        ({"seed": -1}, "^seed is -1"),
        ({"task": "paint"}, "^task is 'paint': choose 'grow', 'restore' or 'read'$"),
        ({"loss_steps": ()}, r"^loss_steps are \(\): give increasing numbers from 1 on$"),
        ({"loss_steps": (0, 3)}, r"^loss_steps are \(0, 3\)"),
        ({"loss_steps": (3, 3)}, r"^loss_steps are \(3, 3\)"),
        ({"loss_steps": (3, 2)}, r"^loss_steps are \(3, 2\)"),
        ({"loss_steps": (1.5,)}, "^a loss step is 1.5: give a whole number$"),
        ({"loss_weights": (1.0,)}, "^give as many loss_weights as loss_steps, or none$"),
        *[({name: value}, f"^{name} is {value}: it is a share, from 0 to 1$")
          for name in SHARES for value in (-0.1, 1.01, math.nan)],
        ({"damage": 0.7, "switch_share": 0.31},
         "^damage and switch_share are above 1 together$"),
        *[({"kl_warmup": value}, f"^kl_warmup is {value}: it is a share, above 0$")
          for value in (0, 1.1)],
        ({"pool_size": 15}, "^pool_size 15 is below batch_size 16$"),
        *[({name: value}, f"^{name} is {value}: choose 0 or more$")
          for name in AMOUNTS for value in (-0.1, math.inf)],
        *[({"wounds": given}, "^wounds are .*: choose from disc, half, ring, scattered, stripes, "
           "middle$") for given in ((), ("disc", "bite"), "disc")],
        *[({"blurs": given}, "^blurs are .*: choose from box5, box3, box7, gauss$")
          for given in ((), ("box5", "box9"), "gauss")],
        ({"flow_iterations": -1}, "^flow_iterations is -1: give a whole number of at least 0$"),
        ({"flow_iterations": 1.5}, "^flow_iterations is 1.5: give a whole number$"),
        ({"loss_weights": (1.0, -1.0, 1.0, 1.0)}, "^a loss weight is -1.0: choose 0 or more$"),
        ({"loss_weights": (0.0,) * 4}, "^loss_weights are all 0: nothing would be learned$"),
        *[({name: value}, f"^{name} is {value}: choose a number above 0$")
          for name in ("learning_rate", "clip_norm") for value in (0, math.inf, math.nan)],
    ],
)  # fmt: skip
def test_settings_that_can_not_be(change, message):
    with pytest.raises(InputError, match=message):
        replace(TrainingConfig(), **change)


@pytest.mark.parametrize(
    "change",
    [
        {"iterations": 1, "batch_size": 1, "pool_size": 1},
        {"loss_steps": (1,)},
        {"damage": 0.7, "switch_share": 0.3},
        {"damage": 0.0, "switch_share": 1.0},
        {"kl_warmup": 1},
        {"kl_warmup": 0.001},
        {"pool_size": 16},
        {"task": "restore"},
        {"task": "classify"},
        {"wounds": ("middle",)},
        {"blurs": ("box3", "box3", "box7", "gauss")},
        {"wounds": ("half", "half", "disc")},
        {"flow_iterations": 1},
        *[{name: value} for name in SHARES[:3] for value in (0, 1)],
        *[{name: value} for name in AMOUNTS for value in (0, 1.5)],
        {"loss_weights": (0.0, 0.0, 0.0, 0.5)},
        {"learning_rate": 0.5, "clip_norm": 0.5},
    ],
)  # fmt: skip
def test_settings_that_can_just_be(change):
    config = replace(TrainingConfig(), **change)
    assert all(getattr(config, name) == value for name, value in change.items())


@pytest.mark.parametrize(
    ("steps", "count", "wanted"),
    [(32, 4, (20, 24, 28, 32)), (10, 2, (8, 10)), (8, 4, (5, 6, 7, 8)), (2, 4, (1, 2)),
     (1, 4, (1,)), (20, 1, (20,)), (1, 100, (1,))],
)  # fmt: skip
def test_loss_steps_lie_in_the_second_half(steps, count, wanted):
    assert second_half(steps, count) == wanted
    if count == 4:
        assert second_half(steps) == wanted


def test_a_rollout_has_a_step():
    with pytest.raises(InputError, match=r"^steps is 0: a rollout has at least 1 step$"):
        second_half(0)


# --- the learning rate and the optimisers


def test_the_learning_rate_rises_in_a_tenth_and_falls_along_a_cosine():
    config = replace(CONFIG, iterations=100, learning_rate=0.5)
    for iteration, rate in [
        (0, 0.05),
        (4, 0.25),
        (9, 0.5),
        (10, 0.5),
        (40, 0.5 * (0.001 + 0.999 * 0.75)),  # a third of the way: cos 60 degrees
        (55, 0.5 * (0.001 + 0.999 / 2)),
        (70, 0.5 * (0.001 + 0.999 * 0.25)),
        (100, 0.5 * 0.001),
    ]:
        assert learning_rate(iteration, config) == pytest.approx(rate, rel=1e-12)


@pytest.mark.parametrize("iterations", [1, 2, 9, 10, 19])
def test_short_trainings_warm_up_for_one_iteration(iterations):
    config = replace(CONFIG, iterations=iterations, learning_rate=0.5)
    assert learning_rate(0, config) == 0.5
    assert learning_rate(1, config) == pytest.approx(0.5)
    assert learning_rate(max(2, iterations), config) == pytest.approx(0.0005)


def random_gradients(model, seed):
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator)


def test_muon_turns_the_matrices_and_adam_the_rest(model):
    matrices = {id(matrix): matrix for matrix in model.matrices}
    assert len(matrices) == 3
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    random_gradients(model, 0)
    Optimisers(model, CONFIG).step(1e-3)
    assert MUON_RATE == 10
    for name, parameter in model.named_parameters():
        alone = before[name].clone().requires_grad_(True)
        alone.grad = parameter.grad
        if id(parameter) in matrices:
            torch.optim.Muon([alone], lr=1e-2, weight_decay=0.0).step()
        else:
            torch.optim.Adam([alone], lr=1e-3).step()
        torch.testing.assert_close(parameter, alone, rtol=0, atol=1e-7, msg=name)
        assert not torch.equal(parameter, before[name])


def test_what_optimisers_remember_is_saved_and_restored(model):
    first = Optimisers(model, CONFIG)
    for seed in range(2):
        random_gradients(model, seed)
        first.step(1e-3)
    saved = {name: tensor.clone() for name, tensor in first.tensors().items()}
    count = len(list(model.parameters()))
    assert len([n for n in saved if n.startswith("muon.")]) == 3
    assert len([n for n in saved if n.startswith("adam.")]) == 3 * (count - 3)
    assert saved["adam.0.step"] == 2
    weights = {name: p.detach().clone() for name, p in model.named_parameters()}

    def third_step(optimisers):
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                parameter.copy_(weights[name])
        random_gradients(model, 2)
        optimisers.step(1e-3)
        return torch.cat([p.detach().flatten() for p in model.parameters()])

    restored = Optimisers(model, CONFIG)
    restored.load(saved)
    wanted = third_step(first)
    assert torch.equal(third_step(restored), wanted)
    assert not torch.equal(third_step(Optimisers(model, CONFIG)), wanted)


# --- the losses


def test_losses_by_hand():
    """Two samples of two frames, each off by a known number in one channel."""
    images = torch.zeros(2, 1, 28, 28)
    frames = torch.zeros(2, 2, 5, 28, 28)
    frames[0, :, 0] = 0.5  # ink: 1/4 too much in the first frame
    frames[1, 0, 1] = 1.0  # life: 1 in half of the second
    frames[1, :, 2] = 3.0  # the mark: everywhere, and one above the bound
    config = replace(
        CONFIG, loss_weights=(1.0, 3.0), alive_weight=0.5, origin_weight=2.0, overflow_weight=0.25
    )
    losses = growth_losses(frames, images, config)
    wanted = {
        "ink": 0.25 / 4,
        "life": 0.5 * (1 / 2) * 3 / 4,
        "anchor": 2.0 * (1 / 784 * 1 / 4 + (783 * 9 + 4) / 784 * 3 / 4),
        "overflow": 0.25 / 10,
    }
    for name, value in losses._asdict().items():
        assert value.item() == pytest.approx(wanted.get(name, 0), rel=1e-5), name
        assert value.shape == ()
    restored = growth_losses(frames, images, replace(config, task="restore"))
    assert restored.anchor == 0
    assert restored._replace(anchor=losses.anchor) == losses
    assert growth_losses(frames, images, replace(config, origin_weight=0.0)).anchor == 0
    light = growth_losses(frames, images, replace(config, origin_weight=0.5))
    assert light.anchor.item() == pytest.approx(losses.anchor.item() / 4)
    two = growth_losses(frames[:, :, :2], images, replace(config, origin_weight=0.0))
    assert two.ink == losses.ink  # a model may have just two channels


def test_life_and_ink_are_measured_against_the_picture():
    images = torch.zeros(2, 1, 28, 28)
    images[:, :, 10, 10] = 0.75  # its tissue has 25 cells
    frames = torch.zeros(1, 2, 5, 28, 28)
    frames[0, 0, 0], frames[0, 0, 1] = images[0, 0], alive_target(images)[0, 0]  # just right
    config = replace(CONFIG, loss_steps=(2,), alive_weight=0.5)
    losses = growth_losses(frames, images, config)
    assert losses.ink.item() == pytest.approx(0.75**2 / 784 / 2)
    assert losses.life.item() == pytest.approx(0.5 * 25 / 784 / 2)
    right = growth_losses(frames[:, :1], images[:1], config)
    assert right.ink == right.life == 0


def test_the_bound_holds_for_both_signs():
    frames = torch.zeros(1, 1, 4, 28, 28)
    frames[0, 0, 3] = -4.0
    config = replace(CONFIG, loss_steps=(2,), overflow_weight=1.0)
    assert growth_losses(frames, torch.zeros(1, 1, 28, 28), config).overflow.item() == 1.0
    frames[0, 0, 3] = -2.0
    assert growth_losses(frames, torch.zeros(1, 1, 28, 28), config).overflow.item() == 0.0


def test_life_is_wanted_around_the_ink():
    images = torch.zeros(2, 1, 28, 28)
    images[0, 0, 10, 12] = 0.11
    images[0, 0, 20, 20] = 0.1  # too faint
    images[1, 0, 0, 5] = 1.0  # at the edge
    wanted = torch.zeros(2, 1, 28, 28)
    wanted[0, 0, 8:13, 10:15] = 1.0
    wanted[1, 0, 0:3, 3:8] = 1.0
    assert torch.equal(alive_target(images), wanted)
    assert alive_target(images.double()).dtype == torch.float64


@pytest.mark.parametrize(("gap", "closed"), [(6, True), (10, True), (11, False)])
def test_gaps_are_closed_and_wide_ones_stay(gap, closed):
    images = torch.zeros(1, 1, 28, 40)
    images[..., 5 : 6 + gap + 1 : gap + 1] = 1.0  # two lines with a gap between them
    life = alive_target(images)[0, 0, 14]
    assert life[3 : 5 + gap + 1 + 3].all().item() is closed
    assert life.sum() == (gap + 6 if closed else 10)


def test_the_anchor_is_where_the_seed_is():
    target = origin_target(torch.rand(2, 1, 28, 40))
    assert torch.equal(target, seed_state(2, 3, (28, 40))[:, 2:])


def test_where_a_cell_is_by_hand():
    """From the seed on: coarse marks in halves of the grid, fine ones come again every four."""
    target = position_target(torch.rand(2, 1, 28, 40))
    assert target.shape == (6, 28, 40)
    for (y, x), wanted in {
        (14, 20): (0, 0, 0, 0, 1, 1),  # the seed
        (15, 20): (1 / 14, 0, 1, 0, 0, 1),
        (14, 18): (0, -1 / 7, 0, 0, 1, -1),
        (0, 39): (-1, 19 / 14, 0, -1, -1, 0),
    }.items():
        assert target[:, y, x].tolist() == pytest.approx(wanted, abs=1e-5)
    torch.testing.assert_close(target[2:, 4:, 4:], target[2:, :-4, :-4], rtol=0, atol=1e-5)
    assert position_target(torch.rand(1, 4, 28, 40).double()).dtype == torch.float64


def test_what_cells_think_of_where_they_are_counts_in_the_tissue():
    """Coarse marks count 33 times: of a tissue of 25 cells all are off by 1/2 in one channel."""
    images = torch.zeros(2, 1, 28, 28)
    images[:, :, 10, 10] = 1.0
    frames = torch.full((2, 2, 9, 28, 28), 99.0)  # whatever it is elsewhere
    tissue = alive_target(images)[0, 0] > 0
    right = position_target(images)
    frames[:, :, 3:] = torch.where(tissue, right, frames[:, :, 3:])
    assert (position_error(frames[:, :, 3:], images) == 0).all()
    assert MNIST.place == slice(3, 9)
    frames[0, :, 4] += 0.5
    frames[1, 0, 8] -= 0.5
    coarse, fine = 33 * 25 / 784 / 4 / 2, 25 / 784 / 4 / 4 / 2
    error = position_error(frames[:, :, 3:], images)
    assert error.tolist() == pytest.approx([coarse, fine], rel=1e-5)
    config = replace(CONFIG, loss_weights=(1.0, 3.0), position_weight=2.0, overflow_weight=0.0)
    losses = growth_losses(frames, images, config)
    assert losses.place.item() == pytest.approx(2 * (coarse + 3 * fine) / 4, rel=1e-5)
    assert growth_losses(frames, images, replace(config, position_weight=0.0)).place == 0
    assert growth_losses(frames, images, replace(config, task="restore")).place == 0


def test_a_margin_counts_as_nothing():
    """Around the pictures there is nothing wanted: what is there costs, an empty margin doesn't."""
    generator = torch.Generator().manual_seed(0)
    images = pad(torch.rand(2, 1, 20, 20, generator=generator), 4)
    frames = torch.randn(2, 2, 10, 28, 28, generator=generator)
    config = replace(CONFIG, origin_weight=0.7, position_weight=0.3, perceptual_weight=0.1)
    perceptual = load_classifier()
    plain = growth_losses(frames, images, config, perceptual)
    wide = growth_losses(pad(frames, 3), images, config, perceptual)
    torch.testing.assert_close(torch.stack(wide), torch.stack(plain))
    torch.testing.assert_close(
        crop(position_target(pad(images, 3), 3), 3), position_target(images), rtol=0, atol=1e-5
    )
    spilt = pad(frames, 3)
    spilt[:, :, 0, 1, 5] = 2.0
    more = growth_losses(spilt, images, config, perceptual)
    assert more.ink.item() - plain.ink.item() == pytest.approx(4 / 784, rel=1e-3)
    assert more._replace(ink=wide.ink) == wide


# --- one iteration


def test_an_iteration_logs_what_it_learned(model, digits):
    run = new_run(model, CONFIG)
    run.iteration = 2
    before = [p.detach().clone() for p in model.parameters()]
    entry = try_step(run, digits, CONFIG)
    parts = Losses._fields
    assert {"ink", "life", "anchor", "perceptual", "overflow", "kl"} <= set(parts)
    assert list(entry) == ["loss", *parts, "gradient", "learning_rate", "pixel_accuracy"]
    assert entry["loss"] == pytest.approx(sum(entry[name] for name in parts))
    assert entry["kl"] > 0
    assert entry["learning_rate"] == learning_rate(2, CONFIG)
    assert run.iteration == 3
    changed = [not torch.equal(p, old) for p, old in zip(model.parameters(), before, strict=True)]
    assert all(changed)


def test_the_same_seed_draws_the_same_and_another_another(model, digits):
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}

    def first_loss(seed):
        model.load_state_dict(state)
        return try_step(new_run(model, replace(CONFIG, seed=seed)), digits, CONFIG)["loss"]

    assert first_loss(1) == first_loss(1) != first_loss(2)


@pytest.mark.parametrize("longest", [1e-3, 1e3])
def test_gradients_are_clipped_and_logged_as_they_were(model, digits, longest):
    config = replace(CONFIG, clip_norm=longest)
    entry = try_step(new_run(model, config), digits, config)
    assert 1e-3 < entry["gradient"] < 1e3
    norm = torch.cat([p.grad.flatten() for p in model.parameters()]).norm().item()
    assert norm == pytest.approx(min(longest, entry["gradient"]), rel=1e-3)


def test_gradients_of_one_iteration_do_not_reach_the_next(model, digits):
    run, fresh = new_run(model, CONFIG), new_run(model, CONFIG)
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 1e6)
    assert try_step(run, digits, CONFIG)["gradient"] < 1e3
    assert fresh.iteration == 0


def test_a_rank_without_samples_learns_with_the_others(model, digits):
    config = replace(CONFIG, batch_size=1)
    run = new_run(model, config, Ranks(1, 2))
    sums = []

    class Two(Ranks):
        def add_up(self, gradients, numbers):
            sums.append((gradients, numbers))
            assert not any(g.any() for g in gradients)
            return torch.ones(len(numbers))

    run.pool.ranks = Two(1, 2)
    entry = try_step(run, digits, config)
    ((gradients, numbers),) = sums
    assert len(gradients) == len(list(model.parameters()))
    assert numbers.tolist() == [0.0] * (len(Losses._fields) + 1)
    assert (entry["loss"], entry["pixel_accuracy"]) == (len(Losses._fields), 1.0)


@pytest.mark.parametrize("which", ["loss", "gradient"])
def test_what_is_not_finite_teaches_nothing(model, digits, monkeypatch, which):
    run = new_run(model, CONFIG)
    before = [p.detach().clone() for p in model.parameters()]
    right = loop.grow_batch

    def explode(run, *args):
        numbers = right(run, *args)
        if which == "loss":
            return torch.cat([numbers[:1] * math.inf, numbers[1:]])
        model.output.weight.grad.fill_(math.nan)
        return numbers

    monkeypatch.setattr(loop, "grow_batch", explode)
    with pytest.raises(FloatingPointError):
        try_step(run, digits, CONFIG)
    assert run.iteration == 0
    assert all(torch.equal(p, old) for p, old in zip(model.parameters(), before, strict=True))


@pytest.mark.parametrize(("failures", "fine"), [(0, True), (1, True), (4, True), (5, False)])
def test_five_batches_are_tried(model, digits, monkeypatch, failures, fine):
    calls, run = [], new_run(model, CONFIG)

    def explode(*given):
        calls.append(given)
        if len(calls) <= failures:
            raise FloatingPointError
        return {"loss": 1.0}

    monkeypatch.setattr(loop, "try_step", explode)
    if fine:
        assert training_step(run, digits, CONFIG) == {"loss": 1.0}
    else:
        with pytest.raises(FloatingPointError):
            training_step(run, digits, CONFIG)
    assert len(calls) == min(failures + 1, 5)
    assert all(given[0] is run and given[1:] == (digits, CONFIG) for given in calls)


# --- the loop


def test_a_training_does_what_it_was_told_when_it_was(tmp_path, model, digits):
    seen, told, saves = [], [], []
    outputs = Outputs(tmp_path / "deep" / "er", "toy")

    def watch(watched, iteration):
        assert watched is model
        assert not model.conditioning.mean.any()  # the encoder's codes as they are
        assert torch.equal(model.conditioning.scale_tril, torch.eye(2).expand(10, 2, 2))
        assert model.metadata["training"] == config.plain()
        seen.append(iteration)

    def on_iteration(iteration):
        told.append(iteration)
        saves.append(outputs.run.exists())

    config = replace(CONFIG, iterations=7)
    model.conditioning.mean.fill_(3.0)
    history = train(
        model, digits, config, outputs, source="here", origin={"made": "of"}, log_every=3,
        save_every=4, watch=watch, watch_every=2, on_iteration=on_iteration, progress=False,
    )  # fmt: skip
    assert told == [1, 2, 3, 4, 5, 6, 7]
    assert saves == [False] * 4 + [True] * 3
    assert seen == [2, 4, 6, 7]
    assert [record["iteration"] for record in history] == [1, 3, 6, 7]
    assert next(iter(history[0])) == "iteration"
    assert {"loss", "gradient", "seconds"} <= history[0].keys()
    lines = outputs.log.read_text().splitlines()
    assert [json.loads(line) for line in lines] == history
    assert not (tmp_path / "deep" / "er" / "toy.jsonl.tmp").exists()
    written = load(outputs.model)
    assert torch.equal(written.output.weight, model.output.weight)
    assert written.metadata["training"] == config.plain()
    assert written.metadata["digits"] == [0, 1, 2, 3]
    assert (written.metadata["source"], written.metadata["start"]) == ("here", {"made": "of"})
    assert written.metadata["iteration"] == 7
    assert written.metadata["seconds"] == history[-1]["seconds"]


def test_what_is_not_said_is_an_everyday_training(model, digits):
    config, seen = replace(CONFIG, iterations=51, loss_steps=(1,)), []
    history = train(model, digits, config, watch=lambda _, k: seen.append(k), progress=False)
    assert [record["iteration"] for record in history] == [1, 25, 50, 51]
    assert seen == [51]
    assert model.metadata["source"] == ""
    assert model.metadata["start"] == {}


def test_a_run_is_saved_every_250_iterations(tmp_path, model, digits, monkeypatch):
    outputs, saved, seen = Outputs(tmp_path, "toy"), [], []

    def step(run, *_):
        run.iteration += 1
        return {"loss": 1.0, "pixel_accuracy": 0.5}

    monkeypatch.setattr(loop, "training_step", step)
    monkeypatch.setattr(loop.Run, "save", lambda run, *_: saved.append(run.iteration))
    config = replace(CONFIG, iterations=600)
    train(model, digits, config, outputs, watch=lambda _, k: seen.append(k), progress=False)
    assert saved == seen == [250, 500, 600]


def assert_fitted(model, digits):
    average, spread = model.conditioning.mean.clone(), model.conditioning.scale_tril.clone()
    assert average[:4].abs().min() > 0
    assert not average[4:].any()
    model.conditioning.reset_styles()
    model.fit_styles(digits.images, digits.labels)
    assert torch.equal(model.conditioning.mean, average)
    assert torch.equal(model.conditioning.scale_tril, spread)


def test_styles_are_fitted_at_the_end(tmp_path, model, digits):
    outputs = Outputs(tmp_path, "toy")
    train(model, digits, CONFIG, outputs, progress=False)
    assert torch.equal(load(outputs.model).conditioning.mean, model.conditioning.mean)
    assert_fitted(model, digits)


def test_a_stopped_training_is_saved_and_leaves_fitted_styles(tmp_path, model, digits):
    outputs, wishes = Outputs(tmp_path, "toy"), iter([False, False, True])
    wanted = rf"^stopped after iteration 3 of 6; {outputs.run} is saved, go on with --resume$"
    with pytest.raises(Stopped, match=wanted) as stopped:
        train(model, digits, CONFIG, outputs, stop=lambda: next(wishes), progress=False)
    assert stopped.value.number == signal.SIGINT
    assert outputs.run.exists()
    assert not outputs.model.exists()
    assert_fitted(model, digits)


def test_a_training_stops_without_outputs_too(model, digits):
    with pytest.raises(Stopped, match=r"^stopped after iteration 1 of 6$"):
        train(model, digits, CONFIG, stop=lambda: True, progress=False)
    assert_fitted(model, digits)


@pytest.fixture
def wish(monkeypatch):
    wish, asked = Wish(), []

    @contextmanager
    def asked_to_stop():
        asked.append("begun")
        try:
            yield wish
        finally:
            asked.append("ended")

    monkeypatch.setattr(loop, "asked_to_stop", asked_to_stop)
    wish.asked = asked
    return wish


def test_a_signal_stops_a_training_and_is_passed_on(model, digits, wish):
    def on_iteration(iteration):
        wish.number = signal.SIGTERM if iteration == 4 else None

    with pytest.raises(Stopped, match=r"^stopped after iteration 4 of 6$") as stopped:
        train(model, digits, CONFIG, on_iteration=on_iteration, progress=False)
    assert stopped.value.number == signal.SIGTERM
    assert wish.asked == ["begun", "ended"]


def test_a_signal_in_the_last_iteration_leaves_a_finished_training(tmp_path, model, digits, wish):
    outputs = Outputs(tmp_path, "toy")

    def on_iteration(iteration):
        wish.number = signal.SIGTERM if iteration == 6 else None

    with pytest.raises(Stopped, match=r"^toy is finished; stopped there$") as stopped:
        train(model, digits, CONFIG, outputs, on_iteration=on_iteration, progress=False)
    assert stopped.value.number == signal.SIGTERM
    assert load(outputs.model).metadata["iteration"] == 6


def test_whoever_asks_to_stop_in_the_last_iteration_gets_a_finished_training(model, digits, wish):
    history = train(model, digits, replace(CONFIG, iterations=1), stop=lambda: True, progress=False)
    assert len(history) == 1
    assert wish.asked == []  # no signal is asked where somebody else is


def test_a_run_goes_on_where_it_was(tmp_path, model, digits):
    begin = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    whole = train(model, digits, CONFIG, log_every=1, progress=False)
    wanted = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model.load_state_dict(begin)
    outputs, wishes = Outputs(tmp_path, "toy"), iter([False, False, True])
    with pytest.raises(Stopped):
        train(model, digits, CONFIG, outputs, log_every=1, stop=lambda: next(wishes), progress=False)
    model.load_state_dict(begin)
    told, before = [], json.loads(outputs.log.read_text().splitlines()[-1])["seconds"]
    parts = train(
        model, digits, CONFIG, outputs, log_every=1, resume=True, on_iteration=told.append,
        progress=False,
    )  # fmt: skip
    assert told == [4, 5, 6]
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, wanted[name]), name
    seconds = [record.pop("seconds") for record in parts]
    assert seconds == sorted(seconds)  # the time that was spent before counts
    assert seconds[3] >= before
    for record in whole:
        del record["seconds"]
    assert parts == whole
    again = train(model, digits, CONFIG, outputs, resume=True, progress=False)
    assert [record["iteration"] for record in again] == [1, 2, 3, 4, 5, 6]
    with pytest.raises(InputError, match="exists: continue it with --resume"):
        train(model, digits, CONFIG, outputs, progress=False)


def test_a_rank_without_log_goes_on_from_the_last_record(tmp_path, model, digits):
    outputs, wishes = Outputs(tmp_path, "toy"), iter([False, False, True])
    with pytest.raises(Stopped):
        train(model, digits, CONFIG, outputs, log_every=3, stop=lambda: next(wishes), progress=False)
    last = json.loads(outputs.log.read_text().splitlines()[-1])
    records = train(
        model, digits, CONFIG, outputs, resume=True, ranks=Quiet(1, 2), stop=lambda: False,
        log_every=3, progress=False,
    )  # fmt: skip
    assert [record["iteration"] for record in records] == [3, 6]
    assert records[0] == last


def test_seconds_are_those_of_the_clock(tmp_path, model, digits, monkeypatch):
    """It is asked at the start and after every iteration, and was at 1000 before."""
    ticks = iter([1000.0, 1001.0, 1003.0, 1007.126, 2000.0, 2000.5, 2001.0, 2002.0])
    monkeypatch.setattr(loop, "time", SimpleNamespace(perf_counter=lambda: next(ticks)))
    outputs, wishes = Outputs(tmp_path, "toy"), iter([False, False, True])
    given = {"log_every": 1, "progress": False}
    with pytest.raises(Stopped):
        train(model, digits, CONFIG, outputs, stop=lambda: next(wishes), **given)
    history = train(model, digits, CONFIG, outputs, resume=True, **given)
    assert [record["seconds"] for record in history] == [1.0, 3.0, 7.13, 7.63, 8.13, 9.13]
    assert load(outputs.model).metadata["seconds"] == 9.13


def test_a_resumed_run_must_be_the_same(tmp_path, model, digits):
    outputs = Outputs(tmp_path, "toy")
    given = {"source": "here", "origin": {"a": 1}, "progress": False}
    train(model, digits, CONFIG, outputs, **given)
    for change, message in [
        ({"source": "there"}, "source = here, now it is there"),
        ({"origin": {"a": 2}}, r"start\.a = 1, now it is 2"),
    ]:
        with pytest.raises(InputError, match=message):
            train(model, digits, CONFIG, outputs, resume=True, **given | change)


def test_a_folder_has_one_writer_unless_it_is_claimed(tmp_path, model, digits, monkeypatch):
    entered = []

    @contextmanager
    def only_writer(folder):
        entered.append(folder)
        yield

    monkeypatch.setattr(loop, "only_writer", only_writer)
    config = replace(CONFIG, iterations=1)
    train(model, digits, config, progress=False)
    train(model, digits, config, Outputs(tmp_path / "b", "toy", claimed=True), progress=False)
    assert entered == []
    train(model, digits, config, Outputs(tmp_path / "a", "toy"), progress=False)
    assert entered == [tmp_path / "a"]


@pytest.mark.parametrize(("number", "tasks"), [(0, 2), (1, 2)])
def test_the_first_rank_alone_writes_and_watches(tmp_path, model, digits, bars, number, tasks):
    ranks, seen, asked = Quiet(number, tasks), [], []
    outputs = Outputs(tmp_path / "out", "toy")
    train(
        model, digits, CONFIG, outputs, ranks=ranks, watch=lambda _, k: seen.append(k),
        stop=lambda: asked.append(1), log_every=2,
    )  # fmt: skip
    first = number == 0
    assert outputs.model.exists() is outputs.log.exists() is outputs.run.exists() is first
    assert seen == ([6] if first else [])
    assert len(asked) == 6
    assert bars[0].options["disable"] is (None if first else True)


class Quiet(Ranks):
    """A rank that hears nothing of the others."""

    def add_up(self, gradients, numbers):
        return numbers

    def any(self, wish):
        return bool(wish)

    def collect(self, shard, total):
        return shard if self.first else None


@pytest.fixture
def bars(monkeypatch):
    """The progress bars, noted down."""
    made = []

    class Bar:
        def __init__(self, **options):
            self.options, self.done, self.texts, self.closed = options, 0, [], False
            made.append(self)

        def update(self):
            self.done += 1

        def set_postfix(self, **texts):
            self.texts.append(texts)

        def close(self):
            self.closed = True
            raise OSError("the terminal is gone")

    monkeypatch.setattr(loop, "tqdm", Bar)
    return made


def test_progress_is_shown(tmp_path, model, digits, bars):
    history = train(model, digits, CONFIG, log_every=1)
    (bar,) = bars
    wanted = {"total": 6, "initial": 0, "desc": "grow", "leave": False, "unit": "it"}
    assert bar.options == wanted | {"disable": None}
    assert (bar.done, bar.closed) == (6, True)
    last = history[-1]
    wanted = {"loss": f"{last['loss']:.4f}", "accuracy": f"{last['pixel_accuracy']:.1%}"}
    assert bar.texts[-1] == wanted
    outputs = Outputs(tmp_path, "toy")
    train(model, digits, CONFIG, outputs, progress=False)
    assert bars[1].options["disable"] is True
    assert bars[1].options["desc"] == "toy"
    train(model, digits, CONFIG, outputs, resume=True)
    assert bars[2].options["initial"] == 6


def test_a_training_that_diverged_says_where_and_what_is_left(tmp_path, model, digits, monkeypatch):
    right = loop.training_step

    def diverge(run, *args):
        if run.iteration == 4:
            raise FloatingPointError
        return right(run, *args)

    monkeypatch.setattr(loop, "training_step", diverge)
    outputs = Outputs(tmp_path, "toy")
    try_lower = "Try a lower --learning-rate, shorter rollouts (--loss-steps) or another --seed."
    for saved, given in [
        ("", None),
        (f" The last good state is in {outputs.run}, the log in {outputs.log}.", outputs),
    ]:
        with pytest.raises(TrainingDiverged) as diverged:
            train(model, digits, CONFIG, given, save_every=3, progress=False)
        message = f"the loss is not finite at iteration 5.{saved} {try_lower}"
        assert str(diverged.value) == message
    assert not outputs.model.exists()
    with pytest.raises(TrainingDiverged, match=r"iteration 5\. Try"):
        train(model, digits, CONFIG, Outputs(tmp_path / "b", "x"), save_every=9, progress=False)


def test_weights_that_are_not_finite_leave_styles_as_codes(model, digits, monkeypatch):
    def diverge(run, *args):
        model.encoder.code.weight.data.fill_(math.nan)
        raise FloatingPointError

    monkeypatch.setattr(loop, "training_step", diverge)
    with pytest.raises(TrainingDiverged):
        train(model, digits, CONFIG, progress=False)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"digits": Pictures(torch.zeros(0, 1, 28, 28), torch.zeros(0).long())},
         "^0 images and 0 labels: give as many, at least 1$"),
        ({"digits": Pictures(torch.zeros(3, 1, 28, 28), torch.zeros(2).long())},
         "^3 images and 2 labels: give as many, at least 1$"),
        ({"digits": Pictures(torch.zeros(2, 1, 28, 28) + 2, torch.zeros(2).long())}, "outside"),
        ({"digits": Pictures(torch.zeros(1, 1, 28, 28), torch.tensor([10]))}, "label 10"),
        ({"config": replace(CONFIG, batch_size=1), "ranks": Ranks(0, 2)},
         "^batch_size 1 is too small for 2 processes$"),
        ({"config": replace(CONFIG, origin_weight=0.1), "channels": 2},
         "^an anchor wants 3 channels, this model has fewer$"),
        ({"config": replace(CONFIG, position_weight=0.1), "channels": 8},
         "^places want 9 channels, this model has fewer: choose more, or --place-weight 0$"),
    ],
)  # fmt: skip
def test_what_can_not_be_trained(model, digits, change, message):
    from nca_lib.model import NCA, ModelConfig

    if "channels" in change:
        model = NCA(ModelConfig(change["channels"], 4, 2, 0))
    given = change.get("digits", digits), change.get("config", CONFIG)
    with pytest.raises(InputError, match=message):
        check_training(model, *given, change.get("ranks", Ranks()))
    with pytest.raises(InputError, match=message):
        train(model, *given, ranks=change.get("ranks"), progress=False)


def test_what_can_just_be_trained(digits):
    from nca_lib.model import NCA, ModelConfig

    anchored = replace(CONFIG, origin_weight=0.1, batch_size=2)
    checked = check_training(NCA(ModelConfig(3, 4, 2, 0)), digits, anchored, Ranks(0, 2))
    assert checked.images is digits.images
    assert torch.equal(checked.labels, digits.labels)
    check_training(NCA(ModelConfig(2, 4, 2, 0)), digits, CONFIG, Ranks())
    check_training(NCA(ModelConfig(9, 4, 2, 0)), digits, replace(CONFIG, position_weight=1.0), Ranks())
    bytes_of_labels = Pictures(digits.images, digits.labels.to(torch.uint8))
    assert check_training(toy_model(), bytes_of_labels, CONFIG, Ranks()).labels.dtype == torch.int64


def test_the_toy_learns_nothing_more_from_its_own_pictures():
    """The ink of a grown bar is right: its loss is 0 in the last step, and so is its gradient."""
    model = toy_model(0.75).requires_grad_(True)
    digits = toy.bars([0, 1, 2, 3], 0.75)
    config = replace(CONFIG, loss_steps=(8, 12), alive_weight=0.0, kl_weight=0.0)
    config = replace(config, overflow_weight=0.0, loss_weights=(1.0, 1.0))
    entry = try_step(new_run(model, config), digits, config)
    assert (entry["ink"], entry["loss"], entry["gradient"]) == (0, 0, 0)
    assert entry["pixel_accuracy"] == 1


def test_a_growth_is_kept_from_dying_in_its_first_steps(digits):
    """A grid that has died gives no gradient: such a model learned nothing, ever."""
    frames = torch.zeros(2, 3, 4, 5, 5)
    frames[0, 0, 1, 2, 2] = 0.8  # lives
    frames[0, 1, 1, 2, 2] = 0.1  # hardly
    frames[1, :, 1, 2, 2] = torch.tensor([0.5, 0.3, 0.0])
    wanted = (0.4**2 + 0.5**2 + 0.2**2 + 0.5**2) / 6
    assert birth_error(frames, 1).item() == pytest.approx(wanted)
    assert birth_error(frames[:0], 1) == 0

    model = NCA(ModelConfig(12, 16, 0, 0, fire_rate=1.0))
    with torch.no_grad():  # every cell loses 0.7 of life a step: all are dead after two
        model.hidden.weight[0], model.hidden.bias[0] = 0.0, 1.0
        model.output.weight[1, 0] = -0.7
    config = TrainingConfig(
        iterations=60, batch_size=4, pool_size=4, pool_share=0.0, loss_steps=(6, 8)
    )

    def lives():
        state = seed_state(1, 12)
        return bool(model.rollout(state, model.condition(3), 8, 0)[-1].any())

    assert not lives()
    train(model, digits, config, progress=False)
    assert lives()
