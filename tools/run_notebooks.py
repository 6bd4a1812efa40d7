"""Execute the notebooks from a fresh kernel and store what they show: `make notebooks`.

What is stored depends on the notebook alone: no times, no widget state, no interpreter version.
`--check` only says what is wrong with what is stored.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).resolve().parents[1] / "notebooks"
WIDGET = "application/vnd.jupyter.widget-view+json"
STATE = "application/vnd.jupyter.widget-state+json"
PICTURE = "image/png"  # what a page shows that can't show the widget
LIMIT = 600_000  # bytes of a notebook
TIMEOUT = 300  # seconds of a cell
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def execute(path: Path) -> None:
    """Run all cells and write the notebook, outputs cleaned."""
    notebook = nbformat.read(path, 4)
    client = NotebookClient(
        notebook,
        timeout=TIMEOUT,
        kernel_name="python3",
        record_timing=False,
        coalesce_streams=True,
        resources={"metadata": {"path": str(path.parent)}},
    )
    client.execute()
    path.write_text(nbformat.writes(clean(notebook)).rstrip() + "\n", encoding="utf-8")


def pictures_in(models: dict, number: str) -> Iterator[str]:
    """The images in a widget and its children, in base64; `models` are what Jupyter saves."""
    model = models[number]
    if model["model_name"] == "ImageModel":
        yield next(b["data"] for b in model["buffers"] if b["path"] == ["value"])
    for child in model["state"].get("children", []):
        yield from pictures_in(models, child.removeprefix("IPY_MODEL_"))


def stored_metadata(cell) -> dict:
    """The metadata that a cell keeps: its tags, and that a solution is folded in JupyterLab."""
    tags = cell.metadata.get("tags", [])
    folded = {"jupyter": {"source_hidden": True}} if "solution" in tags else {}
    return folded | ({"tags": tags} if tags else {})


def clean(notebook):
    """Drop what changes from run to run or from machine to machine; widgets leave a picture."""
    models = notebook.metadata.get("widgets", {}).get(STATE, {}).get("state", {})
    notebook.metadata = nbformat.from_dict(METADATA)
    for cell in notebook.cells:
        cell.metadata = nbformat.from_dict(stored_metadata(cell))
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            widget = data.pop(WIDGET, None)  # the model's number is random
            if widget and PICTURE not in data:
                data[PICTURE] = next(pictures_in(models, widget["model_id"]))
            output.get("metadata", {}).pop(WIDGET, None)
    return notebook


def shows_widget(output) -> bool:
    """Whether a stored output was a widget: its name is all that is left."""
    text = output.get("data", {}).get("text/plain", "")
    return text.startswith(("GrowthPlayer(", "LiveDigit(", "VBox(", "HBox("))


def problems(path: Path) -> list[str]:
    """What is wrong with a stored notebook; nbval would not notice that a cell never ran."""
    notebook, found, count = nbformat.read(path, 4), [], 0
    for number, cell in enumerate(notebook.cells):
        if cell.metadata != stored_metadata(cell):
            found.append(f"cell {number} lacks the metadata that `make notebooks` writes")
        if cell.cell_type != "code":
            continue
        count += 1
        if cell.execution_count != count:
            found.append(f"cell {number} was not run in order: run `make notebooks`")
        for output in cell.outputs:
            if output.output_type == "error":
                found.append(f"cell {number} ends in an error: {output.ename}")
            if WIDGET in output.get("data", {}):
                found.append(f"cell {number} holds the state of a widget")
            if shows_widget(output) and PICTURE not in output.data:
                found.append(f"cell {number} shows a widget without a picture")
            text = output.get("text", "") + output.get("data", {}).get("text/plain", "")
            if re.search(r"(/home/|/root/|/Users/|/work/|/tmp/|[A-Z]:\\)", text):
                found.append(f"cell {number} shows a path of the machine it ran on")
    if dict(notebook.metadata) != METADATA:
        found.append("its metadata are not those that `make notebooks` writes")
    if path.stat().st_size > LIMIT:
        found.append(f"it has {path.stat().st_size} bytes, more than {LIMIT}")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("notebooks", nargs="*", type=Path, help="default: all of them")
    parser.add_argument("--check", action="store_true", help="run nothing")
    arguments = parser.parse_args()
    wrong = False
    for path in arguments.notebooks or sorted(FOLDER.glob("[0-9]*.ipynb")):
        if not arguments.check:
            execute(path)
        for problem in problems(path):
            print(f"{path.name}: {problem}")
            wrong = True
    sys.exit(wrong)


if __name__ == "__main__":
    main()
