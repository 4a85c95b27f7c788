"""Analysis of published measurements: the released TinyNets against their rivals, and fits with a bootstrap."""

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from tinynet_book.analysis.intervals import Interval
from tinynet_book.paper import public

DRAWS = 1000
"""Number of bootstrap draws."""


def percentiles(value: float, draws: ArrayLike, n: int) -> Interval:
    """Return a value with the 95% interval of its bootstrap draws."""
    low, high = np.nanpercentile(np.asarray(draws, dtype=float), [2.5, 97.5])
    return Interval(float(value), float(low), float(high), n)


def anew(n: int) -> np.ndarray:
    """Return how often each of ``n`` items occurs in bootstrap samples of n items, (DRAWS, n)."""
    return np.random.default_rng(0).multinomial(n, np.full(n, 1 / n), size=DRAWS)


def least_squares(terms: np.ndarray, targets: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Return the coefficients (D, terms, targets) of D fits; ``times`` (D, n) is the weight of row n in each fit.

    ``terms`` are (n, terms), ``targets`` (n, targets).
    """
    weighted = np.einsum("dn,ni->din", times, terms)
    return np.linalg.pinv(weighted @ terms) @ (weighted @ targets)


def distances(test: str, rivals: pd.DataFrame | None = None) -> pd.DataFrame:
    """Return how far each released TinyNet is above the curve of its rivals at its own MACs on one test set, in points.

    The curve is quadratic in ln MACs. Columns: ``architecture``, ``macs``, ``top1``; ``distance``, with an interval
    from a bootstrap over the rivals' architectures; ``least``, the smallest distance if one architecture is left out;
    ``scatter``, the standard deviation of the rivals about their curve.
    """
    peers = (public.rivals() if rivals is None else rivals).query("test == @test")
    tiny = public.tinynets().query("test == @test").sort_values("macs", ascending=False)
    here, there = (np.vander(cost(x.macs), 3) for x in (tiny, peers))
    top1, groups = peers.top1.to_numpy()[:, None], peers.groupby("architecture").ngroup().to_numpy()
    n = groups.max() + 1
    times = np.vstack([np.ones(len(peers)), (1 - np.eye(n))[:, groups], anew(n)[:, groups]])
    curves = least_squares(there, top1, times)  # all rivals, all but one architecture, bootstrap
    found = tiny.top1.to_numpy() - (here @ curves)[..., 0]
    scatter = float(np.sqrt(np.sum((top1 - there @ curves[0]) ** 2) / (len(peers) - 3)))
    gaps = [percentiles(found[0, i], found[1 + n :, i], n) for i in range(len(tiny))]
    least = found[1 : 1 + n].min(axis=0)
    return tiny[["architecture", "macs", "top1"]].assign(test=test, distance=gaps, least=least, scatter=scatter)


def curve(test: str, macs: ArrayLike) -> np.ndarray:
    """Return the top-1 in percent of the rivals' curve of ``distances`` at these MACs."""
    peers = public.rivals().query("test == @test")
    return np.polyval(np.polyfit(cost(peers.macs), peers.top1, 2), cost(macs))


def cost(macs: ArrayLike) -> np.ndarray:
    """Return the logarithm of MACs divided by 100 million."""
    return np.log(np.asarray(macs, dtype=float) / 100e6)
