"""What happens from epoch to epoch."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from tinynet_core.figures.style import BLUE, GREEN, GREY, RED, points


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
    """How much of an average of weights is the initial weights, against the number of steps; ``marks`` are lengths."""
    figure, axes = plt.subplots(figsize=(8, 4.5))
    for (name, share), colour in zip(shares.items(), (RED, BLUE, GREEN), strict=False):
        axes.plot(np.arange(1, len(share)), 100 * share[1:], color=colour, label=name)
    for name, steps in marks.items():
        axes.axvline(steps, color=GREY, linestyle=":", linewidth=1)
        axes.annotate(name, (steps, 101), ha="center", fontsize="small", color="0.35", annotation_clip=False)
    axes.set(xscale="log", xlabel="steps of the optimiser", ylabel="initial weights in the average (%)", ylim=(0, 100))
    axes.legend(loc="center left")
    return figure
