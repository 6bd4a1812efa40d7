"""A critic's loss: what it sees of the ink, and when nobody is asked."""

from dataclasses import replace

from nca_lib import cli
from nca_lib.checkpoints import load
from nca_lib.cli import RunAll, without_critic
from nca_lib.data import load_digits
from nca_lib.dataset import Dataset, Pictures
from nca_lib.errors import InputError
from nca_lib.judge import (
    Judge,
    accuracy,
    critic_for,
    fingerprint,
    judge_for,
    load_judge,
    save_judge,
)
from nca_lib.kinds import MNIST, Kind
from nca_lib.rule import NCA, RuleConfig
from nca_lib.training import Outputs, TrainingConfig, growth_losses, loop, train
from nca_lib.training.losses import SHOWN, Losses, critic_error
from nca_lib.training.presets import PRESETS
from nca_lib.training.pretraining import initial_rule, pretrain

import pytest
import torch
from test_cli import fails, nca

RULE = RuleConfig(channels=6, hidden=8, label_dim=4, style_dim=2)
CONFIG = TrainingConfig(
    iterations=2, batch_size=2, loss_steps=(3, 4, 5), pool_size=2, critic_weight=0.5
)


class Corner:
    """A critic that sees the four pixels of a corner, as they are."""

    def features(self, images):
        return images[:, 0, :2, :2].flatten(1)


class Silent(Judge):
    """A critic that nobody may ask."""

    def features(self, images):
        raise AssertionError("it was asked")


def own_critic(seed=0, kind=MNIST):
    torch.manual_seed(seed)
    return Judge(kind).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def digits():
    return load_digits("embedded").train.limit(20)


# --- the error


def test_pictures_that_are_alike_are_seen_alike(digits):
    images = digits.images[:3]
    frames = images.expand(2, 3, 1, 28, 28)
    assert critic_error(Corner(), frames, images) == 0
    critic = critic_for(MNIST)
    assert critic_error(critic, frames, images) < 1e-12  # batches of two sizes: rounding
    assert critic_error(critic, frames.flip(1), images) > 0.1


def test_the_error_by_hand():
    """Off by 1/2 and by 1/4 in one pixel of four; the target's mean square is 1/4."""
    images = torch.zeros(1, 1, 28, 28)
    images[..., 0, 0] = 1.0
    frames = images.repeat(2, 1, 1, 1, 1)
    frames[0, ..., 0, 1], frames[1, ..., 0, 0] = 0.5, 0.75
    error = critic_error(Corner(), frames, images)
    assert error.shape == ()
    assert error.item() == pytest.approx((1 / 4 + 1 / 16) / 8 / (1 / 4))
    two = critic_error(Corner(), frames.repeat(1, 2, 1, 1, 1), images.repeat(2, 1, 1, 1))
    assert two.item() == pytest.approx(error.item())  # a mean over the samples
    fainter = critic_error(Corner(), frames / 2, images / 2)
    assert fainter.item() == pytest.approx(error.item())  # in units of what is to be seen


def test_of_several_pictures_each_is_compared_with_its_own():
    images = torch.zeros(2, 1, 28, 28)
    images[0, ..., 0, 0] = images[1, ..., 1, 1] = 1.0
    frames = images.repeat(2, 1, 1, 1, 1)
    assert critic_error(Corner(), frames, images) == 0
    assert critic_error(Corner(), frames.flip(1), images).item() == pytest.approx(2)


def test_a_batch_is_worth_the_mean_of_its_samples(digits):
    """So that two ranks with half of it each learn what one rank learns from all of it."""
    images = digits.images[:3] * torch.tensor([1.0, 0.5, 0.1])[:, None, None, None]
    frames = images.flip(0).repeat(2, 1, 1, 1, 1)
    critic = critic_for(MNIST)
    each = [critic_error(critic, frames[:, k : k + 1], images[k : k + 1]) for k in range(3)]
    assert critic_error(critic, frames, images).item() == pytest.approx(
        sum(each).item() / 3, rel=1e-4
    )


def test_where_nothing_is_to_be_seen_the_error_is_finite():
    images = torch.zeros(1, 1, 28, 28)
    frames = torch.full((2, 1, 1, 28, 28), 1e-3)
    assert critic_error(Corner(), frames, images).item() == pytest.approx(1e-6 / 1e-6)


