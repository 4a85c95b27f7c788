"""One pass over many image files, in parallel: which can be read, what they hold, and their pixels where wanted."""

import errno
import hashlib
import io
import os
import signal
import stat
import threading
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from tqdm import tqdm

from tinynet_core.data.jpegs import UnreadableImage, decode
from tinynet_core.data.selection import ClassFiles
from tinynet_core.files import UserError

_CHUNK = 32
Map = Callable[..., Iterator]
"""``map``, or that of a pool of processes."""


@dataclass(frozen=True)
class Index:
    """The readable images of one split, class by class; four arrays of one length.

    ``names`` are bytes, ``labels`` int64, ``aspects`` float32 (width over height), ``file_sha256`` and ``pixel_sha256``
    uint8 (n, 32): of the file and of the pixels that it gives.
    """

    names: np.ndarray
    labels: np.ndarray
    aspects: np.ndarray
    file_sha256: np.ndarray
    pixel_sha256: np.ndarray

    def update(self, digest) -> None:
        """Feed all of it but the pixels' hashes, which depend on the version of Pillow, into ``digest``."""
        for part in (self.names, self.labels, self.aspects, self.file_sha256):
            digest.update(f"{part.dtype.str}{part.shape}".encode())
            digest.update(np.ascontiguousarray(part).data.cast("B"))


class Broken(NamedTuple):
    """A file that was left out, as its name below the split's folder, and why."""

    name: str
    reason: str


