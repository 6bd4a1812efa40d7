"""Checks for chapter 9, your own pictures."""

from __future__ import annotations

from collections.abc import Callable

from nca_lib.cells import seed_state
from nca_lib.exercises.trying import as_tensor, attempt, same

import torch
from torch import Tensor

SIDE, MIDDLE = 28, 14  # of MNIST's field; its middle row and column, counted from 0
CHANNELS, INK = 16, 4  # of a coloured picture's cells
LIFE = INK


def boxed(generator: torch.Generator, height: int, width: int) -> Tensor:
    """Ink `[height, width]` that is heavier on one side, so that box and mass differ."""
    down, across = torch.arange(height)[:, None] / height, torch.arange(width)[None] / width
    light = (0.3 + down) * (1.3 - across)
    small = light * (torch.rand(height, width, generator=generator) < 0.6)
    small[0, 0] = small[-1, -1] = 0.1  # the box is as large as it says
    return small / small.max()


def middle_of(picture: Tensor) -> tuple[float, float]:
    """Row and column of the centre of mass."""
    rows, columns = picture.sum(1), picture.sum(0)
    return tuple(
        float((line * torch.arange(len(line))).sum() / line.sum()) for line in (rows, columns)
    )


def places(field: Tensor, small: Tensor) -> list[tuple[int, int]]:
    """The rows and columns at which `small` can be laid into an empty field to give this one."""
    (h, w), found = small.shape, []
    for top in range(SIDE - h + 1):
        for left in range(SIDE - w + 1):
            laid = torch.zeros(SIDE, SIDE)
            laid[top : top + h, left : left + w] = small
            if torch.allclose(field, laid, atol=1e-4):
                found.append((top, left))
    return found


def near(place: tuple[float, float], wanted: tuple[float, float]) -> bool:
    """Whether both lie within half a cell, as nearly as whole cells allow."""
    return all(abs(a - b) <= 0.5 + 1e-3 for a, b in zip(place, wanted, strict=True))


def check_centred(function: Callable | None) -> None:
    """Ink of at most 20 x 20, laid into 28 x 28 with its centre of mass in row and column 14."""
    generator = torch.Generator().manual_seed(0)
    for height, width in ((20, 12), (14, 20), (20, 20), (20, 3)):
        small = boxed(generator, height, width)
        given = attempt(function, small)
        field = None if given is None else as_tensor(given, "the picture")
        if field is None:
            return
        if field.shape != (SIDE, SIDE):
            print(f"The picture has the shape {list(field.shape)}, expected [{SIDE}, {SIDE}].")
            return
        wrong = what_is_wrong(field.real.float(), small)
        if wrong:
            print(wrong)
            return
    print("Right: the heaviest part decides, not the edges of the box.")


def what_is_wrong(field: Tensor, small: Tensor) -> str | None:
    """A sentence, or None where the picture is centred by its mass."""
    if not field.isfinite().all():
        return "The picture holds values that are not finite."
    middle = middle_of(small)
    found = places(field, small)
    if not found:
        if torch.isclose(field.sum(), small.sum(), rtol=1e-3):
            return "All the ink is there, but the drawing has changed: move it by whole pixels."
        return "Ink was lost or changed: lay the whole drawing into a field of zeros."
    place = tuple(a + b for a, b in zip(found[0], middle, strict=True))
    if near(place, (MIDDLE, MIDDLE)):
        return None
    box = [(SIDE - side) / 2 for side in small.shape]
    where = f"the centre of mass is in row {place[0]:.1f}, column {place[1]:.1f}"
    if all(abs(a - b) < 1 for a, b in zip(found[0], box, strict=True)):
        return f"That is the middle of the box, and {where}: both should be nearest to {MIDDLE}."
    if near((found[0][0] + middle[1], found[0][1] + middle[0]), (MIDDLE, MIDDLE)):
        return f"Rows and columns are swapped: {where}."
    if near(place, (MIDDLE - 0.5, MIDDLE - 0.5)):
        return f"Nearly: {where}, and one pixel further would be nearer to {MIDDLE}."
    return f"Not yet: {where}, and both should be as near to {MIDDLE} as whole pixels allow."


