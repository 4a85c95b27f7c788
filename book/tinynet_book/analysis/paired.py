"""Paired tests of networks over budgets and seeds: one rule against its rivals at equal cost.

Two questions are kept apart. *These budgets*: would other seeds turn the result round at the budgets that were trained?
*Any budget*: would other budgets turn it round? The first takes the budgets as fixed and the seeds as random, the
second takes the budgets as random too, and needs more of them.

Seeds pair two networks only in that they share the order of the data and the start of the random numbers: their weights
have different shapes, so that little of their luck is shared. Pairing them costs nothing, as swapping the two of a pair
is as good under the null hypothesis whether their luck is shared or not, but it buys next to nothing either.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isnan, nan, sqrt

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.stats import t, wilcoxon

from tinynet_book.analysis.comparison import Comparison, Interval
from tinynet_core.study.series import Series

EXACT = 18
"""Values up to which every pattern of signs is counted; more are drawn at random."""
DRAWS = 1 << 16
"""Patterns drawn where there are too many, with a fixed seed."""
SEEDS_RANDOM, BUDGETS_RANDOM = "these budgets (seeds random)", "any budget (budgets random)"


def sign_flip(values: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Two-sided p-value of the permutation test that flips the signs of ``values`` (n,), of their (weighted) sum.

    Null hypothesis: each value is as likely to be itself as its negative, whatever the others are. No distribution is
    assumed, but independence of the values given their sizes, and a symmetric distribution of each. It is exact up to
    ``EXACT`` values; beyond, of ``DRAWS`` random patterns. The smallest p-value that n values allow is 2^(1 - n).
    """
    x = np.asarray(values, dtype=float)
    if x.ndim != 1 or not x.size or not np.isfinite(x).all():
        raise ValueError(f"values must be finite and at least one, got {values!r}")
    x = x if weights is None else x * np.asarray(weights, dtype=float)
    exact = len(x) <= EXACT
    if exact:
        patterns = (np.arange(1 << (len(x) - 1))[:, None] >> np.arange(len(x))) & 1  # the last sign stays: two-sided
    else:
        patterns = np.random.default_rng(0).integers(0, 2, (DRAWS, len(x)))
    sums = np.abs((1 - 2 * patterns) @ x)
    extreme = int((sums >= abs(x.sum()) - 1e-9 * np.abs(x).sum()).sum())
    return extreme / len(sums) if exact else (extreme + 1) / (len(sums) + 1)


def signed_rank(values: ArrayLike) -> float:
    """Two-sided p-value of Wilcoxon's signed-rank test, scipy's; 1 where every value is zero.

    Null hypothesis as in ``sign_flip``; the ranks make one extreme value count less. Values of zero are left out.
    """
    x = np.asarray(values, dtype=float)
    x = x[x != 0]
    return float(wilcoxon(x).pvalue) if x.size else 1.0


def holm(p_values: ArrayLike) -> np.ndarray:
    """Holm's adjusted p-values: below 5% for those that are significant together at 5%, whatever they share.

    Holm, S. (1979), A simple sequentially rejective multiple test procedure. The k-th smallest of m is multiplied by
    m - k + 1, and is no smaller than the ones before it.
    """
    p = np.asarray(p_values, dtype=float)
    order = np.argsort(p, kind="stable")
    adjusted = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    found = np.empty(len(p))
    found[order] = np.minimum(adjusted, 1)
    return found


def over_budgets(means: ArrayLike) -> Interval:
    """The mean of differences at several budgets with Student's t interval over the budgets.

    It takes the budgets as drawn at random from those of interest, independent of each other and normal. They are not
    drawn here but set, evenly on a scale of doublings, and one formula is used at all of them: read it as what the
    scatter between budgets allows. The half-width is NaN with one budget.
    """
    x = np.asarray(means, dtype=float)
    half = t.ppf(0.975, len(x) - 1) * x.std(ddof=1) / sqrt(len(x)) if len(x) > 1 else nan
    return Interval(float(x.mean()), float(half))


