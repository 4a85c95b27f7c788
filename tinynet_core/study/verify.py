"""Verify records: repeat a few trainings of a store, chosen by a seed, and compare them with their records.

On the same kind of machine, all numbers must be equal bit by bit. Another processor rounds the last bits differently.
With the recipe of ``reduced``, the relative error of a loss is then 1e-7 after 40 steps, 1e-3 after 60 and 1e-2 after
90. Later, two trainings differ as much as two seeds do, by up to 15 points of top-1. So only the first epochs are
compared closely (``_start``), and the record's own numbers must agree with each other (``contradiction``). The final
top-1 must lie within the spread between seeds. Only a comparison of bits finds later edits within this spread.
"""

import hashlib
import json
import math
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from scipy.special import expit
from scipy.stats import t

from tinynet_core.data import check_source
from tinynet_core.files import UserError
from tinynet_core.machine import Resources
from tinynet_core.study.record import Record, outdated
from tinynet_core.study.spread import Spread, log_odds, seed_spread
from tinynet_core.study.store import FILE, Store
from tinynet_core.study.sweep import SweepStopped, sweep

LEVEL = 0.9995
"""Quantile of the t distribution that bounds a difference: 99.9% of differences lie within it, in either direction."""
TOGETHER = 40
"""Number of steps during which trainings that round differently stay close."""
LOSS_TOLERANCE, LOSS_APART = 3e-4, 0.05
"""Largest relative differences in the loss of an epoch: for epochs that end within ``TOGETHER`` steps, and for others.

The first is the widest tolerance of the golden runs. The mean over an epoch moves far less than its last step's loss.
"""
TOP1_TOLERANCE = 1e-3
"""Largest difference in top-1 within ``TOGETHER`` steps, as a share of the images. One image is added to it."""


@dataclass(frozen=True)
class Held:
    """A number of a record and the range in which it must lie. ``source`` says where the range comes from."""

    what: str
    recorded: float
    low: float
    high: float
    source: str
    form: str = ".2%"

    @property
    def holds(self) -> bool:
        return self.low <= self.recorded <= self.high

    def __str__(self) -> str:
        recorded, low, high = (f"{x:{self.form}}" for x in (self.recorded, self.low, self.high))
        return f"{self.what} is {recorded}, allowed {low} to {high}: {self.source}"


@dataclass(frozen=True)
class Check:
    """The verdict on one record. ``now`` is the repeated record, if any; ``detail`` says what differs or is stale.

    ``held`` lists the numbers that must lie in a range when the bits differ.
    """

    record: Record
    now: Record | None
    verdict: Literal["same bits", "agrees", "differs", "stale"]
    detail: str = ""
    held: list[Held] = field(default_factory=list)

    @property
    def agrees(self) -> bool:
        return self.verdict in ("same bits", "agrees")

    def __str__(self) -> str:
        return f"{self.verdict}: {self.detail}" if self.detail else self.verdict


def verify(
    store: Store, records: int = 2, seed: int = 0, workers: int | None = None, progress: bool = True
) -> list[Check]:
    """Repeat ``records`` trainings of ``store``, chosen by ``seed``, in a temporary folder, and compare the results.

    The store is only read. Raises ``UserError`` before any training if there are too few records, and on a signal.
    """
    if not (store.root / FILE).is_file():
        raise UserError(f"{store.root} is no store: it has no {FILE}")
    trained = [record for record in store.records() if record.done and record.experiment.kind == "training"]
    finished = [record for record in trained if not record.experiment.needs]  # those may start from other bits
    chosen = choose(finished, records, seed)
    checks: dict[str, Check] = {}
    for record in chosen:
        if reason := outdated(record):
            checks[record.key] = Check(record, None, "stale", reason)
        elif reason := contradiction(record):
            checks[record.key] = Check(record, None, "differs", reason)
    todo = [record for record in chosen if record.key not in checks]
    again = _repeated(todo, workers, progress)
    checks |= {record.key: compare(record, again[record.key], finished) for record in todo}
    return [checks[record.key] for record in chosen]


def choose(records: Sequence[Record], n: int, seed: int) -> list[Record]:
    """Choose ``n`` records from the cheapest tenth, by MACs to train. The tenth is extended to ``n`` records if needed.

    The choice depends only on ``seed`` and on the set of keys.
    """
    if n < 1 or len(records) < n:
        raise UserError(f"records must be at least 1 and at most the {len(records)} finished trainings, got {n}")
    by_work = sorted(records, key=lambda record: (record.experiment.work, record.key))
    cheapest = by_work[: max(n, math.ceil(len(records) / 10))]
    return sorted(cheapest, key=lambda record: hashlib.sha256(f"{seed} {record.key}".encode()).digest())[:n]


def _repeated(records: Sequence[Record], workers: int | None, progress: bool) -> dict[str, Record]:
    """Repeat the trainings, with one sweep per device, threads and compilation. Return their records by key."""
    groups: dict[tuple[str, int, bool], list[Any]] = defaultdict(list)
    for record in records:
        check_source(record.experiment.dataset)
        made = record.provenance
        device = "cpu" if str(made.get("device")).startswith("cpu") else "auto"  # repeat CPU trainings on the CPU
        groups[device, made.get("threads", 1), made.get("compiled", False)].append(record.experiment)
    found: list[Record] = []
    with tempfile.TemporaryDirectory(prefix="tinynet-verify-") as folder:
        for (device, threads, compiled), experiments in groups.items():
            resources = Resources(workers=workers, cpus=threads, compiled=compiled)
            try:
                found += sweep(experiments, Store(folder), "local", None, device, progress, resources)
            except SweepStopped as stopped:
                error = UserError("stopped by a signal: nothing was verified, and nothing is left behind")
                error.exit_status = stopped.exit_status
                raise error from stopped
    return {record.key: record for record in found}


