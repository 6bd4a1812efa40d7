"""What the pictures of a data set have in common, and where a cell's state keeps what.

A cell's state is `C` numbers, one per channel. One layout serves every model:

    channel   0 ... I - 1      ink: the picture itself (1 is grey; 4 are red, green, blue, opacity)
              I                alive: above 0.1 in a neighbourhood, the cell in it is alive
              I + 1            origin marker: 1 in the seed cell, for models trained to keep it
              I + 2 ... I + 7  positional channels, for models trained to know where a cell is
              the rest         hidden, free for the cells to use
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ImageSpec:
    """Classes, ink channels and size of the pictures that a model is made for."""

    classes: tuple[str, ...]  # their names; a label is an index into this tuple
    channels: int  # ink channels of a picture
    size: tuple[int, int]  # height and width, in pixels and in cells

    @property
    def alive(self) -> int:
        """Index of the alive channel, right behind the ink."""
        return self.channels

    @property
    def origin(self) -> int:
        """Index of the origin marker."""
        return self.channels + 1

    @property
    def positional(self) -> slice:
        """The six positional channels (`losses.position_target`)."""
        return slice(self.channels + 2, self.channels + 8)


MNIST = ImageSpec(classes=tuple("0123456789"), channels=1, size=(28, 28))
