"""Statistics of networks compared by name: differences of top-1 in points, with 95% intervals, and what they decide.

A training is random by its seed. Where every network of a comparison has two seeds or more, an interval is Student's
t with Welch and Satterthwaite's degrees of freedom. With a single seed it is the normal interval of the validation
images, which leaves the spread between seeds out and is too narrow.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import isnan, nan, sqrt
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.stats import norm, t

from tinynet_book.paper import rows
from tinynet_book.paper.cells import cells
from tinynet_book.paper.claims import Evidence, Finding, claims, settled
from tinynet_core.study.series import Series

NEAR = 0.1
"""Relative distance from its budget within which a network counts as one of that cost."""
LEARNED = 3
"""Times chance below which a run has hardly learned anything."""
ENOUGH_SEEDS = 3
"""Seeds of each network below which no claim is decided."""
OFTEN_SEEN = 1 + float(norm.ppf(0.8) / norm.ppf(0.975))
"""Halves of a 95% interval that a true difference must measure to be found clear of zero four times in five."""

Pairs = Sequence[tuple[str, str]]
"""Names of two networks each, ours first."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A ``value`` in points of top-1 with ``half`` of its 95% interval."""

    value: float
    half: float

    @property
    def clear(self) -> bool:
        """Whether the whole interval is above zero."""
        return self.value > self.half

    @property
    def detectable(self) -> float:
        """The true difference in points that four of five such comparisons would find clear of zero, about.

        The factor is that of the normal distribution; with a few seeds it is a little less.
        """
        return OFTEN_SEEN * self.half

    @property
    def verdict(self) -> str:
        """What the interval tells of a difference, in words: better, worse, or that it cannot be told."""
        if abs(self.value) > self.half:
            return "better" if self.value > 0 else "worse"
        return "cannot be told"

    @property
    def limits(self) -> str:
        """The ends of the interval as text, with their signs."""
        return f"[{self.value - self.half:+.1f}, {self.value + self.half:+.1f}]"


def contrast(parts: Sequence[tuple[float, ArrayLike]], images: int) -> Interval:
    """The weighted sum of mean accuracies, in points: a difference, or an average of differences.

    ``parts`` are pairs of a weight and the top-1 of one network, a fraction for each seed; every network comes once
    and is taken to vary by itself. ``images`` is the size of the validation set, which matters where one has one seed.
    Raises ``ValueError`` for a network without any run.
    """
    weights = np.array([weight for weight, _ in parts], dtype=float)
    samples = [np.asarray(top1, dtype=float) for _, top1 in parts]
    runs = np.array([x.size for x in samples])
    if runs.size == 0 or runs.min() < 1:
        raise ValueError(f"every network needs at least one finished run, got {runs.tolist()}")
    means = np.array([x.mean() for x in samples])
    if runs.min() == 1:
        variances, reach = weights**2 * means * (1 - means) / images, 1.96
    else:
        variances = weights**2 * np.array([x.var(ddof=1) for x in samples]) / runs
        reach = t.ppf(0.975, _freedom(variances, runs))
    return Interval(100 * float(weights @ means), 100 * float(reach) * sqrt(variances.sum()))


def _freedom(variances: np.ndarray, runs: np.ndarray) -> float:
    """Satterthwaite's degrees of freedom of a sum of estimated ``variances``; all there are where nothing varies."""
    below = (variances**2 / (runs - 1)).sum()
    return float(variances.sum() ** 2 / below) if below else float((runs - 1).sum())


