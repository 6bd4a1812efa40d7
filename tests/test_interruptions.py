"""Whenever and however somebody stops: saved, one line, an exit code, and nothing left behind."""

import _thread
import os
import signal
import subprocess
import sys
import threading
import time

from nca_lib import load
from nca_lib.errors import InputError
from nca_lib.stopping import asked_to_stop
from nca_lib.training import Outputs, Stopped, loop, train
from nca_lib.training.pretraining import initial_rule, pretrain
from nca_lib.training.run import only_writer, read_log

import psutil
import pytest
import torch
from filelock import FileLock, Timeout
from test_ranks import all_gone
from test_training import CONFIG, RULE, digits, replace  # noqa: F401

SIGNALS = [signal.SIGINT, signal.SIGTERM]
if hasattr(signal, "SIGHUP"):
    SIGNALS.append(signal.SIGHUP)
by_name = pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
TINY = [
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


def stopped(process, number, group=False):
    """Send the signal; one line on stderr, the signal's exit code, no process left."""
    children = psutil.Process(process.pid).children(recursive=True)
    if group:  # as a terminal does
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)
    _, errors = process.communicate(timeout=100)
    assert process.returncode == 128 + number, errors
    assert len(errors.splitlines()) == 1, errors
    line = errors.strip()
    assert line.startswith("nca: stopped")
    assert all_gone([child.pid for child in children])
    return line


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
def test_in_pretraining_while_workers_start_and_while_they_work(number, tmp_path):
    """Found with Ctrl-C, which a terminal sends to all of them: BrokenProcessPool."""
    command = ("pretrain", *TINY, "--iterations", 3000, "--workers", 2, "--out", tmp_path)
    process = start(*command)
    wait_for(lambda: len(psutil.Process(process.pid).children()) > 1, process)
    stopped(process, number, group=True)
    for log in tmp_path.glob("*.jsonl"):
        log.unlink()  # they come again as soon as the workers work
    process = start(*command, "--resume")
    wait_for(lambda: len(list(tmp_path.glob("digit-?.jsonl"))) > 1, process)
    stopped(process, number, group=True)
    assert len(list(tmp_path.glob("digit-?.run.safetensors"))) >= 2
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


def test_workers_die_with_their_parent(tmp_path):
    """Found after kill -9: both workers trained on, and --resume started second writers."""
    process = start("pretrain", *TINY, "--iterations", 100_000, "--workers", 2, "--out", tmp_path)
    wait_for(lambda: len(list(tmp_path.glob("digit-?.jsonl"))) == 2, process)
    children = psutil.Process(process.pid).children(recursive=True)
    assert len(children) >= 2
    process.kill()
    process.communicate()
    assert all_gone([child.pid for child in children])


def test_a_notebook_is_interrupted(tmp_path, digits):  # noqa: F811
    """Found with the stop button: nothing was saved, and the log was cut on resuming."""
    config, outputs = replace(CONFIG, iterations=30), Outputs(tmp_path, "unified")

    def press(iteration):
        if iteration == 7:
            _thread.interrupt_main()  # what the kernel does

    rule = initial_rule(RULE, 0)
    with pytest.raises(Stopped, match=r"after iteration 7 of 30.*--resume"):
        train(rule, digits, config, outputs, log_every=1, on_iteration=press, progress=False)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    train(rule, digits, config, outputs, log_every=1, resume=True, progress=False)
    whole = initial_rule(RULE, 0)
    log = train(whole, digits, config, log_every=1, progress=False)
    assert all(
        torch.equal(a, b) for a, b in zip(rule.parameters(), whole.parameters(), strict=True)
    )
    assert [r["loss"] for r in read_log(outputs.log)] == [r["loss"] for r in log]


def test_a_rule_in_memory_can_be_used_after_any_stop(digits):  # noqa: F811
    """Found with a shipped rule: the judge read 100 % before, 36 % after two iterations."""
    for how in (Stopped, RuntimeError):
        rule = initial_rule(RULE, 0)
        fitted = torch.eye(3)

        def fail(iteration, how=how):
            raise how("enough")

        with pytest.raises(how, match="enough"):
            train(rule, digits, CONFIG, on_iteration=fail, progress=False)
        assert not torch.equal(rule.genome.spread[3], fitted)


