"""The scale that brings a network to a budget: by the tiny formula, the giant formula, or one dimension alone."""

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Literal

import numpy as np

from tinynet_core.files import UserError
from tinynet_core.networks import SCALABLE, Head, check_scalable, network
from tinynet_core.networks.complexity import Complexity
from tinynet_core.networks.efficientnet import TINYNETS
from tinynet_core.networks.traced import Family, Specification
from tinynet_core.scaling.formula import ExtrapolationWarning, TinyFormula
from tinynet_core.scaling.scale import FITTED_DECIMALS, GIANT, POWER_DIGITS, Base, Scale, giant
from tinynet_core.scaling.solve import Solution, UnreachableBudget, check_budget, solve

__all__ = ["Budget", "BudgetWarning", "Method", "Shrunk", "UnreachableBudget", "released_formula", "shrink", "shrunk"]

Method = Literal["formula", "giant", "r", "d", "w"]
METHODS: tuple[Method, ...] = ("formula", "giant", "r", "d", "w")
Budget = Literal["macs", "params", "peak_activations", "latency_ms"]
LARGEST, NARROWEST = 8.0, 1e-3
"""Multipliers searched; the smallest width and depth leave every stage at its minimum."""
SMALLEST_INPUT = 8
"""Pixels below which no input is tried."""
TOLERANCE = {"macs": 0.01, "params": 0.01, "peak_activations": 0.01, "latency_ms": 0.05}
"""Relative distance from the budget that passes without a warning."""
MEASUREMENTS = 8
"""Networks whose latency is measured at most; each is exported and timed, a few seconds."""


class BudgetWarning(UserWarning):
    """The nearest network that was found is further from the budget than the tolerance."""


@dataclass(frozen=True, slots=True)
class Shrunk:
    """A shrunk network: its ``scale`` and ``spec``, and what it ``cost`` in the unit of ``budget``.

    ``error`` is the relative distance of ``cost`` from ``wanted``. With method ``formula``, ``r_std`` and ``d_std`` are
    the posterior standard deviations of r and d.
    """

    spec: Specification
    scale: Scale
    method: Method
    budget: Budget
    wanted: float
    cost: float
    error: float
    r_std: float | None = None
    d_std: float | None = None


def shrink(
    net: str | Family,
    macs: float | None = None,
    method: Method = "formula",
    formula: TinyFormula | None = None,
    head: Head | None = None,
    base: Base | None = None,
    num_classes: int = 1000,
    *,
    params: float | None = None,
    peak_activations: float | None = None,
    latency_ms: float | None = None,
) -> Scale:
    """The scale at which the real cost of a network comes nearest to a budget.

    Channels, blocks and pixels are whole numbers, so not every budget can be met. The formula with a budget other than
    MACs is searched on a grid of the fractions c that it was fitted on, and latency in a few measurements: there the
    nearest network found need not be the nearest of all.

    Parameters
    ----------
    net
        The name of a scalable network, or a family of your own (``tinynet_core.traced``).
    macs
        Budget of multiply-adds for one image. Exactly one budget is to be given.
    method
        ``"formula"`` takes r and d from ``formula`` and solves w (paper, section 3.2); ``"giant"`` moves along
        EfficientNet's compound scaling; ``"r"``, ``"d"`` and ``"w"`` change one dimension alone.
    formula
        A fitted one; ``released_formula()`` where left out.
    head, base, num_classes
        As for ``network``; only together with a name.
    params
        Budget of parameters.
    peak_activations
        Budget of elements of the input and output of the layer that needs most.
    latency_ms
        Budget of milliseconds: the median for one image on one thread of this machine's CPU with ONNX Runtime, measured
        while searching.

    Returns
    -------
    Scale
        The multipliers of the nearest network.

    Raises
    ------
    ValueError
        The arguments do not go together.
    UnreachableBudget
        The budget is outside what the method can reach; the message has the smallest and the largest reachable cost.

    Warns
    -----
    BudgetWarning
        The nearest network is more than 1% off the budget (latency: 5%).
    """
    budgets = {"macs": macs, "params": params, "peak_activations": peak_activations, "latency_ms": latency_ms}
    given = {k: v for k, v in budgets.items() if v is not None}
    if len(given) != 1:
        names = ", ".join(budgets)
        raise ValueError(f"give exactly one budget of {names}, got {', '.join(given) or 'none'}")
    ((budget, wanted),) = given.items()
    result = shrunk(net, budget, wanted, method, formula, head, base, num_classes)  # type: ignore[arg-type]
    if abs(result.error) > TOLERANCE[budget]:
        warnings.warn(off_budget(result), BudgetWarning, stacklevel=2)
    return result.scale


