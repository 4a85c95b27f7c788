"""Times of networks on this machine."""

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from tinynet_book.figures.style import BLUE, GREY, ORANGE


def latency_distributions(times: pd.DataFrame, labels: dict[str, str]) -> Figure:
    """The share of runs below each time, one panel for each backend; ``labels`` name backends and networks."""
    backends, networks = list(times.backend.unique()), list(times.network.unique())
    figure, panels = plt.subplots(
        1, len(backends), figsize=(5.5 * len(backends), 4.2), squeeze=False, sharey=True, layout="constrained"
    )
    colours = sns.color_palette("colorblind", len(networks))
    for axes, backend in zip(panels[0], backends, strict=True):
        for name, colour in zip(networks, colours, strict=True):
            ms = times.ms[(times.backend == backend) & (times.network == name)]
            sns.ecdfplot(x=ms, ax=axes, stat="percent", color=colour, label=f"{labels[name]}, median {ms.median():.2f}")
            axes.plot(ms.median(), 50, "o", color=colour, markersize=5)
        axes.set(xscale="log", xlabel="milliseconds for one image", ylabel=f"runs below (%), n = {len(ms)} a network")
        axes.set_title(labels[backend], fontsize="medium")
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.1), ncols=2, fontsize="small")
    return figure


def latency_ratios(ratios: pd.DataFrame, runs: int) -> Figure:
    """What one network needs over what another needs, by several measures; one panel for each ``comparison``.

    ``measure`` names each, ``value`` is the ratio, ``low`` and ``high`` its 95% interval where it was measured, else
    missing. ``quoted`` marks the paper's.
    """
    comparisons = list(ratios.comparison.unique())
    figure, panels = plt.subplots(
        1, len(comparisons), figsize=(5.5 * len(comparisons), 3.4), squeeze=False, sharey=True, layout="constrained"
    )
    for axes, comparison in zip(panels[0], comparisons, strict=True):
        rows = ratios[ratios.comparison == comparison].reset_index(drop=True)
        for y, row in rows.iterrows():
            timed = pd.notna(row.low)
            error = [[row.value - row.low], [row.high - row.value]] if timed else None
            colour = ORANGE if row.quoted else BLUE if timed else "0.35"
            axes.errorbar(row.value, y, xerr=error, marker="o" if timed else "D", color=colour, capsize=3)
            axes.annotate(f"{row.value:.3f}", (row.value, y), (0, 7), textcoords="offset points", ha="center", size=9)
        axes.axvline(1, color=GREY, linewidth=1, linestyle=":")
        axes.set(xlabel=f"ratio, medians of n = {runs} runs with 95% intervals", ylim=(len(rows) - 0.5, -0.7))
        axes.set_title(comparison, fontsize="medium")
        axes.set_yticks(range(len(rows)), rows.measure)
        axes.margins(x=0.15)
    return figure
