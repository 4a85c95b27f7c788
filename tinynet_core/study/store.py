"""Where records live: a line each in ``records.jsonl``, written whole or not at all and never rewritten.

A line is ``{"sha256":"<64 hex>","key":"<64 hex>",<record>}`` and a newline. The checksum covers every byte between its
own comma and the newline, so that a line is checked without being parsed. Of two lines with one key the first counts.
Writers hold a lock, readers need none. A line that cannot be used is ignored with a warning until ``repair``.
"""

import hashlib
import os
import shlex
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import ValidationError
from pydantic_core import from_json

from tinynet_core.files import UserError, locked, look_of, sync_folder, whole
from tinynet_core.study.record import KINDS, Record, columns, labels, table
from tinynet_core.study.task import Task, checkpoint_file, weights_file

FILE, ASIDE = "records.jsonl", "records.damaged.jsonl"
_START, _MIDDLE = b'{"sha256":"', b'","key":"'
_SUM = slice(len(_START), len(_START) + 64)
_KEY = slice(_SUM.stop + len(_MIDDLE), _SUM.stop + len(_MIDDLE) + 64)


class StoreError(UserError):
    """A store that cannot be read or written; says which and why."""


class Store:
    """Records in the folder ``root``, created on the first ``put``. Several processes may read and write it at once.

    A damaged record is never used: its line is ignored with a warning, and its experiment counts as missing. Every
    method raises ``StoreError`` where the folder cannot be read or written.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root).expanduser().resolve()
        self._file = self.root / FILE
        self._bodies: dict[str, bytes] = {}
        self._tail = b""  # a last line without a newline
        self._seen: tuple[int, ...] | None = None
        self._ignored: set[bytes] = set()

    def __repr__(self) -> str:
        return f"Store({str(self.root)!r})"

    def __reduce__(self):
        return Store, (self.root,)  # a worker reads the file itself

    def get(self, experiment: Task) -> Record | None:
        """The record of ``experiment``, under the names and the scale that ``experiment`` has; or None."""
        found = self._parsed(experiment.key, _record)
        return found and found.model_copy(update={"experiment": experiment})

    def put(self, record: Record) -> None:
        """Add ``record``, on disk when this returns; one that is there already stays.

        A write that fails half-way leaves the store as it was.
        """
        with self._writing():
            if self._parsed(record.key, _row) is None:
                body = record.to_json().encode()
                self._end_last_line()
                _append(self._file, seal(record.key, body))
                self._bodies[record.key], self._tail, self._seen = body, b"", look_of(self._file)

    def check_writable(self) -> None:
        """Raise ``StoreError`` now rather than after hours of training."""
        with self._writing(), self._file.open("ab"):
            sync_folder(self.root)

    def missing(self, experiments: Iterable[Task]) -> list[Task]:
        """Those of ``experiments`` that have no record, each once, in their order."""
        return [e for e in dict.fromkeys(experiments) if self._parsed(e.key, _row) is None]

    def records(self) -> list[Record]:
        """All records, by key."""
        return self._all(_record)

    def frame(self, experiments: Sequence[Task] | None = None) -> pd.DataFrame:
        """One row per record of ``experiments``, in their order and with their labels, or of the whole store by key."""
        if experiments is None:
            return table(self._all(_row))
        pairs = [(e, row) for e in experiments if (row := self._parsed(e.key, _row)) is not None]
        return table([{**row, **labels(e.model_dump())} for e, row in pairs])

    def checkpoint(self, experiment: Task) -> Path:
        """Where a run of ``experiment`` keeps its state between epochs."""
        return checkpoint_file(self.root, experiment.key)

    def weights(self, experiment: Task) -> Path:
        """Where a finished training keeps its averaged weights, a safetensors file."""
        return weights_file(self.root, experiment.key)

    def repair(self) -> int:
        """Move every line that cannot be used, and a torn last one, to ``records.damaged.jsonl``; how many there were.

        Their experiments count as missing. A kill at any moment loses no record.
        """

        def unusable(line: bytes) -> bool:
            try:
                _record(*unseal(line))
            except ValueError:
                return True
            return False

        return self._set_aside(unusable)

    def set_aside(self, keys: Iterable[str]) -> None:
        """Move the records with these ``keys`` to ``records.damaged.jsonl``: they count as missing again."""
        if unwanted := {key.encode() for key in keys}:
            self._set_aside(lambda line: line[_KEY] in unwanted)

    def _set_aside(self, unwanted: Callable[[bytes], bool]) -> int:
        with self._writing():
            lines = [line.removesuffix(b"\n") + b"\n" for line in _lines(self._file)]
            out = [line for line in lines if unwanted(line)]
            if out:
                _append(self.root / ASIDE, b"".join(out))
                with whole(self._file) as file:
                    file.writelines(line for line in lines if not unwanted(line))
        return len(out)

    def _all(self, parse: Callable[[str, bytes], Any]) -> list[Any]:
        self._refresh()
        return [found for key in sorted(self._bodies) if (found := self._parsed(key, parse)) is not None]

    def _parsed(self, key: str, parse: Callable[[str, bytes], Any]) -> Any:
        """What ``parse`` makes of the line of ``key``; None where there is none. One that it refuses is ignored."""
        self._refresh()
        while (body := self._bodies.get(key)) is not None:
            try:
                return parse(key, body)
            except ValueError as error:
                self._ignore(seal(key, body), _reason(error))
                self._seen = None
                self._refresh()  # a further line of the same key counts now
        return None

    def _refresh(self) -> None:
        """Read the file again when it has changed. A torn last line is left, for somebody may be writing it."""
        with self._failing_as("read"):
            if (seen := look_of(self._file)) == self._seen:
                return
            self._bodies, self._tail = {}, b""
            for line in _lines(self._file):
                self._tail = b"" if line.endswith(b"\n") else line
                if line.removesuffix(b"\n") in self._ignored:
                    continue
                try:
                    self._bodies.setdefault(*unseal(line))
                except ValueError as error:
                    if not self._tail:
                        self._ignore(line, str(error))
            self._seen = seen

    def _ignore(self, line: bytes, reason: str) -> None:
        stripped = line.removesuffix(b"\n")
        self._ignored.add(stripped)
        number = next((n for n, x in enumerate(_lines(self._file), 1) if x.removesuffix(b"\n") == stripped), 0)
        warnings.warn(
            f"line {number} of {self._file} is ignored: {reason}; its experiment will be trained again, "
            f"and `tinynet store repair {shlex.quote(str(self.root))}` moves the line aside",
            stacklevel=5,
        )

    def _end_last_line(self) -> None:
        """End a last record that lacks its newline, and cut off an unfinished one. The lock is held."""
        if not self._tail:
            return
        with suppress(ValueError):
            unseal(self._tail)
            _append(self._file, b"\n")
            return
        cut = len(self._tail)
        warnings.warn(f"{self._file} ended in {cut} bytes of an unfinished line: they are cut", stacklevel=3)
        os.truncate(self._file, self._file.stat().st_size - cut)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """The lock, made anew for each use, as one cannot follow a process into its forks."""
        with self._failing_as("written"):
            self.root.mkdir(parents=True, exist_ok=True)
            with locked(self._file.with_suffix(".lock")):
                yield

    @contextmanager
    def _failing_as(self, what: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StoreError(f"store {self.root} cannot be {what}: {error.strerror or error}") from error


def seal(key: str, body: bytes) -> bytes:
    """The line of ``body``, a JSON object on one line, under ``key``, 64 hexadecimal digits."""
    covered = b'"key":"' + key.encode() + b'",' + body[1:]
    return _START + _digest(covered) + b'",' + covered + b"\n"


def unseal(line: bytes) -> tuple[str, bytes]:
    """Key and body of a line; raises ``ValueError`` when it was cut off or edited."""
    line = line.removesuffix(b"\n")
    if not line.startswith(_START) or line[_SUM.stop : _KEY.start] != _MIDDLE:
        raise ValueError("it is not a line of a store")
    if _digest(line[_SUM.stop + 2 :]) != line[_SUM]:
        raise ValueError("its checksum does not match its content")
    return line[_KEY].decode(), b"{" + line[_KEY.stop + 2 :]


def _digest(covered: bytes) -> bytes:
    return hashlib.sha256(covered).hexdigest().encode()


def _append(path: Path, data: bytes) -> None:
    """Append ``data`` and wait until it is on disk; when that fails, leave the file as it was."""
    with path.open("ab", buffering=0) as file:
        before = os.fstat(file.fileno()).st_size
        try:
            rest = memoryview(data)
            while rest:
                rest = rest[file.write(rest) :]
            os.fsync(file.fileno())
        except BaseException:
            file.truncate(before)
            raise
    if not before:
        sync_folder(path.parent)


def _lines(path: Path) -> Iterator[bytes]:
    with suppress(FileNotFoundError, NotADirectoryError), path.open("rb") as file:
        yield from file


def _record(key: str, body: bytes) -> Record:
    record = Record.from_json(body)
    if record.key != key:
        raise ValueError(f"its key {key[:12]} is not the key of its experiment, {record.key[:12]}")
    return record


def _row(key: str, body: bytes) -> dict[str, Any]:
    """One row of a table, without the time that validation takes; what does not look like a record is validated."""
    content, fields = from_json(body), Record.model_fields
    with suppress(KeyError, TypeError, AttributeError):
        experiment = content["experiment"]
        wanted = KINDS[experiment["kind"]].model_fields
        known = wanted.keys() >= experiment.keys() >= {name for name, x in wanted.items() if not x.exclude_if}
        if known and content.keys() == fields.keys() and content["format"] == fields["format"].default:
            return columns(key, content)
    return columns(key, _record(key, body).model_dump())


def _reason(error: ValueError) -> str:
    if not isinstance(error, ValidationError):
        return str(error)
    first = error.errors()[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
