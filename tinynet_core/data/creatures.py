"""Creatures: an image-classification task that needs no download.

A class is a species of a genus, drawn in front of a ground of leaves. Genera differ in outline, limbs, colours and
ground, species of one genus in pattern, head, tips of the limbs, badge and eyes, so that there is something to learn at
every scale. It is a proxy: a result on it is never an ImageNet result.

An image depends on (seed, split, index) alone, and its bytes are the same on every machine (``drawing``).
"""

import hashlib
import json
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator
from tqdm import tqdm

from tinynet_core.data.cache import cache_root, cached, content_hash, read_arrays, write_arrays
from tinynet_core.data.drawing import Dice
from tinynet_core.data.portrait import finished, ground, paint_creature, paint_occluder
from tinynet_core.data.processes import in_processes
from tinynet_core.data.sets import ImageSet
from tinynet_core.data.species import World, world

SPLITS = ("train", "val")
_CHUNK = 250


class CreatureDataset(BaseModel):
    """What to render. Two equal values give the same images, byte for byte."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    kind: Literal["creatures"] = Field("creatures", description="drawn creatures; has to be given")
    renderer: Literal[1] = Field(1, description="raised with every change of the pixels that a configuration gives")
    genera: int = Field(12, ge=2, le=100, description="how many")
    species: int = Field(4, ge=1, le=26, description="of each genus")
    habitats: int = Field(10, ge=1, le=100, description="kinds of ground; a genus is at home on two of them")
    spread: float = Field(1.0, gt=0.0, le=1.0, description="how much the species of one genus differ")
    variety: float = Field(0.8, ge=0.0, le=2.0, description="how much the creatures of one species differ")
    home: float = Field(0.85, ge=0.0, le=1.0, description="share of images on a ground of the genus")
    pose: float = Field(0.6, ge=0.0, le=2.0, description="how far creatures turn")
    occlusion: float = Field(0.3, ge=0.0, le=1.0, description="share of images where a leaf lies over the creature")
    extent: tuple[float, float] = Field((0.54, 0.8), description="range of a body's diameter as a share of the image")
    resolution: int = Field(72, ge=16, le=512, description="side of a rendered image in pixels")
    train_images: int = Field(8_000, ge=1, le=2_000_000, description="images of the training split")
    val_images: int = Field(2_000, ge=1, le=200_000, description="images of the validation split")
    seed: int = Field(0, ge=0, lt=2**32, description="of the world of species, and of everything that varies in it")

    @model_validator(mode="before")
    @classmethod
    def _tuple_of_extent(cls, content):
        if isinstance(content, dict) and isinstance(content.get("extent"), list):
            return {**content, "extent": tuple(content["extent"])}
        return content

    @model_validator(mode="after")
    def _consistent(self) -> "CreatureDataset":
        low, high = self.extent
        if not 0 < low <= high <= 1:
            raise ValueError(f"extent must satisfy 0 < low <= high <= 1, got {low:g}, {high:g}")
        return self

    @property
    def classes(self) -> int:
        """How many species there are."""
        return self.genera * self.species

    @property
    def names(self) -> tuple[str, ...]:
        """Of the classes: the number of the genus and a letter for the species, from 1a."""
        return tuple(f"{g + 1}{chr(ord('a') + s)}" for g in range(self.genera) for s in range(self.species))

    @property
    def mirror_safe(self) -> bool:
        """Whether a mirrored image keeps its class; each creature and each ground is mirrored or not by chance."""
        return True

    @property
    def world(self) -> World:
        """The species and the grounds."""
        return world(self.seed, self.genera, self.species, self.habitats, self.spread)

    @property
    def key(self) -> str:
        """SHA-256 of the configuration; names the cache folder."""
        return hashlib.sha256(json.dumps(self.model_dump(), sort_keys=True).encode()).hexdigest()


def load_creatures(dataset: CreatureDataset, workers: int = 1, progress: bool = False) -> ImageSet:
    """The rendered images of a configuration.

    They come from the cache if their bytes still have the recorded hash; a cache that was changed or cut off is
    rendered anew with a warning. Safe to call from several processes at once.

    Parameters
    ----------
    dataset
        What to render.
    workers
        Processes that render; their number does not change a byte.
    progress
        Whether to draw a bar.

    Returns
    -------
    ImageSet
        uint8 images (n, side, side, 3) and int64 labels (n,) of both splits, and the hash of their content.
    """
    return _load(dataset, str(cache_root()), workers, progress)


@lru_cache(maxsize=2)
def _load(dataset: CreatureDataset, root: str, workers: int, progress: bool) -> ImageSet:
    folder = Path(root) / f"creatures-{dataset.key[:16]}"
    return cached(folder, lambda scratch: _render_into(scratch, dataset, workers, progress), _read)


def _read(folder: Path) -> ImageSet:
    arrays, found = read_arrays(folder, [f"{split}_{part}" for split in SPLITS for part in ("images", "labels")])
    return ImageSet(**arrays, content_hash=found)


def _render_into(folder: Path, dataset: CreatureDataset, workers: int, progress: bool) -> None:
    arrays = render(dataset, workers, progress)
    seen = {hashlib.sha256(image.data).digest() for image in arrays["train_images"]}
    if any(hashlib.sha256(image.data).digest() in seen for image in arrays["val_images"]):
        raise RuntimeError("a rendered image is both in train and in val")
    write_arrays(folder, arrays, dataset.model_dump(), content_hash(arrays))


def render(dataset: CreatureDataset, workers: int = 1, progress: bool = False) -> dict[str, np.ndarray]:
    """All images and labels of ``dataset``, in ``workers`` processes."""
    counts = {"train": dataset.train_images, "val": dataset.val_images}
    arrays: dict[str, np.ndarray] = {}
    for split, n in counts.items():
        arrays[f"{split}_images"] = np.empty((n, dataset.resolution, dataset.resolution, 3), np.uint8)
        arrays[f"{split}_labels"] = np.arange(n, dtype=np.int64) % dataset.classes
    jobs = [(dataset, s, i, min(i + _CHUNK, n)) for s, n in counts.items() for i in range(0, n, _CHUNK)]
    with tqdm(total=sum(counts.values()), desc="rendering creatures", unit="img", disable=not progress) as bar:
        for (_, split, start, stop), images in zip(jobs, in_processes(_render_chunk, jobs, workers), strict=True):
            arrays[f"{split}_images"][start:stop] = images
            bar.update(len(images))
    return arrays


def _render_chunk(job: tuple[CreatureDataset, str, int, int]) -> np.ndarray:
    dataset, split, start, stop = job
    return np.stack([render_image(dataset, split, i) for i in range(start, stop)])


def render_image(dataset: CreatureDataset, split: str, index: int) -> np.ndarray:
    """Image ``index`` of ``split``, uint8 (side, side, 3), of class ``index % classes``."""
    return _draw(dataset, split, index)[0]


def region(dataset: CreatureDataset, split: str, index: int) -> np.ndarray:
    """The pixels of image ``index`` of ``split`` at least half of which show the creature, bool (side, side)."""
    return _draw(dataset, split, index)[1]


def _draw(dataset: CreatureDataset, split: str, index: int) -> tuple[np.ndarray, np.ndarray]:
    """Image and region of the creature."""
    dice = Dice(dataset.seed, SPLITS.index(split), index)
    species, habitats = dataset.world.species[index % dataset.classes], dataset.world.habitats
    at_home = dice.chance(dataset.home)
    habitat = species.genus.homes[dice.below(2)] if at_home else dice.below(len(habitats))
    canvas = ground(dataset.resolution, dice, habitats[habitat])
    size = 0.5 * dice.uniform(*dataset.extent)
    room = 0.55 * (0.5 - size)
    at = 0.5 + dice.uniform(-room, room), 0.5 + dice.uniform(-room, room)
    creature = paint_creature(canvas, dice, species, at, size, dataset.variety, dataset.pose)
    if dice.chance(dataset.occlusion):
        paint_occluder(canvas, dice, at, size)
    return finished(canvas, dice, [creature]), canvas.coverage(creature.first, creature.end) >= 2
