"""Several processes that train one model: `torchrun --nproc-per-node N -m nca_lib finetune ...`.

As everywhere with PyTorch: each rank has its own pool, its own random numbers and its share of the
batch, and the gradients are averaged before every step. The main rank alone writes files; after a
restart the others begin with an empty pool.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from nca_lib.inputs import InputError
from nca_lib.interrupts import die_with_parent

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.rendezvous import rendezvous


def from_torchrun(name: str, default: int) -> int:
    """A number that torchrun puts into the environment."""
    value = os.environ.get(name, str(default))
    if not value.isdecimal():
        raise InputError(f"${name} is {value!r}: torchrun sets it to a number; unset it")
    return int(value)


@dataclass(frozen=True)
class Distributed:
    """This process among those that train together; alone, rank 0 of 1."""

    rank: int = 0
    world_size: int = 1

    @classmethod
    def join(cls, device: torch.device) -> tuple[Distributed, torch.device]:
        """Meet the other processes if torchrun started us; returns the device of this one."""
        if from_torchrun("WORLD_SIZE", 1) == 1:
            return cls(), device
        die_with_parent()
        if device.type == "cuda":
            device = torch.device("cuda", from_torchrun("LOCAL_RANK", 0))
            torch.cuda.set_device(device)
        store, rank, world_size = next(rendezvous("env://"))
        # torchrun keeps its store when it restarts the workers: keep the restarts apart
        store = dist.PrefixStore(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"), store)
        backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
        dist.init_process_group(backend, store=store, rank=rank, world_size=world_size)
        return cls(rank, world_size), device

    @property
    def is_main(self) -> bool:
        """The main rank alone writes files and shows progress."""
        return self.rank == 0

    def share(self, whole: int, name: str) -> int:
        """This rank's part of a batch or a pool. Raises InputError if it can't be divided."""
        if whole % self.world_size:
            raise InputError(
                f"{name} {whole} can't be divided among {self.world_size} processes: choose a "
                "multiple of their number"
            )
        return whole // self.world_size

    def average(self, tensor: Tensor) -> Tensor:
        """The mean over all ranks, in place."""
        if self.world_size > 1:
            dist.all_reduce(tensor)
            tensor /= self.world_size
        return tensor

    def average_gradients(self, model: nn.Module) -> None:
        """The gradients of all ranks become their mean, in one message."""
        if self.world_size == 1:
            return
        gradients = [p.grad for p in model.parameters()]
        together = self.average(torch.cat([gradient.flatten() for gradient in gradients]))
        parts = together.split([gradient.numel() for gradient in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient))

    def any(self, flag: bool) -> bool:
        """Whether the flag is raised on any rank."""
        return bool(self.average(torch.tensor([float(flag)])).item())

    def leave(self) -> None:
        """Wait for the others, then part."""
        if self.world_size > 1:
            dist.barrier()
            dist.destroy_process_group()
