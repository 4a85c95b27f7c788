"""The best of a sample, against brute force, and rank correlations against scipy."""

import numpy as np
import pytest
from notebook_code import run_cell
from scipy import stats

import tinynet_core as tn
from tinynet_book import rank_correlation
from tinynet_book.analysis.correlation import spearman
from tinynet_core import family, frontier
from tinynet_core.scaling.frontier import pareto_front


def dominated(i, macs, accuracy):
    better = (macs <= macs[i]) & (accuracy >= accuracy[i]) & ((macs < macs[i]) | (accuracy > accuracy[i]))
    return better.any()


def test_whole_fronts_come_first_by_growing_cost():
    rng = np.random.default_rng(0)
    macs, accuracy = rng.uniform(1, 10, 100), rng.uniform(0, 1, 100)
    first = {i for i in range(100) if not dominated(i, macs, accuracy)}
    found = frontier(macs, accuracy, 0.2)
    assert (np.diff(macs[found]) >= 0).all()
    kept = set(found.tolist())
    assert len(kept) == 20 > len(first)
    assert first <= kept
    rest = np.array(sorted(set(range(100)) - first))
    second = {rest[j] for j in range(len(rest)) if not dominated(j, macs[rest], accuracy[rest])}
    assert kept - first <= second or second <= kept


def test_a_front_that_is_too_long_is_thinned_evenly():
    x = np.linspace(0, 1, 101)
    macs, accuracy = x, np.sqrt(1 - (1 - x) ** 2)
    kept = frontier(macs, accuracy, 0.2)
    assert (len(kept), kept[0], kept[-1]) == (20, 0, 100)
    angles = np.arctan2(1 - accuracy[kept], macs[kept])
    assert np.abs(np.diff(angles)).max() < 0.25


def test_equal_and_few_models():
    assert frontier([1.0], [0.5]).tolist() == [0]
    assert len(frontier(np.ones(10), np.ones(10), 0.5)) == 5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1, 2], [0.1]), "of one length"),
        (([1, np.nan], [0.1, 0.2]), "must be finite"),
        (([1, 2], [0.1, 0.2], 1.5), "fraction must lie in"),
    ],
)
def test_bad_frontiers(arguments, message):
    with pytest.raises(ValueError, match=message):
        frontier(*arguments)


@pytest.mark.parametrize("levels", [4, 1000])
def test_the_pareto_front_against_brute_force(levels):
    for seed in range(5):
        macs, accuracy = np.random.default_rng(seed).integers(1, levels, (2, 60)).astype(float)  # few levels: ties
        front = pareto_front(macs, accuracy)
        assert set(front.tolist()) == {i for i in range(60) if not dominated(i, macs, accuracy)}
        assert (np.diff(macs[front]) >= 0).all()
        assert (np.diff(accuracy[front]) >= 0).all()


def scipys_interval(statistic, *columns):
    return stats.bootstrap(
        columns, statistic, n_resamples=1000, paired=True, vectorized=False, method="percentile", rng=0
    ).confidence_interval


def rho(a, b):
    return stats.spearmanr(a, b).statistic


def test_rank_correlation_against_scipy():
    rng = np.random.default_rng(0)
    x = rng.normal(size=40)
    y = x + rng.normal(size=40)
    x[:5] = x[5:10]  # ties
    ours, theirs = rank_correlation(x, y), scipys_interval(rho, x, y)
    assert (ours.value, ours.n) == (pytest.approx(rho(x, y)), 40)
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.05)
    assert np.isnan(rank_correlation([1, 1, 1], [1, 2, 3]).value)


def test_a_lead_is_of_the_same_models():
    """Resampled together: of one variable over itself nothing is left, of two it is what scipy's bootstrap says."""
    rng = np.random.default_rng(0)
    macs = rng.normal(size=60)
    x, z = macs + rng.normal(size=60), macs + 2 * rng.normal(size=60)
    same = rank_correlation(x, macs, less=x)
    assert (same.value, same.low, same.high, same.n) == (0, 0, 0, 60)
    ours, theirs = rank_correlation(x, macs, less=z), scipys_interval(lambda a, b, c: rho(a, c) - rho(b, c), x, z, macs)
    assert ours.value == pytest.approx(rho(x, macs) - rho(z, macs))
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.05)


def test_the_null_of_the_papers_setting():
    """Without any selection by accuracy: r 0.35, d 0.13, w 0.32, and a wide spread for subsets of 20."""
    null_correlations = run_cell("03", "def null_correlations", np=np, tn=tn, spearman=spearman)["null_correlations"]
    null = null_correlations(family("efficientnet_b0"), 20, draws=1000, pool=2000)
    for name, median in (("r", 0.35), ("d", 0.13), ("w", 0.32)):
        assert np.median(null[name]) == pytest.approx(median, abs=0.08)
    assert np.quantile(null["r"], 0.025) < 0
    assert np.quantile(null["r"], 0.975) > 0.6
    whole = null_correlations(family("efficientnet_b0"), 50, draws=20, pool=50)
    assert all(np.ptp(x) < 1e-12 for x in whole.values())  # all 50 of 50, none twice: every subset is the same
