"""README and docs: their Python runs; commands, links and modules that they name exist."""

import re
import sys
from dataclasses import replace
from pathlib import Path

import nca_lib as nca
from nca_lib.cli import commands

import pytest
import torch
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tools"))
from modules import ORDER  # noqa: E402

README, DOCS = ROOT / "README.md", sorted((ROOT / "docs").glob("*.md"))
PAGES = [README, *DOCS, *ROOT.glob("nca_lib/weights/*.md"), *ROOT.glob("*s/README.md")]
SHORTER = {"iterations=4000": "iterations=3", "epochs=6": "epochs=1", "epochs=12": "epochs=1",
           "limit=200": "limit=5", "nca.mnist()": "few()"}  # fmt: skip
PYTHON = [
    pytest.param(code, id=f"{path.stem}-{number}")
    for path in [README, *DOCS]
    for number, code in enumerate(
        re.findall(r"^```python\n(.*?)^```", path.read_text("utf-8"), re.M | re.S)
    )
]


def few():
    """The embedded sample, with fewer pictures to train on."""
    data = nca.mnist("embedded")
    return replace(data, train=data.train.limit(256))


@pytest.mark.parametrize("code", PYTHON)
def test_python_runs_as_it_stands_there(code, tmp_path, monkeypatch):
    """In a folder with three pictures and a photo; only shorter."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("nca_lib.evaluation.samples.SWITCH_STYLES", 1)
    Path("my-pictures").mkdir()
    for number, name in enumerate(("fish", "snail", "toadstool")):
        picture = Image.new("RGBA", (12, 12))
        picture.paste((200, 60 * number, 30, 255), (3, 3, 9, 8 + number))
        picture.save(f"my-pictures/{name}.png")
    ink = nca.mnist("embedded").test.images[0, 0].mul(255).byte().numpy()
    Image.fromarray(255 - ink).resize((112, 112)).save("photo.jpg")
    for long, short in SHORTER.items():
        code = code.replace(long, short)
    names = {"few": few}
    exec(compile(code, "page", "exec"), names)
    if "my-pictures" in code:  # the public face
        assert names["frames"].shape == (129, 1, 16, 12, 12)
        assert names["state"].shape == torch.Size([8, 16, 12, 12])
        assert names["model"].spec.classes == ("fish", "snail", "toadstool")
        with Image.open("fish.gif") as film:
            assert film.n_frames > 1


def test_readme_is_short_and_names_every_module():
    text = README.read_text("utf-8")
    lines, named = text.splitlines(), set()
    assert len(lines) <= 150
    assert "notebooks/01_" in "\n".join(lines[:40])
    for left, right in re.findall(r"^\| (`.+?) \| (.+?) \|$", text, re.M):
        names = re.findall(r"`(\w+)/?`", left)
        inner = re.findall(r"`(\w+)`", right) if "/" in left else []
        named |= {*names, *(f"{names[0]}.{name}" for name in inner)}
    assert named == {*ORDER} - {"__main__"}


@pytest.mark.parametrize("path", PAGES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_commands_and_links_exist(path):
    text, makefile = path.read_text("utf-8"), (ROOT / "Makefile").read_text("utf-8")
    found = set(re.findall(r"(?:^|`|-m )nca(?:_lib)? ([a-z]\w*)", text, re.M))
    assert found <= commands("quick").keys()
    for target in re.findall(r"(?:^|`)make (\w+)", text, re.M):
        assert f"\n{target}:" in makefile, f"make {target}"
    for script in re.findall(r"python (\w+/\w+\.py)", text):
        assert (ROOT / script).exists(), script
    for link in re.findall(r"\]\((?!https?:|#)([^)#\s]+)", text):
        assert (path.parent / link).exists(), link
