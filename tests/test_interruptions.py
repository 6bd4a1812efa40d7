"""Whenever and however somebody stops: saved, one line, an exit code, and nothing left behind."""

import _thread
import os
import signal
import subprocess
import sys
import threading

from nca_lib.checkpoint import load, write_atomically
from nca_lib.inputs import InputError
from nca_lib.interrupts import stop_flag
from nca_lib.training import Outputs, Stopped, train
from nca_lib.training.run import only_writer, read_log

import psutil
import pytest
import torch
from test_distributed import start, wait_for
from test_training import CONFIG, digits, new, replace  # noqa: F401

SIGNALS = [signal.SIGINT, signal.SIGTERM]
SIGNALS += [signal.SIGHUP] if hasattr(signal, "SIGHUP") else []
TINY = ["--hidden", 8, "--style-dim", 2, "--loss-steps", 3, 4, "--batch-size", 4,
        "--iterations", 100_000, "--perceptual-weight", 0]  # fmt: skip


def nca(*arguments):
    return start(sys.executable, "-m", "nca_lib", *arguments)


def stopped(process, number):
    """Send the signal: one line on stderr, and the signal's exit code."""
    os.killpg(process.pid, number)  # as a terminal does
    _, errors = process.communicate(timeout=100)
    assert process.returncode == 128 + number, errors
    assert len(errors.splitlines()) == 1, errors
    assert errors.startswith("nca: stopped")
    return errors


@pytest.mark.skipif(not os.path.exists("/proc/self/maps"), reason="no /proc here")
@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_at_the_start(number):
    process = nca("finetune", "--merge", "scratch", *TINY)

    def importing():
        begun = "nca_lib" in psutil.Process(process.pid).cmdline()
        with open(f"/proc/{process.pid}/maps") as maps:
            return begun and "libtorch" in maps.read()

    wait_for(importing)  # in the middle of importing PyTorch
    assert number.name in stopped(process, number)


def test_in_pretraining(tmp_path):
    process = nca("pretrain", *TINY, "--out", tmp_path)
    wait_for((tmp_path / "digit-0.jsonl").exists)
    assert "go on with --resume" in stopped(process, signal.SIGINT)
    assert (tmp_path / "digit-0.run.safetensors").exists()
    assert not list(tmp_path.glob(".*.nca-tmp"))


def test_in_evaluation_which_has_no_resume():
    process = nca("evaluate", "--weights", "unified", "--limit", 1000)
    assert process.stdout.readline().startswith("data: ")
    assert "resume" not in stopped(process, signal.SIGTERM)


def test_a_closed_terminal(tmp_path):
    """Nobody reads what is said; the training is saved all the same."""
    process = nca("finetune", "--merge", "scratch", *TINY, "--out", tmp_path)
    wait_for((tmp_path / "unified.jsonl").exists)
    process.stderr.close()
    process.stdout.close()
    process.send_signal(SIGNALS[-1])
    assert process.wait(timeout=60) == 128 + SIGNALS[-1]
    assert (tmp_path / "unified.run.safetensors").exists()


def test_a_notebook_is_interrupted(tmp_path, digits):  # noqa: F811
    config, outputs = replace(CONFIG, iterations=30), Outputs(tmp_path, "unified")
    options = {"log_every": 1, "progress": False}

    def press(step, metrics, model):
        if step == 7:
            _thread.interrupt_main()  # what the kernel does

    model, whole = new(), new()
    with pytest.raises(Stopped, match=r"after iteration [78] of 30.*--resume"):
        train(model, digits, config, outputs, callbacks=press, **options)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    train(model, digits, config, outputs, resume=True, **options)
    history = train(whole, digits, config, **options)
    for name, tensor in whole.state_dict().items():
        assert torch.equal(model.state_dict()[name], tensor), name
    assert [r["loss"] for r in read_log(outputs.log)] == [r["loss"] for r in history]


def ask_twice():
    with stop_flag() as flag:
        signal.raise_signal(signal.SIGINT)
        assert (flag(), flag.number) == (True, signal.SIGINT)
        signal.raise_signal(signal.SIGINT)


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


def test_training_outside_of_the_main_thread(digits):  # noqa: F811
    """Signals are none of its business there."""
    given, done = {"iterations": 1, "progress": False}, []
    thread = threading.Thread(target=lambda: done.append(train(new(), digits, CONFIG, **given)))
    thread.start()
    thread.join()
    assert len(done) == 1


def test_a_folder_has_one_writer(tmp_path, digits):  # noqa: F811
    other = subprocess.Popen(
        [sys.executable, "-c", "import sys; from nca_lib.training.run import only_writer\n"
         "with only_writer(sys.argv[1]): print('writing', flush=True); sys.stdin.read()", tmp_path],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    with other:
        assert other.stdout.readline() == "writing\n"
        outputs = Outputs(tmp_path, "unified")
        with pytest.raises(InputError, match="another process is writing into"):
            train(new(), digits, CONFIG, outputs, progress=False)
        other.kill()  # kill -9: the lock goes with the process
    (tmp_path / ".unified.safetensors.1.nca-tmp").write_text("left by a writer that was killed")
    with only_writer(tmp_path):
        train(new(), digits, CONFIG, outputs, progress=False)
    assert not list(tmp_path.glob(".*.nca-tmp"))


@pytest.mark.skipif(sys.platform == "win32", reason="files that are open can't be deleted there")
def test_a_deleted_lock_lets_nobody_in_and_a_moved_folder_is_told(tmp_path, digits, capsys):  # noqa: F811
    folder, code = tmp_path / "run", "from nca_lib.training.run import only_writer as w\nimport sys"
    code += "\ntry:\n with w(sys.argv[1]): print('in')\nexcept ValueError: print('out')"
    outputs, options = Outputs(folder, "unified"), {"log_every": 1, "progress": False}

    def delete(step, *_):
        if step == 3:
            (folder / ".lock").unlink()
            process = start(sys.executable, "-c", code, folder)
            assert process.communicate(timeout=100)[0] == "out\n"
            folder.rename(tmp_path / "moved")

    with pytest.raises(InputError, match="was moved or deleted: stopped at iteration 4"):
        train(new(), digits, CONFIG, outputs, callbacks=delete, **options)
    assert not folder.exists()
    outputs = Outputs(tmp_path / "engines", "unified")
    stop = {"stop": lambda: True, "engine": "dense", **options}
    with pytest.raises(Stopped):
        train(new(), digits, CONFIG, outputs, **stop)
    with pytest.raises(Stopped):
        train(new(), digits, CONFIG, outputs, **stop | {"resume": True, "engine": "sparse"})
    assert "by the dense engine, now it is sparse" in capsys.readouterr().err


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no FIFOs here")
def test_only_regular_files_are_written_and_links_stay(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    write_atomically(tmp_path / "link", b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "file").read_bytes() == b"new"
    for use in (load, lambda path: write_atomically(path, b"")):
        with pytest.raises(InputError, match="no regular file"):
            use(tmp_path / "fifo")
    assert not (tmp_path / "fifo").is_file()


def test_ctrl_c_ends_a_long_rollout():
    model = load("unified")
    state, condition = model.seed(1), model.condition(3)
    model.rollout(state, condition, 2)  # loads the kernels
    timer = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with torch.no_grad(), pytest.raises(KeyboardInterrupt):
        model.rollout(state, condition, 10_000_000)