def shrunk(
    net: str | Family,
    budget: Budget,
    wanted: float,
    method: Method = "formula",
    formula: TinyFormula | None = None,
    head: Head | None = None,
    base: Base | None = None,
    num_classes: int = 1000,
) -> Shrunk:
    """Like ``shrink``, with everything known of the answer; it does not warn where the nearest network is off.

    Parameters
    ----------
    net, method, formula, head, base, num_classes
        As for ``shrink``.
    budget
        What is limited.
    wanted
        How much of it, in the unit that ``shrink`` takes.

    Returns
    -------
    Shrunk
        The network, its scale and cost, and how far it is from the budget.

    Raises
    ------
    ValueError
        The arguments do not go together.
    UnreachableBudget
        The budget is outside what the method can reach.
    """
    if budget not in TOLERANCE:
        raise ValueError(f"budget must be one of {', '.join(TOLERANCE)}, got {budget!r}")
    if method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)}, got {method!r}")
    check_budget(wanted)
    target = _target(net, head, base, num_classes)
    if method == "formula" and formula is None:
        formula = released_formula()
    try:
        if budget == "latency_ms":
            scale, cost = _by_latency(target, wanted, method, formula)
        else:
            scale, cost = _by_count(target, budget, wanted, method, formula)
    except UnreachableBudget as error:
        raise UnreachableBudget(f"{target.name} shrunk by {method}: {error} ({budget})") from None
    stds: list[float] = []
    if method == "formula":
        assert formula is not None
        stds = _stds(formula, target.cost(scale) / target.cost(Scale()))
    return Shrunk(target.at(scale), scale, method, budget, wanted, cost, (cost - wanted) / wanted, *stds)


def off_budget(result: Shrunk) -> str:
    """How far the nearest network is from its budget, in one line."""
    return (
        f"{result.spec.name} shrunk by {result.method}: the nearest reachable network {result.scale} has "
        f"{result.cost:,.6g} {result.budget}, {result.error:+.1%} off the budget of {result.wanted:,.6g}"
    )


@cache
def released_formula() -> TinyFormula:
    """The tiny formula fitted on what the authors released.

    Returns
    -------
    TinyFormula
        Fitted on r and d of TinyNet-A ... E over their real MACs, and on EfficientNet-B0 at c = 1.
    """
    c0 = network("efficientnet_b0").complexity().macs
    scales = {"efficientnet_b0": Scale(), **TINYNETS}
    c = [network(name).complexity().macs / c0 for name in scales]
    return TinyFormula().fit(c, [s.r for s in scales.values()], [s.d for s in scales.values()])


def solve_width(
    name: str,
    macs: float,
    r: float,
    d: float,
    head: Head | None = None,
    base: Base | None = None,
    num_classes: int = 1000,
) -> Solution:
    """The width at which a network with given resolution and depth comes nearest to a budget of multiply-adds.

    Parameters
    ----------
    name
        A scalable network.
    macs
        Multiply-adds for one image.
    r, d
        Multipliers of resolution and depth.
    head, base, num_classes
        As for ``network``.

    Returns
    -------
    Solution
        The multiplier of width as ``x``, the MACs as ``cost``, and their relative ``error``.

    Raises
    ------
    UnreachableBudget
        The budget is more than 1% outside what widths between 0.001 and 8 cost.
    """
    return _solve_width(_target(name, head, base, num_classes), macs, r, d)


def formula_scale(formula: TinyFormula, c: float) -> tuple[float, float]:
    """r and d of ``formula`` at fraction ``c``, to three decimals; ``UnreachableBudget`` where that is no network."""
    r, d = (round(float(x), FITTED_DECIMALS) for x in np.asarray(formula.predict([c]))[0])
    if min(r, d) <= 0:
        raise UnreachableBudget(f"the formula predicts r = {r:.3g}, d = {d:.3g} at c = {c:.3g}: not a network")
    return r, d


