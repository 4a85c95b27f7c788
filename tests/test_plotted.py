"""The numbers of a figure, read off its drawing."""

import io

import numpy as np
import pandas as pd
import pytest
from IPython.core.interactiveshell import InteractiveShell
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from tinynet_book.notebook import FIGURE_DATA, _keep_vectors_and_data
from tinynet_book.plotted import plotted


@pytest.fixture
def axes():
    return Figure().subplots()


def test_points_lines_intervals_bands_and_bars(axes):
    axes.set(xlabel="MACs (millions)", ylabel="top-1 (%)", title="left")
    axes.scatter([1, 2], [0.1, 0.25], c=[5.0, 6.5], label="models")
    axes.plot([1, 3], [0.2, 0.3], label="fit")
    axes.errorbar([1], [0.5], yerr=[[0.1], [0.2]], fmt="o", label="mean")
    axes.fill_between([0, 1], [0, 0], [1, 1])
    axes.axhline(0.7)
    axes.axvline(2, label="guide")
    axes.bar([4], [2.5], width=1, label="share")
    frame = plotted(axes.figure)
    assert set(frame.panel) == {"left"}
    assert set(frame.x_label) == {"MACs (millions)"}
    of = dict(iter(frame.groupby("drawn_as")))
    assert set(of) == {"points", "line", "interval", "outline of a band", "bar"}
    models = frame[frame.series == "models"]
    assert models[["x", "y", "colour_value"]].to_numpy().tolist() == [[1, 0.1, 5], [2, 0.25, 6.5]]
    assert of["line"][["series", "x", "y"]].to_numpy().tolist() == [["fit", 1, 0.2], ["fit", 3, 0.3]]
    assert of["interval"][["x", "y", "x_end", "y_end"]].to_numpy().tolist() == [[1, 0.4, 1, 0.7]]
    assert of["bar"][["series", "x", "y", "x_end", "y_end"]].to_numpy().tolist() == [["share", 3.5, 0, 4.5, 2.5]]
    corners = of["outline of a band"][["x", "y"]].drop_duplicates().to_numpy().tolist()
    assert {(0, 0), (1, 0), (1, 1), (0, 1)} <= set(map(tuple, corners))


def test_each_part_of_a_line_with_gaps_is_an_interval(axes):
    gap = [np.nan, np.nan]
    axes.add_collection(LineCollection([[[1, 2], [1, 3], gap, [4, 5], [4, 6], gap], [[7, 8], [7, 9]], [[0, 1], gap]]))
    frame = plotted(axes.figure)
    assert frame[["x", "y", "x_end", "y_end"]].to_numpy().tolist() == [[1, 2, 1, 3], [4, 5, 4, 6], [7, 8, 7, 9]]


def test_a_notebook_keeps_the_numbers_of_its_figures(axes, monkeypatch):
    shell = InteractiveShell()
    monkeypatch.setattr("tinynet_book.notebook.get_ipython", lambda: shell)
    _keep_vectors_and_data()
    axes.plot([1, 2], [3, 4], label="x")
    data, _ = shell.display_formatter.format(axes.figure)
    frame = pd.read_csv(io.StringIO(data[FIGURE_DATA]))
    assert frame[["x", "y"]].to_numpy().tolist() == [[1, 3], [2, 4]]
    assert FIGURE_DATA not in shell.display_formatter.format("no figure")[0]
