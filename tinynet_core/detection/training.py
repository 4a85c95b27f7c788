"""Training a detector: batches are cropped, mirrored and coloured on the device, and the boxes move along."""

import contextlib
import io
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from tinynet_core.data.sets import BoxedImages, DetectionSet
from tinynet_core.detection.model import Detected, Detector, Targets
from tinynet_core.files import UserError
from tinynet_core.training.augment import Draws, Source, crop_boxes, jitter, normalise, resample
from tinynet_core.training.loop import Loop
from tinynet_core.training.recipe import Recipe
from tinynet_core.training.team import team

if TYPE_CHECKING:
    from pycocotools.coco import COCO

METRICS = {"map": 0, "ap50": 1, "ap75": 2, "map_small": 3, "map_medium": 4, "map_large": 5, "ar_100": 8}
"""COCO's metrics by name, with their places in its summary."""
LEAST_PIXELS = 1.0
"""Objects of which a crop leaves less than so many pixels in height or width are dropped."""


class BoxedBatch(NamedTuple):
    """uint8 (n, 3, S, S) images and the objects of each on the device, aspects (n,) of the originals on the CPU."""

    images: torch.Tensor
    targets: list[Targets]
    aspects: torch.Tensor


class DetectionRun(Loop):
    """A training of the detector that ``build`` makes; ``start`` names the weights that it starts with.

    Raises ``UserError`` where a launcher started several processes: a detector is trained in one.
    """

    train_sums = ("loss", "box_loss", "class_loss")
    model: Detector

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
            raise UserError(f"a detector is trained in one process, the launcher started {team().size}: start it alone")
        super().__init__(build, recipe, len(data.train), seed, device, compiled, (data.content_hash, start))
        self.data = data
        self.splits = {"train": _BoxedSource(data.train, self.device), "val": _BoxedSource(data.val, self.device)}

    def batches(self, indices: Sequence[torch.Tensor]) -> Iterator[BoxedBatch]:
        return self.splits["train"].batches(indices)

    def backward(self, batch: BoxedBatch, draws: Draws, part: slice) -> torch.Tensor:
        some = BoxedBatch(batch.images[part], batch.targets[part], batch.aspects[part])
        inputs, targets = augmented(some, self.model.side, self.recipe, draws.take(part))
        with self.autocast():
            outputs = self.forward(inputs)
        boxes, classes = self.model.losses(outputs, targets)
        share = len(inputs) / len(batch.images)
        ((boxes + classes) * share).backward()
        return torch.stack([boxes + classes, boxes, classes]).detach().double() * len(inputs)

    @torch.inference_mode()
    def evaluate(self, should_stop: Callable[[], bool], batch_size: int = 64) -> dict[str, float] | None:
        """Mean loss of raw and of averaged weights; COCO's metrics as well after the last epoch."""
        models = {"raw": self.model.eval(), "ema": self.ema.module.eval()}
        last = self.epoch + 1 == self.recipe.epochs
        sums = dict.fromkeys(models, 0.0)
        found: dict[str, list[np.ndarray]] = {name: [] for name in models}
        indices = torch.arange(len(self.data.val)).split(batch_size)
        for index, batch in zip(indices, self.splits["val"].batches(indices), strict=True):
            if should_stop():
                return None
            inputs, targets = plain(batch, self.model.side)
            for name, model in models.items():
                with self.autocast():
                    outputs = model(inputs)
                sums[name] += float(sum(model.losses(outputs, targets))) * len(inputs)
                if last:
                    found[name] += self._in_originals(index, model.detections(outputs))
        metrics = {f"{name}_loss": total / len(self.data.val) for name, total in sums.items()}
        if last:
            for name, rows in found.items():
                metrics |= {f"{name}_{metric}": value for metric, value in self._judge(rows).items()}
        return metrics

    def _in_originals(self, index: torch.Tensor, detections: list[Detected]) -> list[np.ndarray]:
        """For each image the rows that ``average_precision`` takes."""
        rows = []
        for i, (boxes, scores, labels) in zip(index.tolist(), detections, strict=True):
            width, height = self.data.val.shapes[i] / self.model.side
            left, top, right, bottom = (boxes.cpu().double().numpy() * [width, height, width, height]).T
            category = np.array(self.data.categories)[labels.cpu().numpy() - 1]
            image = np.full(len(left), self.data.val.ids[i])
            rows.append(np.stack([image, left, top, right - left, bottom - top, scores.cpu().numpy(), category], 1))
        return rows

    def _judge(self, rows: list[np.ndarray]) -> dict[str, float]:
        ids = self.data.val.ids.tolist()
        return average_precision(self.data.truth(), np.concatenate(rows), ids, self.data.area_limits)

    @torch.inference_mode()
    def detect(self, images: int) -> list[np.ndarray]:
        """Detections of the averaged weights on the first so many validation images, as ``average_precision`` takes."""
        index = torch.arange(min(images, len(self.data.val)))
        (batch,) = self.splits["val"].batches([index])
        inputs, _ = plain(batch, self.model.side)
        model = self.ema.module.eval()
        with self.autocast():
            outputs = model(inputs)
        return self._in_originals(index, model.detections(outputs))  # type: ignore[operator]


