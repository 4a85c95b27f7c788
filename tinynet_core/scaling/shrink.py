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
    target = family_of(net)
    if method == "formula" and formula is None:
        formula = released_formula()
    search = _Search(target, method, formula)
    try:
        if budget == "latency_ms":
            scale, cost = search.by_latency(wanted)
        else:
            scale, cost = search.by_count(cast(Count, budget), wanted)
    except UnreachableBudget as error:
        raise UnreachableBudget(f"{target.name} shrunk by {method}: {error} ({budget})") from None
    found = Shrunk(target.at(scale), scale, method, budget, wanted, cost, (cost - wanted) / wanted, *search.stds(scale))
    if abs(found.error) > TOLERANCE[budget]:
        warnings.warn(
            f"{target.name} shrunk by {method}: the nearest reachable network {scale} has {cost:,.6g} {budget}, "
            f"{found.error:+.1%} off the budget of {wanted:,.6g}",
            BudgetWarning,
            stacklevel=2,
        )
    return found


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
        raise UnreachableBudget(f"the formula predicts r = {r:.3g}, d = {d:.3g} at c = {c:.3g}: not a network")
    return r, d


class _Search:
    """For the scale of ``family`` whose cost is nearest to a budget."""

    def __init__(self, family: AnyFamily, method: Method, formula: "TinyFormula | None") -> None:
        self.family, self.method, self.formula = family, method, formula
        self.c0 = family.cost(Scale()).macs

    def by_count(self, budget: Count, wanted: float) -> tuple[Scale, float]:
        """The scale whose exact count is nearest to ``wanted``, and that count."""
        if self.method != "formula":
            along = path(self.method, self.family.resolution)
            x = solve_path(self.family, budget, wanted, along)
            return along.at(x.x), x.cost
        assert self.formula is not None
        if budget != "macs":
            return self._along_formula(self.formula, budget, wanted)
        try:
            return self._with_width(self.formula, wanted)
        except UnreachableBudget as error:
            low, high = (c * self.c0 for c in (self.formula.c_.min(), self.formula.c_.max()))
            raise UnreachableBudget(f"{error}; the formula was fitted for {low:,.0f} to {high:,.0f}") from None

    def by_latency(self, wanted: float) -> tuple[Scale, float]:
        """The scale whose measured latency is nearest to ``wanted`` milliseconds, and that latency.

        Latency grows with MACs, so each network measured improves the guess of the MACs to ask for.
        """
        c0, full = self._measured(Scale())
        if wanted > full * (1 + TOLERANCE["latency_ms"]):
            raise UnreachableBudget(
                f"budget {wanted:g} is above the largest reachable {full:.3g}, that of the whole network"
            )
        tried = {Scale(): (c0, full)}
        macs = c0 * wanted / full
        for _ in range(MEASUREMENTS):
            try:
                scale, _ = self.by_count("macs", macs)
            except UnreachableBudget as error:
                scale = min(tried, key=lambda s: tried[s][1])
                raise UnreachableBudget(
                    f"budget {wanted:g} would need {macs:,.0f} MACs, and of those: {error}; "
                    f"measured: {tried[scale][1]:.3g} at {scale} to {full:.3g} of the whole network"
                ) from None
            if scale in tried:
                break
            tried[scale] = self._measured(scale)
            if abs(tried[scale][1] / wanted - 1) <= TOLERANCE["latency_ms"] / 2:
                break
            macs = _guess(sorted(tried.values()), wanted)
        scale = min(tried, key=lambda s: abs(tried[s][1] - wanted))
        return scale, tried[scale][1]

    def stds(self, scale: Scale) -> list[float]:
        """Standard deviations of r and d, none without a formula; that c is out of its range was said before."""
        if self.formula is None or self.method != "formula":
            return []
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            _, std = self.formula.predict([self.family.cost(scale).macs / self.c0], return_std=True)
        return std[0].tolist()

    def _with_width(self, formula: "TinyFormula", macs: float) -> tuple[Scale, int]:
        r, d = formula_scale(formula, macs / self.c0)
        if not isinstance(self.family, Family):
            r = _buildable(self.family, r)
        width = solve_width(self.family, macs, r, d)
        return Scale(r, d, width.x), width.cost

    def _along_formula(self, formula: "TinyFormula", budget: Count, wanted: float) -> tuple[Scale, int]:
        """The nearest to ``wanted`` on a grid of the fitted fractions c, refined twice around the best.

        r, d and the solved w change together, so that this cost may fall where c grows: a bisection would miss.
        """
        low, high = float(formula.c_.min()), float(formula.c_.max())
        points = 65 if isinstance(self.family, Family) else 9
        tried: dict[float, tuple[Scale, int]] = {}
        for _ in range(3):
            for c in np.linspace(low, high, points).tolist():
                scale, _ = self._with_width(formula, c * self.c0)
                tried[c] = scale, getattr(self.family.cost(scale), budget)
            best = min(tried, key=lambda c: abs(tried[c][1] - wanted))
            step = (high - low) / (points - 1)
            low, high = max(low, best - step), min(high, best + step)
        reachable = [cost for _, cost in tried.values()]
        check_reachable(wanted, min(reachable), max(reachable))
        return tried[best]

    def _measured(self, scale: Scale) -> tuple[int, float]:
        from tinynet_core.latency import measure_latency

        return self.family.cost(scale).macs, measure_latency(self.family.at(scale))


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


def _guess(points: list[tuple[int, float]], wanted: float) -> float:
    """MACs at which a straight line through the two measured latencies nearest to ``wanted`` meets it."""
    (m1, t1), (m2, t2) = sorted(points, key=lambda p: abs(p[1] - wanted))[:2]
    if m1 == m2 or t1 == t2:
        return m1 * wanted / t1
    guess = m1 + (wanted - t1) * (m2 - m1) / (t2 - t1)
    return min(max(guess, m1 / 4), m1 * 4) if guess > 0 else m1 / 2
