"""What training learns, and how: settings, tasks, losses, optimisers, the loop; exact numbers."""

import json
import math
import signal
from dataclasses import asdict, replace
from functools import partial
from types import SimpleNamespace

from nca_lib.checkpoint import load
from nca_lib.classifier import load_classifier
from nca_lib.data import Pictures
from nca_lib.data.blur import box_blur
from nca_lib.inputs import InputError
from nca_lib.model import NCA
from nca_lib.spec import MNIST, ImageSpec
from nca_lib.state import crop, pad, seed_state, state_from_image
from nca_lib.training import Outputs, Stopped, TrainingConfig, TrainingDiverged, loop, train
from nca_lib.training.distributed import Distributed
from nca_lib.training.loop import training_step, try_step
from nca_lib.training.losses import (
    Losses,
    alive_target,
    birth_error,
    origin_target,
    position_error,
    position_target,
)
from nca_lib.training.optimisers import MUON_RATE, Optimisers, learning_rate
from nca_lib.training.tasks import TASKS, task_of

import pytest
import torch
import toy
from test_pool import new_run
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


# ---- the settings


def test_steps_and_plain_values():
    lists = {"loss_steps": [3, 9], "damage_kinds": ["ring", "half"], "blurs": ["gauss"]}
    config = TrainingConfig(**lists)
    assert (config.loss_steps, config.steps) == ((3, 9), 9)
    assert config.plain() == asdict(config) | lists


SHARES = ("pool_share", "pool_start", "pool_renewal", "damage", "switch_share")
AMOUNTS = ("noise", "alive_weight", "origin_weight", "position_weight", "perceptual_weight",
           "overflow_weight", "kl_weight")  # fmt: skip


@pytest.mark.parametrize(
    ("change", "message"),
    [
        *[({name: 0}, f"^{name} is 0: give a whole number of at least 1$")
          for name in ("iterations", "batch_size", "pool_size")],
        ({"seed": -1}, "^seed is -1"),
        ({"margin": -1}, "^margin is -1"),
        ({"task": "paint"}, "^task is 'paint': choose 'grow', 'restore' or 'classify'$"),
        *[({"loss_steps": steps}, f"^{message}") for steps, message in [
            ((), r"loss_steps are \(\): give increasing numbers from 1 on$"),
            ((0, 3), "a loss step is 0: give a whole number of at least 1$"),
            ((3, 3), r"loss_steps are \(3, 3\)"), ((3, 2), r"loss_steps are \(3, 2\)"),
            ((1.5,), "a loss step is 1.5: give a whole number$"),
            ((9, 10**8), "loss_steps end at 100000000: choose at most 100000$")]],
        *[({name: value}, f"^{name} is {value}: it is a share, from 0 to 1$")
          for name in SHARES for value in (-0.1, 1.01, math.nan)],
        ({"damage": 0.7, "switch_share": 0.31}, "^damage and switch_share are above 1 together$"),
        ({"pool_size": 15}, "^pool_size 15 is below batch_size 16$"),
        *[({name: value}, f"^{name} is {value}: choose 0 or more$")
          for name in AMOUNTS for value in (-0.1, math.inf)],
        *[({"damage_kinds": given}, "^damage_kinds are .*: choose from disc, half, ring, "
           "scattered, stripes, middle$") for given in ((), ("disc", "bite"), "disc")],
        *[({"blurs": given}, "^blurs are .*: choose from box5, box3, box7, gauss$")
          for given in ((), ("box5", "box9"), "gauss")],
        *[({name: value}, f"^{name} is {value}: choose a number above 0$")
          for name in ("learning_rate", "clip_norm", "kl_warmup") for value in (0, math.inf)],
    ],
)  # fmt: skip
def test_settings_that_can_not_be(change, message):
    with pytest.raises(InputError, match=message):
        replace(TrainingConfig(), **change)


def test_settings_that_can_just_be():
    for change in (
        {"iterations": 1, "batch_size": 1, "pool_size": 1}, {"loss_steps": (1,)}, {"noise": 0.0},
        {"damage": 0.7, "switch_share": 0.3}, {"damage": 0.0, "switch_share": 1.0}, {"margin": 0},
        {"pool_share": 1, "pool_start": 0}, {"seed": 0},
        {"damage_kinds": ("half", "half")}, {"pool_size": 16}, *({name: 0.0} for name in AMOUNTS),
    ):  # fmt: skip
        replace(TrainingConfig(), **change)


