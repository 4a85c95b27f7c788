"""Worlds of creatures (genera, their species and their habitats), and pictures of the creatures.

Genera differ in coarse features: outline of the body, limbs, base colours and home habitats. Species of a genus differ
in fine features: pattern, head, tips of the limbs, badge and eyes. A network learns the coarse features first.
"""

import math
from collections.abc import Sequence
from copy import copy
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tinynet_core.data.drawing import PATTERNS, SHAPES, Canvas, Dice, Frame, Shape, capsule, direction, disc, plus, wave

_GENUS, _HABITAT = 2, 3
"""Second number in the random seeds of genera and habitats. The seeds of images have 0 (train) or 1 (val)."""
Point = tuple[float, float]
Outline = tuple[Point, ...]
"""Radius of a body as a Fourier series: a cosine and a sine coefficient for each harmonic, from the first on."""
_HARMONICS = (0.22, 0.16, 0.10, 0.07)
"""Standard deviations of the harmonics' amplitudes, as shares of the mean radius, from the first harmonic on."""
_CONTRAST = 150.0
"""Least difference between the two colours of a genus, summed over red, green and blue, each from 0 to 255."""
_WHITE, _BLACK = (245.0, 245.0, 245.0), (15.0, 15.0, 15.0)
LEAVES = 45
_WILD = 0.15
"""Share of leaves with a random shape, and share of leaves with a random colour, in every habitat."""
_SHADE = 0.25
"""Relative change of a creature's brightness from its middle to one radius away."""


class Habitat:
    """Statistics of a ground of overlapping leaves."""

    def __init__(self, dice: Dice) -> None:
        self.palette = tuple(dice.colour(10.0, 245.0) for _ in range(4))
        self.shapes = dice.below(len(SHAPES)), dice.below(len(SHAPES))
        self.stretch = dice.factor(0.4)
        self.turns = dice.uniform(0.0, 0.5)
        self.disorder = dice.uniform(0.016, 0.19)
        self.coarse = dice.uniform(0.0, 1.0)


class Genus:
    """Features that all species of a genus share. Angles are in turns."""

    def __init__(self, dice: Dice, habitats: int) -> None:
        outline = []
        for deviation in _HARMONICS:
            cosine, sine = direction(dice.uniform(0.0, 1.0))
            size = dice.bell(deviation)
            outline.append((size * cosine, size * sine))
        self.outline: Outline = tuple(outline)
        light, dark = dice.colour(), dice.colour()
        while abs(dark[0] - light[0]) + abs(dark[1] - light[1]) + abs(dark[2] - light[2]) < _CONTRAST:
            dark = dice.colour()
        self.light, self.dark = light, dark
        home = dice.below(habitats)
        self.homes = home, (home + 1 + dice.below(habitats - 1)) % habitats if habitats > 1 else home
        self.stretch = dice.factor(0.25)
        self.limbs = dice.below(7)
        self.limb_length = dice.uniform(0.45, 0.95)
        self.limb_width = dice.uniform(0.06, 0.2)
        self.first_limb = dice.uniform(0.0, 1.0)
        self.bend = dice.bell(0.08)


class Species:
    """One class. Sizes are in radii of the body. ``tip`` and ``badge`` are shapes, or None if the part is missing."""

    def __init__(self, dice: Dice, genus: Genus, pattern: int, head: int) -> None:
        self.genus, self.pattern, self.head = genus, pattern, head
        root = dice.uniform(0.88, 1.51)  # cubed below, so that low frequencies are more likely
        self.light = dice.near(genus.light, 18.0)
        self.dark = dice.near(genus.dark, 18.0)
        self.accent = dice.colour()
        self.frequency = root * root * root
        self.angle = dice.uniform(0.0, 0.5)
        self.contrast = dice.uniform(0.5, 1.0)
        self.head_size = dice.uniform(0.22, 0.42)
        self.head_turns = dice.uniform(0.0, 1.0)
        self.eye = dice.uniform(0.08, 0.2)
        self.tip = _shape_or_none(dice)
        self.tip_size = dice.uniform(0.08, 0.16)
        self.badge = _shape_or_none(dice)
        self.badge_size = dice.uniform(0.1, 0.2)
        self.badge_at = dice.uniform(-0.35, 0.35), dice.uniform(-0.35, 0.35)

    def towards(self, other: "Species", dice: Dice, spread: float) -> "Species":
        """Return a mix with ``other``. Numbers move by the share ``spread``, choices change with this probability."""
        found = copy(self)
        for name, after in vars(other).items():
            before = getattr(self, name)
            if isinstance(before, float):
                after = before + spread * (after - before)
            elif isinstance(before, tuple):
                after = tuple(b + spread * (a - b) for b, a in zip(before, after, strict=True))
            elif name == "genus" or not dice.chance(spread):
                after = before
            setattr(found, name, after)
        return found


