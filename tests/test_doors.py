"""Other ways in: an installed wheel, tab completion, an exported step."""

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import nca_lib as nca
from nca_lib.cli import commands, run_command

import pytest
import torch
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
USAGE = (ROOT / "docs/usage.md").read_text("utf-8")
BUILD = "from setuptools import build_meta as b; b.build_sdist('{0}'); b.build_wheel('{0}')"


def run(*command, cwd, **variables):
    """What a command prints; it has to succeed."""
    done = subprocess.run(
        command, cwd=cwd, env=os.environ | variables, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_a_wheel_works_from_any_folder_and_the_sdist_makes_the_same(tmp_path):
    pytest.importorskip("setuptools", minversion="77")
    pytest.importorskip("pip")
    source, away, site = tmp_path / "source", tmp_path / "away", str(tmp_path / "site")
    away.mkdir()
    for name in ("nca_lib", "tests"):
        shutil.copytree(ROOT / name, source / name)
    for name in ("pyproject.toml", "MANIFEST.in", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    run(sys.executable, "-c", BUILD.format(tmp_path / "1"), cwd=source)
    (sdist,) = (tmp_path / "1").glob("*.tar.gz")
    shutil.unpack_archive(sdist, tmp_path / "2", filter="data")
    (unpacked,) = (tmp_path / "2").iterdir()
    assert not (unpacked / "tests").exists()  # they need more than an sdist holds
    run(sys.executable, "-c", BUILD.format(tmp_path / "2"), cwd=unpacked)
    wheel, again = (next((tmp_path / number).glob("*.whl")) for number in "12")
    archives = [zipfile.ZipFile(path).infolist() for path in (wheel, again)]
    assert len({tuple((entry.filename, entry.CRC) for entry in a) for a in archives}) == 1
    install = "-m pip install --no-deps --no-index --disable-pip-version-check --target"
    run(sys.executable, *install.split(), site, str(wheel), cwd=away)
    ink = nca.mnist("embedded").test.images[0, 0].mul(255).byte().numpy()  # a 7
    Image.fromarray(255 - ink).resize((112, 112)).save(away / "drawn.png")
    nca_command = shutil.which("nca", path=f"{site}/bin")
    for line in ("grow 3 --out x.gif", "redraw drawn.png --label 7 --out y.png"):
        run(nca_command, *line.split(), cwd=away, PYTHONPATH=site)
    assert {path.name for path in away.iterdir()} == {"drawn.png", "x.gif", "y.png"}
    code = "import nca_lib; from nca_lib.visual.widgets import LiveDigit; "
    code += "print(nca_lib.__file__, LiveDigit('unified', 3))"
    said = run(sys.executable, "-c", code, cwd=away, PYTHONPATH=site)
    assert said.startswith(site)
    assert said.endswith("LiveDigit(3)\n")


@pytest.mark.skipif(os.name == "nt", reason="no bash")
def test_tab_completes_commands_and_options(capsys):
    (shell,) = re.findall(r"`nca --tyro-print-completion (\w+) >", USAGE)
    with pytest.raises(SystemExit) as end:
        run_command(["--tyro-print-completion", shell])
    assert not end.value.code
    script = capsys.readouterr().out + "\nfunction=$(complete -p nca | sed 's/.*-F //; s/ .*//')\n"
    for typed, wanted in (("nca ''", set(commands("quick"))), ("nca grow --wei", {"--weights"})):
        code = f"COMP_WORDS=({typed}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); $function\n"
        completed = run(shell, "-c", f'{script}{code}echo "${{COMPREPLY[@]}}"', cwd=ROOT)
        assert wanted <= set(completed.split()), typed


def test_the_exported_step_of_the_page_is_the_step(tmp_path, monkeypatch):
    blocks = re.findall(r"^```python\n(.*?)^```", USAGE, re.M | re.S)
    (code,) = [block for block in blocks if "torch.export" in block]
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "page", "exec"), names := {})
    model, exported = names["model"], torch.export.load("step.pt2").module()
    given = torch.rand(5, model.config.channels, 20, 31), model.condition(range(5)).detach()
    given += (torch.rand(5, 20, 31) < 0.5,)  # fire
    torch.testing.assert_close(exported(*given), model.step(*given), rtol=1e-5, atol=1e-5)
