"""The data sets that the package draws: rendering in several processes, the cache, and probes.

An image depends on (configuration, split, index) alone, so that any number of workers renders the same bytes.
"""

import hashlib
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from tinynet_core.data import sets
from tinynet_core.data.creatures import CreatureDataset, CreatureSceneDataset
from tinynet_core.data.sets import SPLITS, BoxedImages, DetectionSet, ImageSet, cached
from tinynet_core.machine import cache_root, in_chunks

PROBES = 32
"""Images of each split that ``probe_hash`` looks at, at least; more where that leaves out a class."""
_SCENE_PARTS = ("images", "boxes", "labels", "starts")
Drawn = CreatureDataset | CreatureSceneDataset


def load_drawn_images(dataset: CreatureDataset, workers: int = 1, progress: bool = False) -> ImageSet:
    """The images of a drawn data set, from the cache if their bytes have the recorded hash, else rendered anew."""
    arrays, found = _arrays(dataset, cache_root(), workers, progress)
    return ImageSet(**arrays, content_hash=found)


def load_drawn_scenes(dataset: CreatureSceneDataset, workers: int = 1, progress: bool = False) -> DetectionSet:
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
def _arrays(dataset: Drawn, root: Path, workers: int, progress: bool) -> tuple[dict[str, np.ndarray], str]:
    def fill(scratch: Path) -> None:
        sets.write_arrays(scratch, render(dataset, workers, progress), dataset.model_dump())

    parts = _SCENE_PARTS if isinstance(dataset, CreatureSceneDataset) else ("images", "labels")
    names = [f"{split}_{part}" for split in SPLITS for part in parts]
    folder = root / f"{dataset.kind.replace('_', '-')}-{dataset.key[:16]}"
    return cached(folder, fill, lambda place: sets.read_arrays(place, names))


def render(dataset: Drawn, workers: int = 1, progress: bool = False) -> dict[str, np.ndarray]:
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


def annotations(dataset: CreatureSceneDataset, split: BoxedImages) -> dict[str, Any]:
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
