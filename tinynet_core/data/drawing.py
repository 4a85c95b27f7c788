"""Drawing with results that have the same bytes on every machine.

IEEE 754 fixes the result of + - * / and of the square root, and NumPy applies them element by element. No other
operation here rounds floating-point numbers: no sine of the C library, no BLAS, no sum over an axis, no font. Random
numbers are made from the doubles of PCG64, because NumPy may change how it makes its other distributions.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Colour = tuple[float, float, float]
"""Red, green and blue from 0 to 255."""
Inside = Callable[[NDArray, NDArray], NDArray]
"""Function from points (u, v) to a mask of the points that are inside."""


def plus(one: Colour, other: Colour) -> Colour:
    """Return the sum of two colours."""
    return one[0] + other[0], one[1] + other[1], one[2] + other[2]


class Shape(NamedTuple):
    """A shape. All points inside lie within ``reach`` of the line from u = -``core`` to u = ``core``."""

    inside: Inside
    reach: float
    core: float = 0.0


class Dice:
    """Random numbers of PCG64, seeded by ``SeedSequence(key)``. The numbers of the key are below 2**32."""

    def __init__(self, *key: int) -> None:
        self._random = np.random.Generator(np.random.PCG64(np.random.SeedSequence(key))).random

    def uniform(self, low: float, high: float, n: int | None = None) -> Any:
        """Return one or ``n`` numbers from ``low`` to ``high``. ``Generator.uniform`` rounds otherwise on some CPUs."""
        return low + (high - low) * self._random(n)

    def bell(self, deviation: float, n: int | None = None) -> Any:
        """Return nearly normal numbers of mean 0, at most 3.5 deviations from it: sums of four uniform numbers."""
        four = self._random(n) + self._random(n) + self._random(n) + self._random(n)
        return (four - 2.0) * (deviation * math.sqrt(3.0))

    def factor(self, deviation: float) -> float:
        """Return a factor near 1. f and 1 / f are equally likely; log f has nearly this ``deviation``, below 0.5."""
        half = self.bell(0.5 * deviation)
        return (1.0 + half) / (1.0 - half)

    def below(self, n: int) -> int:
        """Return an integer from 0 to ``n`` - 1."""
        return int(n * self._random())

    def order(self, n: int) -> list[int]:
        """Return the numbers from 0 to ``n`` - 1 in random order."""
        rest = list(range(n))
        return [rest.pop(self.below(len(rest))) for _ in range(n)]

    def chance(self, p: float) -> bool:
        """Return True with probability ``p``."""
        return self._random() < p

    def colour(self, low: float = 0.0, high: float = 255.0) -> Colour:
        """Return a colour whose channels are uniform from ``low`` to ``high``."""
        return self.uniform(low, high), self.uniform(low, high), self.uniform(low, high)

    def near(self, colour: Colour, deviation: float) -> Colour:
        """Return ``colour`` plus a nearly normal number of this ``deviation`` in each channel."""
        red, green, blue = colour
        return red + self.bell(deviation), green + self.bell(deviation), blue + self.bell(deviation)


def wave(turns: Any) -> Any:
    """Return the sine of an angle in turns, a float or an array, by two parabolas with an error up to 0.0011."""
    x = turns - np.floor(turns + 0.5)
    y = x * (8.0 - 16.0 * abs(x))
    return y * (0.775 + 0.225 * abs(y))


def direction(turns: float) -> tuple[float, float]:
    """Return cosine and sine of an angle in turns, computed by ``wave``."""
    return float(wave(turns + 0.25)), float(wave(turns))


@dataclass(frozen=True, slots=True)
class Frame:
    """Map from a thing's own coordinates (u, v) to the unit square: (x + a u + b v, y + c u + d v)."""

    x: float
    y: float
    a: float = 1.0
    b: float = 0.0
    c: float = 0.0
    d: float = 1.0

    def at(self, u: float, v: float, size: float, turns: float = 0.0, stretch: float = 1.0) -> "Frame":
        """Return the frame of a part at (u, v): ``size`` times as large, turned, and stretched along its own u."""
        cosine, sine = direction(turns)
        along, across = size * stretch, size / stretch
        a, b, c, d = cosine * along, -sine * across, sine * along, cosine * across
        return Frame(
            self.x + self.a * u + self.b * v,
            self.y + self.c * u + self.d * v,
            self.a * a + self.b * c,
            self.a * b + self.b * d,
            self.c * a + self.d * c,
            self.c * b + self.d * d,
        )

    def own(self, x: NDArray, y: NDArray) -> tuple[NDArray, NDArray]:
        """Return u and v, each (rows, columns), of the points of the unit square with columns ``x`` and rows ``y``."""
        determinant = self.a * self.d - self.b * self.c
        x, y = (x - self.x) / determinant, ((y - self.y) / determinant)[:, None]
        return self.d * x - self.b * y, self.a * y - self.c * x