@contextmanager
def mapping(workers: int) -> Iterator[Map]:
    """A ``map`` over ``workers`` spawned processes, which end with the block and with this process.

    Leaving the block early drops what was not started. Raises ``UserError`` when a process dies.
    """
    if workers <= 1:
        with warnings.catch_warnings():
            _silence_pillow()
            yield map
        return
    pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_start_worker)

    def pool_map(*arguments) -> Iterator:
        with _interrupts_held_back():
            return pool.map(*arguments)

    try:
        yield pool_map
    except BrokenProcessPool as error:
        raise UserError(
            "a process that decodes images ended abruptly: it was killed, memory ran out, or the script that was "
            'started lacks `if __name__ == "__main__":`; run it again, with fewer workers if memory is short'
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def _interrupts_held_back() -> Iterator[None]:
    """Block SIGINT; processes that start meanwhile never see one: the driver decides when to stop."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start_worker() -> None:
    threading.Thread(target=_end_with_driver, daemon=True).start()
    _silence_pillow()


def _end_with_driver() -> None:
    driver = parent_process()
    if driver is not None:
        driver.join()
        os._exit(1)


def _silence_pillow() -> None:
    """Drop remarks on corrupt EXIF data and the like, which some good images cause."""
    warnings.filterwarnings("ignore", module=r"PIL\.")


def read_split(
    folder: Path, classes: Sequence[ClassFiles], side: int, pixels: Path | None, mapped: Map, bar: tqdm
) -> tuple[Index, list[Broken]]:
    """Read and decode the wanted files of ``classes`` below ``folder``.

    A broken file is replaced by the next of its class's reserve that can be read, or left out where there is none.
    ``pixels`` names the .npy file, uint8 (n, side, side, 3), to write; None keeps no pixels. What comes out depends on
    the files alone, not on the number of processes. Raises ``UserError`` when the folder changes meanwhile, or
    ``pixels`` cannot be written.
    """
    names = [name for c in classes for name in c.wanted]
    labels = np.repeat(np.arange(len(classes), dtype=np.int64), [len(c.wanted) for c in classes])
    reserves = [deque(c.reserve) for c in classes]
    good: dict[int, _Read] = {}
    broken: list[Broken] = []
    if pixels is not None:
        pixels.touch()
    todo = list(range(len(names)))
    while todo:
        jobs = _jobs(folder, names, todo, side, pixels)
        todo = []
        for job, reads in zip(jobs, mapped(_read_chunk, jobs), strict=True):
            for row, name, read in zip(job.rows, job.names, reads, strict=True):
                if isinstance(read, _Read):
                    good[row] = read
                    continue
                broken.append(Broken(name, read))
                if reserve := reserves[labels[row]]:
                    names[row] = reserve.popleft()
                    todo.append(row)
            bar.update(len(reads))
        bar.total = (bar.total or 0) + len(todo)
    rows = sorted(good)
    if pixels is not None:
        _finish_pixels(pixels, rows, side)
    index = Index(
        names=np.array([os.fsencode(names[row]) for row in rows], np.bytes_),
        labels=labels[rows],
        aspects=np.array([good[row].aspect for row in rows], np.float32),
        file_sha256=_rows_of_bytes([good[row].file_sha256 for row in rows]),
        pixel_sha256=_rows_of_bytes([good[row].pixel_sha256 for row in rows]),
    )
    return index, sorted(broken)


def _rows_of_bytes(hashes: list[bytes]) -> np.ndarray:
    return np.frombuffer(b"".join(hashes), np.uint8).reshape(len(hashes), 32)


class _Job(NamedTuple):
    folder: Path
    names: list[str]
    rows: list[int]
    side: int
    pixels: Path | None


class _Read(NamedTuple):
    aspect: float
    file_sha256: bytes
    pixel_sha256: bytes


def _jobs(folder: Path, names: list[str], rows: list[int], side: int, pixels: Path | None) -> list[_Job]:
    chunks = (rows[i : i + _CHUNK] for i in range(0, len(rows), _CHUNK))
    return [_Job(folder, [names[row] for row in chunk], chunk, side, pixels) for chunk in chunks]


def _read_chunk(job: _Job) -> list[_Read | str]:
    """What each file gave, or why it cannot be read."""
    if job.pixels is None:
        return [_read_image(job.folder / name, job.side) for name in job.names]
    with _writing(job.pixels) as file:
        return [
            _read_image(job.folder / name, job.side, file, row) for name, row in zip(job.names, job.rows, strict=True)
        ]


def _read_image(path: Path, side: int, pixels: BinaryIO | None = None, row: int = 0) -> _Read | str:
    try:
        data = _read_file(path)
        image, aspect = decode(data, side)
    except UnreadableImage as error:
        return str(error)
    if pixels is not None:
        pixels.seek(len(_npy_header(0, side)) + row * image.nbytes)
        pixels.write(image.data)
    return _Read(aspect, hashlib.sha256(data).digest(), hashlib.sha256(image.data).digest())


def _read_file(path: Path) -> bytes:
    """Bytes of a regular file; a file that never was one is unreadable, one that went away stops everything."""
    try:
        if stat.S_ISREG(os.stat(path).st_mode):
            return path.read_bytes()
        raise UnreadableImage("not a regular file")
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EPERM, errno.EIO):
            raise UnreadableImage(str(error.strerror)) from error
        if error.errno in (errno.ENOENT, errno.ELOOP) and path.is_symlink():
            raise UnreadableImage("a link that leads nowhere") from error
        raise UserError(f"{path} was there when its folder was listed and cannot be read: {error.strerror}") from error


def _npy_header(n: int, side: int) -> bytes:
    """Header of a .npy file of ``n`` images; NumPy pads it so that its length does not depend on ``n``."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"shape": (n, side, side, 3), "fortran_order": False, "descr": np.dtype(np.uint8).str}
    )
    return header.getvalue()


def _finish_pixels(path: Path, rows: list[int], side: int) -> None:
    """Close the gaps that broken images left, write the header."""
    start, size = len(_npy_header(0, side)), side * side * 3
    with _writing(path) as file:
        for to, row in enumerate(rows):
            if to != row:
                file.seek(start + row * size)
                image = file.read(size)
                file.seek(start + to * size)
                file.write(image)
        file.truncate(start + len(rows) * size)
        file.seek(0)
        file.write(_npy_header(len(rows), side))


@contextmanager
def _writing(path: Path) -> Iterator[BinaryIO]:
    try:
        with open(path, "r+b") as file:
            yield file
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror}") from error
