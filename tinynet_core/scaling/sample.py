"""Random candidates: scales drawn as the paper draws them."""

from functools import lru_cache

import numpy as np

from tinynet_core.networks import network
from tinynet_core.scaling.scale import Base, Scale
from tinynet_core.scaling.screening import CHUNK, screen
from tinynet_core.scaling.shrink import UnreachableBudget, solve_width

RANGE = (0.35, 2.8)
"""The paper samples r, d and w from this range (section 4.2)."""


def sample_scales(
    net_name: str,
    n: int,
    window: tuple[float, float] = (0.03, 1.05),
    seed: int = 0,
    base: Base | None = None,
    num_classes: int = 1000,
) -> list[Scale]:
    """Random scales within a window of cost, r, d and w uniform on 0.35 ... 2.8 (paper, sections 3.2 and 4.2).

    The first k of a larger sample are the sample of k.

    Parameters
    ----------
    net_name
        A scalable network.
    n
        How many, at least 1.
    window
        Smallest and largest MACs as fractions of the baseline's.
    seed
        Of the sample.
    base, num_classes
        As for ``network``.

    Returns
    -------
    list of Scale
        ``n`` of them, in the order drawn.

    Raises
    ------
    ValueError
        ``n`` or ``window`` makes no sense, or too few of 2,000 n draws fall into the window.
    """
    if n < 1:
        raise ValueError(f"n must be at least 1, got {n}")
    low, high = window
    if not 0 < low < high:
        raise ValueError(f"window must satisfy 0 < low < high, got {window}")
    return [*_within(net_name, n, (low, high), seed, base, num_classes)]


@lru_cache(maxsize=32)
def _within(net_name, n, window, seed, base, num_classes) -> tuple[Scale, ...]:
    c0 = network(net_name, num_classes=num_classes, base=base).complexity().macs
    rng, most, block = np.random.default_rng(seed), 2000 * n, min(20 * n, CHUNK)
    scales: list[Scale] = []
    for start in range(0, most, block):
        drawn = rng.uniform(*RANGE, (min(block, most - start), 3))
        r, d, w = drawn.T
        macs = screen(net_name, r, d, w, num_classes, base=base).macs
        inside = (window[0] * c0 <= macs) & (macs <= window[1] * c0)
        scales += [Scale(*x) for x in drawn[inside].tolist()]
        if len(scales) >= n:
            return tuple(scales[:n])
    raise ValueError(f"window {window} accepts too few scales of {net_name}: {len(scales)} of {n} found")


def sample_scales_at(
    net_name: str,
    n: int,
    c: float,
    tolerance: float = 0.03,
    seed: int = 0,
    base: Base | None = None,
    num_classes: int = 1000,
) -> list[Scale]:
    """Random scales at one cost (paper, section 3.1).

    r and d are uniform on 0.35 ... 2.8 and the width is solved; a width outside that range is drawn again. The paper
    does not say which widths it allowed.

    Parameters
    ----------
    net_name
        A scalable network.
    n
        How many.
    c
        MACs as a fraction of the baseline's.
    tolerance
        Largest relative distance from that cost.
    seed
        Of the sample.
    base, num_classes
        As for ``network``.

    Returns
    -------
    list of Scale
        ``n`` of them, in the order drawn.

    Raises
    ------
    ValueError
        Too few of 2,000 n draws meet the cost.
    """
    return [*_at(net_name, n, c, tolerance, seed, base, num_classes)]


@lru_cache(maxsize=32)
def _at(net_name, n, c, tolerance, seed, base, num_classes) -> tuple[Scale, ...]:
    c0 = network(net_name, num_classes=num_classes, base=base).complexity().macs
    rng = np.random.default_rng(seed)
    scales: list[Scale] = []
    for _ in range(2000 * n):
        r, d = (float(x) for x in rng.uniform(*RANGE, 2))
        try:
            width = solve_width(net_name, c * c0, r, d, base=base, num_classes=num_classes)
        except UnreachableBudget:
            continue
        if abs(width.error) <= tolerance and RANGE[0] <= width.x <= RANGE[1]:
            scales.append(Scale(r, d, width.x))
            if len(scales) == n:
                return tuple(scales)
    raise ValueError(f"c = {c:g} accepts too few scales of {net_name}: {len(scales)} of {n} found")
