"""Several processes, one run: who am I, what do the others have? NCCL between GPUs, gloo between CPUs.

Every process holds the same model and draws the same epoch; of each batch it takes its own part. The logits, five
numbers a knee, are gathered, so that every process computes the loss of the whole batch, whatever its form; gradients
are then summed. With the batch norms shared too, two processes do what one does with the whole batch.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, distributed, nn
from torch.nn import functional


@dataclass(frozen=True)
class Processes:
    """Place of this process among those of a run.

    Attributes
    ----------
    rank, count
        Number of this process from 0, and how many there are.
    device
        Device of this process.
    """

    rank: int
    count: int
    device: torch.device

    @property
    def main(self) -> bool:
        """The one process that writes files and speaks."""
        return self.rank == 0

    def gather(self, values: Tensor) -> Tensor:
        """Rows of all processes in order of rank, with gradients for one's own; each has the same number of rows."""
        return values if self.count == 1 else _Gather.apply(values, self)

    def gather_uneven(self, values: Tensor) -> Tensor:
        """Rows of all processes in order of rank, without gradients; processes may have different numbers of them."""
        if self.count == 1:
            return values
        lengths = self.gather(torch.tensor([len(values)], device=values.device)).tolist()
        padded = torch.cat([values, values.new_zeros(max(lengths) - len(values), *values.shape[1:])])
        everyone = self.gather(padded).chunk(self.count)
        return torch.cat([part[:length] for part, length in zip(everyone, lengths, strict=True)])

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace every gradient by its sum over all processes, in one message."""
        if self.count == 1:
            return
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        message = torch.cat([gradient.flatten() for gradient in gradients])
        distributed.all_reduce(message)
        for gradient, summed in zip(gradients, message.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(summed.view_as(gradient))

    def wait(self) -> None:
        """Return when all processes have come here."""
        if self.count > 1:
            distributed.barrier()


def choose_device(name: str | None = None) -> str:
    """Name of the device to compute on: `name` if given, else a GPU if there is one, else the CPU."""
    return name or ("cuda" if torch.cuda.is_available() else "cpu")


def find_processes(device: str | None = None) -> Processes:
    """Processes of this run: one, or as many as a launcher such as ``accelerate launch`` has started.

    Parameters
    ----------
    device
        Such as "cpu" or "cuda"; omitted, a GPU if there is one. Several processes take one GPU each.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return Processes(0, 1, torch.device(choose_device(device)))
    from accelerate import PartialState

    state = PartialState(cpu=choose_device(device) == "cpu")
    return Processes(state.process_index, state.num_processes, state.device)


class _Gather(torch.autograd.Function):
    """Every process computes the same loss of the same rows, so the gradient of one's own rows is complete here."""

    @staticmethod
    def forward(ctx, values: Tensor, processes: Processes) -> Tensor:
        ctx.rank, ctx.count = processes.rank, processes.count
        everyone = [torch.empty_like(values, memory_format=torch.contiguous_format) for _ in range(processes.count)]
        distributed.all_gather(everyone, values.contiguous())
        return torch.cat(everyone)

    @staticmethod
    def backward(ctx, gradient: Tensor):
        return gradient.chunk(ctx.count)[ctx.rank], None


class _Sum(torch.autograd.Function):
    """Sum over processes; what the others did with the sum comes back as gradient."""

    @staticmethod
    def forward(ctx, values: Tensor) -> Tensor:
        summed = values.clone()
        distributed.all_reduce(summed)
        return summed

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        summed = gradient.clone()
        distributed.all_reduce(summed)
        return summed


class SharedBatchNorm(nn.BatchNorm2d):
    """Batch norm with mean and variance over the batches of all processes, for CPUs: torch's own needs a GPU."""

    @classmethod
    def of(cls, norm: nn.BatchNorm2d, processes: Processes) -> SharedBatchNorm:
        """The same layer, its parameters and statistics included; timm's activation after it is kept."""
        shared = cls(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
        shared.weight, shared.bias = norm.weight, norm.bias
        shared.running_mean, shared.running_var = norm.running_mean, norm.running_var
        shared.num_batches_tracked = norm.num_batches_tracked
        shared.drop, shared.act = getattr(norm, "drop", nn.Identity()), getattr(norm, "act", nn.Identity())
        shared.processes, shared.sum_over_processes = processes, _Sum.apply
        return shared.train(norm.training)

    def forward(self, values: Tensor) -> Tensor:
        if not self.training:
            normed = functional.batch_norm(
                values, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
            )
            return self.act(self.drop(normed))
        count = values.numel() / self.num_features * self.processes.count
        mean = self.sum_over_processes(values.sum((0, 2, 3))) / count
        centred = values - mean[:, None, None]
        variance = self.sum_over_processes(centred.square().sum((0, 2, 3))) / count
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * count / (count - 1), self.momentum)
        factor = self.weight * (variance + self.eps).rsqrt()
        return self.act(self.drop(centred * factor[:, None, None] + self.bias[:, None, None]))


def share_batch_norms(model: nn.Module, processes: Processes) -> None:
    """Let the batch norms of a model see the whole batch, in place; with one process nothing changes."""
    if processes.count == 1:
        return
    if processes.device.type == "cuda":
        from timm.layers import convert_sync_batchnorm

        for name, child in model.named_children():
            setattr(model, name, convert_sync_batchnorm(child))
        return
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.BatchNorm2d):
                setattr(parent, name, SharedBatchNorm.of(child, processes))
