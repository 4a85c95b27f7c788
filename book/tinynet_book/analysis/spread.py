"""What can be told apart in spite of the spread of accuracy between seeds, and what the best of many is worth.

The functions take accuracies or log odds where they name neither, see ``tinynet_core.study.spread``.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from math import isnan, nan, sqrt

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import stats
from scipy.optimize import brentq
from scipy.special import expit, gammaln, logit

from tinynet_core.scaling.frontier import frontier
from tinynet_core.study.pages import PAGES, REPEATED, repeated
from tinynet_core.study.series import WINDOW, candidates
from tinynet_core.study.spread import Spread, log_odds, seed_spread
from tinynet_core.study.study import Study

COST_TERMS = 3
"""Coefficients of the parabola in log MACs that ``beyond_cost`` takes out."""


def study_spread(study: Study) -> Spread:
    """The spread of the log odds of top-1 between seeds, pooled over those of ``plan.repeated`` that are trained."""
    sampled = study.preset.random_sample and not study.store.missing(study.preset.random_experiments())
    images, groups = study.preset.dataset.val_images, {}
    pages = [page for page in REPEATED if sampled or not PAGES[page].fitted]
    for name, experiments in repeated(study, pages).items():
        done = [record.metrics["top1"] for record in map(study.store.get, experiments) if record and record.done]
        groups[name] = log_odds(done, images)
    return seed_spread(groups)


def network_spreads(groups: Mapping[str, np.ndarray]) -> pd.DataFrame:
    """A row for each network with two runs or more: its ``mean`` accuracy, ``sd`` between seeds, and ``seeds``."""
    rows = [(name, np.mean(x), np.std(x, ddof=1), np.size(x)) for name, x in groups.items() if np.size(x) >= 2]
    return pd.DataFrame(rows, columns=["model", "mean", "sd", "seeds"]).set_index("model")


def spread_trend(groups: Mapping[str, np.ndarray]) -> tuple[float, float]:
    """Whether networks of higher accuracy differ more between seeds: Spearman's rho of one point a network, with p.

    NaN below four networks.
    """
    each = network_spreads(groups)
    if len(each) < 4:
        return nan, nan
    found = stats.spearmanr(each["mean"], each.sd)
    return float(found.statistic), float(found.pvalue)


def power(difference: float, sd: float, seeds: int, freedom: int | None = None) -> float:
    """Probability that a two-sided t test at 5% finds a true ``difference`` between networks of ``seeds`` runs each.

    Exact, by the noncentral t distribution. ``freedom``: that of ``sd`` where it is pooled over many networks; left
    out, the two samples alone estimate it, with 2 (seeds - 1).
    """
    freedom = 2 * (seeds - 1) if freedom is None else freedom
    shift = abs(difference) / (sd * sqrt(2 / seeds))
    reach = stats.t.ppf(0.975, freedom)
    return float(stats.nct.sf(reach, freedom, shift) + stats.nct.cdf(-reach, freedom, shift))


def resolvable(sd: float, seeds: int, freedom: int | None = None) -> float:
    """The smallest difference that two networks with ``seeds`` runs each show with a power of 80%, see ``power``.

    In the unit of ``sd``; NaN where ``sd`` is unknown, and zero where no seed differs from another.
    """
    if isnan(sd) or sd == 0:
        return sd
    step, high = sd * sqrt(2 / max(seeds, 1)), 4.0
    while power(high * step, sd, seeds, freedom) < 0.8:
        high *= 2
    return float(brentq(lambda x: power(x * step, sd, seeds, freedom) - 0.8, 0, high, xtol=1e-10)) * step


def told_apart(top1: float, sd: float, seeds: int, freedom: int | None = None) -> tuple[float, float]:
    """The accuracies below and above which a network is told from one of accuracy ``top1``, see ``resolvable``.

    ``sd`` is in log odds: in points a gap of this size is wider towards 50% than towards the ends.
    """
    gap = resolvable(sd, seeds, freedom)
    return float(expit(logit(top1) - gap)), float(expit(logit(top1) + gap))


def ranked_right(difference: ArrayLike, sd: float, seeds: int = 1) -> np.ndarray:
    """Probability that the better of two networks ``difference`` apart has the higher mean over ``seeds`` runs each."""
    return stats.norm.cdf(np.abs(np.asarray(difference, dtype=float)) / (sd * sqrt(2 / seeds)))


def reliability(top1: ArrayLike, sd: float, fitted: int = 1) -> float:
    """Share of the variance of ``top1`` (n,), one seed each, that lies between the models and is not seed noise ``sd``.

    ``fitted``: the number of coefficients already taken out of ``top1``, 1 for its mean.
    """
    x = np.asarray(top1, dtype=float)
    variance = float(((x - x.mean()) ** 2).sum()) / (len(x) - fitted)
    return nan if isnan(sd) else max(0.0, 1 - sd**2 / variance) if variance else 0.0


def beyond_cost(top1: ArrayLike, macs: ArrayLike) -> np.ndarray:
    """What a parabola in log MACs leaves of ``top1`` (n,): the part not owed to cost."""
    x, y = np.log(np.asarray(macs, dtype=float)), np.asarray(top1, dtype=float)
    return y - np.polynomial.Polynomial.fit(x, y, COST_TERMS - 1)(x)


def without_noise(top1: ArrayLike, sd: float) -> np.ndarray:
    """Log odds (n,) drawn towards their mean until their variance is that without seed noise ``sd``."""
    x = np.asarray(top1, dtype=float)
    return x.mean() + sqrt(reliability(x, sd)) * (x - x.mean())


def regressed(best: ArrayLike, top1: ArrayLike, sd: float) -> np.ndarray:
    """What a model chosen out of ``top1`` (n,) for its accuracy ``best`` is worth on average when trained anew.

    Regression to the mean by the ``reliability``, for normal models and seeds.
    """
    values = np.asarray(top1, dtype=float)
    share = reliability(values, sd) if len(values) > 1 else 0.0
    return values.mean() + share * (np.asarray(best, dtype=float) - values.mean())


def retrained(top1: ArrayLike, sd: float, draws: int, seed: int = 0) -> np.ndarray:
    """Log odds (draws, n) that the models of log odds ``top1`` (n,), one run each, would have with other seeds.

    Given one run, the next is normal with mean ``regressed`` and variance sd^2 (1 + q), with q the ``reliability``.
    """
    x = np.asarray(top1, dtype=float)
    noise = np.random.default_rng(seed).normal(0, sd * sqrt(1 + reliability(x, sd)), (draws, len(x)))
    return regressed(x, x, sd) + noise


def retrained_frontiers(
    macs: ArrayLike, top1: ArrayLike, sd: float, fraction: float = 0.2, draws: int = 200, seed: int = 0
) -> list[np.ndarray]:
    """Indices of the models that ``frontier`` would keep with other seeds, ``draws`` times; log odds (n,), one run."""
    return [frontier(macs, expit(drawn), fraction) for drawn in retrained(top1, sd, draws, seed)]


def kept_share(kept: ArrayLike, others: list[np.ndarray]) -> np.ndarray:
    """The share of the models ``kept`` (k,) that each selection of ``others`` keeps as well."""
    return np.array([np.isin(kept, other).mean() for other in others])


def winners_curse(true: ArrayLike, sd: float, draws: int = 20_000, seed: int = 0) -> tuple[float, float, float]:
    """Picking the best of models of ``true`` log odds (n,) by one run each with spread ``sd``, simulated.

    By how much its run exceeds its true accuracy on average, by how much the best one does, and how often it is picked.
    """
    truth = np.asarray(true, dtype=float)
    seen = truth + np.random.default_rng(seed).normal(0, sd, (draws, len(truth)))
    picked = truth[seen.argmax(axis=1)]
    overestimate = (expit(seen.max(axis=1)) - expit(picked)).mean()
    regret = (expit(truth.max()) - expit(picked)).mean()
    return float(overestimate), float(regret), float((picked == truth.max()).mean())


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


def passing_all(found: Iterable[Passing]) -> bool | None:
    """What comparisons with several rivals say together, where each with three models or more says the same."""
    verdicts = {x.verdict for x in found if x.n >= 3}
    return verdicts.pop() if len(verdicts) == 1 else None


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


def search_choices(models: pd.DataFrame, budgets: ArrayLike) -> pd.DataFrame:
    """What random search takes at each budget c: columns within, candidates, low, high, c_chosen, r, d, top1.

    ``within`` counts the finished models inside the window; ``low`` and ``high`` are the ends of c of the candidates.
    """
    rows = []
    for c in np.asarray(budgets, dtype=float):
        near = candidates(models, c)
        best, within = near.iloc[0], int(((near.c / c - 1).abs() <= WINDOW).sum())
        rows.append((c, within, len(near), near.c.min(), near.c.max(), best.c, best.r, best.d, best.top1))
    columns = ["c", "within", "candidates", "low", "high", "c_chosen", "r", "d", "top1"]
    return pd.DataFrame(rows, columns=columns).set_index("c")


def best_of(top1: ArrayLike) -> pd.DataFrame:
    """The best of n models drawn from a sample without replacement, for n = 1 ... N: columns n, expected, low, high.

    Of all sets of n, a share C(k, n) / C(N, n) lies among the k least accurate models, so that this is the
    distribution of the maximum, exactly and without simulation; ``low`` ... ``high`` holds its central 95%.
    """
    ordered = np.sort(np.asarray(top1, dtype=float))
    size, rows = len(ordered), []
    k = np.arange(1, size + 1)
    for n in k:
        sets = gammaln(k + 1) - gammaln(np.maximum(k - n, 0) + 1)
        below = np.where(k < n, 0, np.exp(sets - sets[-1]))
        low, high = (ordered[np.searchsorted(below, q - 1e-9)] for q in (0.025, 0.975))
        rows.append((n, ordered @ np.diff(below, prepend=0.0), low, high))
    return pd.DataFrame(rows, columns=["n", "expected", "low", "high"])
