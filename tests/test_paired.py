"""Paired tests against scipy, against every pattern of signs by hand, and the tables and figures built on them."""

from itertools import product

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from scipy.stats import permutation_test, ttest_1samp, wilcoxon

from tinynet_book import figures
from tinynet_book.analysis.comparison import Comparison, Interval
from tinynet_book.analysis.paired import BUDGETS_RANDOM, SEEDS_RANDOM, Duels, holm, over_budgets, sign_flip, signed_rank
from tinynet_book.analysis.search import best_of
from tinynet_core.study.series import Series

VALUES = [2.1, -0.4, 1.3, 0.8, 3.0, -1.1]


def duels(ours, theirs, macs=None):
    """Ours against one rival: top-1 in percent by budget and seed, None for a failed run; ``macs`` where off budget."""
    rows = [
        {"key": f"{side}{c}{seed}", "model": f"{side} {c}", "seed": seed, "top1": np.nan if x is None else x / 100}
        | {"status": "failed" if x is None else "done", "reason": None, "params": 1e5}
        | {"macs": (macs or {}).get(f"{side} {c}", c * 1e6)}
        for side, by_c in (("ours", ours), ("rival", theirs))
        for c, seeds in by_c.items()
        for seed, x in enumerate(seeds)
    ]
    budgets = {f"{side} {c}": c * 1e6 for side, by_c in (("ours", ours), ("rival", theirs)) for c in by_c}
    compared = Comparison(pd.DataFrame(rows), 500, "proxy", budgets)
    return Duels(compared, {c: f"ours {c}" for c in ours}, {"rival": {c: f"rival {c}" for c in theirs}})


def test_sign_flips_against_scipy():
    theirs = permutation_test((VALUES,), np.mean, permutation_type="samples", n_resamples=np.inf)
    assert sign_flip(VALUES) == pytest.approx(theirs.pvalue)


def test_weighted_sign_flips_by_hand():
    weights = np.array([1, 1, 1, 2, 2, 3]) / 10
    observed = abs(weights @ np.array(VALUES))
    sums = [abs(np.array(signs) * VALUES @ weights) for signs in product((1, -1), repeat=len(VALUES))]
    assert sign_flip(VALUES, weights) == pytest.approx(np.mean([x >= observed - 1e-12 for x in sums]))


@pytest.mark.parametrize(("values", "p"), [([1.0], 1.0), ([1, 2], 0.5), ([1, 2, 3, 4, 5], 0.0625), ([0, 0], 1.0)])
def test_few_values_have_a_smallest_p(values, p):
    assert sign_flip(values) == p


def test_many_values_are_drawn_and_agree_with_a_t_test():
    values = np.random.default_rng(1).normal(0.3, 1, 40)
    assert sign_flip(values) == pytest.approx(ttest_1samp(values, 0).pvalue, abs=0.01)


def test_a_sign_flip_needs_values():
    for wrong in ([], [np.nan], [[1, 2]]):
        with pytest.raises(ValueError, match="values must be finite and at least one"):
            sign_flip(wrong)


def test_wilcoxon_without_zeros():
    assert signed_rank([0, *VALUES, 0]) == wilcoxon(VALUES).pvalue
    assert signed_rank([0, 0]) == 1


