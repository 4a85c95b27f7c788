"""The training loop: images stay in memory, every batch is cut, resized and augmented on the device."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from tinynet_core.data import ImageSet
from tinynet_core.training import checkpoint
from tinynet_core.training.augment import evaluation_batch, training_batch
from tinynet_core.training.ema import EMA
from tinynet_core.training.recipe import Recipe

TRAINING_VERSION = 1
"""Raise when the same experiment would give other numbers than before."""


class TrainingFailed(RuntimeError):
    """A run that cannot give a result, for a reason that belongs into its record."""


@dataclass
class Outcome:
    """What training gave: one row of ``curve`` per epoch, and the seconds it took over all its restarts."""

    curve: list[dict[str, float]] = field(default_factory=list)
    wall_s: float = 0.0


def pick_device(device: str = "auto") -> torch.device:
    """``"auto"`` is the GPU where there is one, the CPU elsewhere."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(device)


def train(
    build: Callable[[], nn.Module],
    resolution: int,
    images: ImageSet,
    recipe: Recipe,
    seed: int,
    device: str = "auto",
    checkpoint_path: Path | None = None,
) -> Outcome:
    """Train the module that ``build`` makes on ``images`` resized to ``resolution`` pixels.

    All randomness of an epoch follows from (seed, epoch), so a run resumed from ``checkpoint_path`` ends with the same
    bits as one that was never stopped, on the same machine with the same number of threads.

    Raises ``TrainingFailed`` when the loss is no longer finite or memory runs out.
    """
    target = pick_device(device)
    try:
        return _train(build, resolution, images, recipe, seed, target, checkpoint_path)
    except (MemoryError, torch.OutOfMemoryError) as error:
        raise TrainingFailed(f"out of memory on {target} at batch {recipe.batch_size}, {resolution} px") from error
    except RuntimeError as error:
        if "can't allocate memory" in str(error):  # how the CPU allocator says it
            raise TrainingFailed(f"out of memory on {target} at batch {recipe.batch_size}, {resolution} px") from error
        raise


def _train(build, resolution, images, recipe, seed, device, checkpoint_path) -> Outcome:
    run = _Run(build, resolution, images, recipe, seed, device)
    if checkpoint_path is not None and (state := checkpoint.load(checkpoint_path, TRAINING_VERSION)) is not None:
        run.restore(state)
    while run.epoch < recipe.epochs:
        run.train_epoch()
        if checkpoint_path is not None:
            checkpoint.save(checkpoint_path, run.state())
    return run.outcome


