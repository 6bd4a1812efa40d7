"""Whenever and however somebody stops: saved, one line, an exit code."""

import _thread
import os
import signal
import subprocess
import sys
import threading
import time

from nca_lib import load
from nca_lib.data import Pictures
from nca_lib.inputs import InputError
from nca_lib.interrupts import stop_flag
from nca_lib.training import Outputs, Stopped, loop, train
from nca_lib.training.run import only_writer, read_log

import psutil
import pytest
import torch
from filelock import FileLock, Timeout
from test_training import CONFIG, digits, new, replace  # noqa: F401

SIGNALS = [signal.SIGINT, signal.SIGTERM]
if hasattr(signal, "SIGHUP"):
    SIGNALS.append(signal.SIGHUP)
by_name = pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
TINY = ("--hidden", "8", "--style-dim", "2", "--loss-steps", "3", "4", "--batch-size", "4")
    "--hidden",
    "8",
    "--style-dim",
    "2",
    "--loss-steps",
    "3",
    "4",
    "--batch-size",
    "4",
    "--preset",
    "quick",
]


def start(*arguments):
    environment = os.environ | {"OMP_NUM_THREADS": "1", "NCA_DATA": "embedded"}
    return subprocess.Popen(
        [sys.executable, "-m", "nca_lib", *map(str, arguments)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
        start_new_session=True,
    )  # fmt: skip


def wait_for(condition, process, seconds=100):
    for _ in range(seconds * 20):
        if condition():
            return
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    process.kill()
    raise AssertionError("what should happen did not")


def stopped(process, number):
    """Send the signal; one line on stderr, and the signal's exit code."""
    process.send_signal(number)
    _, errors = process.communicate(timeout=100)
    assert process.returncode == 128 + number, errors
    assert len(errors.splitlines()) == 1, errors
    assert errors.startswith("nca: stopped")
    return errors.strip()


@by_name
def test_at_the_start(number):
    process = start("finetune", "--merge", "scratch", *TINY)
    if not os.path.exists("/proc/self/maps"):
        pytest.skip("no /proc here")

    def importing():
        started = "nca_lib" in psutil.Process(process.pid).cmdline()
        with open(f"/proc/{process.pid}/maps") as maps:
            return started and "libtorch" in maps.read()

    wait_for(importing, process)  # in the middle of importing PyTorch
    assert "SIG" in stopped(process, number)


@by_name
def test_in_pretraining(number, tmp_path):
    command = ("pretrain", *TINY, "--iterations", 60, "--perceptual-weight", 0, "--out", tmp_path)
    process = start(*command)
    wait_for((tmp_path / "digit-1.jsonl").exists, process)
    assert "--resume" in stopped(process, number)
    assert (tmp_path / "digit-0.safetensors").exists()
    assert (tmp_path / "digit-1.run.safetensors").exists()
    assert not list(tmp_path.glob(".*.tmp"))


def test_in_evaluation():
    """Found in `nca run`: it said "stopping after this iteration", and went on to the end."""
    process = start("evaluate", "--weights", "unified", "--limit", 1000)
    assert process.stdout.readline().startswith("data: ")
    time.sleep(1)
    stopped(process, signal.SIGTERM)


def test_a_closed_terminal(tmp_path):
    """Nobody reads what is said; the training is saved all the same."""
    process = start("finetune", "--merge", "scratch", *TINY, "--iterations", 100_000,
                    "--out", tmp_path)  # fmt: skip
    wait_for((tmp_path / "unified.jsonl").exists, process)
    process.stderr.close()
    process.stdout.close()
    process.send_signal(SIGNALS[-1])
    assert process.wait(timeout=60) == 128 + SIGNALS[-1]
    assert (tmp_path / "unified.run.safetensors").exists()


def ask_twice():
    with stop_flag() as flag:
        signal.raise_signal(signal.SIGINT)
        assert flag()
        assert flag.number == signal.SIGINT
        signal.raise_signal(signal.SIGINT)
        raise AssertionError("it goes on")


def test_asked_twice_it_ends_at_once():
    with pytest.raises(KeyboardInterrupt):
        ask_twice()


def test_signals_that_are_ignored_stay_ignored():
    """`nohup nca run &`: the closed terminal is nothing to this process."""
    number = SIGNALS[-1]
    before = signal.signal(number, signal.SIG_IGN)
    try:
        with stop_flag() as flag:
            signal.raise_signal(number)
            assert not flag()
    finally:
        signal.signal(number, before)


def test_training_beside_the_main_thread(digits):  # noqa: F811
    """Signals belong to the main thread."""
    done = []
    config = replace(CONFIG, iterations=1)
    thread = threading.Thread(
        target=lambda: done.append(train(new(), digits, config, progress=False))
    )
    thread.start()
    thread.join()
    assert len(done) == 1


def test_a_folder_has_one_writer(tmp_path, digits):  # noqa: F811
    """Found with two runs into one folder: both ended well, the last one's parameters won."""
    held = subprocess.Popen(
        [sys.executable, "-c", "import sys; from nca_lib.training.run import only_writer\n"
         "with only_writer(sys.argv[1]): print('held', flush=True); sys.stdin.read()", tmp_path],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert held.stdout.readline() == "held\n"
    model, outputs = new(), Outputs(tmp_path, "unified")
    with pytest.raises(InputError, match="another process is writing into"):
        train(model, digits, CONFIG, outputs, progress=False)
    held.kill()  # kill -9: the lock goes with the process
    held.wait()
    held.stdin.close()
    held.stdout.close()
    (tmp_path / ".unified.safetensors.1.tmp").write_text("left by a writer that was killed")
    with only_writer(tmp_path):
        train(model, digits, CONFIG, outputs, progress=False)
    assert not list(tmp_path.glob(".*.tmp"))


def test_a_torn_or_deleted_log(tmp_path, digits):  # noqa: F811
    """Found after a crash: JSONDecodeError, IndexError."""
    outputs = Outputs(tmp_path, "unified")
    train(new(), digits, CONFIG, outputs, log_every=1, progress=False)
    text = outputs.log.read_text()
    outputs.log.write_text(text[:-20])  # in the middle of its last line
    again = new(seed=1)
    kept = train(again, digits, CONFIG, outputs, log_every=1, resume=True, progress=False)
    assert [r["iteration"] for r in kept] == list(range(1, 8))
    outputs.log.unlink()
    last = train(again, digits, CONFIG, outputs, resume=True, progress=False)
    assert [r["iteration"] for r in last] == [8]
    assert load(outputs.model).metadata["iteration"] == 8


def test_the_folder_stays_claimed_until_the_model_is_written(tmp_path, digits, monkeypatch):  # noqa: F811
    """A signal between the last iteration and the model's file waits for the file."""
    right, outputs = loop.save_model, Outputs(tmp_path, "unified")

    def save_while_asked(*given):
        signal.raise_signal(signal.SIGINT)
        held = FileLock(tmp_path / ".lock")
        with pytest.raises(Timeout):
            held.acquire(timeout=0)
        right(*given)

    monkeypatch.setattr(loop, "save_model", save_while_asked)
    with pytest.raises(Stopped, match="unified is finished; stopped there"):
        train(new(), digits, CONFIG, outputs, progress=False)
    assert load(outputs.model).metadata["iteration"] == CONFIG.iterations


def test_a_notebook_is_interrupted(tmp_path, digits):  # noqa: F811
    """Found with the stop button: nothing was saved, and the log was cut on resuming."""
    config, outputs = replace(CONFIG, iterations=30), Outputs(tmp_path, "unified")

    def press(step, *_):
        if step == 7:
            _thread.interrupt_main()  # what the kernel does

    options = {"log_every": 1, "progress": False}
    model, whole = new(), new()
    with pytest.raises(Stopped, match=r"after iteration [78] of 30.*--resume"):
        train(model, digits, config, outputs, callbacks=press, **options)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    train(model, digits, config, outputs, resume=True, **options)
    history = train(whole, digits, config, **options)
    pairs = zip(model.parameters(), whole.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    assert [e["loss"] for e in read_log(outputs.log)] == [e["loss"] for e in history]


@pytest.mark.parametrize("how", [Stopped, RuntimeError])
def test_a_model_in_memory_can_be_used_after_any_stop(digits, how):  # noqa: F811
    """Found with a shipped model: 100 % were read before, 36 % after two iterations."""
    model = new()

    def fail(*_):
        raise how("enough")

    with pytest.raises(how, match="enough"):
        train(model, digits, CONFIG, callbacks=fail, progress=False)
    assert not torch.equal(model.conditioning.scale_tril[3], torch.eye(3))


def test_what_is_refused_leaves_the_model_as_it_was(tmp_path, digits):  # noqa: F811
    model = load("unified")
    before, settings = model.condition(3).clone(), model.settings()
    Outputs(tmp_path, "unified").model.write_bytes(b"there")
    some = Pictures(digits.images[:3], digits.labels[:3])
    with pytest.raises(InputError, match="exists"):
        train(model, some, CONFIG, Outputs(tmp_path, "unified"), progress=False)
    assert torch.equal(model.condition(3), before)
    assert model.settings() == settings
    assert model.metadata["sha256"]
