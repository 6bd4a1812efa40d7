"""Two processes train the rule that one would have trained, and outlive a killed worker."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from nca_lib.checkpoints import read_tensors
from nca_lib.pool import Pool
from nca_lib.ranks import Ranks

SMALL = ("finetune", "--merge", "scratch", "--hidden", "12", "--style-dim", "3", "--steps", "4",
         "--batch-size", "6", "--device", "cpu", "--resume")  # fmt: skip


def environment():
    return os.environ | {"OMP_NUM_THREADS": "1", "NCA_COMPILED": "0", "NCA_DATA": "embedded"}


def command(processes, *arguments):
    if processes == 1:
        return [sys.executable, "-m", "nca_lib", *map(str, arguments)]
    return [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--max-restarts", "2",
        "--nproc-per-node", str(processes), "-m", "nca_lib", *map(str, arguments),
    ]  # fmt: skip


def train(processes, folder, iterations=12):
    done = subprocess.run(
        command(processes, *SMALL, "--iterations", iterations, "--out", folder),
        env=environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def tensors(folder, name="unified.run"):
    return read_tensors(folder / f"{name}.safetensors", "nca_lib run")[0]


def assert_close(a, b, tolerance):
    assert a.keys() == b.keys()
    for name in a:
        if a[name].is_floating_point():
            torch.testing.assert_close(a[name], b[name], atol=tolerance, rtol=tolerance, msg=name)
        else:
            assert torch.equal(a[name], b[name]), name


@pytest.mark.parametrize("count", [1, 2, 3])
def test_every_sample_belongs_to_one_rank_and_stays_with_its_slot(count):
    slots = torch.tensor([-1, -1, -1, 4, -1, 0, 7, 2])
    shares = [Ranks(n, count).share(slots) for n in range(count)]
    assert torch.cat(shares).sort().values.tolist() == list(range(8))
    for number, share in enumerate(shares):
        bound = slots[share][slots[share] >= 0]
        assert (bound % count == number).all()
        assert share.tolist() == sorted(share.tolist())
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_shards_of_a_pool_hold_every_slot_once():
    whole = torch.arange(7)
    parts = [Ranks(n, 3).part(whole) for n in range(3)]
    assert [p.tolist() for p in parts] == [[0, 3, 6], [1, 4], [2, 5]]
    pools = [Pool.empty(7, 1, 1, 1, Ranks(n, 3)) for n in range(3)]
    assert [len(p.pictures) for p in pools] == [3, 2, 2]
    pools[1].put(torch.tensor([4]), torch.ones(1, 1, 1, 1), torch.tensor([9]), torch.tensor([5]),
                 torch.ones(1, 1))  # fmt: skip
    assert pools[1].take(torch.tensor([1, 4]))[1].tolist() == [0, 9]


def test_two_processes_begin_as_one(tmp_path):
    """Before Muon has made more of what rounding leaves, the difference is smaller still."""
    for processes in (1, 2):
        train(processes, tmp_path / str(processes), iterations=4)
    assert_close(tensors(tmp_path / "1"), tensors(tmp_path / "2"), 1e-5)


def test_two_processes_give_the_weights_of_one(tmp_path):
    """Same global batch, same pool, same weights; and one process goes on from two."""
    train(1, tmp_path / "one")
    said = train(2, tmp_path / "two")
    assert said.count("unified: 12 iterations") == 1
    one, two = tensors(tmp_path / "one"), tensors(tmp_path / "two")
    assert one["pool.states"].abs().sum() > 0
    assert_close(one, two, 1e-4)  # sums in another order; Muon makes more of what is left of that
    logs = [(tmp_path / f / "unified.jsonl").read_text().splitlines() for f in ("one", "two")]
    assert len(logs[0]) == len(logs[1])
    for a, b in zip(*logs, strict=True):
        a, b = json.loads(a), json.loads(b)
        assert a["iteration"] == b["iteration"]
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-4)
        assert a["pixel_accuracy"] == pytest.approx(b["pixel_accuracy"], abs=1e-3)


def start(processes, folder, iterations):
    return subprocess.Popen(
        command(processes, *SMALL, "--iterations", iterations, "--out", folder),
        env=environment(), text=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        start_new_session=True,
    )  # fmt: skip


def wait_for(path, seconds=120):
    for _ in range(seconds * 20):
        if path.exists():
            return
        time.sleep(0.05)
    raise AssertionError(f"{path} did not come")


def workers_of(process):
    children = subprocess.run(["ps", "-eo", "pid,ppid"], capture_output=True, text=True, check=True)
    pairs = [line.split() for line in children.stdout.splitlines()[1:]]
    return [int(pid) for pid, parent in pairs if int(parent) == process.pid]


def test_a_killed_worker_is_started_again_and_the_weights_are_the_same(tmp_path):
    """A checkpoint comes after 250 iterations; later a worker dies, and torchrun starts anew."""
    train(2, tmp_path / "whole", 400)
    process = start(2, tmp_path / "torn", 400)
    try:
        wait_for(tmp_path / "torn" / "unified.run.safetensors")
        os.kill(workers_of(process)[1], signal.SIGKILL)
        _, errors = process.communicate(timeout=240)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 0, errors
    assert_close(tensors(tmp_path / "whole"), tensors(tmp_path / "torn"), 0)


def test_a_stopped_run_goes_on_with_another_number_of_processes(tmp_path):
    train(1, tmp_path / "whole", 300)
    process = start(2, tmp_path / "moved", 300)
    try:
        wait_for(tmp_path / "moved" / "unified.run.safetensors")
        for worker in workers_of(process):
            os.kill(worker, signal.SIGKILL)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    train(1, tmp_path / "moved", 300)
    saved = tensors(tmp_path / "moved")
    assert saved["pool.states"].shape == tensors(tmp_path / "whole")["pool.states"].shape
    assert len((tmp_path / "moved" / "unified.jsonl").read_text().splitlines()) == 13


def test_pretraining_spreads_the_digits(tmp_path):
    arguments = ("pretrain", "--hidden", 8, "--style-dim", 2, "--steps", 2, "--batch-size", 2,
                 "--iterations", 1, "--workers", 1, "--out", tmp_path)  # fmt: skip
    done = subprocess.run(command(2, *arguments), env=environment(), capture_output=True,
                          text=True, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert len(list(tmp_path.glob("digit-?.safetensors"))) == 10
    assert "ten digits" in done.stdout
