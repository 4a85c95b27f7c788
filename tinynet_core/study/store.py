"""Where records live: a line each in ``records.jsonl``, written whole or not at all and never rewritten."""

import shlex
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from functools import cache
from math import nan
from pathlib import Path
from typing import Any, TypeVar, get_args

import pandas as pd
from pydantic import ValidationError
from pydantic_core import from_json

from tinynet_core.errors import UserError
from tinynet_core.networks import NAMES, network
from tinynet_core.study.classify import METRICS
from tinynet_core.study.journal import Journal, body_of, unseal
from tinynet_core.study.record import Record
from tinynet_core.study.task import Task, checkpoint_file, weights_file
from tinynet_core.study.tasks import AnyTask

FILE = "records.jsonl"
COST = ("resolution", "macs", "params", "activations")
PROVENANCE = ("commit", "clean", "device", "training_version", "dataset_sha256")
OLD = b'{"format":1,'
"""How the content of a record from before keys belonged to networks begins."""
COLUMNS = (
    *("key", "kind", "network", "r", "d", "w", "head", "base_resolution", "base_width", "base_divisor"),
    *("seed", "precision", "status", "reason"),
    *(*COST, *METRICS, "wall_s", *PROVENANCE),
)
"""What every table of records has; one with further costs or metrics has columns for them too."""

_KEYS = {kind.model_fields["kind"].default: kind.model_fields.keys() for kind in get_args(get_args(AnyTask)[0])}
"""The keys of an experiment by its kind."""

T = TypeVar("T")


class StoreError(UserError):
    """A store that cannot be read or written; says which and why."""


@dataclass
class Inspection:
    """What ``Store.check`` found: usable records by status, and what cannot be used."""

    done: int = 0
    failed: int = 0
    doubled: int = 0
    damaged: list[str] = field(default_factory=list)
    tail: int = 0
    set_aside: int = 0

    @property
    def sound(self) -> bool:
        return not (self.damaged or self.tail)


