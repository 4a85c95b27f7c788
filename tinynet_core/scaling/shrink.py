"""The smaller network that meets a budget: by the tiny formula, the giant formula, or one dimension alone."""

import warnings
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Literal, cast

import numpy as np

from tinynet_core.files import UserError
from tinynet_core.networks.efficientnet import TINYNETS
from tinynet_core.networks.family import AnyFamily, Family, family_of, network
from tinynet_core.networks.spec import Complexity, Specification
from tinynet_core.scaling.scale import FITTED_DECIMALS, Scale
from tinynet_core.scaling.solve import (
    Count,
    UnreachableBudget,
    check_budget,
    check_reachable,
    path,
    solve_path,
    solve_width,
)

if TYPE_CHECKING:
    from tinynet_core.scaling.formula import TinyFormula  # scikit-learn takes a second to import

Method = Literal["formula", "giant", "r", "d", "w"]
METHODS: tuple[Method, ...] = ("formula", "giant", "r", "d", "w")
TOLERANCE = {"macs": 0.01, "params": 0.01, "peak_activations": 0.01, "latency_ms": 0.05}
"""Relative distance from the budget that passes without a warning."""
MEASUREMENTS = 8
"""Networks whose latency is measured at most; each is exported and timed, a few seconds."""


class BudgetWarning(UserWarning):
    """The nearest network that was found is further from the budget than the tolerance."""


@dataclass(frozen=True, slots=True)
class Shrunk:
    """A shrunk ``network`` at ``scale``, and what it ``cost`` in the unit of ``budget``.

    ``error`` is the relative distance of ``cost`` from ``wanted``. With method ``formula``, ``r_std`` and ``d_std`` are
    the posterior standard deviations of r and d.
    """

    network: Specification
    scale: Scale
    method: Method
    budget: str
    wanted: float
    cost: float
    error: float
    r_std: float | None = None
    d_std: float | None = None

    @property
    def complexity(self) -> Complexity:
        """Exact MACs, parameters and activations of ``network``."""
        return self.network.complexity()


def shrink(
    net: str | AnyFamily,
    macs: float | None = None,
    method: Method = "formula",
    formula: "TinyFormula | None" = None,
    *,
    params: float | None = None,
    peak_activations: float | None = None,
    latency_ms: float | None = None,
) -> Shrunk:
    """The network whose real cost comes nearest to a budget.

    Channels, blocks and pixels are whole numbers, so not every budget can be met. The formula with a budget other than
    MACs is searched on a grid of the fractions c that it was fitted on, and latency in a few measurements: there the
    nearest network found need not be the nearest of all. Raises ``UnreachableBudget``, with the smallest and the
    largest reachable cost, and warns with ``BudgetWarning`` when the network is over 1% off (latency: 5%).

    Parameters
    ----------
    net
        The name of a scalable network, or a family (``tinynet_core.family``, ``tinynet_core.traced``).
    macs
        Budget of multiply-adds for one image. Give exactly one budget.
    method
        ``"formula"`` takes r and d from ``formula`` and solves w (paper, section 3.2); ``"giant"`` moves along
        EfficientNet's compound scaling; ``"r"``, ``"d"`` and ``"w"`` change one dimension alone.
    formula
        A fitted one; ``released_formula()`` where left out.
    params
        Budget of parameters.
    peak_activations
        Budget of elements of the input and output of the layer that needs most.
    latency_ms
        Budget of milliseconds: the median for one image on one thread of this machine's CPU with ONNX Runtime, measured
        while searching.

    Returns
    -------
    Shrunk
        The network, its scale and cost, and how far it is from the budget.
    """
    budgets = {"macs": macs, "params": params, "peak_activations": peak_activations, "latency_ms": latency_ms}
    given = {k: v for k, v in budgets.items() if v is not None}
    if len(given) != 1:
        names = ", ".join(budgets)
        raise ValueError(f"give exactly one budget of {names}, got {', '.join(given) or 'none'}")
    ((budget, wanted),) = given.items()
    if method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)}, got {method!r}")
    check_budget(wanted)
    family = family_of(net)
    formula = (formula or released_formula()) if method == "formula" else None
    try:
        if budget == "latency_ms":
            scale, cost = _by_latency(family, wanted, method, formula)
        else:
            scale, cost = _by_count(family, cast(Count, budget), wanted, method, formula)
    except UnreachableBudget as error:
        raise UnreachableBudget(f"{family.name} shrunk by {method}: {error} ({budget})") from None
    off = (cost - wanted) / wanted
    if abs(off) > TOLERANCE[budget]:
        warnings.warn(
            f"{family.name} shrunk by {method}: the nearest reachable network {scale} has {cost:,.6g} {budget}, "
            f"{off:+.1%} off the budget of {wanted:,.6g}",
            BudgetWarning,
            stacklevel=2,
        )
    stds = _stds(family, scale, formula) if formula else []
    return Shrunk(family.at(scale), scale, method, budget, wanted, cost, off, *stds)


