"""The spread between seeds, what can be told apart, and the rank correlations of the frontier in spite of it."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy.special import logit

from tinynet_book.analysis.correlation import Correlation
from tinynet_book.analysis.spread import ranked_right
from tinynet_book.figures.style import BLUE, DIMENSIONS, GREEN, GREY, ORANGE, RED
from tinynet_core.study.spread import Spread

COLOURS = (BLUE, ORANGE, GREEN, RED)


def seed_spreads(each: pd.DataFrame, pooled: Spread, images: int) -> Figure:
    """Standard deviation between seeds of each network (columns mean, sd, seeds, fractions) against its mean top-1.

    The line is the ``pooled`` one of log odds with its 95% interval; the dashed one is that of ``images`` drawn anew.
    """
    figure, axes = plt.subplots(figsize=(7, 4.2))
    axes.plot(100 * each["mean"], 100 * each.sd, "o", color=BLUE, label=f"one network (n = {len(each)})")
    if each.empty:
        axes.text(0.5, 0.3, "no network has two seeds", transform=axes.transAxes, ha="center", color=RED)
        axes.set(xlim=(0, 100))
    top1 = np.linspace(0, 1, 101)
    slope = 100 * top1 * (1 - top1)
    if pooled.known:
        axes.fill_between(100 * top1, slope * pooled.low, slope * pooled.high, color=RED, alpha=0.15, linewidth=0)
        label = f"pooled in log odds, {pooled.freedom} degrees of freedom, 95% interval"
        axes.plot(100 * top1, slope * pooled.sd, color=RED, label=label)
    binomial = 100 * np.sqrt(top1 * (1 - top1) / images)
    axes.plot(100 * top1, binomial, color=GREY, linestyle="--", label=f"binomial, {images:,} images drawn anew")
    seeds = sorted(set(each.seeds))
    axes.set(
        xlabel="mean top-1 (%) over seeds",
        ylabel="standard deviation between seeds\n(points of top-1)",
        title=f"{' or '.join(map(str, seeds)) or 'one'} seed{'s' if seeds else ''} a network",
        ylim=(0, max(2 * binomial.max(), 150 * each.sd.max() if len(each) else 0)),
    )
    axes.legend(fontsize="small", loc="upper right")
    return figure


def what_seeds_resolve(
    apart: Mapping[float, pd.DataFrame], better: float, sd: float, seeds: Sequence[int], what: str
) -> Figure:
    """Left: where a network is told from another, whose accuracies are the keys of ``apart``.

    Its frames have the accuracies ``below`` and ``above`` which it is, over the seeds of each. Right: how often a
    network of accuracy ``better`` ranks above one that is lower, for ``seeds`` runs each; ``sd`` is the spread in log
    odds, named ``what``.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
    for (top1, ends), colour in zip(apart.items(), COLOURS, strict=False):
        for name, label in (("below", f"from one at {top1:.0%}"), ("above", None)):
            left.plot(ends.index, 100 * ends[name], "o-", color=colour, label=label)
        left.axhline(100 * top1, color=colour, linestyle=":", linewidth=1)
        left.set_xticks(ends.index)
    left.set(
        xlabel="seeds of each of two networks",
        ylabel="told apart below and above (top-1, %)",
        title="5% two-sided, power 80%",
        ylim=(0, 100),
    )
    left.legend(fontsize="small", loc="center right")
    lower = np.linspace(better, 0.01, 100)
    for runs, colour in zip(seeds, COLOURS, strict=False):
        right.plot(
            100 * (better - lower),
            100 * ranked_right(logit(better) - logit(lower), sd, runs),
            color=colour,
            label=f"{runs} run{'s'[: runs > 1]} each",
        )
    right.set(
        xlabel=f"true accuracy of the other below {better:.0%} (points)",
        ylabel="better network ranked first (%)",
        title=f"standard deviation {sd:.2f} in log odds: {what}",
    )
    right.legend(fontsize="small")
    return figure


def correlations_by_selection(
    found: Mapping[str, Mapping[str, Correlation]],
    nulls: Mapping[str, Mapping[str, np.ndarray]],
    noisy: Mapping[str, Mapping[str, np.ndarray]],
) -> Figure:
    """Spearman's rho of r, d and w with MACs for each selection: frontier, null of its size, and other seeds.

    By the name of the selection and then by r, d and w: the correlation with its bootstrap interval, its
    distribution over random subsets, and over frontiers with other seeds (empty where the spread is unknown).
    """
    figure, panels = plt.subplots(1, 3, figsize=(12, 0.5 * len(found) + 2.2), sharey=True, layout="constrained")
    names = list(found)
    for axes, (x, label) in zip(panels, DIMENSIONS.items(), strict=True):
        for i, name in enumerate(names):
            low, middle, high = np.quantile(nulls[name][x], [0.025, 0.5, 0.975])
            axes.barh(
                i, high - low, left=low, height=0.75, color="0.88", label="null, 95% and median" if i == 0 else None
            )
            axes.plot([middle] * 2, [i - 0.37, i + 0.37], color=GREY)
            rho = found[name][x]
            sides = [[max(rho.rho - rho.low, 0)], [max(rho.high - rho.rho, 0)]]
            axes.errorbar(
                rho.rho,
                i - 0.12,
                xerr=sides,
                fmt="o",
                color=RED,
                capsize=3,
                label="frontier, 95% bootstrap" if i == 0 else None,
            )
            if len(drawn := noisy.get(name, {}).get(x, ())):
                low, middle, high = np.nanquantile(drawn, [0.025, 0.5, 0.975])
                axes.errorbar(
                    middle,
                    i + 0.18,
                    xerr=[[middle - low], [high - middle]],
                    fmt="s",
                    color=BLUE,
                    capsize=3,
                    label="other seeds, 95%" if i == 0 else None,
                )
        axes.axvline(0, color=GREY, linewidth=0.8)
        axes.set(xlabel="Spearman's rho with MACs", title=label, xlim=(-1.05, 1.05))
    panels[0].set_yticks(range(len(names)), [f"{name}\nn = {found[name]['r'].n}" for name in names])
    panels[0].invert_yaxis()
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize="small")
    return figure
