"""What installs the package agrees with itself, and tasks.py does what it says."""

import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from itertools import chain
from pathlib import Path

import nca_lib

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

ROOT = Path(__file__).parents[1]


def text(path):
    return (ROOT / path).read_text(encoding="utf-8")


SETTINGS = tomllib.loads(text("pyproject.toml"))
PROJECT, TOOLS = SETTINGS["project"], SETTINGS["tool"]
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
LINUX, MAC, WINDOWS = ("linux", "x86_64"), ("darwin", "arm64"), ("win32", "AMD64")


def requirements(path):
    lines = [line.split("#")[0] for line in text(path).splitlines()]
    return [Requirement(line) for line in lines if line.strip()]


WANTED = {r.name: r.specifier for r in requirements("requirements.txt")}


def test_requirements_are_bounded_and_the_same_everywhere():
    assert all({s.operator for s in specifier} == {">=", "<"} for specifier in WANTED.values())
    lines = [*PROJECT["dependencies"], *chain(*PROJECT["optional-dependencies"].values())]
    declared = [Requirement(line) for line in lines]
    assert len(declared) == len(WANTED)
    assert {r.name: r.specifier for r in declared} == WANTED
    entries = re.findall(r"^ *- (.+)$", text("environment.yml"), re.M)
    python = f"python{PROJECT['requires-python']}"
    pip = ["pip", "pip:"]
    locked = ["-c requirements.lock", "-e .[notebooks]"]
    assert entries == ["conda-forge", "nodefaults", python, *pip, *locked]


@pytest.mark.parametrize("system", [LINUX, MAC, WINDOWS], ids="-".join)
@pytest.mark.parametrize("python", PYTHONS)
def test_the_lock_pins_all_requirements_and_names_no_address(python, system):
    assert "://" not in text("requirements.lock")
    platform = {"python_version": python, "python_full_version": f"{python}.5"}
    platform |= dict(zip(("sys_platform", "platform_machine"), system, strict=True))
    locked = {}
    for r in requirements("requirements.lock"):
        (pin,) = r.specifier
        assert pin.operator == "==", r.name
        if r.marker is None or r.marker.evaluate(platform):
            locked.setdefault(r.name, []).append(Version(pin.version))
    for name, specifier in WANTED.items():
        assert len(locked[name]) == 1, name
        assert locked[name][0] in specifier, name


def test_all_packages_and_their_data_are_installed_and_no_others():
    finding = TOOLS["setuptools"]["packages"]["find"]
    assert finding == {"include": ["nca_lib*"], "namespaces": False}
    patterns = TOOLS["setuptools"]["package-data"]["nca_lib"]
    installed = {path for pattern in patterns for path in (ROOT / "nca_lib").glob(pattern)}
    for path in (ROOT / "nca_lib").rglob("*.*"):
        if path.suffix == ".py":
            assert (path.parent / "__init__.py").exists(), path
        elif path.is_file() and "__pycache__" not in path.parts:
            assert path in installed, path


def test_the_version_is_the_changelogs_and_can_be_read_without_importing():
    assert f'__version__ = "{nca_lib.__version__}"' in text("nca_lib/__init__.py").splitlines()
    assert re.search(r"^## (.+)$", text("CHANGELOG.md"), re.M)[1] == nca_lib.__version__


def test_the_files_of_mutation_testing_are_there():
    chosen = TOOLS["mutmut"]["only_mutate"] + TOOLS["mutmut"]["pytest_add_cli_args_test_selection"]
    assert [path for path in chosen if not (ROOT / path).is_file()] == []


