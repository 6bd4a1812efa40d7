"""Checks for chapter 1, the anatomy of a rule."""

from __future__ import annotations

from collections.abc import Callable

from nca_lib.cells import alive
from nca_lib.exercises.trying import as_tensor, attempt, same
from nca_lib.rule import NCA, RuleConfig

import torch
import torch.nn.functional as F
from torch import Tensor

ROUND_ABOUT = torch.tensor([[1.0, 1, 1], [1, 0, 1], [1, 1, 1]])
MOST = 4000  # numbers of a small rule
GROWN = 0.92  # of the pixels of its picture; an empty one has 84 % right


def told_apart(
    given, wanted: Tensor, mistakes: dict[str, Tensor], name: str, otherwise: str, atol=1e-4
) -> bool:
    """Whether it is the wanted tensor; else says which of the typical mistakes it is, if any."""
    given = as_tensor(given, name)
    if given is None:
        return False
    if given.shape == wanted.shape and not given.double().isfinite().all():
        print(f"{name} holds numbers that are not finite.")
        return False
    if same(given, wanted, name, atol):
        return True
    if given.shape == wanted.shape:
        for said, wrong in mistakes.items():
            if torch.allclose(given.double(), wrong.double(), atol=atol):
                print(said)
                return False
        print(otherwise)
    return False


def random_rule(generator: torch.Generator, channels: int = 7, hidden: int = 11) -> NCA:
    """A small rule with random weights, a bias and a style: every part of it shows."""
    rule = NCA(RuleConfig(channels, hidden, label_dim=5, style_dim=3)).requires_grad_(False)
    for weight in (rule.perceived.weight, rule.perceived.bias, rule.told.weight):
        weight.copy_(0.5 * torch.randn(weight.shape, generator=generator))
    rule.update.weight.copy_(0.3 * torch.randn(rule.update.weight.shape, generator=generator))
    return rule


# ---- the Game of Life ----------------------------------------------------------------------------


def count_around(grid: Tensor, kernel: Tensor = ROUND_ABOUT, wrap: bool = False) -> Tensor:
    framed = F.pad(grid[None, None], (1, 1, 1, 1), mode="circular" if wrap else "constant")
    return F.conv2d(framed, kernel[None, None])[0, 0]


def life_after(grid: Tensor, count: Tensor) -> Tensor:
    return ((count == 3) | (count == 2) & (grid == 1)).to(grid.dtype)


def check_life(life_step: Callable | None) -> None:
    """One step of the Game of Life, `[H, W]` -> `[H, W]`; beyond the edge nothing lives."""
    generator, name = torch.Generator().manual_seed(0), "life_step"
    grids = [(torch.rand(9, 12, generator=generator) < 0.4).float() for _ in range(3)]
    cross = torch.tensor([[0.0, 1, 0], [1, 0, 1], [0, 1, 0]])
    for grid in (*grids, torch.ones(4, 5), torch.zeros(3, 3)):
        given = attempt(life_step, grid, name=name)
        if given is None:
            return
        count = count_around(grid)
        mistakes = {
            "A cell is not its own neighbour: the middle of the kernel counts too.": life_after(
                grid, count + grid
            ),
            "Births are right, but a living cell with two neighbours lives on.": count == 3,
            "With two neighbours a cell stays as it is: an empty one is not born.": (count == 3)
            | (count == 2),
            "Your grid is closed like a ring: beyond the edge nothing lives.": life_after(
                grid, count_around(grid, wrap=True)
            ),
            "A cell has eight neighbours, the four on the diagonals too.": life_after(
                grid, count_around(grid, cross)
            ),
            "That is the number of neighbours; the rule still has to decide.": count,
        }
        wanted = life_after(grid, count)
        if not told_apart(given, wanted, mistakes, name, "Some cells are wrong: count again."):
            return
        if given.dtype != grid.dtype:
            print(f"The cells are right, but of type {given.dtype}: end with .float().")
            return
    print("Right: five grids, one step each, every cell as Conway wants it.")


# ---- the parts of a step -------------------------------------------------------------------------


def seen_wrongly(state: Tensor, rule: NCA) -> dict[str, Tensor]:
    """Typical mistakes in what is perceived, each with what is said of it."""
    right = rule.perceive(state)
    itself, east, south = right.chunk(3, 1)
    interleaved = torch.stack([itself, east, south], 2).flatten(1, 2)  # [B, 3C, H, W]
    framed = F.pad(state, (1, 1, 1, 1), mode="circular")
    wrapped = rule.perceive(framed)[..., 1:-1, 1:-1]
    return {
        "All numbers are there, in another order: first all channels themselves, "
        "then all slopes to the east, then all to the south.": interleaved,
        "East and south are swapped.": torch.cat([itself, south, east], 1),
        "The slopes have the wrong sign: they rise towards the east and the south.": torch.cat(
            [itself, -east, -south], 1
        ),
        "The slopes are 8 times too large.": torch.cat([itself, 8 * east, 8 * south], 1),
        "Your grid is closed like a ring: pad with zeros.": wrapped,
    }


