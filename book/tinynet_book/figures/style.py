"""The look of all figures, and the intervals that they draw."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from numpy.typing import ArrayLike

GREY, BLUE, RED, GREEN, ORANGE = "0.6", "#0173b2", "#d55e00", "#029e73", "#de8f05"
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


def mean_half_width(top1: pd.Series, images: int) -> float:
    """Half of the 95% interval of a mean accuracy: Student's t over seeds, binomial where there is one seed."""
    from scipy.stats import t

    if len(top1) == 1:
        return float(binomial_half_width(top1, images)[0])
    return float(t.ppf(0.975, len(top1) - 1) * top1.std(ddof=1) / np.sqrt(len(top1)))


def error_bars(percent: ArrayLike, half: ArrayLike) -> np.ndarray:
    """How far the intervals of percentages (n,) go down and up, (2, n): no further than to 0 and 100."""
    middle, reach = np.atleast_1d(np.asarray(percent, dtype=float)), np.asarray(half, dtype=float)
    return np.stack([np.minimum(reach, middle), np.minimum(reach, 100 - middle)])


def points(axes, x, top1, images: int, linestyle: str = "none", marker: str = "o", **style) -> None:
    error = 100 * binomial_half_width(top1, images)
    axes.errorbar(x, 100 * top1, error, linestyle=linestyle, marker=marker, elinewidth=0.8, markersize=5, **style)
