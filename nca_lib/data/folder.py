"""Your own pictures, in a folder: one picture per class, or one folder per class.

::

    pets/cat.png        pets/cat/1.png        pets/train/cat/1.png
    pets/dog.png        pets/cat/2.png        pets/train/dog/1.png
                        pets/dog/1.png        pets/test/cat/1.png ...
"""

from __future__ import annotations

import os.path
import textwrap
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nca_lib.data.dataset import Dataset, Pictures, split
from nca_lib.inputs import InputError
from nca_lib.spec import ImageSpec

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

FORMATS = ("PNG", "JPEG", "GIF", "WEBP", "BMP")  # for some others Pillow starts programs
SUFFIXES = (".png", ".jpg", ".jpeg", ".gif", ".webp", ".bmp")
MIN_SIDE, MAX_SIDE = 8, 96  # cells
PARTS = {"train": "train", "training": "train", "test": "test", "testing": "test",
         "val": "validation", "validation": "validation"}  # fmt: skip
RESIZE = "with an image program or Pillow's Image.resize (40 x 40 is a good size)"


def read_images(folder: str | Path) -> Dataset:
    """Pictures of one size, 8 x 8 to 96 x 96, with the classes named after files or folders.

    If all pictures are grey and opaque they have one channel of ink, and dark ones on light paper
    are inverted; else all have four: red, green and blue, each multiplied by the opacity, and the
    opacity. Folders `test` and `val` beside `train` hold what is held out, else see `split`.

    Raises:
        InputError: no folder, no pictures, or pictures that are damaged or don't go together.
    """
    root = Path(os.path.expanduser(folder))
    parts = {part: find_classes(path) for part, path in find_parts(root).items()}
    classes = tuple(parts["train"])
    for part, found in parts.items():
        for name in sorted(set(classes) ^ set(found)):
            raise InputError(f"class {name!r} is missing in train or {part}: both need pictures")
    files = [(part, path, label) for part, found in parts.items()
             for label, name in enumerate(classes) for path in found[name]]  # fmt: skip
    images, note = read_files([path for _, path, _ in files])
    pictures = Pictures(images, torch.tensor([label for _, _, label in files]))
    divided = {
        name: pictures.select(torch.tensor([part == name for part, _, _ in files]))
        for name in parts
    }
    source = f"{root} (pictures: {len(files):,}, classes: {len(classes)}){note}"
    name = textwrap.shorten(f"pictures: {', '.join(classes)}", 60, placeholder=" ...")
    spec = ImageSpec(classes, images.shape[1], tuple(images.shape[2:]))
    if len(divided) == 3:
        return Dataset(**divided, source=source, name=name, spec=spec)
    test = divided.get("test", divided.get("validation"))
    return split(divided["train"], test, source, name, spec)


def look_into(folder: Path) -> tuple[list[Path], list[Path]]:
    """The folders and the picture files in a folder, in order, without hidden ones."""
    try:
        entries = sorted(folder.iterdir(), key=lambda path: path.name)
    except (OSError, ValueError) as error:
        raise InputError(f"{folder} can't be read ({error}): give a folder of pictures") from error
    seen = [path for path in entries if not path.name.startswith((".", "__"))]
    pictures = [path for path in seen if path.suffix.lower() in SUFFIXES and path.is_file()]
    return [path for path in seen if path.is_dir()], pictures


def find_parts(root: Path) -> dict[str, Path]:
    """The folder of each part; an undivided one is all "train"."""
    folders, pictures = look_into(root)
    parts = {PARTS[path.name.lower()]: path for path in folders if path.name.lower() in PARTS}
    if "train" not in parts or len(parts) == 1:
        return {"train": root}
    for path in folders + pictures:
        if path not in parts.values():
            raise InputError(f"{path} lies beside train: put all pictures into train, test and val")
    return parts


