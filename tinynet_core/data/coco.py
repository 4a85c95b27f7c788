"""COCO, or any detection data set in its layout, from the disk of whoever trains.

``$TINYNET_COCO`` names the folder, which is a matter of the machine and not of the experiment: ``train2017/``,
``val2017/`` and ``annotations/instances_{train,val}2017.json``. Nothing is written there. What training needs of the
annotations is kept in the cache; images are decoded on the way.
"""

import hashlib
import json
import operator
import os
import reprlib
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from tinynet_core.data.cache import cache_root, cached, content_hash, read_arrays, write_arrays
from tinynet_core.data.imagefolder import JpegImages, named_root
from tinynet_core.data.sets import COCO_LIMITS, BoxedImages, DetectionSet, ground_truth
from tinynet_core.files import UserError

ROOT_VARIABLE = "TINYNET_COCO"
FOLDERS = {"train": "train2017", "val": "val2017"}
_LAYOUT = "annotations/instances_train2017.json, annotations/instances_val2017.json, train2017/ and val2017/"
_FORMAT = 2
"""Raise with every change of what is kept in the cache."""
_PARTS = ("names", "boxes", "labels", "starts", "ids", "shapes")
_ARRAYS = (*(f"{split}_{part}" for split in FOLDERS for part in _PARTS), "categories", "category_names")


