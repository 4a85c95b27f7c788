"""What goes with cost on a frontier, and what does so by chance (paper, section 3.2 and Figure 3)."""

from functools import lru_cache
from math import nan

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import rankdata

from tinynet_book.analysis.intervals import Interval
from tinynet_core.networks import Family
from tinynet_core.scaling.frontier import sample_scales


def rank_correlation(
    x: ArrayLike, macs: ArrayLike, less: ArrayLike | None = None, resamples: int = 5000, seed: int = 0
) -> Interval:
    """Spearman's rank correlation of n models, (n,) each, with its bootstrap interval; NaN where one does not vary.

    With ``less``, (n,), its correlation is subtracted: how far ``x`` leads it, with the models resampled whole.
    """
    first, *other = (np.asarray(values, dtype=float) for values in (x, less) if values is not None)
    cost = np.asarray(macs, dtype=float)
    n = len(cost)

    def rho(at: np.ndarray) -> np.ndarray:
        return _spearman(first[at], cost[at]) - sum(_spearman(z[at], cost[at]) for z in other)

    drawn = rho(np.random.default_rng(seed).integers(0, n, (resamples, n)))
    drawn = drawn[np.isfinite(drawn)]  # scipy's bootstrap cannot leave out resamples that do not vary
    low, high = np.quantile(drawn, [0.025, 0.975]) if len(drawn) else (nan, nan)
    return Interval(float(rho(np.arange(n))), float(low), float(high), n)


def _spearman(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Pearson's correlation of average ranks along the last axis."""
    p, q = (rankdata(x, axis=-1) for x in (a, b))
    p, q = (x - x.mean(axis=-1, keepdims=True) for x in (p, q))
    with np.errstate(invalid="ignore", divide="ignore"):
        return (p * q).sum(axis=-1) / np.sqrt((p**2).sum(axis=-1) * (q**2).sum(axis=-1))


def null_correlations(
    net: Family, k: int, window: tuple[float, float] = (0.03, 1.05), draws: int = 2000, pool: int = 5000
) -> dict[str, np.ndarray]:
    """Spearman's rho of r, d and w with MACs over ``draws`` sets of ``k`` models drawn without regard to accuracy.

    The FLOPs window alone makes them correlate. A correlation on the frontier means something only beside this. The
    models come from a ``pool`` of random ones, see ``sample_scales``.
    """
    values, macs = _random_models(net, pool, window)
    subsets = np.random.default_rng(0).permuted(np.tile(np.arange(pool), (draws, 1)), axis=1)[:, :k]
    return {name: _spearman(x[subsets], macs[subsets]) for name, x in values.items()}


@lru_cache(maxsize=4)
def _random_models(net: Family, pool: int, window: tuple[float, float]) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """r, d and w of ``pool`` accepted models, and their MACs."""
    scales = sample_scales(net, pool, window)
    values = {name: np.array([getattr(scale, name) for scale in scales]) for name in "rdw"}
    return values, net.screen(**values).macs.astype(float)