@dataclass(frozen=True)
class Duels:
    """Ours against several rivals at several budgets.

    Everything is given the formula that was fitted: that another random sample gives another formula is in no interval.

    ``names`` holds the network of ours at each budget c, ``rivals`` those of each rival, all names in ``compared``. A
    budget counts in a duel where both networks have a finished run and cost what they should (``Comparison.counts``).
    """

    compared: Comparison
    names: Mapping[float, str]
    rivals: Mapping[str, Mapping[float, str]]

    def pairs(self, rival: str) -> dict[float, tuple[str, str]]:
        """Ours and the rival's network at each budget that both are meant for, counting or not."""
        return {c: (self.names[c], name) for c, name in self.rivals[rival].items() if c in self.names}

    def kept(self, rival: str) -> dict[float, tuple[str, str]]:
        """Those of ``pairs`` that count."""
        return {c: pair for c, pair in self.pairs(rival).items() if self.compared.kept([pair])}

    def gaps(self, rival: str) -> pd.DataFrame:
        """Ours less the rival in points: a row for each budget that counts, a column a seed, NaN where one failed."""
        done = self.compared.frame.query("status == 'done'")
        top1 = 100 * done.pivot_table(index="model", columns="seed", values="top1")
        rows = {c: top1.loc[ours] - top1.loc[theirs] for c, (ours, theirs) in self.kept(rival).items()}
        return pd.DataFrame(rows).T.rename_axis(index="c")

    def at_budgets(self) -> pd.DataFrame:
        """Every difference that was run: columns rival, c, value and half in points, counts (of both, here True)."""
        rows = []
        for rival in self.rivals:
            kept = self.kept(rival)
            for c, pair in self.pairs(rival).items():
                if set(pair) <= set(self.compared.top1):
                    gap = self.compared.difference(*pair)
                    rows.append({"rival": rival, "c": c, "value": gap.value, "half": gap.half, "counts": c in kept})
        return pd.DataFrame(rows, columns=["rival", "c", "value", "half", "counts"])

    def averages(self) -> dict[str, dict[str, Interval]]:
        """For each rival with a budget that counts, the mean difference over its budgets with either interval.

        ``SEEDS_RANDOM`` is stratified: the budgets are fixed and the variances of all networks are added.
        ``BUDGETS_RANDOM`` is ``over_budgets`` of the same differences.
        """
        found = {}
        for rival in self.rivals:
            if pairs := [*self.kept(rival).values()]:
                each = [self.compared.difference(*pair).value for pair in pairs]
                found[rival] = {SEEDS_RANDOM: self.compared.average(pairs), BUDGETS_RANDOM: over_budgets(each)}
        return found

    def table(self) -> pd.DataFrame:
        """The ``averages`` as text, a row for each rival: what either interval tells, where there are seeds enough.

        With one seed an interval leaves the spread between seeds out, and no word is put on it.
        """
        worth, rows = self.compared.evidence, []
        for rival, found in self.averages().items():
            fixed, drawn = found[SEEDS_RANDOM], found[BUDGETS_RANDOM]
            row = {"rival": rival, "budgets": len(self.kept(rival))}
            row |= {f"mean difference (points, {worth})": f"{fixed.value:+.1f}"}
            told = self.compared.told({name for pair in self.kept(rival).values() for name in pair})
            row |= {f"95%, seeds random ({worth})": fixed.limits}
            row |= {"would have been seen (points)": f"{fixed.detectable:.1f}" if told else ""}
            row |= {"at these budgets": fixed.verdict if told else "too few seeds"}
            row |= {f"95%, budgets random ({worth})": "" if isnan(drawn.half) else drawn.limits}
            rows.append(row | {"at any budget": drawn.verdict if told else "too few seeds"})
        return pd.DataFrame(rows)

    def tests(self) -> pd.DataFrame:
        """A row for each rival: p-values over whole budgets, over pairs of budget and seed, and Holm's of the latter.

        *Whole budgets* flips the sign of a budget's mean difference: the seeds at a budget may share their luck, and
        the null is that at a budget drawn anew either rule is as likely to be ahead. *Pairs* flips each budget and seed
        by itself, each budget with the same weight: the null is that at every one of these budgets the two networks are
        equally accurate. Wilcoxon's is over the same pairs. ``smallest`` is the least p-value that so many budgets
        allow.
        """
        rows = []
        for rival in self.rivals:
            gaps = self.gaps(rival).dropna(how="all")
            if gaps.empty:
                continue
            shares = gaps.notna().div(gaps.notna().sum(axis=1) * len(gaps), axis=0).to_numpy()
            values, present = gaps.to_numpy(), gaps.notna().to_numpy()
            row = {"rival": rival, "budgets": len(gaps), "pairs": int(present.sum())}
            row |= {"whole budgets": sign_flip(gaps.mean(axis=1)), "smallest": 2.0 ** (1 - len(gaps))}
            row |= {"all pairs": sign_flip(values[present], shares[present])}
            rows.append(row | {"Wilcoxon": signed_rank(values[present])})
        columns = ["rival", "budgets", "pairs", "whole budgets", "smallest", "all pairs", "Wilcoxon"]
        table = pd.DataFrame(rows, columns=columns)
        return table.assign(Holm=holm(table["all pairs"]))

    def left_out(self, series: Series) -> str:
        """Every network that keeps a budget from counting, with the reason, as a Markdown list or one sentence."""
        networks = dict.fromkeys(name for by_c in (self.names, *self.rivals.values()) for name in by_c.values())
        lines = [f"- *{name}* {self._reason(name, series)}" for name in networks if not self.compared.counts(name)]
        return "\n".join(lines) or "Every network counts at its budget."

    def _reason(self, name: str, series: Series) -> str:
        if name in series.unreachable:
            return f"cannot be had: {series.unreachable[name]}"
        if name not in self.compared.top1:
            return "has no finished run"
        if name in self.compared.extrapolated:
            return "is of the formula outside the range that it was fitted on"
        return f"is {self.compared.off(name):+.1%} off its budget"
