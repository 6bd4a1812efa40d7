"""Checks for chapter 7, styles."""

from __future__ import annotations

from collections.abc import Callable

from nca_lib.exercises.trying import as_tensor, attempt, same
from nca_lib.genome import StyleCode

import torch
from torch import Tensor

Network = Callable[[Tensor], tuple[Tensor, Tensor]]


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def two(given, name: str, what: str) -> tuple | None:
    """The two parts of an answer; None, and a sentence, otherwise."""
    if isinstance(given, (tuple, list)) and len(given) == 2:
        return tuple(given)
    print(f"{name} gives back one thing, expected two: return {what}.")
    return None


def first_near(given, misses: dict[str, Tensor]) -> str | None:
    """What is wrong with an answer, if it is one of these near misses."""
    given = as_tensor(given).double()
    for message, wrong in misses.items():
        if given.shape == wrong.shape and torch.allclose(given, wrong.double(), atol=1e-4):
            return message
    return None


def check_kl(kl: Callable | None) -> None:
    """`kl(mean, log_variance)` gives the divergence to N(0, I), `[B]`."""
    mean, log_variance = random(6, 5), random(6, 5, seed=1)
    terms = log_variance.exp() + mean.square() - 1 - log_variance  # [6, 5]
    given = attempt(kl, mean, log_variance, name="divergence")
    if given is None or (given := as_tensor(given, "the result")) is None:
        return
    other = log_variance.exp().square() + mean.square() - 1 - 2 * log_variance
    wrong = first_near(
        given,
        {
            "The half in front of the sum is missing.": terms.sum(1),
            "Sum over the numbers of a code; you took their mean.": terms.mean(1) / 2,
            "That is the sum over the pictures: each row is one picture.": terms.sum(0) / 2,
            "That is one number for all pictures: keep one for each.": terms.sum() / 2,
            "That is the mean over all pictures: keep one for each.": terms.sum(1).mean() / 2,
            "The sign: a divergence is never negative.": -terms.sum(1) / 2,
            "log_variance is the logarithm of the variance, not of the spread.": other.sum(1) / 2,
            "Nearly: sum over the numbers of a code.": terms / 2,
            "The -1 is missing: at N(0, I) the divergence is 0.": (terms + 1).sum(1) / 2,
        },
    )
    if wrong:
        print(wrong)
    elif not same(given, StyleCode(mean, log_variance).kl()):
        if given.shape == (6,):
            print("The shape is right, the values are not: compare with the equation term by term.")
    else:
        zero = attempt(kl, torch.zeros(2, 3), torch.zeros(2, 3), name="divergence")
        if zero is not None and same(zero, torch.zeros(2)):
            print("Right: and 0 where the code is N(0, I) itself.")


def check_gaussian(gaussian: Callable | None) -> None:
    """`gaussian(codes)` gives mean `[S]` and Cholesky factor `[S, S]`."""
    codes = random(40, 4) @ random(4, 4, seed=1) + random(4, seed=2)
    given = attempt(gaussian, codes, name="gaussian")
    if given is None or (given := two(given, "gaussian", "mean, root")) is None:
        return
    mean, own = codes.mean(0), as_tensor(given[0], "the mean")
    if own is None:
        return
    if not same(own, mean, "the mean", atol=1e-4):
        if own.shape == mean.shape:
            print("The mean is another: take it over the pictures, dimension 0.")
        return
    root = as_tensor(given[1], "the root")
    if root is None:
        return
    if root.shape != (4, 4):
        print(f"The root has the shape {list(root.shape)}, expected [S, S], here [4, 4].")
        return
    for correction in (0, 1):  # divided by N or by N - 1: both are covariances
        covariance = codes.T.cov(correction=correction)
        factor, spreads = torch.linalg.cholesky(covariance), covariance.diagonal().sqrt()
        if same(root, factor, atol=1e-3):
            print("Right: triangular, and root @ root.T is the covariance.")
            return
        wrong = first_near(
            root,
            {
                "That is the covariance: take its Cholesky factor.": covariance,
                "That is the transposed factor: the lower triangle is expected.": factor.T,
                "Those are the spreads alone: the numbers vary together.": spreads.diag(),
            },
        )
        if wrong:
            print(wrong)
            return
        if torch.allclose(root.double() @ root.double().T, covariance.double(), atol=1e-3):
            print("A root of the covariance, but not the triangular one: torch.linalg.cholesky.")
            return
    print("root @ root.T is not the covariance of the codes: is it [S, S], with the mean removed?")


def check_draw(draw_codes: Callable | None) -> None:
    """`draw_codes(mean, root, noise)` gives codes `[N, S]`."""
    mean, root, noise = random(4), random(4, 4, seed=1).tril(), random(7, 4, seed=2)
    given = attempt(draw_codes, mean, root, noise, name="draw_codes")
    if given is None or (given := as_tensor(given, "the result")) is None:
        return
    spread = noise @ root.T
    wrong = first_near(
        given,
        {
            "The mean is missing.": spread,
            "For one row u of the noise the code is mean + root @ u; yours is u @ root.": mean
            + noise @ root,
            "Multiply by the whole root, not by its diagonal.": mean + noise * root.diagonal(),
            "The noise is multiplied by nothing.": mean + noise,
            "The codes stand in columns: give them as rows, [N, S].": (mean + spread).T,
            "The mean is scaled, too: add it last.": (mean + noise) @ root.T,
        },
    )
    if wrong:
        print(wrong)
        return
    single = attempt(draw_codes, mean, root, noise[:1], name="draw_codes")
    if not same(given, mean + spread, atol=1e-4):
        if given.shape == noise.shape:
            print("Not the codes: for a row u of the noise, mean + root @ u.")
    elif single is not None and same(single, (mean + spread)[:1], atol=1e-4):
        print("Right.")
    elif single is not None:
        print("For one row of noise it gives something else: keep the shape [1, S].")


