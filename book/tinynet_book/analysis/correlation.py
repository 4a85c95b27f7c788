"""What goes with cost on a frontier, and what does so by chance (paper, section 3.2 and Figure 3)."""

from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import rankdata

from tinynet_book.analysis.intervals import Interval, bootstrapped
from tinynet_core.networks import family
from tinynet_core.scaling.frontier import sample_scales
from tinynet_core.scaling.scale import PAPER_BASE, Base


def rank_correlation(x: ArrayLike, macs: ArrayLike, resamples: int = 5000, seed: int = 0) -> Interval:
    """Spearman's rank correlation of n models, (n,) each, with its bootstrap interval; NaN where one does not vary."""
    a, b = np.asarray(x, dtype=float), np.asarray(macs, dtype=float)
    return bootstrapped(lambda at: _spearman(a[at], b[at]), len(a), resamples, seed)


def correlation_lead(x: ArrayLike, other: ArrayLike, macs: ArrayLike, resamples: int = 5000, seed: int = 0) -> Interval:
    """Spearman's rho of ``x`` with ``macs`` less that of ``other``, all (n,), the models resampled whole."""
    a, z, b = (np.asarray(values, dtype=float) for values in (x, other, macs))
    return bootstrapped(lambda at: _spearman(a[at], b[at]) - _spearman(z[at], b[at]), len(a), resamples, seed)


def _spearman(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Pearson's correlation of average ranks along the last axis."""
    p, q = (rankdata(x, axis=-1) for x in (a, b))
    p, q = (x - x.mean(axis=-1, keepdims=True) for x in (p, q))
    with np.errstate(invalid="ignore", divide="ignore"):
        return (p * q).sum(axis=-1) / np.sqrt((p**2).sum(axis=-1) * (q**2).sum(axis=-1))


def null_correlations(
    net_name: str,
    k: int,
    window: tuple[float, float] = (0.03, 1.05),
    draws: int = 2000,
    pool: int = 5000,
    seed: int = 0,
    base: Base = PAPER_BASE,
    num_classes: int = 1000,
) -> dict[str, np.ndarray]:
    """Spearman's rho of r, d and w with MACs over ``draws`` sets of ``k`` models drawn without regard to accuracy.

    The FLOPs window alone makes them correlate. A correlation on the frontier means something only beside this. The
    models come from a ``pool`` of random ones, see ``sample_scales``.
    """
    values, macs = _random_models(net_name, pool, window, seed, base, num_classes)
    rng = np.random.default_rng(seed)
    subsets = rng.permuted(np.tile(np.arange(pool), (draws, 1)), axis=1)[:, :k]
    return {name: _spearman(x[subsets], macs[subsets]) for name, x in values.items()}


@lru_cache(maxsize=4)
def _random_models(net_name, pool, window, seed, base, num_classes) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """r, d and w of ``pool`` accepted models, and their MACs."""
    net = family(net_name, base, classes=num_classes)
    scales = sample_scales(net, pool, window, seed)
    values = {name: np.array([getattr(s, name) for s in scales]) for name in ("r", "d", "w")}
    cost = net.screen(values["r"], values["d"], values["w"])
    return values, cost.macs.astype(float)


def null_p_value(rho: float, null: ArrayLike) -> float:
    """Two-sided p-value of ``rho`` among correlations drawn under the null, (m,): twice the smaller tail, at most 1.

    ``rho`` counts as one draw, so that the smallest p-value is 2 / (m + 1) and never zero (Phipson and Smyth 2010).
    NaN where ``rho`` is.
    """
    drawn = np.asarray(null, dtype=float)
    tail = min(np.sum(drawn >= rho), np.sum(drawn <= rho))
    return float("nan") if np.isnan(rho) else float(min(1.0, 2 * (tail + 1) / (len(drawn) + 1)))
