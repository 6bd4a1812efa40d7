"""Checks for chapter 2, one rule per digit."""

from __future__ import annotations

from nca_lib.training import TrainingConfig


def check_loss_steps(steps: tuple[int, ...] | None) -> None:
    """Four loss steps in the second half of a rollout of 48 steps, the last one at its end."""
    if steps is None:
        print("Give four numbers: my_steps = (...)")
    elif len(steps) != 4 or list(steps) != sorted(set(steps)):
        print(f"{steps}: wanted are four different numbers, in rising order.")
    elif steps[-1] != 48:
        print(f"The last loss is taken at step {steps[-1]}, the rollout ends at 48.")
    elif steps[0] <= 24:
        print(f"Step {steps[0]} is in the first half: the seed is still spreading there.")
    else:
        print("Right. nca_lib.training.second_half(48) gives (30, 36, 42, 48).")


def check_age(age: float | None) -> None:
    """The mean number of rollouts of a sample that is replaced with probability 1/8 each time."""
    if age is None:
        print("Give a number: my_age = ...")
    elif abs(age - 8) < 0.5:
        print("Right: the mean of a geometric distribution with p = 1/8 is 8 rollouts.")
    elif age == 256:
        print("Those are its steps; wanted are rollouts, of 32 steps each.")
    else:
        print(f"Not {age}: if one of eight leaves in every round, how long does one stay?")


def check_config(config: TrainingConfig | None) -> None:
    """A training in which three of four samples come from the pool, from the start."""
    if config is None:
        print("Make one: my_config = replace(config, ...)")
    elif config.pool_share != 0.75:
        print(f"pool_share is {config.pool_share}, three of four is 0.75.")
    elif config.pool_start != 0:
        print(f"pool_start is {config.pool_start}: the pool would wait.")
    else:
        print("Right.")
