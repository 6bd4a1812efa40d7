"""The checks of chapter 7 accept what is right, name near misses, and never raise."""

from nca_lib.exercises import chapter7
from nca_lib.genome import StyleCode

import pytest
import torch


def kl(mean, log_variance):
    return 0.5 * (log_variance.exp() + mean**2 - 1 - log_variance).sum(1)


def distributions(mean, log_variance):
    own = torch.distributions.Normal(mean, (log_variance / 2).exp())
    normal = torch.distributions.Normal(torch.zeros_like(mean), 1.0)
    return torch.distributions.kl_divergence(own, normal).sum(-1)


def gaussian(codes):
    return codes.mean(0), torch.linalg.cholesky(codes.T.cov(correction=0))


def sample_gaussian(codes):
    off = codes - codes.mean(0)
    return [codes.mean(0).double(), torch.linalg.cholesky(off.T @ off / (len(off) - 1)).numpy()]


def symmetric(codes):
    values, vectors = torch.linalg.eigh(codes.T.cov())
    return codes.mean(0), vectors @ values.sqrt().diag() @ vectors.T


def draw_codes(mean, root, noise):
    return mean + noise @ root.T


def undo(y, stay, move, network):
    scale, shift = network(y[:, stay])
    x = y.clone()
    x[:, move] = (y[:, move] - shift) * (-scale).exp()
    return x, -scale.sum(1)


def undo_in_place(y, stay, move, network):
    scale, shift = network(y[:, stay])
    y[:, move] = (y[:, move] - shift) / scale.exp()
    return [y.double(), -scale.sum(dim=-1)]


def undone(change=lambda moved, scale, shift: (moved - shift) * (-scale).exp(), volume=None):
    """A near miss of `undo`."""

    def wrong(y, stay, move, network):
        scale, shift = network(y[:, stay])
        x = y.index_copy(1, move, change(y[:, move], scale, shift))
        return x, -scale.sum(1) if volume is None else volume(scale)

    return wrong


def asks_the_moved(y, stay, move, network):
    scale, shift = network(y[:, move])
    return y.index_copy(1, move, (y[:, move] - shift) * (-scale).exp()), -scale.sum(1)


def arc(a, b, share):
    angle = torch.acos(torch.cosine_similarity(a, b, 0))
    return (((1 - share) * angle).sin() * a + (share * angle).sin() * b) / angle.sin()


def arc_numpy(a, b, share):
    return arc(a.double(), b.double(), share).numpy()


def on_the_sphere(a, b, share):
    line = (1 - share) * a + share * b
    return line / line.norm() * ((1 - share) * a.norm() + share * b.norm())


def raises(*inputs):
    raise ValueError("not yet")


