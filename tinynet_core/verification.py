"""Verifying records: a few trainings of a store, chosen by a seed, are repeated and held against what was recorded."""

import hashlib
import json
import math
import signal
import tempfile
import threading
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from scipy.stats import t

from tinynet_core.data import check_source
from tinynet_core.errors import UserError
from tinynet_core.experiments import Experiment
from tinynet_core.record import Record, provenance
from tinynet_core.resources import Resources
from tinynet_core.spread import Spread, log_odds, seed_spread
from tinynet_core.staleness import outdated
from tinynet_core.store import FILE, Store
from tinynet_core.sweeps import SweepStopped, sweep

LEVEL = 0.995
"""Quantile of t below which a difference between two seeds lies: 99% of them do, in either direction."""
_KIND = ("device", "packages", "threads", "processes")

Verdict = Literal["same bits", "other bits, within seed spread", "within seed spread", "differs", "stale"]


class VerificationStopped(UserError):
    """A verification that a signal ended; ``exit_status`` is what a shell expects then."""

    def __init__(self, received: signal.Signals) -> None:
        super().__init__(f"stopped by {received.name}: nothing was verified, and nothing is left behind")
        self.exit_status = 128 + received


def reach(spread: Spread) -> float:
    """The difference of the log odds of top-1 that 99% of pairs of seeds stay within."""
    return float(t.ppf(LEVEL, spread.freedom)) * math.sqrt(2) * spread.sd


@dataclass(frozen=True)
class Check:
    """One record with the one made ``now``, which a stale record may lack; ``detail`` says what differs or is stale."""

    record: Record
    now: Record | None
    verdict: Verdict
    detail: str = ""

    @property
    def agrees(self) -> bool:
        return self.verdict in ("same bits", "other bits, within seed spread", "within seed spread")

    def __str__(self) -> str:
        return f"{self.verdict}: {self.detail}" if self.detail else self.verdict


@dataclass(frozen=True)
class Verification:
    """What came of the checks; ``spread`` is that between the seeds of the store, unknown where it has none."""

    checks: list[Check]
    spread: Spread

    def agreeing(self, strict: bool = False) -> int:
        """How many agree; ``strict`` counts other bits on a machine of the same name as a difference."""
        return sum(check.agrees and not (strict and check.verdict.startswith("other")) for check in self.checks)


def verify(
    store: Store, records: int = 2, seed: int = 0, workers: int | None = None, progress: bool = True
) -> Verification:
    """Repeat so many trainings of ``store``, chosen by ``seed``, in a temporary folder, and compare.

    On the same kind of machine (device, versions of Python and packages, threads, processes) all numbers are to be the
    same bits; elsewhere top-1 must agree as two seeds do (``reach``). Two generations of processors may share a name,
    so other bits on a machine of the same name are told and held to the spread too. The store is only read. Raises
    ``UserError``
    before any training where there are too few records, or no seeds to tell the spread from where it is needed, and
    ``VerificationStopped`` on SIGINT and SIGTERM.
    """
    finished = finished_trainings(store)
    chosen = choose(finished, records, seed)
    checks = {record.key: check for record in chosen if (check := _outdated(record))}
    todo = [record for record in chosen if record.key not in checks]
    foreign = [record for record in todo if not _made_like(record, provenance(_device(record)), ("threads",))]
    spread = pooled_spread(finished)
    if foreign and not spread.known:
        raise UserError(
            f"no two records in {store.root} differ only in their seed: how far seeds differ cannot be told, "
            "and records of another kind of machine are compared by that"
        )
    again = _repeated(todo, workers, progress)
    checks |= {record.key: compare(record, again[record.key], spread) for record in todo}
    return Verification([checks[record.key] for record in chosen], spread)


def finished_trainings(store: Store) -> list[Record]:
    """The records of classifiers that were trained to their end, by key."""
    if not (store.root / FILE).is_file():
        raise UserError(f"{store.root} is no store: it has no {FILE}")
    return [record for record in store.records() if record.done and record.experiment.kind == "training"]


def choose(records: Sequence[Record], n: int, seed: int) -> list[Record]:
    """``n`` of the records; which ones depends on ``seed`` and on the set of their keys alone."""
    if n < 1 or len(records) < n:
        raise UserError(f"records must be at least 1 and at most the {len(records)} finished trainings, got {n}")
    return sorted(records, key=lambda record: hashlib.sha256(f"{seed} {record.key}".encode()).digest())[:n]


