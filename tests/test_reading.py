"""Cells that read: votes and how they are counted, by hand; and what a training gives them."""

import json
from dataclasses import replace

from nca_lib import reading
from nca_lib.cells import disc, inked_state
from nca_lib.checkpoints import load, save_rule
from nca_lib.dataset import Dataset, Pictures
from nca_lib.errors import InputError
from nca_lib.evaluation import evaluate, evaluate_reading
from nca_lib.kinds import Kind
from nca_lib.reading import (
    READING,
    REPLACED,
    check_reader,
    count_votes,
    measure_reading,
    read,
    readers,
    tally_up,
    vote_error,
    votes,
)
from nca_lib.report import reading_table
from nca_lib.rollout.dense import dense_rollout
from nca_lib.rollout.fire import streams
from nca_lib.rule import NCA, RuleConfig
from nca_lib.training import Outputs, TrainingConfig, train
from nca_lib.training.batch import Counts, Draws, draw_batch, share_out
from nca_lib.training.losses import reading_losses
from nca_lib.training.optimisers import Optimisers
from nca_lib.training.presets import PRESETS, READER
from nca_lib.training.pretraining import initial_rule
from nca_lib.training.run import new_run

import pytest
import torch
import toy
from test_cli import fails, nca
from test_pool import outcome
from toy import COLUMN, LABEL_INK, ROW, bar, bars, toy_rule

SMALL = Kind(("cat", "dog", "newt"), 1, (2, 3))
CONFIG = TrainingConfig(
    task="read", iterations=10, batch_size=4, loss_steps=(3, 5), pool_size=8, pool_start=0.0,
    pool_share=0.5,
)  # fmt: skip


def untrained(channels=13, **told):
    """A reader that changes nothing: ink, life, one channel more, and ten votes."""
    told = {"label_dim": 0, "style_dim": 0} | told
    rule = NCA(RuleConfig(channels, 4, perception="patch", held=(0, 1), **told))
    rule.record = {"training": {"task": "read", "loss_steps": [5]}}
    return rule


def toy_reader():
    """A cell with ink votes at once for the label whose ink it has; floats are exact.

    Its vote for a label is by how many sixteenths its ink differs from the label's, below 0. The
    ink of a 0 is too faint to be read.
    """
    rule = NCA(RuleConfig(12, 40, 0, 0, "patch", fire_rate=1.0, held=(0, 1)))
    rule.requires_grad_(False)
    seen, bias, update = torch.zeros(40, 9, 12), torch.zeros(40), torch.zeros(12, 40)
    for label, ink in enumerate(LABEL_INK):
        above, below, old, negative = range(4 * label, 4 * label + 4)
        seen[above, 4, 0], bias[above] = 16, -16 * ink
        seen[below, 4, 0], bias[below] = -16, 16 * ink
        seen[old, 4, 2 + label], seen[negative, 4, 2 + label] = 1, -1
        update[2 + label, [above, below, old]] = -1.0  # the new vote instead of the old
        update[2 + label, negative] = 1.0
    rule.perceived.weight.copy_(seen.flatten(1))
    rule.perceived.bias.copy_(bias)
    rule.update.weight.copy_(update)
    rule.record = {"training": {"task": "read", "loss_steps": [5]}, "sha256": "abc"}
    return rule


# --- votes


def test_the_votes_are_the_last_channels():
    states = torch.arange(2 * 5 * 6.0).view(2, 5, 2, 3)
    assert torch.equal(votes(states, SMALL), states[:, 2:])
    frames = states.expand(4, 2, 5, 2, 3)
    assert torch.equal(votes(frames, SMALL), frames[:, :, 2:])
    assert votes(torch.zeros(1, 22, 28, 28)).shape == (1, 10, 28, 28)


def test_who_has_ink_has_a_vote_that_counts():
    images = torch.zeros(2, 4, 2, 3)
    images[0, 0, 0, 0], images[0, 2, 1, 1], images[1, :, 0, 1] = 0.11, 1.0, 0.1
    assert readers(images).dtype == torch.bool
    assert readers(images).nonzero().tolist() == [[0, 0, 0], [0, 1, 1]]