@dataclass(frozen=True, slots=True)
class _Target:
    """What is shrunk: a specification at every scale.

    ``packaged`` is a network of this package; the cost of another takes longer and is worth less precision.
    """

    at: Family
    counted: Callable[[Scale], Complexity]
    name: str
    resolution: int
    packaged: bool

    @property
    def precision(self) -> float:
        return 1e-9 if self.packaged else 1e-4

    @property
    def grid(self) -> int:
        return 65 if self.packaged else 9

    def cost(self, scale: Scale, budget: Budget = "macs") -> int:
        return getattr(self.counted(scale), budget)


def _target(net: str | Family, head: Head | None, base: Base | None, num_classes: int) -> _Target:
    if isinstance(net, str):
        if net not in SCALABLE:
            network(net)
            check_scalable(net)
        return _Target(
            lambda scale: network(net, scale, num_classes, head, base),
            lambda scale: _counted(net, scale, num_classes, head, base),
            net,
            (base or SCALABLE[net]).resolution,
            True,
        )
    if (head, base, num_classes) != (None, None, 1000):
        raise ValueError("head, base and num_classes belong to a network of this package, not to a family of your own")
    spec = net(Scale())
    if not isinstance(spec, Specification):
        raise UserError(f"a family must give a specification for a Scale (see tinynet_core.traced), got {spec!r}")
    return _Target(net, lambda scale: net(scale).complexity(), spec.name, spec.resolution, False)


@lru_cache(maxsize=1 << 16)
def _counted(name: str, scale: Scale, num_classes: int, head: Head | None, base: Base | None) -> Complexity:
    """The cost of a network of this package: pages ask for the same budgets again, and so for the same scales."""
    return network(name, scale, num_classes, head, base).complexity()


def _solve_width(target: _Target, macs: float, r: float, d: float) -> Solution:
    return _solve(target, "macs", macs, lambda w: Scale(r, d, w), NARROWEST, LARGEST, 1.0)


def _solve(target: _Target, budget, wanted, scale_at: Callable[[float], Scale], low, high, neutral) -> Solution:
    """Along a path of scales, with ``neutral`` the point that changes nothing."""
    if not target.packaged:
        low, high = _inward(target, scale_at, low, neutral), _inward(target, scale_at, high, neutral)
    least = target.cost(scale_at(low), budget)
    if least == target.cost(scale_at(high), budget):
        raise UnreachableBudget(
            f"the method does not change it: smallest reachable cost {least:,} (the largest is {least:,})"
        )
    return solve(lambda x: target.cost(scale_at(x), budget), wanted, low, high, 0.01, target.precision, neutral)


def _inward(target: _Target, scale_at: Callable[[float], Scale], end: float, neutral: float) -> float:
    """The outermost of ten points from ``end`` towards ``neutral`` at which a network of the user's can be built."""
    for k in range(10):
        x = neutral * (end / neutral) ** (0.7**k) if neutral else end * 0.7**k
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                target.cost(scale_at(x))
            return x
        except UserError:
            continue
    return neutral


def _by_count(target: _Target, budget, wanted, method, formula) -> tuple[Scale, int]:
    """The scale whose exact count is nearest to ``wanted``, and that count."""
    if method == "formula" and budget != "macs":
        return _along_formula(target, budget, wanted, formula)
    if method == "formula":
        c0 = target.cost(Scale())
        try:
            r, d = formula_scale(formula, wanted / c0)
            x = _solve_width(target, wanted, r, d)
        except UnreachableBudget as error:
            low, high = (c * c0 for c in (formula.c_.min(), formula.c_.max()))
            raise UnreachableBudget(f"{error}; the formula was fitted for {low:,.0f} to {high:,.0f}") from None
        return Scale(r, d, x.x), x.cost
    scale_at, low, high, neutral = _path(method, target.resolution)
    x = _solve(target, budget, wanted, scale_at, low, high, neutral)
    return scale_at(x.x), x.cost