def test_settings_as_keywords(model, digits):
    history = train(model, digits, iterations=2, loss_steps=(2, 3), batch_size=2, progress=False)
    assert [entry["iteration"] for entry in history] == [1, 2]
    bytes_too = Pictures(digits.images, digits.labels.to(torch.uint8))
    train(model, bytes_too, CONFIG, iterations=1, progress=False)
    assert model.metadata["training"] == replace(CONFIG, iterations=1).plain()
    with pytest.raises(InputError, match=r"^train has no setting 'steps': choose from task, iter"):
        train(model, digits, steps=3)


# ---- the tasks


def test_each_task_has_its_initial_state():
    model, images = toy_model(), torch.rand(2, 1, 28, 28, dtype=torch.float64)
    grown = TASKS["grow"].initial_state(model, images)
    assert torch.equal(grown, model.seed(2).double())
    assert grown.dtype == torch.float64
    restored = TASKS["restore"].initial_state(model, images)
    assert torch.equal(restored, state_from_image(box_blur(images), 5, threshold=0))
    classified = TASKS["classify"].initial_state(model, images)
    assert torch.equal(classified, state_from_image(images, 5))
    assert task_of(model) is TASKS["grow"]


@pytest.mark.parametrize(
    ("settings", "config", "message"),
    [
        ({"channels": 2}, {"origin_weight": 0.1}, "has 2 channels, .* want 3: choose more"),
        ({"channels": 8}, {"position_weight": 0.1}, "has 8 channels, .* want 9: choose more"),
        ({"channels": 11}, {"task": "classify"}, "^votes want 12 channels, this model has 11$"),
        ({"channels": 12}, {"task": "classify"}, "^a self-classifying model has no conditioning"),
    ],
)
def test_models_that_can_not_be_trained_for_a_task(digits, settings, config, message):
    model = NCA(MNIST, hidden=4, label_dim=2, **settings)
    with pytest.raises(InputError, match=message):
        train(model, digits, CONFIG, progress=False, **config)
    fits = {"channels": settings["channels"] + 1} | ({"label_dim": 0} if "task" in config else {})
    train(NCA(MNIST, hidden=4, **fits), digits, CONFIG, iterations=1, progress=False, **config)


# ---- the learning rate and the optimisers


@pytest.mark.parametrize(
    ("iteration", "share"),
    [(0, 0.1), (4, 0.5), (9, 1), (10, 1), (40, 0.001 + 0.999 * 0.75), (55, 0.001 + 0.999 / 2),
     (100, 0.001)],
)  # fmt: skip
def test_the_learning_rate_rises_in_a_tenth_and_falls_along_a_cosine(iteration, share):
    assert learning_rate(iteration, 0.5, 100) == pytest.approx(0.5 * share, rel=1e-12)


@pytest.mark.parametrize("iterations", [1, 2, 9, 19])
def test_short_runs_warm_up_for_one_iteration(iterations):
    rates = [learning_rate(k, 0.5, iterations) for k in (0, 1, max(2, iterations))]
    assert rates == pytest.approx([0.5, 0.5, 0.0005])


def random_gradients(model, seed):
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator)


def test_muon_turns_the_matrices_and_adam_the_rest(model):
    matrices = {id(x.weight) for x in (model.hidden, model.from_condition, model.output)}
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    random_gradients(model, 0)
    Optimisers(model, 2e-3).step(1e-3)
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


def sgd(model):
    groups = [{"params": [model.output.weight], "lr": 0.5}, {"params": [model.hidden.bias]}]
    return torch.optim.SGD(groups, lr=0.25, momentum=0.9)


