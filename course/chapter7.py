"""Checks for chapter 7: the divergence of a code, a Gaussian per label, and walks among styles."""

from course.checking import Check, call_for_two, reports, require_number

import torch


def divergence(mean, log_variance, one=1.0, join=lambda terms: terms.sum(1)):
    return 0.5 * join(log_variance.exp() + mean.square() - one - log_variance)


KL = {
    "Right: and 0 where the code is N(0, I) itself.": {},
    "The -1 is missing: at N(0, I) the divergence is 0.": {"one": 0},
    "Sum over the numbers of a code; you took their mean.": {"join": lambda t: t.mean(1)},
    "That is the sum over the pictures: each row is one picture.": {"join": lambda t: t.sum(0)},
    "That is one number for all pictures: keep one for each.": {"join": torch.sum},
    "It is the logarithm of the *variance*.": lambda mean, logs: divergence(mean, 2 * logs),
}
check_kl = Check(divergence, lambda: [(*torch.randn(2, 6, 5),), (*torch.zeros(2, 2, 3),)], KL)


def gaussian(codes, root=torch.linalg.cholesky):
    return codes.mean(0), root(codes.T.cov(correction=0))


def mean_and_root(function, name, codes):
    mean, root = call_for_two(function, name, "mean, root", codes)
    return {"the mean": mean, "the root": root}


def codes_cases():
    """So many codes that a covariance divided by N or by N - 1 is the same."""
    return [(torch.randn(4000, 4) @ torch.randn(4, 4) + torch.randn(4),)]


GAUSSIAN = {
    "Right: triangular, and root @ root.T is the covariance.": {},
    "That is the covariance: take its Cholesky factor.": {"root": lambda c: c},
    "That is the transposed factor.": {"root": lambda c: torch.linalg.cholesky(c, upper=True)},
    "Those are standard deviations.": {"root": lambda c: c.diagonal().sqrt().diag()},
}
check_gaussian = Check(gaussian, codes_cases, GAUSSIAN, trial=mean_and_root, atol=2e-3)


def draw_codes(mean, root, noise):
    return mean + noise @ root.T


def noise_cases():
    mean, root, noise = torch.randn(4), torch.randn(4, 4).tril(), torch.randn(7, 4)
    return [(mean, root, noise), (mean, root, noise[:1])]


DRAW = {
    "Right.": {},
    "The mean is missing.": lambda mean, root, noise: noise @ root.T,
    "For a row u it is root @ u, not u @ root.": lambda mean, root, noise: mean + noise @ root,
    "Multiply by the whole root.": lambda mean, root, noise: mean + noise * root.diagonal(),
    "The mean is scaled, too: add it last.": lambda mean, root, noise: (mean + noise) @ root.T,
}
check_draw = Check(draw_codes, noise_cases, DRAW)


@reports
def check_length(length, numbers=16):
    """The length that a style of so many numbers from N(0, I) has, roughly."""
    hint = "draw a thousand styles, and look at their norms."
    wrong = {numbers: "That is the *squared* length.", 0: f"That is the mean style: {hint}"}
    require_number(length, "my_length", numbers**0.5, wrong, hint, atol=0.5)
    return f"Right: the root of {numbers}. Hardly any style is near 0, the mean style."


def arc(a, b, share, divide=True):
    angle = torch.acos(a @ b / (a.norm() * b.norm()))
    sines = ((1 - share) * angle).sin() * a + (share * angle).sin() * b
    return sines / angle.sin() if divide else sines


def arc_cases():
    pairs = (torch.randn(8), torch.randn(8)), (torch.randn(32), 1.5 * torch.randn(32))
    return [(a, b, share) for a, b in pairs for share in (0.0, 0.25, 0.5, 1.0)]


ARC = {
    "Right: halfway along the arc a style is about as long as at its ends.": {},
    "That is the straight line: it passes too near to 0.": torch.lerp,
    "That leads from b to a.": lambda a, b, share: arc(b, a, share),
    "Divide by the sine of the whole angle.": {"divide": False},
}
check_arc = Check(arc, arc_cases, ARC, atol=1e-3)
