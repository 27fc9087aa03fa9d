"""Processes that learn together, each from its own rows, as `torchrun` starts them."""

import os
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mdncli.errors import ParameterError
from mdncli.learning.network import Perceptrons
from mdncli.learning.optimizer import AveragedAdam
from mdncli.types import Array

# From inputs and dropout to outputs; see `Perceptrons`.
Forward = Callable[..., Tensor]
# What `torchrun` sets for each process.
_RANK, _COUNT = "RANK", "WORLD_SIZE"
# Others may take longer to read their rows.
_LONGEST_WAIT = timedelta(hours=6)


class Processes:
    """The processes of one fit. This class is a process on its own.

    Attributes:
        rank: of this process, from 0.
        count: of all processes.
        in_step: whether all processes do the same at present, so that all meet the same error.
    """

    rank, count, in_step = 0, 1, False

    def sum(self, values: Array) -> Array:
        """Return the sums over all processes."""
        return values

    def gather(self, value: Any) -> list[Any]:
        """Return the values of all processes, in the order of their ranks."""
        return [value]

    def first(self, values: Array) -> Array:
        """Return the values of the first process."""
        return values

    def in_parallel(self, networks: Perceptrons, optimizer: AveragedAdam) -> Forward:
        """Return the networks; their optimizer sees the mean gradient of all processes."""
        return networks

    def leave(self) -> None:
        """End the connection to the others."""


class TorchrunProcesses(Processes):
    """The processes that `torchrun` has started.

    Raises:
        ParameterError: it has not started this one, or the device is not there.
    """

    def __init__(self, device: torch.device) -> None:
        if _RANK not in os.environ or _COUNT not in os.environ:
            raise ParameterError("Only processes that torchrun has started can learn together.")
        distributed: Any = torch.distributed
        cuda = device.type == "cuda"
        if cuda:
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
        distributed.init_process_group("nccl" if cuda else "gloo", timeout=_LONGEST_WAIT)
        self._distributed = distributed
        self.rank, self.count = distributed.get_rank(), distributed.get_world_size()
        self._device = torch.device("cuda", torch.cuda.current_device()) if cuda else device

    def sum(self, values: Array) -> Array:
        """Return the sums over all processes."""
        total = torch.tensor(np.asarray(values, dtype=np.float64), device=self._device)
        self._distributed.all_reduce(total)
        sums: Array = total.cpu().numpy()
        return sums

    def gather(self, value: Any) -> list[Any]:
        """Return the values of all processes, in the order of their ranks."""
        values: list[Any] = [None] * self.count
        self._distributed.all_gather_object(values, value)
        return values

    def first(self, values: Array) -> Array:
        """Return the values of the first process."""
        given = torch.tensor(np.asarray(values, dtype=np.float64), device=self._device)
        self._distributed.broadcast(given, 0)
        firsts: Array = given.cpu().numpy()
        return firsts

    def in_parallel(self, networks: Perceptrons, optimizer: AveragedAdam) -> Forward:
        """Return the networks in `DistributedDataParallel`, which averages their gradients."""
        module = _Module(networks, optimizer)
        devices = [self._device.index] if self._device.type == "cuda" else None
        parallel = torch.nn.parallel.DistributedDataParallel(module, device_ids=devices)
        optimizer.average.copy_(optimizer.weights)
        return parallel

    def leave(self) -> None:
        """End the connection to the others."""
        self._distributed.destroy_process_group()


class _Module(torch.nn.Module):
    """Networks as PyTorch's wrapper wants them: their weights are the parameters."""

    def __init__(self, networks: Perceptrons, optimizer: AveragedAdam) -> None:
        super().__init__()
        self._networks = networks
        self._weights = torch.nn.ParameterList(map(torch.nn.Parameter, networks.parameters()))
        networks.set_parameters(list(self._weights))
        optimizer.gradients = self._gradients

    def forward(self, hidden: Tensor, dropout: Any = None) -> Tensor:
        return self._networks(hidden, dropout)

    def _gradients(self, scalar: Tensor) -> list[Tensor]:
        """Return the gradient of each weight, averaged over all processes."""
        for weight in self._weights:
            weight.grad = None
        torch.autograd.backward(scalar)
        return [w.grad if w.grad is not None else torch.zeros_like(w) for w in self._weights]