def check_premultiplied(function: Callable | None) -> None:
    """Colours times opacity, and the opacity as it was."""
    generator = torch.Generator().manual_seed(0)
    for shape in ((3, 4, 5, 6), (1, 4, 24, 24), (2, 4, 4, 4)):
        pixels = torch.rand(shape, generator=generator)
        pixels[:, 3] *= torch.rand(pixels[:, 3].shape, generator=generator) > 0.3  # some is unseen
        given = attempt(function, pixels)
        if given is None:
            return
        colours, opacity = pixels[:, :3], pixels[:, 3:]
        wanted = torch.cat([colours * opacity, opacity], 1)
        if same(given, wanted, "the picture"):
            continue
        given = as_tensor(given)
        if given is not None and given.shape == wanted.shape:
            mistakes = {
                "The opacity was multiplied with itself: it stays as it was.": pixels * opacity,
                "Nothing has changed: the colours have to be multiplied.": pixels,
                "You multiplied by 1 - opacity, which is what shines through.": torch.cat(
                    [colours * (1 - opacity), opacity], 1
                ),
                "Opacity comes last: red, green, blue, opacity.": torch.cat(
                    [opacity, colours * opacity], 1
                ),
            }
            named = [text for text, wrong in mistakes.items() if same(given.real, wrong)]
            print((named or ["Not yet: each colour times the opacity of its pixel."])[0])
        return
    print("Right: what can't be seen is 0, whatever colour the file had there.")


def check_paper_loss(function: Callable | None) -> None:
    """The mean squared error of three colours, both pictures laid on white paper."""
    generator = torch.Generator().manual_seed(0)
    for steps, count, height, width in ((3, 2, 5, 6), (1, 3, 4, 4), (4, 4, 8, 5)):
        frames = torch.randn(steps, count, CHANNELS, height, width, generator=generator)
        images = torch.rand(count, INK, height, width, generator=generator)
        labels = torch.zeros(count, dtype=torch.int64)
        given = attempt(function, frames.requires_grad_(), images, labels)
        if given is None:
            return
        if not isinstance(given, Tensor):
            print(f"Your loss is a {type(given).__name__}: training needs a tensor.")
            return
        if given.dim():
            print(f"Your loss has the shape {list(given.shape)}: expected one number, the mean.")
            return
        if not given.requires_grad:
            print("Your loss is cut off from the frames: no .item(), no .detach(), no no_grad.")
            return
        wanted = paper_loss(frames.detach(), images, 1.0)
        if not same(given, wanted, "your loss"):
            print(loss_mistake(given.detach().real, frames.detach(), images))
            return
    print("Right: what an eye sees on white paper, and nothing else, is compared.")


def paper_loss(frames: Tensor, images: Tensor, paper: float) -> Tensor:
    """Squared error of colours with what shines through them, a scalar."""
    seen, wanted = (x[..., :3, :, :] + paper * (1 - x[..., 3:4, :, :]) for x in (frames, images))
    return (seen - wanted).square().mean()


def loss_mistake(given: Tensor, frames: Tensor, images: Tensor) -> str:
    """A sentence about a loss that is not the wanted one."""
    right = paper_loss(frames, images, 1.0)
    usual = (frames[:, :, :INK] - images).square().mean()
    seen, wanted = (x[..., :3, :, :] + 1 - x[..., 3:4, :, :] for x in (frames, images))
    mistakes = {
        "That is the usual loss of all four channels.": usual,
        "That is black paper, where nothing is added: the colours alone.": paper_loss(
            frames, images, 0.0
        ),
        "That is the sum, or not the mean over everything.": right * seen.numel(),
        "That is the absolute error: square it.": (seen - wanted).abs().mean(),
        "The square root is too much: the mean of the squares.": right.sqrt(),
        "Don't clamp: outside of 0 to 1 the gradient would be 0, and nothing is learned there.": (
            (seen.clamp(0, 1) - wanted.clamp(0, 1)).square().mean()
        ),
        "Only the last loss step counts here: take the mean over all of them.": (
            (seen[-1] - wanted).square().mean()
        ),
        "Paper shines through where opacity is low: add 1 - opacity, not opacity.": (
            ((frames[:, :, :3] + frames[:, :, 3:4]) - (images[:, :3] + images[:, 3:]))
            .square()
            .mean()
        ),
        "The grown picture is on paper, the wanted one is not.": (
            (seen - images[:, :3]).square().mean()
        ),
        "Each colour was multiplied by its opacity once more: they are premultiplied.": (
            over(frames[:, :, :INK]) - over(images)
        )
        .square()
        .mean(),
    }
    for text, wrong in mistakes.items():
        if torch.isclose(given.double(), wrong.double(), rtol=1e-4):
            return text
    times = (given / right).item()
    if times > 1.5 and abs(times - round(times)) < 1e-3:
        return f"It is {round(times)} times the mean over steps, samples, colours and cells."
    return f"Not yet: for one of our examples it should be {right:.3f}, yours is {given:.3f}."


