"""The genome: what every cell is told at every step, `[B, G]`.

It starts with the label embedding (which class) and ends, where the rule has one, with the style
code (which handwriting). The code of a picture is inferred by a small encoder, as in a variational
auto-encoder (Kingma & Welling, 2014), with the rule as the decoder.

Style and code are two scales of one thing. The encoder finds its own scale for codes, and each
label's codes have their own mean and spread. Once training is over a density is fitted to the
codes (Ghosh et al., 2020, "ex-post density estimation"): a Gaussian for each label, and if it is
wanted a flow that bends them into shape (`flow.py`). From then on a *style* is a code measured in
that density: styles follow `N(0, I)` whatever the label, style 0 is the average hand, and one style
gives ten digits in one handwriting.
"""

from __future__ import annotations

from typing import NamedTuple

from nca_lib.errors import InputError
from nca_lib.flow import Flow
from nca_lib.inputs import as_labels, as_styles, check_images
from nca_lib.kinds import MNIST, Kind

import torch
import torch.nn.functional as F
from scipy.special import gammaincinv
from torch import Tensor, nn

FLOW_BATCH = 512  # codes that the flow is fitted to at a time
USUAL = 0.9  # share of the pictures whose styles count as usual; see `fit_gaussian`


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


def fit_gaussian(codes: Tensor) -> tuple[Tensor, Tensor]:
    """Mean `[S]` and Cholesky factor `[S, S]` of a Gaussian for most of the codes `[N, S]`.

    A few hands are so unusual that they stretch the covariance for all others, and digits drawn
    from it are wilder than those that people write. So the fit is repeated without the tenth that
    lies furthest out (Rousseeuw, 1984, leaves out up to half), and then scaled until half of all
    codes lie within the radius that holds half of a Gaussian. Measured once, on 3,000 digits drawn
    from a unified rule: the judge reads 98.2 % where the fit to all codes gives 97.4; FID 2.25 for
    2.42.
    """
    size, kept = codes.shape[1], codes
    floor = 1e-6 * torch.eye(size, dtype=codes.dtype)  # there may be fewer codes than directions
    for _ in range(4):
        centre = kept.mean(0)
        spread = torch.linalg.cholesky(kept.T.cov(correction=0).reshape(size, size) + floor)
        off = torch.linalg.solve_triangular(spread, (codes - centre).T, upper=False)  # [S, N]
        squared = off.square().sum(0)
        kept = codes[squared <= squared.quantile(USUAL)]
    half = 2 * gammaincinv(size / 2, 0.5)  # median of chi-squared
    return centre, spread * (squared.median() / half).sqrt()