class World(NamedTuple):
    """All species, genus by genus, and all habitats."""

    species: list[Species]
    habitats: list[Habitat]


@lru_cache(maxsize=8)
def world(seed: int, genera: int, species: int, habitats: int, spread: float) -> World:
    """Return the world of a seed. Another seed gives other species and other habitats.

    ``species`` is the number of species per genus. A ``spread`` of 1 draws the fine features of each species anew.
    Below 1 they stay close to the genus's typical features. Larger numbers add genera or species, the first ones stay.
    """
    table: list[Species] = []
    for number in range(genera):
        dice = Dice(seed, _GENUS, number)
        genus = Genus(dice, habitats)
        patterns, heads = dice.order(len(PATTERNS)), dice.order(len(SHAPES))
        typical = Species(dice, genus, patterns[0], heads[0])
        for i in range(species):
            own = Species(dice, genus, patterns[i % len(patterns)], heads[i % len(heads)])
            table.append(typical.towards(own, dice, spread))
    return World(table, [Habitat(Dice(seed, _HABITAT, number)) for number in range(habitats)])


def _shape_or_none(dice: Dice) -> int | None:
    number = dice.below(len(SHAPES) + 2)
    return number if number < len(SHAPES) else None


def ground(side: int, dice: Dice, habitat: Habitat, leaves: int = LEAVES) -> Canvas:
    """Return a canvas of ``side`` pixels that leaves of a habitat cover. Half of the canvases are mirrored."""
    turns, shift = habitat.turns + dice.bell(0.05), dice.near((0.0, 0.0, 0.0), 20.0)
    canvas = Canvas(side, plus(habitat.palette[0], shift))
    smallest, draws, ratio = 0.03, dice.uniform(0.0, 1.0, leaves), 0.03 / 0.35  # shares of the image
    square = smallest / (1.0 - draws * (1.0 - ratio))  # density falls with the square of the size
    cubic = smallest / np.sqrt(1.0 - draws * (1.0 - ratio * ratio))
    sizes = np.where(dice.uniform(0.0, 1.0, leaves) < habitat.coarse, square, cubic).tolist()
    angles = (turns + dice.bell(habitat.disorder, leaves)).tolist()
    places = dice.uniform(-0.05, 1.05, 2 * leaves).tolist()
    tints = dice.bell(18.0, 3 * leaves).tolist()
    for i in range(leaves):
        shape = SHAPES[dice.below(len(SHAPES)) if dice.chance(_WILD) else habitat.shapes[dice.below(2)]]
        base = dice.colour() if dice.chance(_WILD) else plus(habitat.palette[dice.below(4)], shift)
        frame = Frame(places[2 * i], places[2 * i + 1]).at(0.0, 0.0, sizes[i], angles[i], habitat.stretch)
        canvas.paint(frame, shape, plus(base, (tints[3 * i], tints[3 * i + 1], tints[3 * i + 2])))
    if dice.chance(0.5):
        canvas.mirror()
    return canvas


