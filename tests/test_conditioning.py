"""Label embedding, style code, and the scale that styles get after training."""

import math

from nca_lib import conditioning as module
from nca_lib.conditioning import Conditioning, StyleCode, StyleEncoder, fit_gaussian
from nca_lib.inputs import InputError
from nca_lib.model import NCA
from nca_lib.spec import MNIST

import pytest
import torch
from scipy.stats import chi2


def codes(labels, style_dim=3):
    """Codes whose mean and covariance are different for each label, with hardly any noise."""
    mean = torch.randn(len(labels), style_dim) @ torch.randn(style_dim, style_dim)
    mean = mean * (1 + labels[:, None]) + 5 * labels[:, None]
    return StyleCode(mean, torch.full_like(mean, -10.0))


@pytest.fixture
def fitted():
    torch.manual_seed(0)
    condition, labels = Conditioning(MNIST, 4, 3), torch.arange(9000) % 3
    code = codes(labels)
    condition.fit_styles(code, labels)
    return condition, code, labels


def test_styles_are_codes_until_they_are_fitted():
    condition, style = Conditioning(MNIST, 4, 3), torch.randn(2, 3)
    labels = torch.tensor([1, 7])
    vector = condition(labels, style)
    assert vector.shape == (2, 7)
    torch.testing.assert_close(vector[:, 4:], style)
    torch.testing.assert_close(condition.style_of(style, labels), style)


def test_fitted_styles_are_standard_normal_in_every_label(fitted):
    condition, code, labels = fitted
    for label in range(3):
        style = condition.style_of(code.mean, labels)[labels == label] * module.TEMPERATURE
        torch.testing.assert_close(style.mean(0), torch.zeros(3), atol=0.05, rtol=0)
        torch.testing.assert_close(style.T.cov(correction=0), torch.eye(3), atol=0.1, rtol=0)
        half = 2.366  # median of chi-squared with three degrees of freedom
        assert abs((style.square().sum(1) < half).double().mean() - 0.5) < 0.01


def test_a_style_becomes_the_code_it_came_from(fitted):
    condition, code, labels = fitted
    vector = condition(labels, condition.style_of(code.mean, labels))
    torch.testing.assert_close(vector[:, 4:], code.mean, atol=1e-3, rtol=1e-4)


def test_style_zero_is_the_mean_style(fitted):
    condition, code, labels = fitted
    mean = torch.stack([code.mean[labels == label].mean(0) for label in range(3)])
    vector = condition(torch.arange(3))[:, 4:]
    torch.testing.assert_close(vector, condition.mean[:3])
    off = condition.style_of(mean, torch.arange(3))  # in units of the Gaussian
    torch.testing.assert_close(off, torch.zeros(3, 3), atol=0.05, rtol=0)


def test_the_uncertainty_of_codes_counts():
    torch.manual_seed(0)
    condition, labels = Conditioning(MNIST, 4, 3), torch.zeros(5000, dtype=torch.int64)
    condition.fit_styles(StyleCode(torch.randn(5000, 3), torch.full((5000, 3), 8.0).log()), labels)
    covariance = condition.scale_tril[0] @ condition.scale_tril[0].T
    torch.testing.assert_close(covariance, 9 * torch.eye(3), atol=0.3, rtol=0)


def test_a_few_unusual_codes_do_not_stretch_all_others():
    torch.manual_seed(0)
    condition, codes = Conditioning(MNIST, 4, 3), torch.randn(5000, 3)
    codes[:150] = 6 * codes[:150] + torch.tensor([9.0, 0.0, 0.0])  # 3 % far out, on one side
    condition.fit_styles(StyleCode(codes, torch.full((5000, 3), -10.0)), torch.zeros(5000).long())
    assert codes.var(0).mean() > 2
    torch.testing.assert_close(condition.mean[0], torch.zeros(3), atol=0.05, rtol=0)
    covariance = condition.scale_tril[0] @ condition.scale_tril[0].T
    torch.testing.assert_close(covariance, torch.eye(3), atol=0.1, rtol=0)


def test_conditioning_refuses_other_labels():
    condition = Conditioning(MNIST, 4, 3)
    for label in (10, -1):
        with pytest.raises(InputError, match=f"label {label}:"):
            condition(torch.tensor([3, label]), torch.zeros(2, 3))
    with pytest.raises(InputError, match="styles have shape"):
        condition(torch.tensor([3]), torch.zeros(1, 4))


def test_the_divergence_is_zero_for_the_prior_itself():
    assert StyleCode(torch.zeros(2, 3), torch.zeros(2, 3)).kl().tolist() == [0, 0]
    assert StyleEncoder(MNIST, 3)(torch.rand(2, 1, 28, 28), torch.tensor([0, 9])).mean.shape == (
        2,
        3,
    )