@pytest.fixture
def tasks():
    """tasks.py as a module."""
    spec = importlib.util.spec_from_file_location("tasks", ROOT / "tasks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_supported_pythons_are_the_same_everywhere(tasks):
    supported = SpecifierSet(PROJECT["requires-python"])
    assert [f"3.{minor}" for minor in range(30) if f"3.{minor}" in supported] == list(PYTHONS)
    ends = PYTHONS[0], PYTHONS[-1]
    assert [tuple(map(int, p.split("."))) for p in ends] == [tasks.OLDEST, tasks.NEWEST]
    assert f"Python {ends[0]} to {ends[1]}" in text("docs/usage.md")
    workflow = text(".github/workflows/test.yml")
    assert re.search(r"^ +python: \[(.+)\]", workflow, re.M)[1] == f'"{ends[0]}", "{ends[1]}"'
    container = json.loads(text(".devcontainer/devcontainer.json"))
    assert container["image"].rpartition(":")[2] in PYTHONS
    (extent,) = re.findall(r"tasks\.setup\('(\w+)'\)", container["postCreateCommand"])
    assert extent == tasks.NEEDS["lab"]
    room = re.search(r"(\d+) GB\s+have\s+to\s+be\s+free", text("docs/usage.md"))[1]
    assert re.search(r"^ROOM = (\d+) if", text("tasks.py"), re.M)[1] == room


def test_the_makefile_and_the_pages_name_the_tasks(tasks):
    described = re.findall(r"^(\w+):.*## .+$", text("Makefile"), re.M)
    rule = re.search(r"^([\w ]+):\n\t(.+)\n*\Z", text("Makefile"), re.M)
    assert rule[2] == "@$(or $(PYTHON),python3) tasks.py $@"
    assert described == rule[1].split() == re.search("PHONY: (.+)", text("Makefile"))[1].split()
    assert set(described) == set(tasks.TASKS)
    for page in ("README.md", "CONTRIBUTING.md", "docs/usage.md"):
        named = re.findall(r"(?:^|`)make (\w+)|tasks\.py (\w+)", text(page), re.M)
        assert {a or b for a, b in named} <= set(tasks.TASKS), page
    assert os.access(ROOT / ".ci/run", os.X_OK)
    for script in (".ci/run", ".github/workflows/test.yml", "CONTRIBUTING.md"):
        assert re.search(r"\bmake test\b", text(script)), script


GOOD = "import sys; {}; exec(sys.argv[-1])"  # an interpreter, as a Python program
UNFIT = ["sys.exit(127)", "sys.version_info = (3, 8, 18)", "sys.version_info = (3, 99, 0)",
         "sys.modules['ensurepip'] = None", "sys.maxsize = 2**31 - 1"]  # fmt: skip


def test_interpreters_that_do_not_fit_are_skipped(tasks, tmp_path, monkeypatch):
    fakes = [[sys.executable, tmp_path / f"{number}.py"] for number in range(len(UNFIT) + 1)]
    for (_, path), source in zip(fakes, [*UNFIT, "pass"], strict=True):
        path.write_text(GOOD.format(source), encoding="utf-8")
    assert not any(tasks.works(command) for command in fakes[:-1])
    assert tasks.find([["no-such-python"], [str(tmp_path)], *fakes]) == fakes[-1]
    assert tasks.find([fakes[-1]], oldest=(3, 99)) is None
    assert tasks.candidates()[0] == [sys.executable]  # `py -3.13 tasks.py` means 3.13
    monkeypatch.setenv("PYTHON", "no-such-python")
    with pytest.raises(SystemExit, match=r"^PYTHON=no-such-python is not Python 3.11 to 3.14"):
        tasks.make_venv()


@pytest.fixture
def started(tasks, monkeypatch, tmp_path):
    """The commands that set-up starts, in a folder with nothing in it; `python` is left out."""
    commands = []

    def run(*command, check=True):
        commands.append([str(part) for part in command if part != tasks.interpreter(tasks.VENV)])
        if "venv" in commands[-1]:
            tasks.interpreter(tasks.VENV).parent.mkdir(parents=True)
            tasks.interpreter(tasks.VENV).touch()
        return 0

    monkeypatch.delenv("PYTHON", raising=False)
    monkeypatch.setattr(tasks, "ROOT", tmp_path)
    monkeypatch.setattr(tasks, "VENV", tmp_path / ".venv")
    monkeypatch.setattr(tasks, "run", run)
    monkeypatch.setattr(tasks, "find_uv", lambda python: None)
    monkeypatch.setattr(tasks, "works", lambda command, *_, **__: Path(command[0]).exists())
    for name in ("requirements.lock", "pyproject.toml"):
        (tmp_path / name).touch()
    return commands


def test_set_up_installs_what_a_task_needs_once_and_again_after_a_change(tasks, started, tmp_path):
    install, info = ["-m", "pip", "install", "--quiet"], ["-m", "nca_lib", "info"]
    locked = [*install, "-c", "requirements.lock", "-e"]
    tasks.setup("run")
    assert started[0][-3:] == ["-m", "venv", str(tmp_path / ".venv")]
    assert started[1:] == [[*locked, "."], info]
    tasks.setup("run")
    assert len(started) == 3
    tasks.setup("lab")  # adds to it
    assert started[3:] == [[*locked, ".[notebooks]"], info]
    tasks.setup("all")
    assert started[5:] == [[*locked, ".[notebooks,test,site]"], info]
    for extent in ("run", "lab", "all"):
        tasks.setup(extent)
    assert len(started) == 7
    later = time.time() + 10
    os.utime(tmp_path / "requirements.lock", (later, later))
    (tmp_path / ".venv/pyvenv.cfg").write_text("home = /usr/bin\nuv = 0.13.9\n")  # its owner's
    tasks.setup("lab")
    assert started[7:] == [info]


@pytest.mark.parametrize(("reached", "gpu"), [(True, False), (False, False), (True, True)])
def test_without_a_gpu_uv_takes_the_small_build_of_pytorch(
    tasks, started, monkeypatch, capsys, reached, gpu
):
    tried = []

    def slim(command, **_):
        tried.append(command)
        return subprocess.CompletedProcess(command, 0 if reached else 2)

    monkeypatch.setattr(tasks, "find_uv", lambda python: "uv")
    monkeypatch.setattr(tasks, "has_nvidia", lambda: gpu)
    monkeypatch.setattr(tasks.sys, "platform", "linux")
    monkeypatch.setattr(tasks.subprocess, "run", slim)
    tasks.install("python", "-e", ".")
    usual = ["uv", "pip", "install", "--quiet", "--python", "python", "-e", "."]
    assert tried == ([] if gpu else [[*usual, "--torch-backend=cpu"]])
    assert started == ([] if reached and not gpu else [usual])
    assert ("3 GB" in capsys.readouterr().out) == (not reached)


def test_a_task_needs_no_packages_of_others(tasks):
    assert {"lab", "run"} <= tasks.NEEDS.keys() <= set(tasks.TASKS)
    extras = PROJECT["optional-dependencies"]
    named = {extent: re.findall(r"\w+", what or "") for extent, what in tasks.EXTRAS.items()}
    assert named == {"": [], "run": [], "lab": ["notebooks"], "all": list(extras)}


@pytest.fixture
def alone(tmp_path):
    """Runs code after importing a tasks.py that has nothing around it and nothing to set up."""
    shutil.copy(ROOT / "tasks.py", tmp_path)

    def run(code, **variables):
        source = f"import tasks; tasks.setup = lambda extent: None; {code}"
        clean = {name: value for name, value in os.environ.items() if not name.startswith("OMP")}
        return subprocess.run(
            [sys.executable, "-c", source], cwd=tmp_path, env=clean | variables,
            capture_output=True, text=True, check=False,
        )  # fmt: skip

    return run


@pytest.mark.parametrize(
    ("task", "variables", "expected"),
    [
        ("lint", {}, "PASSIVE None"),
        ("test", {"OMP_NUM_THREADS": "7"}, "PASSIVE 1"),
        ("lab", {"OMP_WAIT_POLICY": "ACTIVE", "OMP_NUM_THREADS": "7"}, "ACTIVE 7"),
    ],
)
def test_waiting_threads_sleep_in_all_that_is_started(alone, tmp_path, task, variables, expected):
    names = ("OMP_WAIT_POLICY", "OMP_NUM_THREADS")
    show = f"import os; print(*[os.environ.get(name) for name in {names}])"
    (tmp_path / "show.py").write_text(show)
    code = f"tasks.interpreter = lambda folder: {sys.executable!r}; "
    code += f"tasks.COMMANDS[{task!r}] = ['show.py']; tasks.main({task!r})"
    assert alone(code, **variables).stdout.splitlines()[-1] == expected


def test_a_failure_ends_with_its_exit_code_and_no_traceback(alone):
    fails = "tasks.run(tasks.sys.executable, '-c', 'raise SystemExit(7)')"
    done = alone(f"tasks.perform = lambda task: ({fails}, print('went on')); tasks.main('run')")
    assert (done.returncode, done.stderr) == (7, "")
    assert "went on" not in done.stdout
    missing = "tasks.perform = lambda task: tasks.run('no-such-program'); tasks.main('run')"
    for done in (alone(missing), alone("tasks.main('dance')")):
        assert done.returncode == 1
        assert len(done.stderr.splitlines()) == 1


@pytest.mark.skipif(os.name == "nt", reason="no process groups")
def test_ctrl_c_leaves_the_child_time_to_save(tmp_path):
    shutil.copy(ROOT / "tasks.py", tmp_path)
    child = "import time\ntry:\n    print('started', flush=True); time.sleep(60)\n"
    child += "except KeyboardInterrupt:\n    time.sleep(0.5); print('saved', flush=True)\n"
    (tmp_path / "child.py").write_text(child)
    code = "import signal, tasks; signal.signal(signal.SIGINT, signal.default_int_handler); "
    code += "tasks.perform = lambda task: tasks.run(tasks.sys.executable, 'child.py'); "
    process = subprocess.Popen(
        [sys.executable, "-c", f"{code}tasks.main('run')"], cwd=tmp_path, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    while process.stdout.readline() != "started\n":
        assert process.poll() is None
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    assert process.communicate(timeout=60) == ("saved\n", "")
    assert process.returncode == 128 + signal.SIGINT