def test_what_is_refused_leaves_the_rule_as_it_was(tmp_path, digits):  # noqa: F811
    rule = load("unified")
    before = rule.genome(3).clone()
    Outputs(tmp_path, "unified").rule.write_bytes(b"there")
    with pytest.raises(InputError, match="exists"):
        train(rule, digits, CONFIG, Outputs(tmp_path, "unified"), progress=False)
    assert torch.equal(rule.genome(3), before)
    assert rule.record["sha256"]


def ask_twice():
    with asked_to_stop() as wish:
        signal.raise_signal(signal.SIGINT)
        assert wish()
        assert wish.number == signal.SIGINT
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
        with asked_to_stop() as wish:
            signal.raise_signal(number)
            assert not wish()
    finally:
        signal.signal(number, before)


def test_training_beside_the_main_thread(digits):  # noqa: F811
    """Signals are none of its business there."""
    done = []
    config = replace(CONFIG, iterations=1)
    thread = threading.Thread(
        target=lambda: done.append(train(initial_rule(RULE, 0), digits, config, progress=False))
    )
    thread.start()
    thread.join()
    assert len(done) == 1


def test_a_folder_has_one_writer(tmp_path, digits):  # noqa: F811
    """Found with two runs into one folder: both ended well, the last one's weights won."""
    held = subprocess.Popen(
        [sys.executable, "-c", "import sys; from nca_lib.training.run import only_writer\n"
         "with only_writer(sys.argv[1]): print('held', flush=True); sys.stdin.read()", tmp_path],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert held.stdout.readline() == "held\n"
    rule, outputs = initial_rule(RULE, 0), Outputs(tmp_path, "unified")
    with pytest.raises(InputError, match="another process is writing into"):
        train(rule, digits, CONFIG, outputs, progress=False)
    with pytest.raises(InputError, match="another process is writing into"):
        pretrain(RULE, digits, CONFIG, tmp_path, only=(0,), progress=False)
    held.kill()  # kill -9: the lock goes with the process
    held.wait()
    held.stdin.close()
    held.stdout.close()
    (tmp_path / ".unified.safetensors.1.tmp").write_text("left by a writer that was killed")
    with only_writer(tmp_path):
        train(rule, digits, CONFIG, outputs, progress=False)
    assert not list(tmp_path.glob(".*.tmp"))


def test_a_torn_or_deleted_log(tmp_path, digits):  # noqa: F811
    """Found after a crash: JSONDecodeError, IndexError."""
    outputs = Outputs(tmp_path, "unified")
    train(initial_rule(RULE, 0), digits, CONFIG, outputs, log_every=1, progress=False)
    text = outputs.log.read_text()
    outputs.log.write_text(text[:-20])  # in the middle of its last line
    again = initial_rule(RULE, 1)
    kept = train(again, digits, CONFIG, outputs, log_every=1, resume=True, progress=False)
    assert [r["iteration"] for r in kept] == list(range(1, 8))
    outputs.log.unlink()
    last = train(again, digits, CONFIG, outputs, resume=True, progress=False)
    assert [r["iteration"] for r in last] == [8]
    assert load(outputs.rule).record["iteration"] == 8


def test_the_folder_stays_claimed_until_the_rule_is_written(tmp_path, digits, monkeypatch):  # noqa: F811
    """A signal between the last iteration and the rule's file waits for the file."""
    right, outputs = loop.save_rule, Outputs(tmp_path, "unified")

    def save_while_asked(*given):
        signal.raise_signal(signal.SIGINT)
        held = FileLock(tmp_path / ".lock")
        with pytest.raises(Timeout):
            held.acquire(timeout=0)
        right(*given)

    monkeypatch.setattr(loop, "save_rule", save_while_asked)
    with pytest.raises(Stopped, match="unified is finished; stopped there"):
        train(initial_rule(RULE, 0), digits, CONFIG, outputs, progress=False)
    assert load(outputs.rule).record["iteration"] == CONFIG.iterations
