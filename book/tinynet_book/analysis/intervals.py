"""Estimates with 95% intervals. All pages exchange numbers in this form.

A training is random by its seed. If every network has two seeds or more, the interval is Student's t with the degrees
of freedom of Welch and Satterthwaite. If a network has one seed, it is the normal interval of the validation images.
The normal interval is too narrow because it leaves out the spread between seeds.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan, nan, sqrt

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import norm, t

OFTEN_SEEN = 1 + float(norm.ppf(0.8) / norm.ppf(0.975))
"""True difference, in half-widths of a 95% interval, that four of five experiments would find clear of zero."""


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate ``value`` from ``n`` observations with its 95% interval ``low`` to ``high`` (NaN if unknown).

    The text ``f"{x:+.1f}"`` is the value followed by the interval.
    """

    value: float
    low: float = nan
    high: float = nan
    n: int = 0

    @classmethod
    def around(cls, value: float, half: float, n: int = 0) -> "Interval":
        """Return the interval that reaches ``half`` to either side of ``value``."""
        return cls(value, value - half, value + half, n)

    @property
    def half(self) -> float:
        """Half-width of the interval."""
        return (self.high - self.low) / 2

    @property
    def clear(self) -> bool:
        """Whether the whole interval is above zero."""
        return self.low > 0

    @property
    def detectable(self) -> float:
        """Approximate true difference that four of five such comparisons would find clear of zero."""
        return OFTEN_SEEN * self.half

    @property
    def verdict(self) -> str:
        """Verdict of the interval on a difference, ``better``, ``worse`` or ``cannot be told``."""
        return "better" if self.low > 0 else "worse" if self.high < 0 else "cannot be told"

    def within(self, low: float, high: float) -> "Interval":
        """Return the interval with its ends clipped to ``low`` and ``high``, the limits of the quantity."""
        return Interval(self.value, max(self.low, low), min(self.high, high), self.n)

    def __neg__(self) -> "Interval":
        return Interval(-self.value, -self.high, -self.low, self.n)

    def __mul__(self, factor: float) -> "Interval":
        """Convert to another unit. ``factor`` must be above zero."""
        return Interval(self.value * factor, self.low * factor, self.high * factor, self.n)

    def against(self, rival: str, form: str = "+.1f") -> str:
        """Return a difference in points in words, such as ``ahead of the giants, +2.5 points [+0.2, +4.8]``."""
        if isnan(self.value):
            return f"not comparable with {rival} here"
        words = {"better": "ahead of", "worse": "behind"}.get(self.verdict, "not clearly ahead of or behind")
        return f"{words} {rival}, {self.value:{form}} points" + (f" {self.limits(form)}" if self.low > -100 else "")

    def limits(self, form: str = "+.1f") -> str:
        """Return the ends of the interval as text."""
        return f"[{self.low:{form}}, {self.high:{form}}]"

    def __format__(self, form: str) -> str:
        return f"{self.value:{form}} {self.limits(form)}"


def contrast(parts: Sequence[tuple[float, ArrayLike]], images: int | None = None) -> Interval:
    """Return the weighted sum of the networks' means, such as a difference or an average of differences.

    ``parts`` are pairs of a weight and a network's values, one value per seed. Networks are independent; each occurs
    once. If a network has one seed, the values are accuracies on ``images``; without ``images`` the interval is NaN.
    ``n`` is the smallest number of seeds. Raises ``ValueError`` for a network without a training.
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
        freedom = variances.sum() ** 2 / below if below else (runs - 1).sum()  # the maximum if nothing varies
        reach = t.ppf(0.975, freedom)
    else:
        variances, reach = weights**2 * means * (1 - means) / (images or nan), 1.96
    return Interval.around(float(weights @ means), float(reach) * sqrt(variances.sum()), int(runs.min()))


def mean_interval(values: ArrayLike, images: int | None = None) -> Interval:
    """Return the mean of ``values`` (n,) with the interval of ``contrast``: Student's t, or by ``images`` if n is 1."""
    return contrast([(1.0, values)], images)