def _along_formula(target: _Target, budget, wanted, formula) -> tuple[Scale, int]:
    """The nearest to ``wanted`` on a grid of the fitted fractions c, refined twice around the best.

    r, d and the solved w change together, so that this cost may fall where c grows: a bisection would miss.
    """
    c0, tried = target.cost(Scale()), {}
    low, high = float(formula.c_.min()), float(formula.c_.max())
    for _ in range(3):
        for c in np.linspace(low, high, target.grid):
            r, d = formula_scale(formula, float(c))
            scale = Scale(r, d, _solve_width(target, c * c0, r, d).x)
            tried[float(c)] = scale, target.cost(scale, budget)
        best = min(tried, key=lambda c: abs(tried[c][1] - wanted))
        step = (high - low) / (target.grid - 1)
        low, high = max(low, best - step), min(high, best + step)
    reachable = [cost for _, cost in tried.values()]
    if not min(reachable) * 0.99 <= wanted <= max(reachable) * 1.01:
        side, end = ("below the smallest", min) if wanted < min(reachable) else ("above the largest", max)
        other = max(reachable) if end is min else min(reachable)
        raise UnreachableBudget(
            f"budget {wanted:,.6g} is {side} reachable cost {end(reachable):,} (the other end is {other:,})"
        )
    return tried[best]


def _path(method, resolution) -> tuple[Callable[[float], Scale], float, float, float]:
    """The curve of scales that a method moves along, the ends of x, and the x that changes nothing.

    The cost grows with x.
    """
    smallest_r = SMALLEST_INPUT / resolution
    smallest_phi = math.log(smallest_r * (1 + 10.0 ** (1 - POWER_DIGITS))) / math.log(GIANT.r)
    paths: dict[str, tuple[Callable[[float], Scale], float, float, float]] = {
        "giant": (giant, smallest_phi, math.log(LARGEST) / math.log(GIANT.r), 0.0),
        "r": (lambda r: Scale(r=r), smallest_r, LARGEST, 1.0),
        "d": (lambda d: Scale(d=d), NARROWEST, LARGEST, 1.0),
        "w": (lambda w: Scale(w=w), NARROWEST, LARGEST, 1.0),
    }
    return paths[method]


def _by_latency(target: _Target, wanted, method, formula) -> tuple[Scale, float]:
    """The scale whose measured latency is nearest to ``wanted`` milliseconds, and that latency.

    Latency grows with MACs, so each network measured improves the guess of the MACs to ask for.
    """
    from tinynet_core.latency import measure_latency

    def measured(scale: Scale) -> tuple[int, float]:
        spec = target.at(scale)
        return spec.complexity().macs, measure_latency(spec).median_ms

    c0, full = measured(Scale())
    if wanted > full * (1 + TOLERANCE["latency_ms"]):
        raise UnreachableBudget(
            f"budget {wanted:g} is above the largest reachable {full:.3g}, that of the whole network"
        )
    tried = {Scale(): (c0, full)}
    macs = c0 * wanted / full
    for _ in range(MEASUREMENTS):
        try:
            scale, _ = _by_count(target, "macs", macs, method, formula)
        except UnreachableBudget as error:
            scale = min(tried, key=lambda s: tried[s][1])
            raise UnreachableBudget(
                f"budget {wanted:g} would need {macs:,.0f} MACs, and of those: {error}; "
                f"measured: {tried[scale][1]:.3g} at {scale} to {full:.3g} of the whole network"
            ) from None
        if scale in tried:
            break
        tried[scale] = measured(scale)
        if abs(tried[scale][1] / wanted - 1) <= TOLERANCE["latency_ms"] / 2:
            break
        macs = _guess(sorted(tried.values()), wanted)
    scale = min(tried, key=lambda s: abs(tried[s][1] - wanted))
    return scale, tried[scale][1]


def _guess(points: list[tuple[int, float]], wanted: float) -> float:
    """MACs at which a straight line through the two measured latencies nearest to ``wanted`` meets it."""
    (m1, t1), (m2, t2) = sorted(points, key=lambda p: abs(p[1] - wanted))[:2]
    if m1 == m2 or t1 == t2:
        return m1 * wanted / t1
    guess = m1 + (wanted - t1) * (m2 - m1) / (t2 - t1)
    return min(max(guess, m1 / 4), m1 * 4) if guess > 0 else m1 / 2


def _stds(formula: TinyFormula, c: float) -> list[float]:
    """Standard deviations of r and d at ``c``; that it lies outside the fitted range was said before."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExtrapolationWarning)
        _, std = formula.predict([c], return_std=True)
    return std[0].tolist()
