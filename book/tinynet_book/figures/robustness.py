"""How well the tiny formula predicts a model left out, and how far its proposals move with the choices behind it."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy.stats import norm

from tinynet_book.figures.style import BLUE, DIMENSIONS, GREY, RED


def left_out(left: pd.DataFrame) -> Figure:
    """Each frontier model against its prediction by the others, with the 95% band of a new one (``leave_one_out``)."""
    figure, panels = plt.subplots(1, 2, figsize=(10, 4.4), layout="constrained")
    for axes, x in zip(panels, "rd", strict=True):
        for inside, colour, label in ((True, BLUE, "inside its band"), (False, RED, "outside")):
            some = left[(left[f"{x}_z"].abs() <= norm.ppf(0.975)) == inside]
            axes.errorbar(
                some[x],
                some[f"{x}_formula"],
                norm.ppf(0.975) * some[f"{x}_std"],
                fmt="o",
                color=colour,
                elinewidth=0.8,
                label=f"{label} (n = {len(some)})",
            )
        ends = [left[[x, f"{x}_formula"]].min().min(), left[[x, f"{x}_formula"]].max().max()]
        axes.plot(ends, ends, color=GREY, linestyle="--")
        axes.set(xlabel=f"{DIMENSIONS[x]}, of the model", ylabel=f"{DIMENSIONS[x]}, predicted without it, 95% band")
        axes.legend(fontsize="small", loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2)
    return figure


def moved_proposals(table: pd.DataFrame, drawn: pd.DataFrame) -> Figure:
    """r, d and w of each way at each budget (``sensitivity``); the grey bars are the 95% over half-samples (``drawn``).

    The first way is the large mark, with its 95% band of a new model where it has one; crosses are outside the fitted
    range. The budgets stand side by side.
    """
    ways, budgets = list(dict.fromkeys(table.way)), sorted(set(table.c))
    figure, panels = plt.subplots(3, 1, figsize=(11, 9), sharex=True, layout="constrained")
    offset = np.linspace(-0.36, 0.36, len(ways))
    colours = plt.get_cmap("tab20")(np.linspace(0, 1, 20))
    for axes, x in zip(panels, "rdw", strict=True):
        for i, c in enumerate(budgets):
            if x != "w":
                low, high = drawn.loc[drawn.c == c, [f"{x}_low", f"{x}_high"]].iloc[0]
                label = "default, half-samples, 95%" if i == 0 else None
                axes.bar(i, high - low, bottom=low, width=0.84, color="0.9", label=label)
        for k, way in enumerate(ways):
            some = table[table.way == way].set_index("c").loc[budgets]
            at = np.arange(len(budgets)) + offset[k]
            reach = some.note == ""
            colour = "black" if k == 0 else colours[k - 1]
            if k == 0 and x != "w":
                axes.errorbar(
                    at, some[x], 1.96 * some[f"{x}_std"], fmt="none", color="black", elinewidth=0.8, capsize=3
                )
            axes.plot(at[reach], some[x][reach], "D" if k == 0 else "o", color=colour, label=way)
            axes.plot(at[~reach], some[x][~reach], "x", color=colour)
        axes.set(ylabel=f"{DIMENSIONS[x]} (multiplier)", ylim=(0, None))
    panels[-1].set_xticks(range(len(budgets)), [f"{c:g}" for c in budgets])
    panels[-1].set_xlabel("budget c = MACs / C0; crosses: outside the fitted range; below zero: no network, not drawn")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right upper", fontsize="small")
    return figure
