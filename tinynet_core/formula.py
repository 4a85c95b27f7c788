"""The tiny formula: Gaussian processes from the FLOPs fraction c to resolution r and depth d (paper, Eq. 1-5)."""

import warnings
from typing import Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel


class ExtrapolationWarning(UserWarning):
    """A prediction outside the fractions that the formula was fitted on."""


class TinyFormula(BaseEstimator):
    """Resolution and depth of the best small network at a fraction c of the baseline's MACs.

    Two independent zero-mean Gaussian processes with covariance v exp(-(c - c')^2 / 2 l^2) and white noise s^2,
    one for r and one for d (Eq. 2-4). v, l and s^2 maximise the marginal likelihood from ``restarts`` random starts
    seeded by ``random_state``; the paper gives no hyper-parameters. Width is not predicted: it follows from the budget
    (Eq. 5), see ``tinynet_core.shrink``.

    The prior mean is zero, so outside the fitted range of c the prediction is pulled towards zero: an
    ``ExtrapolationWarning`` says so.
    """

    def __init__(self, restarts: int = 5, random_state: int = 0) -> None:
        self.restarts = restarts
        self.random_state = random_state

    def fit(self, c: ArrayLike, r: ArrayLike, d: ArrayLike) -> Self:
        """Fit on frontier models: fractions ``c``, resolutions ``r``, depths ``d``, each of shape (m,), m >= 2."""
        columns = {name: np.asarray(x, dtype=float) for name, x in (("c", c), ("r", r), ("d", d))}
        sizes = {name: x.shape for name, x in columns.items()}
        if len(set(sizes.values())) != 1 or columns["c"].ndim != 1 or len(columns["c"]) < 2:
            raise ValueError(f"c, r and d must be one-dimensional, of one length, at least 2, got {sizes}")
        for name, x in columns.items():
            if not (np.isfinite(x).all() and (x > 0).all()):
                raise ValueError(f"{name} must be finite and above 0, got {x[~(np.isfinite(x) & (x > 0))]}")
        self.c_ = columns["c"]
        self.resolution_ = self._process().fit(self.c_[:, None], columns["r"])
        self.depth_ = self._process().fit(self.c_[:, None], columns["d"])
        return self

    def predict(self, c: ArrayLike, return_std: bool = False) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
        """Posterior mean (n, 2) of r and d at fractions ``c`` (n,); with ``return_std`` also the standard deviation.

        The variance is that of a new model, noise included, as Eq. 4 has it.
        """
        if not hasattr(self, "c_"):
            raise NotFittedError("this TinyFormula is not fitted yet: call fit(c, r, d) first")
        at = np.atleast_1d(np.asarray(c, dtype=float))
        if at.ndim != 1 or not np.isfinite(at).all() or (at <= 0).any():
            raise ValueError(f"c must be one-dimensional, finite and above 0, got {c!r}")
        low, high = self.c_.min(), self.c_.max()
        outside = at[(at < low) | (at > high)]
        if len(outside):
            warnings.warn(
                f"c = {', '.join(f'{x:.3g}' for x in outside[:5])} lies outside the fitted range "
                f"{low:.3g} ... {high:.3g}: the zero-mean prior pulls r and d towards zero there",
                ExtrapolationWarning,
                stacklevel=2,
            )
        pairs = [process.predict(at[:, None], return_std=True) for process in (self.resolution_, self.depth_)]
        mean = np.column_stack([m for m, _ in pairs])
        return (mean, np.column_stack([s for _, s in pairs])) if return_std else mean

    def _process(self) -> GaussianProcessRegressor:
        kernel = ConstantKernel(1.0, (1e-2, 1e2)) * RBF(0.5, (5e-2, 1e1)) + WhiteKernel(0.05, (1e-6, 1e1))
        return GaussianProcessRegressor(
            kernel, alpha=1e-10, n_restarts_optimizer=self.restarts, random_state=self.random_state
        )
