"""What stands around the pictures: the finding above, what it rests on below, and names beside the lines."""

import io
import re

import matplotlib.pyplot as plt
import pytest

from tinynet_book.figures import finding, name_lines, set_style


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


@pytest.mark.parametrize("first", [True, False])
def test_names_of_lines_stand_beside_them_apart_and_inside_the_axes(axes, first):
    name_lines(axes, first)
    lower, upper = (boxes(axes)[x] for x in ("lower", "upper"))
    assert lower.y1 <= upper.y0 + 1
    inside = axes.get_window_extent()
    for name in (lower, upper):
        assert inside.x0 <= name.x0 < name.x1 <= inside.x1
