"""Folders of anybody's own pictures: what is read of them, and what is refused."""

import importlib.util
import random
import shutil
import struct
import zlib
from pathlib import Path

from nca_lib.data import load_data
from nca_lib.errors import InputError
from nca_lib.folder import holds_pictures, read_folder
from nca_lib.inputs import check_images

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage

ROOT = Path(__file__).parents[1]
COLOURS = {"fish": (255, 128, 0), "snail": (0, 200, 80), "toad": (90, 60, 30)}


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


def read_one(image, folder, name="cat.png", **options):
    """The ink `[I, H, W]` of a picture that lies alone in a folder."""
    put(image, folder, name, **options)
    data = read_folder(folder)
    check_images(data.train.images, data.kind)
    return data.train.images[0]


# --- what is read ---


def test_a_picture_for_each_class(tmp_path):
    for name, shade in COLOURS.items():
        put(colour(*shade), tmp_path, f"{name}.png")
    data = load_data("pictures", tmp_path)
    assert data.kind.classes == ("fish", "snail", "toad")
    assert (data.kind.ink, data.kind.size) == (4, (10, 12))
    assert data.train.labels.tolist() == [0, 1, 2]
    assert data.train is data.validation is data.test
    assert not data.held_out
    assert data.name == "pictures: fish, snail, toad"
    assert data.source == f"3 pictures of 3 classes in {tmp_path}"
    check_images(data.train.images, data.kind)
    for image, shade in zip(data.train.images, COLOURS.values(), strict=True):
        assert image[:, 5, 5].tolist() == pytest.approx([*(x / 255 for x in shade), 1])
        assert not image[:, 0].any()


def test_a_folder_for_each_class(tmp_path):
    for number in range(3):
        put(grey(100 + number), tmp_path, "b", f"{number}.png")
        put(grey(200 + number), tmp_path, "a", f"{number}.jpeg", quality=100)
    data = read_folder(tmp_path)
    assert (data.kind.classes, data.kind.ink) == (("a", "b"), 1)
    assert data.train.labels.tolist() == [0, 0, 0, 1, 1, 1]
    inks = [round(ink.item() * 255) for ink in data.train.images[:, 0, 5, 5]]
    assert inks == [200, 201, 202, 100, 101, 102]
    assert not data.held_out
    assert data.source == f"6 pictures of 2 classes in {tmp_path}"


def test_some_of_many_pictures_are_held_out(tmp_path):
    for number in range(12):
        put(grey(100 + number), tmp_path, "a", f"{number}.png")
    for number in range(24):
        put(grey(150 + number), tmp_path, "b", f"{number}.png")
    data = read_folder(tmp_path)
    assert data.held_out
    parts = (data.train, data.validation, data.test)
    assert [part.labels.bincount().tolist() for part in parts] == [[9, 18], [1, 2], [2, 4]]
    inks = [x for part in parts for x in part.images[:, 0, 5, 5].mul(255).round().tolist()]
    assert sorted(inks) == [*range(100, 112), *range(150, 174)]
    again = read_folder(tmp_path)
    assert torch.equal(again.test.images, data.test.images)
    (tmp_path / "a" / "3.png").unlink()  # 11 of one class are too few for all
    few = read_folder(tmp_path)
    assert not few.held_out
    assert len(few.train) == len(few.test) == 35


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_divided_folder(tmp_path, kind):
    def add(part, ink):
        for name in ("a", "b"):
            put(grey(ink), tmp_path, part, f"{name}.png" if kind == "file" else f"{name}/1.png")

    def inks():
        data = read_folder(tmp_path)
        assert data.kind.classes == ("a", "b")
        assert data.held_out
        assert all(p.labels.tolist() == [0, 1] for p in (data.train, data.validation, data.test))
        return [
            round(part.images[0, 0, 5, 5].item() * 255)
            for part in (data.train, data.validation, data.test)
        ]

    add("train", 100)
    add("Val", 150)
    assert inks() == [100, 100, 150]  # two parts: what is held out is for testing
    add("test", 200)
    assert inks() == [100, 150, 200]
    shutil.rmtree(tmp_path / "Val")
    assert inks() == [100, 100, 200]


