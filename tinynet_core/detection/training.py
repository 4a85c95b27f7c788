"""Training of a detector. Batches are cropped, mirrored and coloured on the device, and their boxes accordingly."""

import contextlib
import io
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch

from tinynet_core.data.sets import BoxedImages, DetectionSet
from tinynet_core.detection.model import Detector, Targets
from tinynet_core.files import UserError
from tinynet_core.training import augment
from tinynet_core.training.augment import Batch, Draws, Source
from tinynet_core.training.loop import Loop
from tinynet_core.training.recipe import Recipe
from tinynet_core.training.team import team

if TYPE_CHECKING:
    from pycocotools.coco import COCO

METRICS = {"map": 0, "ap50": 1, "ap75": 2, "map_small": 3, "map_medium": 4, "map_large": 5, "ar_100": 8}
"""COCO's metrics by name, with their positions in COCO's summary."""
LEAST_PIXELS = 1.0
"""Least height and width in pixels that a crop must leave of an object. Smaller objects are dropped."""


class DetectionRun(Loop):
    """A training of the detector that ``build`` makes. ``start`` names its initial weights.

    Raises ``UserError`` if a launcher started several processes: a detector is trained in one process.
    """

    train_sums = ("loss", "box_loss", "class_loss")
    model: Detector
    train_set: "_Boxed"
    val_set: "_Boxed"

    def __init__(
        self,
        build: Callable[[], Detector],
        data: DetectionSet,
        recipe: Recipe,
        seed: int,
        device: str | torch.device = "auto",
        compiled: bool = False,
        start: str = "",
    ) -> None:
        if team().size > 1:
            raise UserError(f"a detector trains in one process, got {team().size}: start it without the launcher")
        super().__init__(build, recipe, len(data.train), seed, device, compiled, (data.content_hash, start))
        self.data = data
        self.train_set, self.val_set = _Boxed(data.train, self.device), _Boxed(data.val, self.device)

    def backward(self, batch: Batch, draws: Draws, share: float) -> torch.Tensor:
        inputs, targets = augmented(batch, self.train_set.targets(batch), self.model.side, self.recipe, draws)
        with self.autocast():
            outputs = self.forward(inputs)
        boxes, classes = self.model.losses(outputs, targets)
        ((boxes + classes) * share).backward()
        return torch.stack([boxes + classes, boxes, classes]).detach().double() * len(inputs)

    @torch.inference_mode()
    def evaluate(self, should_stop: Callable[[], bool]) -> dict[str, float] | None:
        """Return the mean loss of raw and of averaged weights and, after the last epoch, COCO's metrics."""
        models = {"raw": self.model.eval(), "ema": self.ema.module.eval()}
        last, val = self.epoch + 1 == self.recipe.epochs, self.data.val
        sums = dict.fromkeys(models, 0.0)
        found: dict[str, list[np.ndarray]] = {name: [] for name in models}
        for batch in self.val_set.batches(torch.arange(len(val)).split(64)):
            if should_stop():
                return None
            inputs, targets = plain(batch, self.val_set.targets(batch), self.model.side)
            for name, model in models.items():
                with self.autocast():
                    outputs = model(inputs)
                sums[name] += float(sum(model.losses(outputs, targets))) * len(inputs)
                if last:
                    found[name] += self._in_originals(batch, model.detections(outputs))
        metrics = {f"{name}_loss": total / len(val) for name, total in sums.items()}
        for name, rows in found.items() if last else ():
            judged = average_precision(self.data.truth(), np.concatenate(rows), val.ids.tolist(), self.data.area_limits)
            metrics |= {f"{name}_{metric}": value for metric, value in judged.items()}
        return metrics

    def _in_originals(self, batch: Batch, detections: list[dict[str, torch.Tensor]]) -> list[np.ndarray]:
        """Return the rows of each image for ``average_precision``, in pixels of the original."""
        rows = []
        for i, found in zip(batch.labels.tolist(), detections, strict=True):
            boxes, scores, labels = (found[name].cpu().numpy() for name in ("boxes", "scores", "labels"))
            width, height = self.data.val.shapes[i] / self.model.side
            left, top, right, bottom = (boxes.astype(np.float64) * [width, height, width, height]).T
            category, image = np.array(self.data.categories)[labels - 1], np.full(len(left), self.data.val.ids[i])
            rows.append(np.stack([image, left, top, right - left, bottom - top, scores, category], 1))
        return rows

    @torch.inference_mode()
    def detect(self, images: int) -> list[np.ndarray]:
        """Return rows for ``average_precision``, by the averaged weights on the first ``images`` validation images."""
        (batch,) = self.val_set.batches([torch.arange(min(images, len(self.data.val)))])
        inputs, _ = plain(batch, self.val_set.targets(batch), self.model.side)
        model = self.ema.module.eval()
        with self.autocast():
            outputs = model(inputs)
        return self._in_originals(batch, model.detections(outputs))  # type: ignore[operator]


