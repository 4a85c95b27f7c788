"""Statistics of compared networks, against scipy, against the intervals that the figures draw, and by hand."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from scipy.stats import t, ttest_1samp, ttest_ind

from tinynet_book import figures
from tinynet_book.analysis.comparison import Comparison, Interval, absences, contrast, one_each, troubled_runs
from tinynet_book.paper.cells import cells
from tinynet_core.study.series import Series

A, B, C = [0.80, 0.83, 0.81], [0.70, 0.78, 0.71, 0.75], [0.60, 0.62, 0.61]


def runs(top1s, macs=None, params=None):
    """A frame of ``Study.named_frame``: top-1 of each network by seed, None for a failed run."""
    rows = [
        {"key": f"{model}{seed}", "model": model, "seed": seed, "top1": np.nan if x is None else x}
        | {"status": "failed" if x is None else "done", "reason": "diverged" if x is None else None}
        | {"macs": (macs or {}).get(model, 1e6), "params": (params or {}).get(model, 2e5)}
        for model, xs in top1s.items()
        for seed, x in enumerate(xs)
    ]
    return pd.DataFrame(rows)


def compare(top1s, budgets=None, macs=None, **more):
    return Comparison(runs(top1s, macs, more.pop("params", None)), 500, "proxy", budgets or {}, **more)


@pytest.mark.parametrize("top1", [[0.8], A, B])
def test_a_single_mean_has_the_interval_that_the_figures_draw(top1):
    mean = contrast([(1.0, top1)], 500)
    assert mean.value == pytest.approx(100 * np.mean(top1))
    assert mean.half == pytest.approx(100 * figures.mean_half_width(pd.Series(top1), 500))


def test_drawn_intervals_end_at_0_and_100():
    assert figures.error_bars([50.0, 90.0, 5.0], [20.0, 30.0, 8.0]).tolist() == [[20, 30, 5], [20, 10, 8]]
    drawn = figures.plotted(figures.compared_models(runs({"a": [0.99, 0.4, 0.98], "b": [0.02, 0.4]}), 500))
    bars = drawn[drawn.drawn_as == "interval"]
    assert bars.x_end.max() == 100
    assert bars.x.min() == 0
    plt.close("all")


def test_a_difference_is_welchs():
    theirs = ttest_ind(A, B, equal_var=False).confidence_interval()
    ours = compare({"a": A, "b": B}).difference("a", "b")
    assert ours.value - ours.half == pytest.approx(100 * theirs.low)
    assert ours.value + ours.half == pytest.approx(100 * theirs.high)


def test_with_one_seed_it_is_binomial_by_hand():
    """0.8 on 500 images has variance 0.00032, 0.5 has 0.0005: 1.96 x sqrt(0.00082) is 5.61 points."""
    gap = compare({"a": [0.8], "b": [0.5]}).difference("a", "b")
    assert (gap.value, gap.half) == (pytest.approx(30), pytest.approx(5.6126, abs=1e-4))
    mixed = compare({"a": [0.8], "b": [0.4, 0.6]}).difference("a", "b")
    assert mixed == Interval(pytest.approx(30), pytest.approx(5.6126, abs=1e-4))


def test_an_average_of_differences_by_hand():
    """Equal variances s^2 of n = 3 seeds: four means weighted by a half give s^2 / 3 with 4 x 2 degrees of freedom."""
    spread = np.array([-0.01, 0.0, 0.01])  # s = 0.01
    compared = compare({"a": 0.8 + spread, "b": 0.7 + spread, "c": 0.6 + spread, "d": 0.58 + spread})
    average = compared.average([("a", "b"), ("c", "d")])
    assert average.value == pytest.approx(6)
    assert average.half == pytest.approx(100 * t.ppf(0.975, 8) * 0.01 / np.sqrt(3))


def test_a_chain_of_differences_is_its_ends():
    found = compare({"a": A, "b": B, "c": C})
    chain, ends = found.average([("a", "b"), ("b", "c")]), found.difference("a", "c")
    assert chain.value == pytest.approx(ends.value / 2)
    assert chain.half == pytest.approx(ends.half / 2)


def test_seeds_that_agree_leave_no_width():
    assert contrast([(1, [0.5, 0.5, 0.5]), (-1, [0.4, 0.4])], 500) == Interval(pytest.approx(10), 0.0)


def test_a_network_without_runs_is_refused():
    with pytest.raises(ValueError, match=r"at least one finished run, got \[3, 0\]"):
        contrast([(1, A), (-1, [])], 500)
    with pytest.raises(ValueError, match="at least one finished run"):
        contrast([], 500)


def test_intervals_cover_what_they_say():
    """Unequal spreads and seeds, 1,500 draws: 95% to within three standard errors of that count, 1.7%."""
    random = np.random.default_rng(0)
    hits = 0
    for _ in range(1500):
        gap = contrast([(1, random.normal(0.5, 0.03, 3)), (-0.5, random.normal(0.2, 0.01, 5)), (-0.5, [0.1, 0.1])], 1)
        hits += abs(gap.value - 35) < gap.half
    assert hits / 1500 == pytest.approx(0.95, abs=0.02)


def test_an_interval_says_where_it_is():
    assert Interval(1.0, 0.9).clear
    assert not Interval(1.0, 1.1).clear
    assert not Interval(-3.0, 0.5).clear
    assert Interval(1.0, 2.5).limits == "[-1.5, +3.5]"


def test_cost_decides_who_counts():
    compared = compare(
        {"near": A, "far": A, "free": A, "failed": [None]},
        {"near": 1e6, "far": 1e6, "failed": 1e6},
        {"near": 1.09e6, "far": 1.11e6},
    )
    assert compared.off("near") == pytest.approx(0.09)
    assert [compared.counts(x) for x in ("near", "far", "free", "failed", "unknown")] == [
        True,
        False,
        True,
        False,
        False,
    ]
    by_size = compare({"x": A}, {"x": 1e5}, params={"x": 1.2e5}, cost="params")
    assert by_size.off("x") == pytest.approx(0.2)


def test_table_keeps_the_levels_of_evidence_apart():
    table = compare({"a": A, "b": [None, 0.7]}, {"a": 8e5}).table({"a": 77.6})
    assert [c.rsplit(" ", 1)[-1].strip("()") for c in table.columns] == [
        *("recomputed", "recomputed", "recomputed", "proxy", "proxy", "seeds", "quoted")
    ]
    assert table.loc["a"].tolist() == ["1", "0.2", "+25.0%", "81.3", "3.8", 3, "77.6"]
    assert table.loc["b"].tolist() == ["1", "0.2", "", "70.0", "4.0", 1, ""]
    assert "quoted" not in " ".join(compare({"a": A}).table().columns)
    assert compare({"a": [None]}).table().loc["a", "seeds"] == 0


def test_differences_are_listed_and_averaged_over_those_that_count():
    compared = compare({"a": A, "b": B, "c": C}, {"c": 1e6, "b": 2e6})
    rows = compared.differences({"all": [("a", "b"), ("a", "missing"), ("a", "c")]})
    assert rows.rival.tolist() == ["b", "c"]
    assert rows.counts.tolist() == ["no", "yes"]
    assert rows["rival off budget (recomputed)"].tolist() == ["-50.0%", "+0.0%"]
    assert rows["difference (points, proxy)"].tolist() == ["+7.8", "+20.3"]
    pairs = [("a", "b"), ("c", "d")]
    rows = compare({"a": A, "b": B, "c": C, "d": C}).differences({"width": pairs})
    assert rows.rival.tolist() == ["b", "d", "width (n = 2)"]
    assert rows["difference (points, proxy)"].iloc[-1] == "+3.9"


def test_effects_of_a_factorial_comparison():
    """(8, 6, 5, 1) of ten: the rule gives 3 with one head and 5 with the other, the head 2 and 4; 7 together."""
    spread = np.array([-0.01, 0.0, 0.01])
    names = ["tf", "ts", "gf", "gs"]
    tops = {n: x + spread for n, x in zip(names, (0.8, 0.6, 0.5, 0.1), strict=True)}
    compared = compare(tops | {f"{n}2": x - 0.05 * (n == "tf") for n, x in tops.items()})
    weights = {"rule": (0.5, 0.5, -0.5, -0.5), "head": (0.5, -0.5, 0.5, -0.5), "paper": (1, 0, 0, -1)}
    found = compared.effects({"1": names, "2": [f"{n}2" for n in names]}, weights).set_index(["effect", "group"])
    assert found.value.round(6).tolist() == [40, 37.5, 38.75, 30, 27.5, 28.75, 70, 65, 67.5]
    one, both = (found.half["paper", group] for group in ("1", "average"))
    assert one == pytest.approx(100 * t.ppf(0.975, 4) * 0.01 * np.sqrt(2 / 3))
    assert both == pytest.approx(100 * t.ppf(0.975, 8) * 0.01 / np.sqrt(3))


def test_an_effect_leaves_out_groups_that_do_not_count():
    compared = compare({"a": A, "b": B, "c": C}, {"c": 5e6})
    found = compared.effects({"1": ["a", "b"], "2": ["a", "c"]}, {"gap": (1, -1), "first": (1, 0)})
    assert found.group.tolist() == ["1", "average", "1", "2", "average"]
    assert compared.effects({"1": ["a", "missing"]}, {"gap": (1, -1)}).empty


def test_a_sentence_is_decided_by_intervals():
    compared = compare({"a": A, "b": B, "c": C})
    found = compared.beats(one_each("a", ["b", "c"]))
    assert (found.value, found.evidence) == (True, "proxy")
    assert found.note == "ahead of 2 of 2, clearly of 2, clearly behind 0"
    assert found.records == tuple(compared.frame.key)
    behind = compared.beats(one_each("b", ["a", "c"]))
    assert (behind.value, behind.note) == (False, "ahead of 1 of 2, clearly of 1, clearly behind 1")
    close = compare({"a": [0.5, 0.6, 0.7], "b": [0.49, 0.59, 0.69]}).beats(one_each("a", ["b"]))
    assert (close.value, close.note) == (None, "ahead of 1 of 1, clearly of 0, clearly behind 0")


@pytest.mark.parametrize(
    ("compared", "note"),
    [
        (compare({"a": A, "b": [0.7, 0.7]}), "ahead of 1 of 1, clearly of 1, clearly behind 0; too few seeds to tell"),
        (
            compare({"a": A, "b": C}, {"b": 2e6}),
            "ahead of 0 of 0, clearly of 0, clearly behind 0; left out, not at this cost: b",
        ),
        (compare({"a": A}), "ahead of 0 of 0, clearly of 0, clearly behind 0; left out, not at this cost: b"),
        (compare({"a": [None], "b": A}), "no run finished of a"),
    ],
)
def test_a_sentence_is_left_open(compared, note):
    found = compared.beats(one_each("a", ["b"]))
    assert (found.value, found.note) == (None, note)
    assert compared.gain("table1-half-gain", "a", "b").value is None


def test_a_budget_that_cannot_be_reached_leaves_the_others():
    compared = compare({"a": A, "b": C})
    found = compared.beats({"depth": [("a", "b"), ("a2", "b2")]})
    assert found.value is True
    assert found.note == "ahead of 1 of 1, clearly of 1, clearly behind 0; left out, not at this cost: a2, b2"


@pytest.mark.parametrize(("margin", "value"), [(30, True), (25, True), (20.3, None), (18, None), (15, False)])
def test_no_worse_by_the_whole_interval(margin, value):
    """C is 20.3 points behind A, between 17.2 and 23.5."""
    found = compare({"a": A, "c": C}).no_worse("c", "a", margin)
    assert found.value is value
    assert found.note == f"-20.3 points, 95% [-23.5, -17.2], as accurate would be above {-margin:g}"


def test_one_seed_tells_nothing_of_no_worse():
    assert compare({"a": [0.5], "c": A}).no_worse("c", "a", 1).value is None
    assert compare({"c": A}).no_worse("c", "a", 1).note == "left out, not at this cost: a"


def test_a_gain_too_uncertain_to_compare_with_the_papers_is_left_open():
    found = compare({"a": A, "b": B}).gain("table1-half-gain", "a", "b")
    assert found.value is None
    assert found.note.endswith("], too wide to compare with the paper's number")


def test_a_gain_that_the_rival_leaves_no_room_for_is_left_open():
    found = compare({"a": [0.995, 0.996, 0.994], "b": [0.99, 0.991, 0.989]}).gain("table1-half-gain", "a", "b")
    assert found.value is None
    assert found.note.endswith("], the rival is 1.0 points below 100%: no room for the paper's number")


def test_a_gain_is_the_difference():
    found = compare({"a": A, "b": C}).gain("table1-half-gain", "a", "b")
    assert found.value == pytest.approx(20.333, abs=1e-3)
    assert found.note == "+20.3 points, 95% [+17.2, +23.5]"
    assert (round(found.low, 1), round(found.high, 1)) == (17.2, 23.5)
    low, high = ttest_ind(A, C, equal_var=False).confidence_interval()
    assert [round(100 * low, 1), round(100 * high, 1)] == [17.2, 23.5]


def test_what_is_absent_is_named():
    series = Series()
    whole = "Every network could be built, every run finished, and all are above three times chance."
    assert absences(series, runs({"a": A})) == whole
    series.unreachable["depth only"] = "below the smallest"
    assert absences(series, runs({"a": [0.5, None]})).splitlines() == [
        "- *depth only* cannot be had: below the smallest",
        "- *a*, seed 1, failed: diverged",
    ]


def test_runs_that_failed_or_hardly_learned_are_named(make_experiment):
    """Four classes: below 75% is below three times chance."""
    series = Series()
    series["a"] = [make_experiment(seed=seed) for seed in range(3)]
    frame = runs({"a": [0.26, 0.8, None]}).assign(key=[e.key for e in series["a"]])
    assert troubled_runs(series, frame) == [
        "- *a*, seed 2, failed: diverged",
        "- *a*, seed 0, counts, but hardly learned: 26.0%, guessing 25.0%",
    ]
    assert absences(series, frame).splitlines() == troubled_runs(series, frame)


def test_what_a_formula_was_stretched_for_is_shown_and_does_not_count():
    tops = {"a": A, "b": C, "a2": C, "b2": A}
    frame, pairs = runs(tops), [("a", "b"), ("a2", "b2")]
    compared = Comparison(frame, 1000, "proxy", extrapolated=["a2"])
    assert compared.better(pairs).note.startswith("+20.3 points on average of 1")
    assert compared.better(pairs).note.endswith("; left out, outside the range of the fit: a2")
    assert compared.differences({"all": pairs}).counts.tolist() == ["yes", "no"]


def test_curves_run_along_the_cost_and_show_the_minimum():
    frame = runs({"whole": A, "half": C, "other": [None]}, {"whole": 4e6, "half": 2e6})
    figure = figures.shrinking_curves(frame, {"width": ["half", "whole", "other", "never"]}, 500, 1.5e6)
    (axes,) = figure.axes
    points, minimum = axes.lines[0], axes.lines[-1]
    assert points.get_xdata().tolist() == [2, 4]
    assert points.get_ydata() == pytest.approx([61, 100 * np.mean(A)])
    assert list(minimum.get_xdata()) == [1.5, 1.5]
    assert "3 seeds a network" in axes.get_ylabel()
    assert [text.get_text() for text in axes.get_legend().texts] == ["minimum depth", "width (n = 2)"]
    plt.close(figure)


def test_effects_are_drawn_with_their_intervals():
    found = pd.DataFrame(
        {"effect": ["rule", "rule"], "group": ["1", "average"], "value": [3.0, 2.0], "half": [1.0, 0.5]}
    )
    figure = figures.effects(found, 1)
    (axes,) = figure.axes
    bars = [c for c in axes.containers if len(c)]
    assert [bar[0].get_xdata()[0] for bar in bars] == [3, 2]
    assert [bar[2][0].get_segments()[0][:, 0].tolist() for bar in bars] == [[2, 4], [1.5, 2.5]]
    assert axes.get_xlabel().endswith("1 seed a network")
    plt.close(figure)


def test_heads_are_drawn_on_top_of_the_rest():
    costs = pd.DataFrame(
        {"network": ["TinyNet-E"], "head": ["fixed"], "params": [2e6], "macs": [2.4e7], "head_params": [1.5e6]}
    ).assign(head_macs=6e6)
    figure = figures.head_shares(costs)
    left, right = figure.axes
    assert [bar.get_width() for bar in left.patches] == pytest.approx([0.5, 1.5])
    assert [text.get_text() for text in (*left.texts, *right.texts)] == ["75%", "25%"]
    plt.close(figure)


def test_a_number_of_imagenet_is_only_answered_at_full_scale():
    frame = runs({"GhostNet-A": A, "GhostNet-B": B}).assign(top5=0.9)
    proxy = Comparison(frame, 1500, "proxy").printed("table6")
    assert len(proxy) == sum(cell.column in ("top1", "top5") for cell in cells("table6"))
    assert {finding.value for finding in proxy.values()} == {None}
    assert proxy["table6-ghostnet_a-top1"].note == "no number of ImageNet: here 81.3% [77.5, 85.1], 3 seeds"
    assert proxy["table6-ghostnet_d-top1"].note == "no network of this row was trained here"
    whole = Comparison(frame, 1500, "trained").printed("table6")["table6-ghostnet_a-top1"]
    assert whole.value == pytest.approx(100 * np.mean(A))
    low, high = ttest_1samp(A, 0).confidence_interval()
    assert (whole.low, whole.high) == (pytest.approx(100 * low), pytest.approx(100 * high))


def test_rows_here_are_told_by_their_place_in_the_table():
    compared = Comparison(runs({"mine": A}).assign(top5=0.9), 1500, "trained")
    found = compared.printed("table2", ["none"] * 5 + ["mine", "none"])
    answered = [key for key, finding in found.items() if finding.value is not None]
    assert answered == ["table2-resnet50_giant_b-top1"]
