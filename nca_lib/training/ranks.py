"""Several processes that train one rule together: `torchrun --nproc-per-node N -m nca_lib ...`.

Every rank draws the same random numbers for the whole batch, and then grows only its own share of
it. A draw belongs to its sample, not to a rank, so the number of ranks changes nothing but the
order in which gradients are added up. A pooled sample stays with the rank that owns its slot of the
pool (slot number modulo ranks); fresh samples even out the shares.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from nca_lib.errors import InputError
from nca_lib.stopping import die_with_parent

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.rendezvous import rendezvous


def from_torchrun(name: str, default: int) -> int:
    """A number that torchrun puts into the environment."""
    value = os.environ.get(name, str(default))
    if not value.isdecimal():
        raise InputError(f"${name} is {value!r}: torchrun sets it to a number; unset it")
    return int(value)


@dataclass(frozen=True)
class Ranks:
    """This process among those that train together; alone, number 0 of 1."""

    number: int = 0
    count: int = 1

    @classmethod
    def join(cls, device: torch.device) -> tuple[Ranks, torch.device]:
        """Meet the other processes if torchrun started us; returns the device of this one."""
        if from_torchrun("WORLD_SIZE", 1) == 1:
            return cls(), device
        die_with_parent()
        if device.type == "cuda":
            device = torch.device("cuda", from_torchrun("LOCAL_RANK", 0))
            torch.cuda.set_device(device)
        store, number, count = next(rendezvous("env://"))
        # torchrun keeps its store when it starts the workers again: keep the attempts apart
        store = dist.PrefixStore(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"), store)
        backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
        dist.init_process_group(backend, store=store, rank=number, world_size=count)
        return cls(number, count), device

    @property
    def first(self) -> bool:
        """The first rank alone writes files and shows progress."""
        return self.number == 0

    def share(self, slots: Tensor) -> Tensor:
        """Which samples of a batch are this rank's, increasing.

        Args:
            slots: int64 `[B]`, the slot in the pool that each sample is bound to, -1 for none.
        """
        owners = torch.where(slots < 0, -1, slots % self.count)
        load = torch.bincount(owners[owners >= 0], minlength=self.count)
        for sample in (owners < 0).nonzero().flatten().tolist():
            lightest = int(load.argmin())
            owners[sample] = lightest
            load[lightest] += 1
        return (owners == self.number).nonzero().flatten()

    def add_up(self, gradients: list[Tensor], numbers: Tensor) -> Tensor:
        """Sum over all ranks: the gradients in place, a few numbers beside them are returned."""
        if self.count == 1:
            return numbers
        everything = torch.cat([*(g.flatten() for g in gradients), numbers])  # one message
        dist.all_reduce(everything)
        *summed, numbers = everything.split([*(g.numel() for g in gradients), len(numbers)])
        for gradient, total in zip(gradients, summed, strict=True):
            gradient.copy_(total.view_as(gradient))
        return numbers

    def any(self, wish: bool) -> bool:
        """Whether any rank wishes it."""
        if self.count == 1:
            return wish
        wishes = torch.tensor([float(wish)])
        dist.all_reduce(wishes)
        return bool(wishes.item())

    def collect(self, shard: Tensor, total: int) -> Tensor | None:
        """Put the shards of a tensor together again, row by row in turn; None but on the first."""
        if self.count == 1:
            return shard
        shards = [None] * self.count if self.first else None
        dist.gather_object(shard.cpu(), shards)
        if shards is None:
            return None
        whole = shard.new_empty(total, *shard.shape[1:])
        for number, part in enumerate(shards):
            whole[number :: self.count] = part
        return whole

    def part(self, whole: Tensor) -> Tensor:
        """This rank's shard of a tensor, the inverse of `collect`."""
        return whole[self.number :: self.count].clone()

    def leave(self) -> None:
        """Wait for the others, then part."""
        if self.count > 1:
            dist.barrier()
            dist.destroy_process_group()
