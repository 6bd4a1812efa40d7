"""The folder of a workshop: stubs, folded solutions, links, and what is wrong with tags."""

import ast
import copy
import re
import symtable
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tools"))
from make_workshop import LINK, AuthorError, kind, make_workshop, mistakes, stub, student  # noqa: E402
from run_notebooks import TIMEOUT  # noqa: E402

NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))

# ---- stubs ---------------------------------------------------------------------------------------

FUNCTION = '''
import torch
from torch.nn.functional import (
    conv2d,
    pad,
)


# What a cell sees.
@torch.no_grad()
def perceive(
    state: torch.Tensor,  # [B, C, H, W]
    kernel=None,
) -> torch.Tensor:
    """The sums of neighbours.

    [B, C, H, W] -> [B, C, H, W]
    """
    # the answer in a comment
    def inner(x):
        return x + 1

    return inner(state)  # the answer
'''
FUNCTION_STUB = '''
import torch
from torch.nn.functional import (
    conv2d,
    pad,
)


# What a cell sees.
@torch.no_grad()
def perceive(
    state: torch.Tensor,  # [B, C, H, W]
    kernel=None,
) -> torch.Tensor:
    """The sums of neighbours.

    [B, C, H, W] -> [B, C, H, W]
    """
    ...
'''
CLASS = '''
class Rule(torch.nn.Module):
    """A rule."""

    hidden: int
    channels: int = 16

    def __init__(self, hidden):
        super().__init__()
        self.hidden = hidden

    # One step.
    @property
    def step(self):
        """[B] -> [B]"""
        return 1


async def wait():
    # the answer
    return 2


def last(x): # [B]
    @decorated
    def inner(): return 3
    return inner
'''
CLASS_STUB = '''
class Rule(torch.nn.Module):
    """A rule."""

    hidden: int
    channels = None

    def __init__(self, hidden):
        ...

    # One step.
    @property
    def step(self):
        """[B] -> [B]"""
        ...


async def wait():
    ...


def last(x): # [B]
    ...
'''
VALUES = """
# The answer is ten.
reach: int = 10
a, (b, *c) = 1, (2, 3)
[d] = e = [4]
long = [
    5,
]
"""
VALUES_STUB = """
reach = None
a = None
b = None
c = None
d = None
e = None
long = None
"""


@pytest.mark.parametrize(
    ("source", "wanted"),
    [(FUNCTION, FUNCTION_STUB), (CLASS, CLASS_STUB), (VALUES, VALUES_STUB)],
    ids=["function", "class", "values"],
)
def test_a_stub_keeps_what_is_asked_and_loses_what_is_answered(source, wanted):
    assert stub(source.strip()) == wanted.strip()
    assert stub(wanted.strip()) == wanted.strip()
    compile(wanted, "stub", "exec")


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("a = 1\nprint(a)", "line 2 of the solution is no import, function, class or assignment"),
        ("for k in range(3):\n    a = k", "line 1 of the solution is no import"),
        ("a = 1\na += 1", "line 2 of the solution is no import"),
        ("table[0] = 1", "line 1 of the solution assigns to something without a name"),
        ("def f(x): return x", "line 1 of the solution has a body behind its colon"),
        ("a = 1\n%matplotlib inline", "line 2 of the solution is no Python"),
    ],
)
def test_what_has_no_stub_is_said(source, said):
    with pytest.raises(AuthorError, match=f"^{re.escape(said)}"):
        stub(source)


# ---- a small chapter -----------------------------------------------------------------------------

TASK = """### Task 9.1: double it
*difficulty ★☆☆ · 5 minutes*

Write `double`.

<details><summary>Hint</summary>

Add it to itself.
</details>"""
SOLUTION = 'def double(x):\n    """[B] -> [B]"""\n    return 2 * x'
CHECK = "check_double(double)"


def tagged(cell, tag):
    cell.metadata["tags"] = [tag]
    return cell


def code(source, name, tag=None):
    output = new_output("stream", text="Right: it is.\n")
    cell = new_code_cell(source, id=name, execution_count=1, outputs=[output])
    return tagged(cell, tag) if tag else cell


def text(source, name, tag=None):
    cell = new_markdown_cell(source, id=name)
    return tagged(cell, tag) if tag else cell


