"""Exponential moving average of weights and batch-norm statistics."""

import copy

import torch
from torch import nn


class EMA:
    """A copy of ``module`` whose floating-point state follows it: shadow = decay * shadow + (1 - decay) * state.

    With ``warmup`` the decay of step t is min(decay, (1 + t) / (10 + t)), so that a short run forgets its start.
    """

    def __init__(self, module: nn.Module, decay: float, warmup: bool) -> None:
        self.module = copy.deepcopy(module).eval().requires_grad_(False)
        self.decay, self.warmup, self.steps = decay, warmup, 0
        theirs, mine = module.state_dict(), self.module.state_dict()
        floating = [name for name, value in mine.items() if value.is_floating_point()]
        self.statistics = [b for b in self.module.buffers() if b.is_floating_point()]
        self._source = [theirs[name] for name in floating]
        self._shadow = [mine[name] for name in floating]

    @torch.no_grad()
    def update(self) -> None:
        """Take one step towards the module's present state."""
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps)) if self.warmup else self.decay
        torch._foreach_lerp_(self._shadow, self._source, 1 - decay)
        self.steps += 1
