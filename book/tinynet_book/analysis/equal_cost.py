"""How costs go together, and who is ahead at an equal cost of any kind: MACs, parameters, activations or latency."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import log, nan, sqrt

import numpy as np
from numpy.typing import ArrayLike

from tinynet_book.analysis.comparison import Comparison, Interval
from tinynet_book.analysis.correlation import Correlation

COSTS = {
    "macs": "MACs (millions)",
    "params": "parameters (millions)",
    "activations": "activations (millions)",
    "latency_ms": "latency (ms)",
}
"""Columns of the table of models that say what a network costs, with their units in figures and tables."""
EDGE = 0.05
"""Relative distance beyond an end of a line within which the rival there still counts as of the same cost."""
UNITS = {"macs": 1e6, "params": 1e6, "activations": 1e6, "latency_ms": 1.0}


def explained_share(costs: Sequence[ArrayLike], times: ArrayLike, resamples: int = 2000, seed: int = 0) -> Correlation:
    """R squared of log ``times`` regressed on log ``costs``, with its 95% percentile interval over networks.

    Each of ``costs`` and ``times`` are (n,) and above zero. Raises ``ValueError`` for other numbers, and for fewer
    networks than two more than there are costs.
    """
    x = np.column_stack([np.asarray(cost, dtype=float) for cost in costs])
    y = np.asarray(times, dtype=float)
    n, parts = x.shape
    if y.shape != (n,) or n < parts + 2:
        raise ValueError(f"times must be one-dimensional, one for each of at least {parts + 2} networks, got {y.shape}")
    if not (np.isfinite(x).all() and np.isfinite(y).all() and (x > 0).all() and (y > 0).all()):
        raise ValueError("costs and times must be finite and above 0; leave networks that were not timed out")
    design, target = np.column_stack([np.ones(n), np.log(x)]), np.log(y)
    picks = np.random.default_rng(seed).integers(0, n, (resamples, n))
    drawn = [_r_squared(design[pick], target[pick]) for pick in picks]
    finite = [share for share in drawn if np.isfinite(share)]  # a resample of one network over and over has none
    low, high = np.quantile(finite, [0.025, 0.975]) if finite else (nan, nan)
    return Correlation(_r_squared(design, target), float(low), float(high), n)


def _r_squared(design: np.ndarray, target: np.ndarray) -> float:
    """NaN where the target does not vary."""
    total = float(((target - target.mean()) ** 2).sum())
    if not total:
        return nan
    solved, *_ = np.linalg.lstsq(design, target, rcond=None)
    return 1 - float(((target - design @ solved) ** 2).sum()) / total


@dataclass(frozen=True, slots=True)
class Lead:
    """``ours`` over a line of rivals, read off at the ``cost`` of ours: the two rivals around it and the difference.

    ``gap`` is None, and ``between`` empty, where the cost lies outside of the line by more than ``EDGE``. ``told``:
    whether all of them have seeds enough to decide.
    """

    ours: str
    cost: float
    between: tuple[str, ...]
    gap: Interval | None
    told: bool = False

    @property
    def verdict(self) -> str:
        """Who is ahead, as far as the interval tells."""
        if self.gap is None:
            return "outside"
        if not self.told:
            return "too few seeds"
        if self.gap.clear:
            return "ahead"
        return "behind" if self.gap.value < -self.gap.half else "open"


def lead(compared: Comparison, ours: str, rivals: Sequence[str], costs: Mapping[str, float]) -> Lead:
    """Top-1 of ``ours`` less that of the line through ``rivals``, in points, at the cost of ours.

    The line is straight between neighbours over the logarithm of the cost. ``costs`` holds the cost of every network
    that was timed or counted; rivals without one, or without a finished run, are no part of the line. The interval is
    that of the accuracies; costs count as known.
    """
    cost = float(costs.get(ours, nan))
    known = sorted((costs[name], name) for name in rivals if name in compared.top1 and costs.get(name, nan) > 0)
    if ours in compared.top1 and len(known) > 1 and known[0][0] * (1 - EDGE) <= cost <= known[-1][0] * (1 + EDGE):
        at = min(max(cost, known[0][0]), known[-1][0])
        for (low, left), (high, right) in pairwise(known):
            if low <= at <= high:
                part = log(at / low) / log(high / low) if high > low else 0.5
                weights = {ours: 1.0, left: part - 1, right: -part}
                used = {name: weight for name, weight in weights.items() if weight}
                between = tuple(name for name in used if name != ours)
                return Lead(ours, cost, between, compared.weighted(used), compared.told(set(used)))
    return Lead(ours, cost, (), None)


def over_line(
    macs: ArrayLike, top1: ArrayLike, line_macs: ArrayLike, line_top1: ArrayLike, line_errors: ArrayLike
) -> tuple[np.ndarray, Interval]:
    """How far models lie above a line of rivals at their own cost, in points: each of them (n,), and their mean.

    The line is straight between neighbours over the logarithm of the cost; ``line_macs`` (k,) grow. The interval has
    the variance of a mean of n models and that of the rivals' mean accuracies, by their standard errors ``line_errors``
    (k,): an error in one rival moves many models together.
    """
    x, line = np.log(np.asarray(macs, dtype=float)), np.log(np.asarray(line_macs, dtype=float))
    shares = np.column_stack([np.interp(x, line, part) for part in np.eye(len(line))])
    each = np.asarray(top1, dtype=float) - shares @ np.asarray(line_top1, dtype=float)
    between = each.var(ddof=1) / len(each) if len(each) > 1 else nan
    rivals = (shares.mean(axis=0) * np.asarray(line_errors, dtype=float)) ** 2
    return 100 * each, Interval(100 * float(each.mean()), 100 * 1.96 * sqrt(between + rivals.sum()))
