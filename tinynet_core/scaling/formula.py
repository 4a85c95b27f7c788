"""The tiny formula: Gaussian processes that predict r and d from the FLOPs fraction c (paper, Eq. 1-5)."""

from collections.abc import Callable
from typing import Literal, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, Kernel, Matern, RationalQuadratic, WhiteKernel
from sklearn.utils.validation import check_is_fitted

from tinynet_core.scaling.released import fractions

KernelName = Literal["rbf", "matern32", "matern52", "rational_quadratic"]
Mean = Literal["zero", "constant", "linear"]
LONGEST = 10.0  # upper bound of the length scale of c, which lies between 0 and about 1
KERNELS: dict[str, Callable[[], Kernel]] = {
    "rbf": lambda: RBF(0.5, (5e-2, LONGEST)),
    "matern32": lambda: Matern(0.5, (5e-2, LONGEST), nu=1.5),
    "matern52": lambda: Matern(0.5, (5e-2, LONGEST), nu=2.5),
    "rational_quadratic": lambda: RationalQuadratic(0.5, 1.0, (5e-2, LONGEST), (1e-1, 1e3)),
}
"""Correlations of two fractions as functions of their distance. The paper uses ``rbf``."""
OUTSIDE: dict[str, str] = {
    "zero": "the zero-mean prior pulls r and d towards zero there",
    "constant": "the prior pulls r and d towards their estimated mean there",
    "linear": "r and d follow their estimated line in log c there",
}
"""How predictions behave outside the fitted fractions, by mean function."""
VAGUE = 1e4  # prior variance of the coefficients of a mean function; r and d are near 1


class TinyFormula(BaseEstimator):
    """Resolution and depth of the best small network at a fraction c of the baseline's MACs.

    Two independent zero-mean Gaussian processes with covariance v exp(-(c - c')^2 / 2 l^2) and white noise s^2,
    one for r and one for d (Eq. 2-4). v, l and s^2 maximise the marginal likelihood. The search has ``restarts`` random
    starts, seeded by ``random_state``; the paper gives no hyper-parameters. The formula does not predict the width,
    which follows from the budget (Eq. 5): see ``tinynet_core.shrink``.

    Another ``kernel`` of ``KERNELS`` or ``mean``, ``"constant"`` (b0) or ``"linear"`` (b0 + b1 log c), tests how
    much depends on the paper's choices. The coefficients of a mean function have a vague prior and are integrated out.
    So their uncertainty is in the standard deviation of a prediction, and the hyper-parameters maximise the restricted
    likelihood (Rasmussen and Williams 2006, section 2.7).
    """

    def __init__(
        self, kernel: KernelName = "rbf", mean: Mean = "zero", restarts: int = 5, random_state: int = 0
    ) -> None:
        self.kernel = kernel
        self.mean = mean
        self.restarts = restarts
        self.random_state = random_state

    def fit(self, c: ArrayLike, r: ArrayLike, d: ArrayLike) -> Self:
        """Fit on the m models of a frontier: their ``r`` and ``d``, and ``c``, their share of the baseline's MACs.

        Raises ``ValueError`` for an unknown kernel or mean, and unless all three are (m,), m >= 2, with values above 0.
        """
        for key, value, known in (("kernel", self.kernel, KERNELS), ("mean", self.mean, OUTSIDE)):
            if value not in known:
                raise ValueError(f"{key} must be one of {', '.join(known)}, got {value!r}")
        columns = [np.asarray(x, dtype=float) for x in (c, r, d)]
        shapes = [x.shape for x in columns]
        if len(set(shapes)) != 1 or columns[0].ndim != 1 or len(columns[0]) < 2:
            raise ValueError(f"c, r and d must be one-dimensional, of one length, at least 2, got {shapes}")
        for name, x in zip("crd", columns, strict=True):
            if not (np.isfinite(x).all() and (x > 0).all()):
                raise ValueError(f"{name} must be finite and above 0, got {x}")
        self.c_, resolution, depth = columns
        self.resolution_, self.depth_ = self._process(resolution), self._process(depth)
        return self

    def flat(self) -> list[str]:
        """Return which of resolution and depth hardly depend on c: their length scale is at the bound ``LONGEST``."""
        flat = []
        for name, process in (("resolution", self.resolution_), ("depth", self.depth_)):
            fitted = process.kernel_.get_params()
            if next(value for key, value in fitted.items() if key.endswith("length_scale")) > 0.999 * LONGEST:
                flat.append(name)
        return flat

    def predict(self, c: ArrayLike, return_std: bool = False) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
        """Return the posterior mean of r (first column) and d at new fractions ``c``, (n,), as an (n, 2) array.

        With ``return_std``, also return the standard deviations for a new model, noise included (Eq. 4). Raises
        ``ValueError`` for a fraction that is not finite and above 0. Warns with ``ExtrapolationWarning`` for a fraction
        outside the fitted range.
        """
        check_is_fitted(self)
        at = fractions(c, self.c_, OUTSIDE[self.mean])
        pairs = [process.predict(at[:, None], return_std=True) for process in (self.resolution_, self.depth_)]
        mean = np.column_stack([m for m, _ in pairs])
        return (mean, np.column_stack([s for _, s in pairs])) if return_std else mean

    def _process(self, multipliers: np.ndarray) -> GaussianProcessRegressor:
        amplitude = ConstantKernel(1.0, (1e-2, 1e2)) if self.mean == "zero" else ConstantKernel(0.05, (1e-6, 1e2))
        kernel = amplitude * KERNELS[self.kernel]() + WhiteKernel(0.05, (1e-6, 1e1))
        if self.mean != "zero":
            kernel = kernel + Trend(slope=self.mean == "linear")
        search = {"n_restarts_optimizer": self.restarts, "random_state": self.random_state}
        return GaussianProcessRegressor(kernel, alpha=1e-10, **search).fit(self.c_[:, None], multipliers)


class Trend(Kernel):
    """Covariance of b0, or of b0 + b1 log c with ``slope``. Priors have variance ``VAGUE``; c > 0 is (n, 1)."""

    def __init__(self, slope: bool = False) -> None:
        self.slope = slope

    def __call__(self, X, Y=None, eval_gradient=False):
        a = self._terms(X)
        k = VAGUE * (a @ (a if Y is None else self._terms(Y)).T)
        return (k, np.empty((*k.shape, 0))) if eval_gradient else k  # no hyper-parameters, so no gradient

    def diag(self, X):
        return VAGUE * (self._terms(X) ** 2).sum(axis=1)

    def is_stationary(self):
        return False  # the covariance depends on log c, which is 0 at c = 1

    def _terms(self, X) -> np.ndarray:
        X = np.asarray(X, dtype=float)
        return np.hstack([np.ones_like(X), np.log(X)]) if self.slope else np.ones_like(X)
