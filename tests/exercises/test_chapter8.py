"""The checks of chapter 8 accept what is right and say what is wrong."""

from nca_lib.cells import alive
from nca_lib.exercises.chapter8 import check_beside, check_reading_loss, check_step, check_tally
from nca_lib.reading import count_votes, vote_error

import pytest
import torch
import torch.nn.functional as F

NOTHING = (None, ..., 3, "step", [1, 2])
USELESS = (
    lambda *given: None,
    lambda *given: ...,
    lambda *given: 1 / 0,
    lambda *given: [0.0, 1.0],
    lambda *given: "a",
    lambda *given: torch.zeros(2, 3),
    lambda *given: torch.zeros_like(given[-1]) * float("nan"),
    lambda: 0,
)


def untold(state):
    return state.new_zeros(len(state), 0)


def step(rule, state, fire):
    """The solution of the chapter."""
    lives = alive(state)
    change = rule.change(rule.perceive(state), untold(state))
    after = (state + change * (lives & fire[:, None])) * lives
    return torch.cat([state[:, :2], after[:, 2:]], 1)


def other_step(rule, state, fire):
    """Whoever acts though dead is emptied afterwards: life is held, so who lives does not change"""
    after = state + rule.change(rule.perceive(state), untold(state)) * fire[:, None]
    after = after * alive(state)
    after[:, :2] = state[:, :2]
    return after


def nothing_held(rule, state, fire):
    lives = alive(state)
    return (state + rule.change(rule.perceive(state), untold(state)) * (lives & fire[:, None])) * (
        lives
    )


def haze_lost(rule, state, fire):
    return step(rule, state, fire) * alive(state)


def life_alone_held(rule, state, fire):
    after = nothing_held(rule, state, fire)
    after[:, 1] = state[:, 1]
    return after


def no_fire(rule, state, fire):
    return step(rule, state, torch.ones_like(fire))


def dead_kept(rule, state, fire):
    acting = alive(state) & fire[:, None]
    after = state + rule.change(rule.perceive(state), untold(state)) * acting
    return torch.cat([state[:, :2], after[:, 2:]], 1)


def change_alone(rule, state, fire):
    acting = alive(state) & fire[:, None]
    return rule.change(rule.perceive(state), untold(state)) * acting


def twice(rule, state, fire):
    return step(rule, step(rule, state, fire), fire)


def in_place(rule, state, fire):
    state.copy_(step(rule, state, fire))
    return state


def tally(states, images):
    chosen = states[:, -10:].argmax(1)
    return torch.stack([((chosen == k) & (images[:, 0] > 0.1)).sum((1, 2)) for k in range(10)], 1)


def loss(states, images, labels):
    return vote_error(states[None], images, labels)[0]


def other_loss(states, images, labels):
    each = []
    for state, image, label in zip(states, images, labels, strict=True):
        off = state[-10:][:, image[0] > 0.1] - F.one_hot(label, 10)[:, None]
        each.append((off**2).sum() / off.shape[1])
    return sum(each) / len(each)


def parts(states, images, labels):
    wanted = F.one_hot(labels, 10)[:, :, None, None]
    return (states[:, -10:] - wanted).square(), images > 0.1


def everywhere(states, images, labels):
    return parts(states, images, labels)[0].sum(1).mean()


def all_pictures_as_one(states, images, labels):
    off, on = parts(states, images, labels)
    return off.sum(1)[on[:, 0]].mean()


def mean_of_classes(states, images, labels):
    return loss(states, images, labels) / 10


def sum_of_pictures(states, images, labels):
    return loss(states, images, labels) * len(labels)


def first_channels(states, images, labels):
    return loss(torch.cat([states, states[:, 2:12]], 1), images, labels)


def without_gradient(states, images, labels):
    return loss(states, images, labels).item()


def not_a_mean(states, images, labels):
    return vote_error(states[None].expand(3, -1, -1, -1, -1), images, labels)