def test_only_the_last_two_loss_steps_are_shown(digits):
    assert SHOWN == 2
    critic, images = critic_for(MNIST), digits.images[:3]
    frames = torch.rand(4, 3, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    frames.requires_grad_()
    error = critic_error(critic, frames, images)
    error.backward()
    assert not frames.grad[:2].any()
    assert all(grad.any() for grad in frames.grad[2:].flatten(0, 1))
    assert critic_error(critic, frames[2:], images) == error
    assert critic_error(critic, frames[3:], images) != error  # but one step is enough


def test_ink_far_out_of_range_is_shown_at_the_bounds():
    images = torch.ones(1, 1, 28, 28)
    for ink, shown in ((5.0, 1.2), (-3.0, -0.2), (1.1, 1.1), (-0.1, -0.1)):
        frames = torch.full((2, 1, 1, 28, 28), ink, requires_grad=True)
        error = critic_error(Corner(), frames, images)
        error.backward()
        assert error.item() == pytest.approx((shown - 1) ** 2, abs=1e-6)
        assert frames.grad.any().item() is (ink == shown)


def test_the_gradient_reaches_the_ink_and_nothing_else(digits):
    critic, images = critic_for(MNIST), digits.images[:2]
    frames = torch.rand(3, 2, 5, 28, 28, generator=torch.Generator().manual_seed(0))
    frames.requires_grad_()
    growth_losses(frames, images, CONFIG, critic).critic.backward()
    assert frames.grad[1:, :, 0].flatten(2).any(2).all()
    assert not frames.grad[:, :, 1:].any()
    assert not any(p.requires_grad for p in critic.parameters())


def test_ink_that_follows_the_gradient_looks_more_like_its_target(digits):
    critic, images = critic_for(MNIST), digits.images[:4]
    ink = (0.5 * images + 0.2).requires_grad_()
    errors = []
    for _ in range(20):
        error = critic_error(critic, ink[None], images)
        (gradient,) = torch.autograd.grad(error, ink)
        ink = (ink - 5 * gradient).detach().requires_grad_()
        errors.append(error.item())
    assert errors[-1] < 0.5 * errors[0]


def test_the_weight_is_the_critics_own():
    """It is the same whatever the weights of the loss steps are."""
    images = torch.zeros(1, 1, 28, 28)
    images[..., :2, :2] = 1.0
    frames = torch.zeros(3, 1, 5, 28, 28)
    frames[:, :, :1] = images / 2
    for weight in (0.5, 2.0):
        config = replace(CONFIG, critic_weight=weight, loss_weights=(8.0, 0.0, 1.0))
        losses = growth_losses(frames, images, config, Corner())
        assert losses.critic.item() == pytest.approx(weight / 4)
    without = growth_losses(frames, images, config)
    assert without.critic == 0
    assert without == losses._replace(critic=without.critic)


# --- who is asked


def test_the_shipped_critic_reads_digits_and_is_not_the_judge():
    critic = critic_for(MNIST)
    assert accuracy(critic, load_digits("embedded").test) >= 0.985
    assert fingerprint(critic) != fingerprint(load_judge())
    assert not critic.training


def test_a_fingerprint_tells_critics_apart(tmp_path):
    one, same, other = own_critic(0), own_critic(0), own_critic(1)
    assert fingerprint(one) == fingerprint(same) != fingerprint(other)
    assert len(fingerprint(one)) == 16
    same.read.bias.data[3] += 1e-6
    assert fingerprint(one) != fingerprint(same)
    same.read.bias.data.copy_(one.read.bias)
    same.norms[0].running_mean += 1e-6  # what a critic is made of is not parameters alone
    assert fingerprint(one) != fingerprint(same)
    save_judge(tmp_path / "x.safetensors", one, {})
    loaded = critic_for(MNIST, tmp_path / "x.safetensors")
    assert fingerprint(loaded) == fingerprint(load_judge(tmp_path / "x.safetensors"))


def test_other_pictures_want_a_critic_of_their_own(tmp_path):
    kind = Kind(("cat", "dog"), 4, (12, 17))
    with pytest.raises(InputError, match=r"no critic is shipped for these pictures; .*nca judge"):
        critic_for(kind)
    save_judge(tmp_path / "x.safetensors", own_critic(0, kind), {})
    assert critic_for(kind, tmp_path / "x.safetensors").kind == kind
    with pytest.raises(InputError, match="these are other pictures"):
        critic_for(MNIST, tmp_path / "x.safetensors")
    assert judge_for(kind) is None  # a judge may be missing, a critic that is wanted may not


@pytest.fixture
def asked(monkeypatch):
    """Who was asked for a critic."""
    kinds = []
    monkeypatch.setattr(loop, "critic_for", lambda kind: kinds.append(kind) or own_critic(7))
    return kinds


def test_without_weight_nobody_is_asked(digits, asked):
    rule = initial_rule(RULE, 0)
    config = replace(CONFIG, critic_weight=0.0)
    usual = train(rule, digits, config, log_every=1, progress=False)
    assert asked == []
    assert "critic_sha256" not in rule.record
    given = initial_rule(RULE, 0)
    history = train(given, digits, config, critic=Silent(), log_every=1, progress=False)
    assert [entry["loss"] for entry in history] == [entry["loss"] for entry in usual]
    assert [entry["critic"] for entry in history] == [0, 0]
    assert "critic_sha256" not in given.record


def test_with_a_weight_the_shipped_one_is_asked_unless_another_is_given(digits, asked):
    records = []
    for critic in (None, own_critic(7), own_critic(8)):
        rule = initial_rule(RULE, 0)
        history = train(rule, digits, CONFIG, critic=critic, log_every=1, progress=False)
        assert all(entry["critic"] > 0 for entry in history)
        parts = [history[0][part] for part in Losses._fields]
        assert history[0]["loss"] == pytest.approx(sum(parts))
        records.append((rule.record["critic_sha256"], [entry["loss"] for entry in history]))
    assert asked == [MNIST]
    assert records[0] == records[1] != records[2]
    assert records[0][0] == fingerprint(own_critic(7))


def test_a_rule_in_double_precision_is_shown_to_a_critic_in_double_precision(digits):
    logs = [
        train(initial_rule(RULE, 0).to(dtype), digits, CONFIG, log_every=1, progress=False)
        for dtype in (torch.float32, torch.float64)
    ]
    for single, double in zip(*logs, strict=True):
        assert single["critic"] == pytest.approx(double["critic"], rel=1e-3)
    assert logs[0] != logs[1]


def test_a_run_goes_on_with_the_same_critic_only(tmp_path, digits):
    outputs = Outputs(tmp_path, "toy")
    given = {"resume": True, "progress": False}
    rule = initial_rule(RULE, 0)
    train(rule, digits, CONFIG, outputs, critic=own_critic(1), progress=False)
    one, other = fingerprint(own_critic(1)), fingerprint(own_critic(2))
    assert load(outputs.rule).record["critic_sha256"] == one
    message = f"it was started with critic_sha256 = {one}, now it is {other}"
    with pytest.raises(InputError, match=message):
        train(initial_rule(RULE, 0), digits, CONFIG, outputs, critic=own_critic(2), **given)
    again = initial_rule(RULE, 1)
    train(again, digits, CONFIG, outputs, critic=own_critic(1), **given)
    assert torch.equal(again.update.weight, rule.update.weight)


def test_a_pretraining_asks_the_critic_of_a_file(tmp_path, digits):
    file = tmp_path / "critic.safetensors"
    save_judge(file, own_critic(3), {})
    made = pretrain(
        RULE, digits, replace(CONFIG, iterations=1), tmp_path / "out", critic=file, only=(5,),
        workers=1, progress=False,
    )  # fmt: skip
    assert load(made[0]).record["critic_sha256"] == fingerprint(load_judge(file))


def test_coloured_pictures_want_a_critic_to_be_given():
    kind = Kind(("cat", "dog"), 4, (12, 17))
    digits = Pictures(torch.rand(2, 4, 12, 17), torch.arange(2))
    rule = NCA(RuleConfig(channels=9, hidden=8), kind)
    with pytest.raises(InputError, match=r"^critic_weight can't take effect"):
        train(rule, digits, CONFIG, progress=False)
    history = train(rule, digits, CONFIG, critic=own_critic(0, kind), progress=False)
    assert history[0]["critic"] > 0


# --- from the command line


def test_a_critic_is_given_on_the_command_line(tmp_path):
    file, kept = tmp_path / "critic.safetensors", own_critic(3)
    save_judge(file, kept, {})
    small = (
        "finetune", "--merge", "scratch", "--iterations", 1, "--batch-size", 1, "--hidden", 4,
        "--loss-steps", 2, "--style-dim", 1, "--critic-weight", 0.5, "--out", tmp_path / "out",
    )  # fmt: skip
    nca(*small, "--critic", file)
    record = load(tmp_path / "out" / "unified.safetensors").record
    assert record["critic_sha256"] == fingerprint(load_judge(file))
    assert record["critic_sha256"] != fingerprint(critic_for(MNIST))
    fails("it was started with critic_sha256 = ", *small, "--resume")  # with the shipped one


@pytest.mark.parametrize(
    ("message", "options"),
    [
        (
            "--critic can't take effect: --critic-weight is 0",
            "finetune --critic-weight 0 --critic x",
        ),
        (
            "--critic can't take effect: --critic-weight is 0",
            "pretrain --critic-weight 0 --critic x",
        ),
        ("--critic-weight can't take effect", "restore --critic-weight 1"),
        ("--critic-weight can't take effect", "read --critic-weight 1"),
        ("critic_weight is -1.0: choose 0 or more", "finetune --critic-weight -1"),
        ("critic_weight can't take effect: no critic is shipped", "paint --critic-weight 1"),
        ("no checkpoint at x", "finetune --merge scratch --critic-weight 1 --critic x"),
    ],
)
def test_critics_that_can_not_be(message, options, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fails(message, *options.split())
    assert not any(path.suffix == ".safetensors" for path in tmp_path.rglob("*"))


def test_pictures_for_which_no_critic_is_shipped(capsys):
    """The preset's critic is left out there, and that is said; one that was asked for is not."""
    usual, other = PRESETS["quick"].finetune, Kind(("a", "b"), 1, (28, 28))
    assert without_critic(usual, usual, MNIST) is usual
    assert capsys.readouterr().out == ""
    assert without_critic(usual, usual, other) == replace(usual, critic_weight=0.0)
    assert "no critic is shipped for these pictures" in capsys.readouterr().out
    asked = replace(usual, critic_weight=1.0)
    assert without_critic(asked, usual, other) is asked
    none = replace(usual, critic_weight=0.0)
    assert without_critic(none, none, other) is none
    assert capsys.readouterr().out == ""


def test_a_critic_is_frozen_for_the_training_and_stays_as_it_was(digits):
    critic = Judge()
    before = fingerprint(critic)
    train(NCA(RULE), digits, replace(CONFIG, critic_weight=1.0), critic=critic, progress=False)
    assert fingerprint(critic) == before
    assert critic.training


def test_run_trains_a_critic_of_its_own_and_keeps_it(tmp_path, digits):
    """So that pictures that no critic is shipped for can be learned with one as well."""
    data = Dataset(digits, digits, digits, "few", "few")
    command = RunAll(out=tmp_path)
    path = command.own_critic(data)
    first = fingerprint(critic_for(MNIST, path))
    assert critic_for(MNIST, path).record["source"] == "few"
    assert fingerprint(critic_for(MNIST)) != first
    assert fingerprint(critic_for(MNIST, RunAll(out=tmp_path, seed=1).own_critic(data))) != first
    kept = path.read_bytes()
    assert RunAll(out=tmp_path, resume=True).own_critic(data) == path
    assert path.read_bytes() == kept


def test_run_gives_its_critic_to_both_trainings(tmp_path, monkeypatch, digits):
    given = {}

    class Enough(Exception):
        pass

    def pretrained(*_, critic, **__):
        given["ten"] = fingerprint(critic_for(MNIST, critic))
        return [tmp_path / "digit-0.safetensors"]

    def trained(self, *_, critic, **__):
        given["unified"] = fingerprint(critic)
        raise Enough

    plan = replace(PRESETS["quick"], finetune=replace(CONFIG, critic_weight=1.0))
    monkeypatch.setitem(PRESETS, "quick", plan)
    monkeypatch.setattr(cli, "load_data", lambda *_: Dataset(digits, digits, digits, "few", "few"))
    monkeypatch.setattr(cli, "pretrain", pretrained)
    monkeypatch.setattr(cli, "merged", lambda *_: (NCA(RULE), {}))
    monkeypatch.setattr(RunAll, "train_one", trained)
    with pytest.raises(Enough):
        RunAll(out=tmp_path)()
    own = fingerprint(critic_for(MNIST, tmp_path / "critic.safetensors"))
    assert given == {"ten": own, "unified": own}
