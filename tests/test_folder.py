"""Your own pictures in a folder: what is read, and what is refused."""

import random
import sys
from pathlib import Path

from nca_lib.data import load_data
from nca_lib.data.folder import read_images
from nca_lib.inputs import InputError, check_images
from nca_lib.spec import ImageSpec

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))
import make_pictures as tool


def colour(red=200, green=100, blue=0, opacity=255, size=(12, 10)):
    """A coloured square in the middle of nothing, `size` wide and high."""
    image = Image.new("RGBA", size)
    image.paste((red, green, blue, opacity), (3, 3, size[0] - 3, size[1] - 3))
    return image


def grey(ink=255, paper=0, size=(12, 10)):
    image = Image.new("L", size, paper)
    image.paste(ink, (3, 3, size[0] - 3, size[1] - 3))
    return image


def put(image, *path, **options):
    path = Path(*path)
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)
    return path


def inks(pictures):
    """The grey levels of pictures, in bytes."""
    return pictures.images[:, 0, 5, 5].mul(255).round().int().tolist()


def test_a_picture_for_each_class(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    shades = {"snail": (0, 200, 80), "fish": (255, 128, 0)}
    for name, shade in shades.items():
        put(colour(*shade), tmp_path, f"{name}.png")
    put(colour(*shades["snail"]), tmp_path, "snail.gif")  # one more of the same class
    data = load_data("pictures", "~")
    assert data.train is data.validation is data.test
    assert data.spec == ImageSpec(("fish", "snail"), 4, (10, 12))
    assert (data.train.labels.tolist(), data.held_out) == ([0, 1, 1], False)
    assert data.name == "pictures: fish, snail"
    assert data.source == f"{tmp_path} (pictures: 3, classes: 2)"
    for image, name in zip(data.train.images, ("fish", "snail", "snail"), strict=True):
        assert (image[:, 5, 5] * 255).tolist() == pytest.approx([*shades[name], 255])


def test_a_folder_for_each_class(tmp_path):
    for number in range(12):
        put(grey(100 + number), tmp_path, "b", f"{number:02}.png")
        put(grey(200 + number), tmp_path, "a", f"{number:02}.png")
    data = read_images(tmp_path)
    parts = (data.train, data.validation, data.test)
    assert (data.spec.classes, data.spec.channels, data.held_out) == (("a", "b"), 1, True)
    assert [part.labels.bincount().tolist() for part in parts] == [[9, 9], [1, 1], [2, 2]]
    assert sorted(x for part in parts for x in inks(part)) == [*range(100, 112), *range(200, 212)]
    (tmp_path / "a" / "03.png").unlink()
    few = read_images(tmp_path)
    assert not few.held_out
    assert inks(few.test) == [*(200 + n for n in range(12) if n != 3), *range(100, 112)]


@pytest.mark.parametrize("file", ["{}.png", "{}/1.png"])
def test_a_divided_folder(tmp_path, file):
    def read():
        data = read_images(tmp_path)
        parts = (data.train, data.validation, data.test)
        assert (data.spec.classes, data.held_out) == (("a", "b"), True)
        assert all(part.labels.tolist() == [0, 1] for part in parts)
        return [inks(part)[0] for part in parts]

    def add(part, ink):
        for name in ("a", "b"):
            put(grey(ink), tmp_path, part, file.format(name))

    add("Training", 100)
    add("val", 150)
    assert read() == [100, 100, 150]  # the only pictures that are held out are for testing
    add("testing", 200)
    assert read() == [100, 150, 200]
    put(grey(9), tmp_path, "testing", file.format("c"))
    with pytest.raises(InputError, match="class 'c' is missing in train or test"):
        read()
    put(grey(9), tmp_path, "c.png")
    with pytest.raises(InputError, match=r"c\.png lies beside train"):
        read()


def test_names(tmp_path):
    """Files that are no pictures or hidden are left alone."""
    for number in range(30):
        put(grey(), tmp_path, f"class-{number:02}", "1.png")
    for name in (".hidden.png", "Thumbs.db", "notes.txt", "cat.svg", "__cache__.png"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / ".git").mkdir()
    data = read_images(tmp_path)
    assert data.spec.classes == tuple(f"class-{number:02}" for number in range(30))
    assert data.name == "pictures: class-00, class-01, class-02, class-03, ..."


# --- grey and colour, paper and ink ---


OPAQUE = Image.new("RGB", (96, 8), (250, 30, 20))
SIXTEEN = Image.fromarray((40000 * (np.asarray(grey()) > 0)).astype(np.uint16))
PALETTE, HOLES, WHITE = colour().convert("RGB").quantize(4), colour().quantize(4), colour()
WHITE.paste((255, 255, 255, 0), (0, 0, 3, 3))  # transparent white
MOVING = {"save_all": True, "append_images": [colour(0, 0, 200)]}


@pytest.mark.parametrize(
    ("image", "name", "options", "inside", "outside"),
    [
        (grey(128), "cat.png", {}, [128], [0]),
        (grey(128).convert("RGB"), "cat.bmp", {}, [128], [0]),
        (grey(128).convert("RGBA"), "cat.png", {}, [128], [0]),
        (grey().convert("1"), "cat.png", {}, [255], [0]),
        (SIXTEEN, "cat.png", {}, [156], [0]),
        (colour(200, 100, 50, 51), "cat.png", {}, [40, 20, 10, 51], [0] * 4),
        (colour(100, 100, 100, 51).convert("LA"), "cat.png", {}, [20] * 3 + [51], [0] * 4),
        (colour(), "cat.webp", {"lossless": True}, [200, 100, 0, 255], [0] * 4),
        (colour(), "cat.gif", {}, [200, 100, 0, 255], [0] * 4),
        (colour(), "cat.PNG", {}, [200, 100, 0, 255], [0] * 4),
        (PALETTE, "cat.png", {}, [200, 100, 0, 255], [0, 0, 0, 255]),
        (HOLES, "cat.png", {}, [200, 100, 0, 255], [0] * 4),
        (WHITE, "cat.png", {}, [200, 100, 0, 255], [0] * 4),
        (OPAQUE, "cat.png", {}, [250, 30, 20, 255], [250, 30, 20, 255]),
        (OPAQUE.convert("CMYK"), "cat.jpg", {"quality": 100}, [250, 30, 20, 255], None),
        (colour(200, 0, 0), "cat.gif", MOVING, [200, 0, 0, 255], [0] * 4),
        (grey(ink=55, paper=255), "cat.png", {}, [200], [0]),
    ],
)  # fmt: skip
def test_modes_and_formats(tmp_path, image, name, options, inside, outside):
    put(image, tmp_path, name, **options)
    data = read_images(tmp_path)
    ink = check_images(data.train.images, data.spec)[0] * 255
    assert ink[:, 5, 5].tolist() == pytest.approx(inside, abs=0 if outside else 5)
    if outside:
        assert ink[:, 0, 0].tolist() == pytest.approx(outside)


def test_one_coloured_picture_makes_all_coloured(tmp_path):
    put(grey(), tmp_path, "a.png")
    put(colour(), tmp_path, "b.png")
    images = read_images(tmp_path).train.images
    assert images.shape == (2, 4, 10, 12)
    assert images[0, :, 0, 0].tolist() == [0, 0, 0, 1]  # opaque black


def test_the_borders_of_all_pictures_tell_the_paper(tmp_path):
    touching = grey(ink=0, paper=255)
    touching.paste(0, (0, 0, 12, 6))  # ink along most of its border
    put(grey(ink=0, paper=255), tmp_path, "a.png")
    put(touching, tmp_path, "b.png")
    assert read_images(tmp_path).source.endswith(", inverted: they are dark on light paper")
    for path in tmp_path.iterdir():
        path.unlink()
    white = grey(paper=0)
    white.paste(255, (1, 1, 11, 9))  # more ink than paper, but none on the border
    put(white, tmp_path, "a.png")
    assert read_images(tmp_path).train.images[0, 0, 5, 5] == 1


def test_the_orientation_of_a_photograph(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise by a quarter
    lying = grey()
    lying.paste(255, (0, 0, 12, 1))  # its upper edge
    put(lying, tmp_path, "cat.jpg", quality=100, exif=exif)
    image = read_images(tmp_path).train.images[0]
    assert image.shape == (1, 12, 10)
    assert image[0, :, 9].min() > 0.9  # is the right edge when it stands
    assert image[0, :, 0].max() < 0.1


# --- what is refused ---

LAYOUTS = [  # files in a folder, and the message
    ([], "holds no pictures: put PNG or JPG files there"),
    (["cat/1.png", "dog/notes.txt"], "dog holds no pictures"),
    (["cat.png", "dog/1.png"], "holds pictures (cat.png) and folders (dog)"),
    (["c\nt.png"], "has a name that can't be printed: rename it"),
]
PICTURES = [  # beside a grey one of 12 x 10
    (grey(size=(10, 12)), "is 10 x 12: make all pictures one size"),
    (grey(size=(97, 20)), "is 97 x 20: each pixel becomes a cell"),
    (grey(size=(20, 7)), "is 20 x 7: each pixel becomes a cell"),
    (grey(0), "shows nothing"),
    (Image.new("RGBA", (12, 10)), "shows nothing"),
]


def refused(folder):
    with pytest.raises(InputError) as caught:
        read_images(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(("files", "message"), LAYOUTS)
def test_layouts_that_are_refused(tmp_path, files, message):
    for name in files:
        put(grey(), tmp_path, name, format="PNG")
    assert message in refused(tmp_path)


@pytest.mark.parametrize(("picture", "message"), PICTURES)
def test_pictures_that_are_refused(tmp_path, picture, message):
    put(grey(), tmp_path, "a.png")
    assert f"{put(picture, tmp_path, 'b.png')} {message}" in refused(tmp_path)


def test_no_folder(tmp_path):
    for path in (tmp_path / "nowhere", put(grey(), tmp_path, "cat.png"), "a\0b"):
        assert f"{path} can't be read" in refused(path)


def test_damaged_pictures(tmp_path, monkeypatch):
    """And formats that are not on the list: for some, Pillow starts other programs."""
    path = put(colour(), tmp_path, "cat.png")
    content = path.read_bytes()
    for damaged in (b"", content[: len(content) // 2]):
        path.write_bytes(damaged)
        assert "cat.png can't be read (damaged, or no picture): save it as PNG" in refused(tmp_path)
    Image.new("F", (9, 9), 0.5).save(path, format="TIFF")
    assert "cat.png can't be read" in refused(tmp_path)
    path.write_bytes(content)
    for most in (100, 50):  # Pillow warns of the first, and refuses the second
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", most)
        assert "cat.png has too many pixels: make it smaller" in refused(tmp_path)


@pytest.mark.parametrize("suffix", ["png", "jpg", "gif", "webp", "bmp"])
def test_any_bytes_are_read_or_refused(tmp_path, suffix):
    draw, refusals = random.Random(1), 0
    picture = colour() if suffix in ("png", "gif", "webp") else colour().convert("RGB")
    path = put(picture, tmp_path / f"cat.{suffix}")
    content = path.read_bytes()
    for _ in range(300):
        damaged = bytearray(content)
        for _ in range(draw.choice([1, 1, 2, 8])):
            damaged[draw.randrange(len(damaged))] = draw.randrange(256)
        path.write_bytes(damaged[: draw.choice([len(damaged), draw.randrange(len(damaged))])])
        try:
            data = read_images(tmp_path)
            check_images(data.train.images, data.spec)
        except InputError as error:
            refusals += "\n" not in str(error)
    assert refusals > 60


def test_the_pictures_of_the_package():
    data = load_data("pictures")
    assert (data.spec.classes, data.spec.size) == (tuple(sorted(tool.PICTURES)), (40, 40))
    for name, draw in tool.PICTURES.items():
        pictures = (draw().reduced(), Image.open(tool.TARGET / f"{name}.png"))
        drawn, shipped = (np.array(picture.convert("RGBa")).astype(int) for picture in pictures)
        assert np.abs(drawn - shipped).max() <= 2, name
    opacity = data.train.images[:, 3]
    assert (opacity[:, 20, 20] == 1).all()  # the seed cell is in the picture
    for picture in opacity:
        assert ndimage.label(picture > 0, np.ones((3, 3)))[1] == 1  # in one piece
        assert (picture[3:37, 3:37].sum() / picture.sum()).item() > 0.999  # with a margin
