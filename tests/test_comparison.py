"""Networks compared by name: what counts, what is told of a sentence, and paired tests, by hand and against scipy."""

from itertools import product

import numpy as np
import pandas as pd
import pytest
from notebook_code import run_cell
from scipy.stats import permutation_test, ttest_1samp, ttest_ind, wilcoxon

from tinynet_book.analysis.comparison import Comparison, absences
from tinynet_book.analysis.intervals import Interval
from tinynet_book.paper.cells import cells
from tinynet_book.paper.claims import claims, decided
from tinynet_core.study.series import Series

A, B, C = [0.80, 0.83, 0.81], [0.70, 0.78, 0.71, 0.75], [0.60, 0.62, 0.61]


def runs(top1s, macs=None):
    """A frame of ``Study.named_frame``: top-1 of each network by seed, None for a failed run."""
    rows = [
        {"key": f"{model}{seed}", "model": model, "seed": seed, "top1": np.nan if x is None else x}
        | {"status": "failed" if x is None else "done", "reason": "diverged" if x is None else None}
        | {"macs": (macs or {}).get(model, 1e6), "params": 2e5}
        for model, xs in top1s.items()
        for seed, x in enumerate(xs)
    ]
    return pd.DataFrame(rows)


def compare(top1s, budgets=None, macs=None):
    return Comparison(runs(top1s, macs), 500, "proxy", budgets or {})


def test_cost_decides_who_counts():
    trained = {"near": A, "far": A, "free": A, "failed": [None]}
    compared = compare(trained, dict.fromkeys(("near", "far", "failed"), 1e6), {"near": 1.09e6, "far": 1.11e6})
    assert compared.off("near") == pytest.approx(0.09)
    assert {name for name in (*trained, "unknown") if compared.counts(name)} == {"near", "free"}


def test_table_keeps_the_levels_of_evidence_apart():
    table = compare({"a": A, "b": [None, 0.7], "c": [None]}, {"a": 8e5}).table({"a": 77.6})
    levels = [name.rsplit(" ", 1)[-1].strip("()") for name in table.columns]
    assert levels == ["recomputed", "recomputed", "recomputed", "proxy", "proxy", "seeds", "quoted"]
    assert table.loc["a"].tolist() == ["1", "0.2", "+25.0%", "81.3", "3.8", 3, "77.6"]
    assert table.loc["b"].tolist() == ["1", "0.2", "", "70.0", "4.0", 1, ""]
    assert table.loc["c", "seeds"] == 0
    budgets = dict.fromkeys("abc", 1e6) | {"d": 2e6}
    table = compare({"a": B, "b": A, "c": [None], "d": A}, budgets, {"d": 2e6}).table()
    assert table.attrs["bold"] == {"top-1 here (%, proxy)": [1]}  # alone at its budget is not the best of it


def test_differences_are_listed_and_averaged_over_those_that_count():
    compared = compare({"a": A, "b": B, "c": C}, {"c": 1e6, "b": 2e6})
    rows = compared.differences({"all": [("a", "b"), ("a", "missing"), ("a", "c")]})
    assert rows.rival.tolist() == ["b", "c"]
    assert rows.counts.tolist() == ["no", "yes"]
    assert rows["rival off budget (recomputed)"].tolist() == ["-50.0%", "+0.0%"]
    assert rows["difference (points, proxy)"].tolist() == ["+7.8", "+20.3"]
    rows = compare({"a": A, "b": B, "c": C, "d": C}).differences({"width": [("a", "b"), ("c", "d")]})
    assert rows.rival.tolist() == ["b", "d", "width (n = 2)"]
    assert rows["difference (points, proxy)"].iloc[-1] == "+3.9"


