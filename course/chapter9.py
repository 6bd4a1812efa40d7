"""Checks for chapter 9, your own pictures."""

from math import floor

from course.checking import Check

import torch


def centred(small, target=14, whole=round, order=1, weigh=True):
    lines = (small.sum(1), small.sum(0))[::order]
    middles = [(line * torch.arange(len(line))).sum() / small.sum() for line in lines]
    middles = middles if weigh else [(side - 1) / 2 for side in small.shape]
    field = torch.zeros(28, 28)
    field[: small.shape[0], : small.shape[1]] = small
    return field.roll([whole(float(target - middle)) for middle in middles], (0, 1))


def drawing_case(height, width):
    """Ink that is heavier on one side, so that the middles of box and mass differ."""
    down, across = torch.arange(height)[:, None] / height, torch.arange(width)[None] / width
    small = (0.3 + down) * (1.3 - across) * (torch.rand(height, width) < 0.6)
    small[0, 0] = small[-1, -1] = 0.1  # the box is as large as it says
    return (small / small.max(),)


CENTRED = {
    "Right: the heaviest part decides, not the edges of the box.": {},
    "That is the middle of the box: the centre of mass should be at 14.": {"weigh": False},
    "Rows and columns are swapped.": {"order": -1},
    "Nearly: one pixel further it is nearer to 14. Round, don't cut off.": {"whole": floor},
    "Nearly: the centre of mass should be in row and column 14, not 13.": {"target": 13},
}
check_centred = Check(centred, lambda: [drawing_case(20, 12), drawing_case(14, 20)], CENTRED)


def premultiplied(pixels, by=lambda opacity: opacity):
    return torch.cat([pixels[:, :3] * by(pixels[:, 3:]), pixels[:, 3:]], 1)


def pixel_case(count):
    pixels = torch.rand(count, 4, 5, 4)
    pixels[:, 3] *= torch.rand(pixels[:, 3].shape) > 0.3  # some of them can't be seen
    return (pixels,)


PIXEL = {
    "Right: what can't be seen is 0, whatever colour the file had there.": {},
    "The opacity was multiplied with itself: it stays as it was.": lambda p: p * p[:, 3:],
    "Nothing has changed: the colours have to be multiplied.": lambda pixels: pixels,
    "That is 1 - opacity, which is what shines through.": {"by": lambda opacity: 1 - opacity},
    "Opacity comes last: red, green, blue, opacity.": lambda p: premultiplied(p).roll(1, 1),
}
check_premultiplied = Check(premultiplied, lambda: [pixel_case(3), pixel_case(4)], PIXEL)


def on_paper(picture, paper=1.0):
    return picture[..., :3, :, :] + paper * (1 - picture[..., 3:4, :, :])


def on_white_paper(frames, images, labels, seen=on_paper, of=lambda off: off.square().mean()):
    return of(seen(frames[:, :, :4]) - seen(images))


def paper_case(steps, count):
    frames = torch.randn(steps, count, 16, 5, 6).requires_grad_()
    return frames, torch.rand(count, 4, 5, 6), torch.zeros(count, dtype=torch.int64)


PAPER = {
    "Right: what an eye sees on white paper, and nothing else, is compared.": {},
    "That is the usual loss of all four channels.": {"seen": lambda picture: picture},
    "That is black paper: add 1 - opacity.": {"seen": lambda picture: on_paper(picture, 0)},
    "Add 1 - opacity, not opacity.": {"seen": lambda picture: on_paper(picture, -1)},
    "Don't clamp: beyond 0 and 1 no gradient is left.": {"seen": lambda x: on_paper(x).clamp(0, 1)},
    "That is the absolute error: square it.": {"of": lambda off: off.abs().mean()},
    "That is the last loss step alone: take them all.": {"of": lambda x: x[-1].square().mean()},
    "Lay both on paper.": lambda x, images, _: (on_paper(x) - images[:, :3]).square().mean(),
}
check_paper_loss = Check(on_white_paper, lambda: [paper_case(3, 2), paper_case(4, 4)], PAPER)


def from_the_ground(images, labels, row=torch.max, column=0.5, channels=slice(4, None), level=0.5):
    count, _, height, width = images.shape
    states = images.new_zeros(count, 16, height, width)
    for state, image in zip(states, images, strict=True):
        opaque = (image[3] > level).any(1).nonzero()
        state[channels, row(opaque), int(column * width)] = 1.0
    return states


def ground_case(height, width):
    """Pictures `[4, 4, H, W]` that end in different rows, with a faint shadow below."""
    images = torch.zeros(4, 4, height, width)
    for number, image in enumerate(images):
        top, low = 1 + number % 3, height - 3 - number
        image[:, top : low + 1] = torch.rand(4, low + 1 - top, width)
        image[3, top : low + 1] = 1.0
        image[:, low + 1] = 0.3  # a shadow: opaque only in part
    return images, torch.zeros(4, dtype=torch.int64)


GROUND = {
    "Right: each picture has its seed where it stands on the ground.": {},
    "The seed carries no ink: start at channel 4.": {"channels": slice(None)},
    "All channels behind the alive channel are 1, too.": {"channels": slice(4, 5)},
    "That is the highest row: rows are counted from the top.": {"row": torch.min},
    "The seed lies in the shadow: opaque means an opacity above 0.5.": {"level": 0},
    "The seed is in the first column: take the middle one, W // 2.": {"column": 0},
    "Each picture has its own ground.": lambda x, y: from_the_ground(x[:1].expand_as(x), y),
}
check_ground = Check(from_the_ground, lambda: [ground_case(20, 24), ground_case(16, 9)], GROUND)
