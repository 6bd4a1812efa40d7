"""What installs the package agrees with itself."""

import hashlib
import importlib.util
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
from types import SimpleNamespace

import nca_lib

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

ROOT = Path(__file__).parents[1]


def text(path):
    return (ROOT / path).read_text(encoding="utf-8")


PROJECT = tomllib.loads(text("pyproject.toml"))["project"]
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
ENDS = (PYTHONS[0], PYTHONS[-1])
PLATFORMS = [
    {"python_version": python, "python_full_version": f"{python}.{patch}", **platform}
    for python in PYTHONS
    for patch in (0, 9)
    for platform in (
        {"sys_platform": "linux", "platform_machine": "x86_64", "os_name": "posix"},
        {"sys_platform": "linux", "platform_machine": "aarch64", "os_name": "posix"},
        {"sys_platform": "darwin", "platform_machine": "arm64", "os_name": "posix"},
        {"sys_platform": "win32", "platform_machine": "AMD64", "os_name": "nt"},
    )
]


def requirements(path):
    lines = text(path).splitlines()
    return [Requirement(line.split("#")[0]) for line in lines if line.split("#")[0].strip()]


WANTED = {r.name: r.specifier for r in requirements("requirements.txt")}


def test_pyproject_agrees_with_requirements():
    extras = PROJECT["optional-dependencies"]
    assert set(extras) == {"notebooks", "test", "site"}
    lines = [*PROJECT["dependencies"], *chain(*extras.values())]
    declared = [Requirement(line) for line in lines]
    assert len({r.name for r in declared}) == len(declared)
    assert {r.name: r.specifier for r in declared} == WANTED


def test_every_requirement_is_bounded():
    for name, specifier in WANTED.items():
        assert {s.operator for s in specifier} == {">=", "<"}, name


def test_the_lock_pins_exactly_and_names_no_address():
    lines = text("requirements.lock")
    assert "://" not in lines
    assert "index" not in lines
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
    entries = re.findall(r"^ *- (.+)$", text("environment.yml"), re.M)
    python = f"python{PROJECT['requires-python']}"
    assert entries == [
        *("conda-forge", "nodefaults"),
        *(python, "pip", "pip:", "-r requirements.txt", "-e ."),
    ]


def test_the_supported_pythons_are_the_same_everywhere(tasks):
    supported = SpecifierSet(PROJECT["requires-python"])
    assert [f"3.{minor}" for minor in range(30) if f"3.{minor}" in supported] == list(PYTHONS)
    assert [tuple(map(int, p.split("."))) for p in ENDS] == [tasks.OLDEST, tasks.NEWEST]
    assert f"Python {ENDS[0]} to {ENDS[1]}" in text("README.md")


def test_the_licence_is_whole():
    # Apache's own text of the licence, appendix included
    canonical = "cfc7749b96f63bd31c3c42b5c471bf756814053e847c10f3eb003417bc523d30"
    assert hashlib.sha256((ROOT / "LICENSE").read_bytes()).hexdigest() == canonical
    assert PROJECT["license"] == "Apache-2.0"


def test_the_version_can_be_read_without_importing():
    lines = text("nca_lib/__init__.py").splitlines()
    assert f'__version__ = "{nca_lib.__version__}"' in lines
    assert Version(nca_lib.__version__)


