"""Creatures: an image-classification task and an object-detection task that need no download.

A class is a species of a genus, drawn in front of a ground of leaves, with something to learn at every scale
(``portrait``). A scene has creatures of all sizes on one ground, which do not overlap. Both are proxies: a result on
them is never one on ImageNet or COCO. An image depends on (seed, split, index) alone, and its bytes are the same on
every machine (``drawing``).
"""

from bisect import bisect
from string import ascii_lowercase
from typing import Literal

import numpy as np
from pydantic import Field

from tinynet_core.data.drawing import SHAPES, Canvas, Dice, Frame
from tinynet_core.data.drawn import DrawnImages, DrawnScenes, Extent, Scene, Shares
from tinynet_core.data.portrait import LEAVES, Painted, Point, Species, finished, ground, world
from tinynet_core.data.sets import SPLITS

SIZES = ((0.04, 0.046), (0.13, 0.165), (0.34, 0.5))
"""Range of the longer side of a small, medium and large creature, as a share of the canvas.

A range is narrow enough for ``area_limits`` with a pixel more, and for creatures three times as long as they are wide.
"""
_STREAM = 4
"""Second number of the key of the random stream of a training scene; those below are of other things."""
_HABITATS = 10
_VARIETY = 0.8
_TRIES = 30
"""Places that are tried for a creature before it is left out."""
_TRIAL_SIDE, _TRIAL_SIZE = 64, 0.12
"""Canvas and radius of the body by which a creature is measured."""

Box = tuple[int, int, int, int]
"""Left, top, right and bottom in pixels."""


class CreatureDataset(DrawnImages):
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
        """Names of the classes. A name is the number of the genus and a letter for the species, such as 1a."""
        letters = ascii_lowercase[: self.species]
        return tuple(f"{genus}{letter}" for genus in range(1, self.genera + 1) for letter in letters)

    def draw(self, split: str, index: int) -> tuple[np.ndarray, ...]:
        return _draw(self, split, index)[:1]

    def region(self, split: str, index: int) -> np.ndarray:
        return _draw(self, split, index)[1]


def _draw(dataset: CreatureDataset, split: str, index: int) -> tuple[np.ndarray, np.ndarray]:
    """Image ``index`` of ``split``, of class ``index % classes``, and the region of its creature."""
    dice = Dice(dataset.seed, SPLITS.index(split), index)
    places = world(dataset.seed, dataset.genera, dataset.species, dataset.habitats, dataset.spread)
    species, habitats = places.species[index % dataset.classes], places.habitats
    at_home = dice.chance(dataset.home)
    habitat = species.genus.homes[dice.below(2)] if at_home else dice.below(len(habitats))
    canvas = ground(dataset.resolution, dice, habitats[habitat])
    size = 0.5 * dice.uniform(*dataset.extent)
    room = 0.55 * (0.5 - size)
    at = 0.5 + dice.uniform(-room, room), 0.5 + dice.uniform(-room, room)
    creature = Painted(canvas, dice, species, at, size, dataset.variety, dataset.pose)
    if dice.chance(dataset.occlusion):
        x, y = (middle + dice.bell(size) for middle in at)
        leaf = Frame(x, y).at(0.0, 0.0, size * dice.uniform(0.25, 0.6), dice.uniform(0.0, 1.0))
        canvas.paint(leaf, SHAPES[dice.below(len(SHAPES))], dice.colour())
    return finished(canvas, dice, [creature]), canvas.coverage(creature.first, creature.end) >= 2


class CreatureSceneDataset(DrawnScenes):
    """Which scenes to render. Two equal values give the same scenes, byte for byte."""

    kind: Literal["creature_scenes"] = Field(
        "creature_scenes", description="several creatures on a canvas; has to be given"
    )
    renderer: Literal[1] = Field(1, description="raised with every change of the pixels that a configuration gives")
    classes: int = Field(4, ge=1, le=100, description="species, each of a genus of its own")
    side: int = Field(160, ge=96, le=1024, description="of a canvas in pixels")
    train_images: int = Field(1_000, ge=1, le=1_000_000, description="scenes of the training split")
    val_images: int = Field(200, ge=1, le=100_000, description="scenes of the validation split")
    most: int = Field(6, ge=1, le=20, description="creatures that are placed at most; one at least")
    shares: Shares = Field(
        (0.2, 0.4, 0.4),
        description="of the creatures drawn: small, medium and large by ``area_limits``; they add up to 1",
    )
    difficulty: float = Field(0.0, ge=0.0, le=1.0, description="0: upright, clear; 1: turned, cluttered, noisy")
    seed: int = Field(0, ge=0, lt=2**32, description="of the world of species, and of everything that varies in it")

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the classes. A name is the number of the genus and a letter for the species, such as 1a."""
        return tuple(f"{genus}a" for genus in range(1, self.classes + 1))

    def draw(self, split: str, index: int) -> Scene:
        """Scene ``index`` of ``split``. The creatures are placed one by one, large ones first."""
        key = self.seed, _STREAM + SPLITS.index(split), index
        dice, hard = Dice(*key), self.difficulty
        places = world(self.seed, self.classes, 1, _HABITATS, 1.0)
        canvas = ground(self.side, dice, places.habitats[dice.below(_HABITATS)], leaves=int(LEAVES * hard))
        small, medium, _ = self.shares
        kinds = (bisect((small, small + medium), dice.uniform(0.0, 1.0)) for _ in range(1 + dice.below(self.most)))
        creatures: list[Painted] = []
        boxes: list[Box] = []
        labels: list[int] = []
        for number, kind in enumerate(sorted(kinds, reverse=True), 1):
            label = dice.below(self.classes)
            creature = _Creature((*key, number), places.species[label], hard)
            at = creature.place(dice, self.side, dice.uniform(*SIZES[kind]), boxes)
            if at is not None:
                creatures.append(creature.paint(canvas, *at))
                boxes.append(_box(canvas, creatures[-1]))
                labels.append(label + 1)
        image = finished(canvas, dice, creatures, noise=2.0 + 6.0 * hard)
        return Scene(image, np.array(boxes, np.int64).reshape(-1, 4), np.array(labels, np.int64))


class _Creature:
    """A creature that can be painted again at another place and size, from the same random numbers."""

    def __init__(self, key: tuple[int, ...], species: Species, pose: float) -> None:
        self.key, self.species, self.pose = key, species, pose
        trial = Canvas(_TRIAL_SIDE, (0.0, 0.0, 0.0))
        box = _box(trial, self.paint(trial, (0.5, 0.5), _TRIAL_SIZE))
        self.bounds = tuple((edge / _TRIAL_SIDE - 0.5) / _TRIAL_SIZE for edge in box)
        """Left, top, right and bottom in radii of the body from its middle."""

    def paint(self, canvas: Canvas, at: Point, radius: float) -> Painted:
        return Painted(canvas, Dice(*self.key), self.species, at, radius, _VARIETY, self.pose)

    def place(self, dice: Dice, side: int, longer: float, taken: list[Box]) -> tuple[Point, float] | None:
        """Middle and radius of a body, ``longer`` the longer side, at a place two pixels from all others, or None."""
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
