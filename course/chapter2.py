"""Checks for chapter 2: the loss, one iteration of training, and the sample pool."""

from dataclasses import asdict, replace

import course.checking as checking
from course.checking import Check, as_tensor, call_for_two, has_gradient, require
from nca_lib.model import NCA
from nca_lib.spec import MNIST
from nca_lib.state import seed_state
from nca_lib.training.config import TrainingConfig
from nca_lib.training.losses import alive_target

import torch


def loss_of(frames, picture, tissue, alive=0.25, over=0.1, low=-2):
    ink = (frames[:, :, 0] - picture[:, 0]).square().mean()
    living = (frames[:, :, 1] - tissue[:, 0]).square().mean()
    return ink + alive * living + over * (frames - frames.clamp(low, 2)).square().mean()


def loss_case(steps, count, targets):
    picture = torch.zeros(targets, 1, 28, 28)
    picture[:, :, 8:20, 13:16] = torch.rand(targets, 1, 12, 3)
    strength = torch.linspace(1, 2, steps)[:, None, None, None, None]
    frames = strength * torch.randn(steps, count, 6, 28, 28)
    return frames.requires_grad_(), picture, alive_target(picture)


LOSS = {
    "Right: three terms, and their mean over the loss steps.": {},
    "That is the last step: take the mean over all.": lambda x, y, z: loss_of(x[-1:], y, z),
    "The alive channel counts a quarter.": {"alive": 1},
    "The alive channel is missing.": {"alive": 0},
    "The penalty for large numbers is missing.": {"over": 0},
    "Numbers below -2 are as bad as those above 2.": {"low": -99},
    "The alive channel has a target of its own, the tissue.": lambda x, y, _: loss_of(x, y, y),
    "All samples count, even with one target.": lambda x, y, z: loss_of(x[:, : len(y)], y, z),
}
check_loss = Check(loss_of, lambda: [loss_case(4, 3, 3), loss_case(3, 3, 1)], LOSS, atol=1e-5)


def learner(picture):
    """The solution for this picture, `[1, 1, 28, 28]`; `wrong` names what it does not do."""

    def learn_once(model, optimiser, states, seeds, record, wrong=""):
        condition = model.condition(torch.full((len(states),), 4 if wrong == "label" else 3))
        frames = model.rollout(states, condition, record[-1], seeds, record)
        loss = loss_of(frames[-1:] if wrong == "steps" else frames, picture, alive_target(picture))
        if wrong != "zero_grad":
            optimiser.zero_grad()
        loss.backward()
        if wrong != "clip":
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        if wrong != "step":
            optimiser.step()
        return loss.item(), frames[0 if wrong == "last" else -1].detach()

    return learn_once


def two_iterations(function, name, model, *starts):
    """What two iterations return, and the weights that they make."""
    optimiser, results = torch.optim.SGD(model.parameters(), lr=0.5), {}
    for turn, start in enumerate(starts, 1):
        inputs = model, optimiser, *start, (3, 5)
        loss, last = call_for_two(function, name, "the loss, and the last states", *inputs)
        number = as_tensor(loss, "the loss")
        require(number.numel() == 1, "Return the loss first, as one number, then the states.")
        require(not has_gradient(last), "The states still hold their gradients: detach() them.")
        require(not has_gradient(loss), "The loss still holds its gradients: use .item().")
        weights = torch.cat([weight.detach().flatten() for weight in model.parameters()])
        for part, value in (("loss", number.reshape(())), ("states", last), ("weights", weights)):
            results[f"the {part} of iteration {turn}"] = value
    return results


def learning_cases():
    model = NCA(MNIST, hidden=12)
    for weight in model.parameters():
        weight.data.copy_(0.25 * torch.randn(weight.shape))
    model.output.weight.data[1].abs_()  # so that the seed does not die
    grown = 0.5 * torch.rand(3, 16, 28, 28)
    return [(model, (model.seed(2), torch.tensor([4, 9])), (grown, torch.tensor([5, 1, 7])))]


