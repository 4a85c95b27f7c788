"""The style of the book's figures, and plots that several pages share. Plots of a single page are in its notebook.

Accuracies are drawn in percent, MACs in millions, with 95% intervals.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from textwrap import fill
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter
from numpy.typing import ArrayLike

from tinynet_book.analysis.intervals import Interval, mean_interval
from tinynet_book.paper.systems import SERIES, TINY_FORMULA
from tinynet_book.tables import typeset
from tinynet_core.data.drawn import DrawnImages

GREY, BLUE, RED, GREEN, ORANGE = "0.6", "#0173b2", "#d55e00", "#029e73", "#de8f05"
COLOURS, MARKERS = (BLUE, GREEN, ORANGE, RED, "0.3", GREY), "os^DvP"
"""Colours and markers of the series of a figure, in order."""
DIMENSIONS = {"r": "resolution r", "d": "depth d", "w": "width w"}


def set_style() -> None:
    """Set seaborn's ticks theme with thin spines for all figures of the book, and show whole sentences in tables.

    Start from Matplotlib's own defaults, so that a user's ``matplotlibrc`` has no effect.
    """
    pd.set_option("display.max_colwidth", None)
    plt.rcdefaults()
    sns.set_theme(context="notebook", style="ticks", rc={"axes.spines.right": False, "axes.spines.top": False})
    plt.rcParams.update({"figure.dpi": 110, "savefig.bbox": "tight", "legend.frameon": False})
    plt.rcParams["svg.hashsalt"] = "tinynet"  # gives the same ids inside an SVG in every run
    plt.rcParams["svg.fonttype"] = "none"  # text stays text


def finding(figure: Figure, sentence: str, evidence: str, n: str) -> None:
    """Write the finding above a finished figure as a sentence, and below it the evidence and the count ``n``."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for legend in figure.legends:  # keeps its place when the text below enlarges the picture
        legend.set_bbox_to_anchor((0, 0, 1, 1), figure.transFigure)
    box, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
    whole = re.sub(r"(\[[^]]*), ", "\\1,\u00a0", typeset(sentence))  # an interval stays in one line
    title = fill(whole, int(9.5 * box.width))
    figure.text(box.x0 / width, (box.y1 + 0.12) / height, title, va="bottom", weight="bold")
    look: dict[str, Any] = {"ha": "right", "va": "top", "size": "x-small", "color": "0.4"}
    figure.text(box.x1 / width, (box.y0 - 0.08) / height, f"{evidence}, {n}", **look)