def pictures_and_states():
    """Three pictures of 2 x 3 cells with three, one and no cells of ink; states with five channels.

    In the first cells vote cat, newt, newt; in the second dog. All others vote for cats, loudly.
    """
    images, states = torch.zeros(3, 1, 2, 3), torch.zeros(3, 5, 2, 3)
    states[:, 2] = 100.0
    for picture, cell, vote in [
        (0, (0, 0), (0.5, 0.25, 0)), (0, (0, 1), (0, 0, 1)), (0, (1, 2), (-1, -3, -0.5)),
        (1, (1, 1), (0, 1, 0)),
    ]:  # fmt: skip
        images[picture, 0, *cell] = 1.0
        states[picture, 2:, *cell] = torch.tensor(vote, dtype=torch.float32)
    return images, states


def test_votes_are_counted_by_hand():
    images, states = pictures_and_states()
    tally = count_votes(states, images, SMALL)
    assert tally.tolist() == [[1, 0, 2], [0, 1, 0], [0, 0, 0]]
    assert not tally.is_floating_point()


def test_of_equal_votes_the_first_counts():
    images, states = torch.ones(1, 1, 2, 3), torch.zeros(1, 5, 2, 3)
    states[0, 3:, 0, 0] = 1.0
    assert count_votes(states, images, SMALL).tolist() == [[5, 1, 0]]


def test_the_error_of_votes_by_hand():
    """A mean over the cells with ink, then over the pictures; none of a picture without ink."""
    images, states = pictures_and_states()
    labels = torch.tensor([2, 1, 0])
    cells = (0.5**2 + 0.25**2 + 1, 0, 1 + 9 + 1.5**2)  # of newt
    frames = torch.stack([states, states])
    frames[1, 1, 2:, 1, 1] = torch.tensor([1.0, 0.0, 0.0])  # the second one, at another step
    error = vote_error(frames, images, labels, SMALL)
    assert error.tolist() == pytest.approx([sum(cells) / 9, (sum(cells) / 3 + 2) / 3])
    right = vote_error(frames[:1, 1:2], images[1:2], labels[1:2], SMALL)
    assert right.tolist() == [0]
    assert vote_error(frames.double(), images, labels, SMALL).dtype == torch.float64


def test_the_gradient_reaches_the_votes_of_cells_with_ink_alone():
    images, states = pictures_and_states()
    frames = torch.stack([states, states]).requires_grad_()
    vote_error(frames, images, torch.tensor([2, 2, 0]), SMALL).sum().backward()
    counted = readers(images)[:, None].expand(3, 3, 2, 3)
    assert not frames.grad[:, :, :2].any()
    assert not frames.grad[:, :, 2:][:, ~counted].any()
    assert frames.grad[0, 1, 2:, 1, 1].tolist() == pytest.approx([0, 2 / 3, -2 / 3])


def test_a_tally_by_hand():
    """Of four pictures two agree, one by a wrong vote; in three most cells are right."""
    tally = torch.tensor([[5, 0, 0], [1, 3, 0], [0, 0, 2], [0, 4, 5]])
    results = tally_up(tally, torch.tensor([0, 1, 1, 2]))
    assert results == {"cells": pytest.approx(13 / 20), "agree": 0.5, "read": 0.75}


# --- reading


def test_reading_starts_from_the_picture_and_leaves_it_as_it_is():
    rule, images = untrained(), bars([0, 1], (1.0, 0.05, *[0.0] * 8)).images
    images[1, 0, 3:5, 3:5] = 0.7
    states = read(rule, images, (2, 5))
    assert states.shape == (2, 2, 13, 28, 28)
    assert torch.equal(states, inked_state(images, 13).expand_as(states))


def test_a_rule_that_reads_nothing_is_refused():
    for rule in (toy_rule(), NCA(RuleConfig(13, 4, 1, 0))):
        for use in (check_reader, lambda r: read(r, bars([0]).images), evaluated):
            with pytest.raises(InputError, match="this rule grows pictures, it does not read"):
                use(rule)
    check_reader(untrained())


