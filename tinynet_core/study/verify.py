"""Verifying records: a few trainings of a store, chosen by a seed, are repeated and held against what was recorded."""

import hashlib
import signal
import tempfile
import threading
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

from tinynet_core.data import check_source
from tinynet_core.errors import UserError
from tinynet_core.resources import Resources
from tinynet_core.study.agreement import Held, contradiction, held_to, repeated_on
from tinynet_core.study.classify import Experiment
from tinynet_core.study.record import Record
from tinynet_core.study.staleness import outdated
from tinynet_core.study.store import FILE, Store
from tinynet_core.study.sweep import SweepStopped, sweep

_KIND = ("device", "packages", "threads", "processes")

Verdict = Literal["same bits", "agrees, with other bits", "agrees", "differs", "stale"]


class VerificationStopped(UserError):
    """A verification that a signal ended; ``exit_status`` is what a shell expects then."""

    def __init__(self, received: signal.Signals) -> None:
        super().__init__(f"stopped by {received.name}: nothing was verified, and nothing is left behind")
        self.exit_status = 128 + received


@dataclass(frozen=True)
class Check:
    """One record with the one made ``now``, where it was repeated; ``detail`` says what differs or is stale.

    ``held`` are the numbers that a record with other bits is held to.
    """

    record: Record
    now: Record | None
    verdict: Verdict
    detail: str = ""
    held: list[Held] = field(default_factory=list)

    @property
    def agrees(self) -> bool:
        return self.verdict not in ("differs", "stale")

    def __str__(self) -> str:
        return f"{self.verdict}: {self.detail}" if self.detail else self.verdict


@dataclass(frozen=True)
class Verification:
    """What came of the checks."""

    checks: list[Check]

    def agreeing(self, strict: bool = False) -> int:
        """How many agree; ``strict`` counts other bits on a machine of the same name as a difference."""
        return sum(check.agrees and not (strict and check.verdict.endswith("other bits")) for check in self.checks)


def verify(
    store: Store, records: int = 2, seed: int = 0, workers: int | None = None, progress: bool = True
) -> Verification:
    """Repeat so many trainings of ``store``, chosen by ``seed``, in a temporary folder, and compare.

    On the same kind of machine (device, versions of Python and packages, threads, processes) all numbers are to be the
    same bits. Elsewhere, and where a machine of the same name gives other bits, as two generations of a processor may,
    ``compare`` says what a record is held to. The store is only read. Raises ``UserError`` before any training where
    there are too few records, and ``VerificationStopped`` on SIGINT and SIGTERM.
    """
    finished = finished_trainings(store)
    chosen = choose(finished, records, seed)
    checks = {record.key: check for record in chosen if (check := _unfit(record))}
    todo = [record for record in chosen if record.key not in checks]
    with _heeding_signals():
        again = _repeated(todo, workers, progress)
        checks |= {record.key: compare(record, again[record.key], finished) for record in todo}
    return Verification([checks[record.key] for record in chosen])


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


def compare(record: Record, now: Record, finished: Sequence[Record]) -> Check:
    """The verdict on ``record`` when the same training gave ``now``; ``finished`` are the trainings of its store.

    With other bits it must agree in what ``tinynet_core.study.agreement`` holds it to.
    """
    before, after = (x.provenance.get("dataset_sha256") for x in (record, now))
    if not now.done:
        return Check(record, now, "differs", f"training failed now, {now.reason}")
    if before != after:
        return Check(record, now, "stale", f"made from data {_short(before)}, now {_short(after)}")
    difference = first_difference(record, now)
    if not difference:
        return Check(record, now, "same bits")
    if record.cost != now.cost or len(record.curve) != len(now.curve):
        return Check(record, now, "differs", difference)
    held = held_to(record, now, finished)
    if failing := next((x for x in held if not x.holds), None):
        return Check(record, now, "differs", str(failing), held)
    if _made_like(record, now.provenance):
        return Check(record, now, "agrees, with other bits", difference, held)
    return Check(record, now, "agrees", "", held)


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


def _unfit(record: Record) -> Check | None:
    """What is to be said of a record without training."""
    if reason := outdated(record):
        return Check(record, None, "stale", reason)
    if reason := contradiction(record):
        return Check(record, None, "differs", reason)
    return None


def _made_like(record: Record, made: dict[str, Any]) -> bool:
    """Whether ``record`` was made on the kind of machine that ``made``, a provenance, tells of."""
    minors = [str(source.get("python")).split(".")[:2] for source in (record.provenance, made)]
    same = all(record.provenance.get(name) == made.get(name) for name in _KIND)
    return same and minors[0] == minors[1]


def _repeated(records: Sequence[Record], workers: int | None, progress: bool) -> dict[str, Record]:
    """The same trainings once more, by key: a sweep for each way in which records were made."""
    groups: dict[tuple[str, int, bool], list[Experiment]] = defaultdict(list)
    for record in records:
        assert isinstance(record.experiment, Experiment)
        check_source(record.experiment.dataset)
        made = record.provenance
        groups[repeated_on(record), made.get("threads", 1), made.get("compiled", False)].append(record.experiment)
    found: list[Record] = []
    with tempfile.TemporaryDirectory(prefix="tinynet-verify-") as folder:
        for (device, threads, compiled), experiments in groups.items():
            resources = Resources(workers=workers, cpus=threads, compiled=compiled)
            try:
                found += sweep(experiments, Store(folder), "local", None, device, progress, resources)
            except SweepStopped as stopped:
                raise VerificationStopped(signal.Signals(stopped.exit_status - 128)) from stopped
    return {record.key: record for record in found}


@contextmanager
def _heeding_signals() -> Iterator[None]:
    """While entered, SIGINT and SIGTERM raise ``VerificationStopped``, so that temporary folders are removed."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def leave(number: int, _frame: object) -> None:
        raise VerificationStopped(signal.Signals(number))

    heeded = [x for x in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(x) is not signal.SIG_IGN]
    before = [(x, signal.signal(x, leave)) for x in heeded]
    try:
        yield
    finally:
        for number, handler in before:
            signal.signal(number, handler or signal.SIG_DFL)


def _short(digest: str | None) -> str:
    return digest[:12] if digest else "of unknown hash"