def pooled_spread(records: Sequence[Record]) -> Spread:
    """The spread of the log odds of top-1 over the groups of records that differ in nothing but the seed."""
    groups: dict[str, list[float]] = defaultdict(list)
    for record in records:
        same = record.experiment.model_dump(mode="json", exclude={"seed"})
        made = [record.provenance.get(name) for name in ("training_version", "dataset_sha256")]
        groups[json.dumps([same, made], sort_keys=True)].append(_log_odds(record))
    return seed_spread(groups)


def compare(record: Record, now: Record, spread: Spread) -> Check:
    """The verdict on ``record`` when the same training gave ``now``."""
    before, after = (x.provenance.get("dataset_sha256") for x in (record, now))
    if not now.done:
        return Check(record, now, "differs", f"training failed now, {now.reason}")
    if before != after:
        return Check(record, now, "stale", f"made from data {_short(before)}, now {_short(after)}")
    difference = first_difference(record, now)
    if not difference:
        return Check(record, now, "same bits")
    if record.cost != now.cost or not spread.known:
        return Check(record, now, "differs", difference)
    was, is_now = record.metrics["top1"], now.metrics["top1"]
    if abs(_log_odds(record) - _log_odds(now)) > reach(spread):
        return Check(record, now, "differs", f"top1 {was!r} recorded, {is_now!r} now, beyond the seeds' spread")
    if _made_like(record, now.provenance):
        return Check(record, now, "other bits, within seed spread", difference)
    return Check(record, now, "within seed spread")


def _log_odds(record: Record) -> float:
    assert isinstance(record.experiment, Experiment)
    return float(log_odds(record.metrics["top1"], record.experiment.dataset.val_images))


def first_difference(record: Record, now: Record) -> str:
    """The first number of cost, curve (epoch by epoch) and metrics that is not the same, or nothing."""
    pairs: list[tuple[str, Any, Any]] = [("cost ", record.cost, now.cost)]
    if len(record.curve) != len(now.curve):
        return f"epochs {len(record.curve)} recorded, {len(now.curve)} now"
    pairs += [(f"epoch {i} ", x, y) for i, (x, y) in enumerate(zip(record.curve, now.curve, strict=True), 1)]
    pairs.append(("metric ", record.metrics, now.metrics))
    for where, before, after in pairs:
        for name in dict.fromkeys([*before, *after]):
            if before.get(name) != after.get(name):
                return f"{where}{name} {before.get(name)!r} recorded, {after.get(name)!r} now"
    return ""


def _outdated(record: Record) -> Check | None:
    reason = outdated(record)
    return Check(record, None, "stale", reason) if reason else None


def _made_like(record: Record, made: dict[str, Any], whatever: Sequence[str] = ()) -> bool:
    """Whether ``record`` was made on the kind of machine that ``made``, a provenance, tells of."""
    minors = [str(source.get("python")).split(".")[:2] for source in (record.provenance, made)]
    same = all(record.provenance.get(name) == made.get(name) for name in _KIND if name not in whatever)
    return same and minors[0] == minors[1]


def _device(record: Record) -> str:
    """The device to repeat it on: what was made on a processor never goes to a GPU."""
    return "cpu" if str(record.provenance.get("device")).startswith("cpu") else "auto"


def _repeated(records: Sequence[Record], workers: int | None, progress: bool) -> dict[str, Record]:
    """The same trainings once more, by key: a sweep for each way in which records were made."""
    groups: dict[tuple[str, int, bool], list[Experiment]] = defaultdict(list)
    for record in records:
        assert isinstance(record.experiment, Experiment)
        check_source(record.experiment.dataset)
        made = record.provenance
        groups[_device(record), made.get("threads", 1), made.get("compiled", False)].append(record.experiment)
    found: list[Record] = []
    with _heeding_sigterm(), tempfile.TemporaryDirectory(prefix="tinynet-verify-") as folder:
        for (device, threads, compiled), experiments in groups.items():
            resources = Resources(workers=workers, cpus=threads, compiled=compiled)
            try:
                found += sweep(experiments, Store(folder), "local", None, device, progress, resources)
            except SweepStopped as stopped:
                raise VerificationStopped(signal.Signals(stopped.exit_status - 128)) from stopped
    return {record.key: record for record in found}


@contextmanager
def _heeding_sigterm() -> Iterator[None]:
    """While entered, SIGTERM ends the process as an exception does, so that temporary folders are removed."""
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) is signal.SIG_IGN:
        yield
        return

    def leave(number: int, _frame: object) -> None:
        raise VerificationStopped(signal.Signals(number))

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)


def _short(digest: str | None) -> str:
    return digest[:12] if digest else "of unknown hash"