def test_the_divergence_by_hand():
    """Of a normal distribution (3, 1/4) and (-1, e) from N(0, 1): closed form, added up."""
    code = StyleCode(torch.tensor([[3.0, -1.0]]), torch.tensor([[0.25, math.e]]).log())
    first = 0.5 * (0.25 + 9 - 1 - math.log(0.25))
    second = 0.5 * (math.e + 1 - 1 - 1)
    assert code.kl().shape == (1,)
    assert code.kl().item() == pytest.approx(first + second)


# --- the Gaussian of most codes


def reference_fit(codes):
    """The same by the book, with NumPy's quantiles and SciPy's chi-squared."""
    import numpy as np

    kept, floor = codes, 1e-6 * np.eye(codes.shape[1])
    for _ in range(4):
        centre = kept.mean(0)
        covariance = (kept - centre).T @ (kept - centre) / len(kept) + floor
        off = codes - centre
        squared = np.einsum("ni,ij,nj->n", off, np.linalg.inv(covariance), off)
        kept = codes[squared <= np.quantile(squared, 0.9)]
    half = np.sort(squared)[(len(squared) - 1) // 2]  # torch's median: the lower of the two
    return centre, covariance * half / chi2.ppf(0.5, codes.shape[1])


@pytest.mark.parametrize(("count", "size"), [(400, 3), (57, 2), (30, 1), (4, 6)])
def test_the_fit_by_the_book(count, size):
    generator = torch.Generator().manual_seed(count)
    mix = torch.randn(size, size, generator=generator).double()
    codes = torch.randn(count, size, generator=generator).double() @ mix + 3
    codes[: count // 10] *= 4
    centre, spread = fit_gaussian(codes)
    wanted_centre, wanted_covariance = reference_fit(codes.numpy())
    torch.testing.assert_close(centre, torch.from_numpy(wanted_centre))
    assert torch.equal(spread, spread.tril())
    assert (spread.diagonal() > 0).all()
    torch.testing.assert_close(
        spread @ spread.T, torch.from_numpy(wanted_covariance), rtol=1e-4, atol=1e-9
    )
    assert centre.dtype == spread.dtype == torch.float64


def test_the_fit_is_repeated_three_times():
    """Here every repetition leaves out different codes."""
    codes = torch.randn(400, 4, generator=torch.Generator().manual_seed(0)).double()
    codes[:80] = 6 * codes[:80] + 9
    _, spread = fit_gaussian(codes)
    wanted = torch.from_numpy(reference_fit(codes.numpy())[1])
    torch.testing.assert_close(spread @ spread.T, wanted, rtol=1e-4, atol=0)


def test_half_of_the_codes_lie_within_the_radius_of_half():
    codes = torch.randn(3001, 4, generator=torch.Generator().manual_seed(0)).double()
    codes[:300] *= 5
    centre, spread = fit_gaussian(codes)
    off = torch.linalg.solve_triangular(spread, (codes - centre).T, upper=False)
    assert off.square().sum(0).median().item() == pytest.approx(chi2.ppf(0.5, 4))


# --- styles in their scale


def test_codes_are_drawn_with_their_own_noise_always_the_same():
    condition = Conditioning(MNIST, 4, 3)
    labels = torch.tensor([2] * 40 + [5] * 40 + [7])
    mean = torch.randn(81, 3, generator=torch.Generator().manual_seed(1))
    code = StyleCode(mean, mean.abs().log())
    condition.fit_styles(code, labels)
    noise = torch.randn(81, 3, generator=torch.Generator().manual_seed(0))
    drawn = code.sample(noise).double()
    for label in (2, 5):
        centre, spread = fit_gaussian(drawn[labels == label])
        assert torch.equal(condition.mean[label], centre.float())
        assert torch.equal(condition.scale_tril[label], spread.float())
    for label in (0, 7):  # none, and one alone
        assert not condition.mean[label].any()
        assert torch.equal(condition.scale_tril[label], torch.eye(3))


def test_two_pictures_are_enough():
    condition = Conditioning(MNIST, 4, 1)
    condition.fit_styles(StyleCode(torch.tensor([[1.0], [3.0]]), torch.full((2, 1), -60.0)),
                      torch.tensor([4, 4]))  # fmt: skip
    assert condition.mean[4].item() == pytest.approx(1, abs=2.01)
    assert condition.mean[4] != 0


def test_reset_styles_are_codes_again(fitted):
    condition, _, _ = fitted
    assert condition.mean.any()
    condition.reset_styles()
    assert not condition.mean.any()
    assert condition.temperature == 1
    assert torch.equal(condition.scale_tril, torch.eye(3).expand(10, 3, 3))


def test_style_and_code_by_hand():
    condition = Conditioning(MNIST, 1, 2)
    condition.labels.weight.data.copy_(torch.arange(10.0)[:, None])
    condition.mean[3] = torch.tensor([1.0, -1.0])
    condition.scale_tril[3] = torch.tensor([[2.0, 0.0], [4.0, 0.5]])
    labels = torch.tensor([3, 8])
    condition.temperature.fill_(0.5)
    style = torch.tensor([[1.0, 4.0], [1.0, 4.0]])
    vector = condition(labels, style)
    assert vector.tolist() == [[3.0, 2.0, 2.0], [8.0, 0.5, 2.0]]
    assert condition.style_of(vector[:, 1:], labels).tolist() == style.tolist()
    assert condition(labels).tolist() == [[3.0, 1.0, -1.0], [8.0, 0.0, 0.0]]
    assert condition(3, [1.0, 4.0]).tolist() == [[3.0, 2.0, 2.0]]


# --- the encoder


def test_the_encoder_computes_what_it_says():
    torch.manual_seed(0)
    encoder = StyleEncoder(MNIST, 2)
    torch.nn.init.normal_(encoder.label.weight)
    images, labels = torch.rand(3, 1, 28, 28), torch.tensor([1, 7, 9])
    x = images
    for layer in (encoder.conv1, encoder.conv2, encoder.conv3):
        x = torch.conv2d(x, layer.weight, layer.bias, stride=2, padding=1).clamp(min=0)
    wanted = x.flatten(1) @ encoder.code.weight.T + encoder.code.bias + encoder.label.weight[labels]
    code = encoder(images, labels)
    torch.testing.assert_close(code.mean, wanted[:, :2])
    torch.testing.assert_close(code.log_variance, wanted[:, 2:])


def test_the_variance_of_a_code_is_bounded():
    encoder = StyleEncoder(MNIST, 1)
    for bias, wanted in ((99.0, 10.0), (-99.0, -10.0), (9.0, 9.0), (-9.0, -9.0)):
        encoder.code.weight.data.zero_()
        encoder.code.bias.data[:] = bias
        code = encoder(torch.rand(1, 1, 28, 28), torch.tensor([0]))
        assert code.log_variance.item() == wanted
        assert code.mean.item() == bias


def test_the_encoder_refuses_what_is_no_picture():
    encoder = StyleEncoder(MNIST, 1)
    with pytest.raises(InputError, match=r"^2 images but 1 labels: give as many$"):
        encoder(torch.rand(2, 1, 28, 28), torch.tensor([0]))
    with pytest.raises(InputError, match=r"\[0, 1\]"):
        encoder(torch.rand(1, 1, 28, 28) + 1, torch.tensor([0]))
    with pytest.raises(InputError, match="label 10"):
        encoder(torch.rand(1, 1, 28, 28), torch.tensor([10]))


def test_the_encoder_takes_pictures_and_labels_of_other_types():
    encoder = StyleEncoder(MNIST, 1)
    images = torch.rand(2, 1, 28, 28)
    wanted = encoder(images, torch.tensor([0, 3]))
    given = encoder(images.double(), torch.tensor([0, 3], dtype=torch.uint8))
    assert torch.equal(given.mean, wanted.mean)
    assert encoder.double()(images, torch.tensor([0, 3])).mean.dtype == torch.float64


# ---- a model and its conditioning


def test_a_model_infers_styles_and_its_cells_receive_the_code():
    torch.manual_seed(0)
    model = NCA(MNIST, channels=6, hidden=16, label_dim=4, style_dim=3)
    images, labels = torch.rand(50, 1, 28, 28), torch.arange(50) % 10
    model.fit_styles(images, labels, batch=20)
    assert model.conditioning.temperature == module.TEMPERATURE == 0.75
    vector = model.condition(labels, model.infer_style(images, labels))
    with torch.no_grad():
        torch.testing.assert_close(vector[:, 4:], model.encoder(images, labels).mean)


def test_models_without_styles_and_without_conditioning():
    images, labels = torch.rand(2, 1, 28, 28), torch.tensor([1, 2])
    by_label = NCA(MNIST, channels=6, hidden=16, label_dim=4)
    by_label.fit_styles(images, labels)
    assert by_label.infer_style(images, labels) is None
    assert by_label.condition(labels).shape == (2, 4)
    neither = NCA(MNIST, channels=6, hidden=16, label_dim=0)
    assert neither.conditioning is neither.encoder is neither.from_condition is None
    assert neither.condition(labels) is None
    assert not [name for name in neither.state_dict() if "condition" in name]
    with pytest.raises(InputError, match="label 10"):
        neither.condition(10)
