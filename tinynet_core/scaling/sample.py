"""Random candidates: scales drawn as the paper draws them."""

from functools import lru_cache

import numpy as np

from tinynet_core.networks.family import CHUNK, AnyFamily, family_of
from tinynet_core.scaling.scale import Scale
from tinynet_core.scaling.solve import UnreachableBudget, solve_width

RANGE = (0.35, 2.8)
"""The paper samples r, d and w from this range (section 4.2)."""


def sample_scales(
    net: str | AnyFamily, n: int, window: tuple[float, float] = (0.03, 1.05), seed: int = 0
) -> list[Scale]:
    """Random scales within a window of cost, r, d and w uniform on 0.35 ... 2.8 (paper, sections 3.2 and 4.2).

    The first k of a larger sample are the sample of k.

    Raises ``ValueError`` when too few of 2,000 n draws fall into the window.

    Parameters
    ----------
    net
        The name of a scalable network, or a family.
    n
        How many, at least 1.
    window
        Smallest and largest MACs as fractions of the baseline's.
    seed
        Of the sample.

    Returns
    -------
    list of Scale
        ``n`` of them, in the order drawn.
    """
    if n < 1:
        raise ValueError(f"n must be at least 1, got {n}")
    low, high = window
    if not 0 < low < high:
        raise ValueError(f"window must satisfy 0 < low < high, got {window}")
    return [*_within(family_of(net), n, (low, high), seed)]


@lru_cache(maxsize=32)
def _within(family: AnyFamily, n: int, window: tuple[float, float], seed: int) -> tuple[Scale, ...]:
    c0 = family.cost(Scale()).macs
    rng, most, block = np.random.default_rng(seed), 2000 * n, min(20 * n, CHUNK)
    scales: list[Scale] = []
    for start in range(0, most, block):
        drawn = rng.uniform(*RANGE, (min(block, most - start), 3))
        r, d, w = drawn.T
        macs = family.screen(r, d, w).macs
        inside = (window[0] * c0 <= macs) & (macs <= window[1] * c0)
        scales += [Scale(*x) for x in drawn[inside].tolist()]
        if len(scales) >= n:
            return tuple(scales[:n])
    raise ValueError(f"window {window} accepts too few scales of {family.name}: {len(scales)} of {n} found")


def sample_scales_at(net: str | AnyFamily, n: int, c: float, tolerance: float = 0.03, seed: int = 0) -> list[Scale]:
    """Random scales at one cost (paper, section 3.1).

    r and d are uniform on 0.35 ... 2.8 and the width is solved; a width outside that range is drawn again. The paper
    does not say which widths it allowed.

    Raises ``ValueError`` when too few of 2,000 n draws meet the cost.

    Parameters
    ----------
    net, n, seed
        As for ``sample_scales``.
    c
        MACs as a fraction of the baseline's.
    tolerance
        Largest relative distance from that cost.

    Returns
    -------
    list of Scale
        ``n`` of them, in the order drawn.
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
