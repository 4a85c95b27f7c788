"""The spread between seeds against hand calculation, simulation and tabulated values."""

import numpy as np
import pytest
from scipy import stats
from scipy.special import expit, logit

from tinynet_book.analysis.spread import (
    beyond_cost,
    binomial_sd,
    expected_maximum,
    kept_share,
    network_spreads,
    passing,
    power,
    ranked_right,
    reliability,
    resolvable,
    retrained,
    retrained_frontiers,
    shrunken,
    spread_trend,
    winners_curse,
)
from tinynet_core import frontier
from tinynet_core.study.spread import Spread, log_odds, seed_spread


def networks(sd, seeds, count, seed=0):
    rng = np.random.default_rng(seed)
    return {str(i): rng.uniform(0.5, 0.9) + rng.normal(0, sd, seeds) for i in range(count)}


def test_the_pooled_spread_by_hand():
    """Squares 0.02 and 0.06 on 1 + 2 degrees of freedom; the network with one run says nothing."""
    spread = seed_spread({"a": [0.1, 0.3], "b": [0.5, 0.5, 0.8], "c": [0.9]})
    assert spread.sd == pytest.approx(np.sqrt(0.08 / 3))
    assert (spread.freedom, spread.networks, spread.runs) == (3, 2, 5)
    assert spread.low == pytest.approx(np.sqrt(0.08 / 9.348404))  # quantiles of chi-square with 3, from tables
    assert spread.high == pytest.approx(np.sqrt(0.08 / 0.2157953))
    each = network_spreads({"a": [0.1, 0.3], "c": [0.9]})
    assert each.loc["a"].tolist() == pytest.approx([0.2, np.sqrt(0.02), 2])
    assert list(each.index) == ["a"]


def test_the_interval_covers_as_often_as_it_says():
    rng = np.random.default_rng(1)
    covered = 0
    for _ in range(400):
        spread = seed_spread(dict(enumerate(rng.normal(0.7, 0.01, (6, 3)))))
        covered += spread.low <= 0.01 <= spread.high
    assert 0.9 < covered / 400 < 0.985


def test_one_seed_tells_nothing():
    for groups in ({}, {"a": [0.5], "b": [0.7]}):
        spread = seed_spread(groups)
        assert not spread.known
        assert np.isnan(spread.sd)
        assert str(spread) == "unknown: no network has two seeds"
        assert network_spreads(groups).empty
        assert np.isnan(spread_trend(groups).rho)
    assert np.isnan(resolvable(float("nan"), 3))
    assert resolvable(0.0, 3) == 0
    assert np.isnan(reliability([0.1, 0.2, 0.3], float("nan")))


def test_the_trend_of_the_spread_against_scipy():
    groups = networks(0.01, 3, 25)
    trend = spread_trend(groups)
    each = network_spreads(groups)
    peer = stats.spearmanr(each["mean"], each.sd)
    assert trend.rho == pytest.approx(peer.statistic)
    assert trend.p == pytest.approx(peer.pvalue, abs=0.03)
    growing = {str(i): [0.5 + i / 50, 0.5 + i / 50 + (i + 1) / 1000] for i in range(15)}
    assert spread_trend(growing).rho == pytest.approx(1)
    assert spread_trend(growing).p < 0.001


def test_the_power_of_cohens_tables():
    """64 and 26 a group for 80% at half and four fifths of a standard deviation (Cohen 1988, Table 2.4.1)."""
    assert power(0.5, 1, 64) == pytest.approx(0.80, abs=0.005)
    assert power(0.8, 1, 26) == pytest.approx(0.81, abs=0.01)
    assert power(0, 1, 5) == pytest.approx(0.05)
    assert resolvable(0.02, 64) == pytest.approx(0.01, rel=0.01)


def test_the_power_against_simulated_tests():
    rng = np.random.default_rng(0)
    a, b = rng.normal(0, 1, (20000, 3)), rng.normal(2.5, 1, (20000, 3))
    found = (stats.ttest_ind(a, b, axis=1).pvalue < 0.05).mean()
    assert power(2.5, 1, 3) == pytest.approx(found, abs=0.012)


