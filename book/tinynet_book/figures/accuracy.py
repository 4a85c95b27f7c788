"""Accuracy against cost and against the three multipliers, and compared networks."""

import warnings

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from tinynet_book.figures.style import (
    BLUE,
    DIMENSIONS,
    GREEN,
    GREY,
    RED,
    binomial_half_width,
    error_bars,
    mean_half_width,
    points,
)


def accuracy_against_macs(sample: pd.DataFrame, giants: pd.DataFrame, images: int) -> Figure:
    """Figure 1: the random sample with its frontier, and the inverse giant formula as a line through means of seeds."""
    figure, axes = plt.subplots(figsize=(8, 5))
    done = sample[sample.status == "done"]
    rest, kept = done[~done.frontier], done[done.frontier]
    for group, colour, label in (
        (rest, GREY, f"random models (n = {len(done)})"),
        (kept, RED, f"their frontier, NSGA-III (n = {len(kept)})"),
    ):
        points(axes, group.macs / 1e6, group.top1, images, color=colour, label=label)
    finished = giants[giants.status == "done"].sort_values("macs").groupby("macs").top1
    mean, seeds = 100 * finished.mean(), int(finished.size().max())
    half = [100 * mean_half_width(top1.reset_index(drop=True), images) for _, top1 in finished]
    label = f"inverse giant formula, {seeds} seed{'s' * (seeds > 1)} each"
    bars = error_bars(mean, half)
    axes.errorbar(mean.index / 1e6, mean, bars, color=GREEN, label=label, marker="s", markersize=5, elinewidth=0.8)
    axes.set(xlabel="MACs (millions)", ylabel=f"top-1 (%), {images:,} validation images")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3, fontsize="small")
    return figure


def accuracy_against_dimensions(sample: pd.DataFrame, reference: pd.Series | None, images: int) -> Figure:
    """Figure 2: accuracy against r, d and w at one cost, with a quadratic fit and its bootstrap band."""
    figure, panels = plt.subplots(1, 3, figsize=(12, 4), sharey=True)
    done = sample[sample.status == "done"]
    for axes, (name, label) in zip(panels, DIMENSIONS.items(), strict=True):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", np.exceptions.RankWarning)  # resamples of a few models repeat some
            sns.regplot(x=done[name], y=100 * done.top1, order=2, scatter=False, ax=axes, color=BLUE, seed=0)
        points(axes, done[name], done.top1, images, color=BLUE, label=f"random models (n = {len(done)})")
        if reference is not None:
            axes.plot(reference[name], 100 * reference.top1, "s", color=GREEN, markersize=9, label="EfficientNet-B^-1")
        axes.set(xlabel=f"{label} (multiplier)", ylabel="")
    top = 100 * (done.top1 + binomial_half_width(done.top1, images)).max()
    panels[0].set(ylabel=f"top-1 (%), {images:,} validation images", ylim=(0, min(102, top + 3)))
    panels[-1].legend(loc="lower right", fontsize="small")
    figure.tight_layout()
    return figure


def compared_models(frame: pd.DataFrame, images: int) -> Figure:
    """Table 1 as a picture: top-1 of each network per seed, and the mean with a 95% interval.

    The interval is Student's t over seeds; with one seed it is the binomial one of the validation images.
    """
    done = frame[frame.status == "done"]
    names = list(dict.fromkeys(done.model))
    figure, axes = plt.subplots(figsize=(8, 0.4 * len(names) + 1.2))
    for y, name in enumerate(names):
        top1 = done.top1[done.model == name]
        mean = 100 * top1.mean()
        error = error_bars(mean, [100 * mean_half_width(top1, images)])
        axes.errorbar(mean, y, xerr=error, marker="o", color=BLUE, capsize=3, zorder=2)
        axes.plot(100 * top1, np.full(len(top1), y), "|", color="0.4", markersize=12, zorder=1)
    seeds = done.groupby("model").size().max()
    axes.set(xlabel=f"top-1 (%), {images:,} validation images, {seeds} seed{'s' if seeds > 1 else ''} a network")
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    return figure
