"""Checks for chapter 3, one rule for all."""

from __future__ import annotations

import torch

from nca_lib.rule import NCA


def check_genome_length(length: int | None, rule: NCA) -> None:
    """How many numbers a cell of the rule is told."""
    true = rule.config.label_dim + rule.config.style_dim
    if length is None:
        print("Give a number: length = ...")
    elif length == true:
        print("Right: the label embedding and the style code, one behind the other.")
    elif length in (rule.config.label_dim, rule.config.style_dim):
        print("That is one of its two parts.")
    else:
        print(f"Not {length}: look at the shape of rule.genome(labels, styles).")


def check_halfway(genome: torch.Tensor | None, rule: NCA) -> None:
    """A genome halfway between those of a 3 and an 8, average hand."""
    if genome is None:
        print("Give a tensor of shape [1, 32]: genome = ...")
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
        print("Give a tensor: weight = ...")
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