def evaluated(rule):
    digits = bars([0, 1])
    return evaluate_reading(rule, Dataset(digits, digits, digits, "toy bars"))


def test_another_picture_is_laid_under_cells_that_keep_what_they_know():
    rule, old, new = untrained(), bars([0]).images, torch.zeros(1, 1, 28, 28)
    new[0, 0, ROW, COLUMN : COLUMN + 3] = new[0, 0, 2, 2] = 0.5
    states = torch.full((1, 13, 28, 28), 0.25)
    states[:, :2] = inked_state(old, 13)[:, :2]
    kept = states.clone()
    later = read(rule, new, (3,), states=states)[0]
    assert torch.equal(later[:, :2], inked_state(new, 13)[:, :2])
    near = torch.nn.functional.max_pool2d(new, 3, 1, 1)[0, 0] > 0  # who is not, is emptied
    assert torch.equal(later[0, 2:], (0.25 * near).expand(11, 28, 28))
    assert torch.equal(states, kept)


def test_reading_follows_its_seeds_and_can_be_continued():
    torch.manual_seed(0)
    rule, images = untrained(), bars([0, 1]).images
    torch.nn.init.normal_(rule.update.weight, std=0.1)
    first, second = read(rule, images, (4, 9), 3)
    assert torch.equal(read(rule, images, (9,), streams(2, 3))[0], second)
    assert not torch.equal(read(rule, images, (9,), 4)[0], second)
    assert torch.equal(read(rule, images, (5,), 3, first, first_step=4)[0], second)


def test_who_sees_at_once_reads_everything():
    results = measure_reading(toy_reader(), bars(list(range(1, 10)), LABEL_INK))
    right = {"cells": 1.0, "agree": 1.0, "read": 1.0}
    assert results["after_60_steps"] == results["after_200_steps"] == right
    assert results["replaced"].items() >= right.items()


def test_reading_is_measured_by_hand():
    """The 7 has the ink of a 3; and of the fifteen cells of the 5, ten have the ink of a 9."""
    inks = list(LABEL_INK)
    inks[7] = inks[3]
    digits = bars([7, 5, 1, 2, 4], inks)
    digits.images[1, 0, ROW, 10:20] = LABEL_INK[9]
    results = measure_reading(toy_reader(), digits, 6)
    wanted = {"cells": pytest.approx((0 + 5 + 15 * 3) / 75), "agree": 0.8, "read": 0.6}
    assert results["after_60_steps"] == results["after_200_steps"] == wanted
    order = torch.randperm(5, generator=torch.Generator().manual_seed(6)).tolist()
    under = [now for then, now in enumerate(order) if now != then]  # places of the new pictures
    assert len(under) > 0
    right = {0: 0, 1: 5, 2: 15, 3: 15, 4: 15}
    assert results["replaced"] == {
        "cells": pytest.approx(sum(right[place] for place in under) / 15 / len(under)),
        "agree": pytest.approx(sum(place != 1 for place in under) / len(under)),
        "read": pytest.approx(sum(place > 1 for place in under) / len(under)),
        "n": len(under),
        "steps": 80,
    }


def test_who_knows_nothing_votes_for_the_first_class():
    """Long bars count for more cells: 15 of a 0, and 3 of each of two others."""
    digits = bars([0, 4, 5])
    digits.images[1:] = bar(radius=1)
    results = measure_reading(untrained(), digits)
    wanted = {"cells": pytest.approx(15 / 21), "agree": 1.0, "read": pytest.approx(1 / 3)}
    assert results["after_60_steps"] == wanted


def test_pictures_of_the_same_class_replace_none():
    """Of six pictures of two labels, those that meet their own label do not count."""
    digits = bars([1, 2] * 3, LABEL_INK)
    seed = 2
    order = torch.randperm(6, generator=torch.Generator().manual_seed(seed))
    n = (digits.labels != digits.labels[order]).sum().item()
    assert 0 < n < 6
    assert measure_reading(toy_reader(), digits, seed)["replaced"]["n"] == n


