"""The structure: imports go one way, functions fit a screen, tasks are compared in one place."""

import ast
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tools"))
from modules import ORDER  # noqa: E402

PACKAGE = ROOT / "nca_lib"
LATE = {("model", "checkpoint"), ("rollout.plan", "model")}  # imported when they are needed
KERNELS = {"compiled", "sparse"}  # files whose functions may be longer, with more arguments
LONG, MANY = {"train"}, {"train", "rollout"}  # public functions that may be
TASK_NAMES = {"grow", "restore", "classify"}
TASK_FILES = {"training.tasks", "training.config", "checkpoint"}  # may compare them
FILES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__"): path
    for path in PACKAGE.rglob("*.py")
    if path != PACKAGE / "__init__.py"
}
TREES = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in FILES.items()}


def imported(tree):
    """The modules of the package that a file imports from, and the names it takes."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "nca_lib":
            module = node.module.removeprefix("nca_lib").lstrip(".")
            for name in (alias.name for alias in node.names):
                inner = f"{module}.{name}".lstrip(".")
                yield (inner if inner in FILES else module), name


def test_every_module_has_its_place():
    assert FILES.keys() == set(ORDER)


@pytest.mark.parametrize("name", ORDER)
def test_imports_go_one_way_and_take_nothing_private(name):
    for module, taken in imported(TREES[name]):
        if module in FILES and (name, module) not in LATE:
            assert ORDER.index(module) < ORDER.index(name), f"{name} imports {module}"
        assert not taken.startswith("_") or taken == "__version__", f"{name} takes {module}.{taken}"


def lines_of(function):
    """Lines of a function, its docstring left out."""
    text = function.body[0] if ast.get_docstring(function) else None
    return (
        function.end_lineno
        - function.lineno
        + 1
        - (text.end_lineno - text.lineno + 1 if text else 0)
    )


OTHERS = [path for folder in ("course", "tools") for path in (ROOT / folder).glob("*.py")]


@pytest.mark.parametrize("path", sorted([*FILES.values(), *OTHERS]), ids=lambda p: p.stem)
def test_functions_are_short_and_take_few_arguments(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef):
            given = [*node.args.args, *node.args.kwonlyargs]
            count = sum(argument.arg not in ("self", "cls", "ctx") for argument in given)
            kernel, where = path.stem in KERNELS, f"{path.name}, {node.name}"
            assert lines_of(node) <= (50 if kernel or node.name in LONG else 40), where
            assert count <= 6 or kernel or node.name in MANY, where


@pytest.mark.parametrize("name", sorted(FILES.keys() - TASK_FILES))
def test_task_names_are_compared_in_one_place(name):
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.Compare):
            found = {c.value for c in ast.walk(node) if isinstance(c, ast.Constant)} & TASK_NAMES
            assert not found, f"{name}, line {node.lineno}: use training.tasks.task_of"


def test_only_the_command_line_sets_environment_variables():
    change = re.compile(r"environ(\.(setdefault|update|pop)|\[[^]]+\] =| \|=)|putenv")
    found = [
        name for name, path in FILES.items() if change.search(path.read_text(encoding="utf-8"))
    ]
    assert found == ["__main__"]
