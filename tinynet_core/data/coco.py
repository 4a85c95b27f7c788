"""COCO, or any detection data set in the same layout, from a local folder.

``$TINYNET_COCO`` names the folder: ``train2017/``, ``val2017/`` and ``annotations/instances_{train,val}2017.json``.
The cache keeps the part of the annotations that training needs. Images are decoded when they are used.
"""

import hashlib
import json
import os
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field

from tinynet_core.data import sets
from tinynet_core.data.imagenet import JpegImages, named_root, read_file
from tinynet_core.data.sets import BoxedImages, DataConfig, DetectionSet
from tinynet_core.files import UserError
from tinynet_core.machine import cache_root, in_chunks

FOLDERS = {"train": "train2017", "val": "val2017"}
ANNOTATIONS = {split: f"annotations/instances_{folder}.json" for split, folder in FOLDERS.items()}
_FORMAT = 2
"""Version of the cache. Raise it with every change to the cached arrays."""
_PARTS = ("names", "boxes", "labels", "starts", "ids", "shapes")
_ARRAYS = (*(f"{split}_{part}" for split in FOLDERS for part in _PARTS), "categories", "category_names")


class CocoDataset(DataConfig):
    """Number of classes that the folder must have, and size of its stored images.

    ``train_images`` and ``val_images`` are nominal, for estimates. Training uses all training images that have an
    object. Evaluation uses all validation images.
    """

    kind: Literal["coco"] = "coco"
    classes: int = Field(80, ge=1, le=10_000)
    side: int = Field(512, ge=16, le=2048, description="side in pixels of the square that an image is decoded to")
    train_images: int = Field(117_266, ge=1)
    val_images: int = Field(5_000, ge=1)


def load_coco(dataset: CocoDataset, workers: int = 1, progress: bool = False) -> DetectionSet:
    """Load the images below ``$TINYNET_COCO`` with their boxes. Crowds stay in the ground truth but are not trained on.

    The first load decodes every image once, in ``workers`` processes, so that a broken image cannot stop a training
    later. A label is the position of a category id among the sorted ids, from 1. Training images without an object and
    boxes without an extent are left out. The content hash covers names, sizes, boxes and labels, not pixels.
    Raises ``UserError`` if a file is missing, cannot be decoded, or is not in COCO's format.
    """
    root = coco_root()
    files = [(root / file).stat() for file in ANNOTATIONS.values()]
    described = [_FORMAT, str(root), dataset.classes, *((f.st_size, f.st_mtime_ns) for f in files)]
    folder = cache_root().absolute() / f"coco-{hashlib.sha256(json.dumps(described).encode()).hexdigest()[:16]}"

    def fill(scratch: Path) -> None:
        arrays = _read_annotations(root, dataset)
        _check_images(root, arrays, dataset.side, workers, progress)
        sets.write_arrays(scratch, arrays, dataset.model_dump())

    arrays, found = sets.cached(folder, fill, lambda place: sets.read_arrays(place, _ARRAYS))
    return DetectionSet(
        train=_boxed(root, "train", arrays, dataset.side),
        val=_boxed(root, "val", arrays, dataset.side),
        side=dataset.side,
        categories=tuple(arrays["categories"].tolist()),
        names=tuple(name.decode() for name in arrays["category_names"].tolist()),
        truth=lambda: sets.ground_truth(str(root / ANNOTATIONS["val"])),
        area_limits=sets.COCO_LIMITS,
        content_hash=found,
    )


def coco_root() -> Path:
    """Return the folder that ``$TINYNET_COCO`` names. Raise ``UserError`` if one of its parts is missing."""
    parts = [*FOLDERS.values(), *ANNOTATIONS.values()]
    return named_root("TINYNET_COCO", parts, ", ".join(parts), "/data/coco")


