"""What every data set loads into, and where loaded sets are kept."""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import platformdirs

from tinynet_core.data.jpegs import JpegImages
from tinynet_core.machine import user_folder


@dataclass(frozen=True)
class ImageSet:
    """Square images with their labels, in two splits.

    Images are uint8 (n, side, side, 3), memory-mapped or decoded on demand; labels are int64 (n,). Aspects, float32
    (n,), are width over height of the originals, which were resized to squares as a whole; None: all were square.
    ``content_hash`` is a SHA-256 that equal sets share.
    """

    train_images: np.ndarray | JpegImages
    train_labels: np.ndarray
    val_images: np.ndarray | JpegImages
    val_labels: np.ndarray
    content_hash: str
    train_aspects: np.ndarray | None = None
    val_aspects: np.ndarray | None = None


def cache_root() -> Path:
    """Where loaded sets live: ``$TINYNET_CACHE`` or the user's cache folder."""
    named = os.environ.get("TINYNET_CACHE")
    return Path(named) if named else user_folder(platformdirs.user_cache_dir, "tinynet-core", "TINYNET_CACHE")
