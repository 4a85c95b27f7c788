"""What stands around the pictures: the finding above, what it rests on below, and names beside lines and points."""

import io
import re

import matplotlib.pyplot as plt
import numpy as np
import pytest

from tinynet_book.figures import finding, name_groups, set_style


@pytest.fixture
def axes():
    set_style()
    figure, axes = plt.subplots(figsize=(5, 3), layout="constrained")
    for label, y in (("upper", [2.0, 1.02]), ("lower", [1.9, 1.0])):
        axes.errorbar([1, 2], y, 0.1, label=label)
    yield axes
    plt.close(figure)


def boxes(axes):
    """Of all texts of a figure, where they are."""
    axes.figure.draw_without_rendering()
    return {text.get_text().strip(): text.get_window_extent() for text in [*axes.figure.texts, *axes.texts]}


def test_the_finding_stands_above_and_the_evidence_below_without_touching(axes):
    figure, inside = axes.figure, axes.figure.get_tightbbox()
    legend = figure.legend(*axes.get_legend_handles_labels(), loc="outside upper center")
    said = "The networks of the formula are 1.8 points behind the giants of their cost, the rule backwards [-7.8, 4.1]"
    finding(figure, said, "proxy", "n = 5")
    (title, above), (corner, below) = boxes(axes).items()
    assert "[−7.8,\u00a04.1]" in title
    assert title.count("\n") == 2
    assert corner == "proxy, n = 5"
    assert above.y0 > legend.get_window_extent().y1
    assert below.y1 < figure.dpi * inside.y0 + 1
    written = io.StringIO()
    figure.savefig(written, format="svg", bbox_inches="tight")  # which makes the picture grow
    texts = re.findall(r'<text [^>]* ([\d.]+)\)">([^<]+)<', written.getvalue())  # each ends with where it stands
    places = {text: float(y) for y, text in texts}
    assert max(places[line] for line in title.split("\n")) < places["upper"] - 10


def test_names_stand_inside_the_axes_beside_what_they_name_and_cover_no_other(axes):
    axes.plot([1, np.nan, -np.inf, 1.1], [1.5, 1.5, 0, 1.4], "o", label="points\nof two networks")
    axes.plot([1.5], [1.2], label="one point")
    axes.plot([1.5], [np.nan], label="no point")
    axes.axvline(1.9, label="upright")
    axes.fill_between([1, 2], 0.8, 2.2, alpha=0.1)
    name_groups(axes)
    assert {*boxes(axes)} == {"upper", "lower", "points of two networks", "one point", "upright"}
    names, inside = list(boxes(axes).values()), axes.get_window_extent()
    for i, name in enumerate(names):
        assert inside.x0 <= name.x0 < name.x1 <= inside.x1
        assert inside.y0 <= name.y0 < name.y1 <= inside.y1
        assert not any(name.overlaps(other) for other in names[:i])
    points = axes.transData.transform([(1, 1.5), (1.1, 1.4)])
    near = boxes(axes)["points of two networks"].padded(12)
    assert any(near.contains(*point) for point in points)
