"""Two processes train the rule that one would have trained, and outlive a killed worker."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from nca_lib.checkpoints import read_tensors
from nca_lib.rule import RuleConfig
from nca_lib.training.pool import Pool
from nca_lib.training.pretraining import initial_rule
from nca_lib.training.ranks import Ranks
from nca_lib.training.run import read_log

import psutil
import pytest
import torch
from safetensors.torch import load_file

SMALL = ("finetune", "--merge", "scratch", "--hidden", "12", "--style-dim", "3",
         "--loss-steps", "3", "4", "--batch-size", "6", "--device", "cpu", "--resume")  # fmt: skip


def environment():
    return os.environ | {"OMP_NUM_THREADS": "1", "NCA_COMPILED": "0", "NCA_DATA": "embedded"}


def readme_command():
    """The line that README shows for several processes, without what is for the shell."""
    lines = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8").splitlines()
    (line,) = (line for line in lines if line.startswith("torchrun "))
    return line.split("#")[0].split()


def command(processes, *arguments):
    if processes == 1:
        return [sys.executable, "-m", "nca_lib", *map(str, arguments)]
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    launcher += ["--nproc-per-node", str(processes), "-m", "nca_lib"]
    return [*launcher, *map(str, arguments)]


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
    rule = initial_rule(RuleConfig(2, 4, 2, 1), 0)
    pools = [Pool.empty(7, rule, Ranks(n, 3)) for n in range(3)]
    assert [len(p.pictures) for p in pools] == [3, 2, 2]
    pools[1].put(torch.tensor([4]), torch.ones(1, 2, 28, 28), torch.tensor([9]), torch.ones(1, 1))
    assert pools[1].take(torch.tensor([1, 4]))[1].tolist() == [0, 9]


GRADIENT = """
import sys, torch
from safetensors.torch import save_file
from nca_lib.data import load_digits
from nca_lib.rule import RuleConfig
from nca_lib.training import TrainingConfig, loop
from nca_lib.training.pretraining import initial_rule
from nca_lib.training.ranks import Ranks
from nca_lib.training.run import read_log
from nca_lib.training.run import new_run
ranks, _ = Ranks.join(torch.device("cpu"))
rule = initial_rule(RuleConfig(channels=6, hidden=12, label_dim=4, style_dim=3), 0)
config = TrainingConfig(batch_size=6, loss_steps=(3, 4), pool_size=12, pool_start=0.0)
torch.manual_seed(0)
torch.nn.init.normal_(rule.update.weight, std=0.05)
run, digits = new_run(rule, config, ranks), load_digits("embedded").train
run.optimisers.step = lambda rate: None  # the weights stay: every iteration has the same ones
for _ in range(4):  # the pool fills up, then it is used
    loop.training_step(run, digits, config)
if ranks.first:
    save_file({n: p.grad for n, p in rule.named_parameters()}, sys.argv[1])
