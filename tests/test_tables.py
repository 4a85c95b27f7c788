"""Data frames as they stand on a page."""

import pandas as pd
import pytest
from bs4 import BeautifulSoup

from tinynet_book.tables import ROWS, html


def grid(frame):
    """The cells of a table by row, and which columns are set as numbers."""
    (table,) = (page := BeautifulSoup(html(frame), "html.parser")).find_all("table", class_="dataframe")
    rows = [[cell.get_text() for cell in row.find_all(("th", "td"))] for row in table.find_all("tr")]
    return page, rows, ["number" in cell["class"] for cell in table.find("tr").find_all("th")]


def column(values, name="x"):
    return [row[0] for row in grid(pd.DataFrame({name: values}))[1][1:]]


@pytest.mark.parametrize(
    ("name", "values", "heading", "shown"),
    [
        ("top1", [0.7123, float("nan")], "top-1 (%)", ["71.2", ""]),
        ("top1", [77.68, 9.1], "top-1 (%)", ["77.7", "9.1"]),  # printed in percent
        ("top1", ["0.71 (0.70 to 0.72)"], "top-1", ["0.71 (0.70 to 0.72)"]),
        ("ema_top1", [0.7], "EMA top-1", ["0.700"]),
        ("rival_flops", [52, 141], "FLOPs of the rival (millions)", ["52.0", "141"]),
        ("macs", [387_012_345, 24_100_000, 153_000], "MACs (millions)", ["387", "24.1", "0.153"]),
        ("macs", [387.0, 24.1], "MACs (millions)", ["387", "24.1"]),  # printed in millions
        ("off", [0.012, -0.25], "off the budget", ["+1.2%", "−25.0%"]),
        ("resolution", [1024, 56], "input (px)", ["1,024", "56"]),
        ("x", [1.23456, -0.5], "x", ["1.235", "−0.500"]),
        ("x", [12345.678], "x", ["12,346"]),
        ("x", [True, False], "x", ["yes", "no"]),
        ("x", ["-1.5 [-2.0, -1.0]", "efficientnet_b-1", None], "x", ["−1.5 [−2.0, −1.0]", "efficientnet_b-1", ""]),
        (
            "x",
            ["GhostNet-1.5x", "conv 3x3", "max", "0.5x, MobileNetV2"],
            "x",
            ["GhostNet-1.5×", "conv 3×3", "max", "0.5×, MobileNetV2"],
        ),
        ("real_macs", [2e6], "MACs (millions, recomputed)", ["2.00"]),
    ],
)
def test_a_column_in_words_and_few_digits(name, values, heading, shown):
    _, rows, _ = grid(pd.DataFrame({name: values}))
    assert rows[0] == [heading]
    assert [row[0] for row in rows[1:]] == shown


def test_numbers_stand_in_line_and_names_are_the_first_column():
    frame = pd.DataFrame({"top-1 here (%, proxy)": ["70.1 ± 1.2", ""], "why": ["a", "1 & b"]}, index=["A", "B"])
    _, rows, right = grid(frame.rename_axis("network"))
    assert rows == [["network", "top-1 here (%, proxy)", "why"], ["A", "70.1 ± 1.2", "a"], ["B", "", "1 & b"]]
    assert right == [False, True, False]
    two = pd.DataFrame({"x": [1, 2, 3]}, index=pd.MultiIndex.from_tuples([("a", 1), ("a", 2), ("b", 1)]))
    assert [row[0] for row in grid(two)[1]] == ["", "a", "", "b"]
    grouped = frame.assign(g=[1, 2]).groupby("why")[["g"]].agg(["mean", "count"])
    assert grid(grouped)[1][0] == ["why", "g, mean", "g, count"]


def test_what_a_frame_calls_bold_stands_out():
    frame = pd.DataFrame({"top-1": [70.1, 71.2, 69.0], "n": [1, 2, 3]}, index=["A", "B", "C"])
    frame.attrs["bold"] = {"top-1": [1]}
    page, _, _ = grid(frame)
    assert [cell.get_text() for cell in page.select(".best")] == ["71.20"]


def test_a_long_table_folds_and_the_same_frame_gives_the_same_text():
    frame = pd.DataFrame({"x": range(ROWS + 3)})
    page, rows, _ = grid(frame)
    assert len(rows) == len(frame) + 1
    assert page.label.get_text() == f"Show all {len(frame)} rows"
    assert page.label["for"] == page.input["id"]
    assert html(frame) == html(frame.copy())
    assert "<input" not in html(frame.head(ROWS + 2))
    assert "<style" not in html(frame)