class _Run:
    """One training run between two epochs."""

    def __init__(self, build, resolution: int, images: ImageSet, recipe: Recipe, seed: int, device: torch.device):
        torch.manual_seed(_mix(seed, 0))
        self.recipe, self.seed, self.device, self.resolution = recipe, seed, device, resolution
        self.model = build().to(device, memory_format=torch.channels_last)
        self.ema = EMA(self.model, recipe.ema_decay, recipe.ema_warmup)
        self.optimizer = _optimizer(self.model, recipe)
        self.train_set = _on_device(images.train_images, images.train_labels, device)
        self.val_set = _on_device(images.val_images, images.val_labels, device)
        self.steps_per_epoch = len(self.train_set[0]) // recipe.batch_size
        if not self.steps_per_epoch:
            raise ValueError(f"batch_size {recipe.batch_size} is above the {len(self.train_set[0])} training images")
        self.epoch = 0
        self.outcome = Outcome()

    def train_epoch(self) -> None:
        """One pass over the training images, then the accuracy of the raw and of the averaged weights."""
        start = time.monotonic()
        self.model.train()
        torch.manual_seed(_mix(self.seed, self.epoch + 1))
        generator = torch.Generator().manual_seed(_mix(self.seed, -self.epoch - 1))
        order = torch.randperm(len(self.train_set[0]), generator=generator).to(self.device)
        loss_sum = torch.zeros((), device=self.device)
        hits = torch.zeros((), dtype=torch.long, device=self.device)
        for step in range(self.steps_per_epoch):
            index = order[step * self.recipe.batch_size : (step + 1) * self.recipe.batch_size]
            loss, correct = self._step(index, self.epoch + (step + 1) / self.steps_per_epoch, generator)
            loss_sum += loss
            hits += correct
        seen = self.steps_per_epoch * self.recipe.batch_size
        row = {"train_loss": loss_sum.item() / self.steps_per_epoch, "train_top1": hits.item() / seen}
        self.epoch += 1
        if not math.isfinite(row["train_loss"]):
            raise TrainingFailed(f"diverged: training loss {row['train_loss']} in epoch {self.epoch}")
        row["raw_loss"], row["raw_top1"], row["raw_top5"] = self._evaluate(self.model.eval())
        row["ema_loss"], row["ema_top1"], row["ema_top5"] = self._evaluate(self.ema.module)
        if not (math.isfinite(row["raw_loss"]) and math.isfinite(row["ema_loss"])):
            losses = f"{row['raw_loss']} raw, {row['ema_loss']} averaged"
            raise TrainingFailed(f"diverged: validation loss {losses} in epoch {self.epoch}")
        self.outcome.curve.append({"epoch": self.epoch, **row})
        self.outcome.wall_s += time.monotonic() - start

    def _step(self, index: torch.Tensor, epoch: float, generator: torch.Generator):
        images, labels = self.train_set[0][index], self.train_set[1][index]
        batch = training_batch(images, self.resolution, self.recipe, generator)
        for group in self.optimizer.param_groups:
            group["lr"] = self.recipe.learning_rate(epoch)
        logits = self.model(batch)
        loss = F.cross_entropy(logits, labels, label_smoothing=self.recipe.label_smoothing)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        self.ema.update()
        return loss.detach(), (logits.detach().argmax(1) == labels).sum()

    @torch.inference_mode()
    def _evaluate(self, model: nn.Module, batch_size: int = 128) -> tuple[float, float, float]:
        """Mean cross-entropy without smoothing, top-1 and top-5 over the validation images."""
        loss, top1, top5 = 0.0, 0, 0
        images, labels = self.val_set
        for part, truth in zip(images.split(batch_size), labels.split(batch_size), strict=True):
            logits = model(evaluation_batch(part, self.resolution, self.recipe))
            loss += F.cross_entropy(logits, truth, reduction="sum").item()
            best = logits.topk(min(5, logits.shape[1])).indices == truth[:, None]
            top1 += int(best[:, 0].sum())
            top5 += int(best.sum())
        return loss / len(labels), top1 / len(labels), top5 / len(labels)

    def state(self) -> dict[str, Any]:
        return {
            "training_version": TRAINING_VERSION,
            "epoch": self.epoch,
            "model": self.model.state_dict(),
            "ema": self.ema.module.state_dict(),
            "ema_steps": self.ema.steps,
            "optimizer": self.optimizer.state_dict(),
            "curve": self.outcome.curve,
            "wall_s": self.outcome.wall_s,
        }

    def restore(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self.ema.module.load_state_dict(state["ema"])
        self.ema.steps = state["ema_steps"]
        self.optimizer.load_state_dict(state["optimizer"])
        self.epoch = state["epoch"]
        self.outcome = Outcome(state["curve"], state["wall_s"])


def _mix(seed: int, part: int) -> int:
    """A 63-bit seed for one part of a run; neighbouring parts and seeds share nothing."""
    words = np.random.SeedSequence([seed, part % 2**32]).generate_state(2, np.uint32)
    return int(words[0]) << 31 | int(words[1]) >> 1


def _on_device(images: np.ndarray, labels: np.ndarray, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    pixels = torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))
    return pixels.to(device), torch.from_numpy(np.array(labels)).to(device)


def _optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """Weight decay on matrices and kernels; none on norms and biases."""
    decayed = [p for p in model.parameters() if p.ndim > 1]
    free = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": free, "weight_decay": 0.0}]
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=recipe.lr, momentum=0.9, nesterov=True, fused=True)
    return torch.optim.AdamW(groups, lr=recipe.lr, fused=True)
