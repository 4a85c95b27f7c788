"""COCO, or any detection data set in its layout, from the disk of whoever trains.

``$TINYNET_COCO`` names the folder, which is a matter of the machine and not of the experiment: ``train2017/``,
``val2017/`` and ``annotations/instances_{train,val}2017.json``. Nothing is written there. What training needs of the
annotations is kept in the cache; images are decoded on the way.
"""

import hashlib
import json
import os
import reprlib
import warnings
from collections import Counter
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError

from tinynet_core.data.cache import cached, content_hash, read_arrays, write_arrays
from tinynet_core.data.imagefolder import JpegImages, named_root
from tinynet_core.data.sets import COCO_LIMITS, BoxedImages, DetectionSet, ground_truth
from tinynet_core.files import UserError
from tinynet_core.machine import cache_root

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

    mirror_safe: ClassVar[bool] = True

    kind: Literal["coco"] = "coco"
    classes: int = Field(80, ge=1, le=10_000)
    side: int = Field(512, ge=16, le=2048, description="of the square in pixels that an image is decoded to")
    train_images: int = Field(117_266, ge=1)
    val_images: int = Field(5_000, ge=1)


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


class _Entry(BaseModel):
    model_config = ConfigDict(strict=True)

    id: int


class _Category(_Entry):
    name: str


class _Listed(_Entry):
    """An image."""

    file_name: str
    width: int = Field(ge=1)
    height: int = Field(ge=1)


class _Annotation(_Entry):
    """What pycocotools reads of an annotation. To it the id 0 means no match."""

    id: int = Field(ge=1)
    image_id: int
    category_id: int
    bbox: tuple[FiniteFloat, FiniteFloat, FiniteFloat, FiniteFloat] = Field(description="left, top, width, height")
    area: FiniteFloat = Field(ge=0)
    iscrowd: int = Field(ge=0, le=1)


class _File(BaseModel):
    """A file of annotations; other keys are ignored."""

    images: list[_Listed] = Field(min_length=1)
    annotations: list[_Annotation] = Field(min_length=1)
    categories: list[_Category] = Field(min_length=1)


def _read_file(file: Path) -> _File:
    """Raises ``UserError`` for a file that is not as COCO's are, with the place of the first mistake."""
    try:
        content = _File.model_validate_json(file.read_bytes())
    except OSError as error:
        raise UserError(f"annotations {file} cannot be read: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"])
        given = f", got {reprlib.repr(first['input'])}" if first["type"] not in ("missing", "json_invalid") else ""
        raise UserError(f"annotations {file}: {place.lstrip('.')}: {first['msg']}{given}") from error
    for name in ("images", "annotations", "categories"):
        ((most, times),) = Counter(x.id for x in getattr(content, name)).most_common(1)
        if times > 1:
            raise UserError(f"annotations {file}: {name}: id {most} is given {times} times, must be unique")
    return content


def _read_annotations(root: Path, dataset: CocoDataset) -> dict[str, np.ndarray]:
    """All arrays of both splits, boxes in pixels of the originals."""
    files = {split: annotations(root, split) for split in FOLDERS}
    contents = {split: _read_file(file) for split, file in files.items()}
    train, val = ({x.id: x.name for x in content.categories} for content in contents.values())
    if train != val:
        raise UserError(f"{files['train']} and {files['val']} have different categories")
    if len(val) != dataset.classes:
        raise UserError(f"{files['val']} has {len(val)} categories, but classes is {dataset.classes}")
    arrays: dict[str, np.ndarray] = {}
    for split, content in contents.items():
        parts = _index(files[split], content, with_objects=split == "train")
        arrays |= {f"{split}_{part}": parts[part] for part in _PARTS}
    arrays["categories"] = np.array(sorted(val), np.int64)
    arrays["category_names"] = np.array([val[i].encode() for i in sorted(val)])
    return arrays


def _index(file: Path, content: _File, with_objects: bool) -> dict[str, np.ndarray]:
    """The arrays of one split; ``with_objects`` leaves out images that have none."""
    label_of = {category: i for i, category in enumerate(sorted(x.id for x in content.categories), 1)}
    images = {image.id: image for image in content.images}
    objects: dict[int, list[tuple[np.ndarray, int]]] = {image: [] for image in images}
    empty = 0
    for found in content.annotations:
        if found.image_id not in images:
            raise UserError(f"annotations {file}: object {found.id} is of image {found.image_id}, which is not listed")
        if found.category_id not in label_of:
            raise UserError(f"annotations {file}: object {found.id} is of category {found.category_id}, not listed")
        if found.iscrowd:
            continue
        left, top, width, height = found.bbox
        wide, high = images[found.image_id].width, images[found.image_id].height
        box = np.clip([left, top, left + width, top + height], 0, [wide, high, wide, high])
        if (box[2:] > box[:2]).all():
            objects[found.image_id].append((box, label_of[found.category_id]))
        else:
            empty += 1
    if empty:
        warnings.warn(f"annotations {file}: {empty} boxes without an extent were left out", stacklevel=2)
    kept = [image for image in images if objects[image] or not with_objects]
    if not any(objects.values()):
        raise UserError(f"annotations {file}: no image has an object that is not a crowd")
    flat = [pair for image in kept for pair in objects[image]]
    return {
        "names": np.array([os.fsencode(images[image].file_name) for image in kept]),
        "boxes": np.array([box for box, _ in flat], np.float64).reshape(-1, 4),
        "labels": np.array([label for _, label in flat], np.int64),
        "starts": np.cumsum([0, *(len(objects[image]) for image in kept)]),
        "ids": np.array(kept, np.int64),
        "shapes": np.array([(images[image].width, images[image].height) for image in kept], np.int64),
    }
