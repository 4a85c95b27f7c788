"""Compared networks: accuracy along ways to shrink, effects with intervals, and where the parameters are."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from tinynet_book.figures.style import BLUE, GREEN, GREY, ORANGE, RED, error_bars, mean_half_width

MARKERS = (("o", BLUE), ("s", GREEN), ("^", ORANGE), ("D", RED), ("v", "0.3"), ("P", GREY))


def shrinking_curves(frame: pd.DataFrame, ways: Mapping[str, Sequence[str]], images: int, minimum: float) -> Figure:
    """Figure 6: mean top-1 against MACs along each of ``ways``, the names of its models in ``frame``.

    Bars are 95% intervals: Student's t over seeds, binomial with one seed. The upright line is at ``minimum``, the MACs
    of the baseline at its smallest depth.
    """
    figure, axes = plt.subplots(figsize=(8, 5))
    done = frame[frame.status == "done"]
    runs, macs = done.groupby("model").top1, done.groupby("model").macs.first()
    for (way, names), (marker, colour) in zip(ways.items(), MARKERS, strict=False):
        present = [name for name in names if name in runs.groups]
        line = sorted(((macs[name], runs.get_group(name)) for name in present), key=lambda point: point[0])
        means = [100 * top1.mean() for _, top1 in line]
        axes.errorbar(
            [cost / 1e6 for cost, _ in line],
            means,
            error_bars(means, [100 * mean_half_width(top1, images) for _, top1 in line]),
            marker=marker,
            color=colour,
            capsize=3,
            label=f"{way} (n = {len(line)})",
        )
    axes.axvline(minimum / 1e6, color=GREY, linestyle="--", label="minimum depth")
    seeds = runs.size().max()
    axes.set(
        xlabel="MACs (millions)",
        ylabel=f"top-1 (%), {images:,} validation images, {seeds} seed{'s' if seeds > 1 else ''} a network",
    )
    axes.legend(loc="lower right")
    return figure


def effects(frame: pd.DataFrame, seeds: int) -> Figure:
    """Effects in points with 95% intervals (columns effect, group, value, half): a line an effect, groups by colour.

    An interval of more than 100 points to either side, which every difference lies in, is left out.
    """
    groups = list(dict.fromkeys(frame.group))
    names = list(dict.fromkeys(frame.effect))
    figure, axes = plt.subplots(figsize=(8, 0.6 * len(names) + 1.4))
    shift = np.linspace(-0.25, 0.25, len(groups)) if len(groups) > 1 else [0.0]
    for group, (marker, colour), dy in zip(groups, MARKERS, shift, strict=False):
        some = frame[frame.group == group]
        y = [names.index(effect) + dy for effect in some.effect]
        half = some.half.where(some.half <= 100)
        axes.errorbar(some.value, y, xerr=half, fmt=marker, color=colour, capsize=3, label=group)
    axes.axvline(0, color=GREY, linewidth=1)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set(xlabel=f"difference of top-1 (points), {seeds} seed{'s' if seeds > 1 else ''} a network")
    axes.legend(loc="best", fontsize="small")
    return figure


def head_shares(costs: pd.DataFrame) -> Figure:
    """Parameters and MACs of networks, split in the head and the rest, both in millions.

    Columns network, head, params, macs, head_params, head_macs; the hatched part of a bar is the head, with its share.
    """
    labels = costs.network + ", " + costs["head"] + " head"
    figure, panels = plt.subplots(1, 2, figsize=(12, 0.3 * len(costs) + 1.2), sharey=True, layout="constrained")
    for axes, key, label in zip(panels, ("params", "macs"), ("parameters", "MACs"), strict=True):
        total, top = costs[key] / 1e6, costs[f"head_{key}"] / 1e6
        colours = [BLUE if name.startswith("TinyNet") else GREEN for name in costs.network]
        axes.barh(labels, total - top, color=colours)
        bars = axes.barh(labels, top, left=total - top, color=colours, alpha=0.4, hatch="///", edgecolor="white")
        axes.bar_label(bars, [f"{share:.0%}" for share in top / total], padding=3, fontsize="small")
        axes.set(xlabel=f"{label} (millions); hatched: head, with its share")
    panels[0].invert_yaxis()
    return figure
