"""The convolutional decoder, and the training loop that it shares with the classifier."""

import sys
from dataclasses import replace
from pathlib import Path

from nca_lib.checkpoint import write_tensors
from nca_lib.classifier import save_network, train_classifier
from nca_lib.data import load_data
from nca_lib.evaluation.decoder import KIND, Decoder, decoder_for, load_decoder
from nca_lib.evaluation.metrics import pixel_accuracy
from nca_lib.inputs import InputError
from nca_lib.spec import MNIST, ImageSpec

import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tools"))
from make_weights import train_decoder


@pytest.fixture(scope="module")
def data():
    return load_data("mnist", "embedded")


@pytest.fixture(scope="module")
def few(data):
    parts = {"validation": data.validation.limit(50), "test": data.test.limit(50)}
    return replace(data, train=data.train.limit(300), name="few", **parts)


def weights(network):
    """All weights of a network, in one row."""
    return torch.nn.utils.parameters_to_vector(network.parameters())


def test_it_draws_all_pixels_from_label_and_code(few):
    decoder = Decoder(MNIST, 3).requires_grad_(False)
    labels, code = torch.tensor([4, 5, 4]), torch.tensor([[0.0], [0], [1]]).expand(3, 3)
    drawn = decoder.decode(labels, code)
    assert drawn.shape == (3, 1, 28, 28)
    assert not torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    pictures = few.test
    mean = decoder.encoder(pictures.images, pictures.labels).mean
    assert torch.equal(decoder.redraw(pictures), decoder.decode(pictures.labels, mean))


def test_it_draws_pictures_of_any_spec():
    spec = ImageSpec(("a", "b"), 4, (14, 21))
    assert Decoder(spec, 2).decode(torch.tensor([0, 1]), torch.zeros(2, 2)).shape == (2, 4, 14, 21)
    assert decoder_for(spec) is None


def test_its_parameters_are_counted_without_the_encoder():
    convolutions = sum(9 * i * o + o for i, o in ((64, 48), (48, 32), (32, 24), (24, 1)))
    unfold = (16 + 5) * 64 * 49 + 64 * 49
    assert Decoder(MNIST, 5).parameter_count == 10 * 16 + unfold + convolutions


def test_it_learns_and_follows_its_seed(few):
    state = torch.get_rng_state()
    (one, metadata), (again, _), (other, _) = (train_decoder(few, 4, 10.0, 3, s) for s in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    errors = metadata.pop("validation_error")
    assert len(errors) == 3
    assert errors[-1] < errors[0]
    off = one.redraw(few.validation) - few.validation.images
    assert errors[-1] == pytest.approx(off.square().mean().item(), abs=1e-5)
    assert torch.equal(weights(one), weights(again))
    assert not torch.equal(weights(one), weights(other))
    free, _ = train_decoder(few, 4, 0.0, 3, 1)
    given = few.validation.images, few.validation.labels
    assert free.encoder(*given).kl().mean() > one.encoder(*given).kl().mean()
    known = {"seed": 1, "epochs": 3, "kl_weight": 10.0, "source": "few", "style_dim": 4}
    assert metadata == known


def test_it_is_stored_in_half_precision(tmp_path):
    decoder, file = Decoder(MNIST, 4), tmp_path / "decoder.safetensors"
    save_network(file, KIND, decoder, {"style_dim": 4, "seed": 3})
    loaded = load_decoder(file)
    assert (loaded.metadata["seed"], loaded.spec) == (3, MNIST)
    assert not any(parameter.requires_grad for parameter in loaded.parameters())
    assert torch.equal(weights(loaded), weights(decoder).half().float())


SPEC = {"classes": list("0123456789"), "image_channels": 1, "size": [28, 28]}


@pytest.mark.parametrize(
    "metadata",
    [None, {}, SPEC, {"style_dim": 4}, SPEC | {"style_dim": "four"}, SPEC | {"style_dim": 0}],
)
def test_files_with_useless_metadata_are_refused(tmp_path, metadata):
    path = tmp_path / "decoder.safetensors"
    write_tensors(path, KIND, Decoder(MNIST, 4).state_dict(), metadata=metadata)
    with pytest.raises(InputError, match=r"its metadata can't be read .* train it again"):
        load_decoder(path)


def test_the_shipped_one_redraws_digits_that_it_never_saw(data):
    """From 32 numbers for each of them."""
    decoder = decoder_for(MNIST)
    assert (decoder.metadata["style_dim"], decoder.metadata["source"]) == (32, "MNIST")
    assert pixel_accuracy(decoder.redraw(data.test), data.test.images) > 0.978
    assert pixel_accuracy(torch.zeros_like(data.test.images), data.test.images) < 0.88


# --- the classifier's training


def test_a_classifier_learns(data):
    some = replace(data, train=data.train.limit(1500))
    classifier, metadata = train_classifier(some, 2, 3)
    assert not classifier.training
    assert len(metadata["validation"]) == 2
    assert 0.1 < metadata["validation"][0] < metadata["validation"][1]
    assert metadata["test_accuracy"] > 0.5


def test_a_classifier_follows_its_seed(few):
    state = torch.get_rng_state()
    (one, metadata), (again, _), (other, _) = (train_classifier(few, 1, s) for s in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(weights(one), weights(again))
    assert not torch.equal(weights(one), weights(other))
    assert [metadata[key] for key in ("seed", "epochs", "source")] == [1, 1, "few"]


def test_pictures_that_no_classifier_can_learn(few):
    none = few.train.limit(0)
    small = ImageSpec(MNIST.classes, 1, (7, 28))
    for data in (replace(few, train=none), replace(few, validation=none), replace(few, spec=small)):
        with pytest.raises(InputError, match="too few or too small pictures to train a classifier"):
            train_classifier(data, 1, 0)