def name_groups(axes: Axes) -> None:
    """Label each line or group of points in its colour, at the place beside it where the text covers least ink."""
    canvas: Any = axes.figure.canvas
    sides = np.array([(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1) if i or j])
    for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
        line: Any = handle.lines[0] if isinstance(handle, ErrorbarContainer) else handle
        canvas.draw()
        data = line.get_xydata()
        at = line.get_transform().transform(data[np.isfinite(data).all(axis=1)])
        if not len(at):
            continue
        x, y, right, top = np.round(axes.get_window_extent().extents).astype(int)
        drawn = 1 - np.asarray(canvas.buffer_rgba())[::-1, :, :3].mean(axis=2) / 255
        ink = np.ones(drawn.shape)  # outside the axes
        ink[y:top, x:right] = drawn[y:top, x:right] ** 2  # squared, so that text may cover a light band
        total = np.pad(ink.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
        look: dict[str, Any] = {"color": 0.75 * np.array(to_rgb(line.get_color())), "size": "small"}
        text = axes.text(0, 0, fill(label.replace("n = ", "n\u00a0=\u00a0"), 28), ha="center", va="center", **look)
        half = np.array(text.get_window_extent().size) / 2 + 4
        if line.get_linestyle() != "None" and len(at) > 1:
            at = np.concatenate([np.linspace(start, end, 20) for start, end in pairwise(at)])
        middle = (at[:, None] + sides * (half + 3)).reshape(-1, 2)
        (x0, y0), (x1, y1) = (np.clip(middle + i * half, 0, ink.shape[::-1]).astype(int).T for i in (-1, 1))
        covered = total[y1, x1] - total[y1, x0] - total[y0, x1] + total[y0, x0]
        text.set_position(tuple(axes.transData.inverted().transform(middle[covered.argmin()])))


def binomial_half_width(top1: ArrayLike, images: int) -> np.ndarray:
    """Return the half-width, a fraction, of the 95% normal interval of an accuracy measured on ``images`` images."""
    p = np.asarray(top1, dtype=float)
    return 1.96 * np.sqrt(p * (1 - p) / images)


def intervals(found: Sequence[Interval]) -> tuple[list[float], np.ndarray]:
    """Return the values of n intervals and their distances down and up, (2, n), in the form for ``errorbar``."""
    ends = [(max(x.value - x.low, 0.0), max(x.high - x.value, 0.0)) for x in found]
    return [x.value for x in found], np.array(ends).reshape(-1, 2).T


def mean_top1(runs: Iterable[ArrayLike], images: int) -> tuple[list[float], np.ndarray]:
    """Return the mean top-1 in percent of n networks in the form of ``intervals``. ``runs`` are top-1 as fractions."""
    return intervals([(mean_interval(top1, images) * 100).within(0, 100) for top1 in runs])


def points(axes: Axes, x, top1, images: int, linestyle: str = "none", marker: str = "o", **style) -> None:
    """Plot accuracies (fractions) as points in percent with their binomial intervals."""
    error = 100 * binomial_half_width(top1, images)
    axes.errorbar(x, 100 * top1, error, linestyle=linestyle, marker=marker, elinewidth=0.8, markersize=5, **style)


def seeds_each(seeds: int) -> str:
    """Return the number of seeds per network as text for an axis."""
    return f"{seeds} seed{'s' if seeds > 1 else ''} a network"


_SYSTEMS = dict(zip(SERIES, ("0.75", "0.5", "#de8f05", "#ca9161", "#fbafe4", "#cc78bc", "#8a5fbf"), strict=False))
_SYSTEMS |= {"GreedyNAS": "#56b4e9", "EfficientNet": GREEN, "TinyNet": BLUE, "GhostNet": "0.1", TINY_FORMULA: RED}


def compared_models(frame: pd.DataFrame, images: int) -> Figure:
    """Plot each network's top-1 per seed and its mean with the 95% interval (from ``images`` if there is one seed)."""
    done = frame[frame.status == "done"]
    groups = done.groupby("model", sort=False).top1
    figure, axes = plt.subplots(figsize=(8, 0.4 * len(groups) + 1.2))
    for y, (_, top1) in enumerate(groups):
        mean, error = mean_top1([top1], images)
        axes.errorbar(mean, y, xerr=error, marker="o", color=BLUE, capsize=3, zorder=2)
        axes.plot(100 * top1, np.full(len(top1), y), "|", color="0.4", markersize=12, zorder=1)
    axes.set(xlabel=f"top-1 (%), {images:,} validation images, {seeds_each(groups.size().max())}")
    axes.set_yticks(range(len(groups)), [typeset(str(name)) for name, _ in groups])
    axes.invert_yaxis()
    return figure


def effects_beside_paper(effects: pd.DataFrame, evidence: str, seeds: int) -> Figure:
    """Plot differences of top-1 in points: on the left the ``paper``'s, on the right the interval ``gap`` found here.

    ``evidence`` is the kind of evidence of our differences, ``seeds`` the number of seeds of each network.
    """
    figure, panels = plt.subplots(1, 2, figsize=(9, 0.36 * len(effects) + 1.6), sharey=True, layout="constrained")
    y = np.arange(len(effects))
    panels[0].plot(effects.paper, y, "D", color="0.5")
    gaps, reach = intervals(effects.gap)
    panels[1].errorbar(gaps, y, xerr=reach, fmt="o", color=BLUE, capsize=3)
    trained = f"here ({evidence}), {seeds} training{'s' if seeds > 1 else ''} each"
    for axes, title in zip(panels, ("paper (quoted), 1 training each", trained), strict=True):
        axes.axvline(0, color="0.4", linewidth=0.8)
        axes.set(title=title, xlabel="difference of top-1 (points)")
    panels[0].set_yticks(y, effects.label.map(typeset), fontsize="small")
    panels[0].set_ylim(len(effects) - 0.5, -0.5)
    signs = [x.paper * x.gap.value for x in effects.itertuples() if x.gap.verdict != "cannot be told"]
    said = f"Of {len(effects)} differences, {sum(x > 0 for x in signs)} clearly have the printed sign here, "
    said += f"{sum(x < 0 for x in signs)} clearly the opposite sign"
    finding(figure, said, evidence, "bars: 95%")
    return figure


def families(frame: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame, dict[str, Any]]]:
    """Yield the rows of each ``family`` with its style: colour by series, marker by addition (such as RA)."""
    for name, line in frame.groupby("family", sort=False):
        family = str(name)
        series = next(x for x in sorted(_SYSTEMS, key=len, reverse=True) if family.startswith(x))
        added, strong = family.removeprefix(series), series == TINY_FORMULA
        look = {"color": _SYSTEMS[series], "linewidth": 2.0 if strong else 1.2, "zorder": 3 if strong else 2}
        look |= {"marker": "*", "markersize": 11} if added.endswith("RA") else {"marker": "^" if added else "o"}
        style = {"": ":", " + HSwish": "--"}.get(added, "-") if strong else "-"
        yield family, line, {"markersize": 6, "linestyle": style, **look}


