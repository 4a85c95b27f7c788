"""What can be told apart in spite of the spread of accuracy between seeds.

The functions take accuracies or log odds where they name neither, see ``tinynet_core.study.spread``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from math import isnan, nan, sqrt

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import stats
from scipy.integrate import quad
from scipy.optimize import brentq
from scipy.special import expit, logit

from tinynet_core.scaling.frontier import frontier
from tinynet_core.study.pages import PAGES, REPEATED, repeated
from tinynet_core.study.spread import Spread, log_odds, seed_spread
from tinynet_core.study.study import Study


def network_spreads(groups: Mapping[str, ArrayLike]) -> pd.DataFrame:
    """A row for each network with two runs or more: its ``mean`` accuracy, ``sd`` between seeds, and ``seeds``."""
    several = {name: np.asarray(x, dtype=float) for name, x in groups.items() if np.size(x) >= 2}
    rows = [(name, x.mean(), x.std(ddof=1), x.size) for name, x in several.items()]
    return pd.DataFrame(rows, columns=["model", "mean", "sd", "seeds"]).set_index("model")


@dataclass(frozen=True, slots=True)
class Trend:
    """Spearman's ``rho`` of the spread between seeds with mean accuracy over ``n`` networks, and its ``p``-value."""

    rho: float
    p: float
    n: int


def spread_trend(groups: Mapping[str, ArrayLike], resamples: int = 5000, seed: int = 0) -> Trend:
    """Whether networks of higher accuracy differ more or less between seeds.

    The rank correlation of each network's standard deviation with its mean, one point a network, with a permutation
    p-value: the deviations of one network are not independent, whole networks are. NaN below four networks.
    """
    each = network_spreads(groups)
    if len(each) < 4 or each.sd.nunique() < 2 or each["mean"].nunique() < 2:
        return Trend(nan, nan, len(each))
    mean, sd = (stats.rankdata(x) for x in (each["mean"], each.sd))
    rho = float(np.corrcoef(mean, sd)[0, 1])
    order = np.random.default_rng(seed).permuted(np.tile(sd, (resamples, 1)), axis=1)
    drawn = stats.zscore(order, axis=1) @ stats.zscore(mean) / len(mean)
    return Trend(rho, float((np.sum(np.abs(drawn) >= abs(rho) - 1e-12) + 1) / (resamples + 1)), len(each))


def binomial_sd(top1: float, images: int) -> float:
    """Standard deviation of the share of correct answers to ``images`` drawn anew, at true accuracy ``top1``."""
    if images < 1 or not 0 <= top1 <= 1:
        raise ValueError(f"top1 must lie in [0, 1] and images be at least 1, got {top1!r} and {images!r}")
    return sqrt(top1 * (1 - top1) / images)


def power(difference: float, sd: float, seeds: int, freedom: int | None = None, level: float = 0.05) -> float:
    """Probability that a two-sided t test finds a true ``difference`` between two networks of ``seeds`` runs each.

    Exact, by the noncentral t distribution. ``freedom``: that of ``sd`` where it is pooled over many networks; left
    out, the two samples alone estimate it, with 2 (seeds - 1).
    """
    freedom = 2 * (seeds - 1) if freedom is None else freedom
    if seeds < 1 or freedom < 1 or not sd > 0:
        raise ValueError(
            f"seeds, degrees of freedom and sd must be above 0, got {seeds}, {freedom} and {sd!r}"
            + (": one seed each gives no standard deviation" if seeds == 1 and freedom < 1 else "")
        )
    shift = abs(difference) / (sd * sqrt(2 / seeds))
    reach = stats.t.ppf(1 - level / 2, freedom)
    return float(stats.nct.sf(reach, freedom, shift) + stats.nct.cdf(-reach, freedom, shift))