def test_what_is_resolved_falls_with_seeds_and_with_a_pooled_spread():
    alone = [resolvable(1.0, k) for k in (2, 3, 5, 10)]
    pooled = [resolvable(1.0, k, freedom=40) for k in (1, 2, 3, 5, 10)]
    assert (np.diff(alone) < 0).all()
    assert (np.diff(pooled) < 0).all()
    assert all(p < a for p, a in zip(pooled[1:-1], alone[:-1], strict=True))
    assert power(alone[1], 1.0, 3) == pytest.approx(0.8)
    known = (stats.norm.ppf(0.975) + stats.norm.ppf(0.8)) * np.sqrt(2)
    assert resolvable(1.0, 1, freedom=10**6) == pytest.approx(known, rel=1e-3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0.01, 1), "one seed each gives no standard deviation"),
        ((-0.01, 3), "must be above 0"),
        ((0.01, 0), "must be above 0"),
        ((0.01, 3, None, 0.05, 0.04), "wanted power must lie between"),
    ],
)
def test_comparisons_that_cannot_be(arguments, message):
    with pytest.raises(ValueError, match=message):
        resolvable(*arguments)


def test_the_binomial_error():
    counts = np.random.default_rng(0).binomial(1500, 0.8, 20000) / 1500
    assert binomial_sd(0.8, 1500) == pytest.approx(counts.std(), rel=0.03)
    with pytest.raises(ValueError, match="images be at least 1"):
        binomial_sd(0.5, 0)


def test_reliability_is_the_correlation_of_two_runs():
    rng = np.random.default_rng(0)
    truth = rng.normal(0.7, 0.03, 20000)
    first, second = truth + rng.normal(0, 0.02, (2, 20000))
    assert reliability(first, 0.02) == pytest.approx(np.corrcoef(first, second)[0, 1], abs=0.02)
    assert reliability(first, 0.02) == pytest.approx(9 / 13, abs=0.02)
    assert reliability([0.5, 0.5001, 0.4999], 0.1) == 0
    assert reliability([0.5, 0.5, 0.5], 0.1) == 0
    with pytest.raises(ValueError, match="longer than 3"):
        reliability([0.1, 0.2, 0.3], 0.01, fitted=3)


def test_what_cost_explains_is_taken_out():
    macs = np.geomspace(1, 30, 40)
    x = np.log(macs)
    wiggle = np.random.default_rng(0).normal(0, 0.01, 40)
    design = np.column_stack([np.ones(40), x, x**2])
    expected = wiggle - design @ np.linalg.lstsq(design, wiggle)[0]
    np.testing.assert_allclose(beyond_cost(0.3 + 0.1 * x - 0.02 * x**2 + wiggle, macs), expected, atol=1e-12)


def test_how_often_the_better_ranks_first():
    rng = np.random.default_rng(0)
    a, b = rng.normal(0, 0.01, (20000, 2)).mean(1), rng.normal(0.008, 0.01, (20000, 2)).mean(1)
    assert ranked_right(0.008, 0.01, 2) == pytest.approx((b > a).mean(), abs=0.01)
    assert ranked_right(0.0, 0.01) == 0.5


@pytest.mark.parametrize(
    ("n", "known"), [(1, 0), (2, 0.56419), (3, 0.84628), (5, 1.16296), (10, 1.53875), (100, 2.50759)]
)
def test_the_expected_maximum_of_normals(n, known):
    """Tabulated (Teichroew 1956); the first three are 0, 1 / sqrt(pi) and 3 / (2 sqrt(pi))."""
    assert expected_maximum(n) == pytest.approx(known, abs=1e-5)
    with pytest.raises(ValueError, match="at least 1"):
        expected_maximum(0)


def test_the_winners_curse():
    """In log odds a standard deviation of 0.01 is 0.0021 of accuracy at 70%, times 0.7 * 0.3."""
    equal = winners_curse(np.full(100, logit(0.7)), 0.01)
    assert equal.overestimate == pytest.approx(0.0021 * expected_maximum(100), rel=0.02)
    assert (equal.regret, equal.right) == (0, 1)
    wild = winners_curse(np.full(100, logit(0.95)), 2.0)
    assert wild.overestimate < 0.05
    apart = winners_curse(logit([0.1, 0.5, 0.9]), 0.01)
    assert apart.overestimate == pytest.approx(0, abs=3e-4)
    assert (apart.regret, apart.right) == (0, 1)
    two = winners_curse([0.0, 0.01], 0.01)
    assert two.right == pytest.approx(float(ranked_right(0.01, 0.01)), abs=0.01)
    assert two.regret == pytest.approx((expit(0.01) - 0.5) * (1 - two.right), abs=1e-9)
    with pytest.raises(ValueError, match="true log odds must be"):
        winners_curse([], 0.01)


