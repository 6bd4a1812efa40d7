"""The perceptual loss: what its network sees of the ink, and which network is asked."""

from dataclasses import replace

from nca_lib.checkpoint import read_tensors
from nca_lib.classifier import (
    KIND,
    Classifier,
    accuracy,
    classifier_for,
    jitter,
    perceptual_network,
    save_network,
)
from nca_lib.data import load_data
from nca_lib.inputs import InputError
from nca_lib.model import NCA, ModelConfig
from nca_lib.spec import MNIST, ImageSpec
from nca_lib.training import Outputs, TrainingConfig, loop, train
from nca_lib.training.losses import Losses, perceptual_error
from nca_lib.training.pretrain import initial_model
from nca_lib.training.tasks import task_of

import pytest
import torch

MODEL = ModelConfig(channels=6, hidden=8, label_dim=4, style_dim=2)
CONFIG = TrainingConfig(
    iterations=2, batch_size=2, loss_steps=(3, 4, 5), pool_size=2, perceptual_weight=0.5
)
COLOURED = ImageSpec(("cat", "dog"), 4, (12, 17))


class Corner:
    """A network that sees the four pixels of a corner."""

    def features(self, images):
        return images[:, 0, :2, :2].flatten(1)


class Silent(Classifier):
    """A network that nobody may ask."""

    def features(self, images):
        raise AssertionError("it was asked")


def own_network(seed=0, spec=MNIST):
    torch.manual_seed(seed)
    return Classifier(spec).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def pictures():
    return load_data("mnist", "embedded").train.limit(20)


# --- the error


def test_pictures_that_are_alike_look_alike(pictures):
    images = pictures.images[:3]
    frames = images.expand(2, 3, 1, 28, 28)
    assert perceptual_error(Corner(), frames, images) == 0
    network = perceptual_network(MNIST)
    assert perceptual_error(network, frames, images) < 1e-12  # batches of two sizes: rounding
    assert perceptual_error(network, frames.flip(1), images) > 0.1  # each has its own target


def test_the_error_by_hand():
    """Off by 1/2 and by 1/4 in one pixel of four; the target's mean square is 1/4."""
    images = torch.zeros(1, 1, 28, 28)
    images[..., 0, 0] = 1.0
    frames = images.repeat(2, 1, 1, 1, 1)
    frames[0, ..., 0, 1], frames[1, ..., 0, 0] = 0.5, 0.75
    wanted = pytest.approx((1 / 4 + 1 / 16) / 8 / (1 / 4))
    assert perceptual_error(Corner(), frames, images).item() == wanted
    two = perceptual_error(Corner(), frames.repeat(1, 2, 1, 1, 1), images.repeat(2, 1, 1, 1))
    assert two.item() == wanted  # a mean over the samples
    assert perceptual_error(Corner(), frames / 2, images / 2).item() == wanted  # relative
    nothing = torch.zeros(1, 1, 28, 28)
    assert perceptual_error(Corner(), frames * 0 + 1e-3, nothing).item() == pytest.approx(1)


