"""Draw random candidates as the paper does, and select the best of them (paper, section 3.2 and Figure 3)."""

import warnings
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike

from tinynet_core.networks.family import CHUNK, AnyFamily, family_of
from tinynet_core.scaling.scale import Scale
from tinynet_core.scaling.solve import UnreachableBudget, solve_width

RANGE = (0.35, 2.8)  # the paper samples r, d and w from this range (section 4.2)


def sample_scales(
    net: str | AnyFamily, n: int, window: tuple[float, float] = (0.03, 1.05), seed: int = 0
) -> list[Scale]:
    """Draw ``n`` random scales of ``net``, with r, d and w uniform on 0.35 ... 2.8 (paper, sections 3.2 and 4.2).

    ``window`` holds the smallest and the largest allowed MACs, as fractions of the baseline's. ``net`` is the name of a
    scalable network, or a family. ``seed`` fixes the sample; a sample of k is the first k of any larger sample. Raises
    ``ValueError`` if too few of 2,000 n draws fall into the window.
    """
    if n < 1:
        raise ValueError(f"n must be at least 1, got {n}")
    low, high = window
    if not 0 < low < high:
        raise ValueError(f"window must satisfy 0 < low < high, got {window}")
    family = family_of(net)
    c0 = family.cost(Scale()).macs
    rng, most, block = np.random.default_rng(seed), 2000 * n, min(20 * n, CHUNK)
    scales: list[Scale] = []
    for start in range(0, most, block):
        drawn = rng.uniform(*RANGE, (min(block, most - start), 3))
        macs = family.screen(*drawn.T).macs
        inside = (low * c0 <= macs) & (macs <= high * c0)
        scales += [Scale(*x) for x in drawn[inside].tolist()]
        if len(scales) >= n:
            return scales[:n]
    raise ValueError(f"window {window} accepts too few scales of {family.name}: {len(scales)} of {n} found")


def sample_scales_at(net: str | AnyFamily, n: int, c: float, tolerance: float = 0.03, seed: int = 0) -> list[Scale]:
    """Draw ``n`` random scales at one cost (paper, section 3.1); ``net`` and ``seed`` are as for ``sample_scales``.

    ``c`` is the cost in MACs as a fraction of the baseline's, and ``tolerance`` the largest relative distance from
    ``c``. r and d are uniform on 0.35 ... 2.8; w is solved. With w outside this range, r and d are drawn again. The
    paper does not say which widths it allowed. Raises ``ValueError`` if too few of 2,000 n draws meet the cost.
    """
    return [*_at(family_of(net), n, c, tolerance, seed)]


@lru_cache(maxsize=32)
def _at(family: AnyFamily, n: int, c: float, tolerance: float, seed: int) -> tuple[Scale, ...]:
    c0 = family.cost(Scale()).macs
    rng = np.random.default_rng(seed)
    scales: list[Scale] = []
    for _ in range(2000 * n):
        r, d = (float(x) for x in rng.uniform(*RANGE, 2))
        try:
            width = solve_width(family, c * c0, r, d)
        except UnreachableBudget:
            continue
        if abs(width.error) <= tolerance and RANGE[0] <= width.x <= RANGE[1]:
            scales.append(Scale(r, d, width.x))
            if len(scales) == n:
                return tuple(scales)
    raise ValueError(f"c = {c:g} accepts too few scales of {family.name}: {len(scales)} of {n} found")


def frontier(macs: ArrayLike, accuracy: ArrayLike, fraction: float = 0.2, seed: int = 0) -> np.ndarray:
    """Return the indices, by growing MACs, of the models that NSGA-III's survival selection keeps (paper, section 3.2).

    ``macs`` and ``accuracy`` of the n models are (n,) and finite; leave failed models out. Few MACs and high accuracy
    are good. ``fraction`` is the share to keep, above 0 and at most 1. Fronts are kept whole while they fit. The last
    front is thinned by distance to evenly spread reference directions (Deb and Jain 2013); ``seed`` decides ties.
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
    """Return the indices, by growing MACs, of the models that no other model beats. ``macs`` and ``accuracy`` are (n,).

    Few MACs and high accuracy are good. A model beats another if it is as good in both and better in one, so models
    equal in both stay together. The sample alone decides how many models are on the front.
    """
    from pymoo.util.nds.non_dominated_sorting import NonDominatedSorting

    cost, score = _objectives(macs, accuracy)
    front = np.sort(NonDominatedSorting().do(np.column_stack([cost, -score]), only_non_dominated_front=True))
    return front[np.argsort(cost[front], kind="stable")]


def _objectives(macs: ArrayLike, accuracy: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    cost, score = np.asarray(macs, dtype=float), np.asarray(accuracy, dtype=float)
    if cost.ndim != 1 or cost.shape != score.shape or not len(cost):
        shapes = f"{cost.shape}, {score.shape}"
        raise ValueError(f"macs and accuracy must be one-dimensional and of one length, got {shapes}")
    if not (np.isfinite(cost).all() and np.isfinite(score).all()):
        raise ValueError("macs and accuracy must be finite; leave failed models out")
    return cost, score
