"""What happens from epoch to epoch."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from tinynet_book.figures.style import BLUE, GREEN, GREY, RED, binomial_half_width, points


def averaging_curves(curves: pd.DataFrame, images: int) -> Figure:
    """Accuracy after each epoch: the raw weights, and each average of them, with 95% intervals of one run."""
    figure, axes = plt.subplots(figsize=(8, 5))
    mean = curves.groupby(["model", "epoch"], sort=False)[["raw_top1", "ema_top1"]].mean().reset_index()
    seeds = curves.seed.nunique()
    raw = mean.groupby("epoch").raw_top1.mean()
    points(axes, raw.index, raw, images, color=GREY, linestyle="-", label="raw weights")
    for (name, line), colour in zip(mean.groupby("model", sort=False), (RED, BLUE, GREEN), strict=True):
        points(axes, line.epoch, line.ema_top1, images, color=colour, linestyle="-", label=f"average, {name}")
    axes.set(
        xlabel=f"epoch (n = {seeds} {'seed' if seeds == 1 else 'seeds'} each)",
        ylabel=f"top-1 (%), {images:,} validation images",
        ylim=(0, 102),
        xticks=sorted(curves.epoch.unique()),
    )
    axes.legend(loc="upper left", fontsize="small")
    return figure


def initial_shares(shares: dict[str, np.ndarray], marks: dict[str, int]) -> Figure:
    """How much of an average of weights is the initial weights, against the number of steps; ``marks`` are lengths.

    ``shares`` are those after 0, 1, ... steps; drawn are 400 of them, at even distances on the logarithmic axis.
    """
    figure, axes = plt.subplots(figsize=(8, 4.5))
    for (name, share), colour in zip(shares.items(), (RED, BLUE, GREEN), strict=False):
        drawn = np.unique(np.geomspace(1, len(share) - 1, 400).round().astype(int))
        axes.plot(drawn, 100 * share[drawn], color=colour, label=name)
    for name, steps in marks.items():
        axes.axvline(steps, color=GREY, linestyle=":", linewidth=1)
        axes.annotate(name, (steps, 101), ha="center", fontsize="small", color="0.35", annotation_clip=False)
    axes.set(xscale="log", xlabel="steps of the optimiser", ylabel="initial weights in the average (%)", ylim=(0, 100))
    axes.legend(loc="center left")
    return figure


def learning_curves(curves: pd.DataFrame, images: int) -> Figure:
    """Accuracy (a) and loss (b) of each model after each epoch, means over seeds (Figure 4).

    Bands are from the lowest to the highest seed; with one seed, where there is no such band, that of the averaged
    weights' accuracy is the 95% binomial interval of ``images`` validation images.
    """
    figure, panels = plt.subplots(1, 2, figsize=(12, 4.8), layout="constrained")
    seeds = curves.seed.nunique()
    shown = {
        "ema": ("-", "validation, averaged weights"),
        "raw": ("--", "validation, raw weights"),
        "train": (":", "training"),
    }
    for axes, what, factor in zip(panels, ("top1", "loss"), (100, 1), strict=True):
        for (name, runs), colour in zip(curves.groupby("model", sort=False), (BLUE, RED), strict=True):
            for part, (line, text) in shown.items():
                over_seeds = factor * runs.groupby("epoch")[f"{part}_{what}"].agg(["mean", "min", "max"])
                axes.plot(over_seeds["mean"], line, color=colour, marker="o", markersize=3, label=f"{name}, {text}")
                if seeds == 1 and (part, what) == ("ema", "top1"):
                    half = factor * binomial_half_width(over_seeds["mean"] / factor, images)
                    over_seeds = over_seeds.assign(min=over_seeds["mean"] - half, max=over_seeds["mean"] + half)
                axes.fill_between(over_seeds.index, over_seeds["min"], over_seeds["max"], color=colour, alpha=0.12)
        axes.set_xlabel(f"epoch (n = {seeds} {'seed' if seeds == 1 else 'seeds'} each)")
        axes.xaxis.get_major_locator().set_params(integer=True)
    panels[0].set(title="(a) accuracy", ylabel=f"top-1 (%), {images:,} validation images", ylim=(0, 102))
    panels[1].set(title="(b) loss", ylabel="cross-entropy (nats)")
    panels[1].set_ylim(bottom=0)
    panels[0].legend(loc="lower right", fontsize="x-small")
    return figure
