"""Costs of networks, exact and printed."""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from tinynet_book.figures.style import BLUE, DIMENSIONS, GREEN, ORANGE, RED
from tinynet_core.scaling.scale import GIANT, Scale


def ways_to_shrink(ways: pd.DataFrame, name: str) -> Figure:
    """Multipliers and parameters against MACs of network ``name`` shrunk by each method (``method``, r, d, w, ...)."""
    figure, panels = plt.subplots(1, 4, figsize=(15, 4))
    columns = {**{k: f"{label} (multiplier)" for k, label in DIMENSIONS.items()}, "params": "parameters (millions)"}
    for axes, (column, label) in zip(panels, columns.items(), strict=True):
        for (method, group), colour in zip(
            ways.groupby("method", sort=False), (BLUE, GREEN, ORANGE, RED), strict=False
        ):
            y = group[column] / 1e6 if column == "params" else group[column]
            axes.plot(group.macs / 1e6, y, "o-", color=colour, label=method, alpha=0.8)
        axes.set(xlabel="MACs (millions)", ylabel=label, ylim=(0, None))
    panels[0].legend(title=name, fontsize="small")
    figure.tight_layout()
    return figure


def cost_distances(costs: pd.DataFrame) -> Figure:
    """How far our parameters and MACs are from the printed ones, one line per network of a cost table.

    The dark bars are what rounds to the printed number, the light band is 2% to either side.
    """
    lines = costs.drop_duplicates("network").reset_index(drop=True)
    figure, panels = plt.subplots(1, 2, figsize=(11, 0.25 * len(lines) + 1.2), sharey=True, layout="constrained")
    for axes, key, step, label in zip(panels, ("params", "macs"), (0.1, 1.0), ("parameters", "MACs"), strict=True):
        printed, off = lines[f"paper_{key}"], 100 * lines[f"{key}_off"]
        axes.axvspan(-2, 2, color="0.93", zorder=0)
        axes.barh(lines.index, 100 * step / printed, left=-50 * step / printed, color="0.75", height=0.7, zorder=1)
        for matches, colour, name in ((True, BLUE, "row matches"), (False, RED, "row does not match")):
            some = lines["match"] == matches
            axes.plot(off[some], lines.index[some], "o", color=colour, label=f"{name} (n = {some.sum()})", zorder=2)
        axes.set(xlabel=f"{label}: ours over the paper's, minus 1 (%)", ylim=(len(lines) - 0.4, -0.6))
    panels[0].set_yticks(lines.index, lines.model, fontsize="small")
    figure.legend(*panels[1].get_legend_handles_labels(), loc="outside upper center", ncols=2)
    return figure


def cost_by_row(rows: pd.DataFrame) -> Figure:
    """MACs and parameters of each row of an architecture table (columns ``row``, ``macs``, ``params``), in millions."""
    figure, panels = plt.subplots(1, 2, figsize=(11, 0.3 * len(rows) + 1.2), sharey=True)
    for axes, key, colour, label in zip(
        panels, ("macs", "params"), (BLUE, ORANGE), ("MACs", "parameters"), strict=True
    ):
        bars = axes.barh(range(len(rows)), rows[key] / 1e6, color=colour)
        axes.bar_label(bars, [f"{share:.0%}" for share in rows[key] / rows[key].sum()], padding=3, fontsize="small")
        axes.set(xlabel=f"{label} (millions), {rows[key].sum() / 1e6:.1f} in all")
    panels[0].set_yticks(range(len(rows)), rows.row, fontsize="small")
    panels[0].invert_yaxis()
    figure.tight_layout()
    return figure


def enumerated_scales(
    sets: dict[str, pd.DataFrame], marks: dict[str, dict[str, Scale]], curve: bool = False, columns: int = 2
) -> Figure:
    """All networks with a given cost: resolution against depth, coloured by width, one panel for each of ``sets``.

    A network is an upright bar over the depths that give it. ``marks`` are named scales to point out in the panels,
    ``curve`` draws the giant formula.
    """
    count, colour = -(-len(sets) // columns), plt.get_cmap("viridis")
    figure, panels = plt.subplots(
        count,
        columns,
        figsize=(4.4 * columns, 3.2 * count),
        squeeze=False,
        sharex=True,
        sharey=True,
        layout="constrained",
    )
    shown: dict[str, Any] = {}
    widths = pd.concat(list(sets.values())).w
    norm = plt.Normalize(widths.min(), widths.max())
    for axes, (title, networks) in zip(panels.flat, sets.items(), strict=False):
        bars = networks.sort_values("w", ascending=False)
        _upright(axes, bars, colour(norm(bars.w)))
        if curve:
            phi = np.linspace(0, -8, 100)
            (shown["giant formula"],) = axes.plot(GIANT.r**phi, GIANT.d**phi, color="0.4", linewidth=1)
        for (name, scale), marker in zip(marks.get(title, {}).items(), ("*", "X", "P"), strict=False):
            (shown[name],) = axes.plot(
                scale.r, scale.d, marker, color=RED, markersize=12, markeredgecolor="white", linestyle="none"
            )
        axes.set_title(f"{title} (n = {len(networks):,})", fontsize="medium")
        axes.set(xlabel="resolution r (multiplier)", yscale="log")
        axes.set_yticks((0.25, 0.5, 1, 2), ("0.25", "0.5", "1", "2"))
        axes.minorticks_off()
        axes.tick_params(labelbottom=True)
    for axes in panels[:, 0]:
        axes.set(ylabel="depth d (multiplier)")
    for axes in list(panels.flat)[len(sets) :]:
        axes.axis("off")
    figure.colorbar(plt.cm.ScalarMappable(norm, colour), ax=panels, label="width w (multiplier)")
    if shown:
        figure.legend([*shown.values()], [*shown], loc="outside lower center", ncols=len(shown))
    return figure


def _upright(axes: Axes, networks: pd.DataFrame, colours: np.ndarray) -> None:
    """A bar over the depths of each network.

    Those of one colour are one line with gaps, and the axes are told where they all are: there are tens of thousands.
    """
    ends = np.stack([networks[["r", end]].to_numpy() for end in ("d_low", "d_high")], axis=1)
    gapped = np.concatenate([ends, np.full((len(ends), 1, 2), np.nan)], axis=1)
    found, alike = np.unique(colours, axis=0, return_inverse=True)
    order = [*dict.fromkeys(alike)]  # that of the networks, which lie on top of each other
    lines = [gapped[alike == i].reshape(-1, 2) for i in order]
    bars = LineCollection(lines, colors=found[order], linewidth=1.8, rasterized=True)
    bars.set_in_layout(False)
    axes.add_collection(bars, autolim=False)
    axes.update_datalim(ends.reshape(-1, 2))
    axes.autoscale_view()
