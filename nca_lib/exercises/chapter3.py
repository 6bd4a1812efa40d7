"""Checks for chapter 3, one rule for all."""

from __future__ import annotations

from nca_lib.rule import NCA

import torch


def check_bias(bias: torch.Tensor | None, rule: NCA) -> None:
    """What a 3 adds to the hidden units that an 8 does not, `[D]`, average hand."""
    if bias is None:
        print("Give a tensor with a number for each hidden unit: my_bias = ...")
        return
    three, eight = rule.genome(torch.tensor([3, 8]))
    true = (three - eight) @ rule.told.weight.T  # [D]
    bias = bias.squeeze()
    if bias.shape == three.shape:
        print("That looks like a genome: it has to go through rule.told.weight first.")
    elif bias.shape != true.shape:
        print(f"It has shape {list(bias.shape)}, wanted is {list(true.shape)}.")
    elif torch.allclose(bias, true, atol=1e-5):
        print("Right: that is all there is between a 3 and an 8.")
    elif torch.allclose(bias, -true, atol=1e-5):
        print("That is 8 minus 3: turn it round.")
    else:
        print("Not quite: multiply both genomes by rule.told.weight.T, then take the difference.")


def check_halfway(genome: torch.Tensor | None, rule: NCA) -> None:
    """A genome halfway between those of a 3 and an 8, average hand."""
    if genome is None:
        print("Give a tensor of shape [1, 32]: my_genome = ...")
        return
    three, eight = rule.genome(torch.tensor([3])), rule.genome(torch.tensor([8]))
    if genome.shape != three.shape:
        print(f"It has shape {list(genome.shape)}, wanted is {list(three.shape)}.")
    elif torch.allclose(genome, (three + eight) / 2, atol=1e-5):
        print("Right: the mean of the two. Grow it, and see which one wins.")
    else:
        print("That is not the mean of rule.genome(3) and rule.genome(8).")


def check_mean(weight: torch.Tensor | None, rules: list[NCA]) -> None:
    """The mean of the hidden layers' weights of ten rules."""
    if weight is None:
        print("Give a tensor: my_weight = ...")
        return
    weights = torch.stack([rule.perceived.weight for rule in rules])  # [10, D, P]
    if weight.shape != weights[0].shape:
        print(f"It has shape {list(weight.shape)}, wanted is {list(weights[0].shape)}.")
    elif torch.allclose(weight, weights.mean(0), atol=1e-5):
        print("Right.")
    elif torch.allclose(weight, weights.sum(0), atol=1e-4):
        print("That is their sum.")
    else:
        print("That is not the mean over the ten rules: torch.stack(...), then .mean(0).")


def check_hops(hops: torch.Tensor | None) -> None:
    """The steps after which news from row 14, column 14 can reach each cell, `[28, 28]`."""
    if hops is None:
        print("Give a tensor of shape [28, 28]: my_hops = ...")
        return
    away = (torch.arange(28) - 14).abs()
    true = torch.maximum(away[:, None], away[None])
    if hops.shape != true.shape:
        print(f"It has shape {list(hops.shape)}, wanted is {list(true.shape)}.")
    elif torch.allclose(hops.double(), true.double()):
        print("Right: news moves like a king on a chessboard.")
    elif hops[14, 14] != 0:
        print(f"The anchor's own cell knows at once: 0 in row 14, column 14, not {hops[14, 14]}.")
    elif torch.allclose(hops.double(), (away[:, None] + away[None]).double()):
        print("That way round the corner is too long: diagonal neighbours hear each other.")
    else:
        wrong = (hops != true).nonzero()[0].tolist()
        print(f"Not in row {wrong[0]}, column {wrong[1]}: how many moves would a king need?")
