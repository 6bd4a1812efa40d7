"""Self-classifying models: votes and how they are counted, by hand; and how they learn."""

from dataclasses import replace

from nca_lib.checkpoint import load
from nca_lib.data import Dataset, Pictures
from nca_lib.evaluation import classifying, evaluate
from nca_lib.evaluation.classifying import classify_steps, measure_classifying, summary
from nca_lib.inputs import InputError
from nca_lib.masks import disc
from nca_lib.model import NCA
from nca_lib.rollout.fire import rng_seeds
from nca_lib.spec import MNIST, ImageSpec
from nca_lib.state import state_from_image
from nca_lib.training import Outputs, TrainingConfig, train
from nca_lib.training.batch import draw_batch
from nca_lib.training.distributed import Distributed
from nca_lib.training.pretrain import initial_model
from nca_lib.training.run import Hooks, Run
from nca_lib.training.tasks import count_votes, task_of, vote_error, voters, votes

import pytest
import torch
import toy
from toy import COLUMN, LABEL_INK, ROW, bar, bars, toy_model

SMALL = ImageSpec(("cat", "dog", "newt"), 1, (2, 3))
CONFIG = TrainingConfig(
    task="classify", iterations=10, batch_size=4, loss_steps=(3, 5), pool_size=8, pool_start=0.0,
    pool_share=0.5, damage=0.0, switch_share=0.0,
)  # fmt: skip
RIGHT = {"cells": 1.0, "agree": 1.0, "majority": 1.0}


def untrained(channels=13, std=0.0, **settings):
    """A model that changes nothing, or anything: ink, alive, one more channel, and ten votes."""
    settings = {"hidden": 4, "label_dim": 0, "perception": "patch", "frozen": (0, 1)} | settings
    model = NCA(MNIST, channels=channels, **settings)
    model.task, model.steps = "classify", 5
    if std:
        generator = torch.Generator().manual_seed(0)
        model.output.weight.data.normal_(std=std, generator=generator)
        model.hidden.weight.data.normal_(std=0.2, generator=generator)
    return model


def toy_classifying():
    """A cell with ink votes at once for the label whose ink it has; floats are exact.

    Its vote for a label is by how many sixteenths its ink differs from the label's, below 0. The
    ink of a 0 is too faint to vote.
    """
    model = untrained(12, hidden=40, fire_rate=1.0).requires_grad_(False)
    seen, bias, update = torch.zeros(40, 9, 12), torch.zeros(40), torch.zeros(12, 40)
    for label, ink in enumerate(LABEL_INK):
        above, below, old, negative = range(4 * label, 4 * label + 4)
        seen[above, 4, 0], bias[above] = 16, -16 * ink
        seen[below, 4, 0], bias[below] = -16, 16 * ink
        seen[old, 4, 2 + label], seen[negative, 4, 2 + label] = 1, -1
        update[2 + label, [above, below, old]] = -1.0  # the new vote instead of the old
        update[2 + label, negative] = 1.0
    model.hidden.weight.copy_(seen.flatten(1))
    model.hidden.bias.copy_(bias)
    model.output.weight.copy_(update)
    return model


# --- votes


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
    images = torch.zeros(2, 4, 2, 3)
    images[0, 0, 0, 0], images[0, 2, 1, 1], images[1, :, 0, 1] = 0.11, 1.0, 0.1
    assert voters(images).nonzero().tolist() == [[0, 0, 0], [0, 1, 1]]
    images, states = pictures_and_states()
    assert torch.equal(votes(states.expand(4, 3, 5, 2, 3), SMALL)[1], states[:, 2:])
    tally = count_votes(states, images, SMALL)
    assert tally.tolist() == [[1, 0, 2], [0, 1, 0], [0, 0, 0]]
    images, states = torch.ones(1, 1, 2, 3), torch.zeros(1, 5, 2, 3)
    states[0, 3:, 0, 0] = 1.0
    assert count_votes(states, images, SMALL).tolist() == [[5, 1, 0]]  # of equal ones the first


def test_the_error_of_votes_by_hand():
    """A mean over the cells with ink, then over the pictures; none of a picture without ink."""
    images, states = pictures_and_states()
    labels = torch.tensor([2, 1, 0])
    cells = (0.5**2 + 0.25**2 + 1, 0, 1 + 9 + 1.5**2)  # of newt
    frames = torch.stack([states, states])
    frames[1, 1, 2:, 1, 1] = torch.tensor([1.0, 0.0, 0.0])  # the second one, at another step
    error = vote_error(frames, images, labels, SMALL)
    assert error.tolist() == pytest.approx([sum(cells) / 9, (sum(cells) / 3 + 2) / 3])
    assert vote_error(frames[:1, 1:2], images[1:2], labels[1:2], SMALL).tolist() == [0]
    assert vote_error(frames.double(), images, labels, SMALL).dtype == torch.float64