def _boxed(root: Path, split: str, arrays: dict[str, np.ndarray], side: int) -> BoxedImages:
    """Return the images of a split with their boxes in pixels of the stored squares."""
    names, boxes, labels, starts, ids, shapes = (arrays[f"{split}_{part}"] for part in _PARTS)
    owner = np.repeat(np.arange(len(ids)), np.diff(starts))
    scale = np.tile(side / shapes[owner], 2)
    images = JpegImages(root / FOLDERS[split], names, side)
    return BoxedImages(images, (boxes * scale).astype(np.float32), labels, starts, ids, shapes)


def _read_annotations(root: Path, dataset: CocoDataset) -> dict[str, np.ndarray]:
    """Return all arrays of both splits. Boxes are in pixels of the original images."""
    arrays: dict[str, np.ndarray] = {}
    categories: dict[int, str] = {}
    for split in FOLDERS:
        file = root / ANNOTATIONS[split]
        try:
            truth = sets.ground_truth(str(file))
            named = {int(i): str(truth.cats[i]["name"]) for i in sorted(truth.cats)}
            parts = _index(truth.imgs, truth.imgToAnns, [*named], with_objects=split == "train")
        except (AssertionError, LookupError, OverflowError, TypeError, ValueError) as error:
            raise UserError(f"annotations {file} are not in COCO's format: {type(error).__name__}: {error}") from error
        if len(named) != dataset.classes:
            raise UserError(f"{file} has {len(named)} categories, but classes is {dataset.classes}")
        if categories and named != categories:
            raise UserError(f"{file} has other categories than the training split")
        categories = named
        arrays |= {f"{split}_{part}": array for part, array in zip(_PARTS, parts, strict=True)}
    arrays["categories"] = np.array([*categories], np.int64)
    arrays["category_names"] = np.array([name.encode() for name in categories.values()])
    return arrays


def _check_images(root: Path, arrays: dict[str, np.ndarray], side: int, workers: int, progress: bool) -> None:
    """Raise ``UserError`` unless every annotated image exists and can be decoded."""
    paths = [root / FOLDERS[split] / os.fsdecode(x) for split in FOLDERS for x in arrays[f"{split}_names"].tolist()]
    if missing := [path for path in paths if not path.is_file()]:
        raise UserError(f"{len(missing)} annotated images are missing, the first is {missing[0]}")
    reads = in_chunks(read_file, [(path, side, False) for path in paths], workers, "checking images", progress)
    if broken := [x for x in reads if isinstance(x, str)]:
        raise UserError(f"{len(broken)} annotated images cannot be decoded: {'; '.join(broken[:3])}")


def _index(images: dict, objects: dict, categories: list[int], with_objects: bool) -> tuple[np.ndarray, ...]:
    """Build a split's arrays from pycocotools' dictionaries. ``with_objects`` leaves out images without objects."""
    label_of = {category: i for i, category in enumerate(categories, 1)}
    kept, boxes, labels, starts = [], [], [], [0]
    for image in images.values():
        extent = np.array([image["width"], image["height"]] * 2)
        for found in objects[image["id"]]:
            if found["id"] < 1:
                raise ValueError("annotation ids must be at least 1: pycocotools takes 0 for no match")
            left, top, width, height = found["bbox"]
            box = np.clip([left, top, left + width, top + height], 0, extent)
            if not found["iscrowd"] and (box[2:] > box[:2]).all():
                boxes.append(box)
                labels.append(label_of[found["category_id"]])
        if len(boxes) > starts[-1] or not with_objects:
            kept.append(image)
            starts.append(len(boxes))
    if not boxes:
        raise ValueError("no image has an object that is not a crowd")
    return (
        np.array([os.fsencode(image["file_name"]) for image in kept]),
        np.array(boxes, np.float64),
        np.array(labels, np.int64),
        np.array(starts),
        np.array([image["id"] for image in kept], np.int64),
        np.array([(image["width"], image["height"]) for image in kept], np.int64),
    )