@pytest.mark.parametrize("own", [None, sgd])
def test_what_optimisers_remember_is_saved_and_restored(model, own):
    first = Optimisers(model, 2e-3, own)
    for seed in range(2):
        random_gradients(model, seed)
        first.step(1e-3)
    saved = {name: tensor.clone() for name, tensor in first.tensors().items()}
    weights = {name: p.detach().clone() for name, p in model.named_parameters()}

    def third_step(optimisers):
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                parameter.copy_(weights[name])
        random_gradients(model, 2)
        optimisers.step(1e-3)
        return torch.cat([p.detach().flatten() for p in model.parameters()])

    restored = Optimisers(model, 2e-3, own)
    restored.load(saved)
    wanted = third_step(first)
    assert torch.equal(third_step(restored), wanted)
    assert not torch.equal(third_step(Optimisers(model, 2e-3, own)), wanted)
    if own:  # its rates are the highest of the cycle, and this is half of it
        rates = [group["lr"] for group in restored.each["own"].param_groups]
        assert rates == pytest.approx([0.25, 0.125])


# ---- the losses


def grow_losses(frames, images, config=CONFIG, perceptual=None, spec=MNIST):
    model = SimpleNamespace(spec=spec)
    return TASKS["grow"].losses(model, frames, images, None, config, perceptual)


def test_losses_by_hand():
    """Two samples of two frames, each off by a known number in one channel."""
    images = torch.zeros(2, 1, 28, 28)
    frames = torch.zeros(2, 2, 5, 28, 28)
    frames[0, :, 0] = 0.5  # ink: 1/4 too much in the first frame
    frames[1, 0, 1] = 1.0  # alive: 1 in half of the second
    frames[1, :, 2] = 3.0  # origin: everywhere, and one above the bound
    config = replace(CONFIG, alive_weight=0.5, origin_weight=2.0, overflow_weight=0.25)
    losses = grow_losses(frames, images, config)
    wanted = {
        "ink": 0.25 / 2,
        "alive": 0.5 * (1 / 2) / 2,
        "origin": 2.0 * (1 / 784 + (783 * 9 + 4) / 784) / 2,
        "overflow": 0.25 / 10,
    }
    for name, value in losses._asdict().items():
        assert value.item() == pytest.approx(wanted.get(name, 0), rel=1e-5), name
        assert value.shape == ()
    light = grow_losses(frames, images, replace(config, origin_weight=0.5))
    assert light.origin.item() == pytest.approx(losses.origin.item() / 4)
    two = grow_losses(frames[:, :, :2], images, replace(config, origin_weight=0.0))
    assert (two.ink, two.origin) == (losses.ink, 0)  # a model may have just two channels


def test_ink_and_alive_channel_are_compared_with_the_picture():
    images = torch.zeros(2, 1, 28, 28)
    images[:, :, 10, 10] = 0.75  # its tissue has 25 cells
    frames = torch.zeros(1, 2, 5, 28, 28)
    frames[0, 0, 0], frames[0, 0, 1] = images[0, 0], alive_target(images)[0, 0]  # just right
    config = replace(CONFIG, alive_weight=0.5)
    losses = grow_losses(frames, images, config)
    assert losses.ink.item() == pytest.approx(0.75**2 / 784 / 2)
    assert losses.alive.item() == pytest.approx(0.5 * 25 / 784 / 2)
    right = grow_losses(frames[:, :1], images[:1], config)
    assert right.ink == right.alive == 0


def test_all_ink_channels_count():
    spec, images = ImageSpec(("fish",), 4, (12, 17)), torch.rand(2, 4, 12, 17)
    frames = torch.zeros(2, 2, 9, 12, 17)
    frames[:, :, :4] = images
    assert grow_losses(frames, images, spec=spec).ink == 0
    frames[:, :, 2] += 0.5
    assert grow_losses(frames, images, spec=spec).ink.item() == pytest.approx(0.25 / 4)


@pytest.mark.parametrize(("value", "wanted"), [(-4.0, 1.0), (4.0, 1.0), (-2.0, 0.0), (2.0, 0.0)])
def test_the_bound_holds_for_both_signs(value, wanted):
    frames = torch.zeros(1, 1, 4, 28, 28)
    frames[0, 0, 3] = value
    config = replace(CONFIG, overflow_weight=1.0)
    assert grow_losses(frames, torch.zeros(1, 1, 28, 28), config).overflow.item() == wanted


