"""Figure 7, accuracy against cost of whole families of networks, and the differences behind Table 6."""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter
from numpy.typing import ArrayLike

from tinynet_book.figures.style import BLUE, RED, error_bars, mean_half_width
from tinynet_book.paper.systems import TINY_FORMULA

COLOURS = {
    "MobileNetV1": "0.55",
    "MobileNetV2": "#949494",
    "MobileNetV3": "#de8f05",
    "ShuffleNetV2": "#ca9161",
    "MnasNet": "#fbafe4",
    "FBNet": "#cc78bc",
    "ProxylessNAS": "#8a5fbf",
    "GreedyNAS": "#56b4e9",
    "EfficientNet": "#029e73",
    "TinyNet": "#0173b2",
    "GhostNet": "0.1",
    TINY_FORMULA: "#d55e00",
}
MARKERS = {"": "o", " + HSwish": "^", " + HSwish + RA": "*", " + RA": "*"}
"""Marker by what was added to a network."""
WHOLE = {
    "MobileNetV1": (0, 6, -10, "left"),
    "MobileNetV2": (0, 6, -11, "left"),
    "MobileNetV3": (0, -2, -17, "left"),
    "ShuffleNetV2": (0, 7, -10, "left"),
    "MnasNet": (0, 8, -4, "left"),
    "EfficientNet": (-1, 0, -15, "center"),
    "TinyNet": (0, -4, 9, "right"),
    "GhostNet": (0, -7, 5, "right"),
    TINY_FORMULA + " + HSwish + RA": (-1, -8, 4, "right"),
}
CLOSE = {
    "MobileNetV2": (-1, 8, -5, "left"),
    "MobileNetV3": (-1, 3, -14, "left"),
    "ShuffleNetV2": (-1, 8, -5, "left"),
    "MnasNet": (-1, 2, 7, "left"),
    "FBNet": (-1, -8, -4, "right"),
    "ProxylessNAS": (-1, 8, -5, "left"),
    "GreedyNAS": (-1, 8, -7, "left"),
    "EfficientNet": (-1, 0, 9, "center"),
    "EfficientNet + RA": (-1, 15, -10, "left"),
    "TinyNet": (1, 0, -16, "center"),
    "TinyNet + RA": (-1, -6, 24, "right"),
    "GhostNet": (-1, -9, -4, "right"),
}
"""Text beside a point of a family: which point by growing cost, shift in points of print, alignment."""
CORNER = ((130, 770), (71, 80))
"""MACs in millions and top-1 in percent of the lower panel of Figure 7."""


def quoted_systems(systems: pd.DataFrame, front: ArrayLike) -> Figure:
    """Figure 7: quoted top-1 against cost, one line a family, rings around the Pareto ``front``; below its upper end.

    ``systems`` as ``paper.systems.systems`` gives them, ``front`` a truth value for each. The cost is our count of
    MACs, and the quoted FLOPs where the system is no network of this package.
    """
    figure, panels = plt.subplots(2, 1, figsize=(10, 12), layout="constrained")
    drawn = systems.assign(x=(systems.macs / 1e6).fillna(systems.flops))
    ring = drawn[np.asarray(front)]
    for axes, texts in zip(panels, (WHOLE, CLOSE), strict=True):
        _families(axes, drawn, texts)
        axes.plot(ring.x, ring.top1, "o", markersize=15, markerfacecolor="none", color="0.75", zorder=1)
    panels[0].plot([], [], "o", markersize=11, markerfacecolor="none", color="0.75", label=f"front (n = {len(ring)})")
    panels[1].set(xlim=CORNER[0], ylim=CORNER[1])
    for axes in panels:
        _cost_axis(axes)
        axes.set(ylabel=f"top-1 on ImageNet as printed (%), n = {len(drawn)}")
    panels[0].legend(loc="lower right")
    return figure


def _families(axes: Axes, drawn: pd.DataFrame, texts: dict[str, tuple[int, int, int, str]]) -> None:
    """One line for each family, with its name beside the point that ``texts`` says."""
    for name, line in drawn.groupby("family", sort=False):
        name, line = str(name), line.sort_values("x")
        axes.plot(line.x, line.top1, **_look(name), label=name if name.startswith(TINY_FORMULA) else None)
        if name in texts:
            which, right, up, align = texts[name]
            end = line.iloc[which]
            text = "GhostNet, tiny formula" if name.startswith(TINY_FORMULA) else name
            look: dict[str, Any] = {"color": _look(name)["color"], "fontsize": "small", "ha": align}
            axes.annotate(text, (end.x, end.top1), (right, up), textcoords="offset points", **look)


