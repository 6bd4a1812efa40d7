"""Set up, run and test nca_lib with nothing but Python: `python tasks.py TASK`.

Every task first installs what it needs into .venv, in the locked versions, and no more. The
Makefile calls the tasks by name and describes them; `python tasks.py help` shows that list.
PYTHON=/path/to/python chooses the Python of .venv. This file also starts on Pythons that are too
old for nca_lib.
"""

import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV, PEERS = ROOT / ".venv", ROOT / ".venv-peers"
OLDEST, NEWEST = (3, 11), (3, 14)
# It runs (a pyenv shim without its version does not), is one of ours, and can make a virtual
# environment. PyTorch is not made for 32 bits, nor any more for Macs with an Intel processor.
PROBE = """import sys, platform, venv, ensurepip
sys.exit(not ({} <= sys.version_info[:2] <= {} and sys.maxsize > 2**32
              and (sys.platform, platform.machine()) != ("darwin", "x86_64")))"""

# GB that have to be free for a set-up from nothing, CUDA's libraries and a cache among it.
ROOM = 13 if sys.platform == "linux" else 4
ADVICE = f"""Set-up needs up to {ROOM} GB for a while: make room, or choose another folder
for temporary files with TMPDIR, then start again."""
NO_CPU_BUILD = """PyTorch's CPU build can't be reached: taking the usual one, which brings 3 GB of
libraries for NVIDIA's GPUs that nothing will use."""

LINT = ["-m ruff check .", "-m ruff format --check ."]
NBVAL = (
    "--nbval --nbval-current-env --nbval-cell-timeout=300 "
    "--nbval-sanitize-with=tests/nbval_sanitize.cfg"
)
SPREAD = "-n auto --maxprocesses 4 --dist loadfile"  # a file of tests is run by one process
EVALUATE = "-m nca_lib evaluate --preset full --json experiments/results"
MODELS = [(model, seed) for seed in range(3) for model in ("unified", "restore", "reader")]
COMMANDS = {  # tasks that are no more than commands of .venv's Python
    "run": ["-m nca_lib run --preset quick --resume"],
    "test": [*LINT, f"-m pytest -q {SPREAD} tests", f"-m pytest -q {SPREAD} {NBVAL} notebooks"],
    # It serves the whole repository, for the chapters link to what is outside their folder.
    "lab": ["-m jupyterlab --ServerApp.root_dir=. notebooks/01_anatomy_of_a_rule.ipynb"],
    "notebooks": ["tools/run_notebooks.py"],
    "site": ["tools/make_site.py"],
    "workshop": ["tools/make_workshop.py"],
    "results": [
        *(f"{EVALUATE}/{name}-{seed}.json --weights {name} --seed {seed}" for name, seed in MODELS),
        *(f"{EVALUATE}/digit-{digit}.json --weights digit-{digit}" for digit in range(10)),
        "tools/results.py",
    ],
    "weights": ["tools/make_weights.py"],
    "mutants": ["tests/mutants.py"],
    "lint": LINT,
    "format": ["-m ruff check --fix .", "-m ruff format ."],
}
EXTRAS = {"": None, "run": ".", "lab": ".[notebooks]", "all": ".[notebooks,test,site]"}
EXTENTS = list(EXTRAS)  # each holds those before it
NEEDS = {"run": "run", "results": "run", "weights": "run", "lab": "lab"}  # the others: all
running, signals = [], []


def on_signal(number, frame):
    """Ctrl-C goes to all in the terminal: what runs gets it too and may have to save. We wait."""
    signals.append(number)
    if number == signal.SIGTERM and running:  # that one came to us alone
        running[-1].terminate()


def run(*command, check=True):
    """Run a command to its end. A failure, or a signal meanwhile, is our end too."""
    command = [str(part) for part in command]
    print("$", *command, flush=True)
    running.append(subprocess.Popen(command, cwd=str(ROOT)))
    code = running[-1].wait()
    code = code if code >= 0 else 128 - code  # ended by a signal: as shells count
    if signals or (check and code):
        sys.exit(code or 128 + signals[0])
    return code


