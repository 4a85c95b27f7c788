"""The best of a random sample, and what correlates with cost there (paper, section 3.2 and Figure 3)."""

import warnings

import numpy as np
from numpy.typing import ArrayLike


def frontier(macs: ArrayLike, accuracy: ArrayLike, fraction: float = 0.2, seed: int = 0) -> np.ndarray:
    """The models that NSGA-III's survival selection keeps, for few MACs and high accuracy (paper, section 3.2).

    Fronts are kept whole while they fit; the last is thinned by its distance to evenly spread reference directions (Deb
    and Jain 2013).

    Parameters
    ----------
    macs, accuracy
        Of n models, (n,), finite; failed ones left out.
    fraction
        Share of the models to keep, above 0 and at most 1.
    seed
        Settles ties of the last front.

    Returns
    -------
    (k,) array of int
        Indices of the models kept, by growing MACs.
    """
    from pymoo.algorithms.moo.nsga3 import ReferenceDirectionSurvival
    from pymoo.core.population import Population
    from pymoo.core.problem import Problem
    from pymoo.util.ref_dirs import get_reference_directions

    cost, score = _objectives(macs, accuracy)
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


def pareto_front(macs: ArrayLike, accuracy: ArrayLike) -> np.ndarray:
    """Indices, by growing MACs, of the models that no other beats in both ``macs`` and ``accuracy``, both (n,).

    Few MACs and high accuracy are good; to beat is to be as good in both and better in one, so that models equal in
    both stay together. How many there are follows from the sample: no share can be asked for.
    """
    cost, score = _objectives(macs, accuracy)
    order = np.lexsort((-score, cost))
    best = np.maximum.accumulate(score[order])
    climbs = np.r_[True, best[1:] > best[:-1]]
    first = np.maximum.accumulate(np.where(climbs, np.arange(len(order)), 0))
    equal = (cost[order] == cost[order[first]]) & (score[order] == score[order[first]])
    return order[equal]


def _objectives(macs: ArrayLike, accuracy: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    cost, score = np.asarray(macs, dtype=float), np.asarray(accuracy, dtype=float)
    if cost.ndim != 1 or cost.shape != score.shape or not len(cost):
        raise ValueError(
            f"macs and accuracy must be one-dimensional and of one length, got {cost.shape}, {score.shape}"
        )
    if not (np.isfinite(cost).all() and np.isfinite(score).all()):
        raise ValueError("macs and accuracy must be finite; leave failed models out")
    return cost, score
