"""An append-only file of checked lines that several processes read and write at once.

A line is ``{"sha256":"<64 hex>","key":"<64 hex>",<body>}`` and a newline. The checksum covers every byte between its
own comma and the newline, so that a line is checked without being parsed. Of two lines with one key the first counts.

Writers hold a lock; readers need none, for they ignore a last line without its newline. A damaged line is moved to a
file beside this one, which is then replaced as a whole.
"""

import hashlib
import os
import shutil
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO, NamedTuple

from filelock import FileLock

_HEAD = b'{"sha256":"'
_MIDDLE = b'","key":"'
_SUM = slice(len(_HEAD), len(_HEAD) + 64)
_COVERED = _SUM.stop + 2
_KEY = slice(_SUM.stop + len(_MIDDLE), _SUM.stop + len(_MIDDLE) + 64)
_CONTENT = _KEY.stop + 2


class Damage(NamedTuple):
    """A line that cannot be used: its number from 1, its offset in bytes, its bytes and what is wrong with it."""

    number: int
    offset: int
    line: bytes
    reason: str


def seal(key: str, body: bytes) -> bytes:
    """The line of ``body``, a JSON object on one line, under ``key``, 64 hexadecimal digits."""
    covered = b'"key":"' + key.encode() + b'",' + body[1:]
    return _HEAD + _digest(covered) + b'",' + covered + b"\n"


def unseal(line: bytes) -> tuple[str, bytes]:
    """Key and body of a line with its newline; raises ``ValueError`` when it was cut off or edited."""
    return _checked_key(line), body_of(line)


def _checked_key(line: bytes) -> str:
    if not line.startswith(_HEAD) or line[_SUM.stop : _KEY.start] != _MIDDLE:
        raise ValueError("it is not a line of a store")
    if _digest(line[_COVERED:-1]) != line[_SUM]:
        raise ValueError("its checksum does not match its content")
    return line[_KEY].decode()


def body_of(line: bytes) -> bytes:
    """The body of a line, unchecked."""
    return b"{" + line[_CONTENT:-1]


def _holds(line: bytes, key: str) -> bool:
    try:
        return _checked_key(line) == key
    except ValueError:
        return False


def _digest(covered: bytes) -> bytes:
    return hashlib.sha256(covered).hexdigest().encode()


