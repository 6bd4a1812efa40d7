"""What a data set is: pictures with labels, in three parts.

Everything is held in memory as tensors: 60,000 pictures of 28 x 28 need no data loader.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nca_lib.inputs import as_labels
from nca_lib.kinds import MNIST, Kind

import torch
from torch import Tensor

VALIDATION_SHARE = 1 / 12  # of each class's training pictures: about 5,000 of MNIST's 60,000
SPLIT_SEED = 1998  # the year of LeCun et al., "Gradient-based learning"; fixed for good


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
    """Validation pictures come out of the training set; test pictures are for the final figures."""

    train: Pictures
    validation: Pictures
    test: Pictures
    source: str  # for people: where they lie
    name: str = ""  # for records: which they are
    kind: Kind = MNIST
    held_out: bool = True  # False: the test pictures are the training pictures, for want of more


def split(train: Pictures, test: Pictures, source: str, name: str, kind: Kind) -> Dataset:
    """Take the validation pictures out of the training pictures: the same share of each class.

    Raises:
        InputError: a label that no class of the kind has.
    """
    as_labels(train.labels, kind.classes), as_labels(test.labels, kind.classes)
    rest, validation = deal(train, len(kind.classes), [VALIDATION_SHARE])
    return Dataset(rest, validation, test, source, name, kind)


def deal(pictures: Pictures, classes: int, shares: Sequence[float]) -> list[Pictures]:
    """Deal pictures out at random, always the same way: these shares of each class.

    Returns:
        First what is left, then one set for each share, all in their old order.
    """
    generator = torch.Generator().manual_seed(SPLIT_SEED)
    owner = torch.zeros(len(pictures), dtype=torch.int64)  # 0 keeps what is left
    for label in range(classes):
        index = (pictures.labels == label).nonzero()[:, 0]
        shuffled, start = index[torch.randperm(len(index), generator=generator)], 0
        for place, share in enumerate(shares, 1):
            end = start + round(len(index) * share)
            owner[shuffled[start:end]] = place
            start = end
    return [pictures.select(owner == place) for place in range(len(shares) + 1)]
