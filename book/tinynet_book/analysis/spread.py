"""Decide which models differ by more than the spread between seeds, and correct the best of many for its luck.

Functions that name neither accuracies nor log odds accept both, see ``tinynet_core.study.spread``.
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
    """Return the spread of the log odds of top-1 between seeds, pooled over the trained ones of ``pages.repeated``."""
    sampled = study.preset.random_sample and not study.store.missing(study.preset.random_experiments())
    images, groups = study.preset.dataset.val_images, {}
    pages = [page for page in REPEATED if sampled or not PAGES[page].fitted]
    for name, experiments in repeated(study, pages).items():
        done = [record.metrics["top1"] for record in map(study.store.get, experiments) if record and record.done]
        groups[name] = log_odds(done, images)
    return seed_spread(groups)


def reliability(top1: ArrayLike, sd: float) -> float:
    """Return the share of the variance of ``top1`` (n,), one seed each, that is not seed noise ``sd``."""
    variance = float(np.var(np.asarray(top1, dtype=float), ddof=1))
    return nan if isnan(sd) else max(0.0, 1 - sd**2 / variance) if variance else 0.0


def regressed(best: ArrayLike, top1: ArrayLike, sd: float) -> np.ndarray:
    """Return the expected accuracy, in a new training, of a model chosen from ``top1`` (n,) for its accuracy ``best``.

    The expectation regresses to the mean by the ``reliability``. Models and seeds are taken as normal.
    """
    values = np.asarray(top1, dtype=float)
    share = reliability(values, sd) if len(values) > 1 else 0.0
    return values.mean() + share * (np.asarray(best, dtype=float) - values.mean())


def retrained(top1: ArrayLike, sd: float, draws: int) -> np.ndarray:
    """Draw log odds (draws, n) for new seeds of models with log odds ``top1`` (n,), one training each.

    Given one training, the next is normal: mean ``regressed``, variance sd^2 (1 + q), where q is the ``reliability``.
    """
    x = np.asarray(top1, dtype=float)
    noise = np.random.default_rng(0).normal(0, sd * sqrt(1 + reliability(x, sd)), (draws, len(x)))
    return regressed(x, x, sd) + noise


@dataclass(frozen=True, slots=True)
class Passing:
    """Of ``n`` models with one training each, ``ahead`` are above a rival's mean, ``clearly`` by more than the spread.

    ``luck``: if all n were as good as the rival, more than ``luck`` would pass clearly in at most 5% of studies.
    ``known``: whether the spread between seeds is known.
    """

    n: int
    ahead: int
    clearly: int
    luck: int
    known: bool = True

    @property
    def verdict(self) -> bool | None:
        """Whether some models are better: True if ``clearly`` > ``luck``, False if none is ahead, None if open."""
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
    """Count the models, one training each (n,), that are better than a ``rival`` with k trainings, all in log odds.

    A model passes clearly if its lead over the rival's mean exceeds the 95% interval of such a difference, Student's t
    with the freedom of ``spread``. If the rival was unlucky or the spread was estimated too small, many equal models
    pass at once. ``luck`` is the 95% quantile of the number of equal models that pass, integrated over both causes.
    """
    x, other = np.asarray(runs, dtype=float), np.asarray(rival, dtype=float)
    lead = x - other.mean()
    ahead = int((lead > 0).sum())
    if not spread.known:
        return Passing(x.size, ahead, 0, 0, known=False)
    clearly = int((lead > _margin(other.size, spread.freedom) * spread.sd).sum())
    return Passing(x.size, ahead, clearly, _luck(x.size, other.size, spread.freedom))


def _margin(k: int, freedom: int) -> float:
    """Return the 95% half-width, in standard deviations, of one training minus the mean of k others."""
    return float(stats.t.ppf(0.975, freedom)) * sqrt(1 + 1 / k)


@lru_cache(maxsize=256)
def _luck(n: int, k: int, freedom: int) -> int:
    """Return ``Passing.luck`` for n models and k rival trainings, over rivals (Hermite nodes) and spread estimates."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    estimates = np.sqrt(stats.chi2.ppf((np.arange(100) + 0.5) / 100, freedom) / freedom)
    each = stats.norm.sf(_margin(k, freedom) * estimates[:, None] + nodes / sqrt(k))
    numbers = np.arange(n + 1)[:, None, None]
    share = stats.binom.cdf(numbers, n, each).mean(axis=1) @ (weights / weights.sum())
    return int(np.argmax(share >= 0.95))
