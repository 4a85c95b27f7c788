"""One rule against several rivals at several budgets, with paired tests over budgets and seeds.

Everything is given the formula that was fitted: that another random sample gives another formula is in no interval.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isnan

import pandas as pd

from tinynet_book.analysis.comparison import Comparison
from tinynet_book.analysis.intervals import Interval, mean_interval
from tinynet_core.study.series import Series

SEEDS_RANDOM, BUDGETS_RANDOM = "these budgets (seeds random)", "any budget (budgets random)"


@dataclass(frozen=True)
class Duels:
    """``names``: the network of ours at each budget c; ``rivals``: those of each rival. All are in ``compared``."""

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
        """Every difference that was run: columns rival, c, the interval gap in points, and whether both count."""
        rows = [
            (rival, c, self.compared.difference(*pair), c in self.kept(rival))
            for rival in self.rivals
            for c, pair in self.pairs(rival).items()
            if set(pair) <= set(self.compared.top1)
        ]
        return pd.DataFrame(rows, columns=["rival", "c", "gap", "counts"])

    def averages(self) -> dict[str, dict[str, Interval]]:
        """For each rival with a budget that counts, the mean difference over its budgets with either interval.

        ``SEEDS_RANDOM``: the budgets are fixed and the variances of all networks are added. ``BUDGETS_RANDOM``:
        Student's t over the budgets, as if they were drawn at random.
        """
        found = {}
        for rival in self.rivals:
            if pairs := [*self.kept(rival).values()]:
                each = [self.compared.difference(*pair).value for pair in pairs]
                found[rival] = {SEEDS_RANDOM: self.compared.average(pairs), BUDGETS_RANDOM: mean_interval(each)}
        return found

    def table(self) -> pd.DataFrame:
        """The ``averages`` as text, a row for each rival: what either interval tells, where there are seeds enough."""
        worth, rows = self.compared.evidence, []
        for rival, found in self.averages().items():
            fixed, drawn = found[SEEDS_RANDOM], found[BUDGETS_RANDOM]
            told = self.compared.told({name for pair in self.kept(rival).values() for name in pair})
            rows.append(
                {
                    "rival": rival,
                    "budgets": len(self.kept(rival)),
                    f"mean difference (points, {worth})": f"{fixed.value:+.1f}",
                    f"95%, seeds random ({worth})": fixed.limits(),
                    "would have been seen (points)": f"{fixed.detectable:.1f}" if told else "",
                    "at these budgets": fixed.verdict if told else "too few seeds",
                    f"95%, budgets random ({worth})": "" if isnan(drawn.half) else drawn.limits(),
                    "at any budget": drawn.verdict if told else "too few seeds",
                }
            )
        return pd.DataFrame(rows)

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
