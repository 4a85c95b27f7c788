"""The spread between seeds against hand calculation, simulation and tabulated values."""

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from notebook_code import run_cell
from scipy import stats
from scipy.optimize import brentq
from scipy.special import expit, gammaln, logit

from tinynet_book.analysis.spread import passing, regressed, reliability, retrained
from tinynet_core.study.series import WINDOW, candidates
from tinynet_core.study.spread import Spread, log_odds, seed_spread

KNOWN = {"np": np, "pd": pd, "expit": expit, "logit": logit, "brentq": brentq, "gammaln": gammaln}
KNOWN |= {name: getattr(stats, name) for name in ("nct", "norm", "spearmanr", "t")}
KNOWN |= {"candidates": candidates, "WINDOW": WINDOW}
APART = run_cell("23", "def power(", **KNOWN)
power, told_apart = (APART[name] for name in ("power", "told_apart"))


def test_the_pooled_spread_by_hand():
    """Squares 0.02 and 0.06 on 1 + 2 degrees of freedom; the network with one run says nothing."""
    spread = seed_spread({"a": [0.1, 0.3], "b": [0.5, 0.5, 0.8], "c": [0.9]})
    assert spread.sd == pytest.approx(np.sqrt(0.08 / 3))
    assert (spread.freedom, spread.networks, spread.runs) == (3, 2, 5)
    assert spread.low == pytest.approx(np.sqrt(0.08 / 9.348404))  # quantiles of chi-square with 3, from tables
    assert spread.high == pytest.approx(np.sqrt(0.08 / 0.2157953))


def test_the_power_of_cohens_tables_and_of_simulated_tests():
    """64 and 26 a group for 80% at half and four fifths of a standard deviation (Cohen 1988, Table 2.4.1)."""
    assert power(0.5, 1, 64, 126) == pytest.approx(0.80, abs=0.005)
    assert power(0.8, 1, 26, 50) == pytest.approx(0.81, abs=0.01)
    assert power(0, 1, 5, 8) == pytest.approx(0.05)
    rng = np.random.default_rng(0)
    a, b = rng.normal(0, 1, (20000, 3)), rng.normal(2.5, 1, (20000, 3))
    found = (stats.ttest_ind(a, b, axis=1).pvalue < 0.05).mean()
    assert power(2.5, 1, 3, 4) == pytest.approx(found, abs=0.012)


def test_what_is_told_apart_has_that_power_and_known_noise_the_normal_one():
    below, above = told_apart(0.8, 0.2, 3)
    for top1 in (below, above):
        assert power(logit(top1) - logit(0.8), 0.2, 3, 4) == pytest.approx(0.8)
    known = (stats.norm.ppf(0.975) + stats.norm.ppf(0.8)) * np.sqrt(2)
    assert logit(told_apart(0.5, 1.0, 1, freedom=10**6)[1]) == pytest.approx(known, rel=1e-3)


def test_reliability_is_the_correlation_of_two_runs():
    rng = np.random.default_rng(0)
    truth = rng.normal(0.7, 0.03, 20000)
    first, second = truth + rng.normal(0, 0.02, (2, 20000))
    assert reliability(first, 0.02) == pytest.approx(np.corrcoef(first, second)[0, 1], abs=0.02)
    assert reliability(first, 0.02) == pytest.approx(9 / 13, abs=0.02)
    assert reliability([0.5, 0.5001, 0.4999], 0.1) == reliability([0.5, 0.5, 0.5], 0.1) == 0
    assert np.isnan(reliability([0.1, 0.2, 0.3], seed_spread({"a": [0.5], "b": [0.7]}).sd))


def test_log_odds():
    x = log_odds([0.0, 0.2, 0.5, 1.0], 100)
    np.testing.assert_allclose(x, [np.log(0.005 / 0.995), np.log(0.25), 0, np.log(0.995 / 0.005)])
    spread = seed_spread({"a": log_odds([0.90, 0.91], 1000), "b": log_odds([0.905, 0.895], 1000)})
    assert spread.at(0.9).sd == pytest.approx(np.sqrt(0.5) * 0.01, rel=0.03)
    assert (spread.at(0.9).freedom, spread.at(0.5).sd) == (2, pytest.approx(0.25 * spread.sd))
    assert spread.at(0.5).low < spread.at(0.5).sd < spread.at(0.5).high


@pytest.mark.parametrize(("n", "k", "networks"), [(40, 1, 5), (5, 3, 30)])
def test_equal_models_pass_by_luck_in_at_most_5_percent_of_studies(n, k, networks):
    rng = np.random.default_rng(0)
    counts = []
    for _ in range(400):
        spread = seed_spread(dict(enumerate(rng.normal(0, 0.5, (networks, 3)))))
        counts.append(passing(rng.normal(0, 0.5, n), rng.normal(0, 0.5, k), spread))
    assert np.mean([x.verdict is True for x in counts]) < 0.08
    assert np.mean([x.clearly > x.luck - 1 for x in counts]) > 0.03
    assert {(x.n, x.luck) for x in counts} == {(n, counts[0].luck)}


