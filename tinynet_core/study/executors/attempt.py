"""One try at an experiment, in a worker: claim it, look whether somebody else had it, train it.

The file of a claim is only removed once the record is in the store; who then still comes to hold the lock, on this file
or on a new one of its name, finds the record.
"""

import os
from collections.abc import Callable, Iterable
from enum import Enum
from functools import lru_cache
from pathlib import Path

from tinynet_core.study.claiming import claim, lock_file
from tinynet_core.study.record import Record
from tinynet_core.study.store import Store
from tinynet_core.study.task import Task

_LEFT = {".pt", ".tmp", ".lock"}
Perform = Callable[[Task, str, Path, Callable[[], bool], bool], Record]


class NoRecord(Enum):
    """Why a try ended without a record, and without a fault."""

    BUSY = "another process trains it"
    STOPPED = "stopped on request, its checkpoint is written"


def attempt(
    perform: Perform, experiment: Task, root: Path, compiled: bool, device: str, should_stop: Callable[[], bool]
) -> Record | NoRecord:
    """The record of ``experiment`` from the store at ``root``, or from ``perform``, which goes on from the checkpoint.

    Where ``root`` is not visible, on a node without the driver's file system, the checkpoint is kept in the data cache.
    """
    from tinynet_core.data.cache import cache_root
    from tinynet_core.training.loop import Interrupted

    visible = root.is_dir()
    store = _store(root if visible else cache_root())
    checkpoint = store.checkpoint(experiment)
    with claim(checkpoint) as mine:
        if not mine:
            return NoRecord.BUSY
        if visible and (record := store.get(experiment)) is not None:
            return record
        if should_stop():
            return NoRecord.STOPPED
        try:
            record = perform(experiment, device, store.root, should_stop, compiled)
        except Interrupted:
            return NoRecord.STOPPED
        if not visible:
            _clear(checkpoint)
        return record


def tidy(store: Store, experiments: Iterable[Task]) -> None:
    """Remove what the runs of recorded experiments left in a store that can be written, except where one goes on."""
    folder = store.root / "checkpoints"
    if not os.access(folder, os.W_OK):
        return
    left = {path.name.partition(".")[0] for path in folder.iterdir() if path.suffix in _LEFT}
    if not left:
        return
    mine = [e for e in experiments if e.key in left]
    for experiment in set(mine).difference(store.missing(mine)):
        checkpoint = store.checkpoint(experiment)
        with claim(checkpoint) as free:
            if free:
                _clear(checkpoint)


def _clear(checkpoint: Path) -> None:
    from tinynet_core.training.checkpoint import remove

    remove(checkpoint)
    lock_file(checkpoint).unlink(missing_ok=True)


@lru_cache(maxsize=4)
def _store(root: Path) -> Store:
    return Store(root)
