"""Write files whole or not at all, export tables as CSV or Parquet, and define errors that a user can fix."""

import os
import shutil
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, BinaryIO
from uuid import uuid4

from filelock import FileLock, Timeout

if TYPE_CHECKING:
    import pandas as pd


class UserError(Exception):
    """A mistake that a user can fix. The message names the file or key, the given value and the allowed values."""

    exit_status = 2
    """Exit status of a command that ends with this error."""

    def _render_traceback_(self) -> list[str]:  # IPython shows this instead of the stack
        return [f"{type(self).__name__}: {self}"]


class StoppedWaiting(UserError):
    """SIGINT or SIGTERM arrived while this process waited for a lock."""

    def __init__(self, received: signal.Signals, path: Path) -> None:
        super().__init__(f"stopped by {received.name} while another process held {path}")
        self.exit_status = 128 + received


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock on the file ``path``. SIGINT or SIGTERM ends the wait for the lock with ``StoppedWaiting``."""
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        with _hearing_signals(path):
            lock.acquire(poll_interval=0.01)
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _hearing_signals(path: Path) -> Iterator[None]:
    """Raise ``StoppedWaiting`` after the handler of SIGINT or SIGTERM: a handler may only note the signal."""
    main = threading.current_thread() is threading.main_thread()
    found = {x: signal.getsignal(x) for x in (signal.SIGINT, signal.SIGTERM)} if main else {}
    handlers = {x: handler for x, handler in found.items() if callable(handler)}

    def end(number: int, frame: FrameType | None) -> None:
        handlers[signal.Signals(number)](number, frame)
        raise StoppedWaiting(signal.Signals(number), path)

    for number in handlers:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


@contextmanager
def whole(path: Path) -> Iterator[BinaryIO]:
    """Open a scratch file for writing. When the block ends without an error, sync it to disk and name it ``path``."""
    scratch = path.with_suffix(f".{uuid4().hex}.tmp")
    try:
        with scratch.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            shutil.copymode(path, scratch)
        scratch.replace(path)
        sync_folder(path.parent)
    finally:
        scratch.unlink(missing_ok=True)


def look_of(path: Path) -> tuple[int, ...] | None:
    """Return inode, size and mtime, which show if a file was written or replaced; None if there is no file."""
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns


def sync_folder(folder: Path) -> None:
    """Wait until the names in ``folder`` are on disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def check_target(path: Path, suffixes: tuple[str, ...] = (".csv", ".parquet")) -> None:
    """Raise ``UserError`` for another suffix than ``suffixes``, and if no file can be written to ``path``."""
    if path.suffix not in suffixes:
        raise UserError(f"export file must end in {' or '.join(suffixes)}, got {path}")
    if path.is_dir():
        raise UserError(f"export file {path} is a folder")
    if not path.parent.is_dir():
        raise UserError(f"export file {path}: there is no folder {path.parent}")


def write_table(frame: "pd.DataFrame", path: Path) -> None:
    """Write ``frame`` without its index to ``path``, in the format of its suffix. An existing file is replaced.

    Numbers are not rounded: ``pandas.read_csv(path, float_precision="round_trip")`` returns the same bits.
    """
    with exported(path) as file:
        if path.suffix == ".csv":
            frame.to_csv(file, index=False)
        else:
            frame.to_parquet(file, engine="pyarrow", index=False)


def write_text(text: str, path: Path) -> None:
    """Write ``text`` to ``path`` in UTF-8. Raise ``UserError`` if the path cannot be written."""
    with exported(path) as file:
        file.write(text.encode())


@contextmanager
def exported(path: Path) -> Iterator[BinaryIO]:
    """Open a file as ``whole`` does, for a path that a user named. Raise ``UserError`` if it cannot be written."""
    try:
        with whole(path) as file:
            yield file
    except OSError as error:
        raise UserError(f"export file {path} cannot be written: {error.strerror or error}") from error
