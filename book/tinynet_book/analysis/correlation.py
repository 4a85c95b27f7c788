"""Correlation of r, d and w with cost on a frontier, and its uncertainty (paper, section 3.2 and Figure 3)."""

from math import nan

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import rankdata

from tinynet_book.analysis.intervals import Interval


def rank_correlation(
    x: ArrayLike, macs: ArrayLike, less: ArrayLike | None = None, resamples: int = 5000, seed: int = 0
) -> Interval:
    """Return Spearman's rank correlation of ``x`` and ``macs``, (n,) each, with its 95% bootstrap interval.

    NaN if one of them is constant. The correlation of ``less`` (n,), if given, is subtracted; models are drawn whole.
    """
    first, *other = (np.asarray(values, dtype=float) for values in (x, less) if values is not None)
    cost = np.asarray(macs, dtype=float)
    n = len(cost)

    def rho(at: np.ndarray) -> np.ndarray:
        return spearman(first[at], cost[at]) - sum(spearman(z[at], cost[at]) for z in other)

    drawn = rho(np.random.default_rng(seed).integers(0, n, (resamples, n)))
    drawn = drawn[np.isfinite(drawn)]  # scipy's bootstrap cannot skip constant resamples
    low, high = np.quantile(drawn, [0.025, 0.975]) if len(drawn) else (nan, nan)
    return Interval(float(rho(np.arange(n))), float(low), float(high), n)


def spearman(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return Spearman's rank correlation: Pearson's correlation of average ranks along the last axis."""
    p, q = (rankdata(x, axis=-1) for x in (a, b))
    p, q = (x - x.mean(axis=-1, keepdims=True) for x in (p, q))
    with np.errstate(invalid="ignore", divide="ignore"):
        return (p * q).sum(axis=-1) / np.sqrt((p**2).sum(axis=-1) * (q**2).sum(axis=-1))
