"""The reference work, the same for our engines and for the peers.

28 x 28 cells, 16 channels, identity and Sobel perception, 48 -> 128 -> 16, fire rate 0.5. A disc of
living cells covers 35 % of the grid (MNIST digits, dilated by a cell, cover 30 % on average) and
the last layer is so faint that it stays: every step of every round is the same work.
"""

SIZE, CHANNELS, HIDDEN, CONDITION, STEPS = 28, 16, 128, 32, 64
LOSS_STEPS = (40, 48, 56, 64)
FIRE_RATE = 0.5
LIVING = 0.35
FAINT = 1e-6  # standard deviation of the last layer's weights

FLOP_PER_CELL = 2 * (3 * CHANNELS * HIDDEN + HIDDEN * CHANNELS)  # forward; training takes 3 times
WORKS = {  # name: (what, batch)
    "training, batch 8": ("training", 8),
    "training, batch 32": ("training", 32),
    "rollout, batch 1": ("rollout", 1),
    "rollout, batch 8": ("rollout", 8),
    "rollout, batch 32": ("rollout", 32),
}


def disc(size: int = SIZE, share: float = LIVING) -> list[list[bool]]:
    """Where the alive channel is 1: a disc whose 3x3 dilation covers about `share` of the grid."""
    radius = (share * size * size / 3.14159) ** 0.5 - 0.9
    middle = (size - 1) / 2
    return [
        [(y - middle) ** 2 + (x - middle) ** 2 < radius**2 for x in range(size)]
        for y in range(size)
    ]
