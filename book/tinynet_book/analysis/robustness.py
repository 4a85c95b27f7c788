"""TinyNets of a fitted formula, and how they change if the formula is fitted in other ways."""

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
"""Fewest models to fit a formula on."""


def formula_tinynets(formula: TinyFormula, fractions: Sequence[float], net: Family) -> pd.DataFrame:
    """Return the TinyNet of a fitted formula at each of ``fractions``: r and d with standard deviations, and widths.

    ``w_eq5`` is the width by Eq. 5. ``w`` is the width solved on exact MACs; ``off`` is its distance from the budget.
    ``extrapolated`` marks fractions outside the fitted range. Widths and MACs are NaN if r or d is not above zero, or
    if no width meets the budget.
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
    """One way from the random sample to a formula: which models are selected, and how the formula is fitted.

    Without ``fraction`` the models are the whole plain Pareto front, whose size depends on the sample.
    """

    fraction: float | None
    kernel: KernelName = "rbf"
    mean: Mean = "zero"

    def select(self, sample: pd.DataFrame) -> pd.DataFrame:
        """Return the selected models of ``sample`` (columns macs, top1), in order of rising MACs."""
        if self.fraction is None:
            return sample.iloc[pareto_front(sample.macs, sample.top1)]
        return sample.iloc[frontier(sample.macs, sample.top1, self.fraction)]


def sensitivity(sample: pd.DataFrame, ways: dict[str, Variant], budgets: Sequence[float], net: Family) -> pd.DataFrame:
    """Return the TinyNet that each of ``ways`` proposes at each of ``budgets`` (fractions of the baseline's MACs).

    ``sample`` holds the finished models (columns c, r, d, macs, top1). One row per way and budget: ``models``, the
    number selected; the columns of ``formula_tinynets``; input ``pixels``; ``r_moved``, ``d_moved``, ``w_moved``, the
    distances from the first of ``ways``; ``r_sds`` and ``d_sds``, the distances of r and d in posterior standard
    deviations of that first way; ``note``, set for extrapolation, no network, or too few models to fit.
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
    """Say what is wrong with a proposal; empty for a network inside the fitted range."""
    if min(row.r, row.d) <= 0:
        return f"no network: r = {row.r:.3g}, d = {row.d:.3g}"
    found = {"outside the fitted range": row.extrapolated, "no width meets the budget": np.isnan(row.w)}
    return ", ".join(name for name, true in found.items() if true)


def fitted(formula: TinyFormula, kept: pd.DataFrame) -> TinyFormula:
    """Return a fitted copy of ``formula``. Hyper-parameters at the edge of their range are fine here: no warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return clone(formula).fit(kept.c, kept.r, kept.d)


def predicted(formula: TinyFormula, c) -> tuple[np.ndarray, np.ndarray]:
    """Return means and standard deviations at ``c``, without a warning: the callers mark extrapolation."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExtrapolationWarning)
        mean, std = formula.predict(c, return_std=True)
    return mean, std
