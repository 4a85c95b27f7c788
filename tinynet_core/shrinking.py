"""The scale that brings a network to a budget: by the tiny formula, the giant formula, or one dimension alone."""

import math
import warnings
from collections.abc import Callable
from typing import Literal

import numpy as np

from tinynet_core.budget import Solution, UnreachableBudget, check_budget, solve
from tinynet_core.formula import TinyFormula
from tinynet_core.networks import SCALABLE, Head, network
from tinynet_core.scale import GIANT, Base, Scale, giant

__all__ = ["BudgetWarning", "Method", "UnreachableBudget", "shrink", "solve_width"]

Method = Literal["formula", "giant", "r", "d", "w"]
LARGEST, NARROWEST = 8.0, 1e-3
"""Multipliers searched; the smallest width and depth leave every stage at its minimum."""
SMALLEST_INPUT = 8
"""Pixels below which no input is tried."""


class BudgetWarning(UserWarning):
    """The nearest reachable network is more than 1% off the budget."""


def shrink(
    name: str,
    macs: float,
    method: Method = "formula",
    formula: TinyFormula | None = None,
    head: Head | None = None,
    base: Base | None = None,
    num_classes: int = 1000,
) -> Scale:
    """The scale at which the real MACs of network ``name`` come nearest to ``macs``.

    ``"formula"`` takes r and d from a fitted ``formula`` and solves w (paper, section 3.2); ``"giant"`` moves along
    EfficientNet's compound scaling; ``"r"``, ``"d"``, ``"w"`` change one dimension alone. Channels, blocks and pixels
    are whole numbers, so not every budget is reachable: a ``BudgetWarning`` says when the nearest is over 1% off.

    Raises ``UnreachableBudget`` when the budget is outside what the method can reach.
    """
    if name not in SCALABLE:
        raise ValueError(f"network must be a scalable one ({', '.join(SCALABLE)}), got {name!r}")
    scale_at, low, high = _path(name, macs, method, formula, base, num_classes)

    def cost(x: float) -> int:
        return network(name, scale_at(x), num_classes, head, base).complexity().macs

    try:
        solution = solve(cost, macs, low, high)
    except UnreachableBudget as error:
        raise UnreachableBudget(f"{name} shrunk by {method}: {error} (MACs)") from None
    scale = scale_at(solution.x)
    if abs(solution.error) > 0.01:
        warnings.warn(
            f"{name} shrunk by {method}: the nearest reachable network {scale} has {solution.cost:,} MACs, "
            f"{solution.error:+.1%} off the budget of {macs:,.0f}",
            BudgetWarning,
            stacklevel=2,
        )
    return scale


def solve_width(
    name: str,
    macs: float,
    r: float,
    d: float,
    head: Head | None = None,
    base: Base | None = None,
    num_classes: int = 1000,
) -> Solution:
    """The width at which ``name`` with ``r`` and ``d`` comes nearest to ``macs``, with its MACs and relative error."""

    def cost(w: float) -> int:
        return network(name, Scale(r, d, w), num_classes, head, base).complexity().macs

    return solve(cost, macs, NARROWEST, LARGEST)


def formula_scale(formula: TinyFormula, c: float) -> tuple[float, float]:
    """r and d of ``formula`` at fraction ``c``; ``UnreachableBudget`` where it predicts no network at all."""
    r, d = (float(x) for x in np.asarray(formula.predict([c]))[0])
    if min(r, d) <= 0:
        raise UnreachableBudget(f"the formula predicts r = {r:.3g}, d = {d:.3g} at c = {c:.3g}: not a network")
    return r, d


def _path(name, macs, method, formula, base, num_classes) -> tuple[Callable[[float], Scale], float, float]:
    """The curve of scales that a method moves along, as a function that costs more as x grows, and the ends of x."""
    if method == "formula":
        if formula is None:
            raise ValueError("method 'formula' needs formula=, a fitted TinyFormula")
        check_budget(macs)
        c0 = network(name, num_classes=num_classes, base=base).complexity().macs
        r, d = formula_scale(formula, macs / c0)
        return lambda w: Scale(r, d, w), NARROWEST, LARGEST
    smallest_r = SMALLEST_INPUT / (base or SCALABLE[name]).resolution
    paths: dict[str, tuple[Callable[[float], Scale], float, float]] = {
        "giant": (giant, math.log(smallest_r) / math.log(GIANT.r), math.log(LARGEST) / math.log(GIANT.r)),
        "r": (lambda r: Scale(r=r), smallest_r, LARGEST),
        "d": (lambda d: Scale(d=d), NARROWEST, LARGEST),
        "w": (lambda w: Scale(w=w), NARROWEST, LARGEST),
    }
    if method not in paths:
        raise ValueError(f"method must be one of formula, {', '.join(paths)}, got {method!r}")
    return paths[method]
