"""Which images of an image folder a data set consists of: its configuration, and the files that this means."""

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from tinynet_core.data.imagefolder import SPLITS, class_folders, image_files
from tinynet_core.files import UserError

IMAGENET_IMAGES_PER_CLASS = 1281
IMAGENET_VALIDATION_PER_CLASS = 50


class ImageNetDataset(BaseModel):
    """Which images of the folder, and at what size. Labels are positions in the sorted list of chosen classes."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    kind: Literal["imagenet"] = "imagenet"
    classes: int = Field(1000, ge=2, le=100_000)
    class_seed: int | None = Field(None, ge=0, description="draws so many classes of those that the folder has")
    wnids: tuple[str, ...] | None = Field(
        None, description="or these class folders; in YAML a list, or a .txt file that names one a line"
    )
    train_per_class: int | None = Field(None, ge=1, description="training images drawn of each class; null: all")
    image_seed: int = Field(0, ge=0, description="draws them")
    side: int = Field(256, ge=16, le=1024, description="of a stored image in pixels")
    stream: bool = Field(False, exclude=True, description="decode at each access, to the same pixels, without a cache")

    @field_validator("wnids", mode="before")
    @classmethod
    def _read_wnids(cls, value):
        if isinstance(value, str):
            value = _wnids_of_file(value)
        return tuple(value) if isinstance(value, list) else value

    @field_validator("wnids")
    @classmethod
    def _sorted_wnids(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        for wnid in value or ():
            if not wnid or wnid.startswith(".") or set(wnid) & set("/\\\0"):
                raise ValueError(f"{wnid!r} is not the name of a class folder")
        in_order = sorted(value or ())
        for wnid, following in pairwise(in_order):
            if wnid == following:
                raise ValueError(f"class {wnid} is listed twice")
        return None if value is None else tuple(in_order)

    @model_validator(mode="after")
    def _consistent(self) -> "ImageNetDataset":
        if self.wnids is not None and self.class_seed is not None:
            raise ValueError("give either class_seed, to draw the classes, or wnids, to name them, not both")
        if self.wnids is not None and len(self.wnids) != self.classes:
            raise ValueError(f"wnids names {len(self.wnids)} classes and classes is {self.classes}: they must agree")
        return self

    @property
    def mirror_safe(self) -> bool:
        """Whether a mirrored image keeps its class."""
        return True

    @property
    def train_images(self) -> int:
        """Nominal number of training images, for estimates; unreadable files and small classes make it fewer."""
        return self.classes * (self.train_per_class or IMAGENET_IMAGES_PER_CLASS)

    @property
    def val_images(self) -> int:
        """Nominal number of validation images, 50 of each class as in ImageNet."""
        return self.classes * IMAGENET_VALIDATION_PER_CLASS

    @property
    def key(self) -> str:
        """SHA-256 of the configuration, ``stream`` left out."""
        return hashlib.sha256(json.dumps(self.model_dump(), sort_keys=True).encode()).hexdigest()


def _wnids_of_file(name: str) -> list[str]:
    if not name.endswith(".txt"):
        raise ValueError(f"must be a list of class folders, or a .txt file that names one a line, got {name!r}")
    try:
        lines = Path(name).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{name} cannot be read: {' '.join(str(error).split())}") from error
    return [wnid for line in lines if (wnid := line.strip()) and not wnid.startswith("#")]


@dataclass(frozen=True)
class ClassFiles:
    """Files of one class, as names below the split's folder: those wanted, and those that stand in for broken ones."""

    wanted: list[str]
    reserve: list[str]


@dataclass(frozen=True)
class Selection:
    """The chosen classes, sorted, the files of each in both splits, and a SHA-256 of all their names and sizes."""

    root: Path
    wnids: tuple[str, ...]
    files: dict[str, list[ClassFiles]]
    listing_sha256: str


def select(dataset: ImageNetDataset, root: Path) -> Selection:
    """The files of ``dataset`` below ``root``. Draws depend on the names alone, not on the order of a listing.

    A class's draw of training images depends on ``image_seed`` and its name, not on the other classes.
    """
    wnids = _choose_classes(dataset, class_folders(root / "train"), root)
    if absent := sorted(set(wnids) - set(class_folders(root / "val"))):
        raise UserError(f"{root / 'val'} has no class folder {absent[0]} ({len(absent)} of {len(wnids)} are missing)")
    digest = hashlib.sha256()
    files: dict[str, list[ClassFiles]] = {}
    for split in SPLITS:
        files[split] = []
        for wnid in wnids:
            found = image_files(root / split / wnid)
            if not found:
                raise UserError(f"class folder {root / split / wnid} holds no .jpeg, .jpg or .png files")
            names = [os.path.join(wnid, name) for name, _ in found]
            digest.update(os.fsencode("".join(f"{split}/{wnid}/{name}\0{size}\0" for name, size in found)))
            wanted = dataset.train_per_class if split == "train" else None
            files[split].append(_draw(names, wnid, wanted, dataset.image_seed))
    return Selection(root, tuple(wnids), files, digest.hexdigest())


def _choose_classes(dataset: ImageNetDataset, available: list[str], root: Path) -> Sequence[str]:
    if dataset.wnids is not None:
        if absent := sorted(set(dataset.wnids) - set(available)):
            count = f"{len(absent)} of {dataset.classes} are missing"
            raise UserError(f"wnids: {root / 'train'} has no class folder {absent[0]} ({count})")
        return dataset.wnids
    holds = f"{root / 'train'} holds {len(available)} class folders"
    if dataset.classes > len(available):
        raise UserError(f"{holds}, fewer than the {dataset.classes} that classes asks for")
    if dataset.classes == len(available):
        return available
    if dataset.class_seed is None:
        raise UserError(
            f"{holds}, classes asks for {dataset.classes}: give class_seed to draw them or wnids to name them"
        )
    rng = np.random.default_rng(dataset.class_seed)
    return sorted(available[i] for i in rng.choice(len(available), dataset.classes, replace=False))


def _draw(names: list[str], wnid: str, wanted: int | None, seed: int) -> ClassFiles:
    if wanted is None or wanted >= len(names):
        return ClassFiles(names, [])
    order = np.random.default_rng([seed, *os.fsencode(wnid)]).permutation(len(names))
    return ClassFiles([names[i] for i in sorted(order[:wanted])], [names[i] for i in order[wanted:]])
