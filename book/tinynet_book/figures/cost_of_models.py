"""All trained networks against what they cost: MACs, parameters, activations and latency."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from tinynet_book.analysis.equal_cost import COSTS, UNITS, Lead
from tinynet_book.figures.style import BLUE, GREEN, GREY, ORANGE, RED, error_bars, points

MARKERS = ("o", "s", "^", "D", "v", "P")
COLOURS = {"macs": BLUE, "params": ORANGE, "activations": GREEN, "latency_ms": RED}


def accuracy_against_costs(
    sample: pd.DataFrame, compared: pd.DataFrame, half: Mapping[str, float], images: int, evidence: str
) -> Figure:
    """Top-1 of all models against each cost, a panel each, the frontier marked and the compared networks named.

    ``sample`` and ``compared`` are rows of the table of models, ``compared`` with a column ``name``; ``half`` is half
    the 95% interval of each of those, in points. Models of the sample have the binomial interval of ``images``
    validation images, times their own 95% interval. What was not timed is missing in the last panel.
    """
    figure, panels = plt.subplots(2, 2, figsize=(12, 9.5), sharey=True, layout="constrained")
    for axes, (cost, text) in zip(panels.flat, COSTS.items(), strict=True):
        unit = UNITS[cost]
        some = sample[sample[cost].notna() & sample.top1_mean.notna()]
        for group, colour, what in (
            (some[~some.frontier], GREY, "random models"),
            (some[some.frontier], RED, "their frontier in MACs"),
        ):
            points(axes, group[cost] / unit, group.top1_mean, images, color=colour, label=what)
        named = compared[compared[cost].notna() & compared.top1_mean.notna()]
        tiny = named.name.str.startswith("TinyNet")
        for group, colour, what, side in ((named[tiny], BLUE, "TinyNet", -6), (named[~tiny], GREEN, "EfficientNet", 6)):
            group = group.sort_values(cost)
            x, y = group[cost] / unit, 100 * group.top1_mean
            error = error_bars(y, [half[name] for name in group.name])
            axes.errorbar(x, y, error, fmt="s-", color=colour, capsize=3, markersize=6, label=what, zorder=3)
            for name, at, top1 in zip(group.name, x, y, strict=True):
                short = name.removeprefix("Baseline ").removeprefix("TinyNet-").removeprefix("EfficientNet-")
                align = "right" if side < 0 else "left"
                axes.annotate(
                    short, (at, top1), (side, -side), textcoords="offset points", color=colour, size=9, ha=align
                )
        if cost == "latency_ms":
            for group in (some, named):
                x = group[cost]
                ends = [x - group.latency_low_ms, group.latency_high_ms - x]
                axes.errorbar(x, 100 * group.top1_mean, xerr=ends, fmt="none", ecolor="0.4", elinewidth=0.8)
        axes.set(xlabel=text, xscale="log", ylabel=f"top-1 (%, {evidence}), {images:,} validation images")
        axes.set_title(f"n = {len(some)} random models, {len(named)} compared", fontsize="medium")
        _plain(axes.xaxis)
    figure.legend(*panels[0][0].get_legend_handles_labels(), loc="outside upper center", ncols=4)
    return figure


def _plain(axis) -> None:
    """Numbers such as 0.05 on a logarithmic axis, few enough not to overlap."""
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.set_minor_formatter(NullFormatter())


def cost_correlations(found: pd.DataFrame, title: str) -> Figure:
    """Spearman's rho with 95% intervals (columns target, group, cost, rho, low, high, n): a panel for each target."""
    targets, groups = list(dict.fromkeys(found.target)), list(dict.fromkeys(found.group))
    names = list(dict.fromkeys(found.cost))
    size = (5.5 * len(targets), 0.55 * len(names) + 1.6)
    figure, panels = plt.subplots(1, len(targets), figsize=size, squeeze=False, sharey=True, layout="constrained")
    shift = np.linspace(-0.15, 0.15, len(groups)) if len(groups) > 1 else [0.0]
    for axes, target in zip(panels[0], targets, strict=True):
        for group, marker, colour, dy in zip(groups, MARKERS, (GREY, BLUE, RED, GREEN), shift, strict=False):
            some = found[(found.target == target) & (found.group == group) & found.rho.notna()]
            y = [names.index(cost) + dy for cost in some.cost]
            error = [np.maximum(some.rho - some.low, 0), np.maximum(some.high - some.rho, 0)]
            label = f"{group} (n = {some.n.max()})" if len(some) else group
            axes.errorbar(some.rho, y, xerr=error, fmt=marker, color=colour, capsize=3, label=label)
        axes.axvline(0, color=GREY, linewidth=1)
        axes.set(xlim=(-1.05, 1.05), xlabel=f"Spearman's rho with {target}, 95% interval")
        axes.set_yticks(range(len(names)), names)
    panels[0][0].invert_yaxis()
    figure.legend(*panels[0][0].get_legend_handles_labels(), loc="outside upper center", ncols=len(groups), title=title)
    return figure


