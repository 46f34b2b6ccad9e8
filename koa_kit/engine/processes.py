"""Several processes, one run: who am I, and what do the others have? NCCL between GPUs, gloo between CPUs."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from koa_kit.errors import KoaError


@dataclass(frozen=True)
class Processes:
    """Place of this process among those of a run."""

    rank: int  # its number, from 0
    count: int
    device: torch.device  # of this process

    @property
    def main(self) -> bool:
        """The one process that writes files and speaks."""
        return self.rank == 0

    def all(self, value: Any) -> list:
        """What each process passed, in order of rank; tensors come back on the CPU."""
        value = value.cpu() if isinstance(value, Tensor) else value
        if self.count == 1:
            return [value]
        values = [None] * self.count
        distributed.all_gather_object(values, value)
        return values

    def shared(self, model: nn.Module) -> nn.Module:
        """The model, its gradients averaged over all processes on the way back (`DistributedDataParallel`).

        Batch norms on GPUs take mean and variance over the batches of all processes. torch offers that on GPUs only:
        on CPUs each process normalises its own share of a batch, and the statistics of the first process are kept.
        """
        if self.count == 1:
            return model
        on_gpu = self.device.type == "cuda"
        if on_gpu:
            from timm.layers import convert_sync_batchnorm

            for name, child in model.named_children():
                setattr(model, name, convert_sync_batchnorm(child))
        return DistributedDataParallel(model, device_ids=[self.device.index or 0] if on_gpu else None)

    def wait(self) -> None:
        """Return when all processes have come here."""
        if self.count > 1:
            distributed.barrier()


def choose_device(name: str | None = None) -> str:
    """Name of the device to compute on: `name` if given, else a GPU if there is one, else the CPU.

    Raises
    ------
    KoaError
        If torch knows no such device, or this machine has none.
    """
    if name is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        # asked for a number: what is not there must not wait for the first batch to fail
        torch.zeros(1, device=name).item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        present = ["cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
        raise KoaError(
            f"There is no device {name!r} to compute on.",
            where=str(error).splitlines()[0],
            remedy=f"Choose from {', '.join(present)}, or leave it out: a GPU is taken if there is one.",
        ) from None
    return name


def find_processes(device: str | None = None) -> Processes:
    """Processes of this run: one, or as many as a launcher such as ``accelerate launch`` has started.

    Of several, each takes a GPU of its own; `device` as in `choose_device`.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return Processes(0, 1, torch.device(choose_device(device)))
    from accelerate import PartialState

    state = PartialState(cpu=choose_device(device) == "cpu")
    return Processes(state.process_index, state.num_processes, state.device)