def compare(record: Record, now: Record, finished: Sequence[Record]) -> Check:
    """Compare ``record`` with ``now``, the same training repeated. ``finished`` are the trainings of its store."""
    before, after = (x.provenance.get("dataset_sha256") or "of unknown hash" for x in (record, now))
    if not now.done:
        return Check(record, now, "differs", f"training failed now, {now.reason}")
    if before != after:
        return Check(record, now, "stale", f"made from data {before[:12]}, now {after[:12]}")
    difference = first_difference(record, now)
    if not difference:
        return Check(record, now, "same bits")
    if record.cost != now.cost or len(record.curve) != len(now.curve):
        return Check(record, now, "differs", difference)
    held = held_to(record, now, pooled_spread(finished))
    failing = next((x for x in held if not x.holds), None)
    return Check(record, now, "differs" if failing else "agrees", str(failing or difference), held)


def first_difference(record: Record, now: Record) -> str:
    """Describe the first number of cost, curve (epoch by epoch) or metrics that differs. Return "" if none differs."""
    before, after = _numbers(record), _numbers(now)
    names = (name for name in {**before, **after} if before.get(name) != after.get(name))
    return next((f"{name} {before.get(name)!r} recorded, {after.get(name)!r} now" for name in names), "")


def _numbers(record: Record) -> dict[str, float]:
    found: dict[str, float] = {"epochs": len(record.curve), **{f"cost {name}": x for name, x in record.cost.items()}}
    for epoch, row in enumerate(record.curve, 1):
        found |= {f"epoch {epoch} {name}": x for name, x in row.items()}
    return found | {f"metric {name}": x for name, x in record.metrics.items()}


def contradiction(record: Record) -> str:
    """Describe the first contradiction between a record's own numbers. Return "" if there is none."""
    epochs, images = record.experiment.recipe.epochs, record.experiment.dataset.val_images
    if [row["epoch"] for row in record.curve] != list(range(1, epochs + 1)):
        return f"its curve does not have the epochs 1 to {epochs}"
    last = record.curve[-1]
    for name, value in record.metrics.items():
        in_curve = last.get(name, last.get(f"ema_{name}"))
        if value != in_curve:
            return f"metric {name} {value!r} recorded, {in_curve!r} in its own last epoch"
    for epoch, row in enumerate(record.curve, 1):
        for name in ("ema_top1", "ema_top5", "raw_top1", "raw_top5"):
            hits = round(row[name] * images)
            if not (0 <= hits <= images and math.isclose(row[name], hits / images, abs_tol=1e-9)):
                return f"epoch {epoch} {name} {row[name]!r} is not a whole number out of {images} images"
    return ""


def held_to(record: Record, now: Record, spread: Spread) -> list[Held]:
    """Return the numbers of ``record`` that must agree with ``now``, the same training repeated, if the bits differ.

    These are the epochs that begin within ``TOGETHER`` steps, and the final top-1. The final top-1 must agree within
    the ``spread`` of log odds between seeds.
    """
    reach = float(t.ppf(LEVEL, spread.freedom)) * math.sqrt(2) * spread.sd if spread.known else math.inf
    low, high = (float(expit(_log_odds(now) + x)) for x in (-reach, reach))
    why = "plus or minus the seed spread" if spread.known else "unbounded: no two records differ only in their seed"
    level = Held("top-1", record.metrics["top1"], low, high, f"{now.metrics['top1']:.2%} now, {why}")
    return [*_start(record, now), level]


def _start(record: Record, now: Record) -> list[Held]:
    """Return training losses of epochs that begin within ``TOGETHER`` steps, and top-1 of those that also end then."""
    experiment, held = record.experiment, []
    steps = experiment.steps // experiment.recipe.epochs
    for epoch, (row, here) in enumerate(zip(record.curve, now.curve, strict=True), 1):
        if (epoch - 1) * steps >= TOGETHER:
            break
        together = epoch * steps <= TOGETHER
        loss, top1 = here["train_loss"], here["ema_top1"]
        most = loss * (LOSS_TOLERANCE if together else LOSS_APART)
        what, said = f"training loss of epoch {epoch}", f"{loss:.5f} now"
        held.append(Held(what, row["train_loss"], loss - most, loss + most, said, ".5f"))
        if together:
            most = TOP1_TOLERANCE + 1 / experiment.dataset.val_images
            held.append(Held(f"top-1 of epoch {epoch}", row["ema_top1"], top1 - most, top1 + most, f"{top1:.2%} now"))
    return held


def pooled_spread(records: Sequence[Record]) -> Spread:
    """Return the spread of the log odds of top-1, pooled over groups of records that differ only in their seed."""
    groups: dict[str, list[float]] = defaultdict(list)
    for record in records:
        same = {name: value for name, value in record.experiment.identity.items() if name != "seed"}
        made = [record.provenance.get(name) for name in ("training_version", "dataset_sha256")]
        groups[json.dumps([same, made], sort_keys=True)].append(_log_odds(record))
    return seed_spread(groups)


def _log_odds(record: Record) -> float:
    return float(log_odds(record.metrics["top1"], record.experiment.dataset.val_images))