def test_what_is_rolled_out_to_measure_reading(monkeypatch):
    monkeypatch.setattr(reading, "BATCH", 2)
    rule, digits = told_nothing(), bars([1, 2, 3])
    digits.images[1:] = bar(radius=3)
    calls = toy.spy(rule)
    whole = measure_reading(rule, digits, 5)
    calls = calls[:]
    order = torch.randperm(3, generator=torch.Generator().manual_seed(5))
    seeds = [streams(3, 5, part) for part in (READING, REPLACED)]
    assert [len(call.state) for call in calls] == [2, 2, 1, 1]
    for call, part in zip(calls, (slice(0, 2),) * 2 + (slice(2, 3),) * 2, strict=True):
        again = call.record == (80,)
        assert (call.steps, call.record) == ((80, (80,)) if again else (200, (60, 200)))
        assert call.first_step == 0
        assert torch.equal(call.seeds, seeds[again][part])
        images = digits.images[order[part] if again else part]
        known = inked_state(images, 13)
        if again:  # what they knew of the picture before
            known[:, 2:] = read(rule, digits.images[part], (60,), seeds[0][part])[0, :, 2:]
        assert torch.equal(call.state, known)
        assert call.genome.shape == (len(call.state), 0)  # they are told nothing
    monkeypatch.setattr(reading, "BATCH", 250)
    assert measure_reading(rule, digits, 5) == whole


def test_the_steps_of_reading():
    """They are said in every results file."""
    assert (reading.READING_STEPS, reading.REREAD_STEPS) == ((60, 200), 80)
    assert (READING, REPLACED) == (3, 4)
    assert reading.SHOWS == 0.1


def test_an_evaluation_of_reading():
    digits = bars([3, 5, 7, 5], LABEL_INK)
    data = Dataset(digits, digits.limit(3), digits, "toy bars in memory", "toy bars")
    rule = toy_reader()
    results = evaluate_reading(rule, data, seed=3)
    assert list(results) == [
        "n", "split", "seed", "task", "weights", "data", "held_out", "parameters",
        "after_60_steps", "after_200_steps", "replaced", "seconds",
    ]  # fmt: skip
    assert [results[name] for name in ("n", "split", "seed", "task")] == [4, "test", 3, "read"]
    assert (results["weights"], results["data"]) == ("abc", "toy bars")
    assert results["parameters"] == 40 * 9 * 12 + 40 + 12 * 40
    assert results["after_60_steps"] == {"cells": 1.0, "agree": 1.0, "read": 1.0}
    assert json.loads(json.dumps(results, allow_nan=False)) == results
    assert results["replaced"]["n"] != measure_reading(rule, digits, 0)["replaced"]["n"]
    assert results["replaced"] == measure_reading(rule, digits, 3)["replaced"]
    assert evaluate_reading(rule, data, split="validation", limit=2)["n"] == 2
    lines = reading_table(results).splitlines()
    assert lines[1].startswith("after 200 steps: 100.00% of the cells with ink vote right")
    assert lines[2].startswith("80 steps after the picture was replaced: 100.00% are read anew")


# --- what a training gives them


def filled(config, rule=None, digits=None):
    """A run whose pool is full: slot `i` holds picture `i`, and states that are 1 but for the ink.

    What is held is what was given with the picture of the slot.
    """
    run = new_run(rule or untrained(), config)
    slots = torch.arange(config.pool_size)
    states = torch.ones(len(slots), 13, 28, 28)
    states[:, :2] = inked_state(digits.images[slots], 13)[:, :2]
    run.pool.put(slots, states, slots, torch.zeros(len(slots), 0))
    run.pool.filled = config.pool_size
    return run


@pytest.fixture
def digits():
    """Thirty pictures, all different, three of each label."""
    images = torch.rand(30, 1, 28, 28, generator=torch.Generator().manual_seed(3))
    return Pictures(images * (images > 0.5), torch.arange(30) % 10)


