"""Meeting a budget with a cost that moves in steps, because channels, blocks and pixels are whole numbers."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Real


@dataclass(frozen=True, slots=True)
class Solution:
    """A multiplier ``x``, the ``cost`` it has, and the relative distance of that cost from the budget."""

    x: float
    cost: int
    error: float


class UnreachableBudget(ValueError):
    """The budget lies below the smallest or above the largest cost that the range allows."""


def solve(cost: Callable[[float], int], budget: float, low: float, high: float, tolerance: float = 0.01) -> Solution:
    """The ``x`` in [``low``, ``high``] whose ``cost`` is nearest to ``budget``.

    ``cost`` must not decrease with x. It is a step function, so a whole interval of x has the nearest cost; the answer
    is the shortest decimal near the middle of it, which keeps its cost when printed and typed in again.

    Raises ``UnreachableBudget`` when the budget is more than ``tolerance`` outside [cost(low), cost(high)].
    """
    check_budget(budget)
    least, most = cost(low), cost(high)
    if budget < least * (1 - tolerance):
        raise UnreachableBudget(f"budget {budget:,.0f} is below the smallest reachable cost {least:,}")
    if budget > most * (1 + tolerance):
        raise UnreachableBudget(f"budget {budget:,.0f} is above the largest reachable cost {most:,}")

    below, above = _jump(lambda x: cost(x) > budget, low, high)
    nearest = min(cost(below), cost(above), key=lambda c: abs(c - budget))
    left = _jump(lambda x: cost(x) >= nearest, low, high)[1]
    right = _jump(lambda x: cost(x) > nearest, low, high)[0]
    x = _short_decimal(left, right)
    return Solution(x, nearest, (nearest - budget) / budget)


def check_budget(budget: float) -> None:
    """Raise ``ValueError`` unless ``budget`` is a finite number above zero."""
    real = isinstance(budget, Real) and not isinstance(budget, bool)
    if not (real and math.isfinite(budget) and budget > 0):
        raise ValueError(f"budget must be a finite number above 0, got {budget!r}")


def _jump(past: Callable[[float], bool], low: float, high: float) -> tuple[float, float]:
    """The last point before and the first point after a monotone condition turns true."""
    if past(low):
        return low, low
    if not past(high):
        return high, high
    while high - low > 1e-9:
        middle = (low + high) / 2
        if past(middle):
            high = middle
        else:
            low = middle
    return low, high


def _short_decimal(left: float, right: float) -> float:
    middle = (left + right) / 2
    for digits in range(1, 12):
        x = round(middle, digits)
        if left <= x <= right:
            return x
    return middle
