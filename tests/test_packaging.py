"""What installs the package agrees with itself."""

import hashlib
import os
import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

import nca_lib

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PLATFORMS = [
    {"python_version": python, "python_full_version": f"{python}.{patch}", **platform}
    for python in ("3.11", "3.12", "3.13")
    for patch in (0, 9)
    for platform in (
        {"sys_platform": "linux", "platform_machine": "x86_64"},
        {"sys_platform": "linux", "platform_machine": "aarch64"},
        {"sys_platform": "darwin", "platform_machine": "arm64"},
    )
]


def requirements(path):
    lines = (ROOT / path).read_text().splitlines()
    return [Requirement(line.split("#")[0]) for line in lines if line.split("#")[0].strip()]


WANTED = {r.name: r.specifier for r in requirements("requirements.txt")}


def test_pyproject_agrees_with_requirements():
    extras = PROJECT["optional-dependencies"]
    assert set(extras) == {"notebooks", "test"}
    lines = PROJECT["dependencies"] + extras["notebooks"] + extras["test"]
    declared = [Requirement(line) for line in lines]
    assert len({r.name for r in declared}) == len(declared)
    assert {r.name: r.specifier for r in declared} == WANTED


def test_every_requirement_is_bounded():
    for name, specifier in WANTED.items():
        assert {s.operator for s in specifier} == {">=", "<"}, name


def test_the_lock_pins_exactly_and_names_no_address():
    text = (ROOT / "requirements.lock").read_text()
    assert "://" not in text
    assert "index" not in text
    for r in requirements("requirements.lock"):
        assert [s.operator for s in r.specifier] == ["=="], r.name


@pytest.mark.parametrize("platform", PLATFORMS, ids=lambda p: "-".join(p.values()))
def test_the_lock_satisfies_the_requirements(platform):
    locked = {}
    for r in requirements("requirements.lock"):
        if r.marker is None or r.marker.evaluate(platform):
            locked.setdefault(r.name, []).append(Version(next(iter(r.specifier)).version))
    for name, specifier in WANTED.items():
        assert len(locked.get(name, [])) == 1, name
        assert locked[name][0] in specifier, name


def test_environment_uses_the_same_requirements():
    entries = re.findall(r"^ *- (.+)$", (ROOT / "environment.yml").read_text(), re.M)
    python = f"python{PROJECT['requires-python']}"
    assert entries == [
        *("conda-forge", "nodefaults"),
        *(python, "pip", "pip:", "-r requirements.txt", "-e ."),
    ]


def test_the_makefile_takes_the_supported_pythons():
    supported = SpecifierSet(PROJECT["requires-python"])
    tried = next(
        line for line in (ROOT / "Makefile").read_text().splitlines() if "for p in" in line
    )
    named = re.findall(r"python(3\.\d+)", tried)
    assert named == [v for v in ("3.14", "3.13", "3.12", "3.11", "3.10") if v in supported]


def test_the_licence_is_whole():
    # Apache's own text of the licence, appendix included
    canonical = "cfc7749b96f63bd31c3c42b5c471bf756814053e847c10f3eb003417bc523d30"
    assert hashlib.sha256((ROOT / "LICENSE").read_bytes()).hexdigest() == canonical
    assert PROJECT["license"] == "Apache-2.0"


def test_the_version_can_be_read_without_importing():
    text = (ROOT / "nca_lib/__init__.py").read_text()
    assert f'__version__ = "{nca_lib.__version__}"' in text.splitlines()
    assert Version(nca_lib.__version__)


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md"])
def test_targets_named_in_the_texts_exist(page):
    named = set(re.findall(r"^make (\w+)|`make (\w+)", (ROOT / page).read_text(), re.M))
    makefile = (ROOT / "Makefile").read_text()
    phony = set(re.search(r"^\.PHONY: (.+)$", makefile, re.M)[1].split())
    made = set(re.findall(r"^(\w+):.* ## \S", makefile, re.M))
    assert made == phony
    assert named
    assert {a or b for a, b in named} <= made


def test_ci_calls_the_test_command_of_the_readme():
    assert os.access(ROOT / ".ci/run", os.X_OK)
    for script in (".ci/run", ".github/workflows/test.yml"):
        assert re.search(r"\bmake test\b", (ROOT / script).read_text()), script
    assert re.search(r"^make test\b", (ROOT / "README.md").read_text(), re.M)
