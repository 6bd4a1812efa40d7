"""tools/make_workshop.py: stubs for students, solutions for teachers, from one set of chapters."""

import ast
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tools"))
from make_workshop import AuthorError, kind, make_workshop, mistakes, stub, student  # noqa: E402

SOLUTION = (
    'import math\n\n\ndef double(x):\n    """[B] -> [B]"""\n    return 2 * x\n\n\ntwo, a = 2, 1'
)
STUB = 'import math\n\n\ndef double(x):\n    """[B] -> [B]"""\n    ...\n\n\ntwo = None\na = None'
TASK = """### Task 9.1: double it
*difficulty ★☆☆ · 5 minutes*
<details><summary>Hint</summary>Add it to itself.</details>"""


def chapter():
    """A chapter with a task, and a question whose answer stands below it."""
    output = [new_output("stream", text="Right: it is.\n")]
    cells = [
        new_markdown_cell("# Nine\n[more](../docs/a.md), `a[0](b)`", id="title"),
        new_markdown_cell(TASK, id="task", metadata={"tags": ["task"]}),
        new_code_cell(SOLUTION, id="solution", metadata={"tags": ["solution"]}),
        new_code_cell("check(double)", id="check", metadata={"tags": ["check"]}, outputs=output),
        new_markdown_cell("How much?", id="guess", metadata={"tags": ["guess"]}),
        new_markdown_cell("Twice.", id="answer", metadata={"tags": ["answer"]}),
    ]
    return new_notebook(cells=cells)


def test_students_get_stubs_folded_solutions_and_no_answers():
    assert stub(SOLUTION) == STUB
    with pytest.raises(AuthorError, match=r"^line 1 of the solution is no import"):
        stub("print(1)")
    made = student(chapter())
    ids = ["title", "task", "solution", "check", "check-solution", "guess"]
    assert [cell.id for cell in made.cells] == ids
    assert made.cells[2].source == STUB
    assert f"```python\n{SOLUTION}\n```\n\n</details>" in made.cells[4].source
    assert not any(cell.get("outputs") for cell in made.cells)


def test_mistakes_in_tags_are_said_with_the_cell():
    notebook = chapter()
    assert mistakes(notebook) == []
    del notebook.cells[2]
    assert "check: a check without a solution before it" in mistakes(notebook)


def test_the_folder_holds_both_editions_and_what_they_link_to(tmp_path):
    root, out = tmp_path / "repository", tmp_path / "workshop"
    for folder in ("docs", "notebooks"):
        (root / folder).mkdir(parents=True)
    (root / "docs" / "a.md").write_text("[nine](../notebooks/09.ipynb)")
    nbformat.write(chapter(), root / "notebooks" / "09.ipynb")
    for _ in range(2):  # the second time it replaces its own files
        make_workshop(out, root)
    names = {path.relative_to(out).as_posix() for path in out.rglob("*.*") if path.is_file()}
    held = {"student/09.ipynb", "solution/09.ipynb", "more/docs/a.md", "README.txt"}
    assert {name for name in names if not name.startswith(".")} == held
    assert "[more](../more/docs/a.md), `a[0](b)`" in (out / "student" / "09.ipynb").read_text()
    assert nbformat.read(out / "solution" / "09.ipynb", 4).cells[3] == chapter().cells[3]
    (out / "thesis.tex").write_text("mine")
    with pytest.raises(SystemExit, match=r"thesis\.tex, which this tool did not make"):
        make_workshop(out, root)
    assert (out / "thesis.tex").read_text() == "mine"


def test_a_real_chapter_splits_and_its_stubs_hold_no_answer():
    notebook = nbformat.read(next((ROOT / "notebooks").glob("01_*.ipynb")), 4)
    assert mistakes(notebook) == []
    assert any(kind(cell) == "task" for cell in notebook.cells)
    for cell in student(notebook).cells:
        if kind(cell) == "solution":
            for node in ast.walk(ast.parse(cell.source)):
                assert not isinstance(node, ast.Return | ast.BinOp), cell.id
