"""Scenes of creatures: an object-detection task that needs no download.

Creatures of all sizes on one ground, drawn as those of the classification task are. They do not overlap, and the box of
each is that of its mask. It is a proxy: a result on it is never a COCO result.

A scene depends on (seed, split, index) alone, and its bytes are the same on every machine (``drawing``).
"""

import hashlib
import json
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator
from tqdm import tqdm

from tinynet_core.data.cache import cache_root, cached, content_hash, read_arrays, write_arrays
from tinynet_core.data.drawing import Canvas, Dice
from tinynet_core.data.portrait import LEAVES, Painted, finished, ground, paint_creature
from tinynet_core.data.processes import in_processes
from tinynet_core.data.sets import COCO_LIMITS, BoxedImages, DetectionSet, ground_truth
from tinynet_core.data.species import Species, World, world

SPLITS = ("train", "val")
SIZES = ((0.04, 0.046), (0.13, 0.165), (0.34, 0.5))
"""Range of the longer side of a small, medium and large creature, as a share of the canvas.

A square box is small below 1/16 and large from 3/16 of the side (``CreatureSceneDataset.area_limits``). Each range is
narrow enough for a pixel more, and for a creature three times as long as it is wide.
"""
_STREAM = 4
"""Second number of the key of the random stream of a training scene; those below are of other things."""
_HABITATS = 10
_VARIETY = 0.8
_CHUNK = 100
_TRIES = 30
"""Places that are tried for a creature before it is left out."""
_TRIAL_SIDE, _TRIAL_SIZE = 64, 0.12
"""Canvas and radius of the body by which a creature is measured."""

Box = tuple[int, int, int, int]
"""Left, top, right and bottom in pixels."""


class Scene(NamedTuple):
    """One image, uint8 (side, side, 3), its boxes, int64 (n, 4), and its labels, int64 (n,), which count from 1."""

    image: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray


class CreatureSceneDataset(BaseModel):
    """What to render. Two equal values give the same scenes, byte for byte."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    kind: Literal["creature_scenes"] = Field(
        "creature_scenes", description="several creatures on a canvas; has to be given"
    )
    renderer: Literal[1] = Field(1, description="raised with every change of the pixels that a configuration gives")
    classes: int = Field(4, ge=1, le=100, description="species, each of a genus of its own")
    side: int = Field(160, ge=96, le=1024, description="of a canvas in pixels")
    train_images: int = Field(1_000, ge=1, le=1_000_000, description="scenes of the training split")
    val_images: int = Field(200, ge=1, le=100_000, description="scenes of the validation split")
    most: int = Field(6, ge=1, le=20, description="creatures that are placed at most; one at least")
    shares: tuple[float, float, float] = Field(
        (0.2, 0.4, 0.4),
        description="of the creatures drawn: small, medium and large by ``area_limits``; they add up to 1",
    )
    difficulty: float = Field(0.0, ge=0.0, le=1.0, description="0: upright, clear; 1: turned, cluttered, noisy")
    seed: int = Field(0, ge=0, lt=2**32, description="of the world of species, and of everything that varies in it")

    @model_validator(mode="before")
    @classmethod
    def _tuple_of_shares(cls, content):
        if isinstance(content, dict) and isinstance(content.get("shares"), list):
            return {**content, "shares": tuple(content["shares"])}
        return content

    @model_validator(mode="after")
    def _consistent(self) -> "CreatureSceneDataset":
        if not (min(self.shares) >= 0 and abs(sum(self.shares) - 1) <= 1e-9):
            raise ValueError(f"shares must be three numbers of at least 0 that add up to 1, got {self.shares}")
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """Of the classes: the number of the genus and a letter for the species, from 1a."""
        return tuple(f"{genus}a" for genus in range(1, self.classes + 1))

    @property
    def mirror_safe(self) -> bool:
        """Whether a mirrored image keeps the classes of its objects; each creature is mirrored or not by chance."""
        return True

    @property
    def area_limits(self) -> tuple[float, float]:
        """Square pixels from which a creature is medium, and large.

        They are COCO's at 512 pixels, in proportion to the canvas: its own, 32 and 96 pixels squared, would call nearly
        everything on a canvas of 160 pixels small.
        """
        share = (self.side / 512) ** 2
        return COCO_LIMITS[0] * share, COCO_LIMITS[1] * share

    @property
    def world(self) -> World:
        """The species and the grounds."""
        return world(self.seed, self.classes, 1, _HABITATS, 1.0)

    @property
    def key(self) -> str:
        """SHA-256 of the configuration; names the cache folder."""
        return hashlib.sha256(json.dumps(self.model_dump(), sort_keys=True).encode()).hexdigest()


def load_creature_scenes(dataset: CreatureSceneDataset, workers: int = 1, progress: bool = False) -> DetectionSet:
    """The rendered set, from the cache if its bytes still have the recorded hash, rendered anew otherwise.

    A cache that was changed or cut off is rebuilt with a warning. Safe to call from several processes at once.
    """
    return _load(dataset, str(cache_root()), workers, progress)


@lru_cache(maxsize=2)
def _load(dataset: CreatureSceneDataset, root: str, workers: int, progress: bool) -> DetectionSet:
    folder = Path(root) / f"creature-scenes-{dataset.key[:16]}"

    def fill(scratch: Path) -> None:
        arrays = render(dataset, workers, progress)
        write_arrays(scratch, arrays, dataset.model_dump(), content_hash(arrays))
        (scratch / "val.json").write_text(json.dumps(coco(dataset, arrays)), encoding="utf-8")

    def read(folder: Path) -> DetectionSet:
        arrays, found = read_arrays(folder, [f"{split}_{part}" for split in SPLITS for part in _PARTS])
        splits = {split: _boxed(dataset, split, arrays) for split in SPLITS}
        return DetectionSet(
            **splits,
            side=dataset.side,
            categories=tuple(range(1, dataset.classes + 1)),
            names=dataset.names,
            truth=lambda: ground_truth(coco(dataset, arrays)),
            area_limits=dataset.area_limits,
            content_hash=found,
        )

    return cached(folder, fill, read)


_PARTS = ("images", "boxes", "labels", "starts")


def _boxed(dataset: CreatureSceneDataset, split: str, arrays: dict[str, np.ndarray]) -> BoxedImages:
    images, boxes, labels, starts = (arrays[f"{split}_{part}"] for part in _PARTS)
    shapes = np.full((len(images), 2), dataset.side)
    return BoxedImages(images, boxes, labels, starts, np.arange(1, len(images) + 1), shapes)


def coco(dataset: CreatureSceneDataset, arrays: dict[str, np.ndarray], split: str = "val") -> dict[str, Any]:
    """Annotations of ``split`` in COCO's format, which ``val.json`` in the cache holds too.

    The area of an object is that of its box, by which ``area_limits`` are meant. Image ids count from 1.
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
        "info": {"description": f"scenes of creatures, {split}"},
        "images": [
            {"id": i, "width": side, "height": side, "file_name": f"{i:012d}.png"} for i in range(1, len(starts))
        ],
        "categories": [{"id": i, "name": name} for i, name in enumerate(dataset.names, 1)],
        "annotations": annotations,
    }