def test_validation_comes_out_of_many_training_pictures(tmp_path):
    for number in range(24):
        put(grey(100 + number), tmp_path, "train", "a", f"{number}.png")
    put(grey(200), tmp_path, "test", "a", "1.png")
    data = read_folder(tmp_path)
    assert (len(data.train), len(data.validation), len(data.test)) == (22, 2, 1)


def test_train_may_be_a_class(tmp_path):
    put(grey(), tmp_path, "train", "1.png")
    put(grey(), tmp_path, "bus", "1.png")
    assert read_folder(tmp_path).kind.classes == ("bus", "train")


def test_what_is_no_picture_is_passed_over(tmp_path):
    put(grey(), tmp_path, "cat.png")
    for name in (".hidden.png", "Thumbs.db", "notes.txt", "cat.svg", "__cache__.png"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / ".git").mkdir()
    (tmp_path / "__MACOSX").mkdir()
    assert read_folder(tmp_path).kind.classes == ("cat",)
    assert read_folder(tmp_path).source == f"1 picture of 1 class in {tmp_path}"


def test_a_long_name_is_cut(tmp_path):
    for number in range(30):
        put(grey(), tmp_path, f"class-{number:02d}.png")
    name = read_folder(tmp_path).name
    assert name.startswith("pictures: class-00, class-01, ")
    assert name.endswith(" ...")
    assert len(name) <= 60


# --- grey and colour, paper and ink ---


def test_red_green_and_blue_are_multiplied_by_the_opacity(tmp_path):
    image = read_one(colour(200, 100, 50, opacity=51), tmp_path)
    assert image[:, 5, 5].tolist() == pytest.approx([40 / 255, 20 / 255, 10 / 255, 0.2])


def test_colour_under_nothing_is_not_seen(tmp_path):
    image = colour()
    pixels = np.array(image)
    pixels[pixels[..., 3] == 0, :3] = 255
    assert not read_one(Image.fromarray(pixels), tmp_path)[:, 0, 0].any()


def test_opaque_colour_has_opacity_one(tmp_path):
    image = read_one(Image.new("RGB", (9, 9), (10, 20, 30)), tmp_path)
    assert image.shape == (4, 9, 9)
    assert (image[3] == 1).all()


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
def test_grey_and_opaque_has_one_channel(tmp_path, mode):
    image = read_one(grey(128).convert(mode), tmp_path)
    assert image.shape == (1, 10, 12)
    assert image[0, 5, 5] == 128 / 255


def test_one_coloured_picture_makes_all_coloured(tmp_path):
    put(grey(), tmp_path, "a.png")
    put(colour(), tmp_path, "b.png")
    images = read_folder(tmp_path).train.images
    assert images.shape == (2, 4, 10, 12)
    assert images[0, :, 0, 0].tolist() == [0, 0, 0, 1]  # opaque black


def test_dark_ink_on_light_paper_is_inverted(tmp_path):
    put(grey(ink=0, paper=255), tmp_path, "a.png")
    put(grey(ink=55, paper=255), tmp_path, "b.png")
    data = read_folder(tmp_path)
    assert data.train.images[:, 0, 5, 5].tolist() == pytest.approx([1, 200 / 255])
    assert not data.train.images[:, 0, 0].any()
    assert data.source.endswith(", inverted: they are dark on light paper")
    assert str(tmp_path) not in data.name