def check_perceive(perceive: Callable | None) -> None:
    """What all cells perceive: `[B, C, H, W]` -> `[B, 3C, H, W]`."""
    generator, name = torch.Generator().manual_seed(0), "perceive"
    for shape in ((2, 16, 28, 28), (3, 5, 7, 9)):
        state = torch.randn(shape, generator=generator)
        rule = NCA(RuleConfig(channels=shape[1], hidden=4, style_dim=0))
        given = attempt(perceive, state, name=f"perceive, for a state {list(shape)},")
        if given is None:
            return
        otherwise = "The shape is right, the numbers are not: compare one cell by hand."
        wanted = rule.perceive(state)
        if not told_apart(given, wanted, seen_wrongly(state, rule), name, otherwise):
            return
    print("Right: each cell sees itself and two slopes, in every channel.")


def changed_wrongly(rule: NCA, seen: Tensor, genome: Tensor) -> dict[str, Tensor]:
    """Typical mistakes in the change, each with what is said of it."""
    (w1, b), w2, w3 = (
        (rule.perceived.weight, rule.perceived.bias),
        rule.told.weight,
        rule.update.weight,
    )
    x, told = seen.movedim(1, -1) @ w1.T, (genome @ w2.T)[:, None, None]

    def out(hidden: Tensor) -> Tensor:
        return (hidden @ w3.T).movedim(-1, 1)

    right = out((x + b + told).relu())
    return {
        "The genome is missing.": out((x + b).relu()),
        "The bias is missing.": out((x + told).relu()),
        "The hidden layer needs its ReLU.": out(x + b + told),
        "No ReLU at the end: a change may be negative.": right.relu(),
        "The genome goes into the hidden layer before the ReLU.": out((x + b).relu() + told),
        "Every grid has its own genome; yours uses the first for all.": out(
            (x + b + told[:1]).relu()
        ),
    }


def check_change(change: Callable | None) -> None:
    """By how much each cell changes: `(rule, [B, 3C, H, W], [B, G]) -> [B, C, H, W]`."""
    generator, name = torch.Generator().manual_seed(0), "change"
    for count, channels in ((3, 7), (2, 4)):
        rule = random_rule(generator, channels)
        seen = torch.randn(count, 3 * channels, 5, 6, generator=generator)
        genome = torch.randn(count, 8, generator=generator)
        given = attempt(change, rule, seen, genome, name=name)
        if given is None:
            return
        otherwise = "The shape is right, the numbers are not: follow one cell through the layers."
        wanted, mistakes = rule.change(seen, genome), changed_wrongly(rule, seen, genome)
        if not told_apart(given, wanted, mistakes, name, otherwise):
            return
    print("Right: the same small network in every cell.")


def masked_wrongly(state: Tensor) -> dict[str, Tensor]:
    """Typical mistakes in the alive mask, each with what is said of it."""

    def pooled(numbers: Tensor) -> Tensor:
        return F.max_pool2d(numbers, 3, stride=1, padding=1)

    life = state[:, 1:2]
    framed = F.pad(life, (1, 1, 1, 1), mode="circular")
    return {
        "Life of exactly 0.1 is not enough: it has to exceed 0.1.": pooled(life) >= 0.1,
        "A cell is alive if *some* cell of its 3x3 block has life, not only itself.": life > 0.1,
        "That looks at the ink: life is channel 1.": pooled(state[:, :1]) > 0.1,
        "That looks at all channels: life is channel 1 alone.": pooled(state).amax(1, True) > 0.1,
        "The mean of the block does not count, the largest life in it does.": F.avg_pool2d(
            life, 3, stride=1, padding=1
        )
        > 0.1,
        "The size of a number does not count: negative life is none.": pooled(life.abs()) > 0.1,
        "Your grid is closed like a ring.": F.max_pool2d(framed, 3, stride=1) > 0.1,
        "The block has 3x3 cells.": F.max_pool2d(life, 5, stride=1, padding=2) > 0.1,
    }


def check_alive(is_alive: Callable | None) -> None:
    """The alive mask: `[B, C, H, W]` -> bool `[B, 1, H, W]`."""
    generator, name = torch.Generator().manual_seed(0), "is_alive"
    sparse = 0.3 * torch.randn(3, 5, 9, 11, generator=generator)
    sparse[:, 1][torch.rand(3, 9, 11, generator=generator) < 0.9] = 0.0
    edges = torch.zeros(1, 5, 9, 11)
    edges[0, 1, [0, 4, 8], [0, 5, 10]] = torch.tensor([0.11, 0.1, 1.0])
    faint = torch.zeros(1, 4, 6, 6)
    faint[0, 1, 2, 2] = 0.3
    for state in (sparse, edges, faint, torch.zeros(2, 3, 4, 4)):
        given = attempt(is_alive, state, name=name)
        if given is None:
            return
        otherwise = "Some cells are wrong: look at one with life, and at its border."
        if not told_apart(given, alive(state), masked_wrongly(state), name, otherwise):
            return
        if as_tensor(given).dtype != torch.bool:
            print(
                f"The cells are right, but given as {as_tensor(given).dtype}: give True and False."
            )
            return
    print("Right: tissue with life, and a border of one cell around it.")


