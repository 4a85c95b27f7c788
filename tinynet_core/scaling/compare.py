"""One network shrunk to several budgets by several methods, side by side."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from tinynet_core.networks.family import AnyFamily, family_of
from tinynet_core.scaling.scale import Scale
from tinynet_core.scaling.shrink import METHODS, BudgetWarning, Method, shrink
from tinynet_core.scaling.solve import UnreachableBudget

if TYPE_CHECKING:
    from tinynet_core.scaling.shrink import Formula

TITLES = {"r": "resolution r", "d": "depth d", "w": "width w"}


def compare(
    net: str | AnyFamily,
    macs: Sequence[float],
    methods: Sequence[Method] = METHODS,
    formula: "Formula | None" = None,
    latency: bool = False,
) -> pd.DataFrame:
    """The network at each budget of multiply-adds by each method, as exact costs.

    Parameters
    ----------
    net
        The name of a scalable network, or a family.
    macs
        Budgets of multiply-adds for one image.
    methods
        As for ``shrink``.
    formula
        A fitted one; ``released_formula()`` where left out.
    latency
        Whether to measure the milliseconds of each network, a few seconds each.

    Returns
    -------
    pandas.DataFrame
        A row for each budget and method: ``wanted``, ``method``, ``r``, ``d``, ``w``, ``resolution`` in pixels,
        ``macs``, ``params``, ``off``, the relative distance from the budget, ``latency_ms`` where asked for, and
        ``reason``, why there is no such network, empty where there is one.
    """
    family, rows = family_of(net), []
    for wanted in macs:
        for method in methods:
            row: dict = {"wanted": wanted, "method": method, "reason": ""}
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", BudgetWarning)  # the column "off" says it
                    found = shrink(family, wanted, method, formula if method == "formula" else None)
            except UnreachableBudget as error:
                row["reason"] = str(error)
            else:
                cost, scale = found.complexity, found.scale
                row |= {"r": scale.r, "d": scale.d, "w": scale.w, "resolution": found.network.resolution}
                row |= {"macs": cost.macs, "params": cost.params, "off": found.error}
                if latency:
                    from tinynet_core.export import measure_latency

                    row["latency_ms"] = measure_latency(found.network)
            rows.append(row)
    columns = ["wanted", "method", "r", "d", "w", "resolution", "macs", "params", "off"]
    columns += ["latency_ms"] * latency + ["reason"]
    return pd.DataFrame(rows, columns=columns).astype(dict.fromkeys(("resolution", "macs", "params"), "Int64"))


def table(found: pd.DataFrame) -> str:
    """The rows of ``compare`` as text; budgets and costs in millions."""
    shown = found.drop(columns="reason").assign(
        wanted=[f"{x / 1e6:,.4g}" for x in found.wanted],
        macs=["" if pd.isna(x) else f"{x / 1e6:,.4g}" for x in found.macs],
        params=["" if pd.isna(x) else f"{x / 1e6:,.3g}" for x in found.params],
        resolution=["none" if pd.isna(x) else f"{x}" for x in found.resolution],
        off=["" if pd.isna(x) else f"{x:+.1%}" for x in found.off],
    )
    names = {"wanted": "budget (M)", "macs": "MACs (M)", "params": "parameters (M)", "resolution": "pixels"}
    text = shown.rename(columns={**names, "latency_ms": "latency (ms)"}).to_string(
        index=False, na_rep="", float_format="{:.3g}".format
    )
    return "\n".join([text, *(f"none: {x}" for x in found.reason if x)])


def plot(found: pd.DataFrame, net: str | AnyFamily, path: Path) -> None:
    """Draw the multipliers of ``compare`` over the budgets to a file, by method; the suffix is its format."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 3.8), layout="constrained")
    panels = figure.subplots(1, 3, sharex=True)
    whole = family_of(net).cost(Scale()).macs / 1e6
    for axes, (x, title) in zip(panels, TITLES.items(), strict=True):
        for method, some in found.dropna(subset="macs").groupby("method", sort=False):
            axes.plot(some.macs.astype(float) / 1e6, some[x], "o-", label=method)
        axes.plot(whole, 1, "k*", markersize=10, label="whole network")
        axes.set(xscale="log", xlabel="MACs (millions)", ylabel="multiplier", title=title)
        ticks = [*(x / 1e6 for x in found.wanted.unique()), whole]
        axes.set_xticks(ticks, [f"{x:,.4g}" for x in ticks])
        axes.minorticks_off()
    panels[0].legend(fontsize="small")
    figure.suptitle(f"{family_of(net).name}, shrunk by each method", fontsize="medium")
    figure.savefig(path)
