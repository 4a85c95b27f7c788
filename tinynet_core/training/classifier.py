"""Training of a classifier. Images stay in memory; each batch is cropped, resized and augmented on the device."""

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional as F

from tinynet_core.data import ImageSet
from tinynet_core.training.augment import Batch, Draws, Source, evaluation_batch, training_batch
from tinynet_core.training.loop import Loop
from tinynet_core.training.recipe import Recipe
from tinynet_core.training.team import team


class Run(Loop):
    """A training of the module that ``build`` makes, on ``images`` resized to ``resolution`` pixels.

    ``compiled`` sends the module through ``torch.compile``. Several processes each take their share of every batch.
    """

    train_sums = ("loss", "top1")

    def __init__(
        self,
        build: Callable[[], nn.Module],
        resolution: int,
        images: ImageSet,
        recipe: Recipe,
        seed: int,
        device: str | torch.device = "auto",
        compiled: bool = False,
    ) -> None:
        n = len(images.train_labels)
        super().__init__(build, recipe, n, seed, device, compiled, (str(resolution), images.content_hash))
        self.resolution = resolution
        self.train_set = Source(images.train_images, images.train_labels, images.train_aspects, self.device)
        self.val_set = Source(images.val_images, images.val_labels, images.val_aspects, self.device)

    def backward(self, batch: Batch, draws: Draws, share: float) -> torch.Tensor:
        inputs = training_batch(batch, self.resolution, self.recipe, draws)
        with self.autocast():
            logits = self.forward(inputs)
            loss = F.cross_entropy(logits, batch.labels, label_smoothing=self.recipe.label_smoothing)
        (loss * share).backward()
        hits = (logits.detach().argmax(1) == batch.labels).sum()
        return torch.stack([loss.detach().double() * len(inputs), hits.double()])

    @torch.inference_mode()
    def evaluate(self, should_stop: Callable[[], bool]) -> dict[str, float] | None:
        """Return mean cross-entropy without label smoothing, top-1 and top-5, for raw and for averaged weights.

        Before the last epoch, only the first ``recipe.curve_images`` of the validation set are used.
        """
        models = {"raw": self.model.eval(), "ema": self.ema.module.eval()}
        sums = torch.zeros(2, 3, dtype=torch.float64, device=self.device)
        last = self.epoch + 1 == self.recipe.epochs
        n = len(self.val_set) if last else min(self.recipe.curve_images or len(self.val_set), len(self.val_set))
        mine = torch.arange(team().rank, n, team().size)
        for images, labels, aspects in self.val_set.batches(mine.split(128)):
            if team().size == 1 and should_stop():
                return None
            inputs = evaluation_batch(images, self.resolution, self.recipe, aspects)
            for row, model in zip(sums, models.values(), strict=True):
                with self.autocast():
                    logits = model(inputs).float()
                best = logits.topk(min(5, logits.shape[1])).indices == labels[:, None]
                loss = F.cross_entropy(logits, labels, reduction="sum")
                row += torch.stack([loss.double(), best[:, 0].sum().double(), best.sum().double()])
        values = (team().total(sums) / n).tolist()
        names = ("loss", "top1", "top5")
        return {f"{m}_{n}": x for m, row in zip(models, values, strict=True) for n, x in zip(names, row, strict=True)}
