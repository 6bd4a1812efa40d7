"""The checks of the exercises accept what is right and say what is wrong."""

from nca_lib.cells import square
from nca_lib.data import load_digits
from nca_lib.exercises import chapter1, chapter2, chapter3, chapter4, chapter5, chapter6, chapter7
from nca_lib.rule import NCA, RuleConfig
from nca_lib.training import TrainingConfig

import pytest
import torch

torch.manual_seed(0)
LAPLACE = torch.full((3, 3), -1 / 8)
LAPLACE[1, 1] = 1.0
RULE = NCA(RuleConfig(hidden=8))
RULES = [NCA(RuleConfig(hidden=8)) for _ in range(10)]
THREE, EIGHT = (RULE.genome(torch.tensor([digit])) for digit in (3, 8))
BIAS = ((THREE - EIGHT) @ RULE.told.weight.T)[0]
AWAY = (torch.arange(28) - 14).abs()
HOPS = torch.maximum(AWAY[:, None], AWAY[None])
KNOWN = {"all black": 0, "class mean": 0, "PCA per class": 16, "grown": 16, "restored": 784}
WEIGHTS = torch.stack([rule.perceived.weight for rule in RULES])
TEST = load_digits("embedded").test.limit(50)
INK = TEST.images > 0.5
OTHERS = TEST.images.roll(1, 0)
IOU = ((INK & (OTHERS > 0.5)).sum((1, 2, 3)) / (INK | (OTHERS > 0.5)).sum((1, 2, 3))).mean().item()
PALE = 0.8 * TEST.images  # is right at a threshold of 0.4
Y, X = torch.arange(28)[:, None] - 13.5, torch.arange(28)[None] - 13.5
DISTANCE = (Y**2 + X**2).sqrt()
A, B = torch.randn(16), torch.randn(16)
SPREAD = torch.randn(16, 16)
CHECKS = [  # check, other arguments, right answers, wrong answers
    (chapter1.check_reach, (), [10], [5, 12, 20]),
    (chapter1.check_laplacian, (), [LAPLACE], [LAPLACE.abs(), torch.zeros(2, 2), 0 * LAPLACE]),
    (chapter1.check_alive_count, (), [9], [1, 4, 25]),
    (
        chapter1.check_parameters,
        (),
        [NCA(RuleConfig(hidden=32, style_dim=0))],
        [NCA(), NCA(RuleConfig(hidden=4, style_dim=0))],
    ),
    (
        chapter2.check_loss_steps,
        (),
        [(30, 36, 42, 48)],
        [(48, 42, 36, 30), (30, 36, 42, 44), (10, 30, 40, 48)],
    ),
    (chapter2.check_age, (), [8], [1, 32, 256]),
    (
        chapter2.check_config,
        (),
        [TrainingConfig(pool_share=0.75, pool_start=0.0)],
        [TrainingConfig(), TrainingConfig(pool_share=0.75)],
    ),
    (chapter3.check_bias, (RULE,), [BIAS, BIAS[None]], [-BIAS, THREE - EIGHT, BIAS[1:], 2 * BIAS]),
    (chapter3.check_halfway, (RULE,), [(THREE + EIGHT) / 2], [THREE, THREE[0]]),
    (chapter3.check_mean, (RULES,), [WEIGHTS.mean(0)], [WEIGHTS.sum(0), WEIGHTS[0], WEIGHTS]),
    (
        chapter3.check_hops,
        (),
        [HOPS, HOPS.float()],
        [AWAY[:, None] + AWAY, HOPS + 1, HOPS[1:], (AWAY[:, None] ** 2 + AWAY**2).sqrt()],
    ),
    (
        chapter4.check_black,
        (TEST,),
        [1 - INK.double().mean().item()],
        [INK.double().mean().item(), 0.5],
    ),
    (
        chapter4.check_iou,
        (TEST.images, OTHERS),
        [IOU],
        [((OTHERS > 0.5) == INK).double().mean().item(), 0.99],
    ),
    (
        chapter4.check_known,
        (),
        [KNOWN],
        [KNOWN | {"class mean": 16}, KNOWN | {"restored": 16}, {"all black": 0}],
    ),
    (chapter4.check_threshold, (PALE, TEST), [0.4], [0.6]),
    (chapter5.check_shift, (), [(-1, 3)], [(1, -3), (13, 17), (-1.2, 3.1), (1, 2, 3)]),
    (chapter5.check_slow, (), [0.1], [0.0, 0.05, 0.5, 2.0]),
    (
        chapter6.check_ring,
        (),
        [(DISTANCE >= 6) & (DISTANCE <= 8)],
        [square(4, 4, 20), DISTANCE, DISTANCE > 6, (DISTANCE > 6) & (DISTANCE < 6.5)],
    ),
    (chapter6.check_fraction, (), [100 / 784], [12.8, 0.5, 684 / 784]),
    (
        chapter6.check_marks,
        (),
        [{"right", "bottom"}],
        [{"left", "right"}, {"right"}, set(), "right", {"middle"}],
    ),
    (chapter6.check_everything, (), ["nothing"], ["noise"]),
    (
        chapter7.check_between,
        (A, B),
        [0.75 * A + 0.25 * B],
        [0.25 * A + 0.75 * B, A, torch.zeros(3)],
    ),
    (chapter7.check_length, (), [4.0], [0.0, 16.0]),
    (
        chapter7.check_inverse,
        (A, SPREAD, B),
        [A + SPREAD @ B],
        [SPREAD @ B, B, torch.zeros(3)],
    ),
    (
        chapter7.check_style,
        (A + SPREAD @ B, A, SPREAD),
        [B],
        [SPREAD @ B, B + torch.linalg.solve(SPREAD, A), SPREAD @ SPREAD @ B, A, torch.zeros(3)],
    ),
]


@pytest.mark.parametrize(
    ("check", "others", "right", "wrong"), CHECKS, ids=[c[0].__name__ for c in CHECKS]
)
def test_check(capsys, check, others, right, wrong):
    for answer in right:
        check(answer, *others)
        assert capsys.readouterr().out.startswith("Right")
    for answer in [None, *wrong]:
        check(answer, *others)
        message = capsys.readouterr().out
        assert message.strip()
        assert not message.startswith("Right")


def test_chance_needs_two_answers(capsys):
    for answers in ((None, None), (True, True), (False, False), (False, True)):
        chapter5.check_chance(*answers)
        assert not capsys.readouterr().out.startswith("Right")
    chapter5.check_chance(True, False)
    assert capsys.readouterr().out.startswith("Right")