def test_cells_should_be_alive_around_the_ink():
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
    row = alive_target(images)[0, 0, 14]
    assert row[3 : 5 + gap + 1 + 3].all().item() is closed
    assert row.sum() == (gap + 6 if closed else 10)


def test_tissue_keeps_away_from_the_edge():
    """Where it touched the edge, models took their bearings from there, not from the origin."""
    digit = torch.zeros(1, 1, 28, 28)
    digit[:, :, 4:24, 4:24] = 1.0  # as large as MNIST's digits are
    tissue = alive_target(digit)[0, 0]
    assert tissue[2:26, 2:26].all()
    assert tissue.sum() == 24 * 24


def test_the_origin_is_where_the_seed_is():
    spec = ImageSpec(("x",), 1, (28, 40))
    assert torch.equal(origin_target(torch.rand(2, 1, 28, 40)), seed_state(spec, 3, 2)[:, 2:])


def test_positions_by_hand():
    """From the seed on: coarse channels in halves of the grid, fine ones repeat every four."""
    target = position_target(torch.rand(2, 1, 28, 40))
    assert target.shape == (6, 28, 40)
    for (y, x), wanted in {
        (14, 20): (0, 0, 0, 0, 1, 1),  # the seed
        (15, 20): (1 / 14, 0, 1, 0, 0, 1),
        (14, 18): (0, -1 / 7, 0, 0, 1, -1),
        (0, 39): (-1, 19 / 14, 0, -1, -1, 0),
    }.items():
        assert target[:, y, x].tolist() == pytest.approx(wanted, abs=1e-5)
    assert position_target(torch.rand(1, 4, 28, 40).double()).dtype == torch.float64


def test_positional_channels_count_within_the_tissue():
    """Coarse ones count 33 times: of a tissue of 25 cells all are off by 1/2 in one channel."""
    images = torch.zeros(2, 1, 28, 28)
    images[:, :, 10, 10] = 1.0
    frames = torch.full((2, 2, 9, 28, 28), 99.0)  # whatever it is elsewhere
    right, tissue = position_target(images), alive_target(images)[0, 0] > 0
    frames[:, :, 3:] = torch.where(tissue, right, frames[:, :, 3:])
    assert (position_error(frames[:, :, 3:], images) == 0).all()
    frames[0, :, 4] += 0.5
    frames[1, 0, 8] -= 0.5
    coarse, fine = 33 * 25 / 784 / 4 / 2, 25 / 784 / 4 / 4 / 2
    error = position_error(frames[:, :, 3:], images)
    assert error.tolist() == pytest.approx([coarse, fine], rel=1e-5)
    config = replace(CONFIG, position_weight=2.0, overflow_weight=0.0)
    losses = grow_losses(frames, images, config)
    assert losses.position.item() == pytest.approx(2 * (coarse + fine) / 2, rel=1e-5)
    assert grow_losses(frames, images, replace(config, position_weight=0.0)).position == 0


def test_a_margin_counts_as_nothing():
    """Nothing is wanted in the margin: what is there costs, an empty margin does not."""
    generator = torch.Generator().manual_seed(0)
    images = pad(torch.rand(2, 1, 20, 20, generator=generator), 4)
    frames = torch.randn(2, 2, 10, 28, 28, generator=generator)
    weights = {"origin_weight": 0.7, "position_weight": 0.3, "perceptual_weight": 0.1}
    config, network = replace(CONFIG, **weights), load_classifier()
    wider = replace(config, margin=3)
    plain = grow_losses(frames, images, config, network)
    wide = grow_losses(pad(frames, 3), images, wider, network)
    torch.testing.assert_close(torch.stack(wide), torch.stack(plain))
    outer = crop(position_target(pad(images, 3), 3), 3)
    torch.testing.assert_close(outer, position_target(images), rtol=0, atol=1e-5)
    spilt = pad(frames, 3)
    spilt[:, :, 0, 1, 5] = 2.0
    more = grow_losses(spilt, images, wider, network)
    assert more.ink.item() - plain.ink.item() == pytest.approx(4 / 784, rel=1e-3)
    assert more._replace(ink=wide.ink) == wide