NOTHING = [None, ..., 3.0, "text", [1, 2], lambda: None, raises, lambda *_: None, lambda *_: ...]
NOTHING += [lambda *_: "text", lambda *_: torch.zeros(2), lambda *_: (1, "text"), lambda *_: ()]
CHECKS = [  # check, other arguments, right answers, wrong answers
    (
        chapter7.check_kl,
        (),
        [kl, distributions, lambda m, v: StyleCode(m.double(), v.double()).kl()],
        [
            lambda m, v: 2 * kl(m, v),
            lambda m, v: kl(m, v) / m.shape[1],
            lambda m, v: kl(m.T, v.T),
            lambda m, v: kl(m, v).mean(),
            lambda m, v: -kl(m, v),
            lambda m, v: kl(m, 2 * v),
            lambda m, v: kl(m, v) + 0.5 * m.shape[1],
            lambda m, v: 0.5 * (v.exp() + m**2 - 1 - v),
            lambda m, v: kl(m, v) + 0.1,
        ],
    ),
    (
        chapter7.check_gaussian,
        (),
        [gaussian, sample_gaussian],
        [
            symmetric,
            lambda c: c.mean(0),
            lambda c: (c.mean(1), gaussian(c)[1]),
            lambda c: (c.mean(), gaussian(c)[1]),
            lambda c: (c.mean(0) + 0.01, gaussian(c)[1]),
            lambda c: (c.mean(0), c.T.cov()),
            lambda c: (c.mean(0), gaussian(c)[1].T),
            lambda c: (c.mean(0), c.std(0).diag()),
            lambda c: (c.mean(0), c.std(0)),
            lambda c: (c.mean(0), torch.linalg.cholesky(c.T @ c / len(c))),
            lambda c: gaussian(c)[::-1],
        ],
    ),
    (
        chapter7.check_draw,
        (),
        [draw_codes, lambda m, r, u: torch.stack([m + r @ row for row in u]).double()],
        [
            lambda m, r, u: u @ r.T,
            lambda m, r, u: m + u @ r,
            lambda m, r, u: m + u * r.diagonal(),
            lambda m, r, u: m + u,
            lambda m, r, u: (m + u) @ r.T,
            lambda m, r, u: draw_codes(m, r, u).T,
            lambda m, r, u: draw_codes(m, r, u).squeeze(0),
            lambda m, r, u: draw_codes(m, r, u) + 0.01,
        ],
    ),
    (
        chapter7.check_undo,
        (),
        [undo, undo_in_place],
        [
            asks_the_moved,
            lambda *inputs: undo(*inputs)[0],
            lambda *inputs: undo(*inputs)[::-1],
            lambda y, *_: (y, torch.zeros(len(y))),
            lambda y, stay, move, network: (undo(y, stay, move, network)[0][:, move], 0),
            undone(lambda moved, scale, shift: moved * (-scale).exp() - shift),
            undone(lambda moved, scale, shift: (moved - shift) * scale.exp()),
            undone(lambda moved, scale, shift: (moved - shift) / scale),
            undone(lambda moved, scale, shift: moved * (-scale).exp()),
            undone(lambda moved, scale, shift: moved * scale.exp() + shift),
            undone(volume=lambda scale: scale.sum(1)),
            undone(volume=lambda scale: -scale.mean(1)),
            undone(volume=lambda scale: -scale),
            undone(volume=lambda scale: -scale.sum()),
            undone(volume=lambda scale: (-scale).exp().prod(1)),
            undone(volume=lambda scale: 0 * scale.sum(1)),
        ],
    ),
    (
        chapter7.check_length,
        (32,),
        [32**0.5, torch.tensor(5.6), 5.7],
        [0.0, 32, 4.0, 16.0, torch.randn(3), float("nan")],
    ),
    (
        chapter7.check_arc,
        (),
        [arc, arc_numpy],
        [
            on_the_sphere,
            lambda a, b, share: a + share * (b - a),
            lambda a, b, share: arc(b, a, share),
            lambda a, b, share: arc(a, b, share)[None],
            lambda a, b, share: arc(a, b, share) * torch.acos(torch.cosine_similarity(a, b, 0)),
            lambda a, b, share: arc(a, b, share) * 1.01,
        ],
    ),
]


@pytest.mark.parametrize(
    ("check", "others", "right", "wrong"), CHECKS, ids=[c[0].__name__ for c in CHECKS]
)
def test_check(capsys, check, others, right, wrong):
    for answer in right:
        check(answer, *others)
        assert capsys.readouterr().out.startswith("Right"), answer
    for number, answer in enumerate([*NOTHING, *wrong]):
        check(answer, *others)
        message = capsys.readouterr().out
        assert message.strip(), number
        assert not message.startswith("Right"), number


@pytest.mark.parametrize(
    ("check", "answer", "said"),
    [
        (chapter7.check_kl, lambda m, v: 2 * kl(m, v), "half"),
        (chapter7.check_kl, lambda m, v: kl(m, 2 * v), "logarithm of the variance"),
        (chapter7.check_gaussian, lambda c: (c.mean(0), c.T.cov()), "That is the covariance"),
        (chapter7.check_gaussian, symmetric, "not the triangular"),
        (chapter7.check_draw, lambda m, r, u: m + u @ r, "root @ u"),
        (chapter7.check_undo, undone(volume=lambda scale: scale.sum(1)), "sign"),
        (chapter7.check_undo, asks_the_moved, "the numbers that stay"),
        (chapter7.check_length, [32], "squared"),
        (chapter7.check_arc, on_the_sphere, "even speed"),
    ],
)
def test_a_near_miss_is_named(capsys, check, answer, said):
    if check is chapter7.check_length:
        check(answer[0], 32)
    else:
        check(answer)
    assert said in capsys.readouterr().out
