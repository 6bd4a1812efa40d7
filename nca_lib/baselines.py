"""The trivial baselines: what a picture of the same digit costs without any growing.

On MNIST an all-black picture has 87 % of its pixels right. A figure for a rule says something only
beside these, so they are computed from the same digits whenever a rule is evaluated.
"""

from __future__ import annotations

from typing import NamedTuple

from nca_lib.blurs import box
from nca_lib.dataset import Pictures

import torch
import torch.nn.functional as F
from torch import Tensor

FILTER = 13  # side of the deblurring filter


def black(test: Pictures) -> Tensor:
    """`[N, I, H, W]` without ink."""
    return torch.zeros_like(test.images)


def class_mean(train: Pictures, test: Pictures) -> Tensor:
    """The mean training picture of each test picture's label."""
    means = torch.zeros(1 + max(train.labels.max(), test.labels.max()), *train.images.shape[1:])
    for label in train.labels.unique().tolist():
        means[label] = train.only(label).images.mean(0)
    return means[test.labels]


def linear_deblur(train: Pictures, test: Pictures, pictures: int = 2000) -> Tensor:
    """The best linear 13x13 filter (least squares) from the 5x5 blur back to the picture."""

    def single(images: Tensor) -> Tensor:  # [N, I, H, W] -> [N * I, 1, H, W]: one filter for all
        return box(images).flatten(0, 1)[:, None]

    def patches(images: Tensor) -> Tensor:  # [N, I, H, W] -> [N * I * H * W, 13 * 13 + 1]
        columns = (
            F.unfold(single(images), FILTER, padding=FILTER // 2).transpose(1, 2).flatten(0, 1)
        )
        return F.pad(columns.double(), (0, 1), value=1.0)

    gram = torch.zeros(FILTER**2 + 1, FILTER**2 + 1, dtype=torch.float64)
    target = torch.zeros(FILTER**2 + 1, dtype=torch.float64)
    for images in train.images[:pictures].split(200):
        seen = patches(images)
        gram += seen.T @ seen
        target += seen.T @ images.flatten().double()
    ridge = 1e-6 * gram.diagonal().mean() * torch.eye(len(gram), dtype=torch.float64)
    weights = torch.linalg.solve(gram + ridge, target)
    kernel = weights[:-1].float().view(1, 1, FILTER, FILTER)
    sharp = F.conv2d(single(test.images), kernel, weights[-1:].float(), padding=FILTER // 2)
    return sharp.view_as(test.images)


class ClassPCA(NamedTuple):
    """Mean and principal components of each label, and the spread of the codes."""

    means: Tensor  # [L, P] for L labels and P = I * H * W numbers in a picture
    components: Tensor  # [L, k, P]
    deviations: Tensor  # [L, k], of the training codes
    shape: tuple[int, ...]  # I, H, W

    def redraw(self, digits: Pictures) -> Tensor:
        """Each picture projected on its label's components, `[N, I, H, W]`."""
        basis = self.components[digits.labels]  # [N, k, P]
        offset = digits.images.flatten(1) - self.means[digits.labels]
        codes = torch.einsum("nkp,np->nk", basis, offset)
        return self.draw(codes, digits.labels)

    def sample(self, labels: Tensor, generator: torch.Generator) -> Tensor:
        """Codes drawn from a Gaussian fitted to the training codes, `[N, I, H, W]`."""
        noise = torch.randn(len(labels), self.deviations.shape[1], generator=generator)
        return self.draw(noise * self.deviations[labels], labels)

    def draw(self, codes: Tensor, labels: Tensor) -> Tensor:
        flat = self.means[labels] + torch.einsum("nk,nkp->np", codes, self.components[labels])
        return flat.view(-1, *self.shape)


def principal(centred: Tensor, length: int) -> tuple[Tensor, Tensor]:
    """The first `length` principal directions `[length, P]` of `[n, P]`, and deviations along them.

    Where there are fewer pictures than directions the rest are zero. Both ways along a direction
    are as good, and processors differ in the choice: here its largest number is positive.
    """
    n, size = centred.shape
    if n >= size:
        values, vectors = torch.linalg.eigh(centred.T @ centred / n)  # the smallest first
        values, directions = values.flip(0), vectors.T.flip(0)
    else:
        _, scales, directions = torch.linalg.svd(centred, full_matrices=False)
        values = scales.square() / n
    found = min(length, len(values))
    components, deviations = centred.new_zeros(length, size), centred.new_zeros(length)
    directions = directions[:found]
    largest = directions.gather(1, directions.abs().argmax(1, keepdim=True))  # [found, 1]
    components[:found] = directions * largest.sign()
    deviations[:found] = values[:found].clamp(min=0).sqrt()
    return components, deviations


def class_pca(train: Pictures, length: int) -> ClassPCA:
    """A PCA per class with `length` numbers: the fair rival of label and style code."""
    labels, shape = 1 + int(train.labels.max()), tuple(train.images.shape[1:])
    size = train.images[0].numel()
    means, components = torch.zeros(labels, size), torch.zeros(labels, length, size)
    deviations = torch.zeros(labels, length)
    for label in train.labels.unique().tolist():
        flat = train.only(label).images.flatten(1).double()  # [n, P]
        means[label] = (mean := flat.mean(0))
        components[label], deviations[label] = principal(flat - mean, length)
    return ClassPCA(means, components, deviations, shape)
