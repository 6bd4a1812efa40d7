"""The rival: a conventional decoder with the encoder and the code that a rule has."""

from nca_lib.checkpoints import write_tensors
from nca_lib.data import load_data
from nca_lib.dataset import Dataset, Pictures
from nca_lib.errors import InputError
from nca_lib.evaluation import pixel_accuracy
from nca_lib.kinds import Kind
from nca_lib.rival import KIND, Rival, load_rival, save_rival, train_rival

import pytest
import torch
from test_cli import fails, nca


@pytest.fixture(scope="module")
def few():
    data = load_data("mnist", "embedded", "quick")
    train = data.train.limit(256)
    return Dataset(train, data.validation.limit(50), data.test.limit(50), data.source, data.name)


def test_it_draws_all_pixels_from_label_and_code():
    rival = Rival(3).requires_grad_(False)
    code, labels = torch.zeros(2, 3), torch.tensor([4, 4])
    first, same = rival.decode(labels, code)
    assert first.shape == (1, 28, 28)
    torch.testing.assert_close(first, same)
    told = rival.decode(torch.tensor([4, 5]), code)
    assert not torch.equal(told[0], told[1])
    code[1] = 1
    drawn = rival.decode(labels, code)
    assert not torch.equal(drawn[0], drawn[1])
    images = torch.rand(2, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    known = rival.encoder(images, labels).mean
    assert torch.equal(rival.redraw(Pictures(images, labels)), rival.decode(labels, known))


def test_its_decoder_is_counted_without_the_encoder():
    convolutions = sum(9 * i * o + o for i, o in ((64, 48), (48, 32), (32, 24), (24, 1)))
    unfolding = (16 + 5) * 64 * 49 + 64 * 49
    assert Rival(5).decoder_parameters == 10 * 16 + unfolding + convolutions


def test_it_learns_and_follows_its_seed(few):
    (one, record), (same, _), (other, _) = (train_rival(few, 4, 0.08, 3, s) for s in (1, 1, 2))
    errors = record["validation_error"]
    assert len(errors) == 3
    assert errors[-1] < errors[0]
    off = one.redraw(few.validation) - few.validation.images
    assert errors[-1] == pytest.approx(off.square().mean().item(), abs=1e-5)
    for name, tensor in one.state_dict().items():
        assert torch.equal(tensor, same.state_dict()[name]), name
    assert not torch.equal(one.unfold.weight, other.unfold.weight)
    assert (record["style_dim"], record["kl_weight"]) == (4, 0.08)


def test_the_weight_of_the_divergence_pulls_codes_to_the_prior(few):
    def divergence(kl_weight):
        rival, _ = train_rival(few, 4, kl_weight, 3, 0)
        return rival.encoder(few.validation.images, few.validation.labels).kl().mean().item()

    assert divergence(1000.0) < 0.5 * divergence(0.0)


def test_it_is_stored_in_half_precision(few, tmp_path):
    rival, record = train_rival(few, 4, 0.08, 1, 0)
    save_rival(tmp_path / "rival.safetensors", rival, record)
    loaded = load_rival(tmp_path / "rival.safetensors")
    assert loaded.record == record
    assert not any(parameter.requires_grad for parameter in loaded.parameters())
    for name, tensor in rival.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor.half().float()), name


@pytest.mark.parametrize("record", [None, {}, {"style_dim": "four"}, {"style_dim": 0}])
def test_records_that_say_nothing_are_refused(tmp_path, record):
    path = tmp_path / "rival.safetensors"
    write_tensors(path, KIND, Rival(4).state_dict(), record=record)
    with pytest.raises(InputError, match="train it again: nca rival"):
        load_rival(path)


def test_it_draws_digits_only(few):
    letters = Dataset(
        few.train, few.validation, few.test, "letters", kind=Kind(("a",), 1, (28, 28))
    )
    with pytest.raises(InputError, match="digits of 28 x 28 only"):
        train_rival(letters, 4, 0.08, 1, 0)


def test_from_the_command_line(tmp_path):
    out = nca("rival", "--epochs", 1, "--style-dim", 2, "--out", tmp_path / "r.safetensors")
    rival, test = load_rival(tmp_path / "r.safetensors"), load_data("mnist", None, "quick").test
    assert (rival.record["epochs"], rival.record["style_dim"]) == (1, 2)
    said = float(out.split("redraws ")[1].split("%")[0]) / 100
    assert said == pytest.approx(pixel_accuracy(rival.redraw(test), test.images), abs=1e-3)
    fails("--epochs is 0", "rival", "--epochs", 0, "--out", tmp_path / "x")
    fails("--kl-weight is -1", "rival", "--kl-weight", -1, "--out", tmp_path / "x")


def test_the_shipped_one_redraws_digits_that_it_never_saw():
    """With 32 numbers for each of them."""
    test, rival = load_data("mnist", "embedded", "quick").test, load_rival()
    assert rival.record["style_dim"] == 32
    assert pixel_accuracy(rival.redraw(test), test.images) > 0.978
    black = torch.zeros_like(test.images)
    assert pixel_accuracy(black, test.images) < 0.88
