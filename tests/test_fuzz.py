"""Files can be broken in many ways: whatever is in them, all that is raised is InputError."""

import io
import json
import math
import os
import random
import struct

from nca_lib.checkpoint import MODEL, digest_of, load, pack_tensors, parse, read_tensors, save
from nca_lib.cli import run_command
from nca_lib.data import mnist, read_digit, read_images
from nca_lib.inputs import InputError
from nca_lib.model import NCA
from nca_lib.spec import MNIST, ImageSpec
from nca_lib.training import Outputs, TrainingConfig, train
from nca_lib.training.run import read_log
from nca_lib.visual import plots

import pytest
import torch
from PIL import Image
from test_cli import make_mnist
from test_pool import new_run
from test_training import CONFIG, digits, new  # noqa: F401

VALUES = [None, True, 0, -1, 1.5, 1e300, 2**70, "", "x", "NaN", [], [[]], [None], [1, "a"], {}]


def cut(content, draw):
    return content[: draw.randrange(len(content))]


def flip(content, draw):
    changed = bytearray(content)
    for _ in range(draw.choice([1, 1, 8, 100])):
        changed[draw.randrange(len(changed))] ^= 1 << draw.randrange(8)
    return bytes(changed)


def insert(content, draw):
    place = draw.randrange(len(content))
    return content[:place] + draw.randbytes(draw.choice([1, 7, 300])) + content[place:]


def change_head(content, draw):
    """The length of the header, or a byte in it."""
    changed = bytearray(content)
    if draw.random() < 0.3:
        changed[:8] = struct.pack("<Q", draw.choice([0, 1, 7, 100, 2**31, 2**63]))
    else:
        changed[8 + draw.randrange(struct.unpack("<Q", content[:8])[0])] = draw.randrange(256)
    return bytes(changed)


def header_of(content):
    length = struct.unpack("<Q", content[:8])[0]
    return json.loads(content[8 : 8 + length])["__metadata__"]


def replaced(value, draw):
    """The same JSON with something in it replaced, somewhere."""
    if isinstance(value, dict) and value and draw.random() < 0.8:
        key = draw.choice(sorted(value))
        if draw.random() < 0.2:
            return {k: v for k, v in value.items() if k != key}
        return value | {key: replaced(value[key], draw)}
    return draw.choice(VALUES)


def change_metadata(content, draw, sign=True):
    """Other JSON, or none, in the metadata; with the digest made anew nothing else tells."""
    header, tensors = header_of(content), parse(content)
    key = draw.choice(sorted(header))
    if key in ("kind", "version", "digest") or draw.random() < 0.2:
        header[key] = draw.choice(["", "1", "{", "[1", "\x00", "nan", "9" * 5000, "[" * 3000])
    else:
        header[key] = json.dumps(replaced(json.loads(header[key]), draw))
    if sign and key != "digest":
        header["digest"] = digest_of(tensors, header)
    return save(tensors, header)


def change_tensor(content, draw):
    header, tensors = header_of(content), parse(content)
    name = draw.choice(sorted(tensors))
    old = tensors[name]
    tensors[name] = draw.choice([
        old.flatten()[:1], torch.zeros(0), old[None].clone(), old.to(torch.int64), old.double(),
        torch.full_like(old, -1), torch.zeros_like(old), old.bool(),
    ])  # fmt: skip
    if draw.random() < 0.3:
        del tensors[name]
    header["digest"] = digest_of(tensors, header)
    return save(tensors, header)


CHANGES = [cut, flip, insert, change_head, change_metadata, change_metadata, change_tensor]


@pytest.fixture(scope="module")
def outputs(tmp_path_factory, digits):  # noqa: F811
    """A finished run, with its model, its checkpoint and its log."""
    outputs = Outputs(tmp_path_factory.mktemp("fuzz"), "unified")
    train(new(), digits, CONFIG, outputs, log_every=1, progress=False)
    return outputs


def refused(use, path, content):
    """Whether the file is refused; anything but InputError fails the test."""
    path.write_bytes(content)
    try:
        use(path)
    except InputError as error:
        return "\n" not in str(error)
    return False


def use_model(path):
    model = load(path)
    state = torch.zeros(1, model.config.channels, 3, 3)
    model.rollout(state, model.condition(model.trained_labels[:1]), min(model.steps, 3), 0)


def test_model_files(outputs, tmp_path):
    draw, content = random.Random(0), outputs.model.read_bytes()
    count = sum(
        refused(use_model, tmp_path / "x.safetensors", draw.choice(CHANGES)(content, draw))
        for _ in range(400)
    )
    assert count > 300
    assert not refused(use_model, tmp_path / "x.safetensors", content)


def test_the_digest_reveals_a_damaged_body(outputs, tmp_path):
    """50 of 72 flipped bits went by without a word."""
    draw, content = random.Random(1), outputs.model.read_bytes()
    first = 8 + struct.unpack("<Q", content[:8])[0]
    for _ in range(100):
        changed = bytearray(content)
        changed[draw.randrange(first, len(content))] ^= 1 << draw.randrange(8)
        assert refused(use_model, tmp_path / "x.safetensors", bytes(changed))


