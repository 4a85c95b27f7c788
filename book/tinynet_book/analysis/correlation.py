"""What correlates with cost on a frontier, and what does so by chance (paper, section 3.2 and Figure 3)."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import rankdata

from tinynet_core.networks import family
from tinynet_core.scaling.sample import sample_scales
from tinynet_core.scaling.scale import PAPER_BASE, Base


@dataclass(frozen=True, slots=True)
class Correlation:
    """Spearman's rank correlation, or a lead of one over another, with its 95% bootstrap interval.

    NaN where a variable does not vary.
    """

    rho: float
    low: float
    high: float
    n: int


def rank_correlation(x: ArrayLike, macs: ArrayLike, resamples: int = 5000, seed: int = 0) -> Correlation:
    """Spearman's rank correlation with a 95% percentile bootstrap interval over models.

    Parameters
    ----------
    x, macs
        Of n models, (n,) with n at least 3.
    resamples
        Bootstrap samples.
    seed
        Of the resampling.

    Returns
    -------
    Correlation
        rho, the ends of its interval, and n; NaN where a variable does not vary.

    Raises
    ------
    ValueError
        The arrays are shorter than 3 or of different lengths.
    """
    a, b = _paired(x, macs)
    return _bootstrapped(lambda at: _spearman(a[at], b[at], -1), len(a), resamples, seed)


def correlation_lead(
    x: ArrayLike, other: ArrayLike, macs: ArrayLike, resamples: int = 5000, seed: int = 0
) -> Correlation:
    """Spearman's rho of ``x`` with ``macs`` less that of ``other``, all (n,), with a 95% percentile bootstrap interval.

    The models are resampled whole, so that the two correlations are of the same ones. Raises as ``rank_correlation``.
    """
    (a, b), (z, _) = _paired(x, macs), _paired(other, macs)
    return _bootstrapped(lambda at: _spearman(a[at], b[at], -1) - _spearman(z[at], b[at], -1), len(a), resamples, seed)


def _paired(x: ArrayLike, macs: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    a, b = np.asarray(x, dtype=float), np.asarray(macs, dtype=float)
    if a.ndim != 1 or a.shape != b.shape or len(a) < 3:
        raise ValueError(f"x and macs must be one-dimensional, of one length, at least 3, got {a.shape}, {b.shape}")
    return a, b


def _bootstrapped(of: Callable[[np.ndarray], np.ndarray], n: int, resamples: int, seed: int) -> Correlation:
    """A correlation ``of`` the models at some indices, (..., n), for all of them and for samples with replacement."""
    drawn = of(np.random.default_rng(seed).integers(0, n, (resamples, n)))
    drawn = drawn[np.isfinite(drawn)]  # a resample of one model over and over has no correlation
    low, high = np.quantile(drawn, [0.025, 0.975]) if len(drawn) else (np.nan, np.nan)
    return Correlation(float(of(np.arange(n))), float(low), float(high), n)


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
    """Rank correlations of r, d and w with MACs over models drawn without any regard to accuracy.

    The FLOPs window alone makes them correlate. A correlation on the frontier means something only beside this.

    Parameters
    ----------
    net_name
        A scalable network.
    k
        Models in each draw, at least 3.
    window, base, num_classes
        As for ``sample_scales`` and ``network``.
    draws
        How often k models are drawn.
    pool
        Random models that they are drawn from.
    seed
        Of the pool and of the draws.

    Returns
    -------
    dict of (draws,) arrays
        Spearman's rho under ``"r"``, ``"d"`` and ``"w"``.

    Raises
    ------
    ValueError
        ``k`` is below 3.
    """
    if k < 3:
        raise ValueError(f"k must be at least 3, got {k}")
    values, macs = _random_models(net_name, pool, window, seed, base, num_classes)
    rng = np.random.default_rng(seed)
    subsets = rng.permuted(np.tile(np.arange(pool), (draws, 1)), axis=1)[:, :k]
    return {name: _spearman(x[subsets], macs[subsets], -1) for name, x in values.items()}


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
    if drawn.ndim != 1 or not len(drawn) or not np.isfinite(drawn).all():
        raise ValueError(f"null must be one-dimensional, finite and not empty, got shape {drawn.shape}")
    if np.isnan(rho):
        return float("nan")
    tail = min(np.sum(drawn >= rho), np.sum(drawn <= rho))
    return float(min(1.0, 2 * (tail + 1) / (len(drawn) + 1)))


def _spearman(a: np.ndarray, b: np.ndarray, axis: int) -> np.ndarray:
    """Pearson's correlation of average ranks along ``axis``."""
    p, q = (rankdata(x, axis=axis) for x in (a, b))
    p, q = (x - x.mean(axis=axis, keepdims=True) for x in (p, q))
    with np.errstate(invalid="ignore", divide="ignore"):
        return (p * q).sum(axis=axis) / np.sqrt((p**2).sum(axis=axis) * (q**2).sum(axis=axis))
