"""Read the numbers of a figure from its drawing, so that every figure comes with its data."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.collections import LineCollection, PathCollection, PolyCollection
from matplotlib.container import BarContainer
from matplotlib.figure import Figure

COLUMNS = ("panel", "x_label", "y_label", "drawn_as", "series", "x", "y", "x_end", "y_end", "colour_value")
"""Columns of the data. ``x_end`` and ``y_end``: the other end of an interval, or the far corner of a bar.
``colour_value``: the number that a point's colour stands for, if any."""
_DIGITS = 10


def plotted(figure: Figure) -> pd.DataFrame:
    """Return points, lines, intervals, bands and bars of ``figure`` in the units of its axes, one row each.

    Guide lines across a whole panel, pictures and text are left out. A named position, such as the bar of a network,
    is given by its name.
    """
    rows = []
    for i, axes in enumerate(figure.axes, 1):
        about = {"panel": axes.get_title() or str(i), "x_label": axes.get_xlabel(), "y_label": axes.get_ylabel()}
        rows += [about | row for row in _rows(axes)]
    return pd.DataFrame(rows, columns=list(COLUMNS)).dropna(axis="columns", how="all")


def _rows(axes: Axes) -> Iterator[dict[str, Any]]:
    names_x, names_y = _names(axes.xaxis), _names(axes.yaxis)

    def row(kind: str, artist: Any, x: Any, y: Any, **more: Any) -> dict[str, Any]:
        label, (x, y) = str(artist.get_label()), (_short(x), _short(y))
        series = "" if label.startswith("_") else label
        return {"drawn_as": kind, "series": series, "x": names_x.get(x, x), "y": names_y.get(y, y), **more}

    for line in axes.get_lines():
        if line.get_transform() == axes.transData:
            kind = "line" if line.get_linestyle() != "None" else "points"
            yield from (row(kind, line, x, y) for x, y in np.asarray(line.get_xydata()))
    for found in axes.collections:
        if isinstance(found, PathCollection) and found.get_offset_transform() == axes.transData:
            offsets, values = np.asarray(found.get_offsets()), found.get_array()
            colours = [None] * len(offsets) if values is None else np.asarray(values).tolist()
            for (x, y), colour in zip(offsets, colours, strict=False):
                yield row("points", found, x, y, colour_value=colour)
        elif isinstance(found, LineCollection) and found.get_transform() == axes.transData:
            for (x, y), (x_end, y_end) in _intervals(found):
                yield row("interval", found, x, y, x_end=_short(x_end), y_end=_short(y_end))
        elif isinstance(found, PolyCollection):
            for path in found.get_paths():
                yield from (row("outline of a band", found, x, y) for x, y in np.asarray(path.vertices))
    for bars in (bars for bars in axes.containers if isinstance(bars, BarContainer)):
        for bar in bars.patches:  # along a named axis, the row starts at the bar's middle, where the name is
            x, width, y, height = bar.get_x(), bar.get_width(), bar.get_y(), bar.get_height()
            start = x + (width / 2 if names_x else 0), y + (height / 2 if names_y else 0)
            yield row("bar", bars, *start, x_end=_short(x + width), y_end=_short(y + height))


def _intervals(lines: LineCollection) -> Iterator[np.ndarray]:
    """Yield the two ends of each line of two points, also of such parts of a line with gaps."""
    for path in lines.get_paths():
        points = np.asarray(path.vertices)
        for part in np.ma.clump_unmasked(np.ma.masked_invalid(points.sum(axis=1))):
            if part.stop - part.start == 2:
                yield points[part]


def _names(axis: Axis) -> dict[float, str]:
    """Return the names of the positions of an axis with named ticks; empty for an axis of numbers."""
    if type(axis.get_major_formatter()).__name__ not in ("FixedFormatter", "StrCategoryFormatter"):
        return {}
    texts = [text.get_text() for text in axis.get_ticklabels()]
    return {_short(at): text for at, text in zip(axis.get_ticklocs(), texts, strict=False) if text}


def _short(value: Any) -> float:
    return float(f"{float(value):.{_DIGITS}g}")
