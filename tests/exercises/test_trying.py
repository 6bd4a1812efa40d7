"""What checks share says what is wrong, and never raises, whatever the reader wrote."""

from nca_lib.exercises.trying import as_tensor, attempt, same

import numpy as np
import pytest
import torch

ONES = torch.ones(2, 3)
NOTHING = "returns nothing yet: replace the ... and end with return."


def test_what_the_function_gives_is_given_back_and_nothing_is_said(capsys):
    assert torch.equal(attempt(lambda a, b: a + b, ONES, 2), 3 * ONES)
    assert attempt(lambda: 0) == 0
    assert attempt(lambda: []) == []
    assert capsys.readouterr().out == ""


def raising(error):
    def function():
        raise error

    return function


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (None, "is no function yet: write it with def."),
        (..., "is no function yet: write it with def."),
        (3, "is no function yet: write it with def."),
        (lambda: None, NOTHING),
        (lambda: ..., NOTHING),
        (lambda x: x, "stopped with TypeError: "),
        (raising(ValueError("a shape\nand more")), "stopped with ValueError: a shape\n"),
        (raising(NotImplementedError()), "stopped with NotImplementedError\n"),
    ],
)
def test_what_goes_wrong_is_said_in_one_sentence(function, said, capsys):
    assert attempt(function, name="grow") is None
    out = capsys.readouterr().out
    assert out.startswith(f"grow {said}")
    assert out.count("\n") == 1


def test_the_function_cannot_change_what_it_is_compared_with():
    def spoil(state, states, settings):
        state.zero_()
        states[0].zero_()
        states.append(None)
        settings["seen"] = True
        return state

    one, several, settings = ONES.clone(), [ONES.clone()], {}
    assert torch.equal(attempt(spoil, one, several, settings), torch.zeros(2, 3))
    assert torch.equal(one, ONES)
    assert len(several) == 1
    assert torch.equal(several[0], ONES)
    assert settings == {"seen": True}  # only tensors are copied, and lists of them


def test_a_copy_lets_gradients_through():
    weight = torch.ones(2, requires_grad=True)
    attempt(lambda w: (w * 3).sum(), weight).backward()
    assert weight.grad.tolist() == [3, 3]


@pytest.mark.parametrize(
    "given",
    [ONES, ONES.double().requires_grad_(), np.ones((2, 3)), [[1, 1, 1], [1.0, 1, 1]], ONES.bool()],
)
def test_whatever_holds_numbers_is_a_tensor(given, capsys):
    tensor = as_tensor(given)
    assert not tensor.requires_grad
    assert same(given, ONES)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (None, "is still empty"),
        (..., "is still empty"),
        ("ones", "is of type str: give a tensor"),
        ({1: 2}, "is of type dict: give a tensor"),
        ([[1, 2], [3]], "is of type list: give a tensor"),
        ([ONES, ONES], "is of type list: give a tensor"),
        (len, "is of type builtin_function_or_method: give a tensor"),
        (ONES + 1j, "is torch.complex64"),
        (ONES.to_sparse(), "is torch.float32, torch.sparse_coo"),
    ],
)
def test_what_is_no_tensor_is_said(given, said, capsys):
    assert as_tensor(given, "my answer") is None
    assert capsys.readouterr().out.startswith(f"my answer {said}")
    assert not same(given, ONES, "my answer")
    assert capsys.readouterr().out.count("\n") == 1


@pytest.mark.parametrize("given", [ONES.T, ONES[None], 1.0, torch.zeros(0, 3)])
def test_another_shape_is_said(given, capsys):
    assert not same(given, ONES)
    assert "expected [2, 3]" in capsys.readouterr().out


def test_what_is_nearly_the_same_is_the_same_and_no_more(capsys):
    assert same(ONES + 1e-6, ONES)
    assert not same(ONES + 1e-3, ONES)
    assert same(ONES + 1e-3, ONES, atol=1e-2)
    assert not same(ONES * torch.nan, ONES)
    assert capsys.readouterr().out == ""  # what is wrong is for the check to say
