"""The tiny formula against textbook formulas and scikit-learn's own process."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel

from tinynet_core import ExtrapolationWarning, TinyFormula, released_formula
from tinynet_core.scaling.released import FITTED

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.fixture(scope="module")
def frontier():
    rng = np.random.default_rng(0)
    c = np.sort(rng.uniform(0.05, 1.0, 20))
    return c, 0.4 + 0.6 * c**0.7 + rng.normal(0, 0.05, 20), 0.6 + 0.5 * c + rng.normal(0, 0.15, 20)


def test_a_curve_that_does_not_depend_on_the_cost_is_named(frontier):
    c, r, _ = frontier
    with pytest.warns(ConvergenceWarning, match="length_scale is close to the specified upper bound 10"):
        flat = TinyFormula().fit(c, r, 0.8 + np.random.default_rng(1).normal(0, 0.1, len(c)))
    assert flat.flat() == ["depth"]
    assert np.ptp(flat.predict(np.linspace(c.min(), c.max(), 20))[:, 1]) < 0.1
    assert "depth" not in TinyFormula(restarts=0).fit(c, r, 0.8 + 0.3 * np.sin(8 * c)).flat()


def test_estimator_conventions(frontier):
    formula = TinyFormula(restarts=2)
    assert formula.fit(*frontier) is formula
    np.testing.assert_array_equal(formula.predict([0.3, 0.6]), clone(formula).fit(*frontier).predict([0.3, 0.6]))
    with pytest.raises(NotFittedError):
        TinyFormula().predict([0.5])


def test_the_default_is_the_papers_process_bit_for_bit(frontier):
    c, r, d = frontier
    kernel = ConstantKernel(1.0, (1e-2, 1e2)) * RBF(0.5, (5e-2, 1e1)) + WhiteKernel(0.05, (1e-6, 1e1))
    formula = TinyFormula(restarts=1).fit(c, r, d)
    at = np.linspace(c.min(), c.max(), 9)
    mean, std = formula.predict(at, return_std=True)
    for i, y in enumerate((r, d)):
        peer = GaussianProcessRegressor(kernel, alpha=1e-10, n_restarts_optimizer=1, random_state=0).fit(c[:, None], y)
        expected_mean, expected_std = peer.predict(at[:, None], return_std=True)
        np.testing.assert_array_equal(mean[:, i], expected_mean)
        np.testing.assert_array_equal(std[:, i], expected_std)


def test_the_released_formula_is_what_a_fit_on_the_released_networks_gives():
    released, c = released_formula(), np.geomspace(0.06, 1.0, 25)
    fitted = TinyFormula().fit(released.c_, *released.rd.T)
    for process, constants in zip((fitted.resolution_, fitted.depth_), FITTED.values(), strict=True):
        np.testing.assert_allclose(np.exp(process.kernel_.theta), constants, rtol=1e-3)
    for ours, theirs in zip(released.predict(c, True), fitted.predict(c, True), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-5)
    with pytest.warns(ExtrapolationWarning, match=r"c = 0\.01 lies outside the fitted range 0\.0631 \.\.\. 1: "):
        released.predict([0.01])


def covariances(name, theta):
    """The covariance of two arrays of fractions and the noise, by their textbook formulas."""
    v, *shape, noise = np.exp(theta)

    def covariance(a, b):
        gap = np.abs(a[:, None] - b[None, :])
        if name == "rbf":
            return v * np.exp(-(gap**2) / (2 * shape[0] ** 2))
        if name == "rational_quadratic":
            alpha, length = shape
            return v * (1 + gap**2 / (2 * alpha * length**2)) ** -alpha
        x = gap / shape[0] * np.sqrt({"matern32": 3, "matern52": 5}[name])
        return v * np.exp(-x) * (1 + x + (x**2 / 3 if name == "matern52" else 0))

    return covariance, noise


def universal(c, y, at, covariance, noise, terms):
    """Generalised least squares for the mean, a zero-mean process for the rest (Rasmussen and Williams, Eq. 2.41).

    Without ``terms`` it is the paper's Eq. 4.
    """
    inverse = np.linalg.inv(covariance(c, c) + noise * np.eye(len(c)))
    cross = covariance(at, c)
    mean, variance = cross @ inverse @ y, covariance(at, at).diagonal() + noise
    variance = variance - np.einsum("ij,jk,ik->i", cross, inverse, cross)
    if terms is None:
        return mean, np.sqrt(variance)
    H, ahead = terms(c), terms(at)
    precision = H.T @ inverse @ H
    beta = np.linalg.solve(precision, H.T @ inverse @ y)
    mean = ahead @ beta + cross @ inverse @ (y - H @ beta)
    rest = ahead - cross @ inverse @ H
    return mean, np.sqrt(variance + np.einsum("ij,jk,ik->i", rest, np.linalg.inv(precision), rest))


TERMS = {
    "zero": None,
    "constant": lambda c: np.ones((len(c), 1)),
    "linear": lambda c: np.column_stack([np.ones_like(c), np.log(c)]),
}


@pytest.mark.parametrize("mean", [*TERMS])
@pytest.mark.parametrize("kernel", ["rbf", "matern32", "matern52", "rational_quadratic"])
def test_kernels_and_means_against_generalised_least_squares(frontier, kernel, mean):
    c, r, d = frontier
    formula = TinyFormula(kernel, mean, restarts=0).fit(c, r, d)
    at, near = np.linspace(c.min(), c.max(), 15), 1e-7 if mean == "zero" else 2e-4
    ours, std = formula.predict(at, return_std=True)
    for i, (process, y) in enumerate(((formula.resolution_, r), (formula.depth_, d))):
        expected_mean, expected_std = universal(c, y, at, *covariances(kernel, process.kernel_.theta), TERMS[mean])
        np.testing.assert_allclose(ours[:, i], expected_mean, atol=near)
        np.testing.assert_allclose(std[:, i], expected_std, atol=near)


def test_a_mean_is_fitted_by_restricted_likelihood(frontier):
    """Differences of the likelihood between hyper-parameters are those of the restricted one, by its own formula."""
    c, r, d = frontier
    process = TinyFormula(mean="linear", restarts=0).fit(c, r, d).resolution_
    H = TERMS["linear"](c)

    def restricted(theta):
        covariance, noise = covariances("rbf", theta)
        K = covariance(c, c) + noise * np.eye(len(c))
        inverse = np.linalg.inv(K)
        inner = H.T @ inverse @ H
        P = inverse - inverse @ H @ np.linalg.solve(inner, H.T @ inverse)
        return -0.5 * (r @ P @ r + np.linalg.slogdet(K)[1] + np.linalg.slogdet(inner)[1])

    best = process.kernel_.theta
    for other in (best + 0.3, best + np.array([0.5, -0.2, 0.4])):
        difference = process.log_marginal_likelihood(best) - process.log_marginal_likelihood(other)
        assert difference == pytest.approx(restricted(best) - restricted(other), abs=1e-3)


@pytest.mark.parametrize("mean", ["constant", "linear"])
@pytest.mark.filterwarnings("ignore::tinynet_core.scaling.released.ExtrapolationWarning")
def test_outside_a_mean_function_rules(frontier, mean):
    far = TinyFormula(mean=mean, restarts=0).fit(*frontier).predict([1e3, 1e4, 1e5])
    steps = np.diff(far, axis=0)
    np.testing.assert_allclose(steps[0], steps[1], atol=1e-4)  # equal steps in log c
    assert (np.abs(steps[0]) < 1e-4).all() == (mean == "constant")
    assert (far[0] > 0.3).all()


@pytest.mark.parametrize(
    ("columns", "parameters", "message"),
    [
        (([0.1, 0.2], [1], [1, 1]), {}, "of one length"),
        (([0.1, np.nan], [1, 1], [1, 1]), {}, "c must be finite"),
        (([0.1, 0.2], [1, -1], [1, 1]), {}, "r must be finite and above 0"),
        (([0.1, 0.2], [1, 1], [1, 1]), {"kernel": "cubic"}, "kernel must be one of rbf, matern32, .*, got 'cubic'"),
        (([0.1, 0.2], [1, 1], [1, 1]), {"mean": None}, "mean must be one of zero, constant, linear, got None"),
    ],
)
def test_bad_fits(columns, parameters, message):
    with pytest.raises(ValueError, match=message):
        TinyFormula(**parameters).fit(*columns)


@pytest.mark.parametrize("c", [[0.0], [np.inf], [[0.1, 0.2]]])
def test_bad_fractions(c):
    with pytest.raises(ValueError, match="c must be"):
        released_formula().predict(c)
