"""Label embedding, style code, and the scale that styles get after training."""

import pytest
import torch

from nca_lib.errors import InputError
from nca_lib.genome import Genome, StyleCode, StyleEncoder
from nca_lib.pretraining import initial_rule
from nca_lib.rule import RuleConfig


def codes(labels, style_dim=3):
    """Codes whose mean and spread are different for each label, with hardly any noise."""
    mean = torch.randn(len(labels), style_dim) @ torch.randn(style_dim, style_dim)
    mean = mean * (1 + labels[:, None]) + 5 * labels[:, None]
    return StyleCode(mean, torch.full_like(mean, -10.0))


@pytest.fixture
def fitted():
    torch.manual_seed(0)
    genome, labels = Genome(4, 3), torch.arange(9000) % 3
    code = codes(labels)
    genome.fit_styles(code, labels)
    return genome, code, labels


def test_styles_are_codes_until_they_are_fitted():
    genome, style = Genome(4, 3), torch.randn(2, 3)
    labels = torch.tensor([1, 7])
    told = genome(labels, style)
    assert told.shape == (2, 7)
    torch.testing.assert_close(told[:, 4:], style)
    torch.testing.assert_close(genome.style_of(style, labels), style)


def test_fitted_styles_are_standard_normal_in_every_label(fitted):
    genome, code, labels = fitted
    for label in range(3):
        style = genome.style_of(code.mean, labels)[labels == label]
        torch.testing.assert_close(style.mean(0), torch.zeros(3), atol=0.05, rtol=0)
        torch.testing.assert_close(style.T.cov(correction=0), torch.eye(3), atol=0.1, rtol=0)
        half = 2.366  # median of chi-squared with three degrees of freedom
        assert abs((style.square().sum(1) < half).double().mean() - 0.5) < 0.01


def test_a_style_becomes_the_code_it_came_from(fitted):
    genome, code, labels = fitted
    told = genome(labels, genome.style_of(code.mean, labels))
    torch.testing.assert_close(told[:, 4:], code.mean, atol=1e-3, rtol=1e-4)


def test_style_zero_is_the_average_hand(fitted):
    genome, code, labels = fitted
    average = torch.stack([code.mean[labels == label].mean(0) for label in range(3)])
    told = genome(torch.arange(3))[:, 4:]
    torch.testing.assert_close(told, genome.average[:3])
    off = genome.style_of(average, torch.arange(3))  # in units of the spread
    torch.testing.assert_close(off, torch.zeros(3, 3), atol=0.05, rtol=0)


def test_labels_without_pictures_keep_their_scale(fitted):
    genome, _, _ = fitted
    style = torch.randn(2, 3)
    torch.testing.assert_close(genome(torch.tensor([3, 9]), style)[:, 4:], style)


def test_the_uncertainty_of_codes_counts():
    torch.manual_seed(0)
    genome, labels = Genome(4, 3), torch.zeros(5000, dtype=torch.int64)
    genome.fit_styles(StyleCode(torch.randn(5000, 3), torch.full((5000, 3), 8.0).log()), labels)
    covariance = genome.spread[0] @ genome.spread[0].T
    torch.testing.assert_close(covariance, 9 * torch.eye(3), atol=0.3, rtol=0)


def test_a_few_unusual_hands_do_not_stretch_all_others():
    torch.manual_seed(0)
    genome, codes = Genome(4, 3), torch.randn(5000, 3)
    codes[:150] = 6 * codes[:150] + torch.tensor([9.0, 0.0, 0.0])  # 3 % far out, on one side
    genome.fit_styles(StyleCode(codes, torch.full((5000, 3), -10.0)), torch.zeros(5000).long())
    assert codes.var(0).mean() > 2
    torch.testing.assert_close(genome.average[0], torch.zeros(3), atol=0.05, rtol=0)
    covariance = genome.spread[0] @ genome.spread[0].T
    torch.testing.assert_close(covariance, torch.eye(3), atol=0.1, rtol=0)


def test_a_rule_infers_styles_and_tells_the_cells_the_code():
    torch.manual_seed(0)
    rule = initial_rule(RuleConfig(channels=6, hidden=16, label_dim=4, style_dim=3), 0)
    images, labels = torch.rand(50, 1, 28, 28), torch.arange(50) % 10
    rule.fit_styles(images, labels, batch=20)
    told = rule.genome(labels, rule.infer_style(images, labels))
    with torch.no_grad():
        torch.testing.assert_close(told[:, 4:], rule.encoder(images, labels).mean)


def test_rules_without_styles():
    rule = initial_rule(RuleConfig(channels=6, hidden=16, label_dim=4, style_dim=0), 0)
    rule.fit_styles(torch.rand(2, 1, 28, 28), torch.tensor([1, 2]))
    assert rule.infer_style(torch.rand(2, 1, 28, 28), torch.tensor([1, 2])) is None
    assert rule.genome(torch.tensor([1, 2])).shape == (2, 4)


def test_genome_refuses_other_labels():
    genome = Genome(4, 3)
    for label in (10, -1):
        with pytest.raises(InputError, match=f"label {label} "):
            genome(torch.tensor([3, label]), torch.zeros(2, 3))
    with pytest.raises(InputError, match="styles have shape"):
        genome(torch.tensor([3]), torch.zeros(1, 4))


def test_the_divergence_is_zero_for_the_prior_itself():
    assert StyleCode(torch.zeros(2, 3), torch.zeros(2, 3)).kl().tolist() == [0, 0]
    assert StyleEncoder(3)(torch.rand(2, 1, 28, 28), torch.tensor([0, 9])).mean.shape == (2, 3)