def test_what_cannot_be_had_failed_or_hardly_learned_is_named(make_experiment):
    """Four classes: below 75% is below three times chance."""
    series = Series()
    series.unreachable["b"] = "too small"
    series["a"] = [make_experiment(seed=seed) for seed in range(3)]
    frame = runs({"a": [0.26, 0.8, None]}).assign(key=[e.key for e in series["a"]])
    assert absences(series, frame).splitlines() == [
        "- *b* cannot be had: too small",
        "- *a*, seed 2, failed: diverged",
        "- *a*, seed 0, counts, but hardly learned: 26.0%, guessing 25.0%",
    ]


def told(key, estimate):
    return decided(claims()[key], estimate)


def test_a_sentence_about_several_rivals():
    compared = compare({"a": A, "b": B, "c": C})
    found = compared.beats({"b": [("a", "b")], "c": [("a", "c")]})
    assert told("table1-half", found) == (True, "")
    assert (found.evidence, found.records) == ("proxy", tuple(compared.frame.key))
    assert found.note == "clearly ahead of 2 of 2 rivals, clearly behind 0, undecided for 0"
    assert told("table1-half", compared.beats({"a": [("b", "a")], "c": [("b", "c")]})) == (False, "")
    close = compare({"a": [0.5, 0.6, 0.7], "b": [0.49, 0.59, 0.69]}).beats({"b": [("a", "b")]})
    assert told("table1-half", close) == (None, "the interval leaves both answers possible")
    partly = compared.beats({"depth": [("a", "c"), ("a2", "c2")]})
    assert told("table1-half", partly) == (True, "")
    assert partly.note.endswith(". Left out: a2; c2 (no such network within 10% of the budget)")


@pytest.mark.parametrize(
    ("compared", "why"),
    [
        (compare({"a": A, "b": [0.7, 0.7]}), "too few seeds to tell"),
        (compare({"a": A, "b": C}, {"b": 2e6}), "too few of its pairs count"),
        (compare({"a": [None], "b": A}), "no run finished of a"),
    ],
)
def test_a_sentence_is_left_open(compared, why):
    assert told("table1-half", compared.beats({"b": [("a", "b")]})) == (None, why)
    assert told("table1-half-gain", compared.gain("a", "b"))[0] is None
    assert told("duel-formula-beats-giant", compared.better([("a", "b")]))[0] is None


def test_an_average_is_decided_by_its_interval():
    ours = [0.80, 0.81, 0.82]
    found = compare({"a": ours, "b": [0.70, 0.71, 0.72]}).better([("a", "b")])
    assert told("duel-formula-beats-giant", found) == (True, "")
    assert found.note == "+10.0 points [+7.7, +12.3], mean of 1 pairs"
    found = compare({"a": ours, "b": [0.79, 0.81, 0.815]}).better([("a", "b")])
    assert told("duel-formula-beats-giant", found)[0] is None
    assert found.note.startswith("+0.5 points [-2.2, +3.2], mean of 1 pairs. A true difference below 3.9 points would")


def test_a_gain_is_the_difference_where_the_rival_leaves_room():
    found = compare({"a": A, "b": C}).gain("a", "b")
    low, high = ttest_ind(A, C, equal_var=False).confidence_interval()
    assert (found.found.low, found.found.high) == pytest.approx((100 * low, 100 * high))
    assert found.note == "+20.3 points [+17.2, +23.5]"
    assert told("table1-half-gain", found) == (found.found.value, "")
    wide = compare({"a": A, "b": B}).gain("a", "b")
    assert told("table1-half-gain", wide) == (None, "too uncertain to compare with the paper's number")
    full = compare({"a": [0.995, 0.996, 0.994], "b": [0.99, 0.991, 0.989]}).gain("a", "b")
    assert told("table1-half-gain", full)[1].startswith("at most 1.0 could be had here")


