"""What can be told apart in spite of the spread of accuracy between seeds, and what the best of many is worth.

The functions take accuracies or log odds where they name neither, see ``tinynet_core.study.spread``.
"""

from dataclasses import dataclass
from functools import lru_cache
from math import isnan, nan, sqrt

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from tinynet_core.study.pages import PAGES, REPEATED, repeated
from tinynet_core.study.spread import Spread, log_odds, seed_spread
from tinynet_core.study.study import Study


def study_spread(study: Study) -> Spread:
    """The spread of the log odds of top-1 between seeds, pooled over those of ``plan.repeated`` that are trained."""
    sampled = study.preset.random_sample and not study.store.missing(study.preset.random_experiments())
    images, groups = study.preset.dataset.val_images, {}
    pages = [page for page in REPEATED if sampled or not PAGES[page].fitted]
    for name, experiments in repeated(study, pages).items():
        done = [record.metrics["top1"] for record in map(study.store.get, experiments) if record and record.done]
        groups[name] = log_odds(done, images)
    return seed_spread(groups)


def reliability(top1: ArrayLike, sd: float) -> float:
    """Share of the variance of ``top1`` (n,), one seed each, that lies between models, not seed noise ``sd``."""
    variance = float(np.var(np.asarray(top1, dtype=float), ddof=1))
    return nan if isnan(sd) else max(0.0, 1 - sd**2 / variance) if variance else 0.0


def regressed(best: ArrayLike, top1: ArrayLike, sd: float) -> np.ndarray:
    """What a model chosen out of ``top1`` (n,) for its accuracy ``best`` is worth on average when trained anew.

    Regression to the mean by the ``reliability``, for normal models and seeds.
    """
    values = np.asarray(top1, dtype=float)
    share = reliability(values, sd) if len(values) > 1 else 0.0
    return values.mean() + share * (np.asarray(best, dtype=float) - values.mean())


def retrained(top1: ArrayLike, sd: float, draws: int) -> np.ndarray:
    """Log odds (draws, n) that the models of log odds ``top1`` (n,), one run each, would have with other seeds.

    Given one run, the next is normal with mean ``regressed`` and variance sd^2 (1 + q), with q the ``reliability``.
    """
    x = np.asarray(top1, dtype=float)
    noise = np.random.default_rng(0).normal(0, sd * sqrt(1 + reliability(x, sd)), (draws, len(x)))
    return regressed(x, x, sd) + noise


@dataclass(frozen=True, slots=True)
class Passing:
    """Of ``n`` models with one run each, ``ahead`` were above the mean of a rival, and ``clearly`` above by the spread.

    ``luck``: as many as that pass clearly in 5% of studies where all n are as good as the rival. ``known``: whether
    there is a spread to tell it by.
    """

    n: int
    ahead: int
    clearly: int
    luck: int
    known: bool = True

    @property
    def verdict(self) -> bool | None:
        """Whether some are better: more pass clearly than by luck, or none is ahead at all; None where it is open."""
        if not (self.known and self.n):
            return None
        return True if self.clearly > self.luck else None if self.ahead else False

    def __str__(self) -> str:
        if not self.n:
            return "no model to compare"
        told = (
            f"{self.clearly} clearly; chance alone may put {self.luck} ahead"
            if self.known
            else "how clearly is unknown"
        )
        return f"{self.ahead} of {self.n} ahead, {told}"


def passing(runs: ArrayLike, rival: ArrayLike, spread: Spread) -> Passing:
    """Which of many models, one run each (n,), are better than a ``rival`` with its runs (k,), all in log odds.

    One passes clearly where it leads the rival's mean by more than the 95% interval of such a difference, Student's t
    with the freedom of ``spread``. Of equal models many do at once where the rival was unlucky or the spread came out
    too small: ``luck`` is the 95% quantile of their number, integrated over both.
    """
    x, other = np.asarray(runs, dtype=float), np.asarray(rival, dtype=float)
    lead = x - other.mean()
    ahead = int((lead > 0).sum())
    if not spread.known:
        return Passing(x.size, ahead, 0, 0, known=False)
    clearly = int((lead > _margin(other.size, spread.freedom) * spread.sd).sum())
    return Passing(x.size, ahead, clearly, _luck(x.size, other.size, spread.freedom))


def _margin(k: int, freedom: int) -> float:
    """The 95% reach, in standard deviations, of one run less the mean of k others."""
    return float(stats.t.ppf(0.975, freedom)) * sqrt(1 + 1 / k)


@lru_cache(maxsize=256)
def _luck(n: int, k: int, freedom: int) -> int:
    """``Passing.luck`` for n models against k runs, by the luck of the rival (Hermite nodes) and of the spread."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    estimates = np.sqrt(stats.chi2.ppf((np.arange(100) + 0.5) / 100, freedom) / freedom)
    each = stats.norm.sf(_margin(k, freedom) * estimates[:, None] + nodes / sqrt(k))
    numbers = np.arange(n + 1)[:, None, None]
    share = stats.binom.cdf(numbers, n, each).mean(axis=1) @ (weights / weights.sum())
    return int(np.argmax(share >= 0.95))