def test_data_files(tmp_path):
    draw = random.Random(4)
    make_mnist(tmp_path, count=20)
    contents = {path: path.read_bytes() for path in sorted(tmp_path.glob("MNIST/raw/*"))}
    assert len(mnist(tmp_path).test) == 20
    count = 0
    for _ in range(150):
        path = draw.choice(list(contents))
        path.write_bytes(draw.choice([cut, flip, insert])(contents[path], draw))
        try:
            mnist(tmp_path)
        except InputError as error:
            count += "\n" not in str(error)
        path.write_bytes(contents[path])
    assert count > 80


def test_run_files(outputs, tmp_path, digits):  # noqa: F811
    draw, content = random.Random(2), outputs.run.read_bytes()
    fingerprint = json.loads(header_of(content)["fingerprint"])

    def use(path):
        run = new_run(new(seed=1), CONFIG)
        run.fingerprint = fingerprint
        run.load(path)
        assert 0 <= run.pool.filled <= run.pool.size

    count = sum(
        refused(use, tmp_path / "x.safetensors", draw.choice(CHANGES)(content, draw))
        for _ in range(250)
    )
    assert count > 200
    assert not refused(use, tmp_path / "x.safetensors", content)


def test_logs(outputs, tmp_path):
    draw, content = random.Random(3), outputs.log.read_bytes()
    run, path = new_run(new(), CONFIG), tmp_path / "x.jsonl"
    run.iteration, run.outputs = 5, Outputs(tmp_path, "x")
    for _ in range(200):
        path.write_bytes(draw.choice([cut, flip, insert])(content, draw))
        history = run.open_log()
        assert all(entry["iteration"] <= 5 for entry in history)
        assert read_log(path) == history  # whole again
    entries = [json.loads(line) for line in content.splitlines()]
    for _ in range(100):
        wrong = [replaced(entry, draw) for entry in entries]
        path.write_text("".join(json.dumps(entry) + "\n" for entry in wrong))
        if log := read_log(path):
            plots.learning_curves({"$x_$": log})


@pytest.mark.parametrize(
    ("key", "change"),
    [
        *[("config", change) for change in (
            {"channels": 2**40}, {"frozen": 3}, {"image_channels": 0}, {"image_channels": 20},
            {"size": [28]}, {"size": [2**20, 28]}, {"size": 28}, {"classes": 3}, {"classes": []},
            {"classes": [1, 2]}, {"classes": "0123456789"}, {"class": "Mine"}, {"task": "x"},
            {"task": []}, {"steps": 0}, {"steps": 2**60}, {"trained_labels": []},
            {"trained_labels": [11]}, {"trained_labels": [-1]}, {"more": 1})],
        ("config", []), ("metadata", []), ("metadata", None),
    ],
)  # fmt: skip
def test_settings_that_no_model_has(outputs, tmp_path, key, change):
    """By hand what the machine might miss; all with a right digest."""
    content = outputs.model.read_bytes()
    header, tensors = header_of(content), parse(content)
    value = json.loads(header[key]) | change if isinstance(change, dict) else change
    changed = header | {key: json.dumps(value)}
    changed["digest"] = digest_of(tensors, changed)
    assert refused(use_model, tmp_path / "x.safetensors", save(tensors, changed))


def test_what_is_no_checkpoint(outputs, tmp_path):
    tensors, header = read_tensors(outputs.model, MODEL)
    text, output = header_of(outputs.model.read_bytes()), tensors["output.weight"]
    without = {name: tensor for name, tensor in tensors.items() if name != "output.weight"}
    pickled = io.BytesIO()
    torch.save(tensors, pickled)
    for content, message in [
        (save(tensors, text | {"kind": "nca_lib run"}), "holds 'nca_lib run', not 'nca_lib model'"),
        (save(tensors, text | {"version": "2"}), "has version 2, this nca_lib reads version 3"),
        (save(tensors), "holds 'something else', not 'nca_lib model'"),
        (pickled.getvalue(), "is a pickle, which could run any code"),
        *[(pack_tensors(MODEL, changed, **header), message) for changed, message in [
            (tensors | {"output.weight": output * math.nan}, "'output.weight' holds NaN"),
            (tensors | {"conditioning.temperature": torch.zeros(1)}, "styles is not positive"),
            (tensors | {"more": torch.zeros(1)}, r'another model: Unexpected key.*"more"\.$'),
            (tensors | {"output.weight": output.T}, "another model: size mismatch for output.weig"),
            (without, r'another model: Missing key.*"output\.weight"\.$')]],
    ]:  # fmt: skip
        (tmp_path / "x").write_bytes(content)
        with pytest.raises(InputError, match=message):
            load(tmp_path / "x")
    with pytest.raises(InputError, match=r"no checkpoint at .*: train one, or give the name of a"):
        load(tmp_path / "nothing")


ODD = "$$$\\\\{}_^%&~#'\"<>[]() \n\t.-\u00e9\u8a9e\U0001f642\u202efrac"


