"""What a notebook stores: strict nbval compares outputs, this looks for what it would not see."""

import re
import sys
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tools"))
from run_notebooks import clean, problems, shows_widget  # noqa: E402

NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def path(request):
    return request.param


def test_there_are_notebooks():
    assert NOTEBOOKS


def test_every_cell_was_run_and_what_is_stored_is_small_and_clean(path):
    assert problems(path) == []


def test_a_chapter_opens_and_ends_as_promised(path):
    cells = nbformat.read(path, 4).cells
    opening = cells[0].source
    assert opening.startswith("# ")
    for promise in ("You will learn", "You need", "minutes to read", "to run"):
        assert promise in opening, promise
    prose = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    for part in ("## Summary", "<details>", "## To read on"):
        assert part in prose, part
    assert "## Exercises" in prose or "### Task " in prose


def test_cells_are_short(path):
    cells = [c.source.splitlines() for c in nbformat.read(path, 4).cells if c.cell_type == "code"]
    assert max(map(len, cells)) <= 25
    assert sum(len(cell) > 15 for cell in cells) <= 2


def test_cells_have_ids_that_stay(path):
    ids = [cell.id for cell in nbformat.read(path, 4).cells]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"[a-z0-9-]+", name) for name in ids)


def test_a_widget_without_its_picture_is_noticed(tmp_path):
    """Whoever reads a chapter on a repository's page would see one line of text."""
    notebook = nbformat.read(ROOT / "notebooks" / "05_growth_explorer.ipynb", 4)
    cells = [(k, o) for k, cell in enumerate(notebook.cells) for o in cell.get("outputs", [])]
    shown = [(k, o) for k, o in cells if shows_widget(o)]
    assert len(shown) >= 3  # a slider by hand, players, a live digit
    assert all(len(o.data["image/png"]) * 3 / 4 <= 60_000 for _, o in shown)
    number, first = shown[0]
    del first.data["image/png"]
    path = tmp_path / "without.ipynb"
    nbformat.write(notebook, path)
    assert problems(path) == [f"cell {number} shows a widget, but no picture beside it"]


def test_tags_stay_and_solutions_are_folded(tmp_path):
    """JupyterLab shows one line of a folded cell, until the reader opens it."""
    cells = [
        nbformat.v4.new_markdown_cell("Write it.", metadata={"tags": ["task"], "editable": True}),
        nbformat.v4.new_code_cell("a = 1", metadata={"tags": ["solution"]}, execution_count=1),
        nbformat.v4.new_code_cell("a", metadata={"scrolled": True}, execution_count=2),
    ]
    notebook, path = nbformat.v4.new_notebook(cells=cells), tmp_path / "tags.ipynb"
    nbformat.write(notebook, path)
    said = [f"cell {k} has not the metadata that `make notebooks` writes" for k in range(3)]
    assert [p for p in problems(path) if p.startswith("cell")] == said
    cleaned = clean(notebook)
    assert [dict(cell.metadata) for cell in cleaned.cells] == [
        {"tags": ["task"]},
        {"jupyter": {"source_hidden": True}, "tags": ["solution"]},
        {},
    ]
    nbformat.write(cleaned, path)
    assert problems(path) == []