def test_a_number_of_imagenet_is_only_answered_at_full_scale():
    frame = runs({"GhostNet-A": A, "GhostNet-B": B}).assign(top5=0.9)
    proxy = Comparison(frame, 1500, "proxy").printed("table6")
    assert len(proxy) == sum(cell.column in ("top1", "top5") for cell in cells("table6"))
    assert {estimate.found for estimate in proxy.values()} == {None}
    assert proxy["table6-ghostnet_a-top1"].note == "no number of ImageNet: here 81.3% [77.5, 85.1], 3 seeds"
    assert proxy["table6-ghostnet_d-top1"].note == "no network of this row was trained here"
    whole = Comparison(frame, 1500, "trained").printed("table6")["table6-ghostnet_a-top1"].found
    low, high = ttest_1samp(A, 0).confidence_interval()
    assert (whole.low, whole.high) == pytest.approx((100 * low, 100 * high))
    placed = Comparison(runs({"mine": A}).assign(top5=0.9), 1500, "trained")
    found = placed.printed("table2", ["none"] * 5 + ["mine", "none"])
    assert [key for key, x in found.items() if x.found is not None] == ["table2-resnet50_giant_b-top1"]


def test_distances_from_a_line_and_their_interval():
    """The line has 20% at 1, 40% at 2 and 60% at 4; two models at 2 are 10 and 30 points above, one at 4 is on it."""
    over_line = run_cell("01", "def over_line", np=np, Interval=Interval)["over_line"]
    each, mean = over_line([2, 2, 4], [0.5, 0.7, 0.6], [1, 4], [0.2, 0.6], [0.01, 0.02])
    assert each == pytest.approx([10, 30, 0])
    between = np.var([10, 30, 0], ddof=1) / 3
    rivals = (1 / 3 * 1) ** 2 + (2 / 3 * 2) ** 2  # the mean shares of the two ends, times their errors in points
    assert (mean.value, mean.half) == (pytest.approx(40 / 3), pytest.approx(1.96 * np.sqrt(between + rivals)))
    assert np.isnan(over_line([2], [0.5], [1, 4], [0.2, 0.6], [0.01, 0.02])[1].half)


def test_paired_tests_of_budgets_and_of_pairs():
    """Budgets weigh the same, though one has a failed run: its two pairs weigh 1/6 each, those of the others 1/9."""
    how = {"permutation_type": "samples", "vectorized": True, "n_resamples": 1 << 15, "rng": 0}
    names = {"np": np, "permutation_test": permutation_test, "wilcoxon": wilcoxon, "FLIPS": how}
    code, pairs = run_cell("24", "def paired_tests", **names), [2, 3, 3.5, 1, 0, 1, -1, 3]
    found = code["paired_tests"](pd.DataFrame([pairs[:3], pairs[3:6], [*pairs[6:], np.nan]]))
    assert (found["budgets"], found["pairs"], found["smallest"]) == (3, 8, 0.25)
    assert found["whole budgets"] == code["sign_flip"]([8.5 / 3, 2 / 3, 1]) == 0.25
    weights = np.array([1 / 9] * 6 + [1 / 6] * 2)
    sums = [abs(np.array(signs) * pairs @ weights) for signs in product((1, -1), repeat=len(pairs))]
    assert found["all pairs"] == pytest.approx(np.mean([x >= abs(weights @ pairs) - 1e-12 for x in sums]))
    assert found["Wilcoxon"] == pytest.approx(wilcoxon([x for x in pairs if x]).pvalue, abs=0.03)
    many = np.random.default_rng(1).normal(0.3, 1, 40)
    assert code["sign_flip"](many) == pytest.approx(ttest_1samp(many, 0).pvalue, abs=0.01)
    assert code["sign_flip"]([1.0]) == 1


def test_what_keeps_a_network_from_counting_is_named():
    series = Series()
    series.unreachable["small"] = "below the smallest"
    compared = compare({"far": A, "failed": [None]}, {"far": 1e6}, {"far": 1.2e6})
    reason = run_cell("24", "def reason", series=series, compared=compared, stretched=["beyond"])["reason"]
    assert reason("small") == "cannot be had: below the smallest"
    assert reason("failed") == "has no finished run"
    assert reason("far") == "is +20.0% off its budget"