def test_a_pooled_sample_lies_on_the_ink_of_its_picture(digits):
    """One is new, one is told another picture, one is wounded, and one goes on."""
    run = filled(CONFIG, digits=digits)
    wound = torch.zeros(1, 28, 28, dtype=torch.bool)
    wound[0, 5:20, 7:] = True
    draws = Draws(
        torch.tensor([20, 21]), torch.zeros(2, 0), wound, torch.arange(4),
        torch.tensor([-1, 6, 2, 5]),
    )  # fmt: skip
    batch = share_out(run, digits, CONFIG, draws, Counts(4, 2, 1))
    assert batch.pictures.tolist() == [20, 21, 2, 5]
    wanted = inked_state(digits.images[batch.pictures], 13)
    assert torch.equal(batch.states[:, :2], wanted[:, :2])
    assert torch.equal(batch.states[0], wanted[0])
    assert (batch.states[1, 2:] == 1).all()  # it knows what it knew of the picture before
    assert torch.equal(batch.states[2, 2:] == 0, wound.expand(11, 28, 28))
    assert (batch.states[3, 2:] == 1).all()
    assert not torch.equal(run.pool.states[6, :2], batch.states[1, :2])  # the pool is as it was


def test_who_reads_is_told_other_pictures(digits):
    config = replace(CONFIG, switch_share=0.5, damage_share=0.5, wounds=("middle",))
    batch = draw_batch(filled(config, digits=digits), digits, config)
    assert batch.counts == Counts(4, 3, 2)
    wanted = inked_state(digits.images[batch.pictures], 13)
    assert torch.equal(batch.states[:, :2], wanted[:, :2])
    assert torch.equal(batch.states[:2], wanted[:2])
    assert (batch.states[2, 2:] == 1).all()
    lost = (batch.states[3, 2:] == 0).all(0)
    assert lost[14, 14]
    radius = lost[14].sum() // 2
    assert (lost & ~disc(*torch.tensor([[14], [14], [radius + 1]]))[0]).sum() == 0


def test_wild_readers_start_anew(digits):
    config = replace(CONFIG, switch_share=0.0, damage_share=0.0)
    run = filled(config, digits=digits)
    run.pool.states[:, 5, 3, 3] = 11.0
    batch = draw_batch(run, digits, config)
    assert torch.equal(batch.states, inked_state(digits.images[batch.pictures], 13))


def test_a_share_of_votes_is_what_is_right():
    """Of fifteen cells of a bar seven vote for its label, of another bar all, of one none."""
    run = new_run(untrained(), CONFIG)
    digits, states = bars([3, 9, 4]), torch.zeros(3, 13, 28, 28)
    states[0, 3 + 3, ROW, :COLUMN] = states[1, 3 + 9] = 1.0
    right = run.task.right(states, digits.images, digits.labels)
    assert right.tolist() == pytest.approx([7 / 15, 1, 0])


def test_the_losses_of_reading_by_hand():
    """Votes stand in the place of the ink, weighted as its steps are; and large states cost."""
    images, states = pictures_and_states()
    states[:, 2] = states[:, 2].clamp(max=3)  # one above the bound in fourteen cells of ninety
    frames, labels = torch.stack([states, states]), torch.tensor([2, 1, 0])
    frames[1, 1, 2:, 1, 1] = torch.tensor([1.0, 0.0, 0.0])
    config = replace(CONFIG, loss_weights=(1.0, 3.0), overflow_weight=0.25, critic_weight=1.0)
    losses = reading_losses(frames, images, labels, SMALL, config)
    first, second = vote_error(frames, images, labels, SMALL).tolist()
    assert losses.ink.item() == pytest.approx((first + 3 * second) / 4)
    assert losses.overflow.item() == pytest.approx(0.25 * (14 + 1) / 90)
    assert not any(losses._replace(ink=0, overflow=0))