def interpreter(folder):
    """The Python of a virtual environment."""
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def candidates():
    """Commands that may start a fitting Python: the one that runs this file, then new to old."""
    numbers = [f"3.{minor}" for minor in range(NEWEST[1], OLDEST[1] - 1, -1)]
    names = [sys.executable, *[f"python{number}" for number in numbers], "python3", "python"]
    launcher = [["py", f"-{number}"] for number in numbers] if os.name == "nt" else []
    return [[name] for name in names] + launcher


def works(command, oldest=OLDEST, probe=PROBE):
    """Whether a command starts a fitting Python."""
    program, quiet = shutil.which(str(command[0])), subprocess.DEVNULL
    if program is None:
        return False
    probe = [program, *command[1:], "-c", probe.format(oldest, NEWEST)]
    try:
        return subprocess.call(probe, stdin=quiet, stdout=quiet, stderr=quiet) == 0
    except OSError:  # not a program
        return False


def find(commands, oldest=OLDEST):
    """The first of the commands that starts a fitting Python, or None."""
    return next((command for command in commands if works(command, oldest)), None)


def fresh(stamp, *sources):
    """Whether the stamp was written after the last change of its sources."""
    return stamp.exists() and all(stamp.stat().st_mtime >= s.stat().st_mtime for s in sources)


def remove(*paths):
    for path in filter(Path.is_dir, paths):
        shutil.rmtree(str(path))


def make_venv():
    chosen, wanted = os.environ.get("PYTHON"), f"Python 3.{OLDEST[1]} to 3.{NEWEST[1]} with venv"
    command = find([[chosen]] if chosen else candidates())
    if command is None:
        hint = "PYTHON=/path/to/python chooses one"
        if sys.platform == "linux":
            hint += "; on Debian and Ubuntu: apt install python3-venv"
        elif sys.platform == "darwin" and platform.machine() == "x86_64":
            hint = "PyTorch has no packages for Intel Macs"
        problem = f"PYTHON={chosen} is not {wanted}" if chosen else f"{wanted} is needed"
        sys.exit(f"{problem} ({hint})")
    remove(VENV)
    run(*command, "-m", "venv", VENV)


def has_nvidia():
    """Whether an NVIDIA GPU answers."""
    try:
        return subprocess.call(["nvidia-smi"], stdout=subprocess.DEVNULL) == 0
    except OSError:
        return False


def find_uv(python):
    """uv, which installs in a quarter of pip's time: the one on the PATH, or a new one in .venv."""
    own = python.with_name("uv.exe" if os.name == "nt" else "uv")
    if not (shutil.which("uv") or own.exists()):
        run(python, "-m", "pip", "install", "--quiet", "uv", check=False)
    return shutil.which("uv") or (str(own) if own.exists() else None)


def install(python, *what):
    """By uv if it can be had, else by pip; without an NVIDIA GPU PyTorch's CPU build, if it can."""
    uv, code = find_uv(python), 1
    if uv:
        command = [uv, "pip", "install", "--quiet", "--python", str(python), *what]
        if sys.platform == "linux" and not has_nvidia():
            slim = subprocess.run([*command, "--torch-backend=cpu"], cwd=str(ROOT), stderr=-1)
            if not slim.returncode:
                return
            print(NO_CPU_BUILD, flush=True)
        code = run(*command, check=False)
    if code:
        code = run(python, "-m", "pip", "install", "--quiet", *what, check=False)
    if code:
        # Packages are unpacked in the folder for temporary files, which may be another disk.
        for folder in dict.fromkeys([str(ROOT), tempfile.gettempdir()]):
            free = shutil.disk_usage(folder).free / 1e9
            if free < ROOM:
                print(f"Only {free:.1f} GB are free in {folder}. {ADVICE}", file=sys.stderr)
        sys.exit(code)