def trained_systems(frame: pd.DataFrame, images: int) -> Figure:
    """Plot top-1 against MACs of the networks trained here, with one line per family (column ``family``).

    Points are means over seeds. The 95% intervals are Student's t, or with one seed the binomial one of ``images``.
    """
    done = frame[frame.status == "done"]
    figure, axes = plt.subplots(figsize=(9, 5))
    for name, line, look in families(done):
        groups = line.groupby("model", sort=False)
        macs = (groups.macs.first() / 1e6).sort_values()
        bars: dict[str, Any] = {"elinewidth": 0.8, "capsize": 2, "label": f"{name} (n = {len(macs)})"}
        mean, reach = mean_top1([groups.get_group(x).top1 for x in macs.index], images)
        axes.errorbar(macs, mean, reach, **look, **bars)
    cost_axis(axes)
    axes.set(ylabel=f"top-1 (%), {images:,} validation images, {seeds_each(done.groupby('model').size().max())}")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.13), ncols=3, fontsize="small")
    return figure


def cost_axis(axes: Axes) -> None:
    """Make the x axis a logarithmic axis of MACs in millions, with plain numbers at the ticks."""
    axes.set_xscale("log")
    low, high = axes.get_xlim()
    ticks = [m * 10.0**e for e in range(-2, 4) for m in (1, 2, 3, 5, 7)]
    axes.set_xticks([t for t in ticks if low <= t <= high])
    axes.xaxis.set_major_formatter(FuncFormatter("{:g}".format))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set(xlabel="MACs (millions, logarithmic)", xlim=(low, high))


def sheet(dataset: DrawnImages, rows: int = 5, columns: int = 10) -> Figure:
    """Draw the first training images of ``dataset``, each with its class as title."""
    figure, panels = plt.subplots(rows, columns, figsize=(1.1 * columns, 1.3 * rows))
    for index, axes in enumerate(panels.flat):
        axes.imshow(dataset.draw("train", index)[0])
        axes.set_title(dataset.names[index % len(dataset.names)], fontsize=10)
        axes.axis("off")
    figure.tight_layout(pad=0.3)
    return figure
