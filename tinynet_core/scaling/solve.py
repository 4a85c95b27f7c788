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


def solve(
    cost: Callable[[float], int],
    budget: float,
    low: float,
    high: float,
    tolerance: float = 0.01,
    precision: float = 1e-9,
    neutral: float | None = None,
) -> Solution:
    """The ``x`` in [``low``, ``high``] whose ``cost`` is nearest to ``budget``.

    ``cost`` must not decrease with x, or the nearest may be missed. It is a step function, so a whole interval of x has
    the nearest cost; the answer is ``neutral`` where it lies inside, and else the shortest decimal near the middle,
    which keeps its cost when printed and typed in again.

    ``precision`` is the width in x to which the ends of that interval are found; a costly ``cost`` is worth less of it.

    Raises ``UnreachableBudget`` when the budget is more than ``tolerance`` outside [cost(low), cost(high)], and when
    the cost falls from one end to the other.
    """
    check_budget(budget)
    known = {low: cost(low), high: cost(high)}
    least, most = known[low], known[high]
    if least > most:
        raise UnreachableBudget(f"the cost falls from {least:,} to {most:,} over the range, where it should grow")
    if budget < least * (1 - tolerance):
        raise UnreachableBudget(
            f"budget {budget:,.6g} is below the smallest reachable cost {least:,} (the largest is {most:,})"
        )
    if budget > most * (1 + tolerance):
        raise UnreachableBudget(
            f"budget {budget:,.6g} is above the largest reachable cost {most:,} (the smallest is {least:,})"
        )

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


def short_decimal(low: float, high: float) -> float:
    """The decimal of fewest digits inside ``low`` ... ``high``, the nearest to the middle of those."""
    middle = (low + high) / 2
    for digits in range(1, 12):
        x = round(middle, digits)
        if low < x < high:
            return x
    return middle
