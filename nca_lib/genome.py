"""The genome: what every cell is told at every step, `[B, G]`.

It starts with the label embedding (which digit) and ends, where the rule has one, with the style
code (which handwriting). The code of a picture is inferred by a small encoder, as in a variational
auto-encoder (Kingma & Welling, 2014), with the rule as the decoder.

Style and code are two scales of one thing. The encoder finds its own scale for codes, and each
label's codes have their own mean and spread. Once training is over a Gaussian is fitted to the
codes of each label (Ghosh et al., 2020, "ex-post density estimation"), and from then on a *style*
is a code measured in that Gaussian: styles follow `N(0, I)` whatever the label, style 0 is the
average hand, and one style gives ten digits in one handwriting.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from scipy.special import gammaincinv
from torch import Tensor, nn

from nca_lib.data import check_images, check_labels
from nca_lib.errors import InputError

DIGITS = 10


class StyleCode(NamedTuple):
    """A normal distribution over codes for each picture."""

    mean: Tensor  # [B, S]
    log_variance: Tensor  # [B, S]

    def sample(self, noise: Tensor) -> Tensor:
        """Reparameterised draw: differentiable in mean and variance. `noise`: `[B, S]`, N(0, I)."""
        return self.mean + noise * (0.5 * self.log_variance).exp()

    def kl(self) -> Tensor:
        """Kullback-Leibler divergence to `N(0, I)` in nats, `[B]`."""
        variance = self.log_variance.exp()
        return 0.5 * (variance + self.mean.square() - 1 - self.log_variance).sum(1)


class Genome(nn.Module):
    """Label embedding, followed by the style code."""

    def __init__(self, label_dim: int, style_dim: int):
        super().__init__()
        self.style_dim = style_dim
        self.labels = nn.Embedding(DIGITS, label_dim)
        self.register_buffer("average", torch.empty(DIGITS, style_dim))  # code of the average hand
        self.register_buffer("spread", torch.empty(DIGITS, style_dim, style_dim))  # triangular
        self.forget_styles()

    def forget_styles(self) -> None:
        """Styles are codes again, as during training."""
        self.average.zero_()
        self.spread.copy_(torch.eye(self.style_dim))

    def fit_styles(self, code: StyleCode, labels: Tensor) -> None:
        """Fit a Gaussian to the codes of each label: `average` and `spread`, a Cholesky factor.

        The covariance of all codes a label's pictures may be given is that of their means plus
        their mean variance. Some hands are so unusual that they stretch it for all others, so it
        is scaled until half of the pictures lie within the radius that holds half of a Gaussian.
        Labels with fewer than two pictures keep what they had.
        """
        variance = code.log_variance.exp()
        for label in labels.unique().tolist():
            mean, own = code.mean[labels == label].double(), variance[labels == label].double()
            if len(mean) > 1:
                covariance = mean.T.cov(correction=0).reshape(self.spread[label].shape)
                spread = torch.linalg.cholesky(covariance + own.mean(0).diag())
                self.average[label] = mean.mean(0).float()
                self.spread[label] = (spread * self.bulk(mean, own, spread)).float()

    def bulk(self, mean: Tensor, variance: Tensor, spread: Tensor) -> Tensor:
        """How much wider half of the codes lie than half of the Gaussian, 1 if they are normal."""
        noise = torch.randn(mean.shape, generator=torch.Generator().manual_seed(0)).double()
        off = (mean + variance.sqrt() * noise - mean.mean(0)).T  # [S, N]
        squared = torch.linalg.solve_triangular(spread, off, upper=False).square().sum(0)
        half = 2 * gammaincinv(self.style_dim / 2, 0.5)  # median of chi-squared
        return (squared.median() / half).sqrt()

    def style_of(self, code: Tensor, labels: Tensor) -> Tensor:
        """Codes `[B, S]` as styles `[B, S]`, the inverse of what `forward` does with a style."""
        centred = (code - self.average[labels])[:, :, None]  # [B, S, 1]
        return torch.linalg.solve_triangular(self.spread[labels], centred, upper=False)[:, :, 0]

    def forward(self, labels: Tensor, style: Tensor | None = None) -> Tensor:
        """Labels `[B]` in 0-9 and styles `[B, S]` (None: zeros, the average hand) -> `[B, G]`.

        Raises:
            InputError: a label outside 0-9, or a style of another length.
        """
        check_labels(labels)
        embedded = self.labels(labels)  # [B, label_dim]
        if style is None:
            style = embedded.new_zeros(len(labels), self.style_dim)
        if style.shape != (len(labels), self.style_dim):
            raise InputError(
                f"styles have shape {list(style.shape)}, this rule wants "
                f"{[len(labels), self.style_dim]}: one code of {self.style_dim} numbers a label"
            )
        code = self.average[labels] + (self.spread[labels] @ style[:, :, None])[:, :, 0]  # [B, S]
        return torch.cat([embedded, code], 1)


class StyleEncoder(nn.Module):
    """Picture and label -> style code. Used in training and to redraw a given picture."""

    def __init__(self, style_dim: int):
        super().__init__()
        self.style_dim = style_dim
        self.conv1 = nn.Conv2d(1, 16, 3, stride=2, padding=1)
        self.conv2 = nn.Conv2d(16, 32, 3, stride=2, padding=1)
        self.conv3 = nn.Conv2d(32, 48, 3, stride=2, padding=1)
        self.code = nn.Linear(48 * 4 * 4, 2 * style_dim)
        self.label = nn.Embedding(DIGITS, 2 * style_dim)  # the same slant means less for a 1
        nn.init.zeros_(self.label.weight)

    def forward(self, images: Tensor, labels: Tensor) -> StyleCode:
        """Images `[B, 1, 28, 28]` in [0, 1], labels `[B]`. Raises InputError for other input."""
        check_images(images)
        check_labels(labels)
        x = F.relu(self.conv1(images))  # [B, 16, 14, 14]
        x = F.relu(self.conv2(x))  # [B, 32, 7, 7]
        x = F.relu(self.conv3(x))  # [B, 48, 4, 4]
        code = self.code(x.flatten(1)) + self.label(labels)  # [B, 2S]
        mean, log_variance = code.chunk(2, 1)
        return StyleCode(mean, log_variance.clamp(-10, 10))
