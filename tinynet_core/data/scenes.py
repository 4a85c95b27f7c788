"""Scenes: an object-detection task that needs no download.

Letters of all sizes on one canvas, drawn as glyphs are, which do not overlap, so that the box around the pasted ink is
exact. A mirrored letter keeps its class. It is a proxy: a result on it is never a COCO result. A scene depends on
(seed, split, index) alone.
"""

from typing import Literal

import numpy as np
from PIL import Image
from pydantic import Field

from tinynet_core.data.drawn import DrawnScenes, Scene, Shares
from tinynet_core.data.glyphs import FACES, background, clutter, glyph_mask
from tinynet_core.data.sets import SPLITS

CLASSES = ("O", "X", "T", "A", "H", "U", "V", "M", "Y", "W")
"""Capitals that differ in shape and are still the same letter when they are mirrored."""
SIZES = ((0.045, 0.054), (0.12, 0.175), (0.3, 0.5))
"""Range of the longer side of a small, medium and large letter, as a share of the canvas (``area_limits``)."""
_FONT = 96
Box = tuple[int, int, int, int]
_TRIES = 30
"""Places that are tried for a letter before it is left out."""


class SceneDataset(DrawnScenes):
    """What to render. Two equal values give the same scenes, byte for byte, under one version of Pillow."""

    kind: Literal["scenes"] = "scenes"
    renderer: Literal[2] = Field(2, description="raised with every change of the pixels that a configuration gives")
    classes: int = Field(4, ge=1, le=len(CLASSES), description="the first so many of CLASSES")
    side: int = Field(160, ge=64, le=1024, description="of a canvas in pixels")
    train_images: int = Field(1_000, ge=1, le=1_000_000)
    val_images: int = Field(200, ge=1, le=100_000)
    most: int = Field(6, ge=1, le=20, description="letters that are placed at most; one at least")
    shares: Shares = Field(
        (0.2, 0.4, 0.4),
        description="of the letters drawn: small, medium and large by ``area_limits``; they add up to 1",
    )
    difficulty: float = Field(0.0, ge=0.0, le=1.0, description="0: upright, clear; 1: turned, cluttered, noisy")
    seed: int = Field(0, ge=0)

    @property
    def names(self) -> tuple[str, ...]:
        return CLASSES[: self.classes]

    def draw(self, split: str, index: int) -> Scene:
        return render_scene(self, split, index)


def render_scene(dataset: SceneDataset, split: str, index: int) -> Scene:
    """Scene ``index`` of ``split``."""
    rng = np.random.default_rng([dataset.seed, SPLITS.index(split), index])
    hard, side = dataset.difficulty, dataset.side
    canvas = rng.integers(0, 256, 3)
    image = background(rng, side, canvas.astype(float), hard)
    clutter(rng, image, hard)
    sizes = np.sort(rng.choice(3, int(rng.integers(1, dataset.most + 1)), p=dataset.shares))[::-1]  # large ones first
    boxes: list[Box] = []
    labels: list[int] = []
    for size in sizes:
        label = int(rng.integers(dataset.classes))
        extent, face = side * rng.uniform(*SIZES[size]), FACES[int(rng.integers(len(FACES)))]
        mask = glyph_mask(CLASSES[label], face, extent, rng.uniform(-1, 1) * 30 * hard, _FONT)
        mask = mask.crop(mask.getbbox())  # to all that is not transparent
        box = _place(rng, mask, side, boxes)
        ink = _ink(rng, canvas, hard)
        if box is not None:
            image.paste(ink, box[:2], mask)
            boxes.append(box)
            labels.append(label + 1)
    noise = rng.normal(0.0, 2.0 + 14.0 * hard, (side, side, 1))
    pixels = np.clip(np.asarray(image) + noise, 0, 255).astype(np.uint8)
    return Scene(pixels, np.array(boxes, np.int64).reshape(-1, 4), np.array(labels, np.int64))


def _place(rng: np.random.Generator, mask: Image.Image, side: int, taken: list[Box]) -> Box | None:
    """Left, top, right, bottom of a random place for ``mask``, a pixel from all others; None where no try fits."""
    for _ in range(_TRIES):
        left, top = (int(rng.integers(0, side - extent + 1)) for extent in mask.size)
        right, bottom = left + mask.width, top + mask.height
        if all(right < a or c < left or bottom < b or d < top for a, b, c, d in taken):
            return left, top, right, bottom
    return None


def _ink(rng: np.random.Generator, canvas: np.ndarray, hard: float) -> tuple[int, int, int]:
    """A colour whose lightness is at least 110 (easy) to 60 (hard) of 255 from that of the canvas."""
    while True:
        ink = rng.integers(0, 256, 3)
        if abs(float((ink - canvas) @ (0.299, 0.587, 0.114))) >= 110 - 50 * hard:
            return tuple(ink.tolist())
