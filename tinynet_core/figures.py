"""The figures of the book, in one style. Accuracies are drawn in percent, MACs in millions, with 95% intervals."""

import warnings
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator
from numpy.typing import ArrayLike

from tinynet_core.data.glyphs import CLASSES, SPLITS, GlyphDataset, render_image
from tinynet_core.formula import TinyFormula
from tinynet_core.pareto import Correlation
from tinynet_core.scale import GIANT, Scale

GREY, BLUE, RED, GREEN, ORANGE = "0.6", "#0173b2", "#d55e00", "#029e73", "#de8f05"
DIMENSIONS = {"r": "resolution r", "d": "depth d", "w": "width w"}


def set_style() -> None:
    """Seaborn's ticks theme with thin spines for all figures of the book, and whole sentences in its tables."""
    pd.set_option("display.max_colwidth", None)
    sns.set_theme(context="notebook", style="ticks", rc={"axes.spines.right": False, "axes.spines.top": False})
    plt.rcParams.update({"figure.dpi": 110, "savefig.bbox": "tight", "legend.frameon": False})


def binomial_half_width(top1: ArrayLike, images: int) -> np.ndarray:
    """Half of the 95% normal interval of an accuracy measured on ``images`` images, as a fraction."""
    p = np.asarray(top1, dtype=float)
    return 1.96 * np.sqrt(p * (1 - p) / images)


def accuracy_against_macs(sample: pd.DataFrame, giants: pd.DataFrame, images: int) -> Figure:
    """Figure 1: the random sample with its frontier, and the inverse giant formula as a line."""
    figure, axes = plt.subplots(figsize=(8, 5))
    done = sample[sample.status == "done"]
    rest, kept = done[~done.frontier], done[done.frontier]
    for group, colour, label in (
        (rest, GREY, f"random models (n = {len(done)})"),
        (kept, RED, f"their frontier, NSGA-III (n = {len(kept)})"),
    ):
        _points(axes, group.macs / 1e6, group.top1, images, color=colour, label=label)
    line = giants[giants.status == "done"].sort_values("macs")
    _points(
        axes, line.macs / 1e6, line.top1, images, color=GREEN, label="inverse giant formula", linestyle="-", marker="s"
    )
    axes.set(xlabel="MACs (millions)", ylabel=f"top-1 (%), {images:,} validation images")
    axes.legend(loc="lower right")
    return figure


def _points(axes, x, top1, images: int, linestyle: str = "none", marker: str = "o", **style) -> None:
    error = 100 * binomial_half_width(top1, images)
    axes.errorbar(x, 100 * top1, error, linestyle=linestyle, marker=marker, elinewidth=0.8, markersize=5, **style)


def accuracy_against_dimensions(sample: pd.DataFrame, reference: pd.Series | None, images: int) -> Figure:
    """Figure 2: accuracy against r, d and w at one cost, with a quadratic fit and its bootstrap band."""
    figure, panels = plt.subplots(1, 3, figsize=(12, 4), sharey=True)
    done = sample[sample.status == "done"]
    for axes, (name, label) in zip(panels, DIMENSIONS.items(), strict=True):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", np.exceptions.RankWarning)  # resamples of a few models repeat some
            sns.regplot(x=done[name], y=100 * done.top1, order=2, scatter=False, ax=axes, color=BLUE, seed=0)
        _points(axes, done[name], done.top1, images, color=BLUE, label=f"random models (n = {len(done)})")
        if reference is not None:
            axes.plot(reference[name], 100 * reference.top1, "s", color=GREEN, markersize=9, label="EfficientNet-B^-1")
        axes.set(xlabel=f"{label} (multiplier)", ylabel="")
    top = 100 * (done.top1 + binomial_half_width(done.top1, images)).max()
    panels[0].set(ylabel=f"top-1 (%), {images:,} validation images", ylim=(0, min(102, top + 3)))
    panels[-1].legend(loc="lower right", fontsize="small")
    figure.tight_layout()
    return figure


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


