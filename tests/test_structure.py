"""The house: a state flows one way, no file uses what is another's own, functions fit a screen."""

import ast
import json
import re
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "nca_lib"
ORDER = [  # nothing imports what stands below it
    "errors", "stopping", "kinds", "blurs", "cells", "inputs", "rollout.fire", "rollout.plan",
    "rollout.dense", "rollout.sparse", "rollout.compiled", "rollout.graphed", "rollout", "flow",
    "genome", "rule", "checkpoints", "dataset", "torchvision_sets", "folder", "data", "handwriting",
    "judge", "reading", "training.damage", "training.settings", "training.losses",
    "training.optimisers", "training.ranks", "training.pool", "training.run", "training.batch",
    "training.loop", "training", "training.presets", "training.pretraining", "baselines", "rival",
    "evaluation", "plots", "report", "live", "widgets", "exercises", "cli", "__main__",
]  # fmt: skip
FILES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__"): path
    for path in PACKAGE.rglob("*.py")
    if path.parent.name != "exercises" and path != PACKAGE / "__init__.py"
}


def imported(path):
    """The modules of the package that a file names in its imports, and the names it takes."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "nca_lib":
            names = [alias.name for alias in node.names]
            module = node.module.removeprefix("nca_lib").lstrip(".")
            for name in names:
                inner = f"{module}.{name}".lstrip(".")
                yield (inner if inner in FILES else module), name


def test_every_file_has_its_place():
    assert FILES.keys() | {"exercises"} == set(ORDER)


@pytest.mark.parametrize("name", sorted(FILES))
def test_no_import_runs_upward_and_none_takes_what_is_private(name):
    for module, taken in imported(FILES[name]):
        if module in FILES:
            assert ORDER.index(module) < ORDER.index(name), f"{name} imports {module}"
        assert not taken.startswith("_") or taken == "__version__", f"{name} takes {module}.{taken}"


def code_lines(function):
    """Lines of a function without its docstring."""
    body = function.body[1:] if ast.get_docstring(function) else function.body
    first = body[0].lineno if body else function.end_lineno
    return function.end_lineno - first + 1


@pytest.mark.parametrize("name", sorted(FILES))
def test_functions_fit_a_screen(name):
    tree = ast.parse(FILES[name].read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            assert code_lines(node) <= 50, f"{name}.{node.name}: {code_lines(node)} lines"


def first_line_of_imports(path):
    """The first line, not indented, that imports PyTorch or us."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".ipynb":
        cells = json.loads(text)["cells"]
        text = "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "code")
    return re.search(r"^(?:import|from) (nca_lib|torch)\b", text, re.M)


@pytest.mark.parametrize("folder", ["benchmarks", "experiments", "tools", "notebooks"])
def test_nca_lib_is_imported_before_torch(folder):
    """It says how PyTorch's threads wait, which has to be said before they exist."""
    paths = sorted((PACKAGE.parent / folder).glob("*.[pi]*y*"))
    assert paths
    for path in paths:
        first = first_line_of_imports(path)
        if first and "nca_lib" in path.read_text(encoding="utf-8"):
            assert first[1] == "nca_lib", path.name
