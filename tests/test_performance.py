"""The page on performance shows what is in the results, and no figure of its own."""

import json
import re
import sys

import numpy as np
import pytest

from tinynet_core.study.presets import project_root

sys.path.insert(0, str(project_root() / "benchmarks"))  # as Python does for a script
import page

RESULTS = (page.BOOK / "benchmarks.json").read_text(encoding="utf-8")


def section(rows, **about):
    machine = {"processor": "Abacus 9", "cores": 3, "memory_gib": 7.5, "gpu": None, "python": "3.11.2"}
    machine |= {"packages": {"torch": "2.12.1"}, "commit": "0123456789abcdef", "clean": True}
    command = "python benchmarks/training.py"
    return {
        "command": command,
        "date": "2026-01-02",
        "machine": machine,
        "others": 0.034,
        "others_are": "most",
        "rows": rows,
        **about,
    }


def row(what="sweep", value=3.14159, **more):
    return {"group": "throughput", "what": what, "value": value, "low": 3.0, "high": 3.5, "n": 3, "unit": "x", **more}


@pytest.mark.parametrize(
    ("target", "shown", "verdict"),
    [
        ({"at_least": 3.0}, "≥ 3×", "met"),
        ({"at_least": 3.2}, "≥ 3.2×", "**missed**"),
        ({"at_most": 3.0}, "≤ 3×", "**missed**"),
        ({"at_most": 1234.0}, "≤ 1,234×", "met"),
    ],
)
def test_the_page_says_which_targets_are_met(target, shown, verdict):
    sections = {"training": section([row(**target, peer="timm"), row("free", 1.0)])}
    head, _, *lines = page.performance_table(sections, "targets").splitlines()
    assert head == "| what | against | target | measured | spread | verdict |"
    assert lines == [f"| sweep | timm | {shown} | 3.14× | 3 to 3.5, range of 3 | {verdict} |"]


def test_a_table_names_command_machine_and_load():
    table = page.performance_table({"training": section([row(n=1, low=3.1, high=3.1)])}, "throughput")
    assert table.splitlines()[0] == "| what | measured | spread |"
    assert "| sweep | 3.14× | one run |" in table
    assert "`python benchmarks/training.py` on 2026-01-02: Abacus 9, 3 cores, 7.5 GiB; Python 3.11.2, torch" in table
    assert "commit `0123456789`. Other programs took at most 3% of the cores" in table


def test_a_group_without_rows_was_not_measured():
    assert page.performance_table({}, "gpu") == "*Not measured: `book/benchmarks.json` holds no rows of gpu.*"


def test_the_page_is_filled_from_the_results_and_holds_no_figure_of_its_own():
    text, sections = (page.BOOK / "performance.md").read_text(encoding="utf-8"), json.loads(RESULTS)
    assert page.filled(text, sections) == text, "python benchmarks/page.py"
    prose = re.sub("<!-- results.*?<!-- end -->", "", text, flags=re.S)
    assert not re.search(r"\d[\d.,]*\s*(×|x\b|times|ms|µs|s\b|MiB|GiB|images/s|seconds)", prose)
    groups = re.findall("<!-- results: (.+?) -->", text)
    for name, part in sections.items():
        assert part["command"] in text
        assert {one["group"] for one in part["rows"]} <= {*groups, "growth"}, name
        for one in part["rows"]:
            assert one["what"] in text or one["group"] == "growth"
    targets = sum("at_least" in one or "at_most" in one for part in sections.values() for one in part["rows"])
    assert text.count("met |") + text.count("**missed** |") == targets


def test_the_figure_draws_every_point_and_the_fitted_power():
    x = [1.0, 10.0, 100.0]
    points = [row("step", 2 * at**0.5, group="growth", x=at, x_label="MACs", low=at**0.5, high=3 * at**0.5) for at in x]
    power = row("step against MACs", 0.5, group="exponents", low=0.4, high=0.6)
    (axes,) = page.growth_figure(points, [power]).axes
    dots, line = axes.lines[0], axes.lines[-1]
    np.testing.assert_allclose(dots.get_xydata(), [(at, 2 * at**0.5) for at in x])
    np.testing.assert_allclose(line.get_xydata(), [(at, 2 * at**0.5) for at in x])
    assert axes.get_title() == "exponent 0.50\n[0.40, 0.60]"