ranks.leave()
"""


def test_the_gradient_of_an_iteration_does_not_depend_on_the_number_of_processes(tmp_path):
    (tmp_path / "gradient.py").write_text(GRADIENT)
    gradients = {}
    for count in (1, 2, 3):
        out, launch = tmp_path / f"{count}.safetensors", [sys.executable]
        if count > 1:
            launch += ["-m", "torch.distributed.run", "--standalone"]
            launch += ["--nproc-per-node", str(count)]
        subprocess.run(
            [*launch, tmp_path / "gradient.py", out], env=environment(), check=True,
            capture_output=True,
        )  # fmt: skip
        gradients[count] = load_file(out)
    for name, gradient in gradients[1].items():
        scale = gradient.abs().max()
        assert scale > 0 or name == "genome.labels.weight"
        for count in (2, 3):
            assert (gradient - gradients[count][name]).abs().max() <= 1e-6 * scale, name


def test_two_processes_begin_as_one(tmp_path):
    """Equal to rounding in the first steps; later rounding grows, as in any training."""
    for processes in (1, 2):
        said = train(processes, tmp_path / str(processes), iterations=4)
        assert said.count("unified: 4 iterations ->") == 1
    assert_close(tensors(tmp_path / "1"), tensors(tmp_path / "2"), 1e-5)
    logs = [read_log(tmp_path / f / "unified.jsonl") for f in ("1", "2")]
    for a, b in zip(*logs, strict=True):
        assert a["iteration"] == b["iteration"]
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-5)


def start(arguments):
    return subprocess.Popen(
        [*map(str, arguments)],
        env=environment(), text=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        start_new_session=True,
    )  # fmt: skip


def wait_for(path, seconds=120):
    for _ in range(seconds * 20):
        if path.exists():
            return
        time.sleep(0.05)
    raise AssertionError(f"{path} did not come")


def all_gone(processes, seconds=2):
    """Whether none of these processes runs any more, at the latest after this time."""
    for _ in range(seconds * 20):
        if not any(psutil.pid_exists(p) and alive(p) for p in processes):
            return True
        time.sleep(0.05)
    return False


def alive(process):
    try:
        return psutil.Process(process).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def workers_of(process):
    return [child.pid for child in psutil.Process(process.pid).children()]


def test_the_command_of_the_readme_restarts_a_killed_worker(tmp_path):
    """A checkpoint comes after 250 iterations; later a worker dies, and torchrun starts anew."""
    _, *line = readme_command()
    small = [*SMALL[1:-1], "--iterations", 400]  # --resume is the README's own
    shown = [sys.executable, "-m", "torch.distributed.run", *line, *small, "--out"]
    assert shown.index("finetune") < shown.index("--resume")
    subprocess.run([*map(str, shown), tmp_path / "whole"], env=environment(), check=True,
                   capture_output=True)  # fmt: skip
    process = start([*shown, tmp_path / "torn"])
    try:
        wait_for(tmp_path / "torn" / "unified.run.safetensors")
        os.kill(workers_of(process)[1], signal.SIGKILL)
        _, errors = process.communicate(timeout=240)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 0, errors
    assert_close(tensors(tmp_path / "whole"), tensors(tmp_path / "torn"), 0)


def test_no_worker_outlives_a_killed_torchrun(tmp_path):
    process = start(command(2, *SMALL, "--iterations", 100_000, "--out", tmp_path))
    wait_for(tmp_path / "unified.jsonl")
    workers = workers_of(process)
    assert len(workers) == 2
    process.kill()
    process.communicate()
    assert all_gone(workers)


RESUMED = """
import sys, torch
from nca_lib.data import load_digits
from nca_lib.rule import RuleConfig
from nca_lib.training import TrainingConfig, loop
from nca_lib.training.pretraining import initial_rule
from nca_lib.training.ranks import Ranks
from nca_lib.training.run import new_run
before, after, steps = sys.argv[1:]
ranks, _ = Ranks.join(torch.device("cpu"))
rule = initial_rule(RuleConfig(channels=6, hidden=12, label_dim=4, style_dim=3), 0)
config = TrainingConfig(batch_size=6, loss_steps=(3, 4), pool_size=13, pool_start=0.0)
run, digits = new_run(rule, config, ranks), load_digits("embedded").train
if before != "nothing":
    run.load(before, {})
for _ in range(int(steps)):
    loop.training_step(run, digits, config)
run.save(after, {})
ranks.leave()
"""


def test_a_run_goes_on_with_another_number_of_processes(tmp_path):
    (tmp_path / "resumed.py").write_text(RESUMED)

    def go_on(count, before, after, steps):
        launch = [sys.executable]
        if count > 1:
            launch += ["-m", "torch.distributed.run", "--standalone"]
            launch += ["--nproc-per-node", str(count)]
        subprocess.run(
            [*launch, tmp_path / "resumed.py", before, tmp_path / after, str(steps)],
            env=environment(), check=True, capture_output=True,
        )  # fmt: skip
        return read_tensors(tmp_path / after, "nca_lib run")

    go_on(2, "nothing", "two", 6)
    (whole, progress), *others = (go_on(n, tmp_path / "two", f"then-{n}", 3) for n in (2, 1, 3))
    assert progress["progress"]["iteration"] == 9
    assert whole["pool.states"].shape[0] == 13
    for saved, _ in others:
        assert_close(whole, saved, 1e-4)


def test_pretraining_spreads_the_digits(tmp_path):
    arguments = ("pretrain", "--hidden", 8, "--style-dim", 2, "--loss-steps", 2, "--batch-size", 2,
                 "--iterations", 1, "--workers", 1, "--out", tmp_path)  # fmt: skip
    done = subprocess.run(command(2, *arguments), env=environment(), capture_output=True,
                          text=True, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert len(list(tmp_path.glob("digit-?.safetensors"))) == 10
    assert "10 rules" in done.stdout