def trained_systems(frame: pd.DataFrame, images: int) -> Figure:
    """Top-1 against MACs of the networks trained here, one line a family (column ``family``), with 95% intervals.

    A point is a mean over seeds with Student's t; with one seed the interval is the binomial one of ``images``.
    """
    done = frame[frame.status == "done"]
    figure, axes = plt.subplots(figsize=(11, 5.5))
    for name, line in done.groupby("family", sort=False):
        groups = line.groupby("model", sort=False)
        macs = groups.macs.first() / 1e6
        order = macs.sort_values().index
        mean, half = 100 * groups.top1.mean(), 100 * groups.top1.apply(mean_half_width, images)
        look = _look(str(name)) | {"elinewidth": 0.8, "capsize": 2}
        error = error_bars(mean[order], half[order])
        axes.errorbar(macs[order], mean[order], error, label=f"{name} (n = {len(order)})", **look)
    _cost_axis(axes)
    seeds = done.groupby("model").size().max()
    axes.set(ylabel=f"top-1 (%), {images:,} validation images, {seeds} seed{'s' if seeds > 1 else ''} a network")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.13), ncols=3, fontsize="small")
    return figure


def _look(family: str) -> dict[str, Any]:
    """Colour by the series, marker by what was added, fuller lines for the tiny formula."""
    series = next(name for name in sorted(COLOURS, key=len, reverse=True) if family.startswith(name))
    added = family.removeprefix(series)
    strong = series == TINY_FORMULA
    return {
        "color": COLOURS[series],
        "marker": MARKERS[added],
        "markersize": 11 if added.endswith("RA") else 6,
        "linewidth": 2.0 if strong else 1.2,
        "linestyle": {"": ":", " + HSwish": "--"}.get(added, "-") if strong else "-",
        "zorder": 3 if strong else 2,
    }


def _cost_axis(axes: Axes) -> None:
    axes.set_xscale("log")
    low, high = axes.get_xlim()
    ticks = [m * 10.0**e for e in range(-2, 4) for m in (1, 2, 3, 5, 7)]
    axes.set_xticks([t for t in ticks if low <= t <= high])
    axes.xaxis.set_major_formatter(FuncFormatter("{:g}".format))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set(xlabel="MACs (millions, logarithmic)", xlim=(low, high))


def margins_over_others(margins: pd.DataFrame, threshold: float) -> Figure:
    """Bars of ``margin`` in points, one group a ``model``, one bar a ``variant``, and a line at ``threshold``."""
    figure, axes = plt.subplots(figsize=(9, 4))
    models, variants = margins.model.unique(), margins.variant.unique()
    width = 0.8 / len(variants)
    for i, (variant, colour) in enumerate(zip(variants, ("0.75", BLUE, "#de8f05", RED), strict=False)):
        some = margins[margins.variant == variant].set_index("model").reindex(models)
        x = np.arange(len(models)) + (i - (len(variants) - 1) / 2) * width
        bars = axes.bar(x, some.margin, width, color=colour, label=variant)
        axes.bar_label(bars, fmt="{:+.1f}", padding=2, fontsize="small")
    axes.axhline(threshold, color="0.3", linestyle="--", linewidth=1, label=f"{threshold:g} points")
    axes.set_xticks(range(len(models)), models)
    axes.set(ylabel="lead over the best other system\nof at most its FLOPs (points of top-1)")
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1), fontsize="small")
    return figure


def effects_beside_paper(effects: pd.DataFrame, evidence: str, seeds: int) -> Figure:
    """Differences of top-1 in points: on the left as the paper's numbers give them, on the right as measured here.

    Rows of ``effects``: ``label``, ``paper``, and ``gap`` with ``half`` of its 95% interval, NaN where there is none.
    ``evidence`` is what the differences here are worth, ``seeds`` how many trainings of each network they come from.
    """
    figure, panels = plt.subplots(1, 2, figsize=(11, 0.36 * len(effects) + 1.6), sharey=True, layout="constrained")
    y = np.arange(len(effects))
    panels[0].plot(effects.paper, y, "D", color="0.5")
    panels[1].errorbar(effects.gap, y, xerr=effects.half, fmt="o", color=BLUE, capsize=3)
    trained = f"here ({evidence}), {seeds} training{'s' if seeds > 1 else ''} each"
    for axes, title in zip(panels, ("paper (quoted), 1 training each", trained), strict=True):
        axes.axvline(0, color="0.4", linewidth=0.8)
        axes.set(title=title, xlabel="difference of top-1 (points)")
    panels[0].set_yticks(y, effects.label, fontsize="small")
    panels[0].set_ylim(len(effects) - 0.5, -0.5)
    return figure