def test_the_border_of_all_pictures_tells_the_paper(tmp_path):
    put(grey(ink=0, paper=255), tmp_path, "a.png")
    touching = grey(ink=0, paper=255)
    touching.paste(0, (0, 0, 12, 6))  # ink along most of its border
    put(touching, tmp_path, "b.png")
    assert "inverted" in read_folder(tmp_path).source
    shutil.rmtree(tmp_path)
    white = grey(paper=0)
    white.paste(255, (1, 1, 11, 9))  # more ink than paper, but none on the border
    assert read_one(white, tmp_path / "more")[0, 5, 5] == 1


# --- formats ---


def test_lossless_formats(tmp_path):
    wanted = read_one(colour(), tmp_path / "png")
    for name, options in (("cat.webp", {"lossless": True}), ("cat.gif", {}), ("cat.PNG", {})):
        assert torch.equal(read_one(colour(), tmp_path / name, name, **options), wanted), name
    bmp = read_one(grey(), tmp_path / "bmp", "cat.bmp")
    assert torch.equal(bmp, read_one(grey(), tmp_path / "grey"))


def test_a_palette(tmp_path):
    image = read_one(colour().convert("RGB").quantize(4), tmp_path / "opaque")
    assert image[:, 5, 5].tolist() == pytest.approx([200 / 255, 100 / 255, 0, 1])
    palette = colour().convert("RGB").quantize(4)
    transparent = palette.getpixel((0, 0))
    image = read_one(palette, tmp_path / "not", transparency=transparent)
    assert image[:, 0, 0].tolist() == [0, 0, 0, 0]
    assert image[3, 5, 5] == 1


def test_one_bit(tmp_path):
    assert read_one(grey().convert("1"), tmp_path)[0, 5, 5] == 1


def test_grey_with_opacity_is_coloured(tmp_path):
    image = read_one(colour(100, 100, 100, 51).convert("LA"), tmp_path)
    assert image.shape[0] == 4
    assert image[:, 5, 5].tolist() == pytest.approx([20 / 255] * 3 + [0.2])


def test_sixteen_bits(tmp_path):
    values = np.zeros((10, 12), np.uint16)
    values[3:7, 3:9] = 40000
    image = read_one(Image.fromarray(values), tmp_path / "grey")
    assert image.shape == (1, 10, 12)
    assert image[0, 5, 5].item() == pytest.approx(40000 / 65535, abs=1 / 255)
    path = tmp_path / "grey" / "cat.png"
    content = path.read_bytes()  # make 0 transparent, as a chunk before the pixels says
    chunk = b"tRNS" + struct.pack(">H", 0)
    chunk = struct.pack(">I", 2) + chunk + struct.pack(">I", zlib.crc32(chunk))
    place = content.index(b"IDAT") - 4
    path.write_bytes(content[:place] + chunk + content[place:])
    image = read_folder(tmp_path / "grey").train.images[0]
    assert image.shape[0] == 4
    assert image[3, 0, 0] == 0
    assert image[3, 5, 5] == 1


def test_cmyk(tmp_path):
    picture = Image.new("RGB", (16, 16), (250, 30, 20))
    image = read_one(picture.convert("CMYK"), tmp_path, "cat.jpg", quality=100)
    assert image.shape[0] == 4
    assert (image[:, 8, 8] - torch.tensor([250 / 255, 30 / 255, 20 / 255, 1])).abs().max() < 0.02


