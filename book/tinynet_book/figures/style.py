"""The look of all figures, and the intervals that they draw."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter
from numpy.typing import ArrayLike

from tinynet_book.analysis.intervals import Interval, contrast

GREY, BLUE, RED, GREEN, ORANGE = "0.6", "#0173b2", "#d55e00", "#029e73", "#de8f05"
COLOURS, MARKERS = (BLUE, GREEN, ORANGE, RED, "0.3", GREY), "os^DvP"
"""Of the series of one picture, in their order."""
DIMENSIONS = {"r": "resolution r", "d": "depth d", "w": "width w"}


def set_style() -> None:
    """Seaborn's ticks theme with thin spines for all figures of the book, and whole sentences in its tables.

    Starts from Matplotlib's own defaults: a ``matplotlibrc`` of the user does not count.
    """
    pd.set_option("display.max_colwidth", None)
    plt.rcdefaults()
    sns.set_theme(context="notebook", style="ticks", rc={"axes.spines.right": False, "axes.spines.top": False})
    plt.rcParams.update({"figure.dpi": 110, "savefig.bbox": "tight", "legend.frameon": False})
    plt.rcParams["svg.hashsalt"] = "tinynet"  # the same names inside a vector picture in every run


def binomial_half_width(top1: ArrayLike, images: int) -> np.ndarray:
    """Half of the 95% normal interval of an accuracy measured on ``images`` images, as a fraction."""
    p = np.asarray(top1, dtype=float)
    return 1.96 * np.sqrt(p * (1 - p) / images)


def mean_half_width(top1: ArrayLike, images: int) -> float:
    """Half of the 95% interval of a mean accuracy: Student's t over seeds, binomial where there is one seed."""
    return contrast([(1.0, top1)], images).half


def error_bars(percent: ArrayLike, half: ArrayLike) -> np.ndarray:
    """How far the intervals of percentages (n,) go down and up, (2, n): no further than to 0 and 100."""
    middle, reach = np.atleast_1d(np.asarray(percent, dtype=float)), np.asarray(half, dtype=float)
    return np.stack([np.minimum(reach, middle), np.minimum(reach, 100 - middle)])


def intervals(found: Sequence[Interval]) -> tuple[list[float], np.ndarray]:
    """The values of n intervals, and how far each goes down and up, (2, n), as ``errorbar`` takes them."""
    ends = [(max(x.value - x.low, 0.0), max(x.high - x.value, 0.0)) for x in found]
    return [x.value for x in found], np.array(ends).reshape(-1, 2).T


def points(axes: Axes, x, top1, images: int, linestyle: str = "none", marker: str = "o", **style) -> None:
    """Accuracies, fractions, as points in percent with their binomial intervals."""
    error = 100 * binomial_half_width(top1, images)
    axes.errorbar(x, 100 * top1, error, linestyle=linestyle, marker=marker, elinewidth=0.8, markersize=5, **style)


def plain_ticks(axis: Axis) -> None:
    """Numbers such as 0.05 on a logarithmic axis, few enough not to overlap."""
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.set_minor_formatter(NullFormatter())


def seeds_each(seeds: int) -> str:
    """How many trainings are behind each network of a picture, for its axis."""
    return f"{seeds} seed{'s' if seeds > 1 else ''} a network"
