"""Which process works on what: a claim is a lock on a file beside the checkpoint.

The operating system frees it when its process ends in whatever way, so no clock decides who is alive.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout


@contextmanager
def claim(checkpoint: Path) -> Iterator[bool]:
    """Whether the claim on the run behind ``checkpoint`` was free; it is then held until the end of the block."""
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(lock_file(checkpoint), timeout=0)
    try:
        lock.acquire()
    except Timeout:
        yield False
    else:
        try:
            yield True
        finally:
            lock.release()


def lock_file(checkpoint: Path) -> Path:
    """The file that is locked."""
    return checkpoint.with_name(checkpoint.name + ".lock")
