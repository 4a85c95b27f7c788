"""Data frames as they stand on a page."""

import pandas as pd
import pytest
from bs4 import BeautifulSoup

from tinynet_book.tables import ROWS, html


def parsed(frame):
    """A table as a page, and its cells by row."""
    page = BeautifulSoup(html(frame), "html.parser")
    return page, [[cell.get_text() for cell in row.find_all(("th", "td"))] for row in page.table.find_all("tr")]


@pytest.mark.parametrize(
    ("name", "values", "heading", "shown"),
    [
        ("top1", [0.7123, float("nan")], "top-1 (%)", ["71.2", ""]),
        ("top1", [77.68, 9.1], "top-1 (%)", ["77.7", "9.1"]),  # printed in percent
        ("top1", ["0.71 (0.70 to 0.72)"], "top-1", ["0.71 (0.70 to 0.72)"]),
        ("ema_top1", [0.7], "EMA top-1", ["0.700"]),
        ("macs", [387_012_345, 24_100_000, 153_000], "MACs (millions)", ["387", "24.1", "0.153"]),
        ("macs", [387.0, 24.1], "MACs (millions)", ["387", "24.1"]),  # printed in millions
        ("off", [0.012, -0.25], "off the budget", ["+1.2%", "−25.0%"]),
        ("x", [1.23456, -0.5], "x", ["1.235", "−0.500"]),
        ("x", [12345.678], "x", ["12,346"]),
        ("x", [True, False], "x", ["yes", "no"]),
        ("x", ["-1.5 [-2.0, -1.0]", "efficientnet_b-1", None], "x", ["−1.5 [−2.0, −1.0]", "efficientnet_b-1", ""]),
        ("x", ["GhostNet-1.5x", "conv 3x3", "max"], "x", ["GhostNet-1.5×", "conv 3×3", "max"]),
    ],
)
def test_a_column_in_words_and_few_digits(name, values, heading, shown):
    assert parsed(pd.DataFrame({name: values}))[1] == [[heading], *([text] for text in shown)]


def test_numbers_stand_in_line_names_are_the_first_column_and_what_is_bold_stands_out():
    frame = pd.DataFrame({"top-1 here (%, proxy)": ["70.1 ± 1.2", ""], "why": ["a", "1 & b"]}, index=["A", "B"])
    page, rows = parsed(frame.rename_axis("network"))
    assert rows == [["network", "top-1 here (%, proxy)", "why"], ["A", "70.1 ± 1.2", "a"], ["B", "", "1 & b"]]
    assert ["number" in cell["class"] for cell in page.select("tr:first-child th")] == [False, True, False]
    two = pd.DataFrame({"x": [1, 2, 3]}, index=pd.MultiIndex.from_tuples([("a", 1), ("a", 2), ("b", 1)]))
    assert [row[0] for row in parsed(two)[1]] == ["", "a", "", "b"]
    grouped = frame.assign(g=[1, 2]).groupby("why")[["g"]].agg(["mean", "count"])
    assert parsed(grouped)[1][0] == ["why", "g, mean", "g, count"]
    frame.attrs["bold"] = {"why": [1]}
    assert [cell.get_text() for cell in parsed(frame)[0].select(".best")] == ["1 & b"]


def test_a_long_table_folds_and_the_same_frame_gives_the_same_text():
    frame = pd.DataFrame({"x": range(ROWS + 3)})
    page, rows = parsed(frame)
    assert len(rows) == len(frame) + 1
    assert page.label.get_text() == f"Show all {len(frame)} rows"
    assert page.label["for"] == page.input["id"]
    assert html(frame) == html(frame.copy())
    assert "<input" not in html(frame.head(ROWS + 2))
    assert "<style" not in html(frame)