def stepped_wrongly(rule: NCA, state: Tensor, genome: Tensor, fire: Tensor) -> dict[str, Tensor]:
    """Typical mistakes in a step, each with what is said of it."""
    before, change = alive(state), rule.change(rule.perceive(state), genome)
    acting = before & fire[:, None]

    def end(new: Tensor, first: Tensor = before) -> Tensor:
        return new * (first & alive(new))

    moved = state + change * acting
    return {
        "All cells act: where is the fire mask?": end(state + change * before),
        "Dead cells must not act: the change takes both masks.": end(
            state + change * fire[:, None]
        ),
        "At the end, cells that are not alive have to be emptied.": moved,
        "Who was alive before is checked, but not who is alive after the change.": moved * before,
        "Who is alive after the change is checked, but not who was before it.": moved
        * alive(moved),
        "Cells that rest keep their state: the masks are for the change.": end(
            (state + change) * acting
        ),
        "That is the change alone: it is added to the state.": end(change * acting),
        "A change is added, not taken away.": end(state - change * acting),
    }


def check_step(step: Callable | None) -> None:
    """One step: `(rule, [B, C, H, W], [B, G], bool [B, H, W]) -> [B, C, H, W]`."""
    generator, name = torch.Generator().manual_seed(7), "step"  # here every mistake shows
    for count in (1, 3):
        rule = random_rule(generator)
        rule.update.weight *= 0.4
        state = torch.randn(count, 7, 20, 21, generator=generator)
        lives = torch.rand(count, 20, 21, generator=generator) < 0.04
        state[:, 1] = torch.where(lives, 0.2, -0.2)  # so that some die, and some are born
        genome = torch.randn(count, 8, generator=generator)
        fire = torch.rand(count, 20, 21, generator=generator) < 0.5
        given = attempt(step, rule, state, genome, fire, name=name)
        if given is None:
            return
        otherwise = "The shape is right, the numbers are not: check the order of the parts."
        wanted, mistakes = (
            rule.step(state, genome, fire),
            stepped_wrongly(rule, state, genome, fire),
        )
        if not told_apart(given, wanted, mistakes, name, otherwise):
            return
    print("Right: this is the whole automaton.")


# ---- exercises -----------------------------------------------------------------------------------


def check_reach(reach: float | None) -> None:
    """How many steps until a cell 10 columns away can know of the seed, if all cells fire."""
    steps = as_tensor(reach, "reach")
    if steps is None:
        return
    if steps.numel() != 1:
        print("Give one number.")
    elif steps.item() == 10:
        print("Right: one cell a step, the fastest that news can travel here.")
    elif steps.item() == 12:
        print("That is about right at fire rate 0.5; here all cells fire.")
    else:
        print(f"Not {steps.item():g}: a cell sees only its eight neighbours, and they only theirs.")


def check_laplacian(kernel: Tensor | None) -> None:
    """A 3x3 filter that tells a cell how far it is from the mean of its eight neighbours."""
    kernel = as_tensor(kernel, "kernel")
    if kernel is None:
        return
    kernel = kernel.squeeze().double()
    if kernel.shape != (3, 3):
        print(f"The filter has the shape {list(kernel.shape)}, expected [3, 3].")
        return
    around = kernel[ROUND_ABOUT == 1]  # [8]
    if not kernel.isfinite().all():
        print("The filter holds numbers that are not finite.")
    elif kernel.abs().max() < 1e-6:
        print("All zeros: it never tells the cell anything.")
    elif abs(kernel.sum()) > 1e-4:
        print(f"On a flat picture of ones the answer is 0; yours gives {kernel.sum():.2f}.")
    elif (around - around.mean()).abs().max() > 1e-4:
        print("The eight neighbours count alike.")
    elif abs(kernel[1, 1].abs() - 1) > 1e-4:
        print(
            f"A lone 1 among zeros differs from its neighbours by 1; yours says {kernel[1, 1]:.2f}."
        )
    else:
        print("Right: a discrete Laplacian; with the other sign it says the same.")


def check_small(rule: NCA | None, picture: Tensor) -> None:
    """A rule of at most 4,000 numbers that has learned to grow the picture `[1, 1, H, W]`."""
    if not isinstance(rule, NCA):
        print("Make a rule: small = NCA(RuleConfig(hidden=..., style_dim=0)), then train it.")
        return
    if rule.rule_parameters > MOST:
        print(f"It has {rule.rule_parameters} numbers. The hidden layer costs most of them.")
        return

    def share() -> float:
        grown = rule.grow(3, steps=32)[-1, :, :1]
        return ((grown > 0.5) == (picture > 0.5)).float().mean().item()

    right = attempt(share, name="growing your rule")
    if right is None:
        return
    if right < GROWN:
        print(f"It is small enough, but grows {right:.0%} of the pixels right: train it longer.")
    else:
        print(f"Right: {rule.rule_parameters} numbers are enough for one digit.")
