"""The trivial baselines: what a picture of the same digit costs without any growing.

On MNIST an all-black picture has 87 % of its pixels right. A figure for a rule says something only
beside these, so they are computed from the same digits whenever a rule is evaluated.
"""

from __future__ import annotations

from typing import NamedTuple

from nca_lib.cells import blur
from nca_lib.data import Digits

import torch
import torch.nn.functional as F
from torch import Tensor

FILTER = 13  # side of the deblurring filter


def black(test: Digits) -> Tensor:
    """`[N, 1, 28, 28]` without ink."""
    return torch.zeros_like(test.images)


def class_mean(train: Digits, test: Digits) -> Tensor:
    """The mean training picture of each test digit's label."""
    means = torch.zeros(10, 1, 28, 28)
    for label in train.labels.unique().tolist():
        means[label] = train.only(label).images.mean(0)
    return means[test.labels]


def linear_deblur(train: Digits, test: Digits, pictures: int = 2000) -> Tensor:
    """The best linear 13x13 filter (least squares) from the 5x5 blur back to the picture."""

    def patches(images: Tensor) -> Tensor:  # [N, 1, 28, 28] -> [N * 784, 13 * 13 + 1]
        columns = F.unfold(blur(images), FILTER, padding=FILTER // 2).transpose(1, 2).flatten(0, 1)
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
    return F.conv2d(blur(test.images), kernel, weights[-1:].float(), padding=FILTER // 2)


class ClassPCA(NamedTuple):
    """Mean and principal components of each label, and the spread of the codes."""

    means: Tensor  # [10, 784]
    components: Tensor  # [10, k, 784]
    deviations: Tensor  # [10, k], of the training codes

    def redraw(self, digits: Digits) -> Tensor:
        """Each picture projected on its label's components, `[N, 1, 28, 28]`."""
        basis = self.components[digits.labels]  # [N, k, 784]
        offset = digits.images.flatten(1) - self.means[digits.labels]
        codes = torch.einsum("nkp,np->nk", basis, offset)
        return self.draw(codes, digits.labels)

    def sample(self, labels: Tensor, generator: torch.Generator) -> Tensor:
        """Codes drawn from a Gaussian fitted to the training codes, `[N, 1, 28, 28]`."""
        noise = torch.randn(len(labels), self.deviations.shape[1], generator=generator)
        return self.draw(noise * self.deviations[labels], labels)

    def draw(self, codes: Tensor, labels: Tensor) -> Tensor:
        flat = self.means[labels] + torch.einsum("nk,nkp->np", codes, self.components[labels])
        return flat.view(-1, 1, 28, 28)


def class_pca(train: Digits, length: int) -> ClassPCA:
    """A PCA per class with `length` numbers: the fair rival of label and style code."""
    means, components = torch.zeros(10, 784), torch.zeros(10, length, 784)
    deviations = torch.zeros(10, length)
    for label in train.labels.unique().tolist():
        flat = train.only(label).images.flatten(1).double()  # [n, 784]
        mean = flat.mean(0)
        values, vectors = torch.linalg.eigh((flat - mean).T @ (flat - mean) / len(flat))
        means[label] = mean.float()
        components[label] = vectors[:, -length:].T.flip(0).float() if length else components[label]
        deviations[label] = values[-length:].flip(0).clamp(min=0).sqrt().float() if length else 0
    return ClassPCA(means, components, deviations)