def setup(extent="all"):
    """Install what a task needs, unless it is there."""
    stamp, python, settings = VENV / ".installed", interpreter(VENV), VENV / "pyvenv.cfg"
    done = ""
    if python.exists() and fresh(stamp, ROOT / "requirements.lock", ROOT / "pyproject.toml"):
        done = stamp.read_text(encoding="utf-8")
    if EXTENTS.index(extent) <= EXTENTS.index(done if done in EXTENTS else ""):
        return
    # One that uv made has no pip, and is as its owner wants it.
    if settings.exists() and re.search("^uv = ", settings.read_text(encoding="utf-8"), re.M):
        extent = "all"
    else:
        if not works([python], probe="import pip\n" + PROBE):
            make_venv()
        print(f"Installing what `make {extent}` needs takes minutes, once.", flush=True)
        install(python, "-c", "requirements.lock", "-e", EXTRAS[extent])
    # Builds the compiled kernels, so that nobody waits for them later.
    run(python, "-m", "nca_lib", "info", check=False)
    stamp.write_text(extent, encoding="utf-8")


def bench():
    setup()
    tried, wanted = PEERS / ".tried", ROOT / "benchmarks" / "peers.txt"
    if not fresh(tried, wanted):
        remove(PEERS)
        command = find(candidates(), oldest=(3, 12))
        made = command and not run(*command, "-m", "venv", PEERS, check=False)
        install = [interpreter(PEERS), "-m", "pip", "install", "--quiet", "-r", wanted]
        if not made or run(*install, check=False):
            remove(PEERS)
            print("The peers cannot be installed: measured without them.", flush=True)
        PEERS.mkdir(exist_ok=True)
        tried.touch()
    run(interpreter(VENV), "benchmarks/bench.py")


def lock():
    plain = ["--no-annotate", "--no-header", "--no-emit-index-url"]
    versions = ["--universal", "--python-version", f"3.{OLDEST[1]}", "--upgrade", *plain]
    run("uv", "pip", "compile", *versions, "requirements.txt", "-o", "requirements.lock")


def clean():
    folders = [ROOT / name for name in ("nca_lib", "course", "tests", "tools")]
    caches = [path for folder in folders for path in folder.rglob("__pycache__")]
    names = [".pytest_cache", ".ruff_cache", ".hypothesis", "mutants", "build", "dist", "site"]
    remove(VENV, PEERS, *caches, *(ROOT / name for name in names), *ROOT.glob("*.egg-info"))


def show_help():
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    for name, what in re.findall(r"^(\w+):.*## (.+)$", text, re.M):
        print(f"  {name:10} {what}")


FUNCTIONS = {"help": show_help, "setup": setup, "bench": bench, "lock": lock, "clean": clean}
TASKS = [*FUNCTIONS, *COMMANDS]


def perform(task):
    if task in FUNCTIONS:
        return FUNCTIONS[task]()
    setup(NEEDS.get(task, "all"))
    if task in ("test", "notebooks", "site"):  # the same numbers everywhere
        os.environ["OMP_NUM_THREADS"] = "1"
    for command in COMMANDS[task]:
        run(interpreter(VENV), *command.split())


def main(task="help", *more):
    if more or task not in TASKS:
        sys.exit(f"python tasks.py TASK, where TASK is one of: {', '.join(sorted(TASKS))}")
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, on_signal)
    # All that is started here inherits this, the kernels of JupyterLab too: PyTorch's threads sleep
    # while they wait (spinning slows a busy machine down), and text is UTF-8, on Windows as well.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("PYTHONUTF8", "1")
    try:
        perform(task)
    except OSError as error:  # uv is not installed, a file cannot be written
        sys.exit(f"tasks.py: {error}")


if __name__ == "__main__":
    main(*sys.argv[1:])
