"""The toy model does what it should, whichever engine rolls it out."""

import os

from nca_lib.masks import erase, half_plane, square

import pytest
import torch
import toy
from toy import AGE, ALIVE, COLUMN, FAR, GROWN, INK, ORIGIN, REACH, ROW, bar, inked, toy_model


@pytest.fixture(params=["dense", "sparse", "compiled"])
def grow(request):
    """Frames `[R, B, C, H, W]` of a model from a state, by every engine."""
    if request.param == "compiled" and os.environ.get("NCA_COMPILED") == "0":
        pytest.skip("switched off")

    def frames(model, labels, steps, style=None, state=None):
        state = model.seed(len(labels)) if state is None else state
        condition, seeds = model.condition(labels, style), torch.arange(len(labels))
        every = range(1, steps + 1)
        return model.rollout(state, condition, steps, seeds, every, engine=request.param)

    return frames


def test_it_grows_a_cell_a_step(grow):
    for t, frame in enumerate(grow(toy_model(), [3], 20), 1):
        assert torch.equal(frame[0, ALIVE], bar(radius=min(t, FAR)))
        assert torch.equal(frame[0, INK], bar(radius=min(t - 1, FAR)))
        assert frame[0, INK].sum() == inked(t)
        assert frame[0, ORIGIN].sum() == frame[0, ORIGIN, ROW, COLUMN] == 1
        reach = [1 - abs(r) / 8 if abs(r) <= t else 0 for r in range(-FAR - 1, FAR + 2)]
        assert frame[0, REACH, ROW, COLUMN - FAR - 1 : COLUMN + FAR + 2].tolist() == reach
        assert frame[0, AGE, ROW, COLUMN] == 1 + t
        assert frame[0, AGE, ROW, COLUMN + 2] == max(0, t - 2)


def test_its_ink_is_what_label_and_style_say(grow):
    model = toy_model(toy.LABEL_INK, (0.25, -0.5))
    frames = grow(model, [2, 9, 0], GROWN, torch.tensor([[0.0, 0.0], [1.0, 0.25], [0.0, 1.0]]))
    for frame, ink in zip(frames[-1], (3 / 16, 10 / 16 + 1 / 8, 0.0), strict=True):
        assert torch.equal(frame[INK], bar(ink))


def test_it_forgets_when_it_should(grow):
    model = toy_model(forget=10)
    for t, frame in enumerate(grow(model, [0], 22), 1):
        assert frame[0, INK].sum() == inked(t) - toy.forgotten(t, 10)
    assert [toy.forgotten(t, 10) for t in (10, 11, 12, 13, 14, 18, 19)] == [0, 1, 1, 3, 5, 13, 15]
    assert frame[0, INK].sum() == 0
    assert torch.equal(frame[0, ALIVE], bar())


def test_it_heals_what_it_can(grow):
    model = toy_model()
    grown = grow(model, [0], GROWN)[-1]
    left = grow(model, [0], 10, state=erase(grown, half_plane("left", (28, 28))))
    assert [int(frame[0, INK].sum()) for frame in left] == [8, 9, 10, 11, 12, 13, 14, 15, 15, 15]
    hole = grow(model, [0], 10, state=erase(grown, square(9, 9, 10, (28, 28))))
    assert [int(frame[0, INK].sum()) for frame in hole] == [5, 7, 8, 8, 8, 8, 8, 8, 8, 8]
    gone = grow(model, [0], 3, state=erase(grown, square(10, 5, 20, (28, 28))))
    assert not gone.any()


def test_given_another_label_it_changes_within_a_step(grow):
    model = toy_model(toy.LABEL_INK)
    grown = grow(model, [4], GROWN)[-1]
    assert torch.equal(grown[0, INK], bar(5 / 16))
    assert torch.equal(grow(model, [8], 1, state=grown)[0, 0, INK], bar(9 / 16))


def test_the_toy_judge_reads_its_ink():
    digits = toy.bars(list(range(10)), toy.LABEL_INK)
    classifier = toy.ToyClassifier()
    found = classifier.classes(classifier.features(digits.images)).argmax(1)
    assert found.tolist() == list(range(10))


def test_its_encoder_finds_the_code_it_was_given():
    model = toy_model(style_ink=(1.0, 0.0))
    toy.known_code(model, [0.5, -1.0], [1.0, 2.0])
    digits = toy.bars([1, 2])
    code = model.encoder(digits.images, digits.labels)
    assert code.mean.tolist() == [[0.5, -1.0]] * 2
    assert code.log_variance.tolist() == [[1.0, 2.0]] * 2
