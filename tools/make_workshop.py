"""Make a folder for a workshop, on a USB stick, from the chapters: `make workshop`.

`student/` has stubs where `solution/`, the chapters as stored, has the answers. Tags on the cells
tell tasks, solutions and checks apart, so that there is one source for both editions.
"""

from __future__ import annotations

import argparse
import ast
import copy
import os
import re
import shutil
import sys
import tempfile
from pathlib import Path

import nbformat
from folders import replace_folder

ROOT = Path(__file__).resolve().parents[1]
PAPERS = ["docs/teaching.md", "docs/handout.md"]
MARKDOWN_TAGS, CODE_TAGS = {"task", "guess", "answer"}, {"solution", "check"}
TASK = {  # what the text of a task has to hold
    "a title, `### Task 3.2: what to do`": re.compile(r"\A### Task \d+\.\d+: \S"),
    "a line `*difficulty ★★☆ · 10 minutes*`": re.compile(
        r"^\*difficulty (★☆☆|★★☆|★★★) · \d+ minutes\*$", re.M
    ),
    "a folded hint": re.compile(r"<details>\s*<summary>Hint</summary>.+?</details>", re.S),
}
# A link to something in the repository. Code is matched too, lest something in it be taken for one.
LINK = re.compile(
    r"```.*?```|`[^`\n]*`|((?:(?<=\]\()|(?<=src=\")|(?<=href=\"))(?![a-z]+:|#)[^)#\"\s]+)", re.S
)
README = """\
nca_lib, a workshop

  student/   the chapters to work in: tasks with stubs, checks, and folded solutions
  solution/  the same chapters, complete, with all that they show
{papers}  more/      what the chapters link to

nca_lib has to be installed on this machine; its README.md says how. Then start JupyterLab
in this folder, with the Python that has it:

  PATH_TO/nca_lib/.venv/bin/python -m jupyterlab            Linux, macOS
  PATH_TO\\nca_lib\\.venv\\Scripts\\python -m jupyterlab        Windows

and open the first chapter of student/ from the list on the left. Run its cells in turn. Those
below a task may fail until the task is solved: its check says what is missing.

Work in a copy: `make workshop` writes this folder anew.
"""


class AuthorError(Exception):
    """What the author of a chapter has to mend, in one line."""


# ---- stubs ---------------------------------------------------------------------------------------


def stub(source: str) -> str:
    """A solution without its answers: `...` for the body of a function, None for a value."""
    try:
        tree = ast.parse(source)
    except SyntaxError as error:
        raise AuthorError(f"line {error.lineno} of the solution is no Python") from None
    return "\n".join(reduced(tree.body, source.splitlines())).strip("\n")


def reduced(statements: list[ast.stmt], lines: list[str]) -> list[str]:
    """The lines that stay of some statements, with the empty lines before each."""
    text = []
    for node in statements:
        first = first_line(node, lines)
        while first and not lines[first - 1].strip():
            text.append("")
            first -= 1
        text += remains(node, lines)
    return text


def first_line(node: ast.stmt, lines: list[str]) -> int:
    """The index of its first line; a definition begins with its decorators and comments."""
    first, comment = node.lineno - 1, " " * node.col_offset + "#"
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        first = min([first, *(one.lineno - 1 for one in node.decorator_list)])
        while first and lines[first - 1].startswith(comment):
            first -= 1
    return first


def remains(node: ast.stmt, lines: list[str]) -> list[str]:
    """The lines that stay of one statement."""
    indent = " " * node.col_offset
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef():
            return [*head(node, lines), f"{indent}    ..."]
        case ast.ClassDef():
            inner = node.body[ast.get_docstring(node) is not None :]
            return [*head(node, lines), *(reduced(inner, lines) or [f"{indent}    ..."])]
        case ast.Assign():
            return [f"{indent}{name} = None" for one in node.targets for name in names(one)]
        case ast.AnnAssign(value=ast.expr()):
            return [f"{indent}{name} = None" for name in names(node.target)]
        case ast.Import() | ast.ImportFrom() | ast.AnnAssign() | ast.Pass():
            return lines[node.lineno - 1 : node.end_lineno]
    raise AuthorError(
        f"line {node.lineno} of the solution is no import, function, class or assignment"
    )


def head(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef, lines: list[str]) -> list:
    """A definition from its comments and decorators to its docstring."""
    body = node.body[0]
    if lines[body.lineno - 1][: body.col_offset].strip():
        raise AuthorError(f"line {body.lineno} of the solution has a body behind its colon")
    if ast.get_docstring(node) is not None:
        return lines[first_line(node, lines) : body.end_lineno]
    kept = lines[first_line(node, lines) : first_line(body, lines)]
    while not kept[-1].strip() or kept[-1].lstrip().startswith("#"):  # belongs to the body
        kept.pop()
    return kept


def names(target: ast.expr) -> list[str]:
    """The names that an assignment gives a value."""
    match target:
        case ast.Name():
            return [target.id]
        case ast.Starred():
            return names(target.value)
        case ast.Tuple() | ast.List():
            return [name for one in target.elts for name in names(one)]
    raise AuthorError(f"line {target.lineno} of the solution assigns to something without a name")


# ---- tags ----------------------------------------------------------------------------------------


def kind(cell) -> str | None:
    """The tag of a cell, if it has one."""
    return next(iter(cell.metadata.get("tags", [])), None)


