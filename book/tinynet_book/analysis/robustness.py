"""TinyNets of a fitted formula, and what becomes of them when it is fitted otherwise."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from tinynet_core.networks import Family
from tinynet_core.scaling.formula import KernelName, Mean, TinyFormula
from tinynet_core.scaling.frontier import frontier, pareto_front
from tinynet_core.scaling.released import ExtrapolationWarning
from tinynet_core.scaling.scale import FITTED_DECIMALS, eq5_width
from tinynet_core.scaling.shrink import solve_width

FEWEST = 3
"""Models below which no formula is fitted."""


def formula_tinynets(formula: TinyFormula, fractions: Sequence[float], net: Family) -> pd.DataFrame:
    """TinyNets by a fitted formula at each of ``fractions``: r and d with their standard deviations, and the width.

    The width by Eq. 5, ``w_eq5``, and solved on real MACs, ``w``, with their distance ``off`` from the budget;
    ``extrapolated`` marks fractions outside the fitted ones. A prediction that is no network, or a budget that no width
    meets, leaves widths and MACs empty.
    """
    c0 = net.at().complexity().macs
    low, high = formula.c_.min(), formula.c_.max()
    mean, std = predicted(formula, fractions)
    rows = []
    for c, (r, d), (r_std, d_std) in zip(fractions, np.round(mean, FITTED_DECIMALS), std, strict=True):
        row = {"c": c, "r": r, "r_std": r_std, "d": d, "d_std": d_std, "extrapolated": not low <= c <= high}
        try:
            width = solve_width(net, c * c0, r, d)
            row |= {"w_eq5": eq5_width(c, r, d), "w": width.x, "macs": width.cost, "off": width.error}
        except ValueError:  # r or d not above zero, or a budget that no width meets
            row |= dict.fromkeys(("w_eq5", "w", "macs", "off"), np.nan)
        rows.append(row)
    return pd.DataFrame(rows)


@dataclass(frozen=True, slots=True)
class Variant:
    """One way from the random sample to a formula: what is selected, and how it is fitted.

    Without ``fraction`` the whole plain Pareto front is kept, and the sample decides how many models that are.
    """

    fraction: float | None
    kernel: KernelName = "rbf"
    mean: Mean = "zero"

    def select(self, sample: pd.DataFrame) -> pd.DataFrame:
        """The models of ``sample`` (columns macs, top1) that this way keeps, by growing MACs."""
        if self.fraction is None:
            return sample.iloc[pareto_front(sample.macs, sample.top1)]
        return sample.iloc[frontier(sample.macs, sample.top1, self.fraction)]


def sensitivity(sample: pd.DataFrame, ways: dict[str, Variant], budgets: Sequence[float], net: Family) -> pd.DataFrame:
    """The TinyNet that each of ``ways`` proposes at each of ``budgets``, shares of the baseline's MACs.

    ``sample`` holds the finished models (columns c, r, d, macs, top1). A row for each way and budget: ``models``
    selected; those of ``formula_tinynets``; input ``pixels``; ``r_moved``, ``d_moved``, ``w_moved``, the distances
    from the first of ``ways``; ``r_sds`` and ``d_sds``, the first two in its posterior standard deviations; and a
    ``note`` on what is outside the fitted fractions, no network, or of too few models to fit.
    """
    found = pd.concat([_proposed(name, way, sample, budgets, net) for name, way in ways.items()], ignore_index=True)
    first = found[found.way == next(iter(ways))].set_index("c")
    for x in "rdw":
        found[f"{x}_moved"] = found[x] - found.c.map(first[x])
    for x in "rd":
        found[f"{x}_sds"] = found[f"{x}_moved"] / found.c.map(first[f"{x}_std"])
    return found


def _proposed(name: str, way: Variant, sample: pd.DataFrame, budgets: Sequence[float], net: Family) -> pd.DataFrame:
    kept = way.select(sample)
    if len(kept) < FEWEST:
        rows = pd.DataFrame({"c": budgets, "note": f"too few models to fit: {len(kept)}"})
        rows[["r", "r_std", "d", "d_std", "w", "macs", "off", "pixels"]] = np.nan
    else:
        rows = formula_tinynets(fitted(TinyFormula(way.kernel, way.mean), kept), budgets, net)
        rows["pixels"] = [net.base.pixels(r) if r * net.resolution >= 1 else 0 for r in rows.r]
        rows["note"] = [_note(row) for row in rows.itertuples()]
    return rows.assign(way=name, models=len(kept))


def _note(row) -> str:
    """What is wrong with a proposal, in words; empty for a network inside the fitted range."""
    if min(row.r, row.d) <= 0:
        return f"no network: r = {row.r:.3g}, d = {row.d:.3g}"
    found = {"outside the fitted range": row.extrapolated, "no width meets the budget": np.isnan(row.w)}
    return ", ".join(name for name, true in found.items() if true)


def fitted(formula: TinyFormula, kept: pd.DataFrame) -> TinyFormula:
    """A fitted copy of ``formula``; a hyper-parameter at the edge of its range is as good as any here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return clone(formula).fit(kept.c, kept.r, kept.d)


def predicted(formula: TinyFormula, c) -> tuple[np.ndarray, np.ndarray]:
    """Means and standard deviations at ``c``; what lies outside the fitted range is named by the callers."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExtrapolationWarning)
        mean, std = formula.predict(c, return_std=True)
    return mean, std