class Painted:
    """A creature on a canvas, mirrored or not. Its colours have the numbers ``first`` to ``end`` - 1.

    The body's middle is ``at``, its radius about ``size``. ``variety`` scales how much the creatures of a species
    differ, ``pose`` how far they turn. The brightness is 1 in the middle and changes by ``slope`` along x and y.
    """

    def __init__(
        self, canvas: Canvas, dice: Dice, species: Species, at: Point, size: float, variety: float, pose: float
    ) -> None:
        self.canvas, self.dice, self.species, self.at, self.variety = canvas, dice, species, at, variety
        self.first = canvas.colours
        cosine, sine = direction(dice.bell(0.056 * variety * pose))
        shear = self.some(0.12)
        root = math.sqrt(species.genus.stretch * self.times(0.08))
        along, across = size * root * (-1.0 if dice.chance(0.5) else 1.0), size / root
        b, d = (cosine * shear - sine) * across, (sine * shear + cosine) * across
        self.frame = Frame(*at, cosine * along, b, sine * along, d)
        self.outline = tuple((a + self.some(0.03), b + self.some(0.03)) for a, b in species.genus.outline)
        shift = dice.near((0.0, 0.0, 0.0), 14.0 * variety)
        self.light, self.dark, self.accent = (
            dice.near(plus(colour, shift), 9.0 * variety) for colour in (species.light, species.dark, species.accent)
        )
        self.paint_limbs()
        self.paint_body()
        self.paint_head()
        self.end = canvas.colours
        cosine, sine = direction(dice.uniform(0.0, 1.0))
        self.slope = _SHADE * cosine / size, _SHADE * sine / size

    def some(self, deviation: float) -> float:
        return self.dice.bell(deviation * self.variety)

    def times(self, deviation: float) -> float:
        return self.dice.factor(deviation * self.variety)

    def paint_limbs(self) -> None:
        """Paint the limbs all around the body. Each limb has two straight parts and, in some species, a tip."""
        canvas, frame, species, genus = self.canvas, self.frame, self.species, self.species.genus
        for i in range(genus.limbs):
            turns = genus.first_limb + i / genus.limbs + self.some(0.019)
            half = 0.5 * genus.limb_length * self.times(0.12)
            cosine, sine = direction(turns)
            start = 0.8 * radius(self.outline, cosine, sine)
            u, v = start * cosine, start * sine
            for bend in (0.0, genus.bend + self.some(0.032)):
                cosine, sine = direction(turns + bend)
                part = frame.at(u + 0.5 * half * cosine, v + 0.5 * half * sine, 0.5 * half, turns + bend)
                canvas.paint(part, capsule(2.0 * genus.limb_width / half), self.dark)
                u, v = u + half * cosine, v + half * sine
            if species.tip is not None:
                canvas.paint(frame.at(u, v, species.tip_size), SHAPES[species.tip], self.accent)

    def paint_body(self) -> None:
        """Paint the body with its pattern, and the badge on it."""
        species, outline = self.species, self.outline
        cosine, sine = direction(species.angle + self.some(0.019))
        frequency = species.frequency * self.times(0.1)
        along, across = self.dice.uniform(-0.5, 0.5), self.dice.uniform(-0.5, 0.5)

        def inside(u: NDArray, v: NDArray) -> NDArray:
            distance = np.sqrt(u * u + v * v) + 1e-9
            return distance < radius(outline, u / distance, v / distance)

        def marks(u: NDArray, v: NDArray) -> NDArray:
            a = (frequency * cosine) * u + (frequency * sine) * v + along
            b = (frequency * cosine) * v - (frequency * sine) * u + across
            return PATTERNS[species.pattern](a, b)

        around = np.arange(64) / 64
        farthest = float(radius(outline, wave(around + 0.25), wave(around)).max())
        red, green, blue = (
            one + species.contrast * (other - one) for one, other in zip(self.light, self.dark, strict=True)
        )
        self.canvas.paint(self.frame, Shape(inside, farthest + 0.02), self.light, (red, green, blue), marks=marks)
        if species.badge is not None:
            x, y = (middle + self.some(0.06) for middle in species.badge_at)
            self.canvas.paint(self.frame.at(x, y, species.badge_size), SHAPES[species.badge], self.accent)

    def paint_head(self) -> None:
        """Paint the head on the outline of the body, with two eyes beside its middle."""
        canvas, frame, species = self.canvas, self.frame, self.species
        cosine, sine = direction(species.head_turns + self.some(0.032))
        distance = radius(self.outline, cosine, sine)
        u, v = distance * cosine, distance * sine
        canvas.paint(frame.at(u, v, species.head_size * self.times(0.1)), SHAPES[species.head], self.accent)
        for aside in (-0.45 * species.head_size, 0.45 * species.head_size):
            at = u - aside * sine, v + aside * cosine
            canvas.paint(frame.at(*at, 0.8 * species.eye), disc, _WHITE)
            canvas.paint(frame.at(*at, 0.4 * species.eye), disc, _BLACK)


def radius(outline: Outline, cosine: Any, sine: Any) -> Any:
    """Return the radius of a body's outline in a direction, by Clenshaw's rule. Takes floats or arrays."""
    double = 2.0 * cosine
    (even, odd), before_even, before_odd = outline[-1], 0.0, 0.0
    for a, b in reversed(outline[:-1]):
        even, before_even = double * even + (a - before_even), even
        odd, before_odd = double * odd + (b - before_odd), odd
    return cosine * even + sine * odd + (1.0 - before_even)


def finished(canvas: Canvas, dice: Dice, creatures: Sequence[Painted], noise: float = 6.0) -> NDArray[np.uint8]:
    """Return the picture, uint8 (side, side, 3), with light on the creatures and noise of deviation ``noise``."""
    pixels = canvas.pixels()
    places = (np.arange(canvas.side) + 0.5) / canvas.side
    for creature in creatures:
        x, y = (slope * (places - middle) for slope, middle in zip(creature.slope, creature.at, strict=True))
        covered = canvas.coverage(creature.first, creature.end) / 4.0
        pixels *= (1.0 + (x + y[:, None]) * covered)[..., None]
    contrast = dice.uniform(0.7, 1.1)
    brightness = dice.uniform(-25.0, 25.0) + 128.0 - 128.0 * contrast
    speckle = dice.bell(noise, canvas.side * canvas.side).reshape(canvas.side, canvas.side, 1)
    return np.clip(pixels * contrast + (speckle + brightness), 0.0, 255.0).astype(np.uint8)