def test_growths_are_kept_from_dying_in_their_first_steps(digits):
    """A grid that has died gives no gradient: such a model learned nothing, ever."""
    frames = torch.zeros(2, 3, 4, 5, 5)
    frames[0, 0, 1, 2, 2] = 0.8  # alive
    frames[0, 1, 1, 2, 2] = 0.1  # hardly
    frames[1, :, 1, 2, 2] = torch.tensor([0.5, 0.3, 0.0])
    wanted = (0.4**2 + 0.5**2 + 0.2**2 + 0.5**2) / 6
    assert birth_error(frames, 1).item() == pytest.approx(wanted)
    assert birth_error(frames[:0], 1) == 0

    model = NCA(MNIST, channels=12, hidden=16, label_dim=0, fire_rate=1.0)
    with torch.no_grad():  # every cell loses 0.7 of its alive channel per step: dead after two
        model.hidden.weight[0], model.hidden.bias[0] = 0.0, 1.0
        model.output.weight[1, 0] = -0.7
    assert not model(model.seed(), steps=8).any()
    train(model, digits, iterations=60, batch_size=4, pool_size=4, pool_share=0.0,
          loss_steps=(6, 8), progress=False)  # fmt: skip
    assert model(model.seed(), steps=8).any()


# ---- one iteration


def test_an_iteration_logs_what_it_learned(model, digits):
    run = new_run(model, CONFIG)
    run.iteration = 2
    before = [p.detach().clone() for p in model.parameters()]
    metrics = try_step(run, digits)
    parts = Losses._fields
    assert list(metrics) == ["loss", *parts, "gradient", "learning_rate", "accuracy"]
    assert metrics["loss"] == pytest.approx(sum(metrics[name] for name in parts))
    assert metrics["kl"] > 0
    assert metrics["learning_rate"] == learning_rate(2, CONFIG.learning_rate, 6)
    assert run.iteration == 3
    changed = [not torch.equal(p, old) for p, old in zip(model.parameters(), before, strict=True)]
    assert all(changed)


def test_the_same_seed_draws_the_same_and_another_another(model, digits):
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}

    def first_loss(seed):
        model.load_state_dict(state)
        return try_step(new_run(model, replace(CONFIG, seed=seed)), digits)["loss"]

    assert first_loss(1) == first_loss(1) != first_loss(2)


@pytest.mark.parametrize("longest", [1e-3, 1e3])
def test_gradients_are_clipped_and_logged_as_they_were(model, digits, longest):
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 1e6)  # of the iteration before
    metrics = try_step(new_run(model, replace(CONFIG, clip_norm=longest)), digits)
    assert 1e-3 < metrics["gradient"] < 1e3
    norm = torch.cat([p.grad.flatten() for p in model.parameters()]).norm().item()
    assert norm == pytest.approx(min(longest, metrics["gradient"]), rel=1e-3)


@pytest.mark.parametrize("which", ["loss", "gradient"])
def test_what_is_not_finite_teaches_nothing(model, digits, monkeypatch, which):
    run, right = new_run(model, CONFIG), loop.grow_batch
    before = [p.detach().clone() for p in model.parameters()]

    def explode(run, *args):
        numbers = right(run, *args)
        if which == "loss":
            return torch.cat([numbers[:1] * math.inf, numbers[1:]])
        model.output.weight.grad.fill_(math.nan)
        return numbers

    monkeypatch.setattr(loop, "grow_batch", explode)
    assert try_step(run, digits) is None
    assert run.iteration == 0
    assert all(torch.equal(p, old) for p, old in zip(model.parameters(), before, strict=True))


@pytest.mark.parametrize(("failures", "fine"), [(0, True), (4, True), (5, False)])
def test_five_batches_are_tried(model, digits, monkeypatch, failures, fine):
    calls, run = [], new_run(model, CONFIG)

    def explode(*given):
        calls.append(given)
        return None if len(calls) <= failures else {"loss": 1.0}

    monkeypatch.setattr(loop, "try_step", explode)
    if fine:
        assert training_step(run, digits) == {"loss": 1.0}
    else:
        with pytest.raises(TrainingDiverged, match=r"^the loss is not finite at iteration 1\. Try"):
            training_step(run, digits)
    assert calls == [(run, digits)] * min(failures + 1, 5)