def test_only_the_last_two_loss_steps_are_compared(pictures):
    network, images = perceptual_network(MNIST), pictures.images[:3]
    frames = torch.rand(4, 3, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    frames.requires_grad_()
    error = perceptual_error(network, frames, images)
    error.backward()
    assert not frames.grad[:2].any()
    assert all(grad.any() for grad in frames.grad[2:].flatten(0, 1))
    assert perceptual_error(network, frames[2:], images) == error
    assert perceptual_error(network, frames[3:], images) != error  # but one step is enough


@pytest.mark.parametrize(("ink", "shown"), [(5.0, 1.2), (-3.0, -0.2), (1.1, 1.1), (-0.1, -0.1)])
def test_ink_far_out_of_range_is_clipped(ink, shown):
    frames = torch.full((2, 1, 1, 28, 28), ink, requires_grad=True)
    error = perceptual_error(Corner(), frames, torch.ones(1, 1, 28, 28))
    error.backward()
    assert error.item() == pytest.approx((shown - 1) ** 2, abs=1e-6)
    assert frames.grad.any().item() is (ink == shown)


def test_the_error_has_a_weight():
    model, images = NCA(MNIST, MODEL), torch.zeros(1, 1, 28, 28)
    images[..., :2, :2] = 1.0
    frames = torch.zeros(3, 1, 6, 28, 28)
    frames[:, :, :1] = images / 2
    labels, task = torch.tensor([0]), task_of(model)
    for weight in (0.5, 2.0):
        config = replace(CONFIG, perceptual_weight=weight)
        losses = task.losses(model, frames, images, labels, config, Corner())
        assert losses.perceptual.item() == pytest.approx(weight / 4)
    without = task.losses(model, frames, images, labels, config, None)
    assert without == losses._replace(perceptual=without.perceptual)
    assert without.perceptual == 0


# --- which network


def test_the_shipped_networks_know_digits_and_are_different():
    test = load_data("mnist", "embedded").test
    network, classifier = perceptual_network(MNIST), classifier_for(MNIST)
    assert accuracy(network, test) >= 0.985
    assert accuracy(classifier, test) >= 0.99
    assert classifier.metadata["test_accuracy"] >= 0.993
    assert not torch.equal(network.read.weight, classifier.read.weight)
    assert not network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_pictures_are_jittered_a_little():
    images = torch.zeros(200, 1, 28, 28)
    images[..., 10:18, 10:18] = 1.0
    moved = jitter(images, torch.Generator().manual_seed(0))
    assert moved.shape == images.shape
    assert torch.equal(moved, jitter(images, torch.Generator().manual_seed(0)))
    mass = moved.sum((1, 2, 3)) / 64
    assert 0.8 <= mass.min() < 0.87  # 1 / 1.1 ** 2 = 0.83
    assert 1.17 < mass.max() <= 1.25  # 1 / 0.9 ** 2 = 1.23
    rows = torch.arange(28.0) - 13.5
    off = (moved.sum((1, 3)) * rows).sum(1) / moved.sum((1, 2, 3))
    assert 1.7 < off.abs().max() < 2.5  # two pixels, over a scale of 0.9 to 1.1
    assert off.mean().abs() < 0.3


def test_different_pictures_want_networks_of_their_own(tmp_path):
    file = tmp_path / "x.safetensors"
    with pytest.raises(InputError, match="no perceptual network ships for these pictures"):
        perceptual_network(COLOURED)
    assert classifier_for(COLOURED) is None  # this one may be missing
    network = own_network(0, COLOURED)
    save_network(file, KIND, network, {"seed": 3})
    loaded = perceptual_network(COLOURED, file)
    assert (loaded.spec, loaded.metadata["seed"]) == (COLOURED, 3)
    assert torch.equal(loaded.read.weight, network.read.weight.half().float())
    assert read_tensors(file, KIND)[0]["read.weight"].dtype == torch.float16
    with pytest.raises(InputError, match=r"x.safetensors classifies cat, dog, ...: train a"):
        perceptual_network(MNIST, file)


@pytest.fixture
def asked(monkeypatch):
    """The specs of the pictures for which the shipped network was asked for."""
    specs = []
    monkeypatch.setattr(
        loop, "perceptual_network", lambda spec: specs.append(spec) or own_network(7)
    )
    return specs


def trained(pictures, config, network, *outputs, **options):
    model = initial_model(MNIST, MODEL, 0)
    options |= {"perceptual": network, "log_every": 1, "progress": False}
    return model, train(model, pictures, config, *outputs, **options)


def test_without_weight_no_network_is_asked(pictures, asked):
    config, histories = replace(CONFIG, perceptual_weight=0.0), []
    for network in (None, Silent(MNIST)):
        model, history = trained(pictures, config, network)
        histories.append([entry["loss"] for entry in history])
        assert "perceptual_sha256" not in model.metadata
    assert asked == []
    assert histories[0] == histories[1]


def test_with_a_weight_the_shipped_one_is_asked_unless_another_is_given(pictures, asked):
    seen = []
    for network in (None, own_network(7), own_network(8)):
        model, history = trained(pictures, CONFIG, network)
        assert all(entry["perceptual"] > 0 for entry in history)
        parts = [history[0][part] for part in Losses._fields]
        assert history[0]["loss"] == pytest.approx(sum(parts))
        seen.append((model.metadata["perceptual_sha256"], [entry["loss"] for entry in history]))
    assert asked == [MNIST]
    assert seen[0] == seen[1] != seen[2]
    assert seen[0][0] != seen[2][0]


def test_a_run_is_resumed_with_the_same_network_only(tmp_path, pictures):
    outputs = Outputs(tmp_path, "toy")
    model, _ = trained(pictures, CONFIG, own_network(1), outputs)
    one = model.metadata["perceptual_sha256"]
    with pytest.raises(InputError, match=f"it was started with perceptual_sha256 = {one}, now it"):
        trained(pictures, CONFIG, own_network(2), outputs, resume=True)
    again, _ = trained(pictures, CONFIG, own_network(1), outputs, resume=True)
    assert torch.equal(again.output.weight, model.output.weight)
