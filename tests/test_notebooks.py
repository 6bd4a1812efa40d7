"""What a notebook stores: strict nbval compares outputs, this looks for what it would not see."""

import re
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tools"))
from run_notebooks import METADATA, PICTURE, STATE, WIDGET, clean, problems  # noqa: E402

NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_cell_ran_in_order_and_what_is_stored_is_small_and_clean(path):
    assert problems(path) == []
    cells = nbformat.read(path, 4).cells
    ids = [cell.id for cell in cells]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"[a-z0-9-]+", name) for name in ids)
    assert any(cell.get("outputs") for cell in cells)
    assert max(len(cell.source.splitlines()) for cell in cells if cell.cell_type == "code") <= 25


def shows(number, **data):
    """A cell of code with one output, which was run as the `number`th."""
    outputs = [new_output("display_data", data=data)] if data else []
    return new_code_cell("a", id=f"cell-{number}", execution_count=number, outputs=outputs)


def written(folder, cells):
    path = folder / "chapter.ipynb"
    nbformat.write(new_notebook(cells=cells, metadata=METADATA), path)
    return path


def test_what_is_wrong_with_a_stored_notebook_is_found(tmp_path):
    skipped, failed = shows(2), shows(3)
    skipped.execution_count = None
    failed.outputs = [new_output("error", ename="ValueError", evalue="", traceback=[])]
    widget = {WIDGET: {"model_id": "m"}, "text/plain": "LiveDigit(3)"}
    path = {"text/plain": "/home/me/data"}
    assert problems(written(tmp_path, [shows(1), skipped, failed, shows(4, **widget)])) == [
        "cell 1 was not run in order: run `make notebooks`",
        "cell 2 ends in an error: ValueError",
        "cell 3 holds the state of a widget",
        "cell 3 shows a widget without a picture",
    ]
    found = problems(written(tmp_path, [shows(1, **path)]))
    assert found == ["cell 0 shows a path of the machine it ran on"]
    assert problems(written(tmp_path, [shows(1)])) == []


def test_a_widget_leaves_its_picture_and_solutions_are_folded():
    """Whoever reads a chapter on a repository's page would see one line of text."""
    image = {"model_name": "ImageModel", "state": {}, "buffers": [{"path": ["value"], "data": "p"}]}
    box = {"model_name": "VBoxModel", "state": {"children": ["IPY_MODEL_i"]}}
    cell = shows(1, **{WIDGET: {"model_id": "b"}, "text/plain": "VBox()"})
    cell.metadata = {"tags": ["solution"], "scrolled": True}
    notebook = new_notebook(cells=[cell])
    notebook.metadata["widgets"] = {STATE: {"state": {"b": box, "i": image}}}
    data = clean(notebook).cells[0].outputs[0].data
    assert data == {"text/plain": "VBox()", PICTURE: "p"}
    assert notebook.metadata == METADATA
    folded = {"jupyter": {"source_hidden": True}, "tags": ["solution"]}
    assert notebook.cells[0].metadata == folded
