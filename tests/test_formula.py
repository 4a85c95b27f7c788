import warnings

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from tinynet_core import ExtrapolationWarning, TinyFormula


@pytest.fixture
def frontier():
    rng = np.random.default_rng(0)
    c = np.sort(rng.uniform(0.05, 1.0, 20))
    return c, 0.4 + 0.6 * c**0.7 + rng.normal(0, 0.05, 20), 0.6 + 0.5 * c + rng.normal(0, 0.15, 20)


def equation_4(c, y, at, v, length, noise):
    """The paper's Eq. 4, term by term, in float64."""
    k = lambda a, b: v * np.exp(-((a[:, None] - b[None, :]) ** 2) / (2 * length**2))  # noqa: E731
    inverse = np.linalg.inv(k(c, c) + noise * np.eye(len(c)))
    mean = k(at, c) @ inverse @ y
    covariance = k(at, at) + noise * np.eye(len(at)) - k(at, c) @ inverse @ k(c, at)
    return mean, np.sqrt(np.diag(covariance))


def test_posterior_is_equation_4(frontier):
    c, r, d = frontier
    formula = TinyFormula().fit(c, r, d)
    at = np.linspace(c.min(), c.max(), 30)
    mean, std = formula.predict(at, return_std=True)
    assert mean.shape == std.shape == (30, 2)
    for i, (process, y) in enumerate(((formula.resolution_, r), (formula.depth_, d))):
        expected_mean, expected_std = equation_4(c, y, at, *np.exp(process.kernel_.theta))
        np.testing.assert_allclose(mean[:, i], expected_mean, atol=1e-7)
        np.testing.assert_allclose(std[:, i], expected_std, atol=1e-7)


def test_hyper_parameters_maximise_the_marginal_likelihood(frontier):
    c, r, d = frontier
    process = TinyFormula().fit(c, r, d).resolution_
    best = process.log_marginal_likelihood_value_
    v, length, noise = np.exp(process.kernel_.theta)
    gram = v * np.exp(-((c[:, None] - c[None, :]) ** 2) / (2 * length**2)) + noise * np.eye(len(c))
    by_hand = -0.5 * (r @ np.linalg.solve(gram, r) + np.linalg.slogdet(gram)[1] + len(c) * np.log(2 * np.pi))
    assert best == pytest.approx(by_hand, abs=1e-6)
    rng = np.random.default_rng(0)
    assert all(
        process.log_marginal_likelihood(process.kernel_.theta + rng.normal(0, 0.1, 3)) <= best + 1e-6 for _ in range(50)
    )


def test_mean_falls_to_zero_far_outside_and_says_so(frontier):
    formula = TinyFormula().fit(*frontier)
    with pytest.warns(ExtrapolationWarning, match=r"c = 1e\+03 lies outside the fitted range"):
        mean, std = formula.predict([1000.0], return_std=True)
    np.testing.assert_allclose(mean, 0, atol=1e-6)
    assert (std > 0.3).all()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        formula.predict([0.5])


def test_estimator_conventions(frontier):
    formula = TinyFormula(restarts=2)
    assert clone(formula).get_params() == {"restarts": 2, "random_state": 0}
    assert formula.fit(*frontier) is formula
    np.testing.assert_array_equal(formula.predict([0.3, 0.6]), clone(formula).fit(*frontier).predict([0.3, 0.6]))
    with pytest.raises(NotFittedError):
        TinyFormula().predict([0.5])


@pytest.mark.parametrize(
    "bad",
    [([0.5], [1], [1]), ([0.1, 0.2], [1], [1, 1]), ([0.1, np.nan], [1, 1], [1, 1]), ([0.1, 0.2], [1, -1], [1, 1])],
)
def test_bad_frontiers(bad):
    with pytest.raises(ValueError, match="must be"):
        TinyFormula().fit(*bad)


@pytest.mark.parametrize("c", [[0.0], [-1.0], [np.inf], [[0.1, 0.2]]])
def test_bad_fractions(frontier, c):
    with pytest.raises(ValueError, match="c must be"):
        TinyFormula().fit(*frontier).predict(c)
