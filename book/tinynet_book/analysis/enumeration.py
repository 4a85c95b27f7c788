"""Enumerate all networks of a family with a given cost."""

import math
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pandas as pd

from tinynet_core.networks import Family, Head, family
from tinynet_core.networks.ghostnet import GhostNet
from tinynet_core.networks.spec import round_repeats
from tinynet_core.scaling.scale import Base
from tinynet_core.scaling.solve import short_decimal

Range = tuple[float, float]
STEP = 0.0001
"""Step between tried widths. Intervals of widths with the same channels are seldom narrower."""
COLUMNS = ["r", "r_low", "r_high", "d", "d_low", "d_high", "w", "w_low", "w_high"]


def enumerate_scales(
    name: str,
    macs: Range,
    params: Range | None = None,
    r: Range = (0.2, 3.0),
    d: Range = (0.2, 3.0),
    w: Range = (0.2, 3.0),
    head: Head = "fixed",
) -> pd.DataFrame:
    """Return every network of the family ``name`` with low <= MACs < high, and low <= parameters < high if given.

    The search covers every resolution in pixels and every block repeat, and widths in steps of 0.0001. Adjacent widths
    with the same channels are one network. The default ranges include the paper's random sample (section 4.2).

    One row per network: ``r``, ``d`` and ``w`` as short decimals, and the intervals ``r_low`` ... ``w_high`` of all
    multipliers that give this network; ``resolution`` in pixels, ``repeats`` as text, exact ``macs`` and ``params``.
    """
    net = family(name, head=head)
    inputs = np.array(list(_inputs(net.base, r)))
    tried = np.round(np.arange(math.ceil(w[0] / STEP - 1e-6), math.floor(w[1] / STEP + 1e-6) + 1) * STEP, 6)
    runs = _runs(net, d[1], np.column_stack([tried, tried]))  # the deepest network has all rows of the others
    parts = []
    for depth in _depths(name, d) if len(runs) else ():
        ends = _runs(net, depth[0], runs, params)
        widths = np.array([(short_decimal(*pair), *pair) for pair in ends.tolist()]).reshape(-1, 3)
        i, j = _inside(net, depth[0], inputs[:, 0], widths[:, 0], macs)
        cost = net.screen(inputs[i, 0], depth[0], widths[j, 0])
        columns = [*inputs[i, :3].T, *([x] * len(i) for x in depth[:3]), *widths[j].T]
        found = pd.DataFrame(dict(zip(COLUMNS, columns, strict=True)))
        found = found.assign(resolution=inputs[i, 3].astype(int), repeats=depth[3])
        parts.append(found.assign(macs=cost.macs, params=cost.params))
    if not parts:
        return pd.DataFrame(columns=[*COLUMNS, "resolution", "repeats", "macs", "params"])
    return pd.concat(parts, ignore_index=True).sort_values(["resolution", "d", "w"], ignore_index=True)


def _inputs(base: Base, r: Range) -> Iterator[tuple[float, float, float, int]]:
    """Yield a multiplier, the ends of its interval, and the resolution, for every whole number of pixels."""
    for pixels in range(base.pixels(r[0]), base.pixels(r[1]) + 1):
        low, high = max(r[0], pixels / base.resolution), min(r[1], (pixels + 1) / base.resolution)
        yield short_decimal(low, high), low, high, pixels


def _depths(name: str, d: Range) -> Iterator[tuple[float, float, float, str]]:
    """Yield a multiplier, the ends of its interval, and the block repeats, for every vector of block repeats."""
    own = base_repeats(name)
    steps = {(k + 0.5) / n for n in own for k in range(1, math.ceil(n * d[1]) + 1)}
    ends = [d[0], *sorted(x for x in steps if d[0] < x < d[1]), d[1]]
    for low, high in pairwise(ends):
        depth = short_decimal(low, high)
        yield depth, low, high, "-".join(str(round_repeats(n, depth)) for n in own)


def _runs(net: Family, depth: float, ends: np.ndarray, params: Range | None = None) -> np.ndarray:
    """Join the intervals of widths (n, 2) that give the same network, and keep those within ``params`` if given.

    More width never means fewer channels, so equal networks are next to each other.
    """
    cost = net.screen(1.0, depth, ends[:, 0])
    changes = (np.diff(cost.params) != 0) | (np.diff(cost.macs) != 0)
    first = np.flatnonzero(np.concatenate([[True] * min(1, len(ends)), changes]))
    last = np.append(first[1:] - 1, len(ends) - 1)[: len(first)]
    if params is not None:  # parameters do not depend on the resolution
        fits = (params[0] <= cost.params[first]) & (cost.params[first] < params[1])
        first, last = first[fits], last[fits]
    return np.column_stack([ends[first, 0], ends[last, 1]])


def _inside(net: Family, depth: float, r: np.ndarray, w: np.ndarray, macs: Range) -> tuple[np.ndarray, np.ndarray]:
    """Return all pairs of indices into ``r`` and ``w`` whose networks have low <= MACs < high.

    MACs grow with the width, so each resolution has one interval of widths. Bisection finds its ends.
    """

    def first_with(wanted: float) -> np.ndarray:
        low, high = np.zeros(len(r), dtype=int), np.full(len(r), len(w))
        while len(open_ := np.flatnonzero(low < high)):
            middle = (low[open_] + high[open_]) // 2
            reached = net.screen(r[open_], depth, w[middle]).macs >= wanted
            high[open_[reached]] = middle[reached]
            low[open_[~reached]] = middle[~reached] + 1
        return low

    low, high = first_with(macs[0]), first_with(macs[1])
    i = np.repeat(np.arange(len(r)), high - low)
    return i, np.concatenate([np.arange(a, b) for a, b in zip(low, high, strict=True)]).astype(int)


def base_repeats(name: str) -> tuple[int, ...]:
    """Return the block repeats of each stage of the scalable network ``name`` at depth 1."""
    net = family(name).at()
    if isinstance(net, GhostNet):
        return tuple(sum(run.times for run in stage) for stage in net.runs)
    return tuple(stage.repeats for stage in net.stages)  # type: ignore[attr-defined]
