"""Compare networks by name: differences of top-1 in points, and the estimates for the paper's claims."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import isnan, nan

import numpy as np
import pandas as pd

from tinynet_book.analysis.intervals import Interval, contrast, mean_interval
from tinynet_book.paper import rows
from tinynet_book.paper.cells import cells
from tinynet_book.paper.claims import Estimate, Evidence
from tinynet_core.study.series import Series

NEAR = 0.1
"""Largest relative distance from its budget at which a network counts for this budget."""
LEARNED = 3
"""Multiple of chance accuracy. A training with a lower top-1 has hardly learned anything."""
NAMED = 2
"""Most networks that a note names. If there are more, the note gives their number, and a table lists them."""
ENOUGH_SEEDS = 3
"""Fewest seeds of each network that can decide a claim."""

Pairs = Sequence[tuple[str, str]]
"""Pairs of network names, ours first."""


@dataclass(frozen=True)
class Comparison:
    """The networks of one page: a ``frame`` of ``Study.named_frame`` with one row per training, also failed ones.

    ``budgets`` are the target MACs of each network. ``extrapolated`` are networks of a formula outside its fitted
    range. Tables show these and networks further than ``NEAR`` from their budget, but they decide no claim.
    """

    frame: pd.DataFrame
    images: int
    evidence: Evidence
    budgets: Mapping[str, float] = field(default_factory=dict)
    extrapolated: Collection[str] = ()

    @cached_property
    def top1(self) -> dict[str, np.ndarray]:
        """Top-1 of the finished trainings of each network, as fractions."""
        done = self.frame[self.frame.status == "done"]
        return {str(name): x.to_numpy(dtype=float) for name, x in done.groupby("model", sort=False).top1}

    @cached_property
    def networks(self) -> pd.DataFrame:
        """Exact ``macs`` and ``params`` of each network, by name, in the order of the frame."""
        return self.frame.groupby("model", sort=False)[["macs", "params"]].first()

    def off(self, name: str) -> float:
        """Return the relative distance of a network's cost from its budget; NaN without a budget or a training."""
        return float(self.networks.macs.get(name, nan)) / self.budgets.get(name, nan) - 1

    def counts(self, name: str) -> bool:
        """Return whether a network has a finished training, is near its budget and is not ``extrapolated``."""
        near = name not in self.budgets or abs(self.off(name)) <= NEAR
        return name in self.top1 and near and name not in self.extrapolated

    def kept(self, pairs: Pairs) -> Pairs:
        """Return the pairs in which both networks count (``counts``)."""
        return [pair for pair in pairs if all(map(self.counts, pair))]

    def told(self, names: Collection[str]) -> bool:
        """Return whether each of these networks has enough seeds to decide a claim."""
        return bool(names) and min(len(self.top1[name]) for name in names) >= ENOUGH_SEEDS

    def mean(self, name: str) -> Interval:
        """Return the mean top-1 of a network in percent."""
        return self.weighted({name: 1.0})

    def difference(self, ours: str, rival: str) -> Interval:
        """Return the mean top-1 of ``ours`` minus the mean top-1 of ``rival``, in points."""
        return self.average([(ours, rival)])

    def average(self, pairs: Pairs) -> Interval:
        """Return the average difference of several ``pairs``, for example of one pair at each budget."""
        weights: Counter[str] = Counter()
        for ours, rival in pairs:
            weights[ours] += 1
            weights[rival] -= 1
        return self.weighted({name: w / len(pairs) for name, w in weights.items()})

    def weighted(self, weights: Mapping[str, float]) -> Interval:
        """Return the sum of the networks' mean top-1 with these ``weights``, in points."""
        return contrast([(weight, self.top1[name]) for name, weight in weights.items()], self.images) * 100

    def table(self, paper: Mapping[str, float] | None = None) -> pd.DataFrame:
        """Return one row per network: exact cost, accuracy here, and the accuracy in the ``paper``, in percent."""
        names = self.networks.index.rename("network")
        means = [self.mean(name) if name in self.top1 else Interval(nan) for name in names]
        columns: dict[str, list] = {
            "MACs (millions, recomputed)": [f"{macs / 1e6:.4g}" for macs in self.networks.macs],
            "parameters (millions, recomputed)": [f"{params / 1e6:.3g}" for params in self.networks.params],
            "off budget (recomputed)": [_text(self.off(name), "+.1%") for name in names],
            f"top-1 here (%, {self.evidence})": [_text(mean.value, ".1f") for mean in means],
            f"95% half-width ({self.evidence})": [_text(mean.half, ".1f") for mean in means],
            "seeds": [len(self.top1.get(name, ())) for name in names],
        }
        if paper:
            columns["top-1 printed (%, quoted)"] = [_text(paper.get(name, nan), ".1f") for name in names]
        table = pd.DataFrame(columns, index=names)
        table.attrs["bold"] = {f"top-1 here (%, {self.evidence})": self._best([*names])}
        return table

    def _best(self, names: list[str]) -> list[int]:
        """Return the row of the best mean at each budget that several counting networks share."""
        kept = [i for i, x in enumerate(names) if x in self.budgets and self.counts(x)]
        means = pd.Series([np.mean(self.top1[names[i]]) for i in kept], kept, dtype=float)
        return [x.idxmax() for _, x in means.groupby([self.budgets[names[i]] for i in kept]) if len(x) > 1]

    def differences(self, rivals: Mapping[str, Pairs]) -> pd.DataFrame:
        """Return one row per trained pair, and one for the average of the pairs that count if there are several."""
        lines = []
        for label, pairs in rivals.items():
            kept = self.kept(pairs)
            for pair in (pair for pair in pairs if set(pair) <= set(self.top1)):
                gap, counts = self.difference(*pair), "yes" if pair in kept else "no"
                lines.append((*pair, _text(self.off(pair[1]), "+.1%"), f"{gap.value:+.1f}", gap.limits(), counts))
            if len(kept) > 1:
                gap = self.average(kept)
                lines.append(("average", f"{label} (n = {len(kept)})", "", f"{gap.value:+.1f}", gap.limits(), "yes"))
        measured = [f"difference (points, {self.evidence})", f"95% interval ({self.evidence})"]
        return pd.DataFrame(lines, columns=["ours", "rival", "rival off budget (recomputed)", *measured, "counts"])

    def beats(self, rivals: Mapping[str, Pairs]) -> Estimate:
        """Return the lead over each of ``rivals``, averaged over its pairs that count. The claim needs all leads.

        The claim stays open if fewer than half of a rival's trained pairs count, or for a reason of ``_estimate``.
        """
        pairs = [pair for some in rivals.values() for pair in some]
        kept = {label: self.kept(some) for label, some in rivals.items()}
        gaps = [self.average(some) for some in kept.values() if some]
        trained = {label: sum({*pair} <= {*self.networks.index} for pair in some) for label, some in rivals.items()}
        half = all(some and 2 * len(some) >= trained[label] for label, some in kept.items())
        n, ahead, behind = len(gaps), sum(x.clear for x in gaps), sum(x.high < 0 for x in gaps)
        note = f"clearly ahead of {ahead} of {n} rivals, clearly behind {behind}, undecided for {n - ahead - behind}"
        return self._estimate(gaps, note, pairs, "" if half else "too few of its pairs count")

    def better(self, pairs: Pairs) -> Estimate:
        """Return the average lead over the pairs that count. Open if under half count, or as ``_estimate`` says."""
        kept = self.kept(pairs)
        if not kept:
            return self._estimate(None, "", pairs)
        gap = self.average(kept)
        note = f"{gap.value:+.1f} points {gap.limits()}, mean of {len(kept)} pairs"
        if gap.verdict == "cannot be told":
            note += f". A true difference below {gap.detectable:.1f} points would often be missed"
        return self._estimate(gap, note, pairs, "" if 2 * len(kept) >= len(pairs) else "too few of its pairs count")

    def gain(self, ours: str, rival: str) -> Estimate:
        """Return the difference of two networks in points, at most 100 minus the rival's top-1 in percent."""
        pairs = [(ours, rival)]
        if not self.kept(pairs):
            return self._estimate(None, "", pairs)
        gap, room = self.difference(ours, rival), 100 * (1 - float(np.mean(self.top1[rival])))
        return self._estimate(gap, f"{gap.value:+.1f} points {gap.limits()}", pairs, most=room)

    def _estimate(
        self, found: Interval | Sequence[Interval] | None, note: str, pairs: Pairs, why: str = "", most: float = np.inf
    ) -> Estimate:
        """Return the estimate with a note on the networks left out. Open for ``why`` or for too few trainings.

        Too few means: a network has under ``ENOUGH_SEEDS`` seeds, or one of ours never finished, which would favour us.
        """
        wanted = dict.fromkeys(name for pair in pairs for name in pair)
        used = {name for pair in self.kept(pairs) for name in pair}
        beyond = [name for name in wanted if name in self.extrapolated]
        absent = [name for name in wanted if not self.counts(name) and name not in beyond]
        for why_not, names in (
            ("no such network within 10% of the budget", absent),
            ("the formula was not fitted at this cost", beyond),
        ):
            said = "; ".join(names) if len(names) <= NAMED else f"{len(names)} networks"
            note += f". Left out: {said} ({why_not})" if names else ""
        ours = dict.fromkeys(x for x, _ in pairs if x in self.networks.index)
        if failed := [name for name in ours if name not in self.top1]:
            why = f"no run finished of {', '.join(failed)}"
        elif used and not self.told(used):
            why = "too few seeds to tell"
        return Estimate(found, self.evidence, note.removeprefix(". "), tuple(self.frame.key), why, most)

    def printed(self, table: str, names: Sequence[str] | None = None) -> dict[str, Estimate]:
        """Return an estimate for each top-1 and top-5 that a ``table`` of the paper prints, by the id of its claim.

        ``names`` are the names of our networks in the order of the printed rows; the default is the printed names.
        Only a network that was trained at full scale can decide a printed number.
        """
        names = [row["model"] for row in rows(table)] if names is None else names
        wanted = [cell for cell in cells(table) if cell.column in ("top1", "top5")]
        return {cell.id: self._reached(cell.column, names[cell.row]) for cell in wanted}

    def _reached(self, column: str, name: str) -> Estimate:
        """Return the mean ``column`` of one network in percent, as the estimate of a number on ImageNet."""
        runs = self.frame[(self.frame.model == name) & (self.frame.status == "done")]
        if runs.empty:
            return Estimate(None, "", "no network of this row was trained here")
        mean = (mean_interval(runs[column], self.images) * 100).within(0, 100)
        note = f"{mean.value:.1f}% {mean.limits('.1f')}, {len(runs)} seed{'s' * (len(runs) > 1)}"
        if self.evidence != "trained":
            return Estimate(None, self.evidence, f"no number of ImageNet: here {note}", tuple(runs.key))
        return Estimate(mean, self.evidence, note, tuple(runs.key))


def absences(series: Series, frame: pd.DataFrame) -> str:
    """List networks that cannot be built, failed or hardly learned, with reasons, as Markdown or one sentence."""
    lines = [f"- *{name}* cannot be had: {why}" for name, why in series.unreachable.items()]
    lines += troubled_runs(series, frame)
    return "\n".join(lines) or "Every network could be built, every run finished, and all are above three times chance."


def troubled_runs(series: Series, frame: pd.DataFrame) -> list[str]:
    """Return Markdown lines for failed trainings and for finished ones below ``LEARNED`` times chance (still used)."""
    chance = {name: 1 / experiments[0].dataset.classes for name, experiments in series.items()}
    failed, done = frame[frame.status == "failed"], frame[frame.status == "done"]
    lines = [f"- *{x.model}*, seed {x.seed}, failed: {x.reason}" for x in failed.itertuples()]
    for x in done[done.top1 < LEARNED * done.model.map(chance)].itertuples():
        told = f"{x.top1:.1%}, guessing {chance[x.model]:.1%}"
        lines.append(f"- *{x.model}*, seed {x.seed}, counts, but hardly learned: {told}")
    return lines


def _text(value: float, form: str) -> str:
    return "" if isnan(value) else format(value, form)