def latency_against_costs(models: pd.DataFrame, shares: Mapping[str, str]) -> Figure:
    """Measured latency of every network against each exact cost, both logarithmic; ``shares``: the panels' titles."""
    timed = models[models.latency_ms.notna()]
    figure, panels = plt.subplots(1, len(shares), figsize=(4.6 * len(shares), 4.2), sharey=True, layout="constrained")
    error = [timed.latency_ms - timed.latency_low_ms, timed.latency_high_ms - timed.latency_ms]
    for axes, (cost, share) in zip(panels, shares.items(), strict=True):
        x = timed[cost] / UNITS[cost]
        axes.errorbar(x, timed.latency_ms, error, fmt="o", color=COLOURS[cost], markersize=4, elinewidth=0.8, alpha=0.7)
        slope, start = np.polyfit(np.log(x), np.log(timed.latency_ms), 1)
        line = np.geomspace(x.min(), x.max(), 50)
        axes.plot(line, np.exp(start) * line**slope, color="0.3", linewidth=1, label=f"power {slope:.2f}")
        axes.set(xscale="log", yscale="log", xlabel=COSTS[cost], title=f"{share}, n = {len(timed)}")
        axes.title.set_size("medium")
        axes.legend(loc="upper left", fontsize="small")
        _plain(axes.xaxis)
        _plain(axes.yaxis)
    panels[0].set(ylabel="latency (ms), medians with 95% intervals")
    return figure


def leads_at_equal_cost(leads: Mapping[str, list[Lead]], seeds: int) -> Figure:
    """How far each network is ahead of a line of rivals, in points with 95% intervals, by the cost that is held equal.

    ``leads`` are those by each cost; what lies outside of the line is left out.
    """
    names = list(dict.fromkeys(x.ours for found in leads.values() for x in found))
    figure, axes = plt.subplots(figsize=(8, 0.8 * len(names) + 1.6), layout="constrained")
    shift = np.linspace(-0.3, 0.3, len(leads))
    for (cost, found), marker, dy in zip(leads.items(), MARKERS, shift, strict=False):
        drawn = [(names.index(x.ours) + dy, x.gap) for x in found if x.gap is not None]
        axes.errorbar(
            [gap.value for _, gap in drawn],
            [y for y, _ in drawn],
            xerr=[gap.half for _, gap in drawn],
            fmt=marker,
            color=COLOURS[cost],
            capsize=3,
            label=f"at equal {COSTS[cost].split(' (')[0]}",
        )
    axes.axvline(0, color=GREY, linewidth=1)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set(xlabel=f"top-1 over the line of the EfficientNets (points), {seeds} seed{'s' * (seeds > 1)} a network")
    axes.legend(loc="best", fontsize="small")
    return figure
