"""What data sets share: configurations, what they load into, and the cache for arrays."""

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
"""Square pixels from which an object of COCO is medium, and large, in images of about 512 to 640 pixels."""


class DataConfig(BaseModel, frozen=True, extra="forbid", strict=True):
    """Which images a data set has. Two equal values give the same ones."""

    mirror_safe: ClassVar[bool] = True
    """Whether a mirrored image keeps its class."""

    @property
    def key(self) -> str:
        """SHA-256 of the configuration."""
        return hashlib.sha256(json.dumps(self.model_dump(), sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class ImageSet:
    """Square images with their labels, in two splits.

    Images are uint8 (n, side, side, 3), memory-mapped or decoded on demand; labels are int64 (n,). Aspects, float32
    (n,), are width over height of the originals, which were resized to squares as a whole; None: all were square.
    ``content_hash`` is a SHA-256 that equal sets share.
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
    the stored square; ``labels``, int64 (objects,), count from 1, 0 is the background. Image i has the objects
    ``starts[i]`` up to ``starts[i + 1]``. ``ids``, int64 (n,), name the images in the ground truth, and ``shapes``,
    int64 (n, 2), are width and height of the originals, which were resized to squares as a whole.
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
        """Where the objects of image ``i`` are."""
        return slice(int(self.starts[i]), int(self.starts[i + 1]))


@dataclass(frozen=True)
class DetectionSet:
    """Two splits, and what the validation split is judged by.

    ``categories[label - 1]`` is the category id of a label in the ground truth, ``names[label - 1]`` its name.
    ``truth`` gives the validation split's ground truth. ``area_limits``: objects of fewer square pixels of the original
    than the first are small, of at least the second large. ``content_hash`` is a SHA-256 that equal sets share.
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
    """pycocotools' index of annotations in COCO's format, a dictionary or the name of a JSON file."""
    from pycocotools.coco import COCO

    with contextlib.redirect_stdout(io.StringIO()):  # it reports every step there
        if isinstance(source, str):
            return COCO(source)
        index = COCO()
        index.dataset = source
        index.createIndex()
    return index


def cached(folder: Path, fill: Callable[[Path], None], read: Callable[[Path], T]) -> T:
    """What ``read`` makes of ``folder``, which ``fill`` makes where it is absent.

    ``fill`` is given an empty folder that takes the name of ``folder`` when it is complete and on the disk. One that
    ``read`` cannot use is made anew with a warning. Raises ``UserError`` for a folder that cannot be written.
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
            shutil.rmtree(scratch, ignore_errors=True)  # of a killed process: the lock is held
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
            "set TINYNET_CACHE to one that can"
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
    """Write each array as a .npy file, and ``meta.json`` with what they are ``about`` and their hash."""
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    meta = {"dataset": about, "sha256": content_hash(arrays)}
    (folder / "meta.json").write_text(json.dumps(meta, indent=1), encoding="utf-8")


def read_arrays(folder: Path, names: Sequence[str]) -> tuple[dict[str, np.ndarray], str]:
    """The arrays called ``names``, memory-mapped, and their hash; ``ValueError`` where it is not the recorded one."""
    recorded = json.loads((folder / "meta.json").read_text(encoding="utf-8"))["sha256"]
    arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in names}
    found = content_hash(arrays)
    if found != recorded:
        raise ValueError(f"content hash {found[:12]} is not the recorded {recorded[:12]}")
    return arrays, found
