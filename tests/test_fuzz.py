"""Files can be broken in many ways: whatever is in them, all that is raised is InputError."""

import json
import random
import struct

from nca_lib.checkpoint import RULE as RULE_KIND
from nca_lib.checkpoint import digest_of, load, parse, save
from nca_lib.data import FILES, load_digits
from nca_lib.inputs import InputError
from nca_lib.training import Outputs, train
from nca_lib.training.pretrain import initial_model
from nca_lib.training.run import Log, identity_of, new_run, read_log

import pytest
import torch
from test_training import CONFIG, RULE, digits  # noqa: F401

VALUES = [
    None,
    True,
    0,
    -1,
    1.5,
    1e300,
    2**70,
    "",
    "x",
    "NaN",
    [],
    [[]],
    [None],
    [1, "a"],
    {},
    {"a": 1},
]


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
    """A finished training, with its model, its run and its log."""
    outputs = Outputs(tmp_path_factory.mktemp("fuzz"), "unified")
    train(initial_model(RULE, 0), digits, CONFIG, outputs, log_every=1, progress=False)
    return outputs


def refused(use, path, content):
    """Whether the file is refused; anything but InputError fails the test."""
    path.write_bytes(content)
    try:
        use(path)
    except InputError as error:
        return "\n" not in str(error)
    return False


def use_rule(path):
    model = load(path)
    state = torch.zeros(1, model.config.channels, 3, 3)
    labels = torch.tensor(model.metadata.get("digits", [0])[:1])
    model.rollout(state, model.condition(labels), min(model.steps, 3), 0)
    assert model.task in ("grow", "restore")


def test_rule_files(outputs, tmp_path):
    draw, content = random.Random(0), outputs.model.read_bytes()
    count = sum(
        refused(use_rule, tmp_path / "x.safetensors", draw.choice(CHANGES)(content, draw))
        for _ in range(400)
    )
    assert count > 300
    assert not refused(use_rule, tmp_path / "x.safetensors", content)


def test_a_damaged_body_is_told_by_the_digest(outputs, tmp_path):
    """50 of 72 flipped bits went by without a word."""
    draw, content = random.Random(1), outputs.model.read_bytes()
    first = 8 + struct.unpack("<Q", content[:8])[0]
    for _ in range(100):
        changed = bytearray(content)
        changed[draw.randrange(first, len(content))] ^= 1 << draw.randrange(8)
        assert refused(use_rule, tmp_path / "x.safetensors", bytes(changed))


def test_run_files(outputs, tmp_path, digits):  # noqa: F811
    draw, content = random.Random(2), outputs.run.read_bytes()
    identity = identity_of(initial_model(RULE, 0), digits, CONFIG, "", {}, {})

    def use(path):
        run = new_run(initial_model(RULE, 1), CONFIG)
        run.load(path, identity)
        assert 0 <= run.pool.filled <= run.pool.size

    count = sum(
        refused(use, tmp_path / "x.safetensors", draw.choice(CHANGES)(content, draw))
        for _ in range(250)
    )
    assert count > 200
    assert not refused(use, tmp_path / "x.safetensors", content)


def test_logs(outputs, tmp_path):
    draw, content = random.Random(3), outputs.log.read_bytes()
    path = tmp_path / "x.jsonl"
    for _ in range(200):
        path.write_bytes(draw.choice([cut, flip, insert])(content, draw))
        records = read_log(path)
        assert len(records) <= 8 + 300
        log = Log(path, 5, {})
        log.close()
        assert all(record["iteration"] <= 5 for record in log.records)
        assert read_log(path) == log.records  # whole again


def test_data_files(tmp_path):
    draw, raw = random.Random(4), tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    contents = {}
    for images, labels in FILES.values():
        pictures = draw.randbytes(20 * 784)
        contents[images] = struct.pack(">4I", 2051, 20, 28, 28) + pictures
        contents[labels] = struct.pack(">2I", 2049, 20) + bytes(i % 10 for i in range(20))

    def write(chosen=None, change=None):
        for name, content in contents.items():
            (raw / name).write_bytes(change(content, draw) if name == chosen else content)
        return load_digits(tmp_path)

    assert len(write().test) == 20
    count = 0
    for _ in range(150):
        try:
            write(draw.choice(sorted(contents)), draw.choice([cut, flip, insert]))
        except InputError as error:
            count += "\n" not in str(error)
    assert count > 80


def test_other_kinds_of_metadata(outputs, tmp_path):
    """By hand what the machine might miss; all with a right digest."""
    content = outputs.model.read_bytes()
    header, tensors = header_of(content), parse(content)
    for key, value in [
        ("config", []), ("config", {"channels": 2**40}), ("config", {"held": 3}),
        ("config", {"ink": 0}), ("config", {"ink": 20}), ("config", {"size": [28]}),
        ("config", {"size": [2**20, 28]}), ("config", {"size": 28}), ("config", {"classes": 3}),
        ("config", {"classes": []}), ("config", {"classes": [1, 2]}), ("config", {"class": "Mine"}),
        ("record", []), ("record", {"training": []}), ("record", {"digits": [11]}),
        ("record", {"training": {"loss_steps": []}}), ("record", {"training": {"task": "x"}}),
    ]:  # fmt: skip
        changed = header | {key: json.dumps(value)}
        changed["digest"] = digest_of(tensors, changed)
        assert changed["kind"] == RULE_KIND
        assert refused(use_rule, tmp_path / "x.safetensors", save(tensors, changed)), value
