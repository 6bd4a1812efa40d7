"""The checks of the exercises accept what is right and say what is wrong."""

import pytest
import torch

from nca_lib.exercises import chapter1
from nca_lib.rule import NCA, RuleConfig


def says(capsys, check, *answer) -> str:
    check(*answer)
    return capsys.readouterr().out


@pytest.mark.parametrize(
    ("check", "right", "wrong"),
    [
        (chapter1.check_reach, 10, [None, 5, 20]),
        (
            chapter1.check_laplacian,
            torch.full((3, 3), -1 / 8).index_put(
                (torch.tensor(1), torch.tensor(1)), torch.tensor(1.0)
            ),
            [None, torch.ones(3, 3), torch.zeros(2, 2), torch.zeros(3, 3)],
        ),
        (chapter1.check_alive_count, 9, [None, 1, 4]),
        (
            chapter1.check_parameters,
            NCA(RuleConfig(hidden=32, style_dim=0)),
            [None, NCA(RuleConfig()), NCA(RuleConfig(hidden=4, style_dim=0))],
        ),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_check(capsys, check, right, wrong):
    assert says(capsys, check, right).startswith("Right")
    for answer in wrong:
        message = says(capsys, check, answer)
        assert message
        assert not message.startswith("Right")
