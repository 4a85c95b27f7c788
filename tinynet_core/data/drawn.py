"""What the data sets that the package draws share: rendering in several processes, the cache, and probes.

An image depends on (configuration, split, index) alone, so that any number of workers renders the same bytes.
"""

import hashlib
from abc import abstractmethod
from functools import cache, lru_cache
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
from pydantic import AfterValidator, Strict

from tinynet_core.data import sets
from tinynet_core.data.sets import SPLITS, BoxedImages, DataConfig, DetectionSet, ImageSet, cached
from tinynet_core.machine import cache_root, in_chunks

PROBES = 32
"""Images of each split that ``probe_hash`` looks at, at least; more where that leaves out a class."""
_SCENE_PARTS = ("images", "boxes", "labels", "starts")


def _ordered(extent: tuple[float, float]) -> tuple[float, float]:
    low, high = extent
    if not 0 < low <= high <= 1:
        raise ValueError(f"must satisfy 0 < low <= high <= 1, got {low:g}, {high:g}")
    return extent


def _whole(shares: tuple[float, float, float]) -> tuple[float, float, float]:
    if not (min(shares) >= 0 and abs(sum(shares) - 1) <= 1e-9):
        raise ValueError(f"must be three numbers of at least 0 that add up to 1, got {shares}")
    return shares


Extent = Annotated[tuple[float, float], Strict(False), AfterValidator(_ordered)]
"""A range of shares of the image."""
Shares = Annotated[tuple[float, float, float], Strict(False), AfterValidator(_whole)]
"""Of small, medium and large objects."""


class Scene(NamedTuple):
    """One image, uint8 (side, side, 3), its boxes, int64 (n, 4), and its labels, int64 (n,), which count from 1."""

    image: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray


class DrawnDataset(DataConfig):
    """A configuration of what to draw. Two equal values give the same images, byte for byte."""

    @property
    @abstractmethod
    def names(self) -> tuple[str, ...]:
        """Names of the classes."""

    @abstractmethod
    def draw(self, split: str, index: int) -> tuple[np.ndarray, ...]:
        """Image ``index`` of ``split``, and its boxes and labels in a scene."""


class DrawnImages(DrawnDataset):
    """A configuration of images of one object each."""

    @abstractmethod
    def region(self, split: str, index: int) -> np.ndarray:
        """The pixels of image ``index`` of ``split`` at least half of which show its object, bool (side, side)."""


class DrawnScenes(DrawnDataset):
    """A configuration of scenes, ``side`` pixels wide and high."""

    @property
    def area_limits(self) -> tuple[float, float]:
        """Square pixels from which an object is medium, and large: COCO's for 512 pixels, in proportion."""
        share = (self.side / 512) ** 2  # type: ignore[attr-defined]
        return sets.COCO_LIMITS[0] * share, sets.COCO_LIMITS[1] * share


def load_drawn_images(dataset: Any, workers: int = 1, progress: bool = False) -> ImageSet:
    """The images of a drawn data set, from the cache if their bytes have the recorded hash, else rendered anew."""
    arrays, found = _arrays(dataset, cache_root(), workers, progress)
    return ImageSet(**arrays, content_hash=found)


def load_drawn_scenes(dataset: Any, workers: int = 1, progress: bool = False) -> DetectionSet:
    """The same for scenes."""
    arrays, found = _arrays(dataset, cache_root(), workers, progress)
    splits = {}
    for split in SPLITS:
        images, boxes, labels, starts = (arrays[f"{split}_{part}"] for part in _SCENE_PARTS)
        shapes = np.full((len(images), 2), dataset.side)
        splits[split] = BoxedImages(images, boxes, labels, starts, np.arange(1, len(images) + 1), shapes)
    return DetectionSet(
        **splits,
        side=dataset.side,
        categories=tuple(range(1, dataset.classes + 1)),
        names=dataset.names,
        truth=lambda: sets.ground_truth(annotations(dataset, splits["val"])),
        area_limits=dataset.area_limits,
        content_hash=found,
    )


@lru_cache(maxsize=4)
def _arrays(dataset: Any, root: Path, workers: int, progress: bool) -> tuple[dict[str, np.ndarray], str]:
    def fill(scratch: Path) -> None:
        sets.write_arrays(scratch, render(dataset, workers, progress), dataset.model_dump())

    parts = _SCENE_PARTS if isinstance(dataset, DrawnScenes) else ("images", "labels")
    names = [f"{split}_{part}" for split in SPLITS for part in parts]
    folder = root / f"{dataset.kind.replace('_', '-')}-{dataset.key[:16]}"
    return cached(folder, fill, lambda place: sets.read_arrays(place, names))


def render(dataset: Any, workers: int = 1, progress: bool = False) -> dict[str, np.ndarray]:
    """All images and labels of a classification task, image i of class ``i % classes``; all scenes with their boxes."""
    n = dataset.train_images
    jobs = [("train", i) for i in range(n)] + [("val", i) for i in range(dataset.val_images)]
    drawn = [*in_chunks(dataset.draw, jobs, workers, f"rendering {dataset.kind.replace('_', ' ')}", progress)]
    arrays = {}
    for split, some in (("train", drawn[:n]), ("val", drawn[n:])):
        images, *objects = zip(*some, strict=True)
        arrays[f"{split}_images"] = np.stack(images)
        if objects:
            boxes, labels = objects
            arrays[f"{split}_boxes"] = np.concatenate(boxes).astype(np.float32)
            arrays[f"{split}_labels"] = np.concatenate(labels)
            arrays[f"{split}_starts"] = np.cumsum([0, *map(len, labels)])
        else:
            arrays[f"{split}_labels"] = np.arange(len(some), dtype=np.int64) % dataset.classes
    seen = {image.tobytes() for image in arrays["train_images"]}
    if any(image.tobytes() in seen for image in arrays["val_images"]):
        raise RuntimeError("a rendered image is both in train and in val")
    return arrays


def annotations(dataset: Any, split: BoxedImages) -> dict[str, Any]:
    """Return the annotations of a split in COCO's format. Image ids count from 1; an object's area is its box's."""
    owners, labels = np.repeat(split.ids, np.diff(split.starts)).tolist(), split.labels.tolist()
    objects: list[dict[str, Any]] = []
    for owner, label, (left, top, right, bottom) in zip(owners, labels, split.boxes.tolist(), strict=True):
        width, height = right - left, bottom - top
        about = {"id": len(objects) + 1, "image_id": owner, "category_id": label, "iscrowd": 0}
        objects.append(about | {"bbox": [left, top, width, height], "area": width * height})
    return {
        "images": [{"id": i, "width": dataset.side, "height": dataset.side} for i in split.ids.tolist()],
        "categories": [{"id": i, "name": name} for i, name in enumerate(dataset.names, 1)],
        "annotations": objects,
    }


@cache
def probe_hash(dataset: Any) -> str:
    """SHA-256 over some images of a data set that the package draws; empty for photographs.

    Of each split it takes as many images of every class, at random places; a change of others may stay unseen.
    """
    if not hasattr(dataset, "draw"):
        return ""
    digest = hashlib.sha256()
    for split in SPLITS:
        for index in probes(getattr(dataset, f"{split}_images"), dataset.classes):
            for array in dataset.draw(split, index):
                digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def probes(n: int, classes: int) -> list[int]:
    """Indices of the probes among ``n`` images, of which image i is of class ``i % classes``."""
    groups = classes * -(-PROBES // classes)
    rng = np.random.default_rng([n, classes])
    return [first + groups * int(rng.integers(-(-(n - first) // groups))) for first in range(min(groups, n))]