def over(picture: Tensor) -> Tensor:
    """Straight colours on white paper, `[..., 4, H, W]` -> `[..., 3, H, W]`."""
    opacity = picture[..., 3:4, :, :]
    return picture[..., :3, :, :] * opacity + 1 - opacity


def standing(generator: torch.Generator, shape: tuple[int, ...]) -> Tensor:
    """Pictures `[B, 4, H, W]` that end in different rows, with a faint shadow below."""
    count, height, width = shape
    images = torch.zeros(count, INK, height, width)
    for number, image in enumerate(images):
        low = height - 3 - number % (height // 2)
        top = 1 + number % 3
        image[:, top : low + 1] = torch.rand(INK, low + 1 - top, width, generator=generator)
        image[3, top : low + 1] = 1.0
        image[:, low + 1] = 0.3  # a shadow: opaque only in part
    return images


def check_ground(function: Callable | None) -> None:
    """A start with one cell: lowest row that is opaque, middle column."""
    generator = torch.Generator().manual_seed(0)
    for shape in ((3, 24, 24), (1, 20, 28), (4, 16, 9)):
        images = standing(generator, shape)
        given = attempt(function, images, torch.zeros(shape[0], dtype=torch.int64))
        if given is None:
            return
        opaque = images[:, 3] > 0.5  # [B, H, W]
        lowest = opaque.any(2).int().cumsum(1).argmax(1)  # [B]
        wanted = seeds_at(images, lowest)
        if same(given, wanted, "the start"):
            continue
        given = as_tensor(given)
        if given is not None and given.shape == wanted.shape:
            print(start_mistake(given.real.float(), wanted, images, lowest))
        return
    print("Right: each picture has its seed where it stands on the ground.")


def seeds_at(images: Tensor, rows: Tensor) -> Tensor:
    """States `[B, 16, H, W]`: the usual seed, moved to these rows."""
    count, _, height, width = images.shape
    states = seed_state(count, CHANNELS, (height, width), LIFE)
    for state, row in zip(states, rows.tolist(), strict=True):
        state.copy_(state.roll(row - height // 2, 1))
    return states


def start_mistake(given: Tensor, wanted: Tensor, images: Tensor, lowest: Tensor) -> str:
    """A sentence about a start that is not the wanted one."""
    if given[:, :INK].any():
        return "There is ink in the start: a seed carries life and hidden channels, no ink."
    cells = given.abs().amax(1) > 0  # [B, H, W]
    where = wanted.abs().amax(1) > 0
    if not cells.any():
        return "The start is empty: nothing can grow from it."
    if torch.equal(cells, where):
        if not torch.allclose(given[:, LIFE][where], torch.ones(())):
            return "The seed is in the right place, but its life, channel 4, is not 1."
        return "The seed is in the right place; its life and all channels behind it are 1."
    counts = cells.sum((1, 2))
    if (counts > 1).any():
        return f"One of the starts has {int(counts.max())} cells that are not empty: one is enough."
    rows, columns = cells.any(2).int().argmax(1), cells.any(1).int().argmax(1)
    if torch.equal(rows, (images[:, 3] > 0.5).any(2).int().argmax(1)):
        return "That is the highest row: rows are counted from the top."
    if len(rows) > 1 and (rows == rows[0]).all():
        return "All seeds are in one row: each picture stands on a ground of its own."
    if (rows == lowest + 1).all():
        return "The seed lies in the shadow: opaque means an opacity above 0.5."
    if (columns != images.shape[3] // 2).any():
        return f"The column should be the middle one, {images.shape[3] // 2} of {images.shape[3]}."
    return f"The seed of the first picture is in row {int(rows[0])}, expected {int(lowest[0])}."