def odd_text(draw):
    return "".join(draw.choices(ODD, k=draw.randrange(1, 12)))


def one_line(use, *arguments):
    """Whether it is refused, and in one line; anything but InputError fails the test."""
    refusal = ""
    try:
        use(*arguments)
    except InputError as error:
        refusal = str(error)
    assert "\n" not in refusal
    return bool(refusal)


@pytest.mark.filterwarnings("ignore::UserWarning")  # of glyphs that a font lacks
def test_class_names(tmp_path):
    draw, names = random.Random(5), ["$x_$", "$$", r"$\frac{$", r"\$_$", "_", "${"]
    names += [odd_text(draw).replace("\n", "") for _ in range(194)]
    for first in range(0, 200, 20):
        ten, more = names[first : first + 10], names[first + 10 : first + 20]
        rows = {name: torch.rand(10, 1, 8, 8) for name in more[:2]}
        plots.film_strips(rows, ten, more[2]).draw_without_rendering()
        figures = {name: {"ink_iou": 0.5, "classifier_accuracy": None} for name in more}
        plots.per_digit_bars({"per_digit": figures}).draw_without_rendering()
    for name in names[:100]:
        folder = tmp_path / "pictures"
        folder.mkdir()
        Image.new("RGB", (8, 8), "red").save(file := folder / f"{name}.png", "PNG")
        one_line(read_images, folder)
        file.unlink()
        folder.rmdir()


def test_pictures(tmp_path):
    """Of all formats and modes, damaged or not, as pictures of one's own and as a digit."""
    draw, folder, count = random.Random(6), tmp_path / "pictures", 0
    folder.mkdir()
    formats = [("PNG", m) for m in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")]
    formats += [("JPEG", "CMYK"), ("JPEG", "L"), ("GIF", "P"), ("BMP", "RGB"), ("WEBP", "RGBA")]
    for n in range(300):
        kind, mode = draw.choice(formats)
        image = Image.frombytes("L", (12, 9), draw.randbytes(108)).convert(mode)
        image.save(content := io.BytesIO(), kind)
        changed = draw.choice([cut, flip, insert])(content.getvalue(), draw)
        (folder / "x.png").write_bytes(changed)
        count += one_line(read_images, folder)
        if n % 6 == 0:
            one_line(read_digit, folder / "x.png")
    assert count > 100
    for channels in (2, 5):
        spec = ImageSpec(("a",), channels, (8, 8))
        assert one_line(plots.save_gif, NCA(spec).grow(0, steps=1), tmp_path / "x.gif")


NUMBERS = [-1, 0, 1, 2**31, 2**63, 2**70, 10**30, -(10**30), True, 1.5, math.nan,
           math.inf, None, "1", "9" * 5000, [], [2, 1], (1,), b"x", {}, object()]  # fmt: skip


def test_settings():
    draw, model, count = random.Random(7), NCA(MNIST, channels=4, hidden=4), 0
    known = TrainingConfig.__dataclass_fields__
    fields = [name for name, field in known.items() if field.type == "int"]
    for _ in range(140):
        count += one_line(lambda: TrainingConfig(**{draw.choice(fields): draw.choice(NUMBERS)}))
    for _ in range(60):
        label, steps, seed = (draw.choice([default, draw.choice(NUMBERS)]) for default in (3, 2, 0))
        count += one_line(model.grow, label, None, steps, seed)
    assert count > 100


WORDS = ["", " ", "0", "-1", "3", "1e9", "nan", "9" * 400, "1" * 5000, "--", "--x", "$x_$", "/",
         "~", ".", "\u8a9e", "x" * 300, "a\nb", "/dev/zero", "/dev/null", "\udcff"]  # fmt: skip
OPTIONS = ["--steps", "--seed", "--weights", "--out", "--label", "--labels", "--limit", "--split",
           "--json", "--device", "--data", "--data-root", "--preset", "--resume"]  # fmt: skip


@pytest.mark.slow
def test_options_and_paths(tmp_path, monkeypatch, capfd):
    """Whatever stands on the command line: one line and exit code 2."""
    monkeypatch.chdir(tmp_path)
    draw, fifo = random.Random(8), "fifo"
    if hasattr(os, "mkfifo"):
        os.mkfifo(fifo)
        os.symlink("loop", "loop")
    known = [["grow", "3"], ["redraw", "x.png"], ["evaluate"], ["finetune"], ["doodle"], []]
    for _ in range(50):
        words = [*draw.choice(known)]
        for _ in range(draw.randrange(1, 4)):
            words += [draw.choice(OPTIONS), draw.choice([*WORDS, fifo, "loop"])]
        words += (
            ["--weights", draw.choice([*WORDS, fifo, "loop"])] if words[0] == "evaluate" else []
        )
        words += [] if words[0] in ("grow", "redraw", "evaluate") else ["--from", "nowhere"]
        assert run_command([word for word in words if word != "--help"]) == 2, words
        errors = capfd.readouterr().err
        assert len(errors.splitlines()) == 1, (words, errors)