class Journal:
    """The file at ``path``. Keeps the place of every key in memory, and no content."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.aside = path.with_suffix(f".damaged{path.suffix}")
        self._refused: dict[bytes, str] = {}
        self._forget()

    def read(self, keys: Iterable[str] | None = None) -> Iterator[tuple[str, bytes, bytes]]:
        """Key, body and line of every key, or of those of ``keys`` that are there, in the file's order."""
        if keys is None and not self._end:
            yield from self._read_first()
            return
        file = self._open()
        if file is None:
            return
        with file:
            if keys is None:
                places = list(self._places.items())
            else:
                places = [(k, self._places[k]) for k in dict.fromkeys(keys) if k in self._places]
                places.sort(key=lambda place: place[1])
            lost = []
            for key, (offset, length) in places:
                line = os.pread(file.fileno(), length, offset)
                if _holds(line, key):
                    yield key, body_of(line), line
                else:
                    lost.append(key)
        if lost:  # the file was edited in place
            self.set_aside({})
            yield from self.read(lost)

    def _read_first(self) -> Iterator[tuple[str, bytes, bytes]]:
        """Every key while its place is taken in, for which one pass is enough."""
        damaged: list[Damage] = []
        if file := self._unread():
            with file:
                for key, line in self._take_new(file, damaged):
                    yield key, body_of(line), line
        if damaged:
            self.set_aside({})

    def append(self, key: str, body: bytes) -> bool:
        """Add a line, on disk when this returns, unless ``key`` has one already.

        Raises ``OSError`` when it cannot be written; the file is then as it was.
        """
        line = seal(key, body)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self._held():
            with self.path.open("ab+") as file:
                damaged = self._read_on(file)
            if damaged:
                self._mend()
            self._cut_tail()
            if key in self._places:
                return False
            _append_whole(self.path, line)
            self._take_in(line, key)
        return True

    def check_writable(self) -> None:
        """Raise ``OSError`` when a line could not be added."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self._held(), self.path.open("ab"):
            pass

    def set_aside(self, unusable: Mapping[bytes, str]) -> None:
        """Move damaged lines, and ``unusable`` ones with their reasons, to ``aside``, with a warning for each.

        A file that cannot be written keeps them; they are ignored, and the warning says so.
        """
        self._refused |= unusable
        try:
            with self._held():
                self._mend()
        except OSError as error:
            self._warn(self._read_anew(), _ignored(error))

    def _mend(self) -> None:
        """What ``set_aside`` does once the lock is held."""
        damaged = self._read_anew()
        try:
            self._move_out(damaged)
        except OSError as error:
            self._warn(damaged, _ignored(error))
        else:
            self._warn(damaged, f"set aside in {self.aside.name}")

    def _warn(self, damaged: list[Damage], done: str) -> None:
        for damage in damaged:
            warnings.warn(
                f"{self.path} line {damage.number} is {done}: {damage.reason}; its experiment will be trained again",
                stacklevel=4,
            )

    def _held(self) -> AbstractContextManager:
        """The lock, made anew for each use, as one cannot follow a process into its forks."""
        return FileLock(self.path.with_suffix(".lock")).acquire(poll_interval=0.01)

    def _open(self) -> BinaryIO | None:
        """The file, every place in it known and damaged lines set aside; None where there is no file."""
        file = self._unread()
        if file is None:
            return None
        try:
            if not self._read_on(file):
                return file
        except BaseException:
            file.close()
            raise
        file.close()
        self.set_aside({})
        return self._open()

    def _unread(self) -> BinaryIO | None:
        try:
            return self.path.open("rb")
        except (FileNotFoundError, NotADirectoryError):
            self._forget()
            return None

    def _forget(self) -> None:
        self._places: dict[str, tuple[int, int]] = {}
        self._end = 0
        self._count = 0
        self._last = b""

    def _read_anew(self) -> list[Damage]:
        self._forget()
        with self.path.open("rb") as file:
            return self._read_on(file)

    def _read_on(self, file: BinaryIO) -> list[Damage]:
        """Take in what is new and return the lines to leave out."""
        damaged: list[Damage] = []
        for _ in self._take_new(file, damaged):
            pass
        return damaged

    def _take_new(self, file: BinaryIO, damaged: list[Damage]) -> Iterator[tuple[str, bytes]]:
        """Take in the lines added since the last call, or all when the file was replaced; those of new keys come out.

        Lines to leave out are added to ``damaged``.
        """
        file.seek(self._end - len(self._last))
        if file.read(len(self._last)) != self._last:
            self._forget()
            file.seek(0)
        for line in file:
            if not line.endswith(b"\n"):
                break
            key = None
            try:
                if self._refused and line in self._refused:
                    raise ValueError(self._refused[line])
                key = _checked_key(line)
            except ValueError as error:
                damaged.append(Damage(self._count + 1, self._end, line, str(error)))
            new = key not in self._places
            self._take_in(line, key)
            if new and key is not None:
                yield key, line

    def _take_in(self, line: bytes, key: str | None) -> None:
        if key is not None:
            self._places.setdefault(key, (self._end, len(line)))
        self._end += len(line)
        self._count += 1
        self._last = line

    def _move_out(self, damaged: list[Damage]) -> None:
        """Replace the file by one without the ``damaged`` lines. The lock is held."""
        if not damaged:
            return
        _append_whole(self.aside, b"".join(damage.line for damage in damaged))
        left_out = {damage.number for damage in damaged}
        scratch = self.path.with_suffix(f"{self.path.suffix}.tmp")
        try:
            with self.path.open("rb") as old, scratch.open("wb") as new:
                new.writelines(line for number, line in enumerate(old, 1) if number not in left_out)
                new.flush()
                os.fsync(new.fileno())
            shutil.copymode(self.path, scratch)
            scratch.replace(self.path)
        finally:
            scratch.unlink(missing_ok=True)
        _sync_folder(self.path.parent)
        self._read_anew()

    def _cut_tail(self) -> None:
        """Set aside what a killed writer left behind the last whole line. The lock is held."""
        if self.path.stat().st_size == self._end:
            return
        with self.path.open("r+b") as file:
            file.seek(self._end)
            tail = file.read()
            _append_whole(self.aside, tail + b"\n")
            file.truncate(self._end)
        warnings.warn(
            f"{self.path} ended in an unfinished line of {len(tail)} bytes, as a killed process leaves it: "
            f"set aside in {self.aside.name}",
            stacklevel=4,
        )


def _ignored(error: OSError) -> str:
    return f"ignored, but could not be set aside ({error.strerror or error})"


def _append_whole(path: Path, data: bytes) -> None:
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
        _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Wait until the names in ``folder`` are on disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
