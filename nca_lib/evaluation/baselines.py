"""Baselines: what a picture of the same digit costs without any growing.

On MNIST an all-black picture has 87 % of its pixels right. A metric says something about a model
only compared with these, so they are computed from the same pictures whenever a model is evaluated.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from nca_lib.data.blur import box_blur
from nca_lib.data.dataset import Pictures

import torch
import torch.nn.functional as F
from torch import Tensor

FILTER = 13  # side of the deblurring filter
DEBLURRED = 2000  # training pictures that the filter is fitted to


def class_mean(train: Pictures, test: Pictures) -> Tensor:
    """The mean training picture of each test picture's label."""
    means = torch.zeros(1 + max(train.labels.max(), test.labels.max()), *train.images.shape[1:])
    for label in train.labels.unique().tolist():
        means[label] = train.only(label).images.mean(0)
    return means[test.labels]


def patches(blurred: Tensor) -> Tensor:
    """Each pixel's neighbourhood and a 1, `[N, I, H, W]` -> `[N * I * H * W, 13 * 13 + 1]`."""
    columns = F.unfold(blurred.flatten(0, 1)[:, None], FILTER, padding=FILTER // 2)
    return F.pad(columns.transpose(1, 2).flatten(0, 1).double(), (0, 1), value=1.0)


def linear_deblur(train: Pictures, test: Pictures) -> Tensor:
    """The best linear 13x13 filter (least squares) from the 5x5 blur back to the picture."""
    gram = torch.zeros(FILTER**2 + 1, FILTER**2 + 1, dtype=torch.float64)
    target = torch.zeros(FILTER**2 + 1, dtype=torch.float64)
    for images in train.images[:DEBLURRED].split(200):
        seen = patches(box_blur(images))
        gram += seen.T @ seen
        target += seen.T @ images.flatten().double()
    ridge = 1e-6 * gram.diagonal().mean() * torch.eye(len(gram), dtype=torch.float64)
    weights = torch.linalg.solve(gram + ridge, target).float()
    kernel, offset = weights[:-1].view(1, 1, FILTER, FILTER), weights[-1:]
    blurred = box_blur(test.images).flatten(0, 1)[:, None]  # one filter for all channels
    return F.conv2d(blurred, kernel, offset, padding=FILTER // 2).view_as(test.images)


class ClassPCA(NamedTuple):
    """Mean and principal components of each label, and how far the codes scatter."""

    means: Tensor  # [L, P] for L labels and P = I * H * W
    components: Tensor  # [L, k, P]
    deviations: Tensor  # [L, k], of the training codes
    shape: tuple[int, ...]  # I, H, W

    def redraw(self, pictures: Pictures) -> Tensor:
        """Each picture projected on its label's components, `[N, I, H, W]`."""
        basis = self.components[pictures.labels]  # [N, k, P]
        offset = pictures.images.flatten(1) - self.means[pictures.labels]
        return self.decode(torch.einsum("nkp,np->nk", basis, offset), pictures.labels)

    def sample(self, labels: Tensor, generator: torch.Generator) -> Tensor:
        """Pictures `[N, I, H, W]` of codes drawn from a Gaussian fitted to the training codes."""
        noise = torch.randn(len(labels), self.deviations.shape[1], generator=generator)
        return self.decode(noise * self.deviations[labels], labels)

    def decode(self, codes: Tensor, labels: Tensor) -> Tensor:
        """Codes `[N, k]` -> pictures `[N, I, H, W]`."""
        flat = self.means[labels] + torch.einsum("nk,nkp->np", codes, self.components[labels])
        return flat.view(-1, *self.shape)


def principal(centred: Tensor, length: int) -> tuple[Tensor, Tensor]:
    """The first `length` principal directions `[length, P]` of `[n, P]`, and deviations along them.

    With fewer pictures than that the rest are zero. The largest entry of a direction is positive
    here: its sign is arbitrary, and processors differ in the choice.
    """
    n, size = centred.shape
    if n >= size:  # the smaller of two problems with the same answer
        values, vectors = torch.linalg.eigh(centred.T @ centred / n)  # the smallest first
        deviations, directions = values.flip(0).clamp(min=0).sqrt(), vectors.T.flip(0)
    else:
        _, scales, directions = torch.linalg.svd(centred, full_matrices=False)
        deviations = scales / math.sqrt(n)
    directions = directions[:length]
    largest = directions.gather(1, directions.abs().argmax(1, keepdim=True))
    missing = length - len(directions)
    directions = F.pad(directions * largest.sign(), (0, 0, 0, missing))
    return directions, F.pad(deviations[:length], (0, missing))


def class_pca(train: Pictures, length: int) -> ClassPCA:
    """A PCA of each label with `length` numbers per picture, as many as a style code has."""
    labels, size = 1 + int(train.labels.max()), train.images[0].numel()
    means, components = torch.zeros(labels, size), torch.zeros(labels, length, size)
    deviations = torch.zeros(labels, length)
    for label in train.labels.unique().tolist():
        flat = train.only(label).images.flatten(1).double()  # [n, P]
        means[label] = (mean := flat.mean(0))
        components[label], deviations[label] = principal(flat - mean, length)
    return ClassPCA(means, components, deviations, tuple(train.images.shape[1:]))


def baseline_pictures(train: Pictures, test: Pictures, length: int) -> dict[str, Tensor]:
    """What every baseline makes of the test pictures, `[N, I, H, W]` each."""
    return {
        "black": torch.zeros_like(test.images),
        "class_mean": class_mean(train, test),
        "blur_threshold": box_blur(test.images),
        "linear_deblur": linear_deblur(train, test),
        "class_pca": class_pca(train, length).redraw(test),
    }
