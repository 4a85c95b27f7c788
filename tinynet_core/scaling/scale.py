"""Multipliers of resolution, depth and width, and the rules that connect them."""

import math
from dataclasses import dataclass
from numbers import Real
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike


def is_positive(value: Any) -> bool:
    """Return whether ``value`` is a finite number above zero."""
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value) and float(value) > 0


@dataclass(frozen=True, slots=True)
class Scale:
    """Multipliers of resolution, depth and width against a baseline network (paper, Eq. 1).

    ``r`` multiplies the side of the input image, ``d`` the number of blocks and ``w`` the number of channels. Each
    family rounds by its own rule. Raises ``ValueError`` unless all multipliers are finite and above zero.
    """

    r: float = 1.0
    d: float = 1.0
    w: float = 1.0

    def __post_init__(self) -> None:
        for name in ("r", "d", "w"):
            value = getattr(self, name)
            if not is_positive(value):
                raise ValueError(f"Scale.{name} must be a finite number above 0, got {value!r}")
            object.__setattr__(self, name, float(value))

    def __str__(self) -> str:
        return f"(r {self.r:.4g}, d {self.d:.4g}, w {self.w:.4g})"


class Scales:
    """Many scales at once: arrays ``r``, ``d``, ``w`` of one length, broadcast against each other."""

    __slots__ = ("d", "r", "w")

    def __init__(self, r: ArrayLike, d: ArrayLike, w: ArrayLike) -> None:
        columns = [np.asarray(x, dtype=float) for x in (r, d, w)]
        for name, column in zip("rdw", columns, strict=True):
            bad = column[~(np.isfinite(column) & (column > 0))]
            if len(bad):
                raise ValueError(f"Scales.{name} must be finite and above 0, got {bad[0]!r}")
        self.r, self.d, self.w = np.broadcast_arrays(*columns)


@dataclass(frozen=True, slots=True)
class Base:
    """The network size at r = d = w = 1. A size below the paper's makes a *proxy*, to which all rules apply.

    ``resolution`` is the side of the input in pixels, at least 8. ``width`` is the number of channels relative to the
    published network. Channels are multiples of ``divisor``: 2, 4 or 8 (the paper's). A small width needs a small
    divisor, or cost steps are too coarse to compare networks at equal cost. Raises ``ValueError`` for other values.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}  # so that an error names a wrong key in a preset

    resolution: int = 224
    width: float = 1.0
    divisor: int = 8

    def __post_init__(self) -> None:
        if isinstance(self.resolution, bool) or not isinstance(self.resolution, int) or self.resolution < 8:
            raise ValueError(f"Base.resolution must be a whole number of pixels, at least 8, got {self.resolution!r}")
        Scale(w=self.width)
        if self.divisor not in (2, 4, 8):
            raise ValueError(f"Base.divisor must be 2, 4 or 8, got {self.divisor!r}")

    def pixels(self, r: Any) -> Any:
        """Return the input side at ``r``, number or array: ``int(resolution * r)``, as in the released TinyNets."""
        exact = self.resolution * r + 1e-6  # 48 / 224 * 224 must stay 48
        many = isinstance(r, np.ndarray)
        if (exact.min(initial=1) if many else exact) < 1:
            raise ValueError(f"Scale.r = {np.min(r):g} leaves no pixel of a {self.resolution} px input")
        return exact.astype(np.int64) if many else int(exact)


PAPER_BASE = Base()
FITTED_DECIMALS, POWER_DIGITS = 3, 4
"""Decimals of fitted multipliers, as the paper prints them, and significant digits of multipliers from a power.

Later digits differ between processors.
"""
GIANT = Scale(r=1.15, d=1.2, w=1.1)  # EfficientNet's compound scaling per step of phi (Tan and Le 2019, section 3.3)


def giant(phi: float) -> Scale:
    """Return EfficientNet's giant formula r = 1.15^phi, d = 1.2^phi, w = 1.1^phi (paper, section 4.1), to four digits.

    ``phi`` is any number; negative numbers give the inverse formula. r^2 d w^2 grows as 1.92^phi.
    """
    return Scale(*(float(f"{base**phi:.{POWER_DIGITS}g}") for base in (GIANT.r, GIANT.d, GIANT.w)))


def eq5_width(c: float, r: float, d: float) -> float:
    """Return the width multiplier sqrt(c / (r^2 d)) of the paper's Eq. 5.

    ``c`` is MACs as a fraction of the baseline's; ``r`` and ``d`` are the other multipliers. All are above zero. Eq. 5
    takes cost as r^2 d w^2, which real networks only roughly follow. ``tinynet_core.shrink`` solves on real MACs.
    """
    Scale(r=r, d=d, w=c)
    return math.sqrt(c / (r * r * d))
