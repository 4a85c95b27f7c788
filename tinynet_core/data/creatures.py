"""Creatures: an image-classification task that needs no download.

A class is a species of a genus, drawn in front of a ground of leaves. Genera differ in outline, limbs, colours and
ground, species of one genus in pattern, head, tips of the limbs, badge and eyes, so that there is something to learn at
every scale. It is a proxy: a result on it is never an ImageNet result.

An image depends on (seed, split, index) alone, and its bytes are the same on every machine (``drawing``).
"""

from typing import Literal

import numpy as np
from pydantic import Field

from tinynet_core.data.drawing import Dice
from tinynet_core.data.drawn import SPLITS, DrawnDataset, Extent
from tinynet_core.data.portrait import finished, ground, paint_creature, paint_occluder
from tinynet_core.data.species import World, world


class CreatureDataset(DrawnDataset):
    """What to render. Two equal values give the same images, byte for byte."""

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
    extent: Extent = Field((0.54, 0.8), description="range of a body's diameter as a share of the image")
    resolution: int = Field(72, ge=16, le=512, description="side of a rendered image in pixels")
    train_images: int = Field(8_000, ge=1, le=2_000_000, description="images of the training split")
    val_images: int = Field(2_000, ge=1, le=200_000, description="images of the validation split")
    seed: int = Field(0, ge=0, lt=2**32, description="of the world of species, and of everything that varies in it")

    @property
    def classes(self) -> int:
        """How many species there are."""
        return self.genera * self.species

    @property
    def names(self) -> tuple[str, ...]:
        """Of the classes: the number of the genus and a letter for the species, from 1a."""
        return tuple(f"{g + 1}{chr(ord('a') + s)}" for g in range(self.genera) for s in range(self.species))

    @property
    def world(self) -> World:
        """The species and the grounds."""
        return world(self.seed, self.genera, self.species, self.habitats, self.spread)

    def draw(self, split: str, index: int) -> tuple[np.ndarray, ...]:
        return (render_image(self, split, index),)


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