def test_log_odds():
    x = log_odds([0.0, 0.2, 0.5, 1.0], 100)
    np.testing.assert_allclose(x, [np.log(0.005 / 0.995), np.log(0.25), 0, np.log(0.995 / 0.005)])
    spread = seed_spread({"a": log_odds([0.90, 0.91], 1000), "b": log_odds([0.905, 0.895], 1000)})
    assert spread.at(0.9).sd == pytest.approx(np.sqrt(0.5) * 0.01, rel=0.03)
    assert (spread.at(0.9).freedom, spread.at(0.5).sd) == (2, pytest.approx(0.25 * spread.sd))
    assert spread.at(0.5).low < spread.at(0.5).sd < spread.at(0.5).high


@pytest.mark.parametrize(("n", "k", "networks"), [(40, 1, 5), (40, 3, 5), (5, 3, 30)])
def test_equal_models_pass_by_luck_in_at_most_5_percent_of_studies(n, k, networks):
    rng = np.random.default_rng(0)
    counts = []
    for _ in range(1500):
        spread = seed_spread(dict(enumerate(rng.normal(0, 0.5, (networks, 3)))))
        counts.append(passing(rng.normal(0, 0.5, n), rng.normal(0, 0.5, k), spread))
    assert np.mean([x.verdict is True for x in counts]) < 0.065
    assert np.mean([x.clearly > x.luck - 1 for x in counts]) > 0.045
    assert {(x.n, x.luck) for x in counts} == {(n, counts[0].luck)}


def test_passing_by_hand():
    """With so many degrees of freedom the margin is 1.96 * sqrt(4 / 3) = 2.26."""
    spread = Spread(1.0, 0.9, 1.1, 10**6, 10, 10)
    found = passing([0.5, 2.0, 3.0, -1.0], [0.0, 0.0, 0.0], spread)
    assert (found.ahead, found.clearly, found.verdict) == (3, 1, None)
    assert passing([-0.1, -2.0], [0.0], spread).verdict is False
    assert passing([5.0, 6.0, 7.0], [0.0], spread).verdict is True
    assert passing([], [0.0], spread).verdict is None
    assert str(found) == f"3 of 4 ahead, 1 clearly, where luck gives up to {found.luck}"
    unknown = passing([-0.1, -2.0], [0.0], seed_spread({}))
    assert (unknown.verdict, str(unknown)) == (None, "0 of 2 ahead, how clearly is unknown")


def test_models_trained_again():
    """Old and new runs of one model are exchangeable: equal variances, and their correlation is the reliability."""
    x = np.random.default_rng(7).normal(0.7, 0.05, 3000)
    new = retrained(x, 0.03, 20)
    assert new.shape == (20, 3000)
    assert new.std() == pytest.approx(x.std(), rel=0.02)
    assert np.mean([np.corrcoef(x, row)[0, 1] for row in new]) == pytest.approx(reliability(x, 0.03), abs=0.01)
    assert shrunken(x, 0.03).std(ddof=1) == pytest.approx(np.sqrt(x.var(ddof=1) - 0.03**2))
    np.testing.assert_array_equal(retrained(x, 0.0, 2), [x, x])


def test_frontiers_under_other_seeds():
    rng = np.random.default_rng(0)
    macs = np.sort(rng.uniform(1, 10, 60))
    top1 = 0.2 * macs + rng.normal(0, 0.1, 60)
    kept = frontier(macs, expit(top1))
    still, little, much = (kept_share(kept, retrained_frontiers(macs, top1, sd, 0.2, 30)) for sd in (0, 5e-3, 0.3))
    assert (still == 1).all()
    assert still.mean() > little.mean() > much.mean() > 0.05
    np.testing.assert_allclose(kept_share([1, 2, 3, 4], [np.array([1, 4, 9]), np.array([2])]), [0.5, 0.25])
