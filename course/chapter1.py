"""Checks for chapter 1, the anatomy of a model."""

from course.checking import Check, as_tensor, call, reports, require, require_number
from nca_lib.model import NCA
from nca_lib.spec import MNIST
from nca_lib.state import alive_mask

import torch
import torch.nn.functional as F

AROUND = torch.tensor([[1.0, 1, 1], [1, 0, 1], [1, 1, 1]])


def life_step(grid, kernel=AROUND, mode="constant", survive=2, born=3):
    framed = F.pad(grid[None, None], (1, 1, 1, 1), mode=mode)
    count = F.conv2d(framed, kernel[None, None])[0, 0]
    return ((count == 3) | (count == survive) & (grid == 1) | (count == born)).float()


LIFE = {
    "Right: five grids, one step each, every cell as Conway wants it.": {},
    "A cell is not its own neighbour: the middle of the kernel is 0.": {"kernel": AROUND**0},
    "Births are right, but a living cell with two neighbours lives on.": {"survive": 3},
    "With two neighbours a cell stays as it is: an empty one is not born.": {"born": 2},
    "Your grid is closed like a ring: beyond the edge all cells are empty.": {"mode": "circular"},
}
check_life = Check(
    life_step, lambda: [((torch.rand(9, 12) < 0.4).float(),) for _ in range(5)], LIFE, typed=True
)


def perceive(state, scale=(1, 1, 1), order=(0, 1, 2), mode="constant"):
    framed = F.pad(state, (1, 1, 1, 1), mode=mode)
    model = NCA(MNIST, channels=state.shape[1], hidden=4)
    three = model.perceive(framed)[..., 1:-1, 1:-1].chunk(3, 1)
    return torch.cat([scale[k] * three[k] for k in order], 1)


PERCEIVE = {
    "Right: each cell sees itself and two slopes, in every channel.": {},
    "All channels come first.": lambda x: torch.stack(perceive(x).chunk(3, 1), 2).flatten(1, 2),
    "East and south are swapped.": {"order": (0, 2, 1)},
    "The slopes have the wrong sign: they rise to the east and south.": {"scale": (1, -1, -1)},
    "The slopes are 8 times too large.": {"scale": (1, 8, 8)},
    "Your grid is closed like a ring: pad with zeros.": {"mode": "circular"},
}
check_perceive = Check(perceive, lambda: [(torch.randn(3, c, 7, 9),) for c in (8, 16)], PERCEIVE)


def random_model(channels=10):
    """A small model with random weights, a bias and a style, so that every part of it shows."""
    model = NCA(MNIST, channels=channels, hidden=11, label_dim=5, style_dim=3).requires_grad_(False)
    for weight in (model.hidden.weight, model.hidden.bias, model.from_condition.weight):
        weight.copy_(0.5 * torch.randn(weight.shape))
    model.output.weight.copy_(0.12 * torch.randn(model.output.weight.shape))
    return model


def change(model, seen, condition, join=lambda x, b, c: (x + b + c).relu()):
    x = seen.movedim(1, -1) @ model.hidden.weight.T  # [B, H, W, hidden]
    c = (condition @ model.from_condition.weight.T)[:, None, None]
    return (join(x, model.hidden.bias, c) @ model.output.weight.T).movedim(-1, 1)


def change_case(count, channels):
    perceived = torch.randn(count, 3 * channels, 5, 6)
    return random_model(channels), perceived, torch.randn(count, 8)


CHANGE = {
    "Right: the same small network in every cell.": {},
    "The condition is missing.": {"join": lambda x, b, c: (x + b).relu()},
    "The bias is missing.": {"join": lambda x, b, c: (x + c).relu()},
    "The hidden layer needs its ReLU.": {"join": lambda x, b, c: x + b + c},
    "The condition is added before the ReLU.": {"join": lambda x, b, c: (x + b).relu() + c},
    "Every sample has a condition of its own.": {"join": lambda x, b, c: (x + b + c[:1]).relu()},
    "No ReLU at the end: a change may be negative.": lambda *given: change(*given).relu(),
}
check_change = Check(change, lambda: [change_case(3, 10), change_case(2, 8)], CHANGE)


