"""A notebook exported as docs/usage.md says shows a picture for each widget, offline."""

import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from browsers import METADATA

USAGE = Path(__file__).resolve().parents[2] / "docs/usage.md"
CELLS = ["import nca_lib as nca\nfrom nca_lib.visual.widgets import LiveDigit",
         "nca.show(nca.load('unified').grow(3, steps=8))", "LiveDigit('unified', 3)"]  # fmt: skip


@pytest.mark.slow
def test_an_exported_page_shows_pictures_offline(browser, tmp_path):
    cells = [nbformat.v4.new_code_cell(source) for source in CELLS]
    notebook = nbformat.v4.new_notebook(cells=cells, metadata=METADATA)
    nbformat.write(notebook, tmp_path / "notebook.ipynb")
    (command,) = re.findall(r"^jupyter (nbconvert .+)$", USAGE.read_text("utf-8"), re.M)
    command = [sys.executable, "-m", *command.split()]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    page = browser.new_context(offline=True).new_page()
    page.goto((tmp_path / "notebook.html").as_uri(), wait_until="domcontentloaded")
    pictures = page.locator(".jp-OutputArea img")
    for number in range(2):
        pictures.nth(number).wait_for()  # until it is seen
        decoded = "image => image.decode().then(() => image.naturalWidth)"
        assert pictures.nth(number).evaluate(decoded) >= 600
    page.context.close()