class Canvas:
    """A square picture of two by two samples per pixel. A sample holds the number of its colour."""

    def __init__(self, side: int, colour: Colour) -> None:
        self.side = side
        self.numbers = np.zeros((2 * side, 2 * side), np.int16)
        self._colours = [colour]
        self._places = (np.arange(2 * side) + 0.5) / (2 * side)

    @property
    def colours(self) -> int:
        """Number of colours so far. The next painted colour gets this number."""
        return len(self._colours)

    def paint(self, frame: Frame, shape: Shape, *colours: Colour, marks: Inside | None = None) -> None:
        """Fill a shape with a colour, and its points inside ``marks`` with a second colour."""
        patch, u, v = self._around(frame, shape)
        inside = shape.inside(u, v)
        patch[inside] = self.colours + (marks(u[inside], v[inside]) if marks else 0)
        self._colours += colours

    def _around(self, frame: Frame, shape: Shape) -> tuple[NDArray, NDArray, NDArray]:
        """Return a view of the samples around a shape, and u and v of each sample."""
        height = abs(frame.c) * shape.core + math.sqrt(frame.c * frame.c + frame.d * frame.d) * shape.reach
        width = abs(frame.a) * shape.core + math.sqrt(frame.a * frame.a + frame.b * frame.b) * shape.reach
        rows, columns = self._within(frame.y - height, frame.y + height), self._within(frame.x - width, frame.x + width)
        return self.numbers[rows, columns], *frame.own(self._places[columns], self._places[rows])

    def _within(self, low: float, high: float) -> slice:
        n = 2 * self.side
        return slice(min(max(math.ceil(n * low - 0.5), 0), n), min(max(math.ceil(n * high - 0.5), 0), n))

    def mirror(self) -> None:
        """Swap left and right of the picture painted so far."""
        self.numbers = np.ascontiguousarray(self.numbers[:, ::-1])

    def pixels(self) -> NDArray[np.float64]:
        """Return the picture (side, side, 3), from 0 to 255. Each pixel is the mean of its four samples."""
        palette = np.clip(np.array(self._colours), 0, 255).astype(np.uint16)
        return _four(np.take(palette, self.numbers, axis=0)) / 4.0

    def coverage(self, first: int, end: int) -> NDArray[np.uint8]:
        """Count for each pixel, (side, side), its samples (0 to 4) of the colours ``first`` to ``end`` - 1."""
        return _four(((self.numbers >= first) & (self.numbers < end)).view(np.uint8))


def _four(samples: NDArray) -> NDArray:
    rows = samples[0::2] + samples[1::2]
    return rows[:, 0::2] + rows[:, 1::2]


def _cross(u: NDArray, v: NDArray) -> NDArray:
    u, v = abs(u), abs(v)
    return (np.minimum(u, v) < 0.35) & (np.maximum(u, v) < 1.0)


def _star(u: NDArray, v: NDArray) -> NDArray:
    """Five-pointed star: the points inside at least four of the five edges of its inner pentagon."""
    edges = ((1.0, 0.0), (0.309, 0.951), (-0.809, 0.588), (-0.809, -0.588), (0.309, -0.951))
    within = [(a * u + b * v < 0.375).view(np.int8) for a, b in edges]
    return within[0] + within[1] + within[2] + within[3] + within[4] >= 4


def _crescent(u: NDArray, v: NDArray) -> NDArray:
    w = u + 0.5
    v = v * v
    return (u * u + v < 1.0) & (w * w + v > 0.7)


def _flower(u: NDArray, v: NDArray) -> NDArray:
    """Four petals: the radius is .9 + .32 cos 4t, where cos 4t = 1 - 8 (u v / r²)²."""
    square = u * u + v * v + 1e-9
    product = u * v / square
    return np.sqrt(square) < 1.22 - 2.56 * product * product


disc = Shape(lambda u, v: u * u + v * v < 1.0, 1.0)
SHAPES = (
    disc,
    Shape(lambda u, v: np.maximum(abs(u), abs(v)) < 0.85, 1.21),
    Shape(lambda u, v: np.maximum(abs(v) * 0.866 + u * 0.5, -u) < 0.58, 1.17),
    Shape(_star, 1.22),
    Shape(_cross, 1.07),
    Shape(lambda u, v: np.maximum(abs(v), abs(v) * 0.5 + abs(u) * 0.866) < 0.87, 1.01),
    Shape(_crescent, 1.0),
    Shape(_flower, 1.23),
)
"""Shapes of leaves, heads, limb tips and badges: disc, square, triangle, star, cross, hexagon, crescent, flower."""


def capsule(radius: float) -> Shape:
    """Return a line from u = -1 to 1 with round ends and ``radius`` as half of its thickness."""

    def inside(u: NDArray, v: NDArray) -> NDArray:
        beyond = np.maximum(abs(u) - 1.0, 0.0)
        return beyond * beyond + v * v < radius * radius

    return Shape(inside, radius, core=1.0)


PATTERNS: tuple[Inside, ...] = (
    lambda a, b: wave(a) > 0.0,  # stripes
    lambda a, b: wave(a) + wave(b) > 0.7,  # spots
    lambda a, b: (wave(a) > 0.0) ^ (wave(b) > 0.0),  # checks
    lambda a, b: wave(1.3 * np.sqrt(a * a + b * b)) > 0.0,  # rings
    lambda a, b: wave(a + 0.2 * wave(b)) > 0.0,  # wavy stripes
    lambda a, b: wave(a) + wave(1.3 * b + 0.18 * wave(0.7 * a)) + wave(0.6 * a - 0.8 * b) > 0.3,  # blotches
)
"""Patterns as masks of dark points. ``a`` and ``b`` count periods along and across the pattern."""
