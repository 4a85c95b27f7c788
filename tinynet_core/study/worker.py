"""One try at a task, where it is computed: claim it, look whether somebody else had it, perform it.

A claim is a lock on a file beside the checkpoint. The operating system frees it when its process ends in whatever way,
so no clock decides who is alive. The file is only removed once the record is in the store; who then still comes to hold
the lock, on this file or on a new one of its name, finds the record.
"""

import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from enum import Enum
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from tinynet_core.files import StoppedWaiting, UserError
from tinynet_core.study.task import Task, checkpoint_file

if TYPE_CHECKING:
    from tinynet_core.study.record import Record
    from tinynet_core.study.store import Store

Perform = Callable[[Task, str, Path, Callable[[], bool], bool], "Record"]


class ExecutorError(UserError):
    """No worker can be started; says why."""


class WorkerDied(Exception):
    """The process of a run ended without a word. ``asked``: because of somebody else, not because of the run."""

    def __init__(self, reason: str, asked: bool = False) -> None:
        super().__init__(reason)
        self.asked = asked


class NoRecord(Enum):
    """Why a try ended without a record, and without a fault."""

    BUSY = "another process trains it"
    STOPPED = "stopped on request, its checkpoint is written"


def attempt(
    perform: Perform, task: Task, store: "Store", compiled: bool, device: str, should_stop: Callable[[], bool]
) -> "Record | NoRecord":
    """The record of ``task`` from ``store``, or from ``perform``, which goes on from the checkpoint.

    Where the store is not visible, on a node without the driver's file system, the checkpoint is in the data cache.
    """
    from tinynet_core.machine import cache_root
    from tinynet_core.training.loop import Interrupted

    visible = store.root.is_dir()
    root = store.root if visible else cache_root()
    checkpoint = checkpoint_file(root, task.key)
    with claim(checkpoint) as mine:
        if not mine:
            return NoRecord.BUSY
        if visible and (record := store.get(task)) is not None:
            return record
        if should_stop():
            return NoRecord.STOPPED
        try:
            record = perform(task, device, root, should_stop, compiled)
        except (Interrupted, StoppedWaiting):
            return NoRecord.STOPPED
        if not visible:
            _clear(checkpoint)
        return record


@contextmanager
def claim(checkpoint: Path) -> Iterator[bool]:
    """Whether the claim on the run behind ``checkpoint`` was free; it is then held until the end of the block."""
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as held:
        free = True
        try:
            held.enter_context(FileLock(_lock_of(checkpoint)).acquire(timeout=0))
        except Timeout:
            free = False
        yield free


def _lock_of(checkpoint: Path) -> Path:
    return checkpoint.with_name(checkpoint.name + ".lock")


def tidy(store: "Store", tasks: Iterable[Task]) -> None:
    """Remove what the runs of recorded tasks left in a store that can be written, except where one goes on."""
    folder = store.root / "checkpoints"
    if not os.access(folder, os.W_OK):
        return
    left = {path.name.partition(".")[0] for path in folder.iterdir() if path.suffix in (".pt", ".tmp", ".lock")}
    mine = [task for task in tasks if task.key in left]
    for task in set(mine).difference(store.missing(mine)):
        checkpoint = store.checkpoint(task)
        with claim(checkpoint) as free:
            if free:
                _clear(checkpoint)


def _clear(checkpoint: Path) -> None:
    from tinynet_core.training.checkpoint import remove

    remove(checkpoint)
    _lock_of(checkpoint).unlink(missing_ok=True)


@contextmanager
def noting(*numbers: signal.Signals) -> Iterator[list[signal.Signals]]:
    """While entered, the first of these signals is noted in the list; a second one ends the block at once.

    Signals that the process ignores stay ignored. Outside the main thread, which alone may set handlers, it does
    nothing.
    """
    received: list[signal.Signals] = []

    def note(number: int, _frame: FrameType | None) -> None:
        if received:
            raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(128 + number)
        received.append(signal.Signals(number))

    main = threading.current_thread() is threading.main_thread()
    heeded = [x for x in numbers if main and signal.getsignal(x) is not signal.SIG_IGN]
    before = [(x, signal.signal(x, note)) for x in heeded]
    try:
        yield received
    finally:
        for number, handler in before:
            signal.signal(number, handler or signal.SIG_DFL)