def test_the_orientation_of_a_photograph(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise by a quarter
    lying = grey()
    lying.paste(255, (0, 0, 12, 1))  # its upper edge
    image = read_one(lying, tmp_path, "cat.jpg", quality=100, exif=exif)
    assert image.shape == (1, 12, 10)
    assert image[0, :, 9].min() > 0.9  # is the right edge when it stands
    assert image[0, :, 0].max() < 0.1


def test_an_animation_shows_its_start(tmp_path):
    rest = [colour(0, 0, 200)]
    image = read_one(colour(200, 0, 0), tmp_path, "cat.gif", save_all=True, append_images=rest)
    assert image[:, 5, 5].tolist() == pytest.approx([200 / 255, 0, 0, 1])


@pytest.mark.parametrize("size", [(8, 8), (96, 96), (8, 96)])
def test_sizes_at_the_bounds(tmp_path, size):
    assert read_one(grey(size=size), tmp_path).shape == (1, size[1], size[0])


# --- what is refused ---


def refuse(folder, *parts):
    """One sentence in one line, with all of these parts."""
    with pytest.raises(InputError) as caught:
        read_folder(folder)
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert part in message, message


def test_no_folder(tmp_path):
    refuse(tmp_path / "nowhere", "there is no folder", "pass --data-root FOLDER")
    refuse(put(grey(), tmp_path, "cat.png"), "there is no folder")
    refuse("a\0b", "there is no folder")


def test_a_folder_without_pictures(tmp_path):
    refuse(tmp_path, "holds no pictures", "PNG or JPG")
    (tmp_path / "notes.txt").write_text("cat")
    refuse(tmp_path, "holds no pictures")


def test_a_class_without_pictures(tmp_path):
    put(grey(), tmp_path, "cat", "1.png")
    (tmp_path / "dog").mkdir()
    refuse(tmp_path, "dog", "holds no picture", "or take the folder away")


def test_two_files_of_one_class(tmp_path):
    put(grey(), tmp_path, "cat.png")
    put(grey(), tmp_path, "cat.jpg")
    refuse(tmp_path, "cat.jpg and cat.png", "would both be the class cat")


def test_pictures_beside_folders(tmp_path):
    put(grey(), tmp_path, "cat.png")
    put(grey(), tmp_path, "dog", "1.png")
    refuse(tmp_path, "holds pictures (cat.png) and folders (dog)", "either a picture or a folder")


def test_classes_that_are_not_in_all_parts(tmp_path):
    for place in ("train/a", "train/b", "test/a"):
        put(grey(), tmp_path, place, "1.png")
    refuse(tmp_path, "the class 'b' has pictures for train and none for test")
    put(grey(), tmp_path, "test", "b", "1.png")
    put(grey(), tmp_path, "test", "c", "1.png")
    refuse(tmp_path, "the class 'c' has pictures for test and none for train")
    put(grey(), tmp_path, "more", "1.png")
    refuse(tmp_path, "more lies beside", "train, test and val")


def test_pictures_of_different_sizes(tmp_path):
    put(grey(size=(12, 10)), tmp_path, "a.png")
    put(grey(size=(10, 12)), tmp_path, "b.png")
    refuse(tmp_path, "a.png is 12 x 10", "b.png is 10 x 12", "make all pictures one size")


@pytest.mark.parametrize(
    ("size", "message"),
    [
        (
            (97, 20),
            "is 97 x 20, which needs a cell for each pixel: make the pictures smaller, at most 96",
        ),
        ((20, 1000), "is 20 x 1000, which needs a cell for each pixel: make the pictures smaller"),
        ((7, 20), "is 7 x 20: pictures have at least 8 x 8 pixels"),
    ],
)
def test_sizes_out_of_bounds(tmp_path, size, message):
    put(grey(size=size), tmp_path, "cat.png")
    refuse(tmp_path, message)


@pytest.mark.parametrize("side", [12_000, 60_000])
def test_a_huge_picture_is_not_unpacked(tmp_path, side):
    """Pillow warns of such a header as a decompression bomb, or refuses it."""

    def chunk(content):
        check = struct.pack(">I", zlib.crc32(content))
        return struct.pack(">I", len(content) - 4) + content + check

    header = chunk(b"IHDR" + struct.pack(">II5B", side, side, 8, 0, 0, 0, 0))
    (tmp_path / "cat.png").write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT"))
    refuse(tmp_path, "large" if side > 20_000 else "12000 x 12000", "make the pictures smaller")


@pytest.mark.parametrize(
    "picture", [Image.new("L", (9, 9)), Image.new("L", (9, 9), 255), Image.new("RGBA", (9, 9))]
)
def test_a_picture_of_nothing(tmp_path, picture):
    put(picture, tmp_path, "cat.png")
    refuse(tmp_path, "cat.png shows nothing")


def test_a_damaged_picture(tmp_path):
    path = put(colour(), tmp_path, "cat.png")
    content = path.read_bytes()
    for damaged in (b"", b"no picture", content[:50], content[: len(content) // 2]):
        path.write_bytes(damaged)
        refuse(tmp_path, "cat.png can't be read (damaged, or no picture): save it anew, as PNG")


def test_other_formats_under_a_known_suffix(tmp_path):
    """Of Pillow's many formats only the common ones are tried: some start other programs."""
    Image.new("F", (9, 9), 0.5).save(tmp_path / "cat.png", format="TIFF")
    refuse(tmp_path, "cat.png can't be read")


def test_a_name_that_cannot_be_printed(tmp_path):
    try:
        put(grey(), tmp_path, "c\udcffa\nt.png")
    except OSError:
        pytest.skip("this file system has no such names")
    refuse(tmp_path, "has a name that can't be printed: rename it")


@pytest.mark.parametrize("suffix", ["png", "jpg", "gif", "webp", "bmp"])
def test_random_bytes(tmp_path, suffix):
    """Any file is read or refused; nothing else is raised, nor warned of."""
    draw, path = random.Random(1), tmp_path / f"cat.{suffix}"
    exif = Image.Exif()
    exif[0x0112] = 3
    picture = colour() if suffix in ("png", "gif", "webp") else colour().convert("RGB")
    put(picture, path, **({"exif": exif} if suffix in ("png", "jpg", "webp") else {}))
    content, refused = path.read_bytes(), 0
    for _ in range(300):
        damaged = bytearray(content)
        for _ in range(draw.choice([1, 1, 2, 8])):
            damaged[draw.randrange(len(damaged))] = draw.randrange(256)
        cut = draw.choice([len(damaged), draw.randrange(len(damaged))])
        path.write_bytes(damaged[:cut] if draw.random() < 0.9 else draw.randbytes(cut))
        try:
            data = read_folder(tmp_path)
            check_images(data.train.images, data.kind)
        except InputError as error:
            refused += "\n" not in str(error)
    assert refused > 60


def test_whether_a_folder_holds_pictures(tmp_path):
    assert not holds_pictures(tmp_path)
    assert not holds_pictures(tmp_path / "nowhere")
    put(grey(), tmp_path, "x", "y", "z", "too", "deep.png")
    assert not holds_pictures(tmp_path)
    put(grey(), tmp_path, "train", "cat", "1.png")
    assert holds_pictures(tmp_path)


# --- the pictures of the package ---


@pytest.fixture(scope="module")
def tool():
    spec = importlib.util.spec_from_file_location("tool", ROOT / "tools" / "make_pictures.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def pixels(image):
    return np.array(image.convert("RGBa")).astype(int)  # no colour where nothing is


def test_the_tool_draws_the_pictures_of_the_package(tool):
    shipped = {path.stem: path for path in (ROOT / "nca_lib" / "pictures").glob("*.png")}
    assert shipped.keys() == tool.PICTURES.keys()
    for name, draw in tool.PICTURES.items():
        drawn = pixels(draw().reduced())
        assert np.abs(drawn - pixels(Image.open(shipped[name]))).max() <= 2, name


def test_the_pictures_can_be_grown():
    data = load_data("pictures")
    opacity = data.train.images[:, 3]
    assert (opacity[:, 20, 20] == 1).all()  # the seed's cell is in the picture
    for of_one in opacity:
        for above in (0, 0.1, 0.5):
            assert ndimage.label(of_one > above, np.ones((3, 3)))[1] == 1  # in one piece
        assert (of_one[3:37, 3:37].sum() / of_one.sum()).item() > 0.999  # with a margin
        assert 0.3 < of_one.mean() < 0.6
        assert not torch.equal(of_one, of_one.flip(-1))
