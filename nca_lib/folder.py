"""Your own pictures, in a folder: a picture for each class, or a folder for each class.

::

    pets/cat.png        pets/cat/1.png        pets/train/cat/1.png
    pets/dog.png        pets/cat/2.png        pets/train/dog/1.png
                        pets/dog/1.png        pets/test/cat/1.png ...
"""

from __future__ import annotations

import os.path
import textwrap
import warnings
from pathlib import Path

from nca_lib.dataset import VALIDATION_SHARE, Dataset, Pictures, deal
from nca_lib.errors import InputError
from nca_lib.kinds import Kind

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

FORMATS = ("PNG", "JPEG", "GIF", "WEBP", "BMP")
SUFFIXES = (".png", ".jpg", ".jpeg", ".gif", ".webp", ".bmp")
LEAST, MOST = 8, 96  # cells a side
SHRINK = (
    f"make the pictures smaller, at most {MOST} x {MOST} (40 x 40 is a good size), with an image "
    "program or Pillow's Image.resize"
)
ENOUGH = 12  # pictures of each class, so that some can be held out
TEST_SHARE = 1 / 6
PARTS = {"train": "train", "test": "test", "val": "validation", "validation": "validation"}

Classes = dict[str, list[Path]]  # the files of each class


def read_folder(root: str | Path) -> Dataset:
    """Pictures of one size, from 8 x 8 to 96 x 96; a class is called after its file or folder.

    If all pictures are grey and opaque, they have one channel of ink; dark ones on light paper are
    inverted, so that ink is 1 and paper 0. Else all have four channels: red, green and blue, each
    multiplied by the opacity, and the opacity.

    Held out are the pictures in `test` and `val`, where the folder is divided into `train` and one
    or both of these. Else a sixth of each class is for testing and a twelfth for validation, always
    the same ones, if every class has at least 12 pictures. Else none: the three parts are the same.

    Raises:
        InputError: no folder, no pictures, or pictures that can't be read or don't go together.
    """
    root = Path(root)
    parts = find_parts(root)
    classes = class_names(parts)
    found = [
        (part, label, path)
        for part, files in parts.items()
        for label, name in enumerate(classes)
        for path in files[name]
    ]
    images, note = read_images([path for _, _, path in found])
    pictures = Pictures(images, torch.tensor([label for _, label, _ in found]))
    pieces = {
        part: pictures.select(torch.tensor([other == part for other, _, _ in found]))
        for part in parts
    }
    train, validation, test, held_out = share_out(pieces, len(classes))
    many = "picture" if len(found) == 1 else "pictures"
    of = "class" if len(classes) == 1 else "classes"
    source = f"{len(found):,} {many} of {len(classes)} {of} in {root}{note}"
    name = textwrap.shorten(f"pictures: {', '.join(classes)}", 60, placeholder=" ...")
    kind = Kind(classes, images.shape[1], tuple(images.shape[2:]))
    return Dataset(train, validation, test, source, name, kind, held_out)


def share_out(
    pieces: dict[str, Pictures], classes: int
) -> tuple[Pictures, Pictures, Pictures, bool]:
    """Training, validation and test pictures, and whether the last are held out."""
    train = pieces.get("train", pieces.get("all"))
    enough = train.labels.bincount(minlength=classes).min() >= ENOUGH
    if "all" in pieces:
        if not enough:
            return train, train, train, False
        return *deal(train, classes, [VALIDATION_SHARE, TEST_SHARE]), True
    if "test" in pieces and "validation" in pieces:
        return train, pieces["validation"], pieces["test"], True
    test = pieces.get("test", pieces.get("validation"))
    rest, validation = deal(train, classes, [VALIDATION_SHARE]) if enough else (train, train)
    return rest, validation, test, True


def look_into(folder: Path) -> tuple[list[Path], list[Path]]:
    """The folders and the picture files in a folder, by name; what is hidden doesn't count."""
    if not os.path.isdir(folder):
        raise InputError(f"there is no folder {folder}: pass --data-root FOLDER with pictures")
    try:
        entries = sorted(folder.iterdir(), key=lambda path: path.name)
    except OSError as error:
        raise InputError(f"the folder {folder} can't be read ({error.strerror})") from error
    seen = [path for path in entries if not path.name.startswith((".", "__"))]
    pictures = [p for p in seen if p.suffix.lower() in SUFFIXES and os.path.isfile(p)]
    return [path for path in seen if os.path.isdir(path)], pictures


def holds_pictures(root: Path, below: int = 2) -> bool:
    """Whether there are pictures in a folder, or in folders not too far below."""
    try:
        folders, pictures = look_into(root)
    except InputError:
        return False
    return bool(pictures) or (below > 0 and any(holds_pictures(f, below - 1) for f in folders))


def find_parts(root: Path) -> dict[str, Classes]:
    """The files of each part and class; the only part is "all" where the folder is not divided."""
    folders, pictures = look_into(root)
    parts = {PARTS[f.name.lower()]: f for f in folders if f.name.lower() in PARTS}
    if "train" not in parts or len(parts) == 1:
        return {"all": find_classes(root)}
    others = [path for path in folders + pictures if path not in parts.values()]
    if others:
        raise InputError(
            f"{others[0]} lies beside {parts['train']}: "
            "put all pictures into train, test and val, or have no such folders"
        )
    return {part: find_classes(folder) for part, folder in parts.items()}


