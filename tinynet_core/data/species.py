"""A world of creatures: species of genera, and the grounds they live on.

Genera differ in coarse things: outline of the body, limbs, base colours, and the grounds at home. Species of a genus
differ in fine things: pattern, head, tips of the limbs, badge and eyes. A network learns the coarse cues first.
"""

from dataclasses import dataclass, fields, replace
from functools import lru_cache
from typing import Any

from tinynet_core.data.drawing import PATTERNS, SHAPES, Colour, Dice, direction

_GENUS, _HABITAT = 2, 3
"""Second number of the key of their random streams; the splits have 0 and 1."""
Outline = tuple[tuple[float, float], ...]
"""A cosine and a sine for each harmonic of the radius of a body, from the first."""
_HARMONICS = (0.22, 0.16, 0.10, 0.07)
"""Typical sizes of theirs."""
_CONTRAST = 150.0
"""Least difference, summed over red, green and blue, of the two colours of a genus."""


@dataclass(frozen=True, slots=True)
class Habitat:
    """Statistics of a ground of leaves that cover one another."""

    palette: tuple[Colour, ...]
    shapes: tuple[int, int]
    stretch: float
    turns: float
    disorder: float
    coarse: float


@dataclass(frozen=True, slots=True)
class Genus:
    """What the species of a genus share. Angles are in turns."""

    outline: Outline
    stretch: float
    limbs: int
    limb_length: float
    limb_width: float
    first_limb: float
    bend: float
    light: Colour
    dark: Colour
    homes: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Species:
    """One class. Sizes are in radii of the body; ``tip`` and ``badge`` are shapes, or None for no such part."""

    genus: Genus
    light: Colour
    dark: Colour
    accent: Colour
    pattern: int
    frequency: float
    angle: float
    contrast: float
    head: int
    head_size: float
    head_turns: float
    eye: float
    tip: int | None
    tip_size: float
    badge: int | None
    badge_size: float
    badge_at: tuple[float, float]


@dataclass(frozen=True)
class World:
    """All species, genus by genus, and all habitats."""

    species: tuple[Species, ...]
    habitats: tuple[Habitat, ...]


@lru_cache(maxsize=8)
def world(seed: int, genera: int, species: int, habitats: int, spread: float) -> World:
    """The world of a seed. Another seed gives other species and other grounds.

    ``species`` is their number in each genus. A ``spread`` of 1 draws the fine things of each species anew; below 1
    they stay near to those of the genus. The first genera and species are the same whatever their numbers.
    """
    table: list[Species] = []
    for number in range(genera):
        dice = Dice(seed, _GENUS, number)
        genus = _genus(dice, habitats)
        patterns, heads = dice.order(len(PATTERNS)), dice.order(len(SHAPES))
        typical = _species(dice, genus, patterns[0], heads[0])
        for i in range(species):
            own = _species(dice, genus, patterns[i % len(patterns)], heads[i % len(heads)])
            table.append(_between(dice, typical, own, spread))
    return World(tuple(table), tuple(_habitat(Dice(seed, _HABITAT, number)) for number in range(habitats)))


def _genus(dice: Dice, habitats: int) -> Genus:
    outline = []
    for deviation in _HARMONICS:
        cosine, sine = direction(dice.uniform(0.0, 1.0))
        size = dice.bell(deviation)
        outline.append((size * cosine, size * sine))
    light = dice.colour()
    dark = dice.colour()
    while abs(dark[0] - light[0]) + abs(dark[1] - light[1]) + abs(dark[2] - light[2]) < _CONTRAST:
        dark = dice.colour()
    first = dice.below(habitats)
    second = (first + 1 + dice.below(habitats - 1)) % habitats if habitats > 1 else first
    return Genus(
        outline=tuple(outline),
        stretch=dice.factor(0.25),
        limbs=dice.below(7),
        limb_length=dice.uniform(0.45, 0.95),
        limb_width=dice.uniform(0.06, 0.2),
        first_limb=dice.uniform(0.0, 1.0),
        bend=dice.bell(0.08),
        light=light,
        dark=dark,
        homes=(first, second),
    )


def _species(dice: Dice, genus: Genus, pattern: int, head: int) -> Species:
    root = dice.uniform(0.88, 1.51)  # its cube: more low frequencies than high ones
    return Species(
        genus=genus,
        light=dice.near(genus.light, 18.0),
        dark=dice.near(genus.dark, 18.0),
        accent=dice.colour(),
        pattern=pattern,
        frequency=root * root * root,
        angle=dice.uniform(0.0, 0.5),
        contrast=dice.uniform(0.5, 1.0),
        head=head,
        head_size=dice.uniform(0.22, 0.42),
        head_turns=dice.uniform(0.0, 1.0),
        eye=dice.uniform(0.08, 0.2),
        tip=_shape_or_none(dice),
        tip_size=dice.uniform(0.08, 0.16),
        badge=_shape_or_none(dice),
        badge_size=dice.uniform(0.1, 0.2),
        badge_at=(dice.uniform(-0.35, 0.35), dice.uniform(-0.35, 0.35)),
    )


def _shape_or_none(dice: Dice) -> int | None:
    number = dice.below(len(SHAPES) + 2)
    return number if number < len(SHAPES) else None


def _between(dice: Dice, typical: Species, own: Species, spread: float) -> Species:
    """Amounts go from ``typical`` to ``own`` by ``spread``; each choice is the own one with that probability."""
    changed: dict[str, Any] = {}
    for name in (field.name for field in fields(Species) if field.name != "genus"):
        before, after = getattr(typical, name), getattr(own, name)
        if isinstance(before, float):
            changed[name] = before + spread * (after - before)
        elif isinstance(before, tuple):
            changed[name] = tuple(b + spread * (a - b) for b, a in zip(before, after, strict=True))
        else:
            changed[name] = after if dice.chance(spread) else before
    return replace(typical, **changed)


def _habitat(dice: Dice) -> Habitat:
    return Habitat(
        palette=tuple(dice.colour(10.0, 245.0) for _ in range(4)),
        shapes=(dice.below(len(SHAPES)), dice.below(len(SHAPES))),
        stretch=dice.factor(0.4),
        turns=dice.uniform(0.0, 0.5),
        disorder=dice.uniform(0.016, 0.19),
        coarse=dice.uniform(0.0, 1.0),
    )
