"""The toy rule does what it is said to do, whichever way it is rolled out."""

from nca_lib.cells import erase, half_plane, seed_state, square
from nca_lib.rollout.dense import dense_rollout

import pytest
import torch
import toy
from toy import AGE, ANCHOR, COLUMN, FAR, GROWN, INK, LIFE, REACH, ROW, bar, inked, toy_rule


@pytest.fixture(params=["rollout", "dense"])
def grow(request):
    """Frames `[R, B, C, H, W]` of a rule from a state, as every step or the rollouts have them."""

    def frames(rule, labels, steps, style=None, state=None):
        state = seed_state(len(labels), 5) if state is None else state
        genome, seeds = rule.genome(labels, style), torch.arange(len(labels))
        every = tuple(range(1, steps + 1))
        if request.param == "dense":
            return dense_rollout(rule, state, genome, steps, seeds, every)
        return rule.rollout(state, genome, steps, seeds, every)

    return frames


def test_it_grows_a_cell_a_step(grow):
    for t, frame in enumerate(grow(toy_rule(), [3], 20), 1):
        assert torch.equal(frame[0, LIFE], bar(radius=min(t, FAR)))
        assert torch.equal(frame[0, INK], bar(radius=min(t - 1, FAR)))
        assert frame[0, INK].sum() == inked(t)
        assert frame[0, ANCHOR].sum() == frame[0, ANCHOR, ROW, COLUMN] == 1
        reach = [1 - abs(r) / 8 if abs(r) <= t else 0 for r in range(-FAR - 1, FAR + 2)]
        assert frame[0, REACH, ROW, COLUMN - FAR - 1 : COLUMN + FAR + 2].tolist() == reach
        assert frame[0, AGE, ROW, COLUMN] == 1 + t
        assert frame[0, AGE, ROW, COLUMN + 2] == max(0, t - 2)


def test_its_ink_is_what_label_and_style_say(grow):
    rule = toy_rule(toy.LABEL_INK, (0.25, -0.5))
    frames = grow(rule, [2, 9, 0], GROWN, torch.tensor([[0.0, 0.0], [1.0, 0.25], [0.0, 1.0]]))
    for frame, ink in zip(frames[-1], (3 / 16, 10 / 16 + 1 / 8, 0.0), strict=True):
        assert torch.equal(frame[INK], bar(ink))


def test_it_forgets_when_it_should(grow):
    rule = toy_rule(forget=10)
    for t, frame in enumerate(grow(rule, [0], 22), 1):
        assert frame[0, INK].sum() == inked(t) - toy.forgotten(t, 10)
    assert [toy.forgotten(t, 10) for t in (10, 11, 12, 13, 14, 18, 19)] == [0, 1, 1, 3, 5, 13, 15]
    assert frame[0, INK].sum() == 0
    assert torch.equal(frame[0, LIFE], bar())


def test_it_heals_what_it_can(grow):
    rule = toy_rule()
    grown = grow(rule, [0], GROWN)[-1]
    left = grow(rule, [0], 10, state=erase(grown, half_plane("left")))
    assert [int(frame[0, INK].sum()) for frame in left] == [8, 9, 10, 11, 12, 13, 14, 15, 15, 15]
    hole = grow(rule, [0], 10, state=erase(grown, square(9, 9, 10)))
    assert [int(frame[0, INK].sum()) for frame in hole] == [5, 7, 8, 8, 8, 8, 8, 8, 8, 8]
    gone = grow(rule, [0], 3, state=erase(grown, square(10, 5, 20)))
    assert not gone.any()


def test_told_another_label_it_changes_within_a_step(grow):
    rule = toy_rule(toy.LABEL_INK)
    grown = grow(rule, [4], GROWN)[-1]
    assert torch.equal(grown[0, INK], bar(5 / 16))
    assert torch.equal(grow(rule, [8], 1, state=grown)[0, 0, INK], bar(9 / 16))


def test_the_toy_judge_reads_its_ink():
    digits = toy.bars(list(range(10)), toy.LABEL_INK)
    judge = toy.ToyJudge()
    assert judge.classes(judge.features(digits.images)).argmax(1).tolist() == list(range(10))


def test_its_encoder_finds_the_code_it_was_given():
    rule = toy_rule(style_ink=(1.0, 0.0))
    toy.known_code(rule, [0.5, -1.0], [1.0, 2.0])
    digits = toy.bars([1, 2])
    code = rule.encoder(digits.images, digits.labels)
    assert code.mean.tolist() == [[0.5, -1.0]] * 2
    assert code.log_variance.tolist() == [[1.0, 2.0]] * 2
