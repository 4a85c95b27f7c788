"""The tiny formula of the released networks in closed form, because scikit-learn takes a second to import."""

import warnings
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import ArrayLike

from tinynet_core.networks.efficientnet import TINYNETS
from tinynet_core.networks.family import network
from tinynet_core.scaling.scale import Scale

FITTED = {"r": (0.5332214, 1.648963, 0.01036241), "d": (0.5472222, 0.6940109, 0.001683161)}
"""v, l and s^2 of r and of d, from ``TinyFormula().fit`` on the released networks. A test repeats the fit."""
JITTER = 1e-10  # scikit-learn adds this to the diagonal


class ExtrapolationWarning(UserWarning):
    """A prediction outside the fractions that the formula was fitted on."""


@dataclass(frozen=True)
class ReleasedFormula:
    """The posterior of Eq. 4 for r and d, given fractions ``c_``, (m,), and multipliers ``rd``, (m, 2)."""

    c_: np.ndarray
    rd: np.ndarray

    def predict(self, c: ArrayLike, return_std: bool = False) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
        """Predict r and d as ``TinyFormula.predict`` does."""
        at = fractions(c, self.c_, "the zero-mean prior pulls r and d towards zero there")
        mean, std = np.empty((2, len(at), 2))
        for i, (variance, length, noise) in enumerate(FITTED.values()):
            known = variance * np.exp(-((self.c_[:, None] - self.c_) ** 2) / (2 * length**2))
            new = variance * np.exp(-((at[:, None] - self.c_) ** 2) / (2 * length**2))
            weights = np.linalg.solve(known + (noise + JITTER) * np.eye(len(self.c_)), new.T)
            mean[:, i] = self.rd[:, i] @ weights
            std[:, i] = np.sqrt(variance + noise - (new.T * weights).sum(axis=0))
        return (mean, std) if return_std else mean


def fractions(c: ArrayLike, fitted: np.ndarray, there: str) -> np.ndarray:
    """Return ``c`` as (n,). Raise ``ValueError`` unless finite and above 0. Outside ``fitted``, warn of ``there``."""
    at = np.atleast_1d(np.asarray(c, dtype=float))
    if at.ndim != 1 or not np.isfinite(at).all() or (at <= 0).any():
        raise ValueError(f"c must be one-dimensional, finite and above 0, got {c!r}")
    low, high = fitted.min(), fitted.max()
    outside = at[(at < low) | (at > high)]
    if len(outside):
        shown = ", ".join(f"{x:.3g}" for x in outside[:5])
        message = f"c = {shown} lies outside the fitted range {low:.3g} ... {high:.3g}: {there}"
        warnings.warn(message, ExtrapolationWarning, stacklevel=3)
    return at


@cache
def released_formula() -> ReleasedFormula:
    """Return the tiny formula fitted on the released networks, with a ``predict`` like ``TinyFormula.predict``.

    The fit uses r and d of TinyNet-A ... E at their real MACs, and of EfficientNet-B0 at c = 1.
    """
    scales = {"efficientnet_b0": Scale(), **TINYNETS}
    macs = np.array([network(name).complexity().macs for name in scales], dtype=float)
    return ReleasedFormula(macs / macs[0], np.array([(scale.r, scale.d) for scale in scales.values()]))