def test_the_toy_learns_nothing_more_from_its_own_pictures():
    """The ink of a grown bar is right: its loss is 0 in the last step, and so is its gradient."""
    model = toy_model(0.75).requires_grad_(True)
    quiet = dict.fromkeys(("alive_weight", "kl_weight", "overflow_weight"), 0.0)
    config = replace(CONFIG, loss_steps=(8, 12), **quiet)
    metrics = try_step(new_run(model, config), toy.bars([0, 1, 2, 3], 0.75))
    assert (metrics["ink"], metrics["loss"], metrics["gradient"]) == (0, 0, 0)
    assert metrics["accuracy"] == 1


# ---- the loop


def test_the_encoder_is_given_each_picture_with_its_own_label(model, digits, monkeypatch):
    """Fresh targets and those that pooled samples switch to; a wrong label was once not noticed."""
    images, labels = digits.images.clone(), digits.labels
    images[:, 0, 0, 0] = labels / 10  # a picture that says what it is
    seen, encode = [], model.encoder.forward

    def forward(images, labels):
        seen.append((images[:, 0, 0, 0], labels))
        return encode(images, labels)

    monkeypatch.setattr(model.encoder, "forward", forward)
    train(model, Pictures(images, labels), CONFIG, iterations=8, progress=False)
    assert sum(len(labels) for _, labels in seen) > 12
    for marks, labels in seen:
        torch.testing.assert_close(marks, labels / 10)


def test_callbacks_files_and_metadata(tmp_path, model, digits, monkeypatch):
    monkeypatch.setattr(loop, "SAVE_EVERY", 4)
    seen, outputs = [], Outputs(tmp_path / "deep" / "er", "toy")

    class Watch:
        def __call__(self, step, metrics, watched):
            assert watched is model
            assert not model.conditioning.mean.any()  # the encoder's codes as they are
            assert model.metadata["training"] == config.plain()
            seen.append((step, metrics["iteration"], outputs.run.exists()))

    config = replace(CONFIG, iterations=7)
    model.conditioning.mean.fill_(3.0)
    history = train(
        model, digits, config, outputs, init_from={"made": "of"}, log_every=3, callbacks=Watch(),
        progress=False,
    )  # fmt: skip
    assert seen == [(1, 1, False), (3, 3, False), (6, 6, True), (7, 7, True)]
    assert [entry["iteration"] for entry in history] == [1, 3, 6, 7]
    assert next(iter(history[0])) == "iteration"
    lines = outputs.log.read_text().splitlines()
    assert [json.loads(line) for line in lines] == history
    written = load(outputs.model)
    assert torch.equal(written.output.weight, model.output.weight)
    assert (written.task, written.steps, written.trained_labels) == ("grow", 3, [0, 1, 2, 3])
    assert written.metadata["training"] == config.plain()
    assert written.metadata["init_from"] == {"made": "of"}
    assert written.metadata["iteration"] == 7
    assert written.metadata["seconds"] == history[-1]["seconds"]


def test_metrics_come_every_25_and_runs_are_saved_every_250_iterations(
    tmp_path, model, digits, monkeypatch
):
    saved, seen = [], [[], []]

    def step(run, *_):
        run.iteration += 1
        return {"loss": 1.0, "accuracy": 0.5}

    monkeypatch.setattr(loop, "training_step", step)
    monkeypatch.setattr(loop.Run, "save", lambda run: saved.append(run.iteration))
    callbacks = [lambda step, *_: seen[0].append(step), lambda step, *_: seen[1].append(step)]
    train(model, digits, CONFIG, Outputs(tmp_path, "toy"), iterations=510, callbacks=callbacks,
          progress=False)  # fmt: skip
    assert saved == [250, 500, 510]
    assert seen[0] == seen[1] == [1, *range(25, 501, 25), 510]


