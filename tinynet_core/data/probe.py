"""Whether the package still draws the images of a data set as it did, told from a few of every class."""

import hashlib
from functools import cache
from typing import Any

import numpy as np

from tinynet_core.data.drawn import SPLITS, DrawnDataset

PROBES = 32
"""Images of each split that are looked at, at least; more where that leaves out a class."""


@cache
def probe_hash(dataset: Any) -> str:
    """SHA-256 over some images of a data set that the package draws; empty for photographs.

    Of each split it takes the same number of images of every class, at random places. Images that no probe meets may
    change unseen.
    """
    if not isinstance(dataset, DrawnDataset):
        return ""
    drawn: Any = dataset
    digest = hashlib.sha256()
    for split, n in zip(SPLITS, (drawn.train_images, drawn.val_images), strict=True):
        for index in probes(n, drawn.classes):
            for array in drawn.draw(split, index):
                digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def probes(n: int, classes: int) -> list[int]:
    """Indices of the probes among ``n`` images, of which image i is of class ``i % classes``."""
    groups = classes * -(-PROBES // classes)
    rng = np.random.default_rng([n, classes])
    return [first + groups * int(rng.integers(-(-(n - first) // groups))) for first in range(min(groups, n))]