class CocoDataset(BaseModel):
    """How many classes the folder must have, and at what size its images are stored.

    ``train_images`` and ``val_images`` are nominal, for estimates; all images of the folder that have an object are
    trained on, and all of the validation split judged.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    kind: Literal["coco"] = "coco"
    classes: int = Field(80, ge=1, le=10_000)
    side: int = Field(512, ge=16, le=2048, description="of the square in pixels that an image is decoded to")
    train_images: int = Field(117_266, ge=1)
    val_images: int = Field(5_000, ge=1)

    @property
    def mirror_safe(self) -> bool:
        """Whether a mirrored image keeps the classes of its objects."""
        return True


def load_coco(dataset: CocoDataset) -> DetectionSet:
    """The images below ``$TINYNET_COCO`` with their boxes; crowds are left out of training, pycocotools knows of them.

    The labels are the positions of the category ids, in their order, counted from 1. Images without an object are left
    out of the training split. The content hash is that of names, sizes, boxes and labels, not of the pixels.

    Raises ``UserError`` for a folder that is not laid out so, annotations that cannot be read or do not fit together,
    and images that are annotated and not there. Boxes without an extent are left out with a warning.
    """
    root = coco_root()
    folder = cache_root().absolute() / f"coco-{_key(root, dataset)[:16]}"

    def fill(scratch: Path) -> None:
        arrays = _read_annotations(root, dataset)
        write_arrays(scratch, arrays, dataset.model_dump(), content_hash(arrays))

    arrays, found = cached(folder, fill, lambda place: read_arrays(place, _ARRAYS))
    for split, name in FOLDERS.items():
        _check_images(root / name, arrays[f"{split}_names"], annotations(root, split))
    return DetectionSet(
        train=_boxed(root, folder, "train", arrays, dataset.side),
        val=_boxed(root, folder, "val", arrays, dataset.side),
        side=dataset.side,
        categories=tuple(arrays["categories"].tolist()),
        names=tuple(name.decode() for name in arrays["category_names"].tolist()),
        truth=lambda: ground_truth(str(annotations(root, "val"))),
        area_limits=COCO_LIMITS,
        content_hash=found,
    )


def coco_root() -> Path:
    """The folder that ``$TINYNET_COCO`` names; raises ``UserError`` unless all of its parts are there."""
    root = named_root(ROOT_VARIABLE, _LAYOUT, "/data/coco")
    for split, name in FOLDERS.items():
        if not (root / name).is_dir():
            raise UserError(f"{ROOT_VARIABLE}: {root} has no folder {name}/; it must hold {_LAYOUT}")
        if not annotations(root, split).is_file():
            raise UserError(f"{ROOT_VARIABLE}: there is no file {annotations(root, split)}; {root} must hold {_LAYOUT}")
    return root


def annotations(root: Path, split: str) -> Path:
    """The annotation file of a split."""
    return root / "annotations" / f"instances_{FOLDERS[split]}.json"


def _key(root: Path, dataset: CocoDataset) -> str:
    """Names the cache: another file, or a changed one, gives another name."""
    files = [annotations(root, split).stat() for split in FOLDERS]
    described = [_FORMAT, str(root), dataset.classes, *((f.st_size, f.st_mtime_ns) for f in files)]
    return hashlib.sha256(json.dumps(described).encode()).hexdigest()


def _boxed(root: Path, folder: Path, split: str, arrays: dict[str, np.ndarray], side: int) -> BoxedImages:
    _, boxes, labels, starts, ids, shapes = (arrays[f"{split}_{part}"] for part in _PARTS)
    owner = np.repeat(np.arange(len(ids)), np.diff(starts))
    scale = np.tile(side / shapes[owner], 2)
    images = JpegImages(root / FOLDERS[split], folder / f"{split}_names.npy", side)
    return BoxedImages(images, (boxes * scale).astype(np.float32), labels, starts, ids, shapes)


def _check_images(folder: Path, names: np.ndarray, file: Path) -> None:
    """Raise ``UserError`` unless ``folder`` holds every image that ``file`` lists."""
    present = {os.fsencode(entry.name) for entry in os.scandir(folder)}
    if missing := [name for name in names.tolist() if name not in present]:
        first = os.fsdecode(missing[0])
        raise UserError(f"{file} lists {first}, which {folder} lacks ({len(missing)} of {len(names)} are missing)")


def _read_annotations(root: Path, dataset: CocoDataset) -> dict[str, np.ndarray]:
    """All arrays of both splits, boxes in pixels of the originals."""
    contents = {split: _read_json(annotations(root, split)) for split in FOLDERS}
    names = {split: _categories(annotations(root, split), content) for split, content in contents.items()}
    if names["train"] != names["val"]:
        raise UserError(f"{annotations(root, 'train')} and {annotations(root, 'val')} have different categories")
    if len(names["val"]) != dataset.classes:
        raise UserError(
            f"{annotations(root, 'val')} has {len(names['val'])} categories, but classes is {dataset.classes}"
        )
    arrays: dict[str, np.ndarray] = {}
    for split, content in contents.items():
        parts = _index(annotations(root, split), content, sorted(names["val"]), with_objects=split == "train")
        arrays |= {f"{split}_{part}": parts[part] for part in _PARTS}
    arrays["categories"] = np.array(sorted(names["val"]), np.int64)
    arrays["category_names"] = np.array([names["val"][i].encode() for i in sorted(names["val"])])
    return arrays


def _read_json(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_bytes())
    except (OSError, ValueError) as error:
        raise UserError(f"annotations {file} cannot be read: {' '.join(str(error).split())}") from error
    for key in ("images", "annotations", "categories"):
        if not isinstance(content, dict) or not isinstance(content.get(key), list):
            raise UserError(f"annotations {file}: must be a mapping with a list {key!r}, as COCO's are")
        if not content[key]:
            raise UserError(f"annotations {file}: {key!r} is empty")
    return content


def _categories(file: Path, content: dict[str, Any]) -> dict[int, str]:
    try:
        return {operator.index(category["id"]): str(category["name"]) for category in content["categories"]}
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"annotations {file}: a category lacks a proper 'id' or 'name' ({error})") from error


def _index(file: Path, content: dict[str, Any], categories: Sequence[int], with_objects: bool) -> dict[str, np.ndarray]:
    """The arrays of one split; ``with_objects`` leaves out images that have none."""
    label_of = {category: i for i, category in enumerate(categories, 1)}
    try:
        images = {
            operator.index(x["id"]): (str(x["file_name"]), int(x["width"]), int(x["height"])) for x in content["images"]
        }
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"annotations {file}: an image lacks a proper id, file_name, width or height ({error})"
        ) from error
    if bad := [name for name, width, height in images.values() if min(width, height) < 1]:
        raise UserError(f"annotations {file}: image {bad[0]} must be at least a pixel wide and high")
    _check_annotations(file, content["annotations"])
    objects: dict[int, list[tuple[np.ndarray, int]]] = {image: [] for image in images}
    empty = 0
    for annotation in content["annotations"]:
        image, label, box = _object(file, annotation, images, label_of)
        if annotation["iscrowd"]:
            continue
        if (box[2:] > box[:2]).all():
            objects[image].append((box, label))
        else:
            empty += 1
    if empty:
        warnings.warn(f"annotations {file}: {empty} boxes without an extent were left out", stacklevel=2)
    kept = [image for image in images if objects[image] or not with_objects]
    if not any(objects.values()):
        raise UserError(f"annotations {file}: no image has an object that is not a crowd")
    flat = [pair for image in kept for pair in objects[image]]
    return {
        "names": np.array([os.fsencode(images[image][0]) for image in kept]),
        "boxes": np.array([box for box, _ in flat], np.float64).reshape(-1, 4),
        "labels": np.array([label for _, label in flat], np.int64),
        "starts": np.cumsum([0, *(len(objects[image]) for image in kept)]),
        "ids": np.array(kept, np.int64),
        "shapes": np.array([images[image][1:] for image in kept], np.int64),
    }


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) <= sys.float_info.max


def _is_whole(value: Any) -> bool:
    return type(value) is int


_WANTED: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "id": (lambda x: _is_whole(x) and x > 0, "a whole number of at least 1"),
    "image_id": (_is_whole, "a whole number, the id of an image"),
    "category_id": (_is_whole, "a whole number, the id of a category"),
    "bbox": (
        lambda x: isinstance(x, list) and len(x) == 4 and all(map(_is_number, x)),
        "a list of four numbers: left, top, width, height",
    ),
    "area": (lambda x: _is_number(x) and x >= 0, "a number of at least 0"),
    "iscrowd": (lambda x: _is_whole(x) and x in (0, 1), "0 or 1"),
}
"""What pycocotools reads of an annotation: whether a value will do, and what will. To it the id 0 means no match."""


def _check_annotations(file: Path, found: Sequence[Any]) -> None:
    """Raise ``UserError`` for the first annotation that lacks a key of ``_WANTED`` or whose id another one has."""
    seen: set[int] = set()
    for number, annotation in enumerate(found, 1):
        where = f"annotations {file}: annotation {number}"
        if not isinstance(annotation, dict):
            raise UserError(f"{where} is {reprlib.repr(annotation)}, must be a mapping with {', '.join(_WANTED)}")
        for key, (will_do, allowed) in _WANTED.items():
            if key not in annotation or not will_do(annotation[key]):
                given = f"is {reprlib.repr(annotation[key])}" if key in annotation else "is missing"
                raise UserError(f"{where} (id {reprlib.repr(annotation.get('id'))}): {key} {given}, must be {allowed}")
        if annotation["id"] in seen:
            raise UserError(f"{where}: id {annotation['id']} is that of an earlier one, must be unique in the file")
        seen.add(annotation["id"])


def _object(
    file: Path, annotation: dict[str, Any], images: dict[int, tuple[str, int, int]], label_of: dict[int, int]
) -> tuple[int, int, np.ndarray]:
    """Image id, label and box (left, top, right, bottom, cut at the image's edges) of one checked annotation."""
    image, category = annotation["image_id"], annotation["category_id"]
    left, top, width, height = (float(x) for x in annotation["bbox"])
    if image not in images:
        raise UserError(f"annotations {file}: object {annotation['id']} is of image {image!r}, which is not listed")
    if category not in label_of:
        raise UserError(f"annotations {file}: object {annotation['id']} is of category {category!r}, not listed")
    _, wide, high = images[image]
    box = np.clip([left, top, left + width, top + height], 0, [wide, high, wide, high])
    return image, label_of[category], box