def test_holm_by_hand():
    """0.005 x 4, 0.01 x 3, 0.03 x 2, and 0.04 x 1 no smaller than the one before (a textbook's four hypotheses)."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.6]).tolist() == [1, 1]
    assert holm([0.2]).tolist() == [0.2]
    assert holm([]).tolist() == []


def test_budgets_at_random_are_a_t_interval():
    theirs = ttest_1samp(VALUES, 0).confidence_interval()
    ours = over_budgets(VALUES)
    assert (ours.value - ours.half, ours.value + ours.half) == (pytest.approx(theirs.low), pytest.approx(theirs.high))
    assert np.isnan(over_budgets([1.0]).half)


def test_an_interval_in_words():
    """A true difference of 1.43 halves is found by a normal estimate with standard error half / 1.96 in 80%."""
    assert [Interval(x, 1.0).verdict for x in (1.1, -1.1, 0.9)] == ["better", "worse", "cannot be told"]
    assert Interval(1.0, np.nan).verdict == "cannot be told"
    estimates = np.random.default_rng(0).normal(Interval(0, 1.96).detectable, 1, 20_000)
    assert np.mean(estimates > 1.96) == pytest.approx(0.8, abs=0.01)


OURS = {0.5: [80, 81, 82], 0.25: [70, 72, 71], 0.125: [60, 60, None]}
THEIRS = {0.5: [78, 78, 78.5], 0.25: [69, 72, 70], 0.125: [61, 57, 58], 0.0625: [40, 41, 42]}


def test_gaps_pair_the_seeds():
    found = duels(OURS, THEIRS)
    gaps = found.gaps("rival")
    assert gaps.index.tolist() == [0.5, 0.25, 0.125]
    assert gaps.fillna(99).to_numpy() == pytest.approx(np.array([[2, 3, 3.5], [1, 0, 1], [-1, 3, 99]]))


def test_averages_have_both_intervals():
    found = duels(OURS, THEIRS)
    both = found.averages()["rival"]
    means = [81 - 78.1667, 71 - 70.3333, 60 - 58.6667]
    assert [both[kind].value for kind in (SEEDS_RANDOM, BUDGETS_RANDOM)] == pytest.approx(
        [np.mean(means)] * 2, abs=1e-3
    )
    assert both[SEEDS_RANDOM] == found.compared.average([(f"ours {c}", f"rival {c}") for c in OURS])
    assert both[BUDGETS_RANDOM].half == pytest.approx(over_budgets(means).half, abs=1e-3)


def test_tests_of_budgets_and_of_pairs():
    """Budgets weigh the same, though one has a failed run: its two pairs weigh 1/6 each, those of the others 1/9."""
    (row,) = duels(OURS, THEIRS).tests().to_dict("records")
    pairs = [2, 3, 3.5, 1, 0, 1, -1, 3]
    assert (row["budgets"], row["pairs"], row["smallest"]) == (3, 8, 0.25)
    assert row["whole budgets"] == sign_flip([8.5 / 3, 2 / 3, 1]) == 0.25
    assert row["all pairs"] == row["Holm"] == sign_flip(pairs, [1 / 9] * 6 + [1 / 6] * 2)
    assert row["Wilcoxon"] == pytest.approx(signed_rank(pairs), abs=0.03)  # ties of rounded sums


def test_what_is_off_its_budget_or_missing_is_left_out_and_named():
    found = duels(OURS, THEIRS | {0.125: [None, None, None]}, {"rival 0.25": 3e5})
    series = Series()
    assert found.left_out(series).splitlines() == [
        "- *rival 0.25* is +20.0% off its budget",
        "- *rival 0.125* has no finished run",
    ]
    series.unreachable["rival 0.125"] = "below the smallest"
    assert "- *rival 0.125* cannot be had: below the smallest" in found.left_out(series)
    assert [*found.kept("rival")] == [0.5]
    each = found.at_budgets()
    assert each.c.tolist() == [0.5, 0.25]
    assert each.counts.tolist() == [True, False]
    assert duels(OURS, OURS).left_out(Series()) == "Every network counts at its budget."


def test_a_table_puts_words_only_on_enough_seeds():
    table = duels({0.5: [80, 81, 82], 0.25: [70, 71, 72]}, {0.5: [60, 61, 62], 0.25: [55, 56, 57]}).table()
    assert table["at these budgets"].tolist() == ["better"]
    assert table["at any budget"].tolist() == ["cannot be told"]
    assert table["mean difference (points, proxy)"].tolist() == ["+17.5"]
    one = duels({0.5: [80]}, {0.5: [60]}).table()
    assert one["at these budgets"].tolist() == one["at any budget"].tolist() == ["too few seeds"]
    assert one["95%, budgets random (proxy)"].tolist() == [""]


def test_a_rival_without_a_budget_has_no_row():
    nothing = duels(OURS, {0.0625: [1, 2, 3]})
    assert nothing.tests().empty
    assert nothing.table().empty
    assert nothing.at_budgets().empty
    assert nothing.averages() == {}


@pytest.mark.parametrize(
    ("theirs", "value", "note"),
    [
        ({0.5: [70, 71, 72]}, True, "+10.0 points on average of 1, 95% [+7.7, +12.3]"),
        ({0.5: [90, 91, 92]}, False, "-10.0 points on average of 1, 95% [-12.3, -7.7]"),
        (
            {0.5: [79, 81, 81.5]},
            None,
            "+0.5 points on average of 1, 95% [-2.2, +3.2], 3.9 points would be found in 4 of 5 studies",
        ),
        ({0.25: [70, 71, 72]}, None, "left out, not at this cost: ours 0.25"),
    ],
)
def test_a_sentence_is_decided_by_the_interval(theirs, value, note):
    compared = duels({0.5: [80, 81, 82]}, theirs).compared
    found = compared.better([(f"ours {c}", f"rival {c}") for c in theirs])
    assert (found.value, found.note) == (value, note)


def test_a_network_of_ours_that_never_finished_leaves_the_sentence_undecided():
    ours, theirs = {0.5: [80, 81, 82], 0.25: [None, None, None]}, {0.5: [70, 71, 72], 0.25: [60, 61, 62]}
    found = duels(ours, theirs).compared.better([(f"ours {c}", f"rival {c}") for c in theirs])
    assert (found.value, found.note) == (None, "no run finished of ours 0.25")


def test_a_sentence_about_several_budgets_is_not_decided_by_one():
    ours = {c: [80, 81, 82] for c in (0.5, 0.25, 0.125)}
    theirs = {0.5: [70, 71, 72], 0.25: [60, 61, 62], 0.125: [60, 61, 62]}
    pairs = [(f"ours {c}", f"rival {c}") for c in theirs]
    off = {"rival 0.25": 3e5, "rival 0.125": 3e5}
    assert duels(ours, theirs).compared.better(pairs).value is True
    assert duels(ours, theirs, {"rival 0.25": 3e5}).compared.better(pairs).value is True
    one = duels(ours, theirs, off).compared.better(pairs)
    assert one.value is None
    assert one.note.startswith("+10.0 points on average of 1")


def test_one_seed_decides_nothing():
    found = duels({0.5: [80]}, {0.5: [20]}).compared.better([("ours 0.5", "rival 0.5")])
    assert found.value is None
    assert found.note.endswith("too few seeds to tell")


def test_differences_are_drawn_with_those_that_do_not_count_hollow():
    figure = figures.differences_at_budgets(duels(OURS, THEIRS, {"rival 0.25": 3e5}).at_budgets(), 3)
    first, *rest = figure.axes
    assert not any(axes.get_visible() for axes in rest)
    assert first.get_title() == "less rival (n = 2)"
    assert [bar[0].get_xdata().tolist() for bar in first.containers] == [[0.125, 0.5], [0.25]]
    assert [bar[0].get_markerfacecolor() for bar in first.containers] == [figures.BLUE, "white"]
    plt.close(figure)
    plt.close(figures.differences_at_budgets(duels(OURS, {}).at_budgets(), 1))


def test_the_best_of_random_models_is_drawn_beside_the_formula():
    curve = best_of([50, 60, 70])
    figure = figures.best_of_random(curve, 500, Interval(65, 2), np.array([55, 60, 62]))
    (axes,) = figure.axes
    expected, anew, formula = axes.lines
    assert expected.get_ydata() == pytest.approx([60, 200 / 3, 70])
    assert list(anew.get_ydata()) == [55, 60, 62]
    assert list(formula.get_ydata()) == [65, 65]
    assert "expected best, as measured (N = 3)" in [text.get_text() for text in axes.get_legend().texts]
    plt.close(figure)
    (axes,) = figures.best_of_random(curve, 500).axes
    assert len(axes.lines) == 1
    plt.close()