@dataclass(frozen=True)
class Comparison:
    """The networks of one page: a ``frame`` of ``Study.named_frame`` with one row for each run, failed ones included.

    ``images``: validation images. ``evidence``: what its accuracies are worth. ``budgets``: the ``cost`` (MACs or
    parameters) that each network was to have; one that is further than ``NEAR`` from it is shown, and decides nothing,
    and so are the ``extrapolated``: those of a formula outside the range that it was fitted on.
    """

    frame: pd.DataFrame
    images: int
    evidence: Evidence
    budgets: Mapping[str, float] = field(default_factory=dict)
    cost: Literal["macs", "params"] = "macs"
    extrapolated: Collection[str] = ()

    @cached_property
    def top1(self) -> dict[str, np.ndarray]:
        """Top-1 of the finished runs of each network, fractions."""
        done = self.frame[self.frame.status == "done"]
        return {str(name): x.to_numpy(dtype=float) for name, x in done.groupby("model", sort=False).top1}

    @cached_property
    def networks(self) -> pd.DataFrame:
        """Exact ``macs`` and ``params`` of each network, by name in the order of the frame."""
        return self.frame.groupby("model", sort=False)[["macs", "params"]].first()

    def off(self, name: str) -> float:
        """Relative distance of a network's cost from its budget; NaN where it has none or was never run."""
        return float(self.networks[self.cost].get(name, nan)) / self.budgets.get(name, nan) - 1

    def counts(self, name: str) -> bool:
        """Whether a run of the network finished, it costs what it should, and no formula was stretched for it."""
        near = name not in self.budgets or abs(self.off(name)) <= NEAR
        return name in self.top1 and near and name not in self.extrapolated

    def difference(self, ours: str, rival: str) -> Interval:
        """Mean top-1 of ``ours`` less that of ``rival``, in points."""
        return self.average([(ours, rival)])

    def average(self, pairs: Pairs) -> Interval:
        """The differences of several ``pairs``, such as one at each budget, averaged."""
        weights: Counter[str] = Counter()
        for ours, rival in pairs:
            weights[ours] += 1
            weights[rival] -= 1
        return self.weighted({name: w / len(pairs) for name, w in weights.items()})

    def weighted(self, weights: Mapping[str, float]) -> Interval:
        """The sum of the networks' mean top-1 with these ``weights``, in points."""
        return contrast([(weight, self.top1[name]) for name, weight in weights.items()], self.images)

    def table(self, paper: Mapping[str, float] | None = None) -> pd.DataFrame:
        """A row for each network with its exact cost, its accuracy here, and that of the ``paper`` in percent."""
        lines = []
        for name, macs, params in self.networks.itertuples():
            mean = contrast([(1.0, self.top1[name])], self.images) if name in self.top1 else Interval(nan, nan)
            line = {
                "network": name,
                "MACs (millions, recomputed)": f"{macs / 1e6:.4g}",
                "parameters (millions, recomputed)": f"{params / 1e6:.3g}",
                "off budget (recomputed)": _text(self.off(name), "+.1%"),
                f"top-1 here (%, {self.evidence})": _text(mean.value, ".1f"),
                f"95% half-width ({self.evidence})": _text(mean.half, ".1f"),
                "seeds": len(self.top1.get(name, ())),
            }
            lines.append(line | ({"top-1 printed (%, quoted)": _text(paper.get(name, nan), ".1f")} if paper else {}))
        return pd.DataFrame(lines).set_index("network")

    def differences(self, rivals: Mapping[str, Pairs]) -> pd.DataFrame:
        """A row for each pair that was run, and one for the average of those that count where there are several."""
        lines = []
        for label, pairs in rivals.items():
            for ours, rival in pairs:
                if {ours, rival} <= set(self.top1):
                    counts = "yes" if self.counts(ours) and self.counts(rival) else "no"
                    off = _text(self.off(rival), "+.1%")
                    lines.append(self._line(ours, rival, off, self.difference(ours, rival), counts))
            kept = self.kept(pairs)
            if len(kept) > 1:
                lines.append(self._line("average", f"{label} (n = {len(kept)})", "", self.average(kept), "yes"))
        return pd.DataFrame(lines)

    def _line(self, ours: str, rival: str, off: str, gap: Interval, counts: str) -> dict[str, str]:
        return {
            "ours": ours,
            "rival": rival,
            "rival off budget (recomputed)": off,
            f"difference (points, {self.evidence})": f"{gap.value:+.1f}",
            f"95% interval ({self.evidence})": gap.limits,
            "counts": counts,
        }

    def effects(self, cells: Mapping[str, Sequence[str]], weights: Mapping[str, Sequence[float]]) -> pd.DataFrame:
        """Effects of a factorial comparison: columns effect, group, value and half, in points.

        ``cells`` holds the networks of each group in one order, ``weights`` those of each effect in the same order. A
        group decides an effect only where all its networks that have a weight in it count; ``average`` is over those.
        """
        lines = []
        for effect, row in weights.items():
            used = {group: {name: w for name, w in zip(names, row, strict=True) if w} for group, names in cells.items()}
            used = {group: parts for group, parts in used.items() if all(map(self.counts, parts))}
            found = {group: self.weighted(parts) for group, parts in used.items()}
            if used:
                shared = {name: w / len(used) for parts in used.values() for name, w in parts.items()}
                found["average"] = self.weighted(shared)
            lines += [{"effect": effect, "group": g, "value": x.value, "half": x.half} for g, x in found.items()]
        return pd.DataFrame(lines, columns=["effect", "group", "value", "half"])

    def beats(self, rivals: Mapping[str, Pairs]) -> Finding:
        """Whether ours is ahead of every one of ``rivals`` in the average of its pairs that count, by its interval.

        It is not where it is clearly behind one. Undecided elsewhere, where fewer than half of a rival's trained pairs
        count, where a network has fewer than ``ENOUGH_SEEDS`` finished seeds, and where one of ours was trained and
        never finished.
        """
        if failed := self._failed([pair for pairs in rivals.values() for pair in pairs]):
            return self._finding(None, failed)
        kept = {label: self.kept(pairs) for label, pairs in rivals.items()}
        gaps = [self.average(pairs) for pairs in kept.values() if pairs]
        used = {name for pairs in kept.values() for pair in pairs for name in pair}
        ahead, clear = sum(gap.value > 0 for gap in gaps), sum(gap.clear for gap in gaps)
        behind = sum(gap.verdict == "worse" for gap in gaps)
        trained = {label: sum({*pair} <= {*self.networks.index} for pair in x) for label, x in rivals.items()}
        enough = self.told(used) and all(x and 2 * len(x) >= trained[label] for label, x in kept.items())
        value = True if clear == len(rivals) else False if behind else None
        note = f"ahead of {ahead} of {len(gaps)}, clearly of {clear}, clearly behind {behind}"
        return self._finding(value if enough else None, note + self._lacking(rivals.values(), used))

    def better(self, pairs: Pairs) -> Finding:
        """Whether ours is ahead in the average of the pairs that count, decided by its interval and not by the mean.

        Undecided where the interval holds zero, where fewer than half of the pairs count, where a network has too few
        seeds, and where one of ours was trained and never finished: leaving it out would flatter ours.
        """
        kept = self.kept(pairs)
        if failed := self._failed(pairs):
            return self._finding(None, failed)
        if not kept:
            return self._finding(None, self._lacking([pairs], set()).removeprefix("; "))
        gap, used = self.average(kept), {name for pair in kept for name in pair}
        told = self.told(used) and 2 * len(kept) >= len(pairs)
        value = {"better": True, "worse": False}.get(gap.verdict) if told else None
        note = f"{gap.value:+.1f} points on average of {len(kept)}, 95% {gap.limits}"
        note += f", {gap.detectable:.1f} points would be found in 4 of 5 studies" if told and value is None else ""
        return self._finding(value, note + self._lacking([pairs], used), gap)

    def no_worse(self, ours: str, rival: str, margin: float) -> Finding:
        """Whether ours is less accurate than the rival by ``margin`` points at most.

        It is where the whole interval of the difference lies above -margin, it is not where the whole lies below, and
        elsewhere it is left open, as where a network has too few seeds.
        """
        pairs = [(ours, rival)]
        if not self.kept(pairs):
            return self._finding(None, self._lacking([pairs], set()).removeprefix("; "))
        gap = self.difference(ours, rival)
        decided = self.told({ours, rival}) and abs(gap.value + margin) > gap.half
        note = f"{gap.value:+.1f} points, 95% {gap.limits}, as accurate would be above {-margin:g}"
        return self._finding(
            gap.value > -margin if decided else None, note + self._lacking([pairs], {ours, rival}), gap
        )

    def gain(self, claim: str, ours: str, rival: str) -> Finding:
        """The difference of two networks in points, for the number of the paper that the ``claim`` of this id holds.

        Undecided as in ``beats``, where the rival leaves no room for the paper's number below 100%, and where the
        interval does not tell whether ours is it (``claims.settled``).
        """
        pairs = [(ours, rival)]
        if not self.kept(pairs):
            return self._finding(None, self._lacking([pairs], set()).removeprefix("; "))
        gap = self.difference(ours, rival)
        told = self.told({ours, rival})
        clear = settled(claims()[claim], gap.value - gap.half, gap.value + gap.half)
        note = f"{gap.value:+.1f} points, 95% {gap.limits}"
        room = 100 * (1 - float(np.mean(self.top1[rival])))
        if room < claims()[claim].paper:
            clear = False
            note += f", the rival is {room:.1f} points below 100%: no room for the paper's number"
        elif told and not clear:
            note += ", too wide to compare with the paper's number"
        note += self._lacking([pairs], {ours, rival})
        return self._finding(gap.value if told and clear else None, note, gap)

    def printed(self, table: str, names: Sequence[str] | None = None) -> dict[str, Finding]:
        """A finding for each top-1 and top-5 that a ``table`` of the paper prints, by the id of its claim.

        ``names`` are those of the networks here in the order of the printed rows, the printed ones where left out.
        Networks of a proxy leave the number open, as do those that were not trained; one trained at full scale answers
        it.
        """
        names = [row["model"] for row in rows(table)] if names is None else names
        wanted = [cell for cell in cells(table) if cell.column in ("top1", "top5")]
        return {cell.id: self._reached(cell.column, names[cell.row]) for cell in wanted}

    def _reached(self, column: str, name: str) -> Finding:
        """The mean ``column`` of one network in percent, against a number of ImageNet."""
        runs = self.frame[(self.frame.model == name) & (self.frame.status == "done")]
        if runs.empty:
            return Finding(value=None, evidence="", note="no network of this row was trained here")
        mean = contrast([(1.0, runs[column].to_numpy(dtype=float))], self.images)
        low, high = max(0.0, mean.value - mean.half), min(100.0, mean.value + mean.half)
        note = f"{mean.value:.1f}% [{low:.1f}, {high:.1f}], {len(runs)} seed{'s' * (len(runs) > 1)}"
        keys = tuple(runs.key)
        if self.evidence != "trained":
            return Finding(value=None, evidence=self.evidence, note=f"no number of ImageNet: here {note}", records=keys)
        return Finding(value=mean.value, evidence=self.evidence, note=note, records=keys, low=low, high=high)

    def kept(self, pairs: Pairs) -> Pairs:
        """Those of ``pairs`` of which both networks count."""
        return [pair for pair in pairs if all(map(self.counts, pair))]

    def _failed(self, pairs: Pairs) -> str:
        """Which of ours were trained and never finished, as a note; leaving them out would flatter ours."""
        names = dict.fromkeys(ours for ours, _ in pairs if ours in self.networks.index and ours not in self.top1)
        return f"no run finished of {', '.join(names)}" if names else ""

    def told(self, names: set[str]) -> bool:
        """Whether each of these networks has seeds enough to decide a claim."""
        return bool(names) and min(len(self.top1[name]) for name in names) >= ENOUGH_SEEDS

    def _lacking(self, rivals, used: set[str]) -> str:
        """What of a comparison is missing, as the end of a note."""
        wanted = dict.fromkeys(name for pairs in rivals for pair in pairs for name in pair)
        beyond = [name for name in wanted if name in self.extrapolated]
        absent = [name for name in wanted if not self.counts(name) and name not in beyond]
        few = "; too few seeds to tell" if used and not self.told(used) else ""
        stretched = f"; left out, outside the range of the fit: {', '.join(beyond)}" if beyond else ""
        return (f"; left out, not at this cost: {', '.join(absent)}" if absent else "") + stretched + few

    def _finding(self, value: bool | float | None, note: str, gap: Interval | None = None) -> Finding:
        ends: dict[str, float | None] = {}
        if gap is not None:
            ends = {"low": gap.value - gap.half, "high": gap.value + gap.half}
            ends["estimate"] = gap.value if value is None else None
        return Finding(value=value, evidence=self.evidence, records=tuple(self.frame.key), note=note, **ends)