def test_passing_by_hand():
    """With so many degrees of freedom the margin is 1.96 * sqrt(4 / 3) = 2.26."""
    spread = Spread(1.0, 0.9, 1.1, 10**6, 10, 10)
    found = passing([0.5, 2.0, 3.0, -1.0], [0.0, 0.0, 0.0], spread)
    assert (found.ahead, found.clearly, found.verdict) == (3, 1, None)
    assert passing([-0.1, -2.0], [0.0], spread).verdict is False
    assert passing([5.0, 6.0, 7.0], [0.0], spread).verdict is True
    assert passing([], [0.0], spread).verdict is None
    assert str(found) == f"3 of 4 ahead, 1 clearly; chance alone may put {found.luck} ahead"
    unknown = passing([-0.1, -2.0], [0.0], seed_spread({}))
    assert (unknown.verdict, str(unknown)) == (None, "0 of 2 ahead, how clearly is unknown")


def test_models_trained_again():
    """Old and new runs of one model are exchangeable: equal variances, and their correlation is the reliability."""
    x = np.random.default_rng(7).normal(0.7, 0.05, 3000)
    new = retrained(x, 0.03, 20)
    assert new.shape == (20, 3000)
    assert new.std() == pytest.approx(x.std(), rel=0.02)
    assert np.mean([np.corrcoef(x, row)[0, 1] for row in new]) == pytest.approx(reliability(x, 0.03), abs=0.01)
    np.testing.assert_array_equal(retrained(x, 0.0, 2), [x, x])


MODELS = pd.DataFrame(
    [(0.39, 0.5, 0.9), (0.41, 0.6, 0.6), (0.5, 0.7, 0.7), (0.6, 0.8, 0.65), (0.61, 0.9, 0.8), (0.5, 1, None)],
    columns=["c", "r", "top1"],
).assign(d=1.0, status=["done"] * 5 + ["failed"])
"""As ``Study.random_sample`` has them."""


def test_candidates_lie_within_a_fifth_of_the_budget_or_are_the_nearest_in_ratio():
    """0.41 is 18% below 0.5 and 0.6 is 20% above; 0.39 and 0.61 are further, and a failed run never counts."""
    assert candidates(MODELS, 0.5).r.tolist() == [0.7, 0.8, 0.6]
    assert sorted(candidates(MODELS, 0.05).c) == [0.39, 0.41, 0.5]
    assert len(candidates(MODELS[:2], 0.05)) == 2
    found = run_cell("24", "def search_choices", **KNOWN)["search_choices"](MODELS, [0.5, 0.05])
    assert found.within.tolist() == [3, 0]
    assert found.candidates.tolist() == [3, 3]
    assert found.loc[0.5, ["low", "high", "c_chosen", "top1"]].tolist() == [0.41, 0.6, 0.5, 0.7]


def test_the_best_of_n_is_that_of_all_subsets():
    """And of 2,000 equal steps it is (n / (n + 1)) (N + 1), where C(2000, 1000) is beyond a double."""
    best_of = run_cell("24", "def best_of", **KNOWN)["best_of"]
    for values in ([3.0, 1.0, 4.0, 1.5, 5.0, 9.0, 2.0], [1.0, 1.0, 2.0, 2.0], [7.0]):
        curve = best_of(values)
        assert curve.n.tolist() == list(range(1, len(values) + 1))
        for n, expected, low, high in curve.itertuples(index=False):
            best = [max(subset) for subset in combinations(values, n)]
            assert expected == pytest.approx(np.mean(best))
            assert low == np.quantile(best, 0.025, method="inverted_cdf")
            assert high == np.quantile(best, 0.975, method="inverted_cdf")
    curve = best_of(np.arange(1, 2001))
    assert curve.expected.to_numpy() == pytest.approx(curve.n / (curve.n + 1) * 2001, rel=1e-6)


def test_regression_to_the_mean_is_what_training_anew_gives():
    """Models of spread 2 with luck of spread 1: the best of 20 trained anew, averaged over 4,000 samples."""
    random = np.random.default_rng(0)
    worth = random.normal(60, 2, (4000, 20))
    once = worth + random.normal(0, 1, worth.shape)
    anew = worth[np.arange(4000), once.argmax(axis=1)].mean()
    assert once.max(axis=1).mean() > anew + 0.5
    assert regressed(once.max(axis=1), once.ravel(), 1.0).mean() == pytest.approx(anew, abs=0.1)
    assert regressed([5.0], [1.0, 2.0, 3.0], 10.0) == pytest.approx([2])
    assert regressed([5.0], [5.0], 1.0) == pytest.approx([5])