def beside(left, right, gap, above=0.1, margin=4):
    def cut(picture):
        columns = torch.where((picture > above).any(0))[0]
        return picture[:, columns.min() : columns.max() + 1]

    def empty(width):
        return torch.zeros(left.shape[0], width)

    every = [empty(margin), cut(left), empty(gap), cut(right), empty(margin)]
    return torch.cat(every, 1)


def padded(left, right, gap):
    bare = beside(left, right, gap, margin=0)
    return F.pad(bare, (4, 4))


def holes_closed(left, right, gap):
    kept = [picture[:, (picture > 0.1).any(0)] for picture in (left, right)]
    return torch.cat([F.pad(kept[0], (4, gap)), F.pad(kept[1], (0, 4))], 1)


CASES = {
    check_step: (
        [step, other_step, lambda *given: given[0].step(given[1], untold(given[1]), given[2])],
        {
            nothing_held: "faint ink",
            haze_lost: "faint ink",
            life_alone_held: "faint ink",
            no_fire: "did not fire",
            dead_kept: "not alive",
            change_alone: "change alone",
            twice: "not the rule's change",
            in_place: "overwrote",
        },
    ),
    check_tally: (
        [tally, count_votes, lambda s, i: count_votes(s, i).float()],
        {
            (lambda s, i: count_votes(s, torch.ones_like(i))): "All cells",
            (lambda s, i: count_votes(s, (i > 0).float())): "Haze",
            (lambda s, i: count_votes(s, (i > 0.5).float())): "Pale",
            (lambda s, i: count_votes(s[:, 2:12], i)): "channels 2 to 11",
            (lambda s, i: tally(s, i) / tally(s, i).sum(1, keepdim=True)): "shares",
            (lambda s, i: count_votes(-s, i)): "largest",
            (lambda s, i: count_votes(s, i).T): "",
            (lambda s, i: count_votes(s, i).flip(1) + 1): "Not quite",
        },
    ),
    check_reading_loss: (
        [loss, other_loss, lambda *given: loss(*given)[None]],
        {
            everywhere: "All cells",
            all_pictures_as_one: "Big digits",
            mean_of_classes: "ten classes",
            sum_of_pictures: "sum over the pictures",
            first_channels: "last ten",
            (lambda s, i, y: loss(s[:, 2:12], i, y)): "last ten",
            (lambda s, i, y: loss(s.softmax(1), i, y)): "Not",
            (lambda s, i, y: loss(s[:, -10:].softmax(1), i, y)): "No softmax",
            without_gradient: "gradient",
            not_a_mean: "the shape",
        },
    ),
    check_beside: (
        [beside, padded, lambda *given: beside(*given).tolist()],
        {
            (lambda left, right, gap: beside(right, left, gap)): "changed places",
            (lambda *given: beside(*given, above=0)): "Haze",
            (lambda *given: beside(*given, above=0.5)): "Pale",
            (lambda *given: beside(*given, margin=0)): "four empty columns",
            (lambda left, right, gap: beside(left, right, gap + 1)): "too wide",
            holes_closed: "A column is missing",
            (lambda left, right, gap: torch.cat([left, right], 1)): "columns wide",
            (lambda *given: 1 - beside(*given)): "something else",
        },
    ),
}
RIGHT = [(check, answer) for check, (right, _) in CASES.items() for answer in right]
WRONG = [(check, *wrong) for check, (_, wrongs) in CASES.items() for wrong in wrongs.items()]


@pytest.mark.parametrize(("check", "answer"), RIGHT)
def test_what_is_right_is_accepted(check, answer, capsys):
    check(answer)
    assert capsys.readouterr().out.startswith("Right")


@pytest.mark.parametrize(("check", "answer", "said"), WRONG)
def test_what_is_wrong_is_named(check, answer, said, capsys):
    check(answer)
    out = capsys.readouterr().out
    assert out
    assert not out.startswith("Right")
    assert said in out
    assert out.count("\n") == 1


@pytest.mark.parametrize("check", CASES)
@pytest.mark.parametrize("answer", [*NOTHING, *USELESS])
def test_what_is_no_answer_is_no_traceback(check, answer, capsys):
    check(answer)
    out = capsys.readouterr().out
    assert out
    assert not out.startswith("Right")
