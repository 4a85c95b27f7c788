"""The frontier, its rank correlations, and the formula fitted on it."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from tinynet_book.analysis.correlation import Correlation
from tinynet_book.figures.style import BLUE, DIMENSIONS, RED
from tinynet_core.scaling.formula import TinyFormula


def dimensions_against_cost(kept: pd.DataFrame, correlations: dict[str, Correlation]) -> Figure:
    """Figure 3: r, d and w of the frontier models against their cost, with Spearman's rho."""
    figure, panels = plt.subplots(1, 3, figsize=(12, 4), sharey=True)
    for axes, (name, label) in zip(panels, DIMENSIONS.items(), strict=True):
        rho = correlations[name]
        axes.plot(kept.c, kept[name], "o", color=RED)
        axes.set(
            xlabel="MACs / C0",
            ylabel="multiplier",
            title=f"{label}\nrho = {rho.rho:.2f} [{rho.low:.2f}, {rho.high:.2f}], n = {rho.n}",
        )
    figure.tight_layout()
    return figure


def correlations_against_null(correlations: dict[str, Correlation], null: dict[str, np.ndarray]) -> Figure:
    """Spearman's rho on the frontier beside its distribution over subsets drawn without regard to accuracy."""
    figure, axes = plt.subplots(figsize=(7, 4))
    long = pd.DataFrame(null).melt(var_name="dimension", value_name="rho")
    sns.violinplot(long, x="dimension", y="rho", color="0.85", inner="quartile", cut=0, ax=axes)
    for i, name in enumerate(DIMENSIONS):
        rho = correlations[name]
        bounds = [[rho.rho - rho.low], [rho.high - rho.rho]]
        axes.errorbar(i, rho.rho, np.maximum(bounds, 0), marker="o", color=RED, capsize=4)
    draws = len(next(iter(null.values())))
    axes.set(
        xlabel="",
        ylabel="Spearman's rho with MACs",
        title=f"red: frontier, 95% bootstrap interval (n = {correlations['r'].n})\n"
        f"grey: {draws:,} random subsets of that size",
    )
    axes.set_xticks(range(3), list(DIMENSIONS.values()))
    return figure


def formula_band(formula: TinyFormula, kept: pd.DataFrame, released: pd.DataFrame) -> Figure:
    """The posterior of r and d over c with the frontier it was fitted on, and the released TinyNets."""
    figure, panels = plt.subplots(1, 2, figsize=(10, 4))
    c = np.linspace(kept.c.min(), kept.c.max(), 200)
    mean, std = formula.predict(c, return_std=True)
    for i, (axes, name) in enumerate(zip(panels, ("r", "d"), strict=True)):
        band = mean[:, i] - 1.96 * std[:, i], mean[:, i] + 1.96 * std[:, i]
        axes.fill_between(c, *band, color=BLUE, alpha=0.15, label="95% band of a new model")
        axes.plot(c, mean[:, i], color=BLUE, label="posterior mean")
        axes.plot(kept.c, kept[name], "o", color=RED, label=f"frontier (n = {len(kept)})")
        axes.plot(released.c, released[name], "k^", label="released TinyNets")
        axes.set(xlabel="c = MACs / C0", ylabel=f"{DIMENSIONS[name]} (multiplier)")
    panels[1].legend(fontsize="small")
    figure.tight_layout()
    return figure