class Genome(nn.Module):
    """Label embedding, followed by the style code."""

    def __init__(self, label_dim: int, style_dim: int, kind: Kind = MNIST):
        super().__init__()
        self.style_dim, self.classes, count = style_dim, kind.classes, len(kind.classes)
        self.labels = nn.Embedding(count, label_dim)
        self.register_buffer("average", torch.empty(count, style_dim))  # code of the average hand
        self.register_buffer("spread", torch.empty(count, style_dim, style_dim))  # triangular
        self.flow = Flow(style_dim, count) if style_dim else None
        self.forget_styles()

    def forget_styles(self) -> None:
        """Styles are codes again, as during training."""
        self.average.zero_()
        self.spread.copy_(torch.eye(self.style_dim))
        if self.flow is not None:
            self.flow.forget()

    def fit_styles(self, code: StyleCode, labels: Tensor, iterations: int = 0) -> None:
        """Fit a Gaussian to the codes of each label, its `average` and `spread`: `fit_gaussian`.

        Labels with fewer than two pictures keep what they had. With `iterations` above 0 the flow
        is fitted to what the Gaussians miss.
        """
        self.forget_styles()
        noise = torch.randn(code.mean.shape, generator=torch.Generator().manual_seed(0))
        drawn = code.sample(
            noise.to(code.mean)
        ).double()  # [N, S], a code that each picture may be given
        for label in labels.unique().tolist():
            codes = drawn[labels == label]
            if len(codes) > 1:
                centre, spread = fit_gaussian(codes)
                self.average[label], self.spread[label] = centre, spread
        if iterations:
            self.fit_flow(code, labels, iterations)

    def fit_flow(self, code: StyleCode, labels: Tensor, iterations: int) -> None:
        """Fit the flow to codes that pictures may be given, measured in their label's Gaussian."""
        generator, own = torch.Generator().manual_seed(0), self.average
        mean, deviation = code.mean.to(own), (0.5 * code.log_variance).exp().to(own)

        def draw() -> tuple[Tensor, Tensor]:
            pick = torch.randint(len(mean), (min(FLOW_BATCH, len(mean)),), generator=generator)
            noise = torch.randn(len(pick), self.style_dim, generator=generator).to(own)
            chosen = labels.to(own.device)[pick]
            return self.centred(mean[pick] + noise * deviation[pick], chosen), chosen

        self.flow.fit(draw, iterations)

    def centred(self, code: Tensor, labels: Tensor) -> Tensor:
        """Codes `[B, S]` measured in the Gaussian of their label, `[B, S]`."""
        off = (code - self.average[labels])[:, :, None]  # [B, S, 1]
        return torch.linalg.solve_triangular(self.spread[labels], off, upper=False)[:, :, 0]

    def style_of(self, code: Tensor, labels: Tensor) -> Tensor:
        """Codes `[B, S]` as styles `[B, S]`, the inverse of what `forward` does with a style."""
        return self.flow.inverse(self.centred(code, labels), labels)[0]

    def forward(self, labels: Tensor, style: Tensor | None = None) -> Tensor:
        """Labels `[B]` or one, and styles `[B, S]` (None: zeros, the average hand): `[B, G]`.

        Labels may be a number, a list, an array or a tensor of any integer type, or names.

        Raises:
            InputError: a label that no class has, or a style of another length.
        """
        table = self.labels.weight
        labels = as_labels(labels, self.classes, table.device)
        if style is None:
            style = table.new_zeros(len(labels), self.style_dim)
        style = as_styles(style, len(labels), self.style_dim, table)
        embedded = self.labels(labels)  # [B, label_dim]
        if self.flow is None:
            return embedded
        bent = self.flow(style, labels)  # [B, S]
        code = self.average[labels] + (self.spread[labels] @ bent[:, :, None])[:, :, 0]  # [B, S]
        return torch.cat([embedded, code], 1)


class StyleEncoder(nn.Module):
    """Picture and label -> style code. Used in training and to redraw a given picture."""

    def __init__(self, style_dim: int, kind: Kind = MNIST):
        super().__init__()
        self.style_dim, self.kind = style_dim, kind
        height, width = (-(-side // 8) for side in kind.size)  # halved three times, rounded up
        self.conv1 = nn.Conv2d(kind.ink, 16, 3, stride=2, padding=1)
        self.conv2 = nn.Conv2d(16, 32, 3, stride=2, padding=1)
        self.conv3 = nn.Conv2d(32, 48, 3, stride=2, padding=1)
        self.code = nn.Linear(48 * height * width, 2 * style_dim)
        # the same slant means less for a 1
        self.label = nn.Embedding(len(kind.classes), 2 * style_dim)
        nn.init.zeros_(self.label.weight)

    def forward(self, images: Tensor, labels: Tensor) -> StyleCode:
        """Images `[B, I, H, W]` in [0, 1], labels `[B]`. Raises InputError for other input."""
        labels = as_labels(labels, self.kind.classes, self.code.weight.device)
        images = check_images(images, self.kind).to(self.code.weight)
        if len(images) != len(labels):
            raise InputError(f"{len(images)} images but {len(labels)} labels: give as many")
        x = F.relu(self.conv1(images))  # [B, 16, 14, 14] for digits
        x = F.relu(self.conv2(x))  # [B, 32, 7, 7]
        x = F.relu(self.conv3(x))  # [B, 48, 4, 4]
        code = self.code(x.flatten(1)) + self.label(labels)  # [B, 2S]
        mean, log_variance = code.chunk(2, 1)
        return StyleCode(mean, log_variance.clamp(-10, 10))