def compared_models(frame: pd.DataFrame, images: int) -> Figure:
    """Table 1 as a picture: top-1 of each network per seed, and the mean with a 95% interval.

    The interval is Student's t over seeds; with one seed it is the binomial one of the validation images.
    """
    done = frame[frame.status == "done"]
    names = list(dict.fromkeys(done.model))
    figure, axes = plt.subplots(figsize=(8, 0.4 * len(names) + 1.2))
    for y, name in enumerate(names):
        top1 = done.top1[done.model == name]
        axes.errorbar(
            100 * top1.mean(), y, xerr=100 * mean_half_width(top1, images), marker="o", color=BLUE, capsize=3, zorder=2
        )
        axes.plot(100 * top1, np.full(len(top1), y), "|", color="0.4", markersize=12, zorder=1)
    seeds = done.groupby("model").size().max()
    axes.set(xlabel=f"top-1 (%), {images:,} validation images, {seeds} seed{'s' if seeds > 1 else ''} a network")
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    return figure


def mean_half_width(top1: pd.Series, images: int) -> float:
    """Half of the 95% interval of a mean accuracy: Student's t over seeds, binomial where there is one seed."""
    from scipy.stats import t

    if len(top1) == 1:
        return float(binomial_half_width(top1, images)[0])
    return float(t.ppf(0.975, len(top1) - 1) * top1.std(ddof=1) / np.sqrt(len(top1)))


def glyph_sheet(dataset: GlyphDataset, rows: int = 5, columns: int = 10) -> Figure:
    """The first training images of ``dataset``, each under its class."""
    figure, panels = plt.subplots(rows, columns, figsize=(1.1 * columns, 1.3 * rows))
    for index, axes in enumerate(panels.flat):
        axes.imshow(render_image(dataset, SPLITS[0], index))
        axes.set_title(CLASSES[index % dataset.classes], fontsize=10)
        axes.axis("off")
    figure.tight_layout(pad=0.3)
    return figure


def ways_to_shrink(ways: pd.DataFrame, name: str) -> Figure:
    """Multipliers and parameters against MACs of network ``name`` shrunk by each method (``method``, r, d, w, ...)."""
    figure, panels = plt.subplots(1, 4, figsize=(15, 4))
    columns = {**{k: f"{label} (multiplier)" for k, label in DIMENSIONS.items()}, "params": "parameters (millions)"}
    for axes, (column, label) in zip(panels, columns.items(), strict=True):
        for (method, group), colour in zip(
            ways.groupby("method", sort=False), (BLUE, GREEN, ORANGE, RED), strict=False
        ):
            y = group[column] / 1e6 if column == "params" else group[column]
            axes.plot(group.macs / 1e6, y, "o-", color=colour, label=method, alpha=0.8)
        axes.set(xlabel="MACs (millions)", ylabel=label, ylim=(0, None))
    panels[0].legend(title=name, fontsize="small")
    figure.tight_layout()
    return figure


def cost_distances(costs: pd.DataFrame) -> Figure:
    """How far our parameters and MACs are from the printed ones, one line per network of a cost table.

    The dark bars are what rounds to the printed number, the light band is 2% to either side.
    """
    lines = costs.drop_duplicates("network").reset_index(drop=True)
    figure, panels = plt.subplots(1, 2, figsize=(11, 0.25 * len(lines) + 1.2), sharey=True, layout="constrained")
    for axes, key, step, label in zip(panels, ("params", "macs"), (0.1, 1.0), ("parameters", "MACs"), strict=True):
        printed, off = lines[f"paper_{key}"], 100 * lines[f"{key}_off"]
        axes.axvspan(-2, 2, color="0.93", zorder=0)
        axes.barh(lines.index, 100 * step / printed, left=-50 * step / printed, color="0.75", height=0.7, zorder=1)
        for matches, colour, name in ((True, BLUE, "row matches"), (False, RED, "row does not match")):
            some = lines["match"] == matches
            axes.plot(off[some], lines.index[some], "o", color=colour, label=f"{name} (n = {some.sum()})", zorder=2)
        axes.set(xlabel=f"{label}: ours over the paper's, minus 1 (%)", ylim=(len(lines) - 0.4, -0.6))
    panels[0].set_yticks(lines.index, lines.model, fontsize="small")
    figure.legend(*panels[1].get_legend_handles_labels(), loc="outside upper center", ncols=2)
    return figure