def one_each(ours: str, rivals: Sequence[str]) -> dict[str, Pairs]:
    """``ours`` against each of ``rivals``, as ``Comparison.beats`` takes them."""
    return {rival: [(ours, rival)] for rival in rivals}


def absences(series: Series, frame: pd.DataFrame) -> str:
    """What is missing or hardly learned, each with its reason, as a Markdown list or one sentence.

    Networks that cannot be had, and ``troubled_runs``.
    """
    lines = [f"- *{name}* cannot be had: {why}" for name, why in series.unreachable.items()]
    lines += troubled_runs(series, frame)
    return "\n".join(lines) or "Every network could be built, every run finished, and all are above three times chance."


def troubled_runs(series: Series, frame: pd.DataFrame) -> list[str]:
    """Failed runs, and finished ones below ``LEARNED`` times chance, which count, as lines of a Markdown list."""
    chance = {name: 1 / experiments[0].dataset.classes for name, experiments in series.items()}
    failed, done = frame[frame.status == "failed"], frame[frame.status == "done"]
    return [f"- *{x.model}*, seed {x.seed}, failed: {x.reason}" for x in failed.itertuples()] + [
        f"- *{x.model}*, seed {x.seed}, counts, but hardly learned: {x.top1:.1%}, guessing {chance[x.model]:.1%}"
        for x in done[done.top1 < LEARNED * done.model.map(chance)].itertuples()
    ]


def _text(value: float, form: str) -> str:
    return "" if isnan(value) else format(value, form)