def example(length: int, seed: int) -> tuple[Tensor, Tensor, Network]:
    """Who stays, who moves, and a network of a coupling."""
    order = torch.randperm(length, generator=torch.Generator().manual_seed(seed))
    stay, move = order.split([length // 2, length - length // 2])
    inner = random(len(stay), 2 * len(move), seed=seed)

    def network(stays: Tensor) -> tuple[Tensor, Tensor]:
        scale, shift = (stays @ inner).chunk(2, 1)
        return torch.tanh(scale), shift

    return stay, move, network


def check_undo(undo: Callable | None) -> None:
    """`undo(y, stay, move, network)` gives what `couple` made y of, and the log volume `[B]`."""
    for length, count in ((6, 5), (5, 1)):  # halves alike, halves that are not
        stay, move, network = example(length, seed=length)
        x = random(count, length, seed=1)
        scale, shift = network(x[:, stay])
        moved = x[:, move] * scale.exp() + shift
        y = x.index_copy(1, move, moved)
        given = attempt(undo, y, stay, move, network, name="undo")
        if given is None or (given := two(given, "undo", "x, volume")) is None:
            return
        if not check_undone(given[0], x, y, (move, scale, shift)):
            return
        volume = as_tensor(given[1], "the volume")
        if volume is None:
            return
        wrong = first_near(
            volume,
            {
                "The sign of the volume: what the coupling stretches, its inverse shrinks.": (
                    scale.sum(1)
                ),
                "Add the logarithms of the scales up; you took their mean.": -scale.mean(1),
                "Give the logarithm of the volume.": (-scale).exp().prod(1),
                "One volume for each row: add up along dimension 1.": -scale,
            },
        )
        if wrong:
            print(wrong)
            return
        if not same(volume, -scale.sum(1), "the volume", atol=1e-4):
            if volume.shape == (count,):
                print("x is right, the volume is not: by which factor does each number shrink?")
            return
    print("Right: it is undone, and the network never had to be inverted.")


def check_undone(given, x: Tensor, y: Tensor, coupling: tuple[Tensor, Tensor, Tensor]) -> bool:
    """Whether it is x; says what is wrong otherwise."""
    given = as_tensor(given, "x")
    if given is None:
        return False
    move, scale, shift = coupling
    back = {
        "First take the shift away, then undo the scale.": y[:, move] * (-scale).exp() - shift,
        "Undo the scale: the factor is exp(-scale).": (y[:, move] - shift) * scale.exp(),
        "The scale is a logarithm: divide by its exponential.": (y[:, move] - shift) / scale,
        "The shift is still in it.": y[:, move] * (-scale).exp(),
        "That is the coupling once more, not its inverse.": y[:, move] * scale.exp() + shift,
    }
    misses = {text: y.index_copy(1, move, part) for text, part in back.items()}
    misses |= {"Put the moved numbers back beside those that stay.": x[:, move]}
    wrong = first_near(given, misses | {"Nothing has moved back yet.": y})
    if wrong:
        print(wrong)
        return False
    if same(given, x, "x", atol=1e-4):
        return True
    if given.shape == x.shape:
        print("Not x: ask the network about the numbers that stay, y[:, stay]; they are x's own.")
    return False


def check_length(length: float | None, numbers: int = 16) -> None:
    """The length that a style of so many numbers from N(0, I) has, roughly."""
    length = as_tensor(length, "my_length")
    if length is None:
        return
    if length.numel() != 1:
        print("Give one number: my_length = ...")
        return
    length = float(length.double())
    if abs(length - numbers**0.5) < 0.5:
        print(f"Right: the root of {numbers}. Hardly any style is near 0, the average hand.")
    elif abs(length - numbers) < 0.5:
        print("That is the mean of the *squared* length: each number adds 1 to it.")
    elif length < 1:
        print("That is the average hand: draw a thousand styles, and look at their norms.")
    else:
        print(f"Not {length:g}: draw a thousand styles, and look at their norms.")


def check_arc(arc: Callable | None) -> None:
    """`arc(a, b, share)` gives a style between two on the arc; a share of 0 is a, 1 is b."""
    for a, b in ((random(8), random(8, seed=1)), (random(32, seed=2), 1.5 * random(32, seed=3))):
        angle = torch.acos(a @ b / (a.norm() * b.norm()))
        for share in (0.0, 0.25, 0.5, 1.0):
            given = attempt(arc, a, b, share, name="arc")
            if given is None or (given := as_tensor(given, "the style")) is None:
                return
            first, second = torch.sin((1 - share) * angle), torch.sin(share * angle)
            true = (first * a + second * b) / torch.sin(angle)
            line = (1 - share) * a + share * b
            back = (second * a + first * b) / torch.sin(angle)
            turned = line / line.norm() * ((1 - share) * a.norm() + share * b.norm())
            if same(given, true, "the style", atol=1e-3):
                continue
            wrong = first_near(
                given,
                {
                    "That is the straight line: it passes too near to 0.": line,
                    "That leads from b to a.": back,
                    "Divide by the sine of the whole angle.": true * torch.sin(angle),
                    "The right length, but not at even speed: weigh a and b by sines.": turned,
                },
            )
            if wrong or given.shape == a.shape:
                print(wrong or f"Not at a share of {share}: weigh a and b by sines of the angle.")
            return
    print("Right: halfway along the arc a style is about as long as at its ends.")
