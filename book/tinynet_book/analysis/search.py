"""What random search gives at one cost, and how many models of a sample have to be trained for it.

The accuracy of the best of many trainings is too high: the best one was lucky in its seed and in the validation images
as well. This winner's curse is named where it is not removed.
"""

from math import sqrt

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.special import gammaln

from tinynet_book.analysis.spread import reliability
from tinynet_core.study.series import WINDOW, candidates


def choices(models: pd.DataFrame, budgets: ArrayLike) -> pd.DataFrame:
    """What random search takes at each budget c: columns within, candidates, low, high, c_chosen, r, d, top1.

    ``within`` counts the finished models inside the window; ``low`` and ``high`` are the ends of c of the candidates.
    """
    rows = []
    for c in np.asarray(budgets, dtype=float):
        near = candidates(models, c)
        best = near.iloc[0]
        found = {"c": c, "within": int(((near.c / c - 1).abs() <= WINDOW).sum()), "candidates": len(near)}
        found |= {"low": near.c.min(), "high": near.c.max(), "c_chosen": best.c}
        rows.append(found | {x: best[x] for x in ("r", "d", "top1")})
    return pd.DataFrame(rows).set_index("c")


def best_of(top1: ArrayLike, level: float = 0.95) -> pd.DataFrame:
    """The best of n models drawn from a sample without replacement, for n = 1 ... N: columns n, expected, low, high.

    ``top1`` (N,) are the accuracies of the sample, in any unit. Of all sets of n, a share C(k, n) / C(N, n) lies among
    the k least accurate models, so that this is the distribution of the maximum, exactly and without simulation.
    ``low`` ... ``high`` holds the central ``level`` of it. It is that of this sample: other samples are not in it.
    """
    ordered = np.sort(np.asarray(top1, dtype=float))
    size = len(ordered)
    if size < 1 or not np.isfinite(ordered).all():
        raise ValueError(f"top1 must hold at least one finite accuracy, got {top1!r}")
    rows = []
    for n in range(1, size + 1):
        below = _among_least(size, n)
        low, high = (ordered[np.searchsorted(below, q - 1e-12)] for q in ((1 - level) / 2, (1 + level) / 2))
        expected = ordered @ np.diff(below, prepend=0.0)
        rows.append({"n": n, "expected": expected, "low": low, "high": high})
    return pd.DataFrame(rows)


def _among_least(size: int, n: int) -> np.ndarray:
    """C(k, n) / C(size, n) for k = 1 ... size."""
    k = np.arange(n, size + 1)
    shares = np.exp(gammaln(k + 1) - gammaln(k - n + 1) - gammaln(size + 1) + gammaln(size - n + 1))
    shares[-1] = 1.0
    return np.concatenate([np.zeros(n - 1), shares])


def trainings_to_reach(top1: ArrayLike, target: float) -> float:
    """How many models of a sample are trained on average, in random order, until one is at ``target`` or above.

    With K such models among N it is (N + 1) / (K + 1), and infinite with none.
    """
    values = np.asarray(top1, dtype=float)
    reached = int((values >= target).sum())
    return (len(values) + 1) / (reached + 1) if reached else float("inf")


def models_needed(best: ArrayLike, target: float) -> float:
    """The smallest n for which the best of n reaches ``target``, infinite if none does: ``best`` is for n = 1 ... N."""
    reached = np.flatnonzero(np.asarray(best, dtype=float) >= target)
    return float(reached[0] + 1) if len(reached) else float("inf")


def regressed(best: ArrayLike, top1: ArrayLike, noise: float) -> np.ndarray:
    """What a model that was chosen for its accuracy ``best`` is worth on average when trained anew.

    Of the variance of ``top1`` a part ``noise`` is luck, that between seeds; the rest is of the models.
    Regression to the mean shrinks the distance from the mean to that part. It assumes that both parts are normal and
    that luck is as large for every model.
    """
    values = np.asarray(top1, dtype=float)
    share = reliability(values, sqrt(noise)) if len(values) > 1 else 0.0
    return values.mean() + share * (np.asarray(best, dtype=float) - values.mean())