def resolvable(sd: float, seeds: int, freedom: int | None = None, level: float = 0.05, wanted: float = 0.8) -> float:
    """The smallest difference that two networks with ``seeds`` runs each show with power ``wanted``, see ``power``.

    In the unit of ``sd``; NaN where ``sd`` is unknown, and zero where no seed differs from another.
    """
    if isnan(sd) or sd == 0:
        return sd
    power(0.0, sd, seeds, freedom, level)
    if not level < wanted < 1:
        raise ValueError(f"wanted power must lie between the level {level:g} and 1, got {wanted!r}")
    step = sd * sqrt(2 / seeds)
    high = 4.0
    while power(high * step, sd, seeds, freedom, level) < wanted:
        high *= 2
    return float(brentq(lambda x: power(x * step, sd, seeds, freedom, level) - wanted, 0, high, xtol=1e-10)) * step


def told_apart(
    top1: float, sd: float, seeds: int, freedom: int | None = None, level: float = 0.05, wanted: float = 0.8
) -> tuple[float, float]:
    """The accuracies below and above which a network is told from one of accuracy ``top1``, see ``resolvable``.

    ``sd`` is in log odds: in points a gap of this size is wider towards 50% than towards the ends.
    """
    gap = resolvable(sd, seeds, freedom, level, wanted)
    return float(expit(logit(top1) - gap)), float(expit(logit(top1) + gap))


def reliability(top1: ArrayLike, sd: float, fitted: int = 1) -> float:
    """Share of the variance of ``top1`` (n,), one seed each, that lies between the models and is not seed noise.

    ``sd`` is the spread between seeds; ``fitted`` the number of coefficients already taken out of ``top1``, 1 for its
    mean. Zero where noise alone explains the variance.
    """
    x = np.asarray(top1, dtype=float)
    if x.ndim != 1 or len(x) <= fitted or not np.isfinite(x).all():
        raise ValueError(f"top1 must be one-dimensional, finite and longer than {fitted}, got shape {x.shape}")
    variance = float(((x - x.mean()) ** 2).sum()) / (len(x) - fitted)
    return nan if isnan(sd) else max(0.0, 1 - sd**2 / variance) if variance else 0.0


COST_TERMS = 3


def beyond_cost(top1: ArrayLike, macs: ArrayLike) -> np.ndarray:
    """What a parabola in log MACs (``COST_TERMS`` coefficients) leaves of ``top1`` (n,): the part not owed to cost."""
    x, y = np.log(np.asarray(macs, dtype=float)), np.asarray(top1, dtype=float)
    return y - np.polynomial.Polynomial.fit(x, y, COST_TERMS - 1)(x)


def ranked_right(difference: ArrayLike, sd: float, seeds: int = 1) -> np.ndarray:
    """Probability that the better of two networks ``difference`` apart has the higher mean over ``seeds`` runs each."""
    return stats.norm.cdf(np.abs(np.asarray(difference, dtype=float)) / (sd * sqrt(2 / seeds)))


def expected_maximum(n: int) -> float:
    """Expected largest of ``n`` independent standard normal numbers."""
    if n < 1:
        raise ValueError(f"n must be at least 1, got {n}")
    density = lambda x: x * n * stats.norm.pdf(x) * stats.norm.cdf(x) ** (n - 1)  # noqa: E731
    return float(quad(density, -10, 10, limit=200, points=[0.0, 2.0, 4.0])[0])


@dataclass(frozen=True, slots=True)
class WinnersCurse:
    """What picking the best of many by one run each does.

    ``overestimate``: by how much the run of the model picked exceeds its true accuracy on average. ``regret``: by how
    much the best true accuracy exceeds that of the model picked. ``right``: how often the best model is picked.
    """

    overestimate: float
    regret: float
    right: float