def mistakes_of(cell, waits: str | None) -> list[str]:
    """What is wrong with one cell; the task above it still `waits` for a solution or a check."""
    tags, tag, code = cell.metadata.get("tags", []), kind(cell), cell.cell_type == "code"
    found = [f"the unknown tag {one}" for one in tags if one not in MARKDOWN_TAGS | CODE_TAGS]
    if len(tags) > 1:
        found.append(f"more than one tag: {', '.join(tags)}")
    if tag in (MARKDOWN_TAGS if code else CODE_TAGS):
        found.append(f"the tag {tag} on a {cell.cell_type} cell")
    if tag == "task":
        found += [f"a task without {what}" for what in TASK if not TASK[what].search(cell.source)]
    if tag == "check" and waits != "check":
        found.append("a check without a solution before it")
    if tag == "solution":
        if waits is None:
            found.append("a solution without a task before it")
        try:
            stub(cell.source)
        except AuthorError as error:
            found.append(str(error))
    return found


def mistakes(notebook) -> list[str]:
    """What is wrong with the tags of a chapter, each with the id of the cell."""
    found, waits, task = [], None, ""
    unfinished = "{}: a task without a {} after it"
    for cell in notebook.cells:
        tag = kind(cell)
        if tag == "task":
            if waits:
                found.append(unfinished.format(task, waits))
            task = cell.id
        found += [f"{cell.id}: {mistake}" for mistake in mistakes_of(cell, waits)]
        waits = {"task": "solution", "solution": "check", "check": None}.get(tag, waits)
    if waits:
        found.append(unfinished.format(task, waits))
    return found


# ---- the student edition -------------------------------------------------------------------------


def folded(answers: list[str], name: str):
    """A cell that shows a solution to whoever opens it."""
    code = "\n\n\n".join(answers)
    text = f"<details><summary>Solution</summary>\n\n```python\n{code}\n```\n\n</details>"
    return nbformat.v4.new_markdown_cell(text, id=name)


def student(notebook):
    """The student edition of a chapter."""
    notebook, cells, answers = copy.deepcopy(notebook), [], []
    for cell in notebook.cells:
        tag = kind(cell)
        if tag == "answer":
            continue
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
        if tag == "task":
            answers = []
        if tag == "solution":
            answers.append(cell.source)
            cell.source = stub(cell.source)
            cell.metadata.pop("jupyter", None)  # shown, to be written in
        cells.append(cell)
        if tag == "check":
            cells.append(folded(answers, f"{cell.id}-solution"))
    notebook.cells = cells
    return notebook


# ---- the folder ----------------------------------------------------------------------------------


class Folder:
    """The folder of a workshop: it gets chapters and papers, and in more/ all that they link to."""

    def __init__(self, folder: Path, root: Path):
        self.folder, self.root = folder, root
        self.papers = [root / paper for paper in PAPERS if (root / paper).exists()]
        self.linked: list[Path] = []

    def write(self, place: str, text: str) -> None:
        path = self.folder / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def link(self, text: str, page: Path, place: str) -> str:
        """The text of a page of the repository with its links as they have to be at `place`."""
        return LINK.sub(lambda m: self.link_to(m[1], page, place) if m[1] else m[0], text)

    def link_to(self, link: str, page: Path, place: str) -> str:
        target = Path(os.path.normpath(page.parent / link))
        if not target.exists():
            raise AuthorError(f"{page.name}: links to {link}, which is not there")
        if target.suffix == ".ipynb":
            goal = f"{'solution' if place.startswith('solution/') else 'student'}/{target.name}"
        elif target in self.papers:
            goal = target.name
        else:
            self.linked.append(target)
            goal = f"more/{target.relative_to(self.root).as_posix()}"
        return os.path.relpath(goal, Path(place).parent).replace(os.sep, "/")

    def add_chapter(self, path: Path) -> None:
        notebook = nbformat.read(path, 4)
        found = mistakes(notebook)
        if found:
            raise AuthorError("\n".join(f"{path.name}: {mistake}" for mistake in found))
        for edition, chapter in (("student", student(notebook)), ("solution", notebook)):
            place = f"{edition}/{path.name}"
            for cell in chapter.cells:
                if cell.cell_type == "markdown":
                    cell.source = self.link(cell.source, path, place)
            self.write(place, nbformat.writes(chapter).rstrip() + "\n")

    def add_page(self, path: Path, place: str) -> None:
        """A page with its links, or whatever else was linked to as it is."""
        if path.is_dir():
            for inner in sorted([*path.glob("*.py"), *path.glob("*.md")]):
                self.add_page(inner, f"{place}/{inner.name}")
        elif path.suffix == ".md":
            self.write(place, self.link(path.read_text(encoding="utf-8"), path, place))
        else:
            (self.folder / place).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, self.folder / place)

    def fill(self) -> None:
        for path in sorted((self.root / "notebooks").glob("[0-9]*.ipynb")):
            self.add_chapter(path)
        for paper in self.papers:
            self.add_page(paper, paper.name)
        done = set()
        while self.linked:
            path = self.linked.pop()
            if path not in done:
                done.add(path)
                self.add_page(path, f"more/{path.relative_to(self.root).as_posix()}")
        papers = "".join(f"  {paper.name}\n" for paper in self.papers)
        self.write("README.txt", README.format(papers=papers))


def make_workshop(out: Path, root: Path = ROOT) -> None:
    """Write the folder. A mistake in a chapter raises AuthorError before anything is written."""
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "workshop"
        Folder(made, root).fill()
        replace_folder(made, out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=ROOT / "workshop")
    try:
        make_workshop(parser.parse_args().out)
    except AuthorError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