def test_parts_of_ones_own(model, digits):
    """A loss, a start and an optimiser; functions, partials and objects all serve."""

    class Sharp:
        def __call__(self, frames, images, labels):
            assert frames.shape == (2, 4, 5, 28, 28)
            return (frames[:, :, :1] - images).abs().mean()

    def start(images, labels, value):
        return torch.full((len(images), 5, 28, 28), value)

    config = replace(CONFIG, margin=2, alive_weight=1.0, overflow_weight=1.0)
    hooks = {"loss": Sharp(), "start": partial(start, value=0.3), "optimiser": sgd}
    history = train(model, digits, config, log_every=1, progress=False, **hooks)
    for entry in history:  # the loss takes the place of all of the task's
        assert entry["ink"] > 0
        assert entry["origin"] == entry["overflow"] == entry["perceptual"] == 0
    assert model.metadata["hooks"] == {"loss": hooks["loss"].__class__.__qualname__,
                                       "start": "partial", "optimiser": "sgd"}  # fmt: skip
    with pytest.raises(InputError, match=r"^loss gave the shape \[2\]: want one number, its mean$"):
        train(model, digits, CONFIG, loss=lambda f, x, y: torch.zeros(2), progress=False)
    with pytest.raises(InputError, match=r"^start gave states \[4, 1\]: want \[4, 5, 28, 28\]$"):
        train(model, digits, CONFIG, start=lambda x, y: torch.zeros(4, 1), progress=False)


def test_an_own_perceptual_network_is_copied(model, digits):
    network = load_classifier().train().requires_grad_(True)
    history = train(
        model, digits, CONFIG, perceptual=network, perceptual_weight=1.0, progress=False
    )
    assert history[-1]["perceptual"] > 0
    assert network.training
    assert all(p.requires_grad and p.grad is None for p in network.parameters())
    assert len(model.metadata["perceptual_sha256"]) == 16
    pets = NCA(ImageSpec(("cat",), 1, (28, 28)), channels=6, hidden=4)
    with pytest.raises(InputError, match="no perceptual network ships for these pictures"):
        train(pets, digits.only(0), CONFIG, perceptual_weight=1.0, progress=False)


def assert_fitted(model, digits):
    mean, scale_tril = model.conditioning.mean.clone(), model.conditioning.scale_tril.clone()
    assert mean[:4].abs().min() > 0
    assert not mean[4:].any()
    model.conditioning.reset_styles()
    model.fit_styles(digits.images, digits.labels)
    assert torch.equal(model.conditioning.mean, mean)
    assert torch.equal(model.conditioning.scale_tril, scale_tril)


def test_a_stopped_run_is_saved_and_leaves_fitted_styles(tmp_path, model, digits):
    outputs, asked = Outputs(tmp_path, "toy"), iter([False, False, True])
    wanted = rf"^stopped after iteration 3 of 6; {outputs.run} is saved, go on with --resume$"
    with pytest.raises(Stopped, match=wanted) as stopped:
        train(model, digits, CONFIG, outputs, stop=lambda: next(asked), progress=False)
    assert stopped.value.number == signal.SIGINT
    assert not outputs.model.exists()
    assert_fitted(model, digits)
    train(model, digits, CONFIG, outputs, resume=True, progress=False)
    assert torch.equal(load(outputs.model).conditioning.mean, model.conditioning.mean)
    assert_fitted(model, digits)
    with pytest.raises(Stopped, match=r"^stopped after iteration 1 of 6$"):
        train(model, digits, CONFIG, stop=lambda: True, progress=False)


@pytest.mark.parametrize(
    ("at", "message"),
    [(4, r"^stopped after iteration 4 of 6; "), (6, r"^toy is finished; stopped there$")],
)
def test_a_signal_stops_a_run_and_is_passed_on(tmp_path, model, digits, monkeypatch, at, message):
    outputs, right = Outputs(tmp_path, "toy"), loop.training_step

    def step(run, pictures):
        if run.iteration + 1 == at:
            signal.raise_signal(signal.SIGTERM)
        return right(run, pictures)

    monkeypatch.setattr(loop, "training_step", step)
    with pytest.raises(Stopped, match=message) as stopped:
        train(model, digits, CONFIG, outputs, progress=False)
    assert stopped.value.number == signal.SIGTERM
    assert outputs.model.exists() is (at == 6)