def find_classes(folder: Path) -> Classes:
    """The files of each class: one file, called after it, or all in the folder called after it."""
    folders, pictures = look_into(folder)
    if folders and pictures:
        raise InputError(
            f"{folder} holds pictures ({pictures[0].name}) and folders ({folders[0].name}): "
            "have either a picture or a folder for each class"
        )
    if not folders and not pictures:
        raise InputError(
            f"{folder} holds no pictures: put PNG or JPG files there, one for each class, "
            "or a folder of them for each class"
        )
    classes = {path.name: look_into(path)[1] for path in folders}
    for path in pictures:
        classes.setdefault(path.stem, []).append(path)
        if len(classes[path.stem]) == 2:
            first = classes[path.stem][0].name
            raise InputError(
                f"{first} and {path.name} in {folder} would both be the class {path.stem}: "
                "rename one, or have a folder for each class"
            )
    for name, files in classes.items():
        if not files:
            raise InputError(
                f"{folder / name} holds no picture: put PNG or JPG files there, "
                "or take the folder away"
            )
    return classes


def class_names(parts: dict[str, Classes]) -> tuple[str, ...]:
    """The names in order; they have to be the same in every part, and such as can be printed."""
    first, *others = parts
    for part in others:
        missing = sorted(parts[first].keys() ^ parts[part].keys())
        if missing:
            there, not_there = (first, part) if missing[0] in parts[first] else (part, first)
            raise InputError(
                f"the class {missing[0]!r} has pictures for {there} and none for {not_there}: "
                "have the same classes in both folders"
            )
    for name in parts[first]:
        if not name.isprintable():
            raise InputError(f"the class {name!a} has a name that can't be printed: rename it")
    return tuple(sorted(parts[first]))


def read_images(paths: list[Path]) -> tuple[Tensor, str]:
    """All pictures as ink, float32 `[N, I, H, W]`, and a note if they were inverted."""
    pixels = []
    for path in paths:
        pixels.append(read_pixels(path))
        if pixels[-1].shape != pixels[0].shape:
            (height, width, _), (other_height, other_width, _) = pixels[0].shape, pixels[-1].shape
            raise InputError(
                f"{paths[0]} is {width} x {height}, {path} is {other_width} x {other_height}: "
                "make all pictures one size, with an image program or Pillow's Image.resize"
            )
    images, note = as_ink(torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2))
    for path, image in zip(paths, images, strict=True):
        if not image[-1].any():  # the ink of grey pictures, the opacity of others
            raise InputError(f"{path} shows nothing: it is empty from edge to edge")
    return images, note


def read_pixels(path: Path) -> np.ndarray:
    """Any picture as bytes `[H, W, 4]`: red, green, blue, opacity; of an animation, its start."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what a picture has beside its pixels
            with Image.open(path, formats=FORMATS) as image:
                check_size(path, image.size)  # before it is unpacked
                return as_bytes(ImageOps.exif_transpose(image))
    except InputError:
        raise
    except Image.DecompressionBombError as error:
        raise InputError(f"{path} is far too large: {SHRINK}") from error
    except Exception as error:  # Pillow raises many kinds
        reason = getattr(error, "strerror", None) or "damaged, or no picture"
        raise InputError(f"{path} can't be read ({reason}): save it anew, as PNG") from error


def check_size(path: Path, size: tuple[int, int]) -> None:
    """Raise InputError for pictures that are too large or too small for a grid of cells."""
    width, height = size
    if max(size) > MOST:
        raise InputError(
            f"{path} is {width} x {height}, which needs a cell for each pixel: {SHRINK}"
        )
    if min(size) < LEAST:
        raise InputError(
            f"{path} is {width} x {height}: pictures have at least {LEAST} x {LEAST} pixels"
        )


def as_bytes(image: Image.Image) -> np.ndarray:
    """Pixels `[H, W, 4]` of a picture of any mode."""
    if image.mode.startswith("I"):  # grey of 16 bits, which Pillow would cut off, not scale
        values = np.asarray(image).astype(np.int64)
        grey = (values / 257).round().clip(0, 255).astype(np.uint8)
        opacity = 255 * (values != image.info.get("transparency", -1)).astype(np.uint8)
        return np.stack([grey, grey, grey, opacity], -1)
    if not image.has_transparency_data:
        image = image.convert("RGB")  # from CMYK there is no other way
    return np.array(image.convert("RGBA"))


def as_ink(pixels: Tensor) -> tuple[Tensor, str]:
    """Bytes `[N, 4, H, W]` as ink, float32 `[N, I, H, W]` in [0, 1], and a note if inverted."""
    colour, opacity = pixels[:, :3], pixels[:, 3:]
    if (opacity < 255).any() or (colour != colour[:, :1]).any():
        covered = opacity.float() / 255
        return torch.cat([colour.float() / 255 * covered, covered], dim=1), ""
    grey = colour[:, :1]
    edges = [grey[..., 0, :], grey[..., -1, :], grey[..., :, 0], grey[..., :, -1]]
    if torch.cat(edges, dim=-1).float().mean() <= 127.5:
        return grey.float() / 255, ""
    return (255 - grey).float() / 255, ", inverted: they are dark on light paper"
