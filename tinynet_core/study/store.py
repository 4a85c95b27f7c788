"""Store records as JSON lines in ``records.jsonl``. A record is one line, appended and never changed.

A line is ``{"sha256":"<64 hex>","key":"<64 hex>",<record>}`` and a newline. The checksum covers every byte from
``"key"`` to the newline, so a line is checked without being parsed. If two lines have the same key, the first counts.
Writers hold a lock, readers need none. Readers ignore a damaged line with a warning. A power failure during a write can
leave a torn last line in the file. Readers ignore it, and its task counts as missing. The next ``put`` cuts it off, or
adds the newline if only that is missing. ``repair`` moves damaged and torn lines to ``records.damaged.jsonl``.
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
    """Raised when a store cannot be read or written. The message names the store and the reason."""


class Store:
    """Records in the folder ``root``, created on the first ``put``. Several processes may read and write it at once.

    A damaged record is never used: readers ignore its line with a warning, and its task counts as missing. Every method
    raises ``StoreError`` if the folder cannot be read or written.
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
        return Store, (self.root,)  # a worker process reads the file itself

    def get(self, experiment: Task) -> Record | None:
        """Return the record of ``experiment``, with the names and the scale of ``experiment``, or None."""
        found = self._parsed(experiment.key, _record)
        return found and found.model_copy(update={"experiment": experiment})

    def put(self, record: Record) -> None:
        """Add ``record`` and wait until it is on disk. If the store already has a record of this task, keep that one.

        If the write fails half-way, for example on a full disk, the store stays as it was.
        """
        with self._writing():
            if self._parsed(record.key, _row) is None:
                body = record.to_json().encode()
                self._end_last_line()
                _append(self._file, seal(record.key, body))
                self._bodies[record.key], self._tail, self._seen = body, b"", look_of(self._file)

    def check_writable(self) -> None:
        """Raise ``StoreError`` if the store cannot be written: now rather than after hours of training."""
        with self._writing(), self._file.open("ab"):
            sync_folder(self.root)

    def missing(self, experiments: Iterable[Task]) -> list[Task]:
        """Return those of ``experiments`` that have no record, in order and without repetitions."""
        return [e for e in dict.fromkeys(experiments) if self._parsed(e.key, _row) is None]

    def records(self) -> list[Record]:
        """Return all records, sorted by key."""
        return self._all(_record)

    def frame(self, experiments: Sequence[Task] | None = None) -> pd.DataFrame:
        """Return one row per record of ``experiments``, in order with their labels. Default: all records, by key."""
        if experiments is None:
            return table(self._all(_row))
        pairs = [(e, row) for e in experiments if (row := self._parsed(e.key, _row)) is not None]
        return table([{**row, **labels(e.model_dump())} for e, row in pairs])

    def checkpoint(self, experiment: Task) -> Path:
        """Return the path of the file in which a run of ``experiment`` keeps its state between epochs."""
        return checkpoint_file(self.root, experiment.key)

    def weights(self, experiment: Task) -> Path:
        """Return the path of the safetensors file with the averaged (EMA) weights of a finished training."""
        return weights_file(self.root, experiment.key)

    def repair(self) -> int:
        """Move damaged and torn lines to ``records.damaged.jsonl`` and return their number. A kill loses no record."""

        def unusable(line: bytes) -> bool:
            try:
                _record(*unseal(line))
            except ValueError:
                return True
            return False

        return self._set_aside(unusable)

    def set_aside(self, keys: Iterable[str]) -> None:
        """Move the records with these ``keys`` to ``records.damaged.jsonl``. Their tasks count as missing again."""
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
        """Return the line of ``key`` as parsed by ``parse``, or None. Ignore lines that ``parse`` refuses."""
        self._refresh()
        while (body := self._bodies.get(key)) is not None:
            try:
                return parse(key, body)
            except ValueError as error:
                self._ignore(seal(key, body), _reason(error))
                self._seen = None
                self._refresh()  # the next line with the same key counts now
        return None

    def _refresh(self) -> None:
        """Read the file again if it has changed. Leave a torn last line alone: another process may be writing it."""
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
        """Add a missing newline to a complete last line, or cut off an unfinished one. The caller holds the lock."""
        if not self._tail:
            return
        with suppress(ValueError):
            unseal(self._tail)
            _append(self._file, b"\n")
            return
        cut = len(self._tail)
        warnings.warn(f"{self._file} ended in {cut} bytes of an unfinished line: they are cut off", stacklevel=3)
        os.truncate(self._file, self._file.stat().st_size - cut)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Hold the lock. Each use makes a new lock object, because a lock must not be shared with forked processes."""
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
    """Return the line for ``body``, a JSON object on one line, and ``key``, 64 hexadecimal digits."""
    covered = b'"key":"' + key.encode() + b'",' + body[1:]
    return _START + _digest(covered) + b'",' + covered + b"\n"


def unseal(line: bytes) -> tuple[str, bytes]:
    """Return key and body of a line. Raise ``ValueError`` if the line was cut off or edited."""
    line = line.removesuffix(b"\n")
    if not line.startswith(_START) or line[_SUM.stop : _KEY.start] != _MIDDLE:
        raise ValueError("it is not a line of a store")
    if _digest(line[_SUM.stop + 2 :]) != line[_SUM]:
        raise ValueError("its checksum does not match its content")
    return line[_KEY].decode(), b"{" + line[_KEY.stop + 2 :]


def _digest(covered: bytes) -> bytes:
    return hashlib.sha256(covered).hexdigest().encode()


def _append(path: Path, data: bytes) -> None:
    """Append ``data`` and wait until it is on disk. If that fails, restore the file to its former length."""
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
    """Return one row of a table. Validation is slow, so only content that does not look like a record is validated."""
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
