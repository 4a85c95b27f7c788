"""Random search against all subsets counted one by one, and against simulation."""

from itertools import combinations

import numpy as np
import pandas as pd
import pytest

from tinynet_book.analysis.search import best_of, choices, models_needed, regressed, trainings_to_reach
from tinynet_core.scaling.solve import UnreachableBudget
from tinynet_core.study.series import best_near, candidates


def sample(rows):
    """A frame of ``Study.random_sample``: c, r and top-1 of each model, None for a failed run."""
    frame = pd.DataFrame(rows, columns=["c", "r", "top1"]).assign(d=1.0)
    return frame.assign(status=np.where(frame.top1.isna(), "failed", "done"))


MODELS = sample(
    [(0.39, 0.5, 0.9), (0.41, 0.6, 0.6), (0.5, 0.7, 0.7), (0.6, 0.8, 0.65), (0.61, 0.9, 0.8), (0.5, 1, None)]
)


def test_candidates_lie_within_a_fifth_of_the_budget():
    """0.41 is 18% below 0.5 and 0.6 is 20% above; 0.39 and 0.61 are further, and a failed run never counts."""
    assert candidates(MODELS, 0.5).r.tolist() == [0.7, 0.8, 0.6]
    assert best_near(MODELS, 0.5).r == 0.7


def test_where_few_are_near_the_nearest_in_ratio_count():
    assert sorted(candidates(MODELS, 0.05).c) == [0.39, 0.41, 0.5]
    assert sorted(candidates(MODELS, 0.9).c) == [0.5, 0.6, 0.61]
    far = sample([(0.1, 0.5, 0.2), (0.45, 0.6, 0.4), (0.9, 0.7, 0.6), (2.0, 0.8, 0.5)])
    assert candidates(far, 0.3).c.tolist() == [0.9, 0.45, 0.1]  # ratios 3, 1.5 and 3 against 6.7
    assert len(candidates(MODELS[:2], 0.05)) == 2


def test_what_was_chosen_is_told():
    found = choices(MODELS, [0.5, 0.05])
    assert found.within.tolist() == [3, 0]
    assert found.candidates.tolist() == [3, 3]
    assert found.loc[0.5, ["low", "high", "c_chosen", "top1"]].tolist() == [0.41, 0.6, 0.5, 0.7]
    assert found.loc[0.05, "r"] == 0.5


def test_a_sample_without_a_finished_model_gives_nothing():
    with pytest.raises(UnreachableBudget, match="none of 1 models of the random sample finished"):
        best_near(MODELS[5:], 0.5)


@pytest.mark.parametrize("values", [[3.0, 1.0, 4.0, 1.5, 5.0, 9.0, 2.0], [1.0, 1.0, 2.0, 2.0], [7.0]])
def test_the_best_of_n_is_that_of_all_subsets(values):
    curve = best_of(values)
    assert curve.n.tolist() == list(range(1, len(values) + 1))
    for n, expected, low, high in curve.itertuples(index=False):
        best = [max(subset) for subset in combinations(values, n)]
        assert expected == pytest.approx(np.mean(best))
        assert low == np.quantile(best, 0.025, method="inverted_cdf")
        assert high == np.quantile(best, 0.975, method="inverted_cdf")


def test_the_best_of_a_large_sample_stays_finite():
    """Of 2,000 equal steps the best of n is (n / (n + 1)) (N + 1), and C(2000, 1000) is beyond a double."""
    curve = best_of(np.arange(1, 2001))
    assert curve.expected.to_numpy() == pytest.approx(curve.n / (curve.n + 1) * 2001, rel=1e-6)


def test_no_accuracies_are_refused():
    for wrong in ([], [0.5, np.nan]):
        with pytest.raises(ValueError, match="at least one finite accuracy"):
            best_of(wrong)


def test_trainings_until_one_is_good_enough():
    """Ten models, three of them good: simulated with random orders, and 11 / 4 by the formula."""
    values, random = np.arange(10), np.random.default_rng(0)
    first = [1 + int(np.argmax(random.permutation(values) >= 7)) for _ in range(20_000)]
    assert trainings_to_reach(values, 7) == 11 / 4
    assert np.mean(first) == pytest.approx(11 / 4, abs=0.05)
    assert trainings_to_reach(values, 9.5) == float("inf")
    assert (models_needed([1, 2, 3], 2.5), models_needed([1, 2], 1), models_needed([1], 2)) == (3, 1, float("inf"))


def test_regression_to_the_mean_is_what_training_anew_gives():
    """Models of spread 2 with luck of spread 1: the best of 20 trained anew, averaged over 4,000 samples."""
    random = np.random.default_rng(0)
    worth = random.normal(60, 2, (4000, 20))
    once = worth + random.normal(0, 1, worth.shape)
    chosen = once.argmax(axis=1)
    anew = worth[np.arange(4000), chosen].mean()
    assert once.max(axis=1).mean() > anew + 0.5
    every = regressed(once.max(axis=1), once.ravel(), 1.0)
    assert every.mean() == pytest.approx(anew, abs=0.1)
    assert regressed([5.0], [1.0, 2.0, 3.0], 100.0) == pytest.approx([2])
    assert regressed([5.0], [5.0], 1.0) == pytest.approx([5])
