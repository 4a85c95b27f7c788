"""The formula against its rivals at equal cost, and against the best of many random models."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from tinynet_book.analysis.comparison import Interval
from tinynet_book.figures.style import BLUE, GREY, ORANGE, RED

COLUMNS = 3


def differences_at_budgets(differences: pd.DataFrame, seeds: int) -> Figure:
    """Ours less each rival in points against the budget c: a panel for each rival, with 95% intervals.

    ``differences`` as of ``Duels.at_budgets``; hollow points do not count.
    """
    rivals = list(dict.fromkeys(differences.rival))
    budgets = sorted(set(differences.c))
    height = max(1, -(-len(rivals) // COLUMNS))
    size = (4 * COLUMNS, 2.9 * height)
    figure, grid = plt.subplots(height, COLUMNS, figsize=size, sharex=True, squeeze=False, layout="constrained")
    for axes, rival in zip(grid.flat, rivals, strict=False):
        some = differences[differences.rival == rival].sort_values("c")
        for counts, face in ((True, BLUE), (False, "white")):
            part = some[some.counts == counts]
            axes.errorbar(part.c, part.value, part.half, fmt="o", color=BLUE, markerfacecolor=face, capsize=3)
        axes.axhline(0, color=GREY, linewidth=1)
        axes.set_title(f"less {rival} (n = {int(some.counts.sum())})", fontsize="medium")
        axes.set_xscale("log")
        axes.set_xticks(budgets, [f"{c:g}" for c in budgets])
        axes.xaxis.set_minor_locator(NullLocator())
    for axes in grid.flat[len(rivals) :]:
        axes.set_visible(False)
    figure.supxlabel("budget c (share of the baseline's MACs)")
    figure.supylabel(f"difference of top-1 (points), {seeds} seed{'s' if seeds > 1 else ''} a network")
    return figure


def best_of_random(
    curve: pd.DataFrame, images: int, target: Interval | None = None, regressed: np.ndarray | None = None
) -> Figure:
    """The best of n random models against n: expected value with the central 95%, in percent.

    ``curve`` as of ``search.best_of`` of top-1 in percent, ``regressed`` what its best are worth when trained anew, and
    ``target`` the formula's network at the same cost with its interval.
    """
    figure, axes = plt.subplots(figsize=(8, 5))
    label = "central 95% of draws"
    axes.fill_between(curve.n, curve.low, curve.high, color=ORANGE, alpha=0.2, linewidth=0, label=label)
    axes.plot(curve.n, curve.expected, color=ORANGE, marker=".", label=f"expected best, as measured (N = {len(curve)})")
    if regressed is not None:
        axes.plot(curve.n, regressed, color=RED, linestyle="--", label="the same, luck of the seed removed")
    if target is not None:
        axes.axhline(target.value, color=BLUE, label="formula fitted here, with 95% interval")
        axes.axhspan(target.value - target.half, target.value + target.half, color=BLUE, alpha=0.15, linewidth=0)
    axes.set_xscale("log")
    ticks = [n for n in (1, 2, 3, 5, 10, 20, 50, 100, 200, 500, 1000) if n <= len(curve)]
    axes.set_xticks(ticks, [str(n) for n in ticks])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set(xlabel="random models trained at this cost (n)", ylabel=f"top-1 (%), {images:,} validation images")
    axes.legend(loc="lower right", fontsize="small")
    return figure
