"""Common parts of the data sets: configurations, loaded sets, and the cache for arrays."""

import contextlib
import hashlib
import io
import json
import shutil
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import numpy as np
from pydantic import BaseModel

from tinynet_core.files import UserError, locked, sync_folder

if TYPE_CHECKING:
    from pycocotools.coco import COCO

    from tinynet_core.data.imagenet import JpegImages

T = TypeVar("T")

SPLITS = ("train", "val")
COCO_LIMITS = (32.0**2, 96.0**2)
"""Areas in square pixels from which a COCO object is medium, and large. COCO images have about 512 to 640 pixels."""


class DataConfig(BaseModel, frozen=True, extra="forbid", strict=True):
    """Configuration of a data set. Equal configurations give the same images."""

    mirror_safe: ClassVar[bool] = True
    """Whether an image keeps its class when it is mirrored."""

    @property
    def key(self) -> str:
        """SHA-256 of the configuration."""
        return hashlib.sha256(json.dumps(self.model_dump(), sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class ImageSet:
    """Square images with their labels, in two splits.

    Images are uint8 (n, side, side, 3), memory-mapped or decoded on demand. Labels are int64 (n,). Aspects, float32
    (n,), are width over height of the originals, which were resized as a whole to squares. Aspects are None if all
    originals were square. Equal sets have the same ``content_hash``, a SHA-256.
    """

    train_images: "np.ndarray | JpegImages"
    train_labels: np.ndarray
    val_images: "np.ndarray | JpegImages"
    val_labels: np.ndarray
    content_hash: str
    train_aspects: np.ndarray | None = None
    val_aspects: np.ndarray | None = None


@dataclass(frozen=True)
class BoxedImages:
    """Square images with their objects.

    Images are uint8 (n, side, side, 3). ``boxes``, float32 (objects, 4), are left, top, right and bottom in pixels of
    the stored square. ``labels``, int64 (objects,), count from 1; 0 is the background. Image i has the objects
    ``starts[i]`` to ``starts[i + 1]`` - 1. ``ids``, int64 (n,), are the image ids in the ground truth. ``shapes``,
    int64 (n, 2), are width and height of the originals, which were resized as a whole to squares.
    """

    images: "np.ndarray | JpegImages"
    boxes: np.ndarray
    labels: np.ndarray
    starts: np.ndarray
    ids: np.ndarray
    shapes: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)

    def objects(self, i: int) -> slice:
        """Return the slice of ``boxes`` and ``labels`` that belongs to image ``i``."""
        return slice(int(self.starts[i]), int(self.starts[i + 1]))


@dataclass(frozen=True)
class DetectionSet:
    """Two splits, and the ground truth to evaluate the validation split.

    ``categories[label - 1]`` is the category id of a label in the ground truth, ``names[label - 1]`` its name.
    ``truth`` returns the validation split's ground truth. ``area_limits`` are square pixels of the original: objects
    below the first are small, from the second on large. Equal sets have the same ``content_hash``, a SHA-256.
    """

    train: BoxedImages
    val: BoxedImages
    side: int
    categories: tuple[int, ...]
    names: tuple[str, ...]
    truth: Callable[[], "COCO"]
    area_limits: tuple[float, float]
    content_hash: str


def ground_truth(source: dict[str, Any] | str) -> "COCO":
    """Return pycocotools' index of annotations in COCO's format, from a dictionary or the name of a JSON file."""
    from pycocotools.coco import COCO

    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints every step
        if isinstance(source, str):
            return COCO(source)
        index = COCO()
        index.dataset = source
        index.createIndex()
    return index


def cached(folder: Path, fill: Callable[[Path], None], read: Callable[[Path], T]) -> T:
    """Return ``read(folder)``. If ``folder`` does not exist, make it with ``fill`` first.

    ``fill`` gets an empty folder, which is renamed to ``folder`` once it is complete and on the disk. A folder that
    ``read`` cannot use is made anew with a warning. Raises ``UserError`` if the cache folder cannot be written.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with locked(folder.with_suffix(".lock")):
            if folder.exists():
                try:
                    return read(folder)
                except (OSError, EOFError, ValueError, TypeError, KeyError) as error:
                    warnings.warn(f"dataset cache {folder} cannot be used ({error}): rebuilding it", stacklevel=4)
                    shutil.rmtree(folder)
            scratch = folder.with_name(f".building-{folder.name}")
            shutil.rmtree(scratch, ignore_errors=True)  # left by a killed process: this one holds the lock
            scratch.mkdir()
            try:
                fill(scratch)
                for path in [*scratch.iterdir(), scratch]:
                    sync_folder(path)
                scratch.rename(folder)
            finally:
                shutil.rmtree(scratch, ignore_errors=True)
    except OSError as error:
        raise UserError(
            f"the cache folder {folder.parent} cannot be written ({error.strerror or error}): "
            "set TINYNET_CACHE to a folder that can be written"
        ) from error
    return read(folder)


def content_hash(arrays: dict[str, np.ndarray]) -> str:
    """SHA-256 over names, shapes and bytes of ``arrays``, in their order."""
    digest = hashlib.sha256()
    for name, array in arrays.items():
        digest.update(f"{name}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def write_arrays(folder: Path, arrays: dict[str, np.ndarray], about: dict[str, Any]) -> None:
    """Write each array as a .npy file, and ``meta.json`` with the description ``about`` and the arrays' hash."""
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    meta = {"dataset": about, "sha256": content_hash(arrays)}
    (folder / "meta.json").write_text(json.dumps(meta, indent=1), encoding="utf-8")


def read_arrays(folder: Path, names: Sequence[str]) -> tuple[dict[str, np.ndarray], str]:
    """Return the arrays ``names``, memory-mapped, and their hash. Raise ``ValueError`` if the recorded hash differs."""
    recorded = json.loads((folder / "meta.json").read_text(encoding="utf-8"))["sha256"]
    arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in names}
    found = content_hash(arrays)
    if found != recorded:
        raise ValueError(f"content hash {found[:12]} is not the recorded {recorded[:12]}")
    return arrays, found
