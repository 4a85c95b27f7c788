"""Shrink a network to a budget, by the tiny formula, the giant formula or one dimension alone.

``shrink`` returns one network. ``compare`` returns a table for several budgets and methods.
"""

import math
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from tinynet_core.files import UserError
from tinynet_core.networks.family import AnyFamily, Family, family_of
from tinynet_core.networks.spec import Complexity, Specification
from tinynet_core.scaling.released import released_formula
from tinynet_core.scaling.scale import FITTED_DECIMALS, Scale
from tinynet_core.scaling.solve import (
    NEAR,
    UnreachableBudget,
    check_budget,
    check_reachable,
    curve_of,
    short_amount,
    solve_path,
    solve_width,
)

if TYPE_CHECKING:
    import pandas as pd

    from tinynet_core.scaling.formula import TinyFormula
    from tinynet_core.scaling.released import ReleasedFormula

    Formula = TinyFormula | ReleasedFormula

Method = Literal["formula", "giant", "r", "d", "w"]
METHODS: tuple[Method, ...] = get_args(Method)
TOLERANCE = {"macs": 0.01, "params": 0.01, "peak_activations": 0.01, "latency_ms": 0.05}
"""Largest relative distance from the budget without a warning."""
MEASUREMENTS = 8  # most networks whose latency is measured; each takes a few seconds to export and time


class BudgetWarning(UserWarning):
    """The nearest network that was found is further from the budget than the tolerance."""


@dataclass(frozen=True, slots=True)
class Shrunk:
    """A shrunk ``network`` at ``scale``, and its ``cost`` in the unit of ``budget``, the binding one of several.

    ``error`` is the relative distance of ``cost`` from ``wanted``. With method ``formula``, ``r_std`` and ``d_std`` are
    the posterior standard deviations of r and d, unless these are fixed.
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
    formula: "Formula | None" = None,
    *,
    params: float | None = None,
    peak_activations: float | None = None,
    latency_ms: float | None = None,
    fix: Mapping[str, float] | None = None,
) -> Shrunk:
    """Return the network whose real cost comes nearest to a budget, or stays within several budgets.

    ``net`` is the name of a scalable network, or a family (``tinynet_core.family``, ``tinynet_core.traced``). Budgets
    are for one image. ``macs`` counts multiply-adds, ``params`` parameters. ``peak_activations`` counts the elements in
    the input and output of the layer that needs most. ``latency_ms`` is the median of milliseconds on one thread of
    this machine's CPU with ONNX Runtime, measured during the search.

    ``method`` ``"formula"`` takes r and d from a fitted ``formula``, by default ``released_formula()``, and solves w
    (paper, section 3.2). ``"giant"`` follows EfficientNet's compound scaling. ``"r"``, ``"d"`` and ``"w"`` change
    one dimension alone. ``fix`` keeps one or two multipliers, such as ``{"r": 1}``; with two kept, the third is solved.

    Not every budget can be met, as channels, blocks and pixels are whole numbers. Latency is searched in a few
    measurements. The formula with another budget than MACs is searched on a grid of its fitted fractions c. Both may
    miss the nearest network. Raises ``UnreachableBudget`` with the nearest reachable cost. Warns with
    ``BudgetWarning`` if the network is over 1% off (latency: 5%).
    """
    budgets = {"macs": macs, "params": params, "peak_activations": peak_activations, "latency_ms": latency_ms}
    given = {k: v for k, v in budgets.items() if v is not None}
    if not given:
        raise ValueError(f"give a budget: one or more of {', '.join(budgets)}")
    if method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)}, got {method!r}")
    for wanted in given.values():
        check_budget(wanted)
    fix = fix or {}
    if not {"r", "d", "w"} > set(fix):
        raise ValueError(f"fix must hold one or two of r, d and w, got {', '.join(sorted(fix))}")
    if method in fix:
        raise ValueError(f"method {method!r} moves {method}, and fix keeps it at {fix[method]:g}: give another method")
    family, fixed = family_of(net), {x: getattr(Scale(**fix), x) for x in fix}
    search = _Search(family, method, formula or released_formula(), fixed)
    found: dict[str, tuple[Scale, float]] = {}
    whole = family.cost(Scale())  # of several budgets, one that the whole network meets is only checked, below
    binding = {k: x for k, x in given.items() if len(given) == 1 or x < getattr(whole, k, math.inf)} or given
    for budget, wanted in binding.items():
        try:
            found[budget] = search.nearest(budget, wanted)
        except UnreachableBudget as error:
            raise UnreachableBudget(f"{family.name} shrunk by {method}: {error} ({budget}){_gaps(family)}") from None
    budget = min(found, key=lambda x: family.cost(found[x][0]).macs)  # the binding one: more MACs would exceed it
    (scale, cost), wanted = found[budget], given[budget]
    for other, most in given.items():
        if other != budget and (spent := search.cost(scale, other)) > most * (1 + TOLERANCE[other]):
            said = f"{short_amount(wanted)} {budget} need {short_amount(spent)} {other}, more than {short_amount(most)}"
            raise UnreachableBudget(f"{family.name} shrunk by {method}: {said}")
    off = (cost - wanted) / wanted
    if abs(off) > TOLERANCE[budget]:
        said = f"{family.name} shrunk by {method}: the nearest network found {scale} has {short_amount(cost)} "
        said += f"{budget}, {off:+.1%} off the budget of {short_amount(wanted)}{_gaps(family)}"
        warnings.warn(said, BudgetWarning, stacklevel=2)
    return Shrunk(family.at(scale), scale, method, budget, wanted, cost, off, **search.stds(scale))


def _gaps(family: AnyFamily) -> str:
    """Return a text on the last scale at which the user's own network could not be built, or an empty text."""
    return "".join(f"; some networks cannot be built: {x}" for x in getattr(family, "gaps", [])[-1:])


