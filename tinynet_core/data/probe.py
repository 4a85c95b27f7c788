"""Whether the package still draws the images of a data set as it did, told from a few of them."""

import hashlib
from functools import cache
from typing import Any

import numpy as np

from tinynet_core.data.glyphs import SPLITS, GlyphDataset, render_image
from tinynet_core.data.scenes import SceneDataset, render_scene

PROBES = 32
"""Images of each split that are looked at, evenly spread."""


@cache
def probe_hash(dataset: Any) -> str:
    """SHA-256 over up to 64 of the images of a data set that the package draws; empty for photographs."""
    if not isinstance(dataset, GlyphDataset | SceneDataset):
        return ""
    digest = hashlib.sha256()
    for split, n in zip(SPLITS, (dataset.train_images, dataset.val_images), strict=True):
        for index in sorted({i * n // PROBES for i in range(PROBES)}):
            for array in _drawn(dataset, split, index):
                digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _drawn(dataset: GlyphDataset | SceneDataset, split: str, index: int) -> tuple[np.ndarray, ...]:
    if isinstance(dataset, SceneDataset):
        return tuple(render_scene(dataset, split, index))
    return (render_image(dataset, split, index),)
