"""Intervals against scipy, by hand, and by how often they cover."""

import numpy as np
import pandas as pd
import pytest
from notebook_code import run_cell
from scipy import stats
from scipy.special import logit

from tinynet_book.analysis.intervals import Interval, contrast, mean_interval
from tinynet_book.figures import intervals, mean_top1
from tinynet_core.study.spread import log_odds, seed_spread

A, B = [0.80, 0.83, 0.81], [0.70, 0.78, 0.71, 0.75]


def test_a_mean_is_students_and_a_difference_is_welchs():
    mean, gap = mean_interval(B), contrast([(1, A), (-1, B)])
    assert (mean.low, mean.high) == pytest.approx(stats.ttest_1samp(B, 0).confidence_interval())
    assert (gap.low, gap.high) == pytest.approx(stats.ttest_ind(A, B, equal_var=False).confidence_interval())
    assert gap.n == 3
    assert np.isnan(mean_interval([1.0]).half)


def test_with_one_seed_it_is_binomial_by_hand():
    """0.8 on 500 images has variance 0.00032, 0.5 has 0.0005: 1.96 x sqrt(0.00082) is 5.61 points."""
    for rival in ([0.5], [0.4, 0.6]):
        gap = contrast([(1, [0.8]), (-1, rival)], 500) * 100
        assert (gap.value, gap.half) == pytest.approx((30, 5.6126), abs=1e-4)


def test_an_average_of_differences_by_hand():
    """Equal variances s^2 of n = 3 seeds: four means weighted by a half give s^2 / 3 with 4 x 2 degrees of freedom."""
    spread = np.array([-0.01, 0.0, 0.01])
    found = contrast([(w / 2, x + spread) for w, x in ((1, 0.8), (-1, 0.7), (1, 0.6), (-1, 0.58))])
    assert (found.value, found.half) == pytest.approx((0.06, stats.t.ppf(0.975, 8) * 0.01 / np.sqrt(3)))
    assert contrast([(1, [0.5, 0.5, 0.5]), (-1, [0.4, 0.4])]).half == pytest.approx(0)


def test_intervals_cover_what_they_say():
    """Unequal spreads and seeds, 1,500 draws: 95% to within three standard errors of that count, 1.7%."""
    random, hits = np.random.default_rng(0), 0
    for _ in range(1500):
        x = contrast([(1, random.normal(0.5, 0.03, 3)), (-0.5, random.normal(0.2, 0.01, 5)), (-0.5, [0.1, 0.1])])
        hits += x.low < 0.35 < x.high
    assert hits / 1500 == pytest.approx(0.95, abs=0.02)


def test_an_interval_in_words():
    """A true difference of 1.43 halves is found by a normal estimate with standard error half / 1.96 in 80%."""
    assert f"{Interval.around(1.0, 2.5):+.1f}" == "+1.0 [-1.5, +3.5]"
    assert -Interval(1.0, -1.5, 3.5, 4) == Interval(-1.0, -3.5, 1.5, 4)
    leads = [Interval(2.5, 0.2, 4.8), Interval(-2, -3, -1), Interval(-1.8, -7.8, 4.1), Interval(3.0), Interval(np.nan)]
    assert [x.against("them") for x in leads] == [
        "ahead of them, +2.5 points [+0.2, +4.8]",
        "behind them, -2.0 points [-3.0, -1.0]",
        "not clearly ahead of or behind them, -1.8 points [-7.8, +4.1]",
        "not clearly ahead of or behind them, +3.0 points",
        "not comparable with them here",
    ]
    estimates = np.random.default_rng(0).normal(Interval.around(0, 1.96).detectable, 1, 20_000)
    assert np.mean(estimates > 1.96) == pytest.approx(0.8, abs=0.01)
    agreed = run_cell("02", "def agreed")["agreed"]
    assert [agreed(x) for x in (0.95, 0.05, 0.5, np.nan)] == [True, False, None, None]


def test_intervals_as_they_are_drawn():
    percent, reach = mean_top1([[0.5], [0.9, 1.0, 0.8]], 100)  # 1.96 x 5 points, and 4.3 x 10 / sqrt(3)
    assert percent == pytest.approx([50, 90])
    assert reach.T.ravel() == pytest.approx([9.8, 9.8, 24.84, 10], abs=0.01)
    values, reach = intervals([Interval(1, 0.5, 3), Interval(2, 2.1, 2.5)])
    assert (values, reach.tolist()) == ([1, 2], [[0.5, 0], [2, 0.5]])


def test_trainings_of_two_lengths_are_compared_by_the_pooled_spread_of_each():
    """On the page on longer trainings, written out: log odds have a spread, p (1 - p) makes points of it."""
    runs = [{"a": np.array([0.6, 0.62, 0.635]), "b": np.array([0.57, 0.6])}, {"a": np.array([0.7, 0.71])}]
    spreads = [seed_spread({way: log_odds(x, 5000) for way, x in found.items()}) for found in runs]
    names = {"np": np, "pd": pd, "t": stats.t, "Interval": Interval, "contrast": contrast, "images": 5000}
    apart = run_cell("21", "def apart", runs=runs, spreads=spreads, **names)["apart"]
    short = np.sqrt(sum((logit(x) - logit(x).mean()) @ (logit(x) - logit(x).mean()) for x in runs[0].values()) / 3)
    means = [x.mean() for x in (runs[0]["a"], runs[0]["b"], runs[1]["a"])]
    a, b, long = means
    sds = (short, short, logit(runs[1]["a"]).std(ddof=1))
    one, two, other = (100 * sd * mean * (1 - mean) for sd, mean in zip(sds, means, strict=True))
    alike = apart((0, "a"), (0, "b"))
    half = stats.t.ppf(0.975, 3) * np.hypot(one / np.sqrt(3), two / np.sqrt(2))
    assert (alike.value, alike.half) == pytest.approx((100 * (a - b), half))
    parts = one**2 / 3, other**2 / 2
    freedom = sum(parts) ** 2 / (parts[0] ** 2 / 3 + parts[1] ** 2 / 1)
    gain = apart((1, "a"), (0, "a"))
    half = stats.t.ppf(0.975, freedom) * np.sqrt(sum(parts))
    assert (gain.value, gain.half) == pytest.approx((100 * (long - a), half))
