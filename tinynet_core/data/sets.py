"""What data sets load into: images with labels, or with the boxes of the objects in them and their ground truth."""

import contextlib
import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from pycocotools.coco import COCO

    from tinynet_core.data.imagefolder import JpegImages

COCO_LIMITS = (32.0**2, 96.0**2)
"""Square pixels from which an object of COCO is medium, and large, in images of about 512 to 640 pixels."""


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
