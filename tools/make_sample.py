"""Draw the embedded sample from full MNIST: `python tools/make_sample.py --data-root DIR`."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from torchvision.datasets import MNIST

SEED = 0
PER_DIGIT = {"train": 600, "test": 100}
TARGET = Path(__file__).parents[1] / "nca_lib" / "sample" / "mnist.npz"


def draw(labels: np.ndarray, per_digit: int, random: np.random.Generator) -> np.ndarray:
    """Indices of `per_digit` random pictures of each digit, in the order of the full set."""
    chosen = [random.permutation(np.flatnonzero(labels == d))[:per_digit] for d in range(10)]
    return np.sort(np.concatenate(chosen))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-root", required=True)
    root = parser.parse_args().data_root
    random, arrays = np.random.default_rng(SEED), {}
    for part, per_digit in PER_DIGIT.items():
        mnist = MNIST(root, train=part == "train")
        index = draw(mnist.targets.numpy(), per_digit, random)
        arrays[f"{part}_images"] = mnist.data.numpy()[index]
        arrays[f"{part}_labels"] = mnist.targets.numpy()[index].astype(np.uint8)
    np.savez_compressed(TARGET, **arrays)
    print(f"{TARGET}: {TARGET.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
