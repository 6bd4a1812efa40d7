"""What a rollout is given: a plan, and for the fast engines the weights of the update rule.

Here wrong input is refused, once for all engines, and here it is decided whether a model still has
`NCA`'s own step, which is the only one that the fast engines know.
"""

from __future__ import annotations

import os
import warnings
from typing import NamedTuple

from nca_lib.inputs import InputError, as_tensor, as_whole
from nca_lib.rollout.fire import rng_seeds
from nca_lib.state import ALIVE_THRESHOLD

import torch
from torch import Tensor, nn

REPLACEABLE = ("perceive", "update", "step")
HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


class Weights(NamedTuple):
    """The update rule for one batch; a cell perceives `P` numbers, the hidden layer has `D`."""

    hidden: Tensor  # [D, P]
    bias: Tensor  # [B, D], the condition's part included
    output: Tensor  # [C, D], rows of frozen channels zero


class Plan(NamedTuple):
    """How long, what to record, and how cells live and fire: plain values."""

    steps: int
    record_steps: tuple[int, ...]  # increasing, from 1 to `steps`: the states to return
    first_step: int  # steps that the samples have made before (a rollout continued)
    fire_rate: float
    sobel: bool  # perceive itself and two gradients (8 times too large); else all nine neighbours
    frozen: tuple[int, ...]  # channels that never change, in dead cells either
    alive_channel: int
    alive_threshold: float = ALIVE_THRESHOLD


# ---- input ---------------------------------------------------------------------------------------


def make_plan(model, state: Tensor, steps, record_steps, first_step) -> Plan:
    """The plan of a rollout; see `NCA.rollout`."""
    steps = as_whole(steps, "steps", least=1)
    check_memory(state, record_steps)
    return Plan(
        steps, as_record_steps(record_steps, steps), as_whole(first_step, "first_step"),
        model.config.fire_rate, sees_sobel(model), model.config.frozen, model.spec.alive,
    )  # fmt: skip


def check_memory(state: Tensor, record_steps) -> None:
    """Refuse to record states that fill more than a quarter of the machine's memory."""
    count = len(record_steps) if isinstance(record_steps, range | tuple | list) else 1
    room = 2**32  # bytes, where the machine doesn't say
    if "SC_PHYS_PAGES" in getattr(os, "sysconf_names", ()):
        room = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 4
    if count > 1 and count * state.nbytes > room:
        need = f"{count} states of {state.nbytes:,} bytes"
        raise InputError(f"{need} fill the memory: take fewer steps, or record fewer of them")


def as_record_steps(record_steps, steps: int) -> tuple[int, ...]:
    """The steps to record, increasing, from 1 to `steps`: a number or several; None: the last."""
    if record_steps is None:
        return (steps,)
    several = hasattr(record_steps, "__iter__") and getattr(record_steps, "ndim", 1)
    given = record_steps if several else [record_steps]
    wanted = tuple(as_whole(step, "a step to record") for step in given)
    if not wanted or list(wanted) != sorted(set(wanted)):
        raise InputError(f"steps to record are {list(wanted)}: give increasing numbers")
    if wanted[0] < 1 or wanted[-1] > steps:
        raise InputError(f"steps to record are {list(wanted)}: they go from 1 to {steps}")
    return wanted


def as_rng_seeds(seeds, state: Tensor) -> Tensor:
    """One RNG seed per sample, int64 `[B]`, on the device of the state `[B, C, H, W]`."""
    if isinstance(seeds, int):
        return rng_seeds(len(state), seeds).to(state.device)
    seeds = as_tensor(seeds, "rng_seeds")
    whole = not (seeds.is_floating_point() or seeds.is_complex() or seeds.dtype == torch.bool)
    if not whole or seeds.shape != (len(state),) or (seeds < 0).any():
        raise InputError(f"rng_seeds: want whole numbers [{len(state)}], >= 0, one per sample")
    return seeds.to(state.device, torch.int64)


