"""Exponential moving average of weights and batch-norm statistics."""

import copy

import numpy as np
import torch
from numpy.typing import ArrayLike
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
        torch._foreach_lerp_(self._shadow, self._source, 1 - float(_decays(self.steps, self.decay, self.warmup)))
        self.steps += 1


def initial_share(steps: int, decay: float, warmup: bool) -> np.ndarray:
    """(steps + 1,): how much of the average is still the initial weights after 0, 1, ... ``steps`` updates."""
    return np.concatenate([[1.0], np.cumprod(_decays(np.arange(steps), decay, warmup))])


def _decays(step: ArrayLike, decay: float, warmup: bool) -> np.ndarray:
    """The decay of update number ``step``, counted from 0."""
    step = np.asarray(step)
    return np.minimum(decay, (1 + step) / (10 + step)) if warmup else np.full(step.shape, decay)
