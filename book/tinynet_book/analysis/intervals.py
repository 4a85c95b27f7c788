"""Estimates with 95% intervals, the one shape in which pages hand numbers on, and how they are made of few trainings.

A training is random by its seed. Where every network has two seeds or more, an interval is Student's t with Welch and
Satterthwaite's degrees of freedom. With a single seed it is the normal interval of the validation images, which leaves
the spread between seeds out and is too narrow.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan, nan, sqrt

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import norm, t

OFTEN_SEEN = 1 + float(norm.ppf(0.8) / norm.ppf(0.975))
"""Halves of a 95% interval that a true difference must measure to be found clear of zero four times in five."""


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate ``value`` of ``n`` observations with its 95% interval from ``low`` to ``high``, NaN where unknown.

    As text, ``f"{x:+.1f}"``, it is the value with the interval behind it.
    """

    value: float
    low: float = nan
    high: float = nan
    n: int = 0

    @classmethod
    def around(cls, value: float, half: float, n: int = 0) -> "Interval":
        """The interval that reaches ``half`` to either side."""
        return cls(value, value - half, value + half, n)

    @property
    def half(self) -> float:
        """Half of the interval's width."""
        return (self.high - self.low) / 2

    @property
    def clear(self) -> bool:
        """Whether the whole interval is above zero."""
        return self.low > 0

    @property
    def detectable(self) -> float:
        """The true difference that four of five such comparisons would find clear of zero, about."""
        return OFTEN_SEEN * self.half

    @property
    def verdict(self) -> str:
        """What the interval says of a difference, as ``better``, ``worse`` or ``cannot be told``."""
        return "better" if self.low > 0 else "worse" if self.high < 0 else "cannot be told"

    def within(self, low: float, high: float) -> "Interval":
        """With ends no further than the quantity can be."""
        return Interval(self.value, max(self.low, low), min(self.high, high), self.n)

    def __neg__(self) -> "Interval":
        return Interval(-self.value, -self.high, -self.low, self.n)

    def __mul__(self, factor: float) -> "Interval":
        """In another unit: ``factor`` is above zero."""
        return Interval(self.value * factor, self.low * factor, self.high * factor, self.n)

    def against(self, rival: str, form: str = "+.1f") -> str:
        """A difference in points in words: ``ahead of the giants, +2.5 points [+0.2, +4.8]``, where that is clear."""
        if isnan(self.value):
            return f"not comparable with {rival} here"
        words = {"better": "ahead of", "worse": "behind"}.get(self.verdict, "not clearly ahead of or behind")
        return f"{words} {rival}, {self.value:{form}} points" + (f" {self.limits(form)}" if self.low > -100 else "")

    def limits(self, form: str = "+.1f") -> str:
        """The ends of the interval as text."""
        return f"[{self.low:{form}}, {self.high:{form}}]"

    def __format__(self, form: str) -> str:
        return f"{self.value:{form}} {self.limits(form)}"


def contrast(parts: Sequence[tuple[float, ArrayLike]], images: int | None = None) -> Interval:
    """The weighted sum of the networks' means: a difference, or an average of differences.

    ``parts`` are pairs of a weight and a network's values, one for each seed; every network comes once and varies by
    itself. With one seed the values are shares of ``images``; without ``images`` nothing is then known. ``n`` is the
    fewest seeds. Raises ``ValueError`` for a network without any run.
    """
    weights = np.array([weight for weight, _ in parts], dtype=float)
    samples = [np.asarray(values, dtype=float) for _, values in parts]
    runs = np.array([x.size for x in samples])
    if runs.size == 0 or runs.min() < 1:
        raise ValueError(f"every network needs at least one finished run, got {runs.tolist()}")
    means = np.array([x.mean() for x in samples])
    if runs.min() > 1:
        variances = weights**2 * np.array([x.var(ddof=1) for x in samples]) / runs
        below = (variances**2 / (runs - 1)).sum()
        freedom = variances.sum() ** 2 / below if below else (runs - 1).sum()  # all there are where nothing varies
        reach = t.ppf(0.975, freedom)
    else:
        variances, reach = weights**2 * means * (1 - means) / (images or nan), 1.96
    return Interval.around(float(weights @ means), float(reach) * sqrt(variances.sum()), int(runs.min()))


def mean_interval(values: ArrayLike, images: int | None = None) -> Interval:
    """The mean of ``values`` (n,), as ``contrast`` has it: by Student's t, or by the ``images`` where n is 1."""
    return contrast([(1.0, values)], images)