@pytest.fixture
def tasks():
    """tasks.py as a module."""
    spec = importlib.util.spec_from_file_location("tasks", ROOT / "tasks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def makefile():
    """The texts of make's targets, and those that call tasks.py."""
    described = dict(re.findall(r"^(\w+):.*## (.+)$", text("Makefile"), re.M))
    rule = re.search(r"^([\w ]+):\n\t(.+)\n*\Z", text("Makefile"), re.M)
    assert rule[2] == "@$(or $(PYTHON),python3) tasks.py $@"
    phony = re.search(r"^\.PHONY: (.+)$", text("Makefile"), re.M)[1]
    assert phony == rule[1]
    return described, rule[1].split()


def test_the_makefile_only_calls_the_tasks(tasks):
    described, called = makefile()
    assert list(described) == called  # nothing but the one rule has a recipe
    assert text("Makefile").count("\t") == 1
    assert set(called) == set(tasks.TASKS)
    assert len(called) == len(tasks.TASKS)


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md"])
def test_targets_and_tasks_named_in_the_texts_exist(page, tasks):
    named = re.findall(r"(?:^|`)make (\w+)|tasks\.py (\w+)", text(page), re.M)
    assert named
    assert {a or b for a, b in named} <= set(tasks.TASKS)


def test_readme_and_set_up_agree_on_the_room():
    named = re.search(r"and\s+(\d+)\s+GB\s+while\s+it\s+runs", text("README.md"))[1]
    assert re.search(r"^ROOM = (\d+) if", text("tasks.py"), re.M)[1] == named


def test_ci_calls_the_test_command_of_the_readme():
    assert os.access(ROOT / ".ci/run", os.X_OK)
    for script in (".ci/run", ".github/workflows/test.yml", "README.md"):
        assert re.search(r"\bmake test\b", text(script)), script


@pytest.mark.skipif(os.name == "nt", reason="a script of bash")
def test_ci_leaves_no_clone_behind_and_removes_those_of_killed_runs(tmp_path):
    programs, folder = tmp_path / "bin", tmp_path / "tmp"
    programs.mkdir()
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    for process in (ended.pid, os.getpid()):
        (folder / f"nca_lib-ci.{process}" / "nca_lib").mkdir(parents=True)
    clone = 'mkdir -p "$4" && cp "$3/README.md" "$4"'  # of: clone --quiet SOURCE CLONE
    scripts = {
        "git": f'if [ "$1" = clone ]; then {clone}; fi',
        "make": f'echo "called: $* in $(ls)"; ls {folder}',
        "chromium": "",
    }
    for name, script in scripts.items():
        (programs / name).write_text(f"#!/bin/sh\n{script}\n")
        (programs / name).chmod(0o755)
    environment = os.environ | {
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "TMPDIR": str(folder),
    }
    done = subprocess.run(
        [ROOT / ".ci/run"], env=environment, capture_output=True, text=True, check=True
    )
    called, *beside = done.stdout.partition("called: ")[2].splitlines()
    assert called == "test in README.md"
    assert len(beside) == 2  # its own and that of a run that goes on
    assert [p.name for p in folder.iterdir()] == [f"nca_lib-ci.{os.getpid()}"]


def test_the_workflow_tries_every_system_with_the_oldest_and_the_newest_python():
    workflow = text(".github/workflows/test.yml")
    systems = re.search(r"^ +os: \[(.+?)\]", workflow, re.M)[1].split(", ")
    assert systems == [f"{system}-latest" for system in ("ubuntu", "macos", "windows")]
    assert re.search(r"^ +python: \[(.+)\]", workflow, re.M)[1] == ", ".join(
        f'"{python}"' for python in ENDS
    )
    assert "run: python tasks.py test" in workflow
    assert "paths" not in workflow  # notebooks and all the rest trigger it


# Interpreters that are none: Python programs, so that Windows can play too.
SHIM = "import sys; sys.exit(127)"  # pyenv's, without its version
OLD = "import sys; sys.version_info = (3, 8, 18, 'final', 0); exec(sys.argv[-1])"
COMING = "import sys; sys.version_info = (3, 99, 0, 'final', 0); exec(sys.argv[-1])"
BARE = "import sys; sys.modules['ensurepip'] = None; exec(sys.argv[-1])"  # Debian without -venv
NARROW = "import sys; sys.maxsize = 2**31 - 1; exec(sys.argv[-1])"
INTEL_MAC = (
    "import sys, platform; sys.platform, platform.machine = 'darwin', lambda: 'x86_64'; "
    "exec(sys.argv[-1])"
)
GOOD = "import sys; exec(sys.argv[-1])"


@pytest.fixture
def fake(tmp_path):
    def make(source):
        path = tmp_path / f"fake{len(list(tmp_path.iterdir()))}.py"
        path.write_text(source, encoding="utf-8")
        return [sys.executable, str(path)]

    return make


def test_unfit_interpreters_are_skipped(tasks, fake):
    unfit = [fake(source) for source in (SHIM, OLD, COMING, BARE, NARROW, INTEL_MAC)]
    good = fake(GOOD)
    assert not any(tasks.works(command) for command in unfit)
    assert tasks.find([["no-such-python"], *unfit, good, [sys.executable]]) == good
    assert tasks.find(unfit) is None
    assert tasks.find([good], oldest=(3, 99)) is None


@pytest.mark.skipif(os.name == "nt", reason="the fakes are scripts of a POSIX shell")
def test_the_newest_python_on_the_path_that_works_is_taken(tasks, monkeypatch, tmp_path):
    for name, line in {
        "python3.14": "exit 127",
        "python3.13": f'exec "{sys.executable}" "$@"',
        "python3": f'exec "{sys.executable}" "$@"',
    }.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{line}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(tasks.sys, "executable", "/no/python3.8")
    assert tasks.find(tasks.candidates()) == ["python3.13"]


def test_the_chosen_python_must_fit(tasks, monkeypatch):
    monkeypatch.setenv("PYTHON", "no-such-python")
    with pytest.raises(SystemExit, match=r"^PYTHON=no-such-python is not Python 3.11 to 3.14"):
        tasks.make_venv()
    monkeypatch.delenv("PYTHON")
    monkeypatch.setattr(tasks, "candidates", lambda: [["no-such-python"]])
    with pytest.raises(SystemExit, match=r"^Python 3.11 to 3.14 with venv is needed"):
        tasks.make_venv()


@pytest.fixture
def checkout(tasks, monkeypatch, tmp_path):
    """An empty checkout; yields its folder, and what tasks.py starts there."""
    started = []

    def run(*command, check=True):
        started.append([str(part) for part in command[1:]])
        if "venv" in started[-1]:
            tasks.interpreter(tasks.VENV).parent.mkdir(parents=True)
            tasks.interpreter(tasks.VENV).touch()

    monkeypatch.delenv("PYTHON", raising=False)
    monkeypatch.setattr(tasks, "ROOT", tmp_path)
    monkeypatch.setattr(tasks, "VENV", tmp_path / ".venv")
    monkeypatch.setattr(tasks, "run", run)
    for name in ("requirements.lock", "pyproject.toml"):
        (tmp_path / name).touch()
    return tmp_path, started


def test_set_up_is_done_once(tasks, checkout):
    folder, started = checkout
    tasks.setup()
    install = ["-m", "pip", "install", "--quiet"]
    whole = [
        ["-m", "venv", str(folder / ".venv")],
        [*install, "-r", "requirements.lock"],
        [*install, "--no-deps", "-e", "."],
        ["-m", "nca_lib", "info"],  # compiles the kernels
    ]
    assert started == whole
    tasks.setup()
    assert started == whole


@pytest.mark.parametrize("changed", ["requirements.lock", "pyproject.toml"])
def test_set_up_is_done_again_after_a_change(tasks, checkout, changed):
    folder, started = checkout
    tasks.setup()
    started.clear()
    later = time.time() + 10
    os.utime(folder / changed, (later, later))
    tasks.setup()
    assert started[-1] == ["-m", "nca_lib", "info"]
    assert len(started) > 1


def test_an_environment_made_by_uv_stays_as_it_is(tasks, checkout):
    folder, started = checkout
    tasks.interpreter(tasks.VENV).parent.mkdir(parents=True)
    tasks.interpreter(tasks.VENV).touch()
    (folder / ".venv/pyvenv.cfg").write_text("home = /usr/bin\nuv = 0.13.9\n")
    tasks.setup()
    assert started == [["-m", "nca_lib", "info"]]


@pytest.mark.parametrize("free", [4.6, 500])
def test_a_full_disk_is_named_with_what_helps(tasks, checkout, monkeypatch, capsys, free):
    folder, _ = checkout
    start = tasks.run

    def run(*command, check=True):
        start(*command)
        return 2 if "pip" in command else 0

    usage = SimpleNamespace(free=free * 1e9)
    monkeypatch.setattr(tasks, "run", run)
    monkeypatch.setattr(tasks.shutil, "disk_usage", lambda folder: usage)
    with pytest.raises(SystemExit) as end:
        tasks.setup()
    assert end.value.code == 2
    assert not (folder / ".venv/.installed").exists()  # the next start tries again
    told = capsys.readouterr().err
    for place in (str(folder), tasks.tempfile.gettempdir()):
        told_of = f"Only 4.6 GB are free in {place}. Set-up needs up to {tasks.ROOM} GB"
        assert (told_of in told) == (free < 5)
    assert bool(told) == (free < 5)  # what else fails is for pip to say


@pytest.fixture
def lone(tmp_path):
    """Runs code beside a tasks.py that has nothing around it and nothing to set up."""
    shutil.copy(ROOT / "tasks.py", tmp_path)

    def run(code, **variables):
        source = f"import tasks; tasks.setup = lambda: None; {code}"
        environment = {k: v for k, v in os.environ.items() if not k.startswith("OMP")} | variables
        return subprocess.run(
            [sys.executable, "-c", source],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
        )

    return run


SHOW = "import os; print([os.environ.get(n) for n in ('OMP_WAIT_POLICY', 'OMP_NUM_THREADS')])"


@pytest.mark.parametrize(
    ("task", "variables", "expected"),
    [
        ("lint", {}, "['PASSIVE', None]"),
        ("test", {}, "['PASSIVE', '1']"),
        ("notebooks", {"OMP_NUM_THREADS": "7"}, "['PASSIVE', '1']"),
        ("lab", {"OMP_WAIT_POLICY": "ACTIVE", "OMP_NUM_THREADS": "7"}, "['ACTIVE', '7']"),
    ],
)
def test_waiting_threads_sleep_in_all_that_is_started(lone, tmp_path, task, variables, expected):
    (tmp_path / "show.py").write_text(SHOW)
    code = (
        "tasks.interpreter = lambda folder: tasks.sys.executable; "
        f"tasks.COMMANDS[{task!r}] = ['show.py']; tasks.main({task!r})"
    )
    done = lone(code, **variables)
    assert done.stdout.splitlines()[-1] == expected


def test_a_failure_ends_with_its_exit_code_and_no_traceback(lone):
    fails = "tasks.run(tasks.sys.executable, '-c', 'raise SystemExit(7)')"
    done = lone(f"tasks.perform = lambda task: ({fails}, print('went on')); tasks.main('run')")
    assert done.returncode == 7
    assert "went on" not in done.stdout
    assert done.stderr == ""
    done = lone("tasks.perform = lambda task: tasks.run('no-such-program'); tasks.main('run')")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    done = lone("tasks.main('dance')")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.skipif(os.name == "nt", reason="no process groups")
def test_ctrl_c_leaves_the_child_time_to_save(tmp_path):
    shutil.copy(ROOT / "tasks.py", tmp_path)
    (tmp_path / "child.py").write_text(
        "import time\n"
        "try:\n    print('started', flush=True); time.sleep(60)\n"
        "except KeyboardInterrupt:\n    time.sleep(0.5); print('saved', flush=True)\n"
    )
    child = "tasks.run(tasks.sys.executable, 'child.py')"
    work = f"tasks.perform = lambda task: ({child}, print('went on'))"
    heard = "signal.signal(signal.SIGINT, signal.default_int_handler)"  # also where nohup rules
    process = subprocess.Popen(
        [sys.executable, "-c", f"import signal, tasks; {heard}; {work}; tasks.main('run')"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    while process.stdout.readline() != "started\n":
        assert process.poll() is None
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    out, err = process.communicate(timeout=60)
    assert out == "saved\n"
    assert err == ""
    assert process.returncode == 128 + signal.SIGINT
