"""What the pictures of a data set have in common. A rule is made for one kind of pictures."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """Classes, ink channels and size; the channels of a cell's state follow from the ink."""

    classes: tuple[str, ...]  # their names; a label is a place in this list
    ink: int  # channels of a picture: 1 is grey, 4 is colour (red, green, blue, opacity)
    size: tuple[int, int]  # height and width in cells

    @property
    def life(self) -> int:
        """Channel of the life, behind the ink."""
        return self.ink

    @property
    def anchor(self) -> int:
        """Channel of the mark where the growth began; from here on channels are hidden."""
        return self.ink + 1

    @property
    def place(self) -> slice:
        """The six channels in which a cell may be taught where it is (`losses.place_target`)."""
        return slice(self.ink + 2, self.ink + 8)


MNIST = Kind(classes=tuple("0123456789"), ink=1, size=(28, 28))
