"""What published measurements tell: the released TinyNets beside their rivals, width against resolution, and times."""

from functools import cache
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from tinynet_book.analysis.intervals import Interval
from tinynet_book.paper import public

DRAWS = 1000
"""Bootstrap draws."""


def percentiles(value: float, draws: ArrayLike, n: int) -> Interval:
    """A value with the 95% interval of its bootstrap draws."""
    low, high = np.nanpercentile(np.asarray(draws, dtype=float), [2.5, 97.5])
    return Interval(float(value), float(low), float(high), n)


def anew(n: int) -> np.ndarray:
    """How often each of ``n`` things is drawn when n are drawn anew, (DRAWS, n)."""
    return np.random.default_rng(0).multinomial(n, np.full(n, 1 / n), size=DRAWS)


def _least_squares(terms: np.ndarray, targets: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Coefficients (D, terms, targets) of D fits in which row n counts ``times`` (D, n) often."""
    weighted = np.einsum("dn,ni->din", times, terms)
    return np.linalg.pinv(weighted @ terms) @ (weighted @ targets)


def distances(test: str, rivals: pd.DataFrame | None = None) -> pd.DataFrame:
    """How far each released TinyNet lies above the curve of its rivals at its own MACs on one test set, in points.

    The curve is quadratic in ln MACs. Columns: ``architecture``, ``macs``, ``top1``, ``distance`` with an interval by
    drawing the rivals' architectures anew, its ``least`` when one of them is left out, and ``scatter``, the rivals'
    standard deviation about their curve.
    """
    peers = (public.rivals() if rivals is None else rivals).query("test == @test")
    tiny = public.tinynets().query("test == @test").sort_values("macs", ascending=False)
    here, there = (np.vander(cost(x.macs), 3) for x in (tiny, peers))
    top1, groups = peers.top1.to_numpy()[:, None], peers.groupby("architecture").ngroup().to_numpy()
    n = groups.max() + 1
    times = np.vstack([np.ones(len(peers)), (1 - np.eye(n))[:, groups], anew(n)[:, groups]])
    curves = _least_squares(there, top1, times)  # of all, of all but one architecture, and of architectures drawn anew
    found = tiny.top1.to_numpy() - (here @ curves)[..., 0]
    scatter = float(np.sqrt(np.sum((top1 - there @ curves[0]) ** 2) / (len(peers) - 3)))
    gaps = [percentiles(found[0, i], found[1 + n :, i], n) for i in range(len(tiny))]
    least = found[1 : 1 + n].min(axis=0)
    return tiny[["architecture", "macs", "top1"]].assign(test=test, distance=gaps, least=least, scatter=scatter)


def curve(test: str, macs: ArrayLike) -> np.ndarray:
    """The curve of the rivals of ``distances`` at these MACs, in percent."""
    peers = public.rivals().query("test == @test")
    return np.polyval(np.polyfit(cost(peers.macs), peers.top1, 2), cost(macs))


def cost(macs: ArrayLike) -> np.ndarray:
    """The logarithm of MACs over 100 million."""
    return np.log(np.asarray(macs, dtype=float) / 100e6)


class Surface(NamedTuple):
    """Top-1 in percent over ln MACs and the split s = ln(r / w), quadratic; and ln r over the same two."""

    accuracy: np.ndarray
    shape: np.ndarray
    splits: tuple[float, float]

    def top1(self, macs: ArrayLike, split: ArrayLike) -> np.ndarray:
        """Fitted top-1 at so many MACs and a split."""
        return _terms(macs, split) @ self.accuracy

    def best(self, macs: float) -> float:
        """The split with the highest fitted top-1 at a budget, within the splits that were trained."""
        _, _, b, _, curvature, mixed = self.accuracy
        slope = b + mixed * float(cost(macs))
        top = -slope / (2 * curvature) if curvature < 0 else np.inf * np.sign(slope)
        return float(np.clip(top, *self.splits))

    def multipliers(self, macs: ArrayLike, split: ArrayLike) -> np.ndarray:
        """Width and resolution, as shares of the largest network's 1 and 224 pixels: (2, ...)."""
        ln_r = _terms(macs, split) @ self.shape
        return np.exp([ln_r - split, ln_r])


def _terms(macs: ArrayLike, split: ArrayLike) -> np.ndarray:
    x, s = np.broadcast_arrays(cost(macs), np.asarray(split, dtype=float))
    return np.stack([np.ones_like(x), x, s, x * x, s * s, x * s], axis=-1)


def trained_cells(base: str) -> pd.DataFrame:
    """The trainings of one network that are no wider than itself, without the one whose source contradicts itself."""
    return public.grid().query("base == @base and width <= 1").dropna(subset="top1").reset_index(drop=True)


class Fits(NamedTuple):
    """The surface of all cells, those of cells drawn anew, those without one cell each, and the rms of what is left."""

    whole: Surface
    drawn: list[Surface]
    without: list[Surface]
    rmse: float


@cache
def fits(base: str) -> Fits:
    """The surface of a network of ``public.GRIDS``, by least squares, with what tells how firm it is."""
    cells = trained_cells(base)
    split = np.log(cells.r / cells.width)
    terms, targets = _terms(cells.macs, split), np.stack([cells.top1, np.log(cells.r)], axis=1)
    once = np.ones((1, len(cells)))
    found = _least_squares(terms, targets, np.vstack([once, once - np.eye(len(cells)), anew(len(cells))]))
    surfaces = [Surface(x[:, 0], x[:, 1], (split.min(), split.max())) for x in found]
    left = cells.top1 - surfaces[0].top1(cells.macs, split)
    rmse = float(np.sqrt((left**2).sum() / (len(cells) - terms.shape[1])))
    return Fits(surfaces[0], surfaces[1 + len(cells) :], surfaces[1 : 1 + len(cells)], rmse)
