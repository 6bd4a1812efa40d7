"""What installs the package agrees with itself."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[1]


def requirements(path):
    lines = (ROOT / path).read_text().splitlines()
    found = [Requirement(line.split("#")[0]) for line in lines if line.split("#")[0].strip()]
    return {r.name: r for r in found}


def test_pyproject_agrees_with_requirements():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = project["dependencies"] + project["optional-dependencies"]["test"]
    declared = {r.name: str(r.specifier) for r in map(Requirement, lines)}
    assert declared == {
        name: str(r.specifier) for name, r in requirements("requirements.txt").items()
    }


def test_the_lock_satisfies_the_requirements():
    text = (ROOT / "requirements.lock").read_text()
    assert "://" not in text
    locked = [Requirement(line) for line in text.splitlines()]
    for name, wanted in requirements("requirements.txt").items():
        versions = [next(iter(r.specifier)).version for r in locked if r.name == name]
        assert versions, name
        assert all(Version(version) in wanted.specifier for version in versions), name


@pytest.mark.parametrize("bound", [">=", "<"])
def test_every_requirement_is_bounded(bound):
    for name, wanted in requirements("requirements.txt").items():
        assert bound in {s.operator for s in wanted.specifier}, name


def test_environment_uses_the_same_requirements():
    text = (ROOT / "environment.yml").read_text()
    assert "-r requirements.txt" in text
    python = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    assert f"python{python}" in text


def test_the_licence_is_whole():
    text = (ROOT / "LICENSE").read_text()
    assert "Version 2.0, January 2004" in text
    assert "9. Accepting Warranty or Additional Liability" in text
    assert "END OF TERMS AND CONDITIONS" in text


def test_targets_named_in_the_readme_exist():
    named = set(re.findall(r"^make (\w+)|`make (\w+)`", (ROOT / "README.md").read_text(), re.M))
    made = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.M))
    assert {a or b for a, b in named} <= made