@dataclass(frozen=True)
class _Search:
    """Search for the scale of ``family`` nearest to a budget, by ``method``. Multipliers in ``fixed`` stay."""

    family: AnyFamily
    method: Method
    formula: "Formula"
    fixed: dict[str, float]

    def nearest(self, budget: str, wanted: float) -> tuple[Scale, float]:
        """Return the scale whose cost is nearest to ``wanted``, and its cost."""
        free = [x for x in "rdw" if x not in self.fixed]
        if budget == "latency_ms":
            return self._by_latency(wanted)
        if self.method != "formula" or len(free) == 1:
            curve = curve_of(free[0] if len(free) == 1 else self.method, self.family.resolution)
            along = curve._replace(at=lambda x: replace(curve.at(x), **self.fixed))
            found = solve_path(self.family, budget, wanted, along)
            return along.at(found.x), found.cost
        if budget == "macs" and "w" in free:
            return self._with_width(wanted)
        return self._along_formula(budget, wanted)

    def cost(self, scale: Scale, budget: str) -> float:
        """Return the cost of ``scale`` in the unit of ``budget``; latency is measured."""
        if budget != "latency_ms":
            return getattr(self.family.cost(scale), budget)
        from tinynet_core.export import measure_latency

        return measure_latency(self.family.at(scale))

    def stds(self, scale: Scale) -> dict[str, float]:
        """Return the formula's standard deviations of r and d, without repeating the warning on c out of range."""
        if self.method != "formula":
            return {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            c = self.family.cost(scale).macs / self.c0
            stds = self.formula.predict([c], return_std=True)[1][0].tolist()
        return {f"{x}_std": std for x, std in zip("rd", stds, strict=True) if x not in self.fixed}

    @property
    def c0(self) -> int:
        return self.family.cost(Scale()).macs

    def _rd(self, c: float) -> tuple[float, float]:
        """Return the formula's r and d at ``c``, to three decimals. Raise ``UnreachableBudget`` unless above 0."""
        r, d = (round(float(x), FITTED_DECIMALS) for x in np.asarray(self.formula.predict([c]))[0])
        if min(r, d) <= 0:
            fitted = f"{self.formula.c_.min():.3g} ... {self.formula.c_.max():.3g}"
            said = f"predicts r = {r:.3g}, d = {d:.3g} at c = {c:.3g}: not a network"
            raise UnreachableBudget(f"the formula, fitted for c = {fitted}, {said}")
        return self.fixed.get("r", r), self.fixed.get("d", d)

    def _with_width(self, macs: float) -> tuple[Scale, int]:
        if macs > max(1 + NEAR, float(self.formula.c_.max())) * self.c0:
            raise UnreachableBudget(f"the whole network has {self.c0:,} MACs, and the formula makes it smaller")
        r, d = self._rd(macs / self.c0)
        if not isinstance(self.family, Family):
            if "r" in self.fixed:
                self.family.cost(Scale(r=r))  # raises with the reason if this input cannot be built
            else:
                r = self._buildable(r)
        try:
            width = solve_width(self.family, macs, r, d)
        except UnreachableBudget as error:
            raise UnreachableBudget(f"{error}, at the formula's r = {r:g} and d = {d:g} for this budget") from None
        return Scale(r, d, width.x), width.cost

    def _buildable(self, r: float) -> float:
        """Return ``r``, or the r of the nearest input, within 32 pixels, at which the whole network can be built."""
        pixels, whole = self.family.at(Scale(r=r)).resolution, self.family.resolution
        for distance in range(33):
            for tried in {pixels - distance, pixels + distance}:
                with suppress(UserError, ValueError):
                    self.family.cost(Scale(r=tried / whole))
                    return r if tried == pixels else tried / whole
        raise UnreachableBudget(f"no input within 32 pixels of {pixels} px can be built")

    def _along_formula(self, budget: str, wanted: float) -> tuple[Scale, float]:
        """Return the scale nearest to ``wanted``, and its cost. Search a grid of c, then refine it around the best c.

        r, d and the solved w change together, so this cost may fall as c grows. A bisection could miss the best c.
        """
        low, high = float(self.formula.c_.min()), float(self.formula.c_.max())
        points, rounds = (65, 3) if isinstance(self.family, Family) else (5, 5)
        tried: dict[float, tuple[Scale, float]] = {}
        for _ in range(rounds):
            for c in (c for c in np.linspace(low, high, points).tolist() if c not in tried):
                with suppress(UnreachableBudget):  # no width has this cost at the formula's r and d
                    w = self.fixed.get("w")
                    scale = self._with_width(c * self.c0)[0] if w is None else Scale(*self._rd(c), w)
                    tried[c] = scale, self.cost(scale, budget)
            if not tried:
                raise UnreachableBudget("there is no network at any cost that the formula was fitted on")
            best = min(tried, key=lambda c: abs(tried[c][1] - wanted))
            step = (high - low) / (points - 1)
            low, high = max(low, best - step), min(high, best + step)
        reachable = [cost for _, cost in tried.values()]
        check_reachable(wanted, min(reachable), max(reachable))
        return tried[best]

    def _by_latency(self, wanted: float) -> tuple[Scale, float]:
        """Search over MACs: latency grows with MACs, so each measured network improves the guess of the MACs."""
        whole = replace(Scale(), **self.fixed)
        macs, found = float(self.family.cost(whole).macs), self.cost(whole, "latency_ms")
        tried = {whole: found}
        if wanted > found * (1 + TOLERANCE["latency_ms"]):
            raise UnreachableBudget(f"budget {wanted:g} ms is above the {found:.3g} ms of the whole network")
        for _ in range(MEASUREMENTS):
            macs *= wanted / found
            try:
                scale, _ = self.nearest("macs", macs)
            except UnreachableBudget as error:
                raise UnreachableBudget(f"{wanted:g} ms would need {macs:,.0f} MACs, but {error}") from None
            if scale in tried:
                break
            found = tried[scale] = self.cost(scale, "latency_ms")
            if abs(found / wanted - 1) <= TOLERANCE["latency_ms"] / 2:
                break
        nearest = min(tried, key=lambda s: abs(tried[s] - wanted))
        return nearest, tried[nearest]


def compare(
    net: str | AnyFamily,
    macs: Sequence[float],
    methods: Sequence[Method] = METHODS,
    formula: "Formula | None" = None,
    latency: bool = False,
    fix: Mapping[str, float] | None = None,
) -> "pd.DataFrame":
    """Shrink ``net`` to each of the budgets ``macs`` by each of ``methods``; one row for each pair, with exact costs.

    Arguments are as for ``shrink``. Methods that move a multiplier in ``fix`` are left out. ``latency`` measures each
    network, a few seconds each. Columns: ``wanted``, ``method``, ``r``, ``d``, ``w``, ``resolution`` in pixels,
    ``macs``, ``params``, ``off`` (relative distance from the budget), ``latency_ms`` if asked for, and ``reason`` (why
    there is no network or no time, else empty).
    """
    import pandas as pd

    family, rows, fix = family_of(net), [], fix or {}
    moving = [method for method in methods if method not in fix] or methods
    moving = moving[-1:] if len(fix) == 2 else moving  # all methods solve the third
    for wanted in macs:
        for method in moving:
            row: dict = {"wanted": wanted, "method": method, "reason": ""}
            rows.append(row)
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", BudgetWarning)  # the column "off" shows the distance
                    found = shrink(family, wanted, method, formula, fix=fix)
            except UnreachableBudget as error:
                row["reason"] = str(error)
                continue
            row |= asdict(found.complexity) | asdict(found.scale)
            row |= {"resolution": found.network.resolution, "off": found.error}
            if latency:
                from tinynet_core.export import ExportError, measure_latency

                try:
                    row["latency_ms"] = measure_latency(found.network)
                except ExportError as error:
                    row["reason"] = str(error)
    columns = ["wanted", "method", "r", "d", "w", "resolution", "macs", "params", "off"]
    columns += ["latency_ms"] * latency + ["reason"]
    return pd.DataFrame(rows, columns=columns).astype(dict.fromkeys(("resolution", "macs", "params"), "Int64"))