def chapter():
    """A chapter with a task, and a question whose answer stands below it."""
    cells = [
        text("# Nine\nSee [ten](10.ipynb), [more](../docs/a.md), `a[0](b)`.", "cell-01"),
        text(TASK, "cell-02", "task"),
        code(SOLUTION, "cell-03", "solution"),
        code(CHECK, "cell-04", "check"),
        text("How much is it?", "cell-05", "guess"),
        text("Twice.", "cell-06", "answer"),
        code("double(2)", "cell-07"),
    ]
    cells[2].metadata["jupyter"] = {"source_hidden": True}
    return new_notebook(cells=cells)


def test_the_student_edition_of_a_chapter():
    original = chapter()
    made = student(original)
    nbformat.validate(made)
    assert original == chapter()  # untouched
    names = ["cell-01", "cell-02", "cell-03", "cell-04", "cell-04-solution", "cell-05", "cell-07"]
    assert [cell.id for cell in made.cells] == names
    assert made.cells[2].source == 'def double(x):\n    """[B] -> [B]"""\n    ...'
    assert made.cells[2].metadata == {"tags": ["solution"]}  # not folded
    details = f"<details><summary>Solution</summary>\n\n```python\n{SOLUTION}\n```\n\n</details>"
    assert made.cells[4].source == details
    stays = [cell for cell in original.cells if kind(cell) not in ("answer", "solution")]
    also = [cell for cell in made.cells if cell.id in [one.id for one in stays]]
    assert [cell.source for cell in also] == [cell.source for cell in stays]
    for cell in made.cells:
        assert cell.get("outputs", []) == []
        assert cell.get("execution_count") is None


def test_a_solution_of_two_cells_is_folded_as_one():
    notebook = chapter()
    notebook.cells.insert(3, code("size = 3", "cell-03b", "solution"))
    assert mistakes(notebook) == []
    made = student(notebook)
    assert made.cells[3].source == "size = None"
    assert f"{SOLUTION}\n\n\nsize = 3\n```" in made.cells[5].source


def without(*names):
    notebook = chapter()
    notebook.cells = [cell for cell in notebook.cells if cell.id not in names]
    return notebook


def changed(name, change):
    notebook = chapter()
    change(next(cell for cell in notebook.cells if cell.id == name))
    return notebook


def replaced(old, new):
    return lambda cell: cell.update(source=cell.source.replace(old, new))


@pytest.mark.parametrize(
    ("notebook", "said"),
    [
        (without("cell-02"), "cell-03: a solution without a task before it"),
        (without("cell-03"), "cell-04: a check without a solution before it"),
        (without("cell-03", "cell-04"), "cell-02: a task without a solution after it"),
        (without("cell-04"), "cell-02: a task without a check after it"),
        (changed("cell-07", lambda c: tagged(c, "todo")), "cell-07: the unknown tag todo"),
        (changed("cell-07", lambda c: tagged(c, "answer")), "cell-07: the tag answer on a code"),
        (changed("cell-05", lambda c: tagged(c, "check")), "cell-05: the tag check on a markdown"),
        (
            changed("cell-05", lambda c: c.metadata["tags"].append("answer")),
            "cell-05: more than one tag: guess, answer",
        ),
        (changed("cell-02", replaced("9.1", "nine")), "cell-02: a task without a title"),
        (
            changed("cell-02", replaced("difficulty", "hard")),
            "cell-02: a task without a line `*diff",
        ),
        (changed("cell-02", replaced("★☆☆", "★☆")), "cell-02: a task without a line `*diff"),
        (changed("cell-02", replaced(" minutes", "")), "cell-02: a task without a line `*diff"),
        (changed("cell-02", replaced("Hint", "Help")), "cell-02: a task without a folded hint"),
        (changed("cell-03", replaced("def", "print(1)\ndef")), "cell-03: line 1 of the solution"),
    ],
)
def test_mistakes_in_tags_are_said_with_the_cell(notebook, said):
    found = mistakes(notebook)
    assert any(mistake.startswith(said) for mistake in found), found


def test_a_task_before_the_one_above_is_done_is_a_mistake():
    notebook = chapter()
    notebook.cells.insert(2, text(TASK, "cell-02b", "task"))
    assert mistakes(notebook) == ["cell-02: a task without a solution after it"]


# ---- the folder ----------------------------------------------------------------------------------


@pytest.fixture
def repository(tmp_path):
    """A repository of two chapters, teacher's notes, and two pages that are linked to."""
    root = tmp_path / "repository"
    for place, written in {
        "docs/teaching.md": "[nine](../notebooks/09.ipynb) <a href='x'> [c](c.png)",
        "docs/a.md": "[teacher](teaching.md#first) [b](b/) [web](https://a.b/c)",
        "docs/b/b.py": "b = 1\n",
        "docs/c.png": "picture",
        "notebooks/09.ipynb": nbformat.writes(chapter()),
        "notebooks/10.ipynb": nbformat.writes(
            new_notebook(cells=[text('# Ten\n<img src="../docs/c.png">', "cell-01")])
        ),
    }.items():
        (root / place).parent.mkdir(parents=True, exist_ok=True)
        (root / place).write_text(written, encoding="utf-8")
    return root


