"""The processes that train one network together: a single one, or those that the launcher of accelerate started."""

from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from tinynet_core.machine import launched

if TYPE_CHECKING:
    from accelerate import Accelerator


class Team:
    """``size`` processes. This one has number ``rank``, counted from 0. Without ``accelerator`` it is the only one."""

    def __init__(self, accelerator: "Accelerator | None" = None) -> None:
        self._shared: Any = accelerator
        self.rank = accelerator.process_index if accelerator else 0
        self.size = accelerator.num_processes if accelerator else 1
        self.leads = self.rank == 0
        """Whether this process writes the files and prints."""

    def share(self, n: int) -> slice:
        """Return this process's share of ``n`` items. ``n`` must be a multiple of ``size``."""
        each = n // self.size
        return slice(self.rank * each, (self.rank + 1) * each)

    def device(self, wanted: torch.device) -> torch.device:
        """Return the device that this process trains on."""
        return self._shared.device if self._shared else wanted

    def wrap(self, model: nn.Module) -> nn.Module:
        """Return the module to call in training. Its gradients are the mean over all processes."""
        return self._shared.prepare_model(model, device_placement=False) if self._shared else model

    def holding_back(self, model: nn.Module) -> AbstractContextManager:
        """Return a context in which backward passes through ``wrap``'s module add up gradients without sharing them."""
        return self._shared.no_sync(model) if self._shared else nullcontext()

    def total(self, value: torch.Tensor) -> torch.Tensor:
        """Return the sum of ``value`` over all processes."""
        return self._shared.reduce(value, reduction="sum") if self._shared else value

    def gather(self, value: torch.Tensor) -> torch.Tensor:
        """Return the ``value`` of every process, (size, ...)."""
        return self._shared.gather(value[None].contiguous()) if self._shared else value[None]

    def wait(self) -> None:
        """Wait until every process has called this."""
        if self._shared:
            self._shared.wait_for_everyone()


@cache
def team() -> Team:
    """Return the processes that were started together with this one."""
    if not launched():
        return Team()
    from accelerate import Accelerator, DistributedDataParallelKwargs

    # The user's configuration of accelerate must not change a result: only the recipe sets the precision.
    apart = DistributedDataParallelKwargs(broadcast_buffers=False)
    return Team(Accelerator(mixed_precision="no", dynamo_backend="no", kwargs_handlers=[apart]))
