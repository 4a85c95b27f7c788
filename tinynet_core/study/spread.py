"""The spread of accuracy between seeds. Accuracies are fractions.

In points, the spread of networks with low accuracy is far larger than that of networks near the ceiling. In log odds,
log(p / (1 - p)), all spreads are about equal. So spreads are pooled and noise is drawn in log odds. ``Spread.at``
converts a pooled spread to points at some accuracy. Functions that name no scale accept both.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import inf, nan, sqrt

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats
from scipy.special import logit


@dataclass(frozen=True, slots=True)
class Spread:
    """Standard deviation ``sd`` of the accuracy of one network between seeds, with its 95% interval.

    The value is pooled over ``networks`` networks with at least two runs each, ``runs`` runs in all. It has ``freedom``
    = runs - networks degrees of freedom. Without such a network, ``sd`` is NaN and the interval is 0 to infinity.
    """

    sd: float
    low: float
    high: float
    freedom: int
    networks: int
    runs: int

    @property
    def known(self) -> bool:
        return self.freedom > 0

    def at(self, top1: float) -> "Spread":
        """Convert a spread of log odds to a spread of accuracy at ``top1``: multiply by the slope p (1 - p)."""
        slope = top1 * (1 - top1)
        return replace(self, sd=self.sd * slope, low=self.low * slope, high=self.high * slope)

    def __str__(self) -> str:
        if not self.known:
            return "unknown: no network has two seeds"
        return f"{100 * self.sd:.2f} points [{100 * self.low:.2f}, {100 * self.high:.2f}]"


def log_odds(top1: ArrayLike, images: int) -> np.ndarray:
    """Return log(p / (1 - p)) of accuracies on ``images`` images. Accuracies stay half an image away from 0 and 1."""
    half = 0.5 / images
    return logit(np.clip(np.asarray(top1, dtype=float), half, 1 - half))


def seed_spread(groups: Mapping[str, ArrayLike]) -> Spread:
    """Return the pooled standard deviation over ``groups``: accuracies or log odds of each network, one per seed.

    The interval is exact for normal deviations with a common spread, by the chi-square distribution. Networks with one
    run are left out.
    """
    several = [x for x in (np.asarray(top1, dtype=float) for top1 in groups.values()) if x.size >= 2]
    runs = sum(x.size for x in several)
    freedom = runs - len(several)
    if not several:
        return Spread(nan, 0.0, inf, 0, 0, 0)
    squares = sum(float(((x - x.mean()) ** 2).sum()) for x in several)
    low, high = (sqrt(squares / stats.chi2.ppf(q, freedom)) for q in (0.975, 0.025))
    return Spread(sqrt(squares / freedom), low, high, freedom, len(several), runs)
