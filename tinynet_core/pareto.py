"""The best of a random sample, and what correlates with cost there (paper, section 3.2 and Figure 3)."""

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import rankdata

from tinynet_core.networks import network
from tinynet_core.scale import PAPER_BASE, Base
from tinynet_core.sweeps import sample_scales


def frontier(macs: ArrayLike, accuracy: ArrayLike, fraction: float = 0.2, seed: int = 0) -> np.ndarray:
    """Indices, by growing MACs, of the ``fraction`` of models kept by NSGA-III's survival selection.

    Objectives: few ``macs``, high ``accuracy``, both (n,). Fronts are kept whole while they fit; the last is thinned by
    its distance to evenly spread reference directions (Deb and Jain 2013), where ``seed`` settles ties.
    """
    from pymoo.algorithms.moo.nsga3 import ReferenceDirectionSurvival
    from pymoo.core.population import Population
    from pymoo.core.problem import Problem
    from pymoo.util.ref_dirs import get_reference_directions

    cost, score = np.asarray(macs, dtype=float), np.asarray(accuracy, dtype=float)
    if cost.ndim != 1 or cost.shape != score.shape or not len(cost):
        raise ValueError(
            f"macs and accuracy must be one-dimensional and of one length, got {cost.shape}, {score.shape}"
        )
    if not (np.isfinite(cost).all() and np.isfinite(score).all()):
        raise ValueError("macs and accuracy must be finite; leave failed models out")
    if not 0 < fraction <= 1:
        raise ValueError(f"fraction must lie in (0, 1], got {fraction!r}")
    keep = max(1, round(fraction * len(cost)))
    if keep == len(cost):
        return np.argsort(cost, kind="stable")
    objectives = np.column_stack([cost, -score])
    population = Population.new("X", np.arange(len(cost))[:, None], "F", objectives)
    directions = get_reference_directions("das-dennis", 2, n_partitions=max(1, keep - 1))
    survival = ReferenceDirectionSurvival(directions)
    with warnings.catch_warnings():  # pymoo silences all warnings of the process
        survivors = survival.do(
            Problem(n_var=1, n_obj=2), population, n_survive=keep, random_state=np.random.default_rng(seed)
        )
    chosen = np.asarray(survivors.get("X"), dtype=int).ravel()
    return chosen[np.argsort(cost[chosen], kind="stable")]


@dataclass(frozen=True, slots=True)
class Correlation:
    """Spearman's rank correlation with its 95% bootstrap interval; NaN where a variable does not vary."""

    rho: float
    low: float
    high: float
    n: int


def rank_correlation(x: ArrayLike, macs: ArrayLike, resamples: int = 5000, seed: int = 0) -> Correlation:
    """Spearman's rho of ``x`` with ``macs``, both (n,), with the percentile bootstrap interval over models."""
    a, b = np.asarray(x, dtype=float), np.asarray(macs, dtype=float)
    if a.ndim != 1 or a.shape != b.shape or len(a) < 3:
        raise ValueError(f"x and macs must be one-dimensional, of one length, at least 3, got {a.shape}, {b.shape}")
    rho = float(_spearman(a, b, -1))
    picks = np.random.default_rng(seed).integers(0, len(a), (resamples, len(a)))
    drawn = _spearman(a[picks], b[picks], -1)
    drawn = drawn[np.isfinite(drawn)]  # a resample of one model over and over has no correlation
    low, high = np.quantile(drawn, [0.025, 0.975]) if len(drawn) else (np.nan, np.nan)
    return Correlation(rho, float(low), float(high), len(a))


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
    """Spearman's rho of r, d and w with MACs over ``k`` models drawn without any regard to accuracy, ``draws`` times.

    The FLOPs window alone makes them correlate. A correlation on the frontier means something only beside this.
    """
    if k < 3:
        raise ValueError(f"k must be at least 3, got {k}")
    scales = sample_scales(net_name, pool, window, seed, base, num_classes)
    macs = np.array([network(net_name, s, num_classes, base=base).complexity().macs for s in scales], dtype=float)
    rng = np.random.default_rng(seed)
    subsets = rng.permuted(np.tile(np.arange(pool), (draws, 1)), axis=1)[:, :k]
    values = {name: np.array([getattr(s, name) for s in scales]) for name in ("r", "d", "w")}
    return {name: _spearman(x[subsets], macs[subsets], -1) for name, x in values.items()}


def _spearman(a: np.ndarray, b: np.ndarray, axis: int) -> np.ndarray:
    """Pearson's correlation of average ranks along ``axis``."""
    p, q = (rankdata(x, axis=axis) for x in (a, b))
    p, q = (x - x.mean(axis=axis, keepdims=True) for x in (p, q))
    with np.errstate(invalid="ignore", divide="ignore"):
        return (p * q).sum(axis=axis) / np.sqrt((p**2).sum(axis=axis) * (q**2).sum(axis=axis))