def check_inputs(model, state: Tensor, condition: Tensor | None) -> Tensor | None:
    """The condition of each sample, once it is sure that the rollout can be computed."""
    c, own = model.config.channels, model.kernels
    if state.dim() != 4 or state.shape[1] != c or not (state.shape[2] and state.shape[3]):
        raise InputError(f"state has shape {list(state.shape)}: this model wants [B, {c}, H, W]")
    if torch.is_autocast_enabled(state.device.type):
        raise InputError("a rollout computes in float32 or float64: call it outside autocast")
    if (condition is None) != (model.from_condition is None):
        needs = "needs" if condition is None else "takes no"
        raise InputError(f"this model {needs} condition: see model.condition(labels)")
    given = {"state": state}
    if condition is not None:
        want = [len(state), model.config.label_dim + model.config.style_dim]
        if list(condition.shape) not in (want, [1, want[1]]):
            raise InputError(f"condition has shape {list(condition.shape)}: want {want}")
        condition = condition.expand(len(state), -1)
        given["condition"] = condition
    for name, tensor in given.items():
        if (tensor.dtype, tensor.device) != (own.dtype, own.device):
            raise InputError(
                f"{name} is {tensor.dtype} on {tensor.device}, the model {own.dtype} on "
                f"{own.device}: convert one of them, as in {name}.to(model.kernels)"
            )
    return condition


# ---- the fast path -------------------------------------------------------------------------------


def weights_of(model, condition: Tensor | None, batch: int, sobel: bool) -> Weights | None:
    """The update rule as the fast engines want it; None if somebody has replaced part of it.

    They perceive the cell itself and two Sobel gradients without their factor 1/8, or all nine
    neighbours: any other 3x3 kernels are nine weights each, and join the hidden layer.
    """
    if not has_own_step(model):
        warn_once(type(model).__name__)
        return None
    kernels, hidden, output = model.kernels, model.hidden.weight, model.output.weight
    hidden = hidden.unflatten(1, (len(kernels), model.config.channels))  # [D, K, C]
    if sobel:
        hidden = hidden * kernels.new_tensor([1, 1 / 8, 1 / 8])[:, None]  # [D, 3, C]
    else:
        hidden = torch.einsum("dkc,kn->dnc", hidden, kernels.flatten(1))  # [D, 9, C]
    bias = model.hidden.bias.expand(batch, -1)
    if condition is not None:
        bias = model.hidden.bias + model.from_condition(condition)
    if model.config.frozen:
        output = output * model.free[:, :, 0]
    return Weights(hidden.flatten(1), bias, output)


def has_own_step(model) -> bool:
    """Whether perception, update and step are `NCA`'s, and its layers plain and without hooks."""
    from nca_lib.model import NCA  # it imports this module: late

    layers = [x for x in (model.hidden, model.from_condition, model.output) if x is not None]
    plain = all(type(layer) is nn.Linear for layer in layers) and model.output.bias is None
    hooked = any(getattr(layer, hooks) for layer in layers for hooks in HOOKS)
    inherited = all(getattr(type(model), m) is getattr(NCA, m) for m in REPLACEABLE)
    return plain and inherited and not hooked and not model.__dict__.keys() & {*REPLACEABLE}


def sees_sobel(model) -> bool:
    """Whether the kernels are Sobel's; looked up anew only when they have changed."""
    from nca_lib.model import perception_kernels

    kernels = model.kernels
    key = id(kernels), None if kernels.is_inference() else kernels._version
    if model.__dict__.get("_seen", (None,))[0] != key:
        model.__dict__["_seen"] = key, torch.equal(kernels, perception_kernels("sobel").to(kernels))
    return model.__dict__["_seen"][1]


def check_first_derivative() -> None:
    """Refuse to go on: called on the way back, where the fast engines know no second one."""
    if torch.is_grad_enabled():  # by create_graph=True, as in Hessians and gradient penalties
        raise InputError(
            "second derivatives of a rollout want engine='dense': the fast ones know the first only"
        )


_warned = set()


def warn_once(name: str) -> None:
    """Say once per class that the fast path is left."""
    if name not in _warned:
        _warned.add(name)
        warnings.warn(
            f"{name} has its own perceive, update, step, layers or hooks: its rollouts take the "
            "dense step, which is several times slower",
            stacklevel=6,
        )