def test_seconds_are_those_of_the_clock(tmp_path, model, digits, monkeypatch):
    """It is asked at the start and after every iteration, and was at 1000 before."""
    ticks = iter([1000.0, 1001.0, 1003.0, 1007.126, 2000.0, 2000.5, 2001.0, 2002.0])
    monkeypatch.setattr(loop, "time", SimpleNamespace(perf_counter=lambda: next(ticks)))
    outputs, asked = Outputs(tmp_path, "toy"), iter([False, False, True])
    with pytest.raises(Stopped):
        train(model, digits, CONFIG, outputs, stop=lambda: next(asked), log_every=1, progress=False)
    history = train(model, digits, CONFIG, outputs, resume=True, log_every=1, progress=False)
    assert [entry["seconds"] for entry in history] == [1.0, 3.0, 7.13, 7.63, 8.13, 9.13]


class Bar:
    """A progress bar, noted down; at its end the terminal is gone."""

    made = []  # noqa: RUF012

    def __init__(self, **options):
        self.options, self.done, self.texts = options, 0, []
        self.made.append(self)

    def update(self):
        self.done += 1

    def set_postfix(self, **texts):
        self.texts.append(texts)

    def close(self):
        raise OSError("the terminal is gone")


def test_progress_is_shown_by_the_main_rank_alone(tmp_path, model, digits, monkeypatch):
    monkeypatch.setattr(loop, "tqdm", Bar)
    Bar.made.clear()
    history = train(model, digits, CONFIG, log_every=1)
    wanted = {"total": 6, "initial": 0, "desc": "grow", "leave": False, "unit": "it"}
    assert Bar.made[0].options == wanted | {"disable": None}
    assert Bar.made[0].done == 6
    last = {"loss": f"{history[-1]['loss']:.4f}", "accuracy": f"{history[-1]['accuracy']:.1%}"}
    assert Bar.made[0].texts[-1] == last
    outputs = Outputs(tmp_path, "toy")
    train(model, digits, CONFIG, outputs, progress=False)
    train(model, digits, CONFIG, outputs, resume=True)
    assert [bar.options["disable"] for bar in Bar.made[1:]] == [True, None]
    assert (Bar.made[1].options["desc"], Bar.made[2].options["initial"]) == ("toy", 6)

    class Quiet(Distributed):
        """A rank that hears nothing of the others."""

        def average(self, tensor):
            return tensor

    outputs, seen = Outputs(tmp_path / "second", "toy"), []
    train(model, digits, CONFIG, outputs, ranks=Quiet(1, 2), callbacks=lambda *_: seen.append(1))
    assert Bar.made[3].options["disable"] is True
    assert not outputs.folder.exists()
    assert seen == []


def test_a_run_that_diverged_says_where_and_what_is_left(tmp_path, model, digits, monkeypatch):
    right, outputs = loop.try_step, Outputs(tmp_path, "toy")

    def diverge(run, *args):
        if run.iteration == 4:
            model.encoder.code.weight.data.fill_(math.nan)  # its styles stay codes
            return None
        return right(run, *args)

    monkeypatch.setattr(loop, "try_step", diverge)
    monkeypatch.setattr(loop, "SAVE_EVERY", 3)
    saved = f" The last good state is in {outputs.run}, the log in {outputs.log}."
    with pytest.raises(TrainingDiverged) as diverged:
        train(model, digits, CONFIG, outputs, progress=False)
    assert str(diverged.value) == (
        f"the loss is not finite at iteration 5.{saved} "
        "Try a lower --learning-rate, shorter rollouts (--loss-steps) or another --seed."
    )
    assert not outputs.model.exists()


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (torch.zeros(0, 1, 28, 28), torch.zeros(0).long(), "^0 images and 0 labels: give as many"),
        (torch.zeros(3, 1, 28, 28), torch.arange(2), "^3 images and 2 labels: give as many"),
        (torch.full((2, 1, 28, 28), 255.0), torch.arange(2), r"outside \[0, 1\]"),
        (torch.zeros(2, 1, 32, 32), torch.arange(2), r"want \[N, 1, 28, 28\]"),
        (torch.zeros(2, 1, 28, 28), torch.tensor([1, 10]), "label 10: labels go from 0 to 9"),
    ],
)
def test_pictures_that_can_not_be_trained_with(model, images, labels, message):
    with pytest.raises(InputError, match=message):
        train(model, Pictures(images, labels), CONFIG, progress=False)
