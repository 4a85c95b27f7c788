"""The training loop: images stay in memory, every batch is cut, resized and augmented on the device."""

import hashlib
import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from tinynet_core.data import ImageSet
from tinynet_core.errors import UserError
from tinynet_core.training import checkpoint
from tinynet_core.training.augment import Draws, draw, evaluation_batch, training_batch
from tinynet_core.training.ema import EMA
from tinynet_core.training.recipe import Recipe
from tinynet_core.training.sources import Batch, Source
from tinynet_core.training.team import team

TRAINING_VERSION = 2
"""Raise when the same experiment would give other numbers than before."""


_ASK_EVERY = {False: 1, True: 16}
"""Steps after which a process alone, or several together, heed a request to stop."""
_INITIAL, _ORDER, _AUGMENTATION, _DROPOUT = range(1, 5)  # what a random stream is for


class TrainingFailed(RuntimeError):
    """A run that cannot give a result, for a reason that belongs into its record."""


class Interrupted(Exception):
    """Training stopped on request, after its state was written to the checkpoint."""


@dataclass
class Outcome:
    """What training gave: one row of ``curve`` per epoch, and the seconds it took over all its restarts."""

    curve: list[dict[str, float]] = field(default_factory=list)
    wall_s: float = 0.0


def pick_device(device: str = "auto") -> torch.device:
    """``"auto"`` is the GPU where there is one, the CPU elsewhere; of several processes each has its own."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    return team().device(torch.device(device))


def train(
    build: Callable[[], nn.Module],
    resolution: int,
    images: ImageSet,
    recipe: Recipe,
    seed: int,
    device: str = "auto",
    checkpoint_path: Path | None = None,
    should_stop: Callable[[], bool] | None = None,
    compiled: bool = False,
) -> Outcome:
    """Train the module that ``build`` makes on ``images`` resized to ``resolution`` pixels.

    All randomness of a step follows from (seed, step), so a run resumed from ``checkpoint_path`` ends with the same
    bits as one that was never stopped, on the same machine with the same number of threads and processes.
    ``should_stop`` is asked before every step and every batch of the evaluation (of several processes together, every
    sixteenth step); when it answers true the state is written and ``Interrupted`` raised. ``compiled`` sends the
    network through ``torch.compile``.

    Where a launcher started several processes, each trains on its share of every batch.

    Raises ``TrainingFailed`` when the loss is no longer finite or memory runs out, ``UserError`` when the batch cannot
    be cut as asked or the checkpoint not be written.
    """
    target = pick_device(device)
    try:
        run = Run(build, resolution, images, recipe, seed, target, compiled)
        return _finish(run, checkpoint_path, should_stop or (lambda: False))
    except (MemoryError, torch.OutOfMemoryError) as error:
        raise TrainingFailed(f"out of memory on {target} at batch {recipe.batch_size}, {resolution} px") from error
    except RuntimeError as error:
        if "can't allocate memory" in str(error):  # how the CPU allocator says it
            raise TrainingFailed(f"out of memory on {target} at batch {recipe.batch_size}, {resolution} px") from error
        raise


def _finish(run: "Run", path: Path | None, should_stop: Callable[[], bool]) -> Outcome:
    def save() -> None:
        if path is not None:
            state = run.state()
            if team().leads:
                checkpoint.save(path, state)

    def load() -> None:
        if path is not None and (state := checkpoint.load(path, TRAINING_VERSION, run.identity)) is not None:
            run.restore(state)

    for turn in (True, False):  # the first sets a damaged checkpoint aside, the others then find none
        if team().leads == turn:
            load()
        team().wait()
    while run.epoch < run.recipe.epochs:
        if run.train_epoch(should_stop):
            save()
            raise Interrupted
        save()
    return run.outcome


class Run:
    """One training run between two steps."""

    def __init__(
        self,
        build: Callable[[], nn.Module],
        resolution: int,
        images: ImageSet,
        recipe: Recipe,
        seed: int,
        device: torch.device,
        compiled: bool = False,
    ) -> None:
        if device.type == "cuda":
            torch.backends.cudnn.deterministic = True
        torch.manual_seed(_mix(seed, _INITIAL))
        self.recipe, self.seed, self.device, self.resolution = recipe, seed, device, resolution
        self.model = build().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.forward = team().wrap(torch.compile(self.model) if compiled else self.model)  # type: ignore[arg-type]
        self.ema = EMA(self.model, recipe.ema_decay, recipe.ema_warmup)
        self.optimizer = _optimizer(self.model, recipe)
        self.train_set = Source(images.train_images, images.train_labels, images.train_aspects, device)
        self.val_set = Source(images.val_images, images.val_labels, images.val_aspects, device)
        self.steps_per_epoch = len(self.train_set) // recipe.batch_size
        if not self.steps_per_epoch:
            raise UserError(f"recipe.batch_size {recipe.batch_size} is above the {len(self.train_set)} training images")
        if recipe.batch_size % team().size:
            raise UserError(
                f"recipe.batch_size {recipe.batch_size} must be a multiple of the {team().size} processes that share it"
            )
        self.part = recipe.norm_batch or recipe.batch_size // team().size
        if recipe.batch_size // team().size % self.part:
            raise UserError(
                f"recipe.batch_size {recipe.batch_size} over {team().size} processes must be a multiple of "
                f"recipe.norm_batch {recipe.norm_batch}"
            )
        parts = recipe.batch_size // team().size // self.part
        for module in self.model.modules():
            if isinstance(module, _BatchNorm):
                module.momentum = 1 - (1 - recipe.bn_momentum) ** (1 / parts)  # so much is left of a step's old values
        described = [recipe.model_dump_json(), str(seed), str(resolution), images.content_hash]
        described += [f"{name} {tuple(value.shape)}" for name, value in self.model.state_dict().items()]
        self.identity = hashlib.sha256("\n".join(described).encode()).hexdigest()
        self.epoch = self.step = 0
        self.sums = torch.zeros(2, dtype=torch.float64, device=device)  # loss times images, hits
        self.outcome = Outcome()

    def train_epoch(self, should_stop: Callable[[], bool] = lambda: False) -> bool:
        """The rest of one pass over the training images, then the accuracy of the raw and of the averaged weights.

        Returns true when ``should_stop`` ended it before.
        """
        start = time.monotonic()
        stopped = self._train_steps(should_stop) or self._close_epoch(should_stop)
        self.outcome.wall_s += time.monotonic() - start
        return stopped

    def _train_steps(self, should_stop: Callable[[], bool]) -> bool:
        self.forward.train()
        order = torch.randperm(len(self.train_set), generator=self._generator(_ORDER, self.epoch))
        batches = order[: self.steps_per_epoch * self.recipe.batch_size].view(self.steps_per_epoch, -1)
        mine = [batch[team().share(self.recipe.batch_size)] for batch in batches[self.step :]]
        for batch in self.train_set.batches(mine):
            if self.step % _ASK_EVERY[team().size > 1] == 0 and self._agreed(should_stop):
                return True
            self.sums += self.train_step(batch)
            self.step += 1
        return False

    def _agreed(self, should_stop: Callable[[], bool]) -> bool:
        """Whether any of the processes was asked to stop."""
        if team().size == 1:
            return should_stop()
        return bool(team().total(torch.tensor(float(should_stop()), device=self.device)))

    def train_step(self, batch: Batch) -> torch.Tensor:
        """One step of the optimiser on this process's share of a batch; returns its summed loss and its hits.

        The share goes through the network in parts of ``norm_batch`` images, whose gradients add up.
        """
        recipe = self.recipe
        share = team().share(recipe.batch_size)
        draws = draw(recipe.batch_size, recipe, self._generator(_AUGMENTATION, self.epoch, self.step)).take(share)
        for group in self.optimizer.param_groups:
            group["lr"] = recipe.learning_rate(self.epoch + (self.step + 1) / self.steps_per_epoch)
        self.optimizer.zero_grad(set_to_none=True)
        sums = torch.zeros(2, dtype=torch.float64, device=self.device)
        starts = range(0, len(batch.labels), self.part)
        for start in starts:
            last = start == starts[-1]
            with nullcontext() if last else team().holding_back(self.forward):
                sums += self._train_part(batch, draws, slice(start, start + self.part), share.start + start)
        self.optimizer.step()
        self.ema.update()
        return sums

    def _train_part(self, batch: Batch, draws: Draws, part: slice, first: int) -> torch.Tensor:
        """Gradients of the images ``part`` of a share; ``first`` is the place of its first image in the whole batch."""
        torch.manual_seed(_mix(self.seed, _DROPOUT, self.epoch, self.step, first))
        labels = batch.labels[part]
        aspects = None if batch.aspects is None else batch.aspects[part]
        inputs = training_batch(batch.images[part], self.resolution, self.recipe, draws.take(part), aspects)
        with self._autocast():
            logits = self.forward(inputs)
            loss = F.cross_entropy(logits, labels, label_smoothing=self.recipe.label_smoothing)
        (loss * (len(labels) / len(batch.labels))).backward()
        hits = (logits.detach().argmax(1) == labels).sum()
        return torch.stack([loss.detach().double() * len(labels), hits.double()])

    def _close_epoch(self, should_stop: Callable[[], bool]) -> bool:
        """Evaluate and write the curve's row; true, and nothing of it, when ``should_stop`` said so."""
        team().average_(self._statistics())
        loss, hits = (team().total(self.sums.clone()) / (self.steps_per_epoch * self.recipe.batch_size)).tolist()
        if not math.isfinite(loss):
            raise TrainingFailed(f"diverged: training loss {loss} in epoch {self.epoch + 1}")
        if (found := self._evaluate(should_stop)) is None:
            return True
        self.epoch, self.step = self.epoch + 1, 0
        self.sums.zero_()
        row = {"epoch": self.epoch, "train_loss": loss, "train_top1": hits, **found}
        if not (math.isfinite(row["raw_loss"]) and math.isfinite(row["ema_loss"])):
            losses = f"{row['raw_loss']} raw, {row['ema_loss']} averaged"
            raise TrainingFailed(f"diverged: validation loss {losses} in epoch {self.epoch}")
        self.outcome.curve.append(row)
        return False

    @torch.inference_mode()
    def _evaluate(self, should_stop: Callable[[], bool], batch_size: int = 128) -> dict[str, float] | None:
        """Mean cross-entropy without smoothing, top-1 and top-5 of raw and of averaged weights over the validation set.

        None when ``should_stop`` ended it; of several processes none asks the others here.
        """
        models = {"raw": self.model.eval(), "ema": self.ema.module.eval()}
        sums = torch.zeros(2, 3, dtype=torch.float64, device=self.device)
        mine = torch.arange(team().rank, len(self.val_set), team().size)
        for images, labels, aspects in self.val_set.batches(mine.split(batch_size)):
            if team().size == 1 and should_stop():
                return None
            inputs = evaluation_batch(images, self.resolution, self.recipe, aspects)
            sums += torch.stack([self._score(model, inputs, labels) for model in models.values()])
        values = (team().total(sums) / len(self.val_set)).tolist()
        names = ("loss", "top1", "top5")
        return {f"{m}_{n}": x for m, row in zip(models, values, strict=True) for n, x in zip(names, row, strict=True)}

    def _score(self, model: nn.Module, inputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Summed loss, top-1 and top-5 hits of one batch."""
        with self._autocast():
            logits = model(inputs).float()
        best = logits.topk(min(5, logits.shape[1])).indices == labels[:, None]
        loss = F.cross_entropy(logits, labels, reduction="sum")
        return torch.stack([loss.double(), best[:, 0].sum().double(), best.sum().double()])

    def _autocast(self) -> AbstractContextManager:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.recipe.precision == "bf16")

    def _generator(self, *part: int) -> torch.Generator:
        return torch.Generator().manual_seed(_mix(self.seed, *part))

    def _statistics(self) -> list[torch.Tensor]:
        """What differs from process to process between two steps: running statistics of batch-norm."""
        return [*self.ema.statistics, *(b for b in self.model.buffers() if b.is_floating_point())]

    def state(self) -> dict[str, Any]:
        """Everything that ``restore`` needs; all processes must call it together."""
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
            "curve": self.outcome.curve,
            "wall_s": self.outcome.wall_s,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from ``state``; where it is of another number of processes, from the mean of their statistics."""
        self.model.load_state_dict(state["model"])
        self.ema.module.load_state_dict(state["ema"])
        self.ema.steps = state["ema_steps"]
        self.optimizer.load_state_dict(state["optimizer"])
        self.epoch, self.step = state["epoch"], state["step"]
        same = len(state["sums"]) == team().size
        self.sums.copy_(state["sums"][team().rank] if same else state["sums"].sum(0) / team().size)
        for mine, saved in zip(self._statistics(), state["statistics"], strict=True):
            mine.copy_(saved[team().rank] if same else saved.mean(0))
        self.outcome = Outcome(state["curve"], state["wall_s"])


def _mix(seed: int, *part: int) -> int:
    """A 63-bit seed for one part of a run, which starts with its purpose; parts and seeds share nothing."""
    words = np.random.SeedSequence([seed, *part]).generate_state(2, np.uint32)
    return int(words[0]) << 31 | int(words[1]) >> 1


def _optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """Weight decay on matrices and kernels; none on norms and biases."""
    decayed = [p for p in model.parameters() if p.ndim > 1]
    free = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": free, "weight_decay": 0.0}]
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(
            groups, lr=recipe.peak_lr, momentum=recipe.momentum, nesterov=recipe.nesterov, fused=True
        )
    if recipe.optimizer == "rmsprop":
        from timm.optim import RMSpropTF

        return RMSpropTF(
            groups,
            lr=recipe.peak_lr,
            alpha=recipe.rmsprop_decay,
            eps=recipe.rmsprop_eps,
            momentum=recipe.momentum,
        )
    return torch.optim.AdamW(groups, lr=recipe.peak_lr, fused=True)