def contents(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*.*")}


def test_the_folder_holds_both_editions_and_all_they_link_to(repository, tmp_path):
    make_workshop(tmp_path / "workshop", repository)
    held = contents(tmp_path / "workshop")
    editions = {f"{e}/{n}.ipynb" for e in ("student", "solution") for n in ("09", "10")}
    linked = {"more/docs/a.md", "more/docs/b/b.py", "more/docs/c.png"}
    assert held.keys() == editions | linked | {"README.txt", "teaching.md"}
    assert b"  teaching.md\n" in held["README.txt"]
    assert held["teaching.md"] == b"[nine](student/09.ipynb) <a href='x'> [c](more/docs/c.png)"
    assert b"[teacher](../../teaching.md#first) [b](b)" in held["more/docs/a.md"]
    links = b"See [ten](10.ipynb), [more](../more/docs/a.md), `a[0](b)`."
    assert links in held["student/09.ipynb"]
    assert links in held["solution/09.ipynb"]
    whole = nbformat.reads(held["solution/09.ipynb"].decode(), 4)
    assert whole.cells[1:] == chapter().cells[1:]  # outputs too


def test_the_same_chapters_make_the_same_bytes(repository, tmp_path):
    made = []
    for name in ("one", "two", "two"):  # the last one replaces what is there
        make_workshop(tmp_path / name, repository)
        made.append(contents(tmp_path / name))
    assert made[0] == made[1] == made[2]


def test_a_mistake_is_said_with_its_chapter_and_nothing_is_written(repository, tmp_path):
    nbformat.write(without("cell-03"), repository / "notebooks" / "09.ipynb")
    with pytest.raises(AuthorError, match=r"^09.ipynb: cell-04: a check without a solution"):
        make_workshop(tmp_path / "workshop", repository)
    assert not (tmp_path / "workshop").exists()


def test_a_link_to_nothing_is_said(repository, tmp_path):
    (repository / "docs" / "c.png").unlink()
    with pytest.raises(AuthorError, match=r"^10.ipynb: links to ../docs/c.png, which is not there"):
        make_workshop(tmp_path / "workshop", repository)


def test_what_is_something_else_is_not_overwritten(repository, tmp_path):
    folder = tmp_path / "holidays"
    folder.mkdir()
    (folder / "README.txt").write_text("photographs")
    with pytest.raises(AuthorError, match="is no workshop's folder"):
        make_workshop(folder, repository)
    assert contents(folder) == {"README.txt": b"photographs"}


# ---- the chapters --------------------------------------------------------------------------------


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def path(request):
    return request.param


@pytest.fixture
def notebook(path):
    return nbformat.read(path, 4)


def test_the_tags_of_a_chapter_are_right(path, notebook):
    assert mistakes(notebook) == []
    titles = [re.match(r"### Task ([\d.]+)", c.source) for c in notebook.cells if kind(c) == "task"]
    chapter = int(path.stem[:2])
    assert [title[1] for title in titles] == [f"{chapter}.{k + 1}" for k in range(len(titles))]


def is_empty(node):
    """Whether nothing is computed in a definition or assignment."""
    if isinstance(node, ast.FunctionDef):
        body = node.body[ast.get_docstring(node) is not None :]
        return [ast.unparse(one) for one in body] == ["..."]
    if isinstance(node, ast.ClassDef):
        return all(map(is_empty, node.body[ast.get_docstring(node) is not None :]))
    if isinstance(node, ast.Assign):
        return ast.unparse(node.value) == "None"
    if isinstance(node, ast.AnnAssign):
        return node.value is None
    return isinstance(node, ast.Import | ast.ImportFrom | ast.Pass)


def test_the_student_edition_holds_no_answer(notebook):
    made = student(notebook)
    nbformat.validate(made)
    ids = [cell.id for cell in made.cells]
    assert len(set(ids)) == len(ids)
    for cell in made.cells:
        assert kind(cell) != "answer"
        assert not cell.get("outputs")
        if kind(cell) == "solution":
            assert all(map(is_empty, ast.parse(cell.source).body)), cell.id


def test_the_solutions_pass_their_checks(notebook):
    """As stored; strict nbval sees to it that what is stored comes out."""
    for cell in notebook.cells:
        if kind(cell) == "check":
            said = "".join(output.get("text", "") for output in cell.outputs).splitlines()
            assert said, cell.id
            assert all(line.startswith("Right") for line in said), cell.id


def test_every_link_in_the_folder_holds(tmp_path):
    make_workshop(tmp_path / "workshop")
    for edition in ("student", "solution"):
        for path in (tmp_path / "workshop" / edition).iterdir():
            cells = nbformat.read(path, 4).cells
            texts = [cell.source for cell in cells if cell.cell_type == "markdown"]
            links = [m[1] for text in texts for m in LINK.finditer(text) if m[1]]
            for link in links:
                assert (path.parent / link).exists(), f"{path.name}: {link}"


# ---- stubs in the chapters -----------------------------------------------------------------------


def names_in(source):
    """The variables of the notebook that a cell uses, and those that it gives or changes."""
    top = symtable.symtable(source, "cell", "exec")
    tables = [top]
    for table in tables:
        tables += table.get_children()
    symbols = [(s, t is top or s.is_global()) for t in tables for s in t.get_symbols()]
    used = {s.get_name() for s, ours in symbols if ours and s.is_referenced()}
    given = {s.get_name() for s in top.get_symbols() if s.is_assigned() or s.is_imported()}
    for node in ast.walk(ast.parse(source)):  # a[0] = 1, a.b = 1
        if isinstance(node, ast.Attribute | ast.Subscript) and isinstance(node.ctx, ast.Store):
            given.add(next(n.id for n in ast.walk(node) if isinstance(n, ast.Name)))
    return used, given


def settled_in(statements):
    """The variables that are given by some statements whatever they were before."""
    found = set()
    for node in statements:
        if isinstance(node, ast.With):
            found |= settled_in(node.body)
        elif isinstance(node, ast.Assign):
            parts = [part for target in node.targets for part in ast.walk(target)]
            names = [part for part in parts if isinstance(part, ast.Name)]
            found |= {name.id for name in names if isinstance(name.ctx, ast.Store)}
    return found


def rehearsed(notebook):
    """Solutions, checks, and of the other cells of code those that give the names they use."""
    cells, needed = [], set()
    for cell in reversed(notebook.cells):
        if cell.cell_type == "code":
            source = re.sub(r"^[%!].*$", "", cell.source, flags=re.M)
            used, given = names_in(source)
            if kind(cell) in ("solution", "check") or given & needed:
                needed = (needed - settled_in(ast.parse(source).body)) | used
                cells.insert(0, cell)
    return cells


def test_only_cells_that_a_check_depends_on_are_rehearsed():
    notebook = chapter()
    notebook.cells[3].source = "from checks import check_double\ncheck_double(double, x)"
    before = [
        "import torch as t",
        "a = x = 0",  # forgotten below
        "with t.no_grad():\n    a = t.ones(3)",
        "a[0] = 2",
        "def count():\n    return len(a)",
        "b = count()  # not asked for",
        "x, y = a, [double for double in range(3)]",
    ]
    notebook.cells[1:1] = [code(source, f"before-{k}") for k, source in enumerate(before)]
    kept = [cell.id for cell in rehearsed(notebook)]
    assert kept == ["before-0", "before-2", "before-3", "before-6", "cell-03", "cell-04"]


def with_stubs(cells):
    """The cells of a student who tries each check before the solution, and has it from then on."""
    tried, solutions = [], []
    for cell in cells:
        if kind(cell) == "solution":
            solutions.append(cell)
            cell = new_code_cell(stub(cell.source))
        tried.append(copy.deepcopy(cell))
        if kind(cell) == "check":
            tried += copy.deepcopy(solutions)
            solutions = []
    return tried


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of Jupyter's
def test_a_check_of_what_is_not_yet_written_says_so(path, notebook):
    tried = with_stubs(rehearsed(notebook))
    where = {"metadata": {"path": str(path.parent)}}
    options = {"timeout": TIMEOUT, "kernel_name": "python3", "resources": where}
    if tried:
        NotebookClient(new_notebook(cells=tried), allow_errors=True, **options).execute()
    for cell in tried:
        if kind(cell) == "check":
            said = "".join(output.get("text", output.output_type) for output in cell.outputs)
            assert said, cell.id
            assert "error" not in [output.output_type for output in cell.outputs], cell.id
            assert "Right" not in said, f"{cell.id}: {said}"
