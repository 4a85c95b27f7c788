"""Meeting a budget with a cost that moves in steps, because channels, blocks and pixels are whole numbers."""

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Real
from typing import Literal, NamedTuple

from tinynet_core.files import UserError
from tinynet_core.networks.family import AnyFamily, Family, family_of
from tinynet_core.scaling.scale import GIANT, POWER_DIGITS, Scale, giant

Count = Literal["macs", "params", "peak_activations"]
LARGEST, NARROWEST = 8.0, 1e-3
"""Multipliers searched; the smallest width and depth leave every stage at its minimum."""
SMALLEST_INPUT = 8
"""Pixels below which no input is tried."""


class UnreachableBudget(ValueError):
    """The budget lies below the smallest or above the largest cost that the range allows."""


@dataclass(frozen=True, slots=True)
class Solution:
    """A multiplier ``x``, the ``cost`` it has, and the relative ``error`` of that cost against the budget."""

    x: float
    cost: int
    error: float


class Path(NamedTuple):
    """A curve of scales ``at(x)`` whose cost grows with x from ``low`` to ``high``; ``neutral`` changes nothing."""

    at: Callable[[float], Scale]
    low: float
    high: float
    neutral: float


def path(method: Literal["giant", "r", "d", "w"], resolution: int) -> Path:
    """The giant formula, or one dimension alone, for a network whose input has ``resolution`` pixels at r = 1."""
    smallest_r = SMALLEST_INPUT / resolution
    if method == "giant":
        smallest_phi = math.log(smallest_r * (1 + 10.0 ** (1 - POWER_DIGITS))) / math.log(GIANT.r)
        return Path(giant, smallest_phi, math.log(LARGEST) / math.log(GIANT.r), 0.0)
    low = smallest_r if method == "r" else NARROWEST
    return Path(lambda x: Scale(**{method: x}), low, LARGEST, 1.0)


def solve_width(net: str | AnyFamily, macs: float, r: float, d: float) -> Solution:
    """The width at which a network with given resolution and depth comes nearest to a budget of multiply-adds.

    Raises ``UnreachableBudget`` when the budget is more than 1% outside what widths between 0.001 and 8 cost.

    Parameters
    ----------
    net
        The name of a scalable network, or a family.
    macs
        Multiply-adds for one image.
    r, d
        Multipliers of resolution and depth.

    Returns
    -------
    Solution
        The multiplier of width as ``x``, the MACs as ``cost``, and their relative ``error``.
    """
    return solve_path(family_of(net), "macs", macs, Path(lambda w: Scale(r, d, w), NARROWEST, LARGEST, 1.0))


def solve_path(family: AnyFamily, budget: Count, wanted: float, along: Path) -> Solution:
    """The point ``x`` of ``along`` at which ``family`` comes nearest to ``wanted``.

    The cost of a network of your own takes longer and is solved less precisely; its path ends where it can be built.
    """
    low, high, own = along.low, along.high, not isinstance(family, Family)
    if own:
        low, high = _inward(family, along, low), _inward(family, along, high)

    def cost(x: float) -> int:
        return getattr(family.cost(along.at(x)), budget)

    if (least := cost(low)) == cost(high):
        raise UnreachableBudget(f"the method does not change it: the smallest reachable cost is the largest, {least:,}")
    return solve(cost, wanted, low, high, precision=1e-4 if own else 1e-9, neutral=along.neutral)


def _inward(family: AnyFamily, along: Path, end: float) -> float:
    """The outermost of ten points from ``end`` towards the neutral one at which ``family`` can be built."""
    neutral = along.neutral
    for k in range(10):
        x = neutral * (end / neutral) ** (0.7**k) if neutral else end * 0.7**k
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                family.cost(along.at(x))
            return x
        except UserError:
            continue
    return neutral


def solve(
    cost: Callable[[float], int],
    budget: float,
    low: float,
    high: float,
    precision: float = 1e-9,
    neutral: float | None = None,
) -> Solution:
    """The ``x`` in [``low``, ``high``] whose ``cost`` is nearest to ``budget``.

    ``cost`` must not decrease with x, or the nearest may be missed. It is a step function, so a whole interval of x has
    the nearest cost; the answer is ``neutral`` where it lies inside, and else the shortest decimal near the middle,
    which keeps its cost when printed and typed in again.

    ``precision`` is the width in x to which the ends of that interval are found; take a coarser one for a slow cost.

    Raises ``UnreachableBudget`` when the budget is more than 1% outside [cost(low), cost(high)], and when the cost
    falls from one end to the other.
    """
    check_budget(budget)
    known = {low: cost(low), high: cost(high)}
    least, most = known[low], known[high]
    if least > most:
        raise UnreachableBudget(f"the cost falls from {least:,} to {most:,} over the range, where it should grow")
    check_reachable(budget, least, most)

    def at(x: float) -> int:
        if x not in known:
            known[x] = cost(x)
        return known[x]

    def jump(past: Callable[[int], bool]) -> tuple[float, float]:
        """The last point before and the first point after a condition on the cost turns true."""
        before = max((x for x, c in known.items() if not past(c)), default=low)
        after = min((x for x, c in known.items() if past(c)), default=high)
        while after - before > precision:
            middle = (before + after) / 2
            if past(at(middle)):
                after = middle
            else:
                before = middle
        return before, after

    below, above = jump(lambda c: c > budget)
    nearest = min(at(below), at(above), key=lambda c: abs(c - budget))
    left, right = jump(lambda c: c >= nearest)[1], jump(lambda c: c > nearest)[0]
    x = neutral if neutral is not None and left <= neutral <= right else short_decimal(left, right)
    if at(x) != nearest:  # the cost fell somewhere on the way
        x = next(x for x, c in known.items() if c == nearest)
    return Solution(x, nearest, (nearest - budget) / budget)


def check_budget(budget: float) -> None:
    """Raise ``ValueError`` unless ``budget`` is a finite number above zero."""
    real = isinstance(budget, Real) and not isinstance(budget, bool)
    if not (real and math.isfinite(budget) and budget > 0):
        raise ValueError(f"budget must be a finite number above 0, got {budget!r}")


def check_reachable(budget: float, least: int, most: int) -> None:
    """Raise ``UnreachableBudget`` when ``budget`` is more than 1% outside ``least`` ... ``most``."""
    if budget < 0.99 * least:
        raise UnreachableBudget(
            f"budget {budget:,.6g} is below the smallest reachable cost {least:,} (largest {most:,})"
        )
    if budget > 1.01 * most:
        raise UnreachableBudget(
            f"budget {budget:,.6g} is above the largest reachable cost {most:,} (smallest {least:,})"
        )


def short_decimal(low: float, high: float) -> float:
    """The decimal of fewest digits inside ``low`` ... ``high``, the nearest to the middle of those."""
    middle = (low + high) / 2
    for digits in range(1, 12):
        x = round(middle, digits)
        if low < x < high:
            return x
    return middle