@cache
def released_formula() -> "TinyFormula":
    """The tiny formula fitted on what the authors released.

    Returns
    -------
    TinyFormula
        Fitted on r and d of TinyNet-A ... E over their real MACs, and on EfficientNet-B0 at c = 1.
    """
    from tinynet_core.scaling.formula import TinyFormula

    c0 = network("efficientnet_b0").complexity().macs
    scales = {"efficientnet_b0": Scale(), **TINYNETS}
    c = [network(name).complexity().macs / c0 for name in scales]
    return TinyFormula().fit(c, [s.r for s in scales.values()], [s.d for s in scales.values()])


def formula_scale(formula: "TinyFormula", c: float) -> tuple[float, float]:
    """r and d of ``formula`` at fraction ``c``, to three decimals; ``UnreachableBudget`` where that is no network."""
    r, d = (round(float(x), FITTED_DECIMALS) for x in np.asarray(formula.predict([c]))[0])
    if min(r, d) <= 0:
        fitted = f"{formula.c_.min():.3g} ... {formula.c_.max():.3g}"
        raise UnreachableBudget(
            f"the formula, fitted for c = {fitted}, predicts r = {r:.3g}, d = {d:.3g} at c = {c:.3g}: not a network"
        )
    return r, d


def _by_count(
    family: AnyFamily, budget: Count, wanted: float, method: Method, formula: "TinyFormula | None"
) -> tuple[Scale, int]:
    """The scale whose exact count is nearest to ``wanted``, and that count."""
    if method != "formula":
        along = path(method, family.resolution)
        found = solve_path(family, budget, wanted, along)
        return along.at(found.x), found.cost
    assert formula is not None
    if budget == "macs":
        return _with_width(family, formula, wanted)
    return _along_formula(family, formula, budget, wanted)


def _with_width(family: AnyFamily, formula: "TinyFormula", macs: float) -> tuple[Scale, int]:
    r, d = formula_scale(formula, macs / family.cost(Scale()).macs)
    if not isinstance(family, Family):
        r = _buildable(family, r)
    width = solve_width(family, macs, r, d)
    return Scale(r, d, width.x), width.cost


def _along_formula(family: AnyFamily, formula: "TinyFormula", budget: Count, wanted: float) -> tuple[Scale, int]:
    """The nearest to ``wanted`` on a grid of the fitted fractions c, refined twice around the best.

    r, d and the solved w change together, so that this cost may fall where c grows: a bisection would miss.
    """
    c0, low, high = family.cost(Scale()).macs, float(formula.c_.min()), float(formula.c_.max())
    points = 65 if isinstance(family, Family) else 9
    tried: dict[float, tuple[Scale, int]] = {}
    for _ in range(3):
        for c in np.linspace(low, high, points).tolist():
            scale, _ = _with_width(family, formula, c * c0)
            tried[c] = scale, getattr(family.cost(scale), budget)
        best = min(tried, key=lambda c: abs(tried[c][1] - wanted))
        step = (high - low) / (points - 1)
        low, high = max(low, best - step), min(high, best + step)
    reachable = [cost for _, cost in tried.values()]
    check_reachable(wanted, min(reachable), max(reachable))
    return tried[best]


def _by_latency(family: AnyFamily, wanted: float, method: Method, formula: "TinyFormula | None") -> tuple[Scale, float]:
    """The scale whose measured latency is nearest to ``wanted`` milliseconds, and that latency.

    Latency grows with MACs, so each network measured improves the guess of the MACs to ask for.
    """
    from tinynet_core.export import measure_latency

    macs, found = float(family.cost(Scale()).macs), measure_latency(family.at(Scale()))
    tried = {Scale(): found}
    if wanted > found * (1 + TOLERANCE["latency_ms"]):
        raise UnreachableBudget(f"budget {wanted:g} is above the largest reachable {found:.3g}, of the whole network")
    for _ in range(MEASUREMENTS):
        macs *= wanted / found
        try:
            scale, _ = _by_count(family, "macs", macs, method, formula)
        except UnreachableBudget as error:
            raise UnreachableBudget(f"budget {wanted:g} would need {macs:,.0f} MACs, and of those: {error}") from None
        if scale in tried:
            break
        found = tried[scale] = measure_latency(family.at(scale))
        if abs(found / wanted - 1) <= TOLERANCE["latency_ms"] / 2:
            break
    nearest = min(tried, key=lambda s: abs(tried[s] - wanted))
    return nearest, tried[nearest]


def _stds(family: AnyFamily, scale: Scale, formula: "TinyFormula") -> list[float]:
    """Standard deviations of r and d; that c is out of the formula's range was said before."""
    c = family.cost(scale).macs / family.cost(Scale()).macs
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return formula.predict([c], return_std=True)[1][0].tolist()


def _buildable(family: AnyFamily, r: float) -> float:
    """``r``, or that of the nearest input within 32 pixels of it at which the whole network can be built."""
    pixels = family.at(Scale(r=r)).resolution
    for distance in range(33):
        for tried in {pixels - distance, pixels + distance}:
            try:
                family.cost(Scale(r=tried / family.resolution))
            except (UserError, ValueError):
                continue
            return r if tried == pixels else tried / family.resolution
    raise UnreachableBudget(f"no input within 32 pixels of {pixels} px can be built")