def cost_by_row(rows: pd.DataFrame) -> Figure:
    """MACs and parameters of each row of an architecture table (columns ``row``, ``macs``, ``params``), in millions."""
    figure, panels = plt.subplots(1, 2, figsize=(11, 0.3 * len(rows) + 1.2), sharey=True)
    for axes, key, colour, label in zip(
        panels, ("macs", "params"), (BLUE, ORANGE), ("MACs", "parameters"), strict=True
    ):
        bars = axes.barh(range(len(rows)), rows[key] / 1e6, color=colour)
        axes.bar_label(bars, [f"{share:.0%}" for share in rows[key] / rows[key].sum()], padding=3, fontsize="small")
        axes.set(xlabel=f"{label} (millions), {rows[key].sum() / 1e6:.1f} in all")
    panels[0].set_yticks(range(len(rows)), rows.row, fontsize="small")
    panels[0].invert_yaxis()
    figure.tight_layout()
    return figure


def enumerated_scales(
    sets: dict[str, pd.DataFrame], marks: dict[str, dict[str, Scale]], curve: bool = False, columns: int = 2
) -> Figure:
    """All networks with a given cost: resolution against depth, coloured by width, one panel for each of ``sets``.

    A network is an upright bar over the depths that give it. ``marks`` are named scales to point out in the panels,
    ``curve`` draws the giant formula.
    """
    count, colour = -(-len(sets) // columns), plt.get_cmap("viridis")
    figure, panels = plt.subplots(
        count,
        columns,
        figsize=(4.4 * columns, 3.2 * count),
        squeeze=False,
        sharex=True,
        sharey=True,
        layout="constrained",
    )
    shown: dict[str, Any] = {}
    widths = pd.concat(list(sets.values())).w
    norm = plt.Normalize(widths.min(), widths.max())
    for axes, (title, networks) in zip(panels.flat, sets.items(), strict=False):
        bars = networks.sort_values("w", ascending=False)
        axes.vlines(bars.r, bars.d_low, bars.d_high, colors=colour(norm(bars.w)), linewidth=1.8, rasterized=True)
        if curve:
            phi = np.linspace(0, -8, 100)
            (shown["giant formula"],) = axes.plot(GIANT.r**phi, GIANT.d**phi, color="0.4", linewidth=1)
        for (name, scale), marker in zip(marks.get(title, {}).items(), ("*", "X", "P"), strict=False):
            (shown[name],) = axes.plot(
                scale.r, scale.d, marker, color=RED, markersize=12, markeredgecolor="white", linestyle="none"
            )
        axes.set_title(f"{title} (n = {len(networks):,})", fontsize="medium")
        axes.set(xlabel="resolution r (multiplier)", yscale="log")
        axes.set_yticks((0.25, 0.5, 1, 2), ("0.25", "0.5", "1", "2"))
        axes.minorticks_off()
        axes.tick_params(labelbottom=True)
    for axes in panels[:, 0]:
        axes.set(ylabel="depth d (multiplier)")
    for axes in list(panels.flat)[len(sets) :]:
        axes.axis("off")
    figure.colorbar(plt.cm.ScalarMappable(norm, colour), ax=panels, label="width w (multiplier)")
    if shown:
        figure.legend([*shown.values()], [*shown], loc="outside lower center", ncols=len(shown))
    return figure


def makespan_against_devices(cases: dict[str, pd.DataFrame], ideal_h: float, repetitions: int) -> Figure:
    """Wall time of a study on more and more GPUs, one line for each of ``cases`` (``simulation.summary``).

    ``ideal_h`` is the time on one GPU that never fails and never waits. Left the hours, right how many times the ideal.
    """
    figure, panels = plt.subplots(1, 2, figsize=(12, 4.5))
    devices = np.unique(np.concatenate([case.devices for case in cases.values()]))
    panels[0].plot(devices, ideal_h / devices, "--", color="0.4", label="ideal")
    panels[1].axhline(1, linestyle="--", color="0.4")
    for (name, case), colour, marker in zip(cases.items(), (BLUE, ORANGE, GREEN), "osD", strict=False):
        for axes, scale in zip(panels, (1.0, case.devices / ideal_h), strict=True):
            axes.fill_between(
                case.devices, case.low_h * scale, case.high_h * scale, color=colour, alpha=0.3, linewidth=0
            )
            axes.plot(case.devices, case.makespan_h * scale, marker=marker, markersize=5, color=colour, label=name)
    for axes, label in zip(panels, ("hours until the last run ends", "times the ideal hours"), strict=True):
        axes.set(xlabel="GPUs", ylabel=f"{label}\n(mean, 5th to 95th percentile, n = {repetitions})", yscale="log")
        axes.set_xscale("log", base=2)
        axes.set_xticks(devices, [str(x) for x in devices])
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.minorticks_off()
    panels[0].legend(loc="lower left", fontsize="small")
    figure.tight_layout()
    return figure


def waste_against_interval(panels: dict[str, tuple[pd.DataFrame, float]], repetitions: int) -> Figure:
    """Share of the paid time that trains nothing, by cause, against the work between two checkpoints.

    Each of ``panels`` is a ``simulation.summary`` over intervals in seconds, and Young's interval in seconds.
    """
    causes = {"checkpoints": ORANGE, "lost": RED, "restarts": BLUE, "away": "0.5", "idle": "0.8"}
    labels = ("checkpoints", "work lost", "restarts", "nodes away", "idle")
    figure, many = plt.subplots(1, len(panels), figsize=(5.5 * len(panels), 4.4), squeeze=False, layout="constrained")
    for axes, (title, (shares, young)) in zip(many[0], panels.items(), strict=True):
        minutes = shares.index.to_numpy(dtype=float) / 60
        heights = [100 * shares[cause] for cause in causes]
        axes.stackplot(minutes, heights, labels=labels, colors=list(causes.values()), linewidth=0)
        axes.axvline(young / 60, color="k", linestyle="--", label="Young's interval")
        axes.set(xlabel="work between two checkpoints (minutes)", title=title, xscale="log")
        axes.set_xlim(minutes.min(), minutes.max())
        axes.xaxis.set_major_formatter("{x:g}")
    many[0, 0].set(ylabel=f"share of the paid GPU-hours (%)\nmean of n = {repetitions}")
    figure.legend(*many[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=6, fontsize="small")
    return figure


def averaging_curves(curves: pd.DataFrame, images: int) -> Figure:
    """Accuracy after each epoch: the raw weights, and each average of them, with 95% intervals of one run."""
    figure, axes = plt.subplots(figsize=(8, 5))
    mean = curves.groupby(["model", "epoch"], sort=False)[["raw_top1", "ema_top1"]].mean().reset_index()
    seeds = curves.seed.nunique()
    raw = mean.groupby("epoch").raw_top1.mean()
    _points(axes, raw.index, raw, images, color=GREY, linestyle="-", label="raw weights")
    for (name, line), colour in zip(mean.groupby("model", sort=False), (RED, BLUE, GREEN), strict=True):
        _points(axes, line.epoch, line.ema_top1, images, color=colour, linestyle="-", label=f"average, {name}")
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