class Store:
    """Records under ``root``, created on the first ``put``. Several processes may read and write it at once.

    A damaged record is never used: it is moved to ``records.damaged.jsonl`` with a warning that names its line, and its
    experiment counts as missing. Every method raises ``StoreError`` for a folder that cannot be read or written.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root).expanduser().resolve()
        self._journal = Journal(self.root / FILE)

    def __repr__(self) -> str:
        return f"Store({str(self.root)!r})"

    def __reduce__(self):
        return Store, (self.root,)

    def __contains__(self, experiment: Task) -> bool:
        return not self.missing([experiment])

    def get(self, experiment: Task) -> Record | None:
        """The record of ``experiment``, under the names and the scale that ``experiment`` has; or None."""
        found = dict(self._taken(_record, [experiment.key])).get(experiment.key)
        return found and found.model_copy(update={"experiment": experiment})

    def put(self, record: Record) -> None:
        """Add ``record``, on disk when this returns; one that is there already stays.

        A write that fails half-way leaves the store as it was.
        """
        with self._failing_as("written"):
            self._journal.append(record.key, record.to_json().encode())

    def check_writable(self) -> None:
        """Raise ``StoreError`` now rather than after hours of training."""
        with self._failing_as("written"):
            self._journal.check_writable()

    def missing(self, experiments: Iterable[Task]) -> list[Task]:
        """Those of ``experiments`` that have no record, each once, in their order."""
        keys = {experiment: experiment.key for experiment in experiments}
        present = {key for key, _ in self._taken(_row, keys.values())}
        return [experiment for experiment, key in keys.items() if key not in present]

    def records(self) -> list[Record]:
        """All records, by key."""
        return [record for _, record in sorted(self._taken(_record), key=lambda pair: pair[0])]

    def frame(self, experiments: Sequence[Task] | None = None) -> pd.DataFrame:
        """One row per record of ``experiments``, in their order and with their labels, or of the whole store by key."""
        keys = None if experiments is None else [experiment.key for experiment in experiments]
        rows = dict(self._taken(_row, keys))
        if experiments is None:
            return _table([rows[key] for key in sorted(rows)])
        return _table([{**rows[e.key], **_labels(e.model_dump())} for e in experiments if e.key in rows])

    def set_failed_aside(self, experiments: Iterable[Task]) -> None:
        """Move the failed records of ``experiments`` to ``records.damaged.jsonl``: they count as missing again."""
        self._move_aside((e.key for e in experiments), "a failed run, to be tried again", "failed")

    def set_stale_aside(self, keys: Iterable[str]) -> None:
        """Move the records with these ``keys`` to ``records.damaged.jsonl``: they count as missing again."""
        self._move_aside(keys, "stale, to be made anew")

    def _move_aside(self, keys: Iterable[str], reason: str, status: str = "") -> None:
        """Those with this ``status``, or all; every one with the ``reason``."""
        with self._failing_as("written"):
            self._journal.check_writable()
            read = self._journal.read([*keys])
            unwanted = {line: reason for _, body, line in read if status in ("", from_json(body).get("status"))}
            if unwanted:
                self._journal.set_aside(unwanted)

    def checkpoint(self, experiment: Task) -> Path:
        """Where a run of ``experiment`` keeps its state between epochs."""
        return checkpoint_file(self.root, experiment.key)

    def weights(self, experiment: Task) -> Path:
        """Where a finished training keeps its averaged weights, a safetensors file."""
        return weights_file(self.root, experiment.key)

    def check(self) -> Inspection:
        """Validate every record in full and change nothing."""
        found, keys = Inspection(), set()
        with self._failing_as("read"):
            for number, line in enumerate(_lines(self._journal.path), 1):
                if not line.endswith(b"\n"):
                    found.tail = len(line)
                    break
                try:
                    key, body = unseal(line)
                    record = _record(key, body)
                except ValueError as error:
                    found.damaged.append(f"line {number}: {_reason(error)}")
                    continue
                found.done += key not in keys and record.done
                found.failed += key not in keys and not record.done
                found.doubled += key in keys
                keys.add(key)
            found.set_aside = sum(1 for _ in _lines(self._journal.aside))
        return found

    def _taken(self, parse: Callable[[str, bytes], T], keys: Iterable[str] | None = None) -> Iterator[tuple[str, T]]:
        """Key and parsed record of ``keys``, or of the whole store; those that ``parse`` refuses are set aside."""
        unusable: dict[bytes, str] = {}
        refused = []
        with self._failing_as("read"):
            for key, body, line in self._journal.read(keys):
                try:
                    parsed = parse(key, body)
                except ValueError as error:
                    unusable[line] = _reason(error)
                    refused.append(key)
                    continue
                yield key, parsed
        if refused:
            with self._failing_as("read"):
                self._journal.set_aside(unusable)
            yield from self._taken(parse, refused)  # a further line of the same key counts now

    @contextmanager
    def _failing_as(self, what: str) -> Iterator[None]:
        try:
            if first := next(_lines(self._journal.path), b""):
                self._refuse_old(first)
            yield
        except OSError as error:
            raise StoreError(f"store {self.root} cannot be {what}: {error.strerror or error}") from error

    def _refuse_old(self, line: bytes) -> None:
        if body_of(line).startswith(OLD):
            raise StoreError(
                f"store {self.root} has records of an earlier format; move them to their new keys, without training, "
                f"with: tinynet store migrate {shlex.quote(str(self.root))}"
            )


def to_frame(records: Iterable[Record]) -> pd.DataFrame:
    """Records as a table: key, network, r, d, w, seed, status, cost, metrics, provenance in short."""
    return _table([_columns(record.key, record.model_dump()) for record in records])


def _table(rows: list[dict[str, Any]]) -> pd.DataFrame:
    return pd.DataFrame(rows) if rows else pd.DataFrame(columns=list(COLUMNS))


def _record(key: str, body: bytes) -> Record:
    if body.startswith(OLD):
        raise StoreError(f"record {key[:12]} is of an earlier format, among newer ones: move it out of the file")
    record = Record.from_json(body)
    if record.key != key:
        raise ValueError(f"its key {key[:12]} is not the key of its experiment, {record.key[:12]}")
    return record


def _row(key: str, body: bytes) -> dict[str, Any]:
    """One row of a table, without the time that validation takes; what does not look like a record is validated."""
    content = from_json(body)
    fields = Record.model_fields
    with suppress(KeyError, TypeError, AttributeError):
        known = content["experiment"].keys() == _KEYS[content["experiment"]["kind"]]
        if known and content.keys() == fields.keys() and content["format"] == fields["format"].default:
            return _columns(key, content)
    return _columns(key, _record(key, body).model_dump())


def _columns(key: str, content: dict[str, Any]) -> dict[str, Any]:
    experiment, provenance = content["experiment"], content["provenance"]
    return {
        "key": key,
        "kind": experiment["kind"],
        **_labels(experiment),
        "seed": experiment.get("seed"),
        "precision": experiment.get("recipe", {}).get("precision", ""),
        "status": content["status"],
        "reason": content["reason"],
        **dict.fromkeys(COST, nan),
        **content["cost"],
        **dict.fromkeys(METRICS, nan),
        **content["metrics"],
        "wall_s": content["wall_s"],
        **{name: provenance.get(name) for name in PROVENANCE},
    }


def _labels(experiment: dict[str, Any]) -> dict[str, Any]:
    """How the network was asked for; ``experiment`` is the content of a task."""
    name = experiment.get("network", "")
    scale = experiment.get("scale") or _own_scale(name)
    base = experiment.get("base") or {}
    return {
        "network": name,
        **{x: scale[x] for x in "rdw"},
        "head": experiment.get("head"),
        **{f"base_{x}": base.get(x, nan) for x in ("resolution", "width", "divisor")},
    }


@cache
def _own_scale(name: str) -> dict[str, float]:
    """r, d and w of a network that takes no scale, or of several networks."""
    scale = network(name).scale if name in NAMES else None
    return asdict(scale) if scale else dict.fromkeys("rdw", nan)


def _reason(error: ValueError) -> str:
    if not isinstance(error, ValidationError):
        return str(error)
    first = error.errors()[0]
    where = [str(part) for part in first["loc"]]
    if where[:1] == ["experiment"]:
        del where[1:2]  # the kind, which is no key of the record
    return f"{'.'.join(where)}: {first['msg']}"


def _lines(path: Path) -> Iterator[bytes]:
    with suppress(FileNotFoundError, NotADirectoryError), path.open("rb") as file:
        yield from file
