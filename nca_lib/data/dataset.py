"""What a data set is: pictures with labels, in three parts, all in memory as tensors."""

from __future__ import annotations

from dataclasses import dataclass

from nca_lib.inputs import as_labels
from nca_lib.spec import ImageSpec

import torch
from torch import Tensor

VALIDATION_SHARE = 1 / 12  # of each class's training pictures: about 5,000 of MNIST's 60,000
TEST_SHARE = 1 / 6  # of each class, where a set comes without test pictures
ENOUGH = 12  # with fewer pictures of a class, none are held out
SPLIT_SEED = 1998  # the year of LeCun et al., "Gradient-based learning"; never change it


@dataclass(frozen=True)
class Pictures:
    """Pictures with their labels."""

    images: Tensor  # float32 [N, I, H, W] in [0, 1], I channels of ink
    labels: Tensor  # int64 [N]

    def __len__(self) -> int:
        return len(self.labels)

    def select(self, index: Tensor | slice) -> Pictures:
        return Pictures(self.images[index], self.labels[index])

    def only(self, label: int) -> Pictures:
        return self.select(self.labels == label)

    def limit(self, count: int) -> Pictures:
        return self.select(slice(count))


@dataclass(frozen=True)
class Dataset:
    """Training pictures, validation pictures for choices, test pictures for the final figures."""

    train: Pictures
    validation: Pictures
    test: Pictures
    source: str  # where the pictures come from, for messages
    name: str  # which pictures they are, for metadata
    spec: ImageSpec
    held_out: bool = True  # False: too few pictures, so that all three parts are the same


def split(
    train: Pictures, test: Pictures | None, source: str, name: str, spec: ImageSpec
) -> Dataset:
    """Hold out a twelfth of each class for validation, and a sixth for testing if `test` is None.

    Nothing is held out of `train` where a class has fewer than 12 pictures.

    Raises:
        InputError: a label that no class has.
    """
    as_labels(torch.cat([train.labels, (test or train).labels]), spec.classes)
    shares = [VALIDATION_SHARE, TEST_SHARE][: 1 if test else 2]
    enough = train.labels.unique(return_counts=True)[1].min() >= ENOUGH
    parts = deal(train, shares) if enough else [train] * (1 + len(shares))
    parts = [*parts, test] if test else parts
    return Dataset(*parts, source, name, spec, held_out=bool(test or enough))


def deal(pictures: Pictures, shares: list[float]) -> list[Pictures]:
    """One set per share of each class, behind the rest; drawn at random, always in the same way."""
    generator = torch.Generator().manual_seed(SPLIT_SEED)
    part = torch.zeros(len(pictures), dtype=torch.int64)  # 0: what is left
    for label in pictures.labels.unique().tolist():
        index = (pictures.labels == label).nonzero()[:, 0]
        shuffled, start = index[torch.randperm(len(index), generator=generator)], 0
        for number, share in enumerate(shares, 1):
            end = start + round(len(index) * share)
            part[shuffled[start:end]] = number
            start = end
    return [pictures.select(part == number) for number in range(len(shares) + 1)]
