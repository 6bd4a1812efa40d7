"""Two processes train one model: gradients are averaged, and a killed worker is replaced."""

import os
import signal
import subprocess
import sys
import time

from nca_lib.checkpoint import load, read_tensors
from nca_lib.inputs import InputError
from nca_lib.training.distributed import Distributed
from nca_lib.training.run import read_log

import psutil
import pytest
import torch
from safetensors.torch import load_file

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
SMALL = ("--hidden", 12, "--style-dim", 3, "--loss-steps", 3, 4, "--batch-size", 6,
         "--perceptual-weight", 0, "--device", "cpu")  # fmt: skip
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "NCA_COMPILED": "0", "NCA_DATA": "embedded"}


def start(*arguments):
    return subprocess.Popen(
        [*map(str, arguments)], env=ENVIRONMENT, text=True, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def finish(process):
    out, errors = process.communicate(timeout=280)
    assert process.returncode == 0, errors
    return out


def wait_for(condition, seconds=120):
    for _ in range(seconds * 20):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("what should happen did not")


def runs(process):
    try:
        return psutil.Process(process).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def workers_of(process):
    return [child.pid for child in psutil.Process(process.pid).children()]


def test_a_batch_is_divided_evenly_or_not_at_all():
    assert Distributed(1, 3).share(12, "batch_size") == 4
    with pytest.raises(InputError, match="batch_size 8 can't be divided among 3 processes"):
        Distributed(1, 3).share(8, "batch_size")
    assert not Distributed(1, 3).is_main
    assert Distributed().is_main
    assert (Distributed().any(True), Distributed().any(False)) == (True, False)


def test_torchruns_variables_are_checked(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "two")
    with pytest.raises(InputError, match=r"\$WORLD_SIZE is 'two'"):
        Distributed.join(torch.device("cpu"))


TWO = """
import sys, torch
from safetensors.torch import save_file
from nca_lib.data import mnist
from nca_lib.training import TrainingConfig, train
from nca_lib.training.distributed import Distributed
from nca_lib.training.pretrain import initial_model
from nca_lib.model import ModelConfig
ranks, _ = Distributed.join(torch.device("cpu"))
data = mnist("embedded")
model = initial_model(data.spec, ModelConfig(channels=6, hidden=12, label_dim=4, style_dim=0), 0)
torch.manual_seed(0)
torch.nn.init.normal_(model.output.weight, std=0.05)
own = torch.arange(8)[ranks.rank :: ranks.world_size]  # this rank's samples of a batch of 8
images, labels = data.train.images[own], data.train.labels[own]
frames = model.rollout(model.seed(len(own)), model.condition(labels), 12, own)
(frames[-1, :, :1] - images).square().mean().backward()
ranks.average_gradients(model)
tensors = {f"gradient.{name}": p.grad.clone() for name, p in model.named_parameters()}
assert ranks.any(ranks.is_main) and not ranks.any(False)
if ranks.world_size > 1:
    config = TrainingConfig(iterations=6, batch_size=4, loss_steps=(4,), pool_size=8, pool_start=0)
    train(model, data, config, ranks=ranks, progress=False)
    tensors |= {f"trained.{name}": p.detach().clone() for name, p in model.named_parameters()}
save_file(tensors, f"{sys.argv[1]}-{ranks.rank}-{ranks.world_size}")
ranks.leave()
"""


@pytest.mark.slow
def test_two_processes_have_the_gradients_of_one_and_train_the_same_model(tmp_path):
    script = tmp_path / "two.py"
    script.write_text(TWO)
    finish(start(sys.executable, script, tmp_path / "out"))
    finish(start(*TORCHRUN, "--nproc-per-node", 2, script, tmp_path / "out"))
    alone, *both = (load_file(tmp_path / f"out-{name}") for name in ("0-1", "0-2", "1-2"))
    for name, gradient in alone.items():
        scale = gradient.abs().max()
        assert scale > 0, name
        for rank in both:
            assert (gradient - rank[name]).abs().max() <= 1e-5 * scale, name
    assert all(torch.equal(tensor, both[1][name]) for name, tensor in both[0].items())


@pytest.mark.slow
def test_a_killed_worker_is_replaced_and_the_run_resumes(tmp_path):
    """A checkpoint comes after 250 iterations; later a worker dies, and torchrun restarts both."""
    command = [*TORCHRUN, "--nproc-per-node", 2, "--max-restarts", 3, "-m", "nca_lib", "finetune"]
    command += ["--merge", "scratch", "--resume", "--iterations", 300, "--out", tmp_path]
    process = start(*command, *SMALL)
    try:
        wait_for((tmp_path / "unified.run.safetensors").exists)
        os.kill(workers_of(process)[1], signal.SIGKILL)
        out = finish(process)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert out.count("unified: 300 iterations ->") == 1  # of two processes one speaks
    steps = [entry["iteration"] for entry in read_log(tmp_path / "unified.jsonl")]
    assert steps == [1, *range(25, 301, 25)]
    _, header = read_tensors(tmp_path / "unified.run.safetensors", "nca_lib run")
    assert header["progress"]["iteration"] == 300
    assert load(tmp_path / "unified.safetensors").metadata["world_size"] == 2


@pytest.mark.slow
def test_no_worker_outlives_a_killed_torchrun(tmp_path):
    command = ["-m", "nca_lib", "pretrain", *SMALL, "--iterations", 100_000, "--out", tmp_path]
    process = start(*TORCHRUN, "--nproc-per-node", 2, *command)
    wait_for((tmp_path / "digit-0.jsonl").exists)
    workers = workers_of(process)
    assert len(workers) == 2
    process.kill()
    process.communicate()
    wait_for(lambda: not any(map(runs, workers)), seconds=2)