class _BoxedSource:
    """A split whose images come as they do for a classifier, from memory or decoded in threads."""

    def __init__(self, split: BoxedImages, device: torch.device) -> None:
        self.split = split
        aspects = (split.shapes[:, 0] / split.shapes[:, 1]).astype(np.float32)
        self.images = Source(split.images, np.arange(len(split)), aspects, device)
        self.boxes = torch.from_numpy(np.array(split.boxes)).to(device)
        self.labels = torch.from_numpy(np.array(split.labels)).to(device)

    def batches(self, indices: Sequence[torch.Tensor]) -> Iterator[BoxedBatch]:
        for index, (images, _, aspects) in zip(indices, self.images.batches(indices), strict=True):
            objects = [self.split.objects(i) for i in index.tolist()]
            assert aspects is not None
            yield BoxedBatch(images, [Targets(self.boxes[some], self.labels[some]) for some in objects], aspects)


def augmented(batch: BoxedBatch, side: int, recipe: Recipe, draws: Draws) -> tuple[torch.Tensor, list[Targets]]:
    """Random crops of a batch, resized to (n, 3, side, side), mirrored and coloured, and the objects in them."""
    device = batch.images.device
    crops = crop_boxes(draws.tries, draws.place, batch.images.shape[2], recipe, batch.aspects).to(device)
    flip = draws.flip.to(device)
    images = resample(
        batch.images.float().div_(255), crops, side, flip if recipe.mirror else None, recipe.interpolation
    )
    images = images.clamp_(0, 1)
    if recipe.jitter:
        images = jitter(images, draws.factors.to(device))
    return normalise(images), moved(batch.targets, crops, side, flip)


def plain(batch: BoxedBatch, side: int) -> tuple[torch.Tensor, list[Targets]]:
    """Whole images, resized to (n, 3, side, side) where they are not, and their objects."""
    n, stored = len(batch.images), batch.images.shape[2]
    images = batch.images.float().div_(255)
    whole = torch.tensor([[0.0, 0.0, stored, stored]], device=images.device).expand(n, 4)
    if stored != side:
        images = resample(images, whole, side)
    return normalise(images), moved(batch.targets, whole, side, torch.zeros(n, dtype=torch.bool, device=images.device))


def moved(targets: list[Targets], crops: torch.Tensor, side: int, flip: torch.Tensor) -> list[Targets]:
    """The objects in ``crops`` (n, 4; top, left, bottom, right) that are resized to ``side`` and mirrored by ``flip``.

    An object whose centre is outside of its crop is dropped; the others are cut at the crop's edges.
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
    """COCO's metrics, as fractions, of ``detections`` on the images ``image_ids`` of ``truth``.

    A row of ``detections`` is image id, left, top, width, height in pixels of the original image, score, category id.
    ``map`` is the mean over intersections over union of 0.5, 0.55, ... 0.95 and over categories; ``map_small``,
    ``map_medium`` and ``map_large`` are those of objects below, between and above ``area_limits`` in square pixels, by
    the area that the annotations give; ``ar_100`` is the recall at a hundred detections an image. A metric of which the
    images hold no object is left out.
    """
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    small, large = area_limits
    with contextlib.redirect_stdout(io.StringIO()):
        found = truth.loadRes(detections) if len(detections) else COCO()  # it refuses an empty list
        judge = COCOeval(truth, found, "bbox")
        judge.params.imgIds = sorted(image_ids)
        judge.params.areaRng = [[0, 1e10], [0, small], [small, large], [large, 1e10]]
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    return {name: float(judge.stats[place]) for name, place in METRICS.items() if judge.stats[place] >= 0}
