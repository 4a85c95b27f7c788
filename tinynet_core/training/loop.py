"""The loop over epochs and steps that every training shares: randomness, averaging, checkpoints, stopping."""

import copy
import hashlib
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from tinynet_core.files import UserError
from tinynet_core.training import checkpoint
from tinynet_core.training.augment import Batch, Draws, Source, draw
from tinynet_core.training.depthwise import with_fast_gradients
from tinynet_core.training.recipe import Recipe
from tinynet_core.training.team import team

TRAINING_VERSION = 2
"""Version of the training code. Raise it when the same experiment would give other numbers than before."""

_ASK_EVERY = 16
"""Several processes check for a request to stop every so many steps. A single process checks before every step."""
_INITIAL, _ORDER, _AUGMENTATION, _DROPOUT = range(1, 5)  # purposes of random streams


class TrainingFailed(RuntimeError):
    """The training cannot give a result. The reason belongs in its record."""


class Interrupted(Exception):
    """Training stopped on request, after its state was written to the checkpoint."""


def pick_device(device: str | torch.device = "auto") -> torch.device:
    """Return the device. ``"auto"`` is the GPU if there is one, else the CPU. Each of several processes has its own."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    return team().device(torch.device(device))


class Loop(ABC):
    """One training, in its state between two steps. A subclass defines the loss and the metrics.

    ``train_sums`` names the values that steps add up over images, the loss first. All randomness follows from (seed,
    epoch, step), so a resumed training ends with the same bits as an uninterrupted one.
    """

    train_sums: tuple[str, ...] = ("loss",)
    train_set: Source
    val_set: Source

    def __init__(
        self,
        build: Callable[[], nn.Module],
        recipe: Recipe,
        train_images: int,
        seed: int,
        device: str | torch.device,
        compiled: bool,
        describe: Sequence[str],
    ) -> None:
        device = pick_device(device)
        if device.type == "cuda":
            torch.backends.cudnn.deterministic = True
        torch.manual_seed(_mix(seed, _INITIAL))
        self.recipe, self.seed, self.device, self.train_images = recipe, seed, device, train_images
        self.model = build().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        if device.type == "cpu" and not compiled:
            with_fast_gradients(self.model)
        self.forward = team().wrap(torch.compile(self.model) if compiled else self.model)  # type: ignore[arg-type]
        self.ema = EMA(self.model, recipe.ema_decay, recipe.ema_warmup)
        self.optimizer = _optimizer(self.model, recipe)
        self.steps_per_epoch = train_images // recipe.batch_size
        batch, processes = recipe.batch_size, team().size
        self.part = recipe.norm_batch or batch // processes
        if batch % (processes * self.part):
            raise UserError(
                f"recipe.batch_size {batch} over {processes} processes must be a multiple of the {self.part} images "
                "that share batch-norm statistics"
            )
        parts = batch // processes // self.part
        for module in self.model.modules():
            if isinstance(module, _BatchNorm):
                module.momentum = 1 - (1 - recipe.bn_momentum) ** (1 / parts)  # so that a step applies bn_momentum
        described = [recipe.model_dump_json(), str(seed), *describe]
        described += [f"{name} {tuple(value.shape)}" for name, value in self.model.state_dict().items()]
        self.identity = hashlib.sha256("\n".join(described).encode()).hexdigest()
        self.epoch = self.step = 0
        self.sums = torch.zeros(len(self.train_sums), dtype=torch.float64, device=device)
        self.curve: list[dict[str, float]] = []  # one row per epoch
        self.wall_s = 0.0  # summed over all restarts

    @abstractmethod
    def backward(self, batch: Batch, draws: Draws, share: float) -> torch.Tensor:
        """Add gradients of the loss on ``batch``, times ``share``. Return what the images add to ``sums``."""

    @abstractmethod
    def evaluate(self, should_stop: Callable[[], bool]) -> dict[str, float] | None:
        """Return metrics of raw (``raw_*``) and averaged weights (``ema_*``) with their losses, or None to stop."""

    def train(self, path: Path | None = None, should_stop: Callable[[], bool] | None = None) -> Self:
        """Train to the end, from the checkpoint at ``path`` if there is one. Return the training itself.

        ``should_stop`` is called before every step and every batch of the evaluation. When it returns true, the state
        is written and ``Interrupted`` is raised. Raises ``TrainingFailed`` when the loss is no longer finite, and
        ``CheckpointError`` when the state cannot be written.
        """
        for turn in (True, False):  # the first process sets a damaged checkpoint aside, the others then find none
            if path is not None and team().leads == turn:
                state = checkpoint.load(path, TRAINING_VERSION, self.identity)
                if state is not None:
                    self.restore(state)
            team().wait()
        while self.epoch < self.recipe.epochs:
            stopped = self.train_epoch(should_stop or (lambda: False))
            if path is not None:
                state = self.state()
                if team().leads:
                    checkpoint.save(path, state)
            if stopped:
                raise Interrupted
        return self

    def train_epoch(self, should_stop: Callable[[], bool] = lambda: False) -> bool:
        """Train the rest of the epoch, then evaluate. Return true if ``should_stop`` ended it early."""
        begin = time.monotonic()
        self.forward.train()
        order = torch.randperm(self.train_images, generator=_generator(self.seed, _ORDER, self.epoch))
        batches = order[: self.steps_per_epoch * self.recipe.batch_size].view(self.steps_per_epoch, -1)
        mine = [batch[team().share(self.recipe.batch_size)] for batch in batches[self.step :]]
        stopped = False
        for batch in self.train_set.batches(mine):
            if team().size == 1:
                stopped = should_stop()
            elif self.step % _ASK_EVERY == 0:
                stopped = bool(team().total(torch.tensor(float(should_stop()), device=self.device)))
            if stopped:
                break
            self.sums += self.train_step(batch)
            self.step += 1
        stopped = stopped or self._close_epoch(should_stop)
        self.wall_s += time.monotonic() - begin
        return stopped

    def train_step(self, batch: Batch) -> torch.Tensor:
        """Take one optimiser step, in parts of ``norm_batch`` images. Return what this process adds to ``sums``."""
        share = team().share(self.recipe.batch_size)
        random = _generator(self.seed, _AUGMENTATION, self.epoch, self.step)
        draws = draw(self.recipe.batch_size, self.recipe, random).take(share)
        for group in self.optimizer.param_groups:
            group["lr"] = self.recipe.learning_rate(self.epoch + (self.step + 1) / self.steps_per_epoch)
        self.optimizer.zero_grad(set_to_none=True)
        sums = torch.zeros_like(self.sums)
        starts = range(0, len(batch.images), self.part)
        for start in starts:
            torch.manual_seed(_mix(self.seed, _DROPOUT, self.epoch, self.step, share.start + start))
            part = slice(start, start + self.part)
            with nullcontext() if start == starts[-1] else team().holding_back(self.forward):
                sums += self.backward(batch.take(part), draws.take(part), self.part / len(batch.images))
        self.optimizer.step()
        self.ema.update()
        return sums

    def _close_epoch(self, should_stop: Callable[[], bool]) -> bool:
        """Evaluate and add a row to the curve. Return true if ``should_stop`` ended the evaluation early."""
        for mine in self._statistics():
            mine.copy_(team().total(mine.clone()) / team().size)
        means = (team().total(self.sums.clone()) / (self.steps_per_epoch * self.recipe.batch_size)).tolist()
        if not math.isfinite(means[0]):
            raise TrainingFailed(f"diverged: training loss {means[0]} in epoch {self.epoch + 1}")
        if (found := self.evaluate(should_stop)) is None:
            return True
        self.epoch, self.step = self.epoch + 1, 0
        self.sums.zero_()
        trained = {f"train_{name}": value for name, value in zip(self.train_sums, means, strict=True)}
        row = {"epoch": self.epoch, **trained, **found}
        raw, averaged = row["raw_loss"], row["ema_loss"]
        if not math.isfinite(raw + averaged):
            raise TrainingFailed(f"diverged: validation loss {raw} raw, {averaged} averaged in epoch {self.epoch}")
        self.curve.append(row)
        return False

    def autocast(self) -> AbstractContextManager:
        """Return a context with the precision of the recipe."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.recipe.precision == "bf16")

    def _statistics(self) -> list[torch.Tensor]:
        """Return the tensors that differ between processes: running statistics of batch-norm."""
        return [b for module in (self.ema.module, self.model) for b in module.buffers() if b.is_floating_point()]

    def state(self) -> dict[str, Any]:
        """Return everything that ``restore`` needs. All processes must call this together."""
        return {
            "training_version": TRAINING_VERSION,
            "identity": self.identity,
            "epoch": self.epoch,
            "step": self.step,
            "sums": team().gather(self.sums),
            "statistics": [team().gather(b) for b in self._statistics()],
            "model": self.model.state_dict(),
            "ema": self.ema.module.state_dict(),
            "ema_steps": self.ema.steps,
            "optimizer": self.optimizer.state_dict(),
            "curve": self.curve,
            "wall_s": self.wall_s,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from ``state``. If the number of processes has changed, use the mean of their statistics."""
        self.model.load_state_dict(state["model"])
        self.ema.module.load_state_dict(state["ema"])
        self.ema.steps = state["ema_steps"]
        self.optimizer.load_state_dict(state["optimizer"])
        self.epoch, self.step = state["epoch"], state["step"]
        same = len(state["sums"]) == team().size
        self.sums.copy_(state["sums"][team().rank] if same else state["sums"].sum(0) / team().size)
        for mine, saved in zip(self._statistics(), state["statistics"], strict=True):
            mine.copy_(saved[team().rank] if same else saved.mean(0))
        self.curve, self.wall_s = state["curve"], state["wall_s"]


class EMA:
    """A copy of ``module`` whose floating-point state follows it: shadow = decay * shadow + (1 - decay) * state.

    With ``warmup`` the decay of step t is min(decay, (1 + t) / (10 + t)), so that a short training forgets its start.
    """

    def __init__(self, module: nn.Module, decay: float, warmup: bool) -> None:
        self.module = copy.deepcopy(module).eval().requires_grad_(False)
        self.decay, self.warmup, self.steps = decay, warmup, 0
        theirs, mine = module.state_dict(), self.module.state_dict()
        floating = [name for name, value in mine.items() if value.is_floating_point()]
        self._source = [theirs[name] for name in floating]
        self._shadow = [mine[name] for name in floating]

    @torch.no_grad()
    def update(self) -> None:
        """Take one step towards the module's present state."""
        torch._foreach_lerp_(self._shadow, self._source, 1 - float(_decays(self.steps, self.decay, self.warmup)))
        self.steps += 1


def initial_share(steps: int, decay: float, warmup: bool) -> np.ndarray:
    """Return (steps + 1,), the share of the initial weights in the average after 0, 1, ... ``steps`` updates."""
    return np.concatenate([[1.0], np.cumprod(_decays(np.arange(steps), decay, warmup))])


def _decays(step: ArrayLike, decay: float, warmup: bool) -> np.ndarray:
    """Return the decay of update number ``step``, counted from 0."""
    step = np.asarray(step)
    return np.minimum(decay, (1 + step) / (10 + step)) if warmup else np.full(step.shape, decay)


def _mix(seed: int, *part: int) -> int:
    """Return a 63-bit seed for one part of a training. ``part`` starts with a purpose. Streams are independent."""
    words = np.random.SeedSequence([seed, *part]).generate_state(2, np.uint32)
    return int(words[0]) << 31 | int(words[1]) >> 1


def _generator(seed: int, *part: int) -> torch.Generator:
    return torch.Generator().manual_seed(_mix(seed, *part))


def _optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """Return the optimiser. Weight decay applies to matrices and kernels, not to norms and biases."""
    decayed = [p for p in model.parameters() if p.ndim > 1]
    free = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": free, "weight_decay": 0.0}]
    lr, momentum = recipe.peak_lr, recipe.momentum
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(groups, lr, momentum, nesterov=recipe.nesterov, fused=True)
    if recipe.optimizer == "rmsprop":
        from timm.optim import RMSpropTF

        return RMSpropTF(groups, lr, recipe.rmsprop_decay, recipe.rmsprop_eps, momentum=momentum, foreach=True)
    return torch.optim.AdamW(groups, lr, fused=True)
