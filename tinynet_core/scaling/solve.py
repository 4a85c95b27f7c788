"""Meet a budget with a cost that changes in steps, because channels, blocks and pixels are whole numbers."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count, takewhile
from typing import NamedTuple

from tinynet_core.files import UserError
from tinynet_core.networks.family import AnyFamily, Family, family_of
from tinynet_core.scaling.scale import GIANT, POWER_DIGITS, Scale, giant, is_positive

LARGEST, NARROWEST, SMALLEST_INPUT = 8.0, 1e-3, 8
"""Largest and smallest multiplier searched (the smallest leaves all stages minimal), and fewest input pixels."""
PARTS = 64  # depths and widths of your own network are first tried at multiples of 1 / PARTS
NEAR = 0.01  # relative distance from the smallest or the largest cost at which a budget still counts as reachable
PRECISE, FINEST = 1e-9, 1e-4
"""Lengths at which the halving of an interval stops: absolute, and relative for a network of your own."""


class UnreachableBudget(ValueError):
    """The budget lies below the smallest or above the largest cost that the range allows."""


@dataclass(frozen=True, slots=True)
class Solution:
    """A multiplier ``x``, its ``cost``, and the relative ``error`` of the cost against the budget."""

    x: float
    cost: int
    error: float


class Curve(NamedTuple):
    """A curve of scales ``at(x)`` whose cost grows with x, from ``low`` to ``high``. The x ``neutral`` changes nothing.

    Each function in ``places`` returns the x of an input of i pixels, or of a depth or width of i / ``PARTS``.
    """

    at: Callable[[float], Scale]
    low: float
    high: float
    neutral: float
    places: tuple[Callable[[int], float], ...]


def curve_of(method: str, resolution: int) -> Curve:
    """Return the curve of the giant formula or of one dimension, for an input of ``resolution`` pixels at r = 1."""
    smallest_r = SMALLEST_INPUT / resolution
    if method == "giant":
        above = 1 + 10.0 ** (1 - POWER_DIGITS)  # outweighs the rounding of powers in ``giant``
        r, w = math.log(GIANT.r), math.log(GIANT.w)
        places = lambda i: math.log((i + 0.5) / resolution) / r, lambda i: math.log(above * i / PARTS) / w
        return Curve(giant, math.log(above * smallest_r) / r, math.log(LARGEST) / r, 0.0, places)
    if method == "r":
        return Curve(lambda r: Scale(r=r), smallest_r, LARGEST, 1.0, (lambda pixels: pixels / resolution,))
    return Curve(lambda x: Scale(**{method: x}), NARROWEST, LARGEST, 1.0, (lambda parts: parts / PARTS,))


def solve_width(net: str | AnyFamily, macs: float, r: float, d: float) -> Solution:
    """Return the width at which ``net`` with multipliers ``r`` and ``d`` comes nearest to a budget.

    ``net`` is a name or a family; ``macs`` is the budget in multiply-adds for one image. Raises ``UnreachableBudget``
    if the budget is more than 1% outside the costs of widths from 0.001 to 8.
    """
    family = family_of(net)
    return solve_path(family, "macs", macs, curve_of("w", family.resolution)._replace(at=lambda w: Scale(r, d, w)))


def solve_path(family: AnyFamily, budget: str, wanted: float, along: Curve) -> Solution:
    """Return the point ``x`` of ``along`` at which ``family`` comes nearest to ``wanted``, in the unit of ``budget``.

    A network of your own may not exist at every scale, and its cost takes longer: see ``solve_with_gaps``.
    """
    check_budget(wanted)

    def cost(x: float) -> int:
        return getattr(family.cost(along.at(x)), budget)

    if isinstance(family, Family):
        return solve(cost, wanted, along)
    family.cost(Scale())  # raises with the reason if even the whole network cannot be built
    return solve_with_gaps(cost, wanted, along)


def solve(cost: Callable[[float], int], budget: float, along: Curve) -> Solution:
    """Return the x of ``along`` whose ``cost`` is nearest to ``budget``. The cost must not decrease with x.

    The cost is a step function, so a whole interval of x has the nearest cost. The answer is ``neutral`` if inside this
    interval, else the shortest decimal near the middle, which keeps its cost when printed and typed in again. Raises
    ``UnreachableBudget`` if the budget is more than 1% below the smallest or above the largest cost.
    """
    low, high = along.low, along.high
    known = {low: cost(low), high: cost(high)}
    check_reachable(budget, known[low], known[high])

    def at(x: float) -> int:
        if x not in known:
            known[x] = cost(x)
        return known[x]

    def jump(past: Callable[[int], bool]) -> tuple[float, float]:
        """Return the last x found at which the cost is not ``past``, and the first x at which the cost is."""
        before = max((x for x, c in known.items() if not past(c)), default=low)
        after = min((x for x, c in known.items() if past(c)), default=high)
        while after - before > PRECISE:
            middle = (before + after) / 2
            if past(at(middle)):
                after = middle
            else:
                before = middle
        return before, after

    below, above = jump(lambda c: c > budget)
    nearest = min(at(below), at(above), key=lambda c: abs(c - budget))
    left, right = jump(lambda c: c >= nearest)[1], jump(lambda c: c > nearest)[0]
    x = along.neutral if left <= along.neutral <= right else short_decimal(left, right)
    return Solution(x, nearest, (nearest - budget) / budget)


def check_budget(budget: float) -> None:
    """Raise ``ValueError`` unless ``budget`` is a finite number above zero."""
    if not is_positive(budget):
        raise ValueError(f"budget must be a finite number above 0, got {budget!r}")


def check_reachable(budget: float, least: float, most: float) -> None:
    """Raise ``UnreachableBudget`` if ``budget`` is more than 1% below ``least`` or above ``most``."""
    below, above = budget < (1 - NEAR) * least, budget > (1 + NEAR) * most
    if (below or above) and least == most:
        raise UnreachableBudget(f"every network that was tried costs {least:,}: the method does not change the cost")
    if below:
        raise UnreachableBudget(f"budget {short_amount(budget)} is below the smallest reachable cost {least:,}")
    if above:
        raise UnreachableBudget(f"budget {short_amount(budget)} is above the largest reachable cost {most:,}")


def short_amount(x: float) -> str:
    """Return a cost or a budget as a text of few digits."""
    return f"{x:,.0f}" if x >= 1000 else f"{x:.3g}"


def short_decimal(low: float, high: float) -> float:
    """Return the decimal with the fewest digits between ``low`` and ``high``, nearest to the middle."""
    middle = (low + high) / 2
    return next((x for digits in range(1, 12) if low < (x := round(middle, digits)) < high), middle)


def solve_with_gaps(cost: Callable[[float], int], budget: float, along: Curve) -> Solution:
    """Return the x whose ``cost`` is nearest to ``budget``. ``cost`` raises ``UserError`` where there is no network.

    The search first tries the grid points from ``places``, coarsest first, between a network that costs less and one
    that costs more. Then it halves the rest of the interval. Only a budget above the whole network's cost builds larger
    networks, and hardly any that are larger than needed. Raises ``UnreachableBudget`` as ``solve`` does, and also if
    the cost falls from the smallest to the largest x, or if no network can be built.
    """
    known: dict[float, int | None] = {}

    def at(x: float) -> int | None:
        if x not in known:
            try:
                known[x] = cost(x)
            except UserError:
                known[x] = None
        return known[x]

    def narrowed(x: float, found: int) -> tuple[float, float]:
        return (x, high) if found <= budget else (low, x)

    low, high = along.low, along.neutral
    if (whole := at(high)) is not None and budget > whole:
        low, high = high, along.high
        for halvings in (6, 5, 4, 3, 2, 1):  # x doubles its distance, so that no huge network is built
            x = low + (along.high - low) / 2**halvings
            if (found := at(x)) is not None and found > budget:
                high = x
                break
    while new := next(((x, c) for x in _places(along, low, high) if x not in known and (c := at(x))), None):
        low, high = narrowed(*new)
    while high - low > FINEST * max(abs(low), abs(high)):
        middle = (low + high) / 2
        if (found := at(middle)) is None:
            break
        low, high = narrowed(middle, found)
    costs = {x: c for x, c in known.items() if c is not None}
    if not costs:
        raise UnreachableBudget("no network can be built at any of the scales that were tried")
    first, last = costs[min(costs)], costs[max(costs)]
    if first > last:
        raise UnreachableBudget(f"the cost falls from {first:,} to {last:,} over the range, where it should grow")
    check_reachable(budget, min(costs.values()), max(costs.values()))
    x = min(costs, key=lambda x: (abs(costs[x] - budget), x != along.neutral, len(repr(x))))
    return Solution(x, costs[x], (costs[x] - budget) / budget)


def _places(along: Curve, low: float, high: float) -> list[float]:
    """Return grid points in [low, high], coarsest first (highest power of two), then from the middle outwards."""
    inside: list[tuple[int, float]] = []
    for place in along.places:
        up_to_high = takewhile(lambda at: at[1] <= high, ((i, place(i)) for i in count(1)))
        inside += [(-(i & -i), x) for i, x in up_to_high if x >= low]
    return [x for _, x in sorted(inside, key=lambda at: (at[0], abs(at[1] - (low + high) / 2)))]