def find_classes(folder: Path) -> dict[str, list[Path]]:
    """The files of each class: those named after it, or all in a folder named after it."""
    folders, pictures = look_into(folder)
    if folders and pictures:
        raise InputError(
            f"{folder} holds pictures ({pictures[0].name}) and folders ({folders[0].name}): "
            "give a picture or a folder for each class"
        )
    classes = {path.name: look_into(path)[1] for path in folders}
    for path in pictures:
        classes.setdefault(path.stem, []).append(path)
    empty = [folder / name for name in classes if not classes[name]]
    if empty or not classes:
        raise InputError(
            f"{[*empty, folder][0]} holds no pictures: put PNG or JPG files there, "
            "one for each class, or a folder of them for each class"
        )
    for name in classes:
        if not name.isprintable():
            raise InputError(f"the class {name!a} has a name that can't be printed: rename it")
    return dict(sorted(classes.items()))


def read_files(paths: list[Path]) -> tuple[Tensor, str]:
    """All pictures as ink, float32 `[N, I, H, W]`, and a note if they were inverted."""
    pixels = [read_pixels(path) for path in paths]
    sizes = [f"{picture.shape[1]} x {picture.shape[0]}" for picture in pixels]
    for path, size in zip(paths, sizes, strict=True):
        if size != sizes[0]:
            raise InputError(
                f"{paths[0]} is {sizes[0]}, {path} is {size}: make all pictures one size, {RESIZE}"
            )
    images, note = as_ink(np.stack(pixels))
    for path, image in zip(paths, images, strict=True):
        if not image[-1].any():  # ink of grey pictures, opacity of others
            raise InputError(f"{path} shows nothing: it is empty from edge to edge")
    return images, note


def read_pixels(path: Path) -> np.ndarray:
    """Any picture as bytes `[H, W, 4]`: red, green, blue, opacity; an animation's first frame."""
    with pillow_errors(path), Image.open(path, formats=FORMATS) as image:
        if max(image.size) > MAX_SIDE or min(image.size) < MIN_SIDE:  # before it is unpacked
            raise InputError(
                f"{path} is {image.width} x {image.height}: each pixel becomes a cell, so make all "
                f"pictures {MIN_SIDE} x {MIN_SIDE} to {MAX_SIDE} x {MAX_SIDE}, {RESIZE}"
            )
        return as_bytes(ImageOps.exif_transpose(image))


@contextmanager
def pillow_errors(name: str | Path) -> Iterator[None]:
    """Turn whatever Pillow raises about the picture `name` into an InputError; silence warnings."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            yield
    except InputError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise InputError(f"{name} has too many pixels: make it smaller") from error
    except Exception as error:  # each decoder fails in its own way: OSError, struct.error, ...
        reason = getattr(error, "strerror", None) or "damaged, or no picture"
        raise InputError(f"{name} can't be read ({reason}): save it as PNG or JPG") from error


def as_bytes(image: Image.Image) -> np.ndarray:
    """Pixels of a picture of any mode as bytes `[H, W, 4]`: red, green, blue and opacity."""
    if image.mode.startswith("I"):  # 16-bit grey, which Pillow would clip instead of scaling
        grey = (np.asarray(image).astype(np.int64) / 257).round().clip(0, 255)
        image = Image.fromarray(grey.astype(np.uint8))
    if not image.has_transparency_data:
        image = image.convert("RGB")  # CMYK has no direct way to RGBA
    return np.array(image.convert("RGBA"))


def as_ink(pixels: np.ndarray) -> tuple[Tensor, str]:
    """Bytes `[N, H, W, 4]` as ink, float32 `[N, I, H, W]` in [0, 1], and a note if inverted."""
    values = torch.from_numpy(pixels).permute(0, 3, 1, 2)
    colour, opacity = values[:, :3], values[:, 3:]
    if (opacity < 255).any() or (colour != colour[:, :1]).any():
        covered = opacity.float() / 255
        return torch.cat([colour.float() / 255 * covered, covered], dim=1), ""
    grey = colour[:, :1]
    edges = [grey[..., 0, :], grey[..., -1, :], grey[..., :, 0], grey[..., :, -1]]
    if torch.cat(edges, dim=-1).float().mean() <= 127.5:
        return grey.float() / 255, ""
    return (255 - grey).float() / 255, ", inverted: they are dark on light paper"