LEARNING = {
    "Right: two iterations, and the weights are those that they should be.": {},
    "The weights have not changed: optimiser.step() is missing.": {"wrong": "step"},
    "The gradient is not clipped to length 1 before the step.": {"wrong": "clip"},
    "Old gradients are still there: zero_grad() before backward().": {"wrong": "zero_grad"},
    "The loss is not that of all loss steps: give loss_of all frames.": {"wrong": "steps"},
    "Those are not states of a 3: what is the condition?": {"wrong": "label"},
    "Those are not the states at the end of the rollout.": {"wrong": "last"},
}


@checking.reports
def check_learn_once(function, picture):
    """One iteration of training on this picture, `[1, 1, 28, 28]`."""
    check = Check(learner(picture), learning_cases, LEARNING, trial=two_iterations)
    return check.examine(function)


def draw_once(draw, pool, generator):
    """Refuse a wrong draw of four states; else their slots, int64 `[4]`."""
    mine, things = pool.clone(), "the slots, and the states that were in them"
    slots, states = call_for_two(draw, "draw", things, mine, 4, generator)
    slots, states = as_tensor(slots, "the slots"), as_tensor(states, "the states").to(pool)
    shapes = slots.shape == (4,) and states.shape == (4, *pool.shape[1:])
    require(shapes, f"draw gives {list(slots.shape)} and {list(states.shape)}: see the task.")
    whole = slots.dtype == torch.int64 and ((slots >= 0) & (slots < len(pool))).all()
    require(whole, "The slots are whole numbers, from 0 to the last one of the pool.")
    require(torch.equal(pool, mine), "Drawing changes the pool: change the drawn states alone.")
    require(len(slots.unique()) == 4, "The same slot may be drawn twice: draw different ones.")
    seed, kept = seed_state(MNIST, pool.shape[1])[0], torch.equal(states[1:], pool[slots[1:]])
    require(torch.equal(states[0], seed), "The first of the states is to be a seed.")
    require(kept, "The states behind the seed are not those of their slots, in the same order.")
    return slots


def put_back(pool, slots, states):
    pool[slots] = states.detach()
    return pool


def put_and_look(function, name, pool, slots, states):
    """What the function returns, and what it makes of the pool itself."""
    given = checking.call(function, name, pool, slots, states)
    gradients = pool.requires_grad or has_gradient(given)
    require(not gradients, "put_back: the pool must not hold gradients: detach() the states.")
    return {"the pool that put_back returns": given, "the pool itself after put_back": pool}


def put_cases():
    states = torch.rand(3, 5, 9, 9).requires_grad_()
    return [(torch.rand(7, 5, 9, 9), torch.tensor([5, 0, 2]), states)]


PUT = {
    "Right: 30 draws and what is put back are as they should be.": {},
    "put_back has to change the pool itself.": lambda x, *others: put_back(x.clone(), *others),
}
PUT_BACK = Check(put_back, put_cases, PUT, trial=put_and_look)


@checking.reports
def check_pool(draw, put_back):
    """The sample pool: draw states from it, the first one a seed, and put the grown ones back."""
    pool, generator = torch.rand(7, 5, 28, 28), torch.Generator().manual_seed(0)
    slots = torch.stack([draw_once(draw, pool, generator) for _ in range(30)])
    require(len(slots.unique()) == len(pool), "Some slots are never drawn: draw at random.")
    shuffled = len(slots[:, 0].unique()) > 1
    require(shuffled, "The seed always replaces the same slot: shuffle the slots.")
    return PUT_BACK.examine(put_back)


@checking.reports
def check_age(age):
    """The mean number of rollouts of a sample that is replaced with probability 1/8 each time."""
    wrong = {7: "Almost: the rollout after which it is replaced counts, too."}
    hint = "if one of eight leaves each time, how many rollouts does one stay?"
    checking.require_number(age, "my_age", 8, wrong, hint)
    return "Right: the mean of a geometric distribution with p = 1/8 is 8 rollouts."


@checking.reports
def check_config(config, original):
    """A copy of a configuration in which three of four samples come from the pool, at once."""
    require(isinstance(config, TrainingConfig), "Make one: my_config = replace(config, ...)")
    wanted = replace(original, pool_share=0.75, pool_start=0.0)
    for name, value in asdict(config).items():
        sentence = f"{name} is {value}: three of four, at once, and all else as in config."
        require(value == getattr(wanted, name), sentence)
    return "Right: a copy of config, and two settings are new."
