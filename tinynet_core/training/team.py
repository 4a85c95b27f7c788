"""The processes that train one network together: this one alone, or as many as the launcher of accelerate started."""

from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any

import torch
from torch import nn

from tinynet_core.machine import launched


class Team:
    """One process alone. ``rank`` counts from 0, ``size`` is the number of processes."""

    rank, size = 0, 1

    @property
    def leads(self) -> bool:
        """Whether this process is the one that writes files and speaks."""
        return self.rank == 0

    def share(self, n: int) -> slice:
        """The part of ``n`` items that is this process's; n must be a multiple of ``size``."""
        each = n // self.size
        return slice(self.rank * each, (self.rank + 1) * each)

    def device(self, wanted: torch.device) -> torch.device:
        """The device that this process trains on."""
        return wanted

    def wrap(self, model: nn.Module) -> nn.Module:
        """The module to call in training, whose gradients are the mean over all processes."""
        return model

    def holding_back(self, model: nn.Module) -> AbstractContextManager:
        """While entered, backward passes through what ``wrap`` gave add up gradients without sharing them."""
        return nullcontext()

    def total(self, value: torch.Tensor) -> torch.Tensor:
        """The sum of ``value`` over all processes."""
        return value

    def gather(self, value: torch.Tensor) -> torch.Tensor:
        """The ``value`` of every process, (size, ...)."""
        return value[None]

    def average_(self, tensors: list[torch.Tensor]) -> None:
        """Replace each tensor by its mean over all processes."""

    def wait(self) -> None:
        """Return when every process has come here."""


class Launched(Team):
    """Processes started by ``accelerate launch`` or ``torchrun``, joined by accelerate."""

    def __init__(self) -> None:
        from accelerate import Accelerator, DistributedDataParallelKwargs

        # Nothing of the user's configuration of accelerate may change a result: the recipe alone says the precision.
        self.accelerator = Accelerator(
            mixed_precision="no",
            dynamo_backend="no",
            kwargs_handlers=[DistributedDataParallelKwargs(broadcast_buffers=False)],
        )
        self.rank, self.size = self.accelerator.process_index, self.accelerator.num_processes

    def device(self, wanted: torch.device) -> torch.device:
        return self.accelerator.device

    def wrap(self, model: nn.Module) -> nn.Module:
        return self.accelerator.prepare_model(model, device_placement=False)

    def holding_back(self, model: nn.Module) -> AbstractContextManager:
        return self.accelerator.no_sync(model)

    def gather(self, value: torch.Tensor) -> torch.Tensor:
        gathered: Any = self.accelerator.gather(value[None].contiguous())
        return gathered

    def total(self, value: torch.Tensor) -> torch.Tensor:
        reduced: Any = self.accelerator.reduce(value, reduction="sum")
        return reduced

    def average_(self, tensors: list[torch.Tensor]) -> None:
        for tensor in tensors:
            tensor.copy_(self.total(tensor.clone()) / self.size)

    def wait(self) -> None:
        self.accelerator.wait_for_everyone()


@cache
def team() -> Team:
    """The processes that were started together with this one."""
    return Launched() if launched() else Team()
