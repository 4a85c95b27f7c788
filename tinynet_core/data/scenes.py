"""Scenes: an object-detection task that needs no download.

Letters of all sizes on one canvas, drawn as the glyphs of the classification task are. They do not overlap, so the box
around the pasted ink is exact. A mirrored letter keeps its class, though not the slant of its face or the side of its
thick strokes. It is a proxy: a result on it is never a COCO result.

A scene depends on (seed, split, index) alone, so any number of workers renders the same bytes.
"""

import hashlib
import json
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, model_validator
from tqdm import tqdm

from tinynet_core.data.cache import cache_root, cached, content_hash, read_arrays, write_arrays
from tinynet_core.data.glyphs import FACES, SPLITS, background, clutter, glyph_mask
from tinynet_core.data.processes import in_processes
from tinynet_core.data.sets import COCO_LIMITS, BoxedImages, DetectionSet, ground_truth

CLASSES = ("O", "X", "T", "A", "H", "U", "V", "M", "Y", "W")
"""Capitals that differ in shape and are still the same letter when they are mirrored."""
SIZES = ((0.045, 0.054), (0.12, 0.175), (0.3, 0.5))
"""Range of the longer side of a small, medium and large letter, as a share of the canvas.

A square box is small below 1/16 and large from 3/16 of the side (``SceneDataset.area_limits``). The first two ranges
end early enough for half a pixel more, on the smallest canvas too.
"""
_CHUNK = 100
_FONT = 96
_TRIES = 30
"""Places that are tried for a letter before it is left out."""


class Scene(NamedTuple):
    """One image, uint8 (side, side, 3), its boxes, int64 (n, 4), and its labels, int64 (n,), which count from 1."""

    image: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray


class SceneDataset(BaseModel):
    """What to render. Two equal values give the same scenes, byte for byte, under one version of Pillow."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    kind: Literal["scenes"] = "scenes"
    renderer: Literal[2] = Field(2, description="raised with every change of the pixels that a configuration gives")
    classes: int = Field(4, ge=1, le=len(CLASSES), description="the first so many of CLASSES")
    side: int = Field(160, ge=64, le=1024, description="of a canvas in pixels")
    train_images: int = Field(1_000, ge=1, le=1_000_000)
    val_images: int = Field(200, ge=1, le=100_000)
    most: int = Field(6, ge=1, le=20, description="letters that are placed at most; one at least")
    shares: tuple[float, float, float] = Field(
        (0.2, 0.4, 0.4),
        description="of the letters drawn: small, medium and large by ``area_limits``; they add up to 1",
    )
    difficulty: float = Field(0.0, ge=0.0, le=1.0, description="0: upright, clear; 1: turned, cluttered, noisy")
    seed: int = Field(0, ge=0)

    @model_validator(mode="before")
    @classmethod
    def _tuple_of_shares(cls, content):
        if isinstance(content, dict) and isinstance(content.get("shares"), list):
            return {**content, "shares": tuple(content["shares"])}
        return content

    @model_validator(mode="after")
    def _consistent(self) -> "SceneDataset":
        if min(self.shares) < 0 or abs(sum(self.shares) - 1) > 1e-9:
            raise ValueError(f"shares must be three numbers of at least 0 that add up to 1, got {self.shares}")
        return self

    @property
    def mirror_safe(self) -> bool:
        """Whether a mirrored image keeps the classes of its objects."""
        return True

    @property
    def area_limits(self) -> tuple[float, float]:
        """Square pixels from which a letter is medium, and large.

        They are COCO's at 512 pixels, in proportion to the canvas: its own, 32 and 96 pixels squared, would call nearly
        everything on a canvas of 160 pixels small.
        """
        share = (self.side / 512) ** 2
        return COCO_LIMITS[0] * share, COCO_LIMITS[1] * share

    @property
    def key(self) -> str:
        """SHA-256 of the configuration; names the cache folder."""
        return hashlib.sha256(json.dumps(self.model_dump(), sort_keys=True).encode()).hexdigest()


def load_scenes(dataset: SceneDataset, workers: int = 1, progress: bool = False) -> DetectionSet:
    """The rendered set, from the cache where its bytes still have the recorded hash, rendered anew otherwise.

    A cache that was changed or cut off is rebuilt with a warning. Safe to call from several processes at once.
    """
    return _load(dataset, str(cache_root()), workers, progress)


@lru_cache(maxsize=2)
def _load(dataset: SceneDataset, root: str, workers: int, progress: bool) -> DetectionSet:
    folder = Path(root) / f"scenes-{dataset.key[:16]}"

    def fill(scratch: Path) -> None:
        arrays = render(dataset, workers, progress)
        write_arrays(scratch, arrays, dataset.model_dump(), content_hash(arrays))
        (scratch / "val.json").write_text(json.dumps(coco(dataset, arrays)), encoding="utf-8")

    def read(folder: Path) -> DetectionSet:
        arrays, found = read_arrays(folder, _ARRAYS)
        splits = {split: _boxed(dataset, split, arrays) for split in SPLITS}
        return DetectionSet(
            **splits,
            side=dataset.side,
            categories=tuple(range(1, dataset.classes + 1)),
            names=CLASSES[: dataset.classes],
            truth=lambda: ground_truth(coco(dataset, arrays)),
            area_limits=dataset.area_limits,
            content_hash=found,
        )

    return cached(folder, fill, read)


_PARTS = ("images", "boxes", "labels", "starts")
_ARRAYS = tuple(f"{split}_{part}" for split in SPLITS for part in _PARTS)


def _boxed(dataset: SceneDataset, split: str, arrays: dict[str, np.ndarray]) -> BoxedImages:
    images, boxes, labels, starts = (arrays[f"{split}_{part}"] for part in _PARTS)
    shapes = np.full((len(images), 2), dataset.side)
    return BoxedImages(images, boxes, labels, starts, np.arange(1, len(images) + 1), shapes)


def coco(dataset: SceneDataset, arrays: dict[str, np.ndarray], split: str = "val") -> dict[str, Any]:
    """Annotations of ``split`` in COCO's format, which ``val.json`` in the cache holds too.

    The area of an object is that of its box, since there is no outline. Image ids count from 1.
    """
    boxes, labels, starts = (arrays[f"{split}_{part}"] for part in _PARTS[1:])
    owners = np.repeat(np.arange(1, len(starts)), np.diff(starts))
    annotations = []
    for i, (owner, box, label) in enumerate(zip(owners.tolist(), boxes.tolist(), labels.tolist(), strict=True), 1):
        left, top, right, bottom = box
        width, height = right - left, bottom - top
        annotations.append(
            {
                "id": i,
                "image_id": owner,
                "category_id": label,
                "bbox": [left, top, width, height],
                "area": width * height,
                "iscrowd": 0,
            }
        )
    side = dataset.side
    return {
        "info": {"description": f"scenes of letters, {split}"},
        "images": [
            {"id": i, "width": side, "height": side, "file_name": f"{i:012d}.png"} for i in range(1, len(starts))
        ],
        "categories": [{"id": i, "name": name} for i, name in enumerate(CLASSES[: dataset.classes], 1)],
        "annotations": annotations,
    }


def render(dataset: SceneDataset, workers: int = 1, progress: bool = False) -> dict[str, np.ndarray]:
    """All scenes of ``dataset`` with boxes, float32, and labels, in ``workers`` processes."""
    counts = {"train": dataset.train_images, "val": dataset.val_images}
    jobs = [(dataset, s, i, min(i + _CHUNK, n)) for s, n in counts.items() for i in range(0, n, _CHUNK)]
    scenes: dict[str, list[Scene]] = {split: [] for split in SPLITS}
    with tqdm(total=sum(counts.values()), desc="rendering scenes", unit="img", disable=not progress) as bar:
        for (_, split, *_), some in zip(jobs, in_processes(_render_chunk, jobs, workers), strict=True):
            scenes[split] += some
            bar.update(len(some))
    arrays = {}
    for split, some in scenes.items():
        arrays[f"{split}_images"] = np.stack([scene.image for scene in some])
        arrays[f"{split}_boxes"] = np.concatenate([scene.boxes for scene in some]).astype(np.float32)
        arrays[f"{split}_labels"] = np.concatenate([scene.labels for scene in some])
        arrays[f"{split}_starts"] = np.cumsum([0, *(len(scene.labels) for scene in some)])
    return arrays


def _render_chunk(job: tuple[SceneDataset, str, int, int]) -> list[Scene]:
    dataset, split, start, stop = job
    return [render_scene(dataset, split, i) for i in range(start, stop)]


def render_scene(dataset: SceneDataset, split: str, index: int) -> Scene:
    """Scene ``index`` of ``split``."""
    rng = np.random.default_rng([dataset.seed, SPLITS.index(split), index])
    hard, side = dataset.difficulty, dataset.side
    canvas = rng.integers(0, 256, 3)
    image = background(rng, side, canvas.astype(float), hard)
    clutter(rng, image, hard)
    sizes = np.sort(rng.choice(3, int(rng.integers(1, dataset.most + 1)), p=dataset.shares))[::-1]  # large ones first
    boxes: list[tuple[int, int, int, int]] = []
    labels: list[int] = []
    for size in sizes:
        label = int(rng.integers(dataset.classes))
        mask = _letter(rng, CLASSES[label], side * rng.uniform(*SIZES[size]), hard)
        box = _place(rng, mask, side, boxes)
        ink = _ink(rng, canvas, hard)
        if box is not None:
            image.paste(ink, box[:2], mask)
            boxes.append(box)
            labels.append(label + 1)
    noise = rng.normal(0.0, 2.0 + 14.0 * hard, (side, side, 1))
    pixels = np.clip(np.asarray(image) + noise, 0, 255).astype(np.uint8)
    return Scene(pixels, np.array(boxes, np.int64).reshape(-1, 4), np.array(labels, np.int64))


def _letter(rng: np.random.Generator, character: str, extent: float, hard: float) -> Image.Image:
    """The letter's mask, cut to all that is not transparent."""
    face = FACES[int(rng.integers(len(FACES)))]
    mask = glyph_mask(character, face, extent, rng.uniform(-1, 1) * 30 * hard, _FONT)
    return mask.crop(mask.getbbox())


def _place(
    rng: np.random.Generator, mask: Image.Image, side: int, taken: list[tuple[int, int, int, int]]
) -> tuple[int, int, int, int] | None:
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