class _Boxed(Source):
    """A split as the source of batches. The labels of a batch are the numbers of its images."""

    def __init__(self, split: BoxedImages, device: torch.device) -> None:
        aspects = (split.shapes[:, 0] / split.shapes[:, 1]).astype(np.float32)
        super().__init__(split.images, np.arange(len(split)), aspects, device)
        self.split = split
        self.boxes = torch.from_numpy(np.array(split.boxes)).to(device)
        self.classes = torch.from_numpy(np.array(split.labels)).to(device)

    def targets(self, batch: Batch) -> list[Targets]:
        """Return the objects of each image of a batch, in pixels of the stored images."""
        objects = [self.split.objects(i) for i in batch.labels.tolist()]
        return [Targets(self.boxes[some], self.classes[some]) for some in objects]


def augmented(
    batch: Batch, targets: list[Targets], side: int, recipe: Recipe, draws: Draws
) -> tuple[torch.Tensor, list[Targets]]:
    """Return random crops of a batch, resized to (n, 3, side, side), mirrored and coloured, and their objects."""
    inputs = augment.training_batch(batch, side, recipe, draws, clamp=True)
    crops = augment.crop_boxes(draws, batch.images.shape[2], recipe, batch.aspects).to(inputs.device)
    return inputs, moved(targets, crops, side, draws.flip.to(inputs.device))


def plain(batch: Batch, targets: list[Targets], side: int) -> tuple[torch.Tensor, list[Targets]]:
    """Return whole images, resized to (n, 3, side, side) if necessary, and their objects."""
    n, stored, images = len(batch.images), batch.images.shape[2], batch.images.float().div_(255)
    whole = augment.centre_boxes(n, stored, 1.0).to(images.device)
    if stored != side:
        images = augment.resample(images, whole, side)
    unflipped = torch.zeros(n, dtype=torch.bool, device=images.device)
    return augment.normalise(images), moved(targets, whole, side, unflipped)


def moved(targets: list[Targets], crops: torch.Tensor, side: int, flip: torch.Tensor) -> list[Targets]:
    """Return objects in ``crops`` (n, 4; top, left, bottom, right), resized to ``side`` and mirrored where ``flip``.

    An object whose centre is outside of its crop is dropped. The others are cut at the crop's edges.
    """
    counts = [len(target.boxes) for target in targets]
    boxes, labels = torch.cat([t.boxes for t in targets]), torch.cat([t.labels for t in targets])
    owner = torch.repeat_interleave(torch.tensor(counts, device=boxes.device))
    top, left, bottom, right = crops[owner].unbind(1)
    corner, extent = torch.stack([left, top], 1), torch.stack([right - left, bottom - top], 1)
    low, high = ((boxes[:, part] - corner) / extent * side for part in (slice(0, 2), slice(2, 4)))
    centre = (low + high) / 2
    low, high = low.clamp(0, side), high.clamp(0, side)
    kept = ((centre > 0) & (centre < side) & (high - low >= LEAST_PIXELS)).all(1)
    mirrored = flip[owner]
    x0 = torch.where(mirrored, side - high[:, 0], low[:, 0])
    x1 = torch.where(mirrored, side - low[:, 0], high[:, 0])
    boxes = torch.stack([x0, low[:, 1], x1, high[:, 1]], 1)
    return [
        Targets(some[keep], names[keep])
        for some, names, keep in zip(boxes.split(counts), labels.split(counts), kept.split(counts), strict=True)
    ]


def average_precision(
    truth: "COCO", detections: np.ndarray, image_ids: list[int], area_limits: tuple[float, float]
) -> dict[str, float]:
    """Return COCO's metrics, as fractions, of ``detections`` on the images ``image_ids`` of ``truth``.

    A row of ``detections`` is image id, left, top, width, height in pixels of the original image, score, category id.
    ``map`` is the mean over categories and over IoU thresholds of 0.5, 0.55, ... 0.95. ``map_small`` and so on are
    the same for objects below, between and above ``area_limits``, in square pixels of the annotated area. ``ar_100`` is
    the recall at 100 detections per image. A metric is left out if the images hold no object for it.
    """
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    small, large = area_limits
    with contextlib.redirect_stdout(io.StringIO()):
        found = truth.loadRes(detections) if len(detections) else COCO()  # loadRes refuses an empty list
        judge = COCOeval(truth, found, "bbox")
        judge.params.imgIds = sorted(image_ids)
        judge.params.areaRng = [[0, 1e10], [0, small], [small, large], [large, 1e10]]
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    return {name: float(judge.stats[place]) for name, place in METRICS.items() if judge.stats[place] >= 0}