def test_a_summary_by_hand():
    """Of four pictures two agree, one by a wrong vote; in three most cells are right."""
    tally = torch.tensor([[5, 0, 0], [1, 3, 0], [0, 0, 2], [0, 4, 5]])
    results = summary(tally, torch.tensor([0, 1, 1, 2]))
    assert results == {"cells": pytest.approx(13 / 20), "agree": 0.5, "majority": 0.75}
    tally, labels = torch.tensor([[3, 1], [0, 0], [0, 1]]), torch.tensor([0, 0, 1])
    assert summary(tally, labels) == {"cells": 4 / 5, "agree": 0.5, "majority": 1.0}
    assert summary(tally[1:2], labels[1:2]) == dict.fromkeys(RIGHT)  # nobody votes


# --- classifying


def test_a_picture_is_replaced_under_cells_that_keep_their_memory():
    model, old, new = untrained(), bars([0]).images, torch.zeros(1, 1, 28, 28)
    new[0, 0, ROW, COLUMN : COLUMN + 3] = new[0, 0, 2, 2] = 0.5
    states = torch.full((1, 13, 28, 28), 0.25)
    states[:, :2] = state_from_image(old, 13)[:, :2]
    later = classify_steps(model, new, (3,), states=states)[0]
    assert torch.equal(later[:, :2], state_from_image(new, 13)[:, :2])
    near = torch.nn.functional.max_pool2d(new, 3, 1, 1)[0, 0] > 0  # other cells are dead
    assert torch.equal(later[0, 2:], (0.25 * near).expand(11, 28, 28))


def test_classifying_follows_its_seeds_and_can_be_continued():
    model, images = untrained(std=0.1), bars([0, 1]).images
    first, second = classify_steps(model, images, (4, 9), 3)
    assert torch.equal(classify_steps(model, images, (9,), rng_seeds(2, 3))[0], second)
    assert not torch.equal(classify_steps(model, images, (9,))[0], second)
    assert torch.equal(classify_steps(model, images, (5,), 3, first, first_step=4)[0], second)
    assert torch.equal(first[:, :2], state_from_image(images, 13)[:, :2])  # the ink stays
    with pytest.raises(InputError, match="this model grows pictures: give a self"):
        classify_steps(toy_model(), images)


def test_classifying_is_measured_by_hand():
    """The 7 has the ink of a 3; and of the fifteen cells of the 5, ten have the ink of a 9."""
    inks = list(LABEL_INK)
    inks[7] = inks[3]
    pictures = bars([7, 5, 1, 2, 4], inks)
    pictures.images[1, 0, ROW, 10:20] = LABEL_INK[9]
    results = measure_classifying(toy_classifying(), pictures, 6)
    wanted = {"cells": pytest.approx((0 + 5 + 15 * 3) / 75), "agree": 0.8, "majority": 0.6}
    assert results["after_60_steps"] == results["after_200_steps"] == wanted
    order = torch.randperm(5, generator=torch.Generator().manual_seed(6)).tolist()
    under = [now for then, now in enumerate(order) if now != then]  # indices of the new pictures
    n, right = len(under), [0, 5, 15, 15, 15]
    assert results["replaced"] == {
        "cells": pytest.approx(sum(right[index] for index in under) / 15 / n),
        "agree": pytest.approx(sum(index != 1 for index in under) / n),
        "majority": pytest.approx(sum(index > 1 for index in under) / n),
    } | {"n": n, "steps": 80}
    alike = measure_classifying(untrained(), bars([3, 3]))  # nothing is replaced by another class
    assert alike["replaced"] == dict.fromkeys(RIGHT) | {"n": 0, "steps": 80}


def test_what_is_rolled_out_to_measure_classifying(monkeypatch):
    monkeypatch.setattr(classifying, "BATCH", 2)
    model, pictures = untrained(std=0.05), bars([1, 2, 3])
    pictures.images[1:] = bar(radius=3)
    calls = toy.spy(model)
    whole = measure_classifying(model, pictures, 5)
    order = torch.randperm(3, generator=torch.Generator().manual_seed(5))
    seeds = [rng_seeds(3, 5, purpose) for purpose in (3, 4)]
    for call, part in zip(calls[:], (slice(0, 2),) * 2 + (slice(2, 3),) * 2, strict=True):
        again = call.record_steps == (80,)
        assert (call.steps, call.record_steps) == ((80, (80,)) if again else (200, (60, 200)))
        assert (call.first_step, call.condition) == (0, None)
        assert torch.equal(call.rng_seeds, seeds[again][part])
        state = state_from_image(pictures.images[order[part] if again else part], 13)
        if again:  # with the memory of the picture before
            before = classify_steps(model, pictures.images[part], (60,), seeds[0][part])
            state[:, 2:] = before[0, :, 2:]
        assert torch.equal(call.state, state)
    monkeypatch.setattr(classifying, "BATCH", 250)
    assert measure_classifying(model, pictures, 5) == whole