def winners_curse(true: ArrayLike, sd: float, draws: int = 20_000, seed: int = 0) -> WinnersCurse:
    """Simulate one run each of models of ``true`` log odds (n,), with normal spread ``sd``, and pick the best.

    What comes back is in accuracy.
    """
    truth = np.asarray(true, dtype=float)
    if truth.ndim != 1 or not len(truth) or not np.isfinite(truth).all():
        raise ValueError(f"true log odds must be one-dimensional, finite and not empty, got shape {truth.shape}")
    seen = truth + np.random.default_rng(seed).normal(0, sd, (draws, len(truth)))
    picked = seen.argmax(axis=1)
    return WinnersCurse(
        float((expit(seen.max(axis=1)) - expit(truth[picked])).mean()),
        float((expit(truth.max()) - expit(truth[picked])).mean()),
        float((truth[picked] == truth.max()).mean()),
    )


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
        told = f"{self.clearly} clearly, where luck gives up to {self.luck}" if self.known else "how clearly is unknown"
        return f"{self.ahead} of {self.n} ahead, {told}"


def passing(runs: ArrayLike, rival: ArrayLike, spread: Spread) -> Passing:
    """Which of many models, one run each (n,), are better than a ``rival`` with its runs (k,), all in log odds.

    One passes clearly where it leads the rival's mean by more than the 95% interval of such a difference, Student's t
    with the freedom of ``spread``. Each of n equal models does with probability 2.5%, and many at once where the rival
    was unlucky or the spread came out too small: ``luck`` is the 95% quantile of their number, by numerical integration
    over both.
    """
    x, other = np.asarray(runs, dtype=float), np.asarray(rival, dtype=float)
    lead = x - other.mean()
    ahead = int((lead > 0).sum())
    if not spread.known:
        return Passing(x.size, ahead, 0, 0, known=False)
    margin = _margin(other.size, spread.freedom)
    clearly = int((lead > margin * spread.sd).sum())
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


def shrunken(top1: ArrayLike, sd: float) -> np.ndarray:
    """Log odds (n,) drawn towards their mean until their variance is that without seed noise ``sd``."""
    x = np.asarray(top1, dtype=float)
    return x.mean() + sqrt(reliability(x, sd)) * (x - x.mean())


def retrained(top1: ArrayLike, sd: float, draws: int, seed: int = 0) -> np.ndarray:
    """Log odds (draws, n) that the models of log odds ``top1`` (n,), one run each, would have with other seeds.

    Given one run, the next is normal with mean m + q (top1 - m) and variance sd^2 (1 + q), with m the mean over the
    models and q their ``reliability``: true log odds are taken to be normal over the models, and seeds too.
    """
    x = np.asarray(top1, dtype=float)
    share = reliability(x, sd)
    noise = np.random.default_rng(seed).normal(0, sd * sqrt(1 + share), (draws, len(x)))
    return x.mean() + share * (x - x.mean()) + noise


def retrained_frontiers(
    macs: ArrayLike, top1: ArrayLike, sd: float, fraction: float = 0.2, draws: int = 200, seed: int = 0
) -> list[np.ndarray]:
    """Models that ``pareto.frontier`` would keep with other seeds, ``draws`` times, as indices.

    ``top1`` (n,) are log odds, one run each, see ``retrained``.
    """
    return [frontier(macs, expit(drawn), fraction) for drawn in retrained(top1, sd, draws, seed)]


def kept_share(kept: ArrayLike, others: list[np.ndarray]) -> np.ndarray:
    """The share of the models ``kept`` (k,) that each selection of ``others`` keeps as well."""
    return np.array([np.isin(kept, other).mean() for other in others])


def study_spread(study: Study) -> Spread:
    """The spread of the log odds of top-1 between seeds, pooled over the networks of ``plan.repeated``.

    Over those that are trained so far: nothing is trained for it.
    """
    sampled = study.preset.random_sample and not study.store.missing(study.preset.random_experiments())
    images, groups = study.preset.dataset.val_images, {}
    pages = [page for page in REPEATED if sampled or not PAGES[page].fitted]
    for name, experiments in repeated(study, pages).items():
        done = [record.metrics["top1"] for record in map(study.store.get, experiments) if record and record.done]
        groups[name] = log_odds(done, images)
    return seed_spread(groups)