def is_alive(state, channels=slice(1, 2), size=3, level=0.1, pool=F.max_pool2d):
    framed = F.pad(state[:, channels], (size // 2,) * 4)
    return pool(framed, size, stride=1).amax(1, keepdim=True) > level


def alive_cases():
    sparse = 0.3 * torch.randn(3, 5, 9, 11)
    sparse[:, 1][torch.rand(3, 9, 11) < 0.9] = 0.0
    edges = torch.zeros(1, 5, 9, 11)
    edges[0, 1, [0, 2, 4, 8], [0, 7, 5, 10]] = torch.tensor([0.11, 0.3, 0.1, 1.0])
    return [(sparse,), (edges,), (torch.zeros(2, 3, 4, 4),)]


ALIVE = {
    "Right: the living cells, and a border of one cell around them.": {},
    "Exactly 0.1 is not enough: the alive channel has to exceed 0.1.": {"level": 0.0999},
    "A cell is alive if *some* cell of its 3x3 block exceeds 0.1, not only itself.": {"size": 1},
    "That looks at the ink: the alive channel is channel 1.": {"channels": slice(1)},
    "That looks at all channels: the alive channel is channel 1.": {"channels": slice(None)},
    "The mean of the block does not count, its largest number does.": {"pool": F.avg_pool2d},
}
check_alive = Check(is_alive, alive_cases, ALIVE, typed=True)


def step(model, state, condition, fire, acts=lambda b, f: b & f, ends=lambda b, a: b & a):
    """`acts` joins alive and fire mask; `ends` joins who was alive before and who is after."""
    before = alive_mask(state, 1)
    change = model.update(model.perceive(state), condition)
    new = state + change * acts(before, fire[:, None])
    return new * ends(before, alive_mask(new, 1))


def step_case(count):
    state, living = torch.randn(count, 10, 20, 21), torch.rand(count, 20, 21) < 0.04
    state[:, 1] = torch.where(living, 0.2, -0.2)  # so that some die, and some are born
    return random_model(), state, torch.randn(count, 8), torch.rand(count, 20, 21) < 0.5


STEP = {
    "Right: this is the whole automaton.": {},
    "All cells act: where is the fire mask?": {"acts": lambda b, f: b},
    "Dead cells must not act: the change takes both masks.": {"acts": lambda b, f: f},
    "At the end, cells that are not alive have to be emptied.": {"ends": lambda b, a: 1},
    "At the end, check also who is alive after the change.": {"ends": lambda b, a: b},
    "At the end, check also who was alive before the change.": {"ends": lambda b, a: a},
    "A change is added to the state.": lambda model, s, c, fire: step(model, s, c, fire) - s,
}
check_step = Check(step, lambda: [step_case(1), step_case(3)], STEP)


@reports
def check_reach(reach):
    """Steps until a cell 10 columns away can know of the seed, if all cells fire."""
    average = {12: "That is about right at fire rate 0.5; here all cells fire."}
    hint = "a cell sees only its eight neighbours, and they only theirs."
    require_number(reach, "reach", 10, average, hint)
    return "Right: one cell a step, the fastest that news can travel here."


@reports
def check_laplacian(kernel):
    """A filter `[3, 3]`: by how much a cell differs from the mean of its eight neighbours."""
    kernel = as_tensor(kernel, "kernel").squeeze().double()
    require(kernel.shape == (3, 3), f"The filter has the shape {list(kernel.shape)}, not [3, 3].")
    require(kernel.isfinite().all(), "The filter holds numbers that are not finite.")
    require(kernel.abs().max() > 1e-6, "All zeros: this filter says nothing about the cell.")
    flat, around, lone = kernel.sum(), kernel[AROUND == 1], kernel[1, 1].abs()
    require(abs(flat) < 1e-4, f"On a flat picture of ones the answer is 0; yours is {flat:.2f}.")
    require((around - around.mean()).abs().max() < 1e-4, "The eight neighbours count alike.")
    require(abs(lone - 1) < 1e-4, f"For a lone 1 among zeros the answer is 1; yours is {lone:.2f}.")
    return "Right: a discrete Laplacian; with the other sign it says the same."


@reports
def check_small(model, picture):
    """A model of at most 4,000 parameters that has learned to grow the picture `[1, 1, H, W]`."""
    require(isinstance(model, NCA), "Make a model: small = NCA(MNIST, hidden=...), then train it.")
    count = model.parameter_count
    require(count <= 4000, f"It has {count} parameters. The hidden layer costs most of them.")
    grown = call(lambda: model.grow(3, steps=32), "growing your model")[-1, :, :1]
    right = ((grown > 0.5) == (picture > 0.5)).float().mean().item()
    require(right >= 0.92, f"It grows {right:.0%} of the pixels right: train it longer.")
    return f"Right: {count} parameters are enough for one digit."