def test_an_evaluation_of_a_self_classifying_model():
    pictures = bars([3, 5, 7, 5], LABEL_INK)
    data = Dataset(pictures, pictures.limit(3), pictures, "toy bars in memory", "toy bars", MNIST)
    model = toy_classifying()
    results = evaluate(model, data, seed=3)
    assert list(results) == [
        "n", "split", "limit", "seed", "task", "steps", "weights", "data", "held_out",
        "parameters", "style_parameters", "after_60_steps", "after_200_steps", "replaced",
        "seconds",
    ]  # fmt: skip
    assert [results[name] for name in ("n", "split", "seed", "task")] == [4, "test", 3, "classify"]
    assert results["parameters"] == 40 * 9 * 12 + 40 + 12 * 40
    found = measure_classifying(model, pictures, 3)
    assert found["after_60_steps"] == found["after_200_steps"] == RIGHT
    assert {key: results[key] for key in found} == found
    assert found["replaced"]["n"] != measure_classifying(model, pictures, 0)["replaced"]["n"]


# --- learning to classify


def test_a_pooled_sample_lies_on_the_ink_of_its_target():
    """Two samples are new, one has a new picture and its old memory, one has lost its middle."""
    images = torch.rand(30, 1, 28, 28, generator=torch.Generator().manual_seed(3))
    pictures = Pictures(images * (images > 0.5), torch.arange(30) % 10)  # all different
    config = replace(CONFIG, switch_share=0.5, damage=0.5, damage_kinds=("middle",))
    run = Run(untrained(), config, Hooks(), None, Distributed(), "auto")
    slots = torch.arange(config.pool_size)  # a full pool: slot `i` holds picture `i`
    states = torch.ones(len(slots), 13, 28, 28)  # memories that are 1
    states[:, :2] = state_from_image(pictures.images[slots], 13)[:, :2]
    run.pool.put(slots, states, slots, torch.zeros(len(slots), 0))
    run.pool.filled = config.pool_size
    batch = draw_batch(run, pictures, config)
    assert (batch.fresh, batch.new) == (2, 3)
    wanted = state_from_image(pictures.images[batch.pictures], 13)
    assert torch.equal(batch.states[:, :2], wanted[:, :2])
    assert torch.equal(batch.states[:2], wanted[:2])
    assert (batch.states[2, 2:] == 1).all()
    lost = (batch.states[3, 2:] == 0).all(0)
    assert lost[14, 14]
    radius = lost[14].sum() // 2
    middle, size = torch.tensor([[14], [14], [radius + 1]]), (28, 28)
    assert (lost & ~disc(*middle, size)[0]).sum() == 0


def test_the_accuracy_is_the_share_of_right_votes():
    """Of fifteen cells of a bar seven vote for its label, of another bar all, of one none."""
    model, digits, states = untrained(), bars([3, 9, 4]), torch.zeros(3, 13, 28, 28)
    states[0, 3 + 3, ROW, :COLUMN] = states[1, 3 + 9] = 1.0
    right = task_of(model).accuracy(model, states, digits.images, digits.labels)
    assert right.tolist() == pytest.approx([7 / 15, 1, 0])


def test_the_losses_by_hand():
    """Votes take the place of the ink; and large states cost."""
    images, states = pictures_and_states()
    states[:, 2] = states[:, 2].clamp(max=3)  # one above the bound in fourteen cells of ninety
    frames, labels = torch.stack([states, states]), torch.tensor([2, 1, 0])
    frames[1, 1, 2:, 1, 1] = torch.tensor([1.0, 0.0, 0.0])
    config = replace(CONFIG, overflow_weight=0.25, perceptual_weight=1.0)
    model = NCA(SMALL, channels=5, label_dim=0)
    model.task = "classify"
    losses = task_of(model).losses(model, frames, images, labels, config, None)
    first, second = vote_error(frames, images, labels, SMALL).tolist()
    assert losses.ink.item() == pytest.approx((first + second) / 2)
    assert losses.overflow.item() == pytest.approx(0.25 * (14 + 1) / 90)
    assert not any(losses._replace(ink=0, overflow=0))


def test_cells_learn_to_classify(tmp_path):
    """Vertical and horizontal lines, on a grid of 8 x 8."""
    spec = ImageSpec(("vertical", "horizontal"), 1, (8, 8))
    images = torch.zeros(12, 1, 8, 8)
    for k in range(6):
        images[k, 0, 1:7, k + 1] = images[6 + k, 0, k + 1, 1:7] = 1.0
    pictures = Pictures(images, torch.arange(12) // 6)
    config = TrainingConfig(
        task="classify", iterations=300, batch_size=8, loss_steps=(6, 8), pool_size=16,
        pool_start=0.1,
    )  # fmt: skip
    model = NCA(spec, channels=8, hidden=24, label_dim=0, perception="patch", frozen=(0, 1))
    model = initial_model(spec, model.config, 0)
    outputs = Outputs(tmp_path, "reader")
    history = train(model, pictures, config, outputs, log_every=1, progress=False)
    assert history[0]["ink"] == pytest.approx(1)
    assert sum(entry["ink"] for entry in history[-10:]) / 10 < 0.1
    again = load(outputs.model)
    assert again.task == "classify"
    results = measure_classifying(again, pictures)
    assert results["after_200_steps"]["cells"] > 0.95
    assert results["replaced"]["cells"] > 0.95