def render(dataset: CreatureSceneDataset, workers: int = 1, progress: bool = False) -> dict[str, np.ndarray]:
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


def _render_chunk(job: tuple[CreatureSceneDataset, str, int, int]) -> list[Scene]:
    dataset, split, start, stop = job
    return [render_scene(dataset, split, i) for i in range(start, stop)]


def render_scene(dataset: CreatureSceneDataset, split: str, index: int) -> Scene:
    """Scene ``index`` of ``split``. The creatures are placed one by one, large ones first."""
    key = dataset.seed, _STREAM + SPLITS.index(split), index
    dice, hard, places = Dice(*key), dataset.difficulty, dataset.world
    habitat = places.habitats[dice.below(_HABITATS)]
    canvas = ground(dataset.side, dice, habitat, leaves=int(LEAVES * hard))
    sizes = sorted((_size(dice, dataset.shares) for _ in range(1 + dice.below(dataset.most))), reverse=True)
    creatures: list[Painted] = []
    boxes: list[Box] = []
    labels: list[int] = []
    for number, size in enumerate(sizes, 1):
        label = dice.below(dataset.classes)
        creature = _Creature((*key, number), places.species[label], hard)
        at = creature.place(dice, dataset.side, dice.uniform(*SIZES[size]), boxes)
        if at is not None:
            creatures.append(creature.paint(canvas, *at))
            boxes.append(_box(canvas, creatures[-1]))
            labels.append(label + 1)
    image = finished(canvas, dice, creatures, noise=2.0 + 6.0 * hard)
    return Scene(image, np.array(boxes, np.int64).reshape(-1, 4), np.array(labels, np.int64))


def _size(dice: Dice, shares: tuple[float, float, float]) -> int:
    draw = dice.uniform(0.0, 1.0)
    return 0 if draw < shares[0] else 1 if draw < shares[0] + shares[1] else 2


class _Creature:
    """A creature that can be painted again at another place and size, from the same random numbers."""

    def __init__(self, key: tuple[int, ...], species: Species, pose: float) -> None:
        self.key, self.species, self.pose = key, species, pose
        trial = Canvas(_TRIAL_SIDE, (0.0, 0.0, 0.0))
        box = _box(trial, self.paint(trial, (0.5, 0.5), _TRIAL_SIZE))
        self.bounds = tuple((edge / _TRIAL_SIDE - 0.5) / _TRIAL_SIZE for edge in box)
        """Left, top, right and bottom in radii of the body from its middle."""

    def paint(self, canvas: Canvas, at: tuple[float, float], radius: float) -> Painted:
        return paint_creature(canvas, Dice(*self.key), self.species, at, radius, _VARIETY, self.pose)

    def place(self, dice: Dice, side: int, longer: float, taken: list[Box]) -> tuple[tuple[float, float], float] | None:
        """Middle and radius of the body at a random place, two pixels from all others; None if no try fits.

        ``longer`` is the longer side of the creature as a share of the canvas.
        """
        left, top, right, bottom = self.bounds
        radius = longer / max(right - left, bottom - top)
        width, height = radius * (right - left), radius * (bottom - top)
        for _ in range(_TRIES):
            x, y = dice.uniform(0.0, 1.0 - width), dice.uniform(0.0, 1.0 - height)
            a, b, c, d = side * x - 2.0, side * y - 2.0, side * (x + width) + 2.0, side * (y + height) + 2.0
            if all(c < box[0] or box[2] < a or d < box[1] or box[3] < b for box in taken):
                return (x - radius * left, y - radius * top), radius
        return None


def _box(canvas: Canvas, creature: Painted) -> Box:
    """That of the pixels at least half of which show the creature."""
    region = canvas.coverage(creature.first, creature.end) >= 2
    columns, rows = np.flatnonzero(region.any(axis=0)), np.flatnonzero(region.any(axis=1))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