def test_a_batch_of_readers_logs_their_votes(digits):
    """Nobody knows anything: each cell is off by 1 in the vote for its label, and says 0."""
    config = replace(CONFIG, pool_share=0.0)
    run = new_run(untrained(), config)
    batch = draw_batch(run, digits, config)
    numbers = outcome(run, digits, config, batch)
    zeros = (digits.labels[batch.pictures] == 0).double().mean().item()
    assert numbers.pop("ink") == pytest.approx(1)
    assert numbers.pop("right") == pytest.approx(zeros)
    assert not any(numbers.values())


def test_cells_learn_to_read(tmp_path):
    """Lines that stand and lines that lie, on a grid of 8 x 8."""
    kind = Kind(("standing", "lying"), 1, (8, 8))
    images = torch.zeros(12, 1, 8, 8)
    for k in range(6):
        images[k, 0, 1:7, k + 1] = images[6 + k, 0, k + 1, 1:7] = 1.0
    digits = Pictures(images, torch.arange(12) // 6)
    config = TrainingConfig(
        task="read", iterations=300, batch_size=8, loss_steps=(6, 8), pool_size=16, pool_start=0.1
    )
    rule = initial_rule(RuleConfig(8, 24, 0, 0, "patch", held=(0, 1)), 0, kind)
    outputs = Outputs(tmp_path, "reader")
    log = train(rule, digits, config, outputs, log_every=1, progress=False)
    assert log[0]["ink"] == pytest.approx(1)
    assert sum(entry["ink"] for entry in log[-10:]) / 10 < 0.1
    again = load(outputs.rule)
    assert again.task == "read"
    results = measure_reading(again, digits)
    assert results["after_200_steps"]["cells"] > 0.95
    assert results["replaced"]["cells"] > 0.95


# --- rules that are told nothing


def test_the_readers_of_the_presets():
    """Ink and life are given, ten cells' worth of memory, ten votes; nothing is told."""
    for preset in PRESETS.values():
        assert preset.reader == READER
        assert preset.read.task == "read"
    assert (READER.channels, READER.held) == (32, (0, 1))
    assert (READER.label_dim, READER.style_dim) == (0, 0)


def told_nothing():
    torch.manual_seed(0)
    rule = untrained()
    torch.nn.init.normal_(rule.update.weight, std=0.05)
    torch.nn.init.normal_(rule.perceived.weight, std=0.05)
    return rule


@pytest.mark.parametrize("compiled", ["0", "1"])
def test_a_rule_that_is_told_nothing_steps_as_the_dense_one(monkeypatch, compiled):
    monkeypatch.setenv("NCA_COMPILED", compiled)
    rule, images = told_nothing(), bars([0, 1]).images
    assert rule.genome([3, 4]).shape == (2, 0)
    start, genome = inked_state(images, 13), rule.genome([0, 0])
    wanted = dense_rollout(rule, start, genome, 5, streams(2, 1), (2, 5), 0)
    torch.testing.assert_close(read(rule, images, (2, 5), 1), wanted, atol=1e-5, rtol=1e-5)
    assert (wanted[1] != wanted[0]).any()


def test_a_rule_that_is_told_nothing_learns_and_is_saved(tmp_path, digits):
    rule = told_nothing()
    assert [list(matrix.shape) for matrix in rule.matrices] == [[4, 117], [13, 4]]
    assert len(Optimisers(rule, CONFIG).each["muon"].param_groups[0]["params"]) == 2
    before = rule.update.weight.clone()
    train(rule, digits, replace(CONFIG, iterations=2), Outputs(tmp_path, "x"), progress=False)
    assert not torch.equal(rule.update.weight, before)
    again = load(tmp_path / "x.safetensors")
    assert again.config.label_dim == 0
    assert torch.equal(read(again, digits.images[:2], (4,)), read(rule, digits.images[:2], (4,)))
    assert rule.fitted_numbers == 0


def test_the_initial_reader_changes_nothing():
    rule = initial_rule(READER, 0)
    rule.record = {"training": {"task": "read"}}
    images = bars([0]).images
    assert torch.equal(read(rule, images, (3,))[0], inked_state(images, READER.channels))


@pytest.mark.parametrize("channels", [11, 6])
def test_a_reader_has_room_for_its_votes(digits, channels):
    """With eleven channels a vote would be the life, which is given."""
    with pytest.raises(InputError, match="channels"):
        train(untrained(channels), digits, CONFIG, progress=False)


@pytest.mark.parametrize("told", [{"label_dim": 1}, {"style_dim": 2}])
def test_who_reads_is_not_told_the_answer(digits, told):
    """Found by measuring: what was told the label in training voted right, and read nothing."""
    with pytest.raises(InputError, match="told"):
        train(untrained(**told), digits, CONFIG, progress=False)


# --- from the command line


def test_a_reader_is_trained_and_measured_by_two_commands(tmp_path):
    nca("read", "--iterations", 2, "--batch-size", 2, "--loss-steps", 3, "--hidden", 4,
        "--out", tmp_path)  # fmt: skip
    file = tmp_path / "reader.safetensors"
    rule = load(file)
    assert (rule.task, rule.config) == ("read", replace(READER, hidden=4))
    assert (tmp_path / "reader.png").exists()
    out = nca("evaluate", "--weights", file, "--limit", 4, "--json", tmp_path / "m.json")
    assert "of the cells with ink vote right" in out
    assert json.loads((tmp_path / "m.json").read_text())["task"] == "read"
    fails("a reading rule draws nothing", "evaluate", "--weights", file, "--figures", tmp_path)
    fails("can't grow", "grow", 3, "--weights", file, "--out", tmp_path / "x.gif")


@pytest.mark.parametrize(
    "option",
    ["--life-weight 1", "--anchor-weight 1", "--place-weight 1", "--kl-weight 1", "--kl-full 1",
     "--held 0", "--label-dim 4", "--style-dim 4", "--task grow", "--noise 1", "--blurs box3"],
)  # fmt: skip
def test_options_that_readers_have_no_use_for(option, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fails(f"{option.split()[0]} can't take effect", "read", *option.split())


def test_files_of_readers_are_checked(tmp_path):
    rule = untrained()
    save_rule(tmp_path / "x.safetensors", rule, rule.record)
    assert load(tmp_path / "x.safetensors").task == "read"
    rule.record["training"]["task"] = "write"
    save_rule(tmp_path / "x.safetensors", rule, rule.record)
    with pytest.raises(InputError, match="unknown task"):
        load(tmp_path / "x.safetensors")


def test_pictures_without_ink_do_not_count():
    tally, labels = torch.tensor([[3, 1], [0, 0], [0, 2]]), torch.tensor([0, 0, 1])
    assert tally_up(tally, labels) == {"cells": 5 / 6, "agree": 0.5, "read": 1.0}
    nobody = {"cells": None, "agree": None, "read": None}
    assert tally_up(tally[1:2], labels[1:2]) == nobody
    rule = untrained()
    rule.record = {"training": {"task": "read"}}
    same = measure_reading(rule, bars([3, 3]))
    assert same["replaced"] == nobody | {"n": 0, "steps": 80}


def test_readers_are_measured_as_readers(digits):
    rule = untrained()
    rule.record = {"training": {"task": "read"}}
    with pytest.raises(InputError, match="evaluate_reading"):
        evaluate(rule, None)


def test_votes_have_a_colour_each_and_cells_without_ink_have_none():
    from nca_lib.plots import VOTES, vote_colours
    from nca_lib.rule import NCA

    from matplotlib.colors import to_rgb

    assert len(set(VOTES)) == 10
    states = torch.zeros(1, NCA(READER).config.channels, 28, 28)
    states[:, 0, :, :10] = 0.5  # ink
    states[:, -10 + 7, :, :5] = 1.0
    states[:, -10 + 2, :, 5:] = 1.0
    colours = vote_colours(states)[0]  # [4, H, W]
    for column, vote, opacity in ((0, 7, 0.5), (9, 2, 0.5), (10, 2, 0.0)):
        wanted = [*to_rgb(VOTES[vote]), opacity]
        assert colours[:, 3, column].tolist() == pytest.approx(wanted, abs=1e-6)
