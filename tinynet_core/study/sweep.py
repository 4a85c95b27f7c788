"""Train many tasks: decide what runs next, try again after failures, keep the records, and stop on a signal.

The process that trains a task holds a file lock beside the task's checkpoint. The operating system frees the lock when
the process ends for any reason, so no timeout has to guess which processes are alive. The lock file is removed only
after the record is in the store. A process that takes the lock later, on the old or a new file, finds the record.
"""

import os
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from enum import Enum
from math import inf
from pathlib import Path
from signal import SIGINT, SIGTERM, Signals
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout
from tqdm import tqdm

from tinynet_core.data import prepare
from tinynet_core.files import StoppedWaiting, UserError, look_of
from tinynet_core.machine import Resources, cache_root, cores, launched
from tinynet_core.study.local import ExecutorError, LocalExecutor, WorkerDied, noting
from tinynet_core.study.record import Record, execute, failed
from tinynet_core.study.store import Store, StoreError
from tinynet_core.study.task import Task, checkpoint_file

if TYPE_CHECKING:
    from tinynet_core.study.ray import RayExecutor

_TICK_S = 0.5
"""Seconds between checks for signals, and before a task that another sweep trains is tried again."""


class SweepError(UserError):
    """Raised when tasks stopped without a record, for a reason outside the tasks such as a full disk."""


class SweepStopped(UserError):
    """Raised when SIGINT or SIGTERM ended a sweep. Its runs have written their state to their checkpoints."""

    def __init__(self, received: Signals, done: int, left: int) -> None:
        counts = f"{done} models done, {left} left"
        super().__init__(f"stopped by {received.name}: {counts}; the same command goes on from the checkpoints")
        self.exit_status = 128 + received  # the status by which shells know the signal


class NoRecord(Enum):
    """Reasons why a try ended without a record although nothing is wrong."""

    BUSY = "another process trains it"
    STOPPED = "stopped on request, its checkpoint is written"


def run(experiment: Task, store: Store, device: str = "auto", compiled: bool = False, progress: bool = False) -> Record:
    """Return the record of one task, ``experiment``: from ``store``, or computed in this process and put there.

    If another process is computing the task, wait for its record. If a launcher started several processes for one
    training, all of them call this function, and the first one writes. A training that diverged or ran out of memory
    also has a record, with the status ``"failed"``.

    ``device`` is ``"cpu"``, ``"cuda"``, ``"cuda:1"``, or ``"auto"``: a GPU if there is one. ``compiled`` sends the
    network through ``torch.compile``. ``progress`` draws a bar. Raises ``StoreError`` before any work if the store
    cannot be written. Raises ``SweepStopped`` on SIGINT and SIGTERM, after the state is in the checkpoint.
    """
    from tinynet_core.training.loop import Interrupted
    from tinynet_core.training.team import team

    if (record := store.get(experiment)) is not None:
        return record
    leads, total = team().leads, experiment.steps
    if leads:
        store.check_writable()
    bar = tqdm(total=total, unit="step", desc=experiment.label, disable=not (progress and leads))
    result: Record | NoRecord = NoRecord.STOPPED
    with noting(SIGINT, SIGTERM) as received, bar:

        def should_stop() -> bool:
            bar.update(bar.n < total)  # evaluation batches call this too: never pass the total
            return bool(received)

        if not leads:
            with suppress(Interrupted):
                result = execute(experiment, device, store.root, should_stop, compiled)
        else:
            while (result := attempt(execute, experiment, store, compiled, device, should_stop)) is NoRecord.BUSY:
                if team().size > 1:
                    other = "is being trained by another process: processes of a launcher cannot wait for it"
                    raise UserError(f"{experiment.key[:12]} {other}")
                if received:
                    break
                time.sleep(_TICK_S)
    if isinstance(result, NoRecord):
        raise SweepStopped(received[0] if received else SIGTERM, 0, 1)  # if none, another process got the signal
    if leads:
        store.put(result)
        tidy(store, [experiment])
    return result


def sweep(
    experiments: Iterable[Task],
    store: Store,
    executor: str = "local",
    workers: int | None = None,
    device: str = "auto",
    progress: bool = True,
    resources: Resources = Resources(),  # noqa: B008
    address: str | None = None,
) -> list[Record]:
    """Return the records of ``experiments`` in order. Compute missing records, several tasks at a time.

    A run is recorded as failed if it diverges, runs out of memory, or its process dies more than ``resources.retries``
    times without progress. The sweep then goes on. After any kind of end, the next sweep continues from the
    checkpoints. A kill loses at most the epochs under way. Several sweeps may share ``store``: one of them computes
    each task, and all of them return all records.

    ``executor`` is ``"local"`` for processes on this machine, or ``"ray"`` for the Ray cluster at ``address`` or a new
    cluster on this machine. The records do not depend on it. ``resources`` is what one run uses of a machine.
    ``workers`` is the number of runs at a time and overrides ``resources.workers``. ``device`` is as for ``run``, for
    every worker; ``"auto"`` spreads the workers over the GPUs. ``progress`` draws a bar.

    Raises ``UserError`` if the arguments contradict each other or a launcher such as ``accelerate launch`` started this
    process. Raises ``SweepStopped`` on SIGINT and SIGTERM, after all runs have written their state; a second signal
    does not wait. Raises ``SweepError`` if something else stopped a run, such as a full disk: after the other runs have
    ended. If the store itself cannot be written, the sweep stops the other runs at once.
    """
    if launched():
        raise UserError("a launcher started several processes: run a sweep without one, it starts its own workers")
    if executor not in ("local", "ray"):
        raise UserError(f"executor must be 'local' or 'ray', got {executor!r}")
    if address is not None and executor != "ray":
        raise UserError(f"address {address!r} is of a Ray cluster, but executor is {executor!r}")
    if workers is not None:
        resources = Resources(**{**resources.model_dump(), "workers": workers})
    wanted = list(experiments)
    todo = store.missing(wanted)
    if todo:
        store.check_writable()
        for dataset in dict.fromkeys(dataset for e in todo for dataset in e.data):
            prepare(dataset, min(resources.workers or cores(), cores()), progress)
        runner: Any
        if executor == "ray":
            from tinynet_core.study.ray import RayExecutor

            runner = RayExecutor(resources, device, address)
        else:
            gpus = 0
            if device == "auto" and resources.gpus != 0:
                import torch  # here, because the import takes seconds

                gpus = torch.cuda.device_count()
            runner = LocalExecutor(resources.devices(cores(), gpus, device)[: len(todo)], resources.cpus)
        _Sweep(todo, store, resources).train(runner, progress)
    tidy(store, wanted)
    return [record for e in wanted if (record := store.get(e)) is not None]


class _Sweep:
    """The loop in the driver process. It decides which task runs next, and tracks the state of every task."""

    def __init__(self, todo: Sequence[Task], store: Store, resources: Resources) -> None:
        self.store, self.resources = store, resources
        self.work = {task: task.work for task in todo}
        self.waiting = deque(sorted(todo, key=lambda task: -self.work[task]))  # largest first, so no long run is last
        self.running: dict[Any, tuple[Task, Any]] = {}  # task, and its checkpoint file at the start
        self.deaths = Counter[Task]()
        self.broken: dict[Task, Exception] = {}
        self.recorded: dict[Task, bool] = {}
        self.signals: list[Signals] = []
        self.fatal: Exception | None = None

    def train(self, executor: "LocalExecutor | RayExecutor", progress: bool) -> None:
        """Run every task until it has a record, or raise the reason why that is impossible."""
        often = 0.5 if sys.stderr.isatty() else 5.0  # rarely if written to a file
        total = sum(self.work.values())
        bar = tqdm(total=total, unit="MAC", unit_scale=True, mininterval=often, disable=not progress)
        try:
            with noting(SIGINT, SIGTERM) as self.signals, bar:
                while not (self.signals or self.fatal) and (self.running or self.waiting):
                    self._start(executor)
                    self._collect(executor)
                    self._draw(bar, executor)
                executor.stop()
                while self.running:
                    self._collect(executor)
        finally:
            executor.close()
        self._report()

    def _start(self, executor: "LocalExecutor | RayExecutor") -> None:
        while self.waiting and (executor.capacity is None or len(self.running) < executor.capacity):
            task = self.waiting.popleft()
            before = look_of(self.store.checkpoint(task))
            handle = executor.start(attempt, execute, task, self.store, self.resources.compiled)
            self.running[handle] = task, before

    def _collect(self, executor: "LocalExecutor | RayExecutor") -> None:
        """Wait at most one tick for runs to end, and keep their results."""
        busy = False
        for handle in executor.ended(_TICK_S):
            task, before = self.running.pop(handle)
            try:
                result = executor.result(handle)
            except WorkerDied as death:
                self._after_death(task, before, death)
            except ExecutorError as error:
                self.waiting.append(task)
                self.fatal = self.fatal or error
            except Exception as error:  # a defect or a full disk, not a result
                self.broken[task] = error
            else:
                if isinstance(result, Record):
                    self._keep(result)
                else:
                    self.waiting.append(task)
                    busy |= result is NoRecord.BUSY
        if busy:
            time.sleep(_TICK_S)

    def _after_death(self, task: Task, before: Any, death: WorkerDied) -> None:
        """Try again from the checkpoint. Count the deaths since the run last made progress."""
        if look_of(self.store.checkpoint(task)) != before:
            self.deaths[task] = 0
        elif not (death.asked or self.signals or self.fatal):
            self.deaths[task] += 1
        if self.deaths[task] > self.resources.retries:
            self._keep(failed(task, str(death)))
        else:
            self.waiting.appendleft(task)

    def _keep(self, record: Record) -> None:
        task = record.experiment
        try:
            self.store.put(record)
            kept = self.store.get(task)  # of another sweep, if that sweep was first
            self.recorded[task] = kept is not None and kept.done
            tidy(self.store, [task])
        except StoreError as error:
            self.waiting.append(task)
            self.fatal = self.fatal or error

    def _draw(self, bar: tqdm, executor: "LocalExecutor | RayExecutor") -> None:
        done = sum(self.work[task] for task in (*self.recorded, *self.broken))
        for handle, (task, _) in self.running.items():
            done += round(self.work[task] * min(1.0, executor.steps(handle) / (task.steps or inf)))
        failures = len(self.recorded) - sum(self.recorded.values())
        bar.set_description(f"trained {len(self.recorded)}/{len(self.work)} models, {failures} failed", refresh=False)
        bar.update(done - bar.n)

    def _report(self) -> None:
        """Raise the reason why tasks have no record, if there is one."""
        left = len(self.work) - len(self.recorded)
        if self.signals:
            raise SweepStopped(self.signals[0], len(self.recorded), left)
        if self.fatal is not None:
            go_on = f"{left} models left; nothing is lost, the same command goes on from the checkpoints"
            raise SweepError(f"{self.fatal}: {go_on}") from self.fatal
        if self.broken:
            lines = [f"{len(self.broken)} experiments stopped without a result:"]
            for task, error in self.broken.items():
                text = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
                lines.append(f"{task.key[:12]} {task.label}: {' '.join(text.split())}")
            raise SweepError("\n".join(lines)) from next(iter(self.broken.values()))


def attempt(
    perform: Callable[..., Record],
    task: Task,
    store: Store,
    compiled: bool,
    device: str,
    should_stop: Callable[[], bool],
) -> Record | NoRecord:
    """Try ``task`` once, in the process that computes it. Return its record from ``store`` or from ``perform``.

    ``perform`` continues from the checkpoint. On a node without the driver's file system the store is not visible, and
    the checkpoint is in the data cache instead.
    """
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
    """Lock the task of ``checkpoint`` until the end of the block. Yield False if another process holds the lock."""
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(_lock_of(checkpoint))
    with suppress(Timeout):
        lock.acquire(timeout=0)
    try:
        yield lock.is_locked
    finally:
        lock.release()


def _lock_of(checkpoint: Path) -> Path:
    return checkpoint.with_name(checkpoint.name + ".lock")


def tidy(store: Store, tasks: Iterable[Task]) -> None:
    """Remove checkpoint files of recorded tasks, if the folder is writable. Skip tasks that a process still trains."""
    folder = store.root / "checkpoints"
    if not os.access(folder, os.W_OK):
        return
    left = {path.name.partition(".")[0] for path in folder.iterdir() if path.suffix in (".pt", ".tmp", ".lock")}
    mine = [task for task in tasks if task.key in left]
    for task in set(mine).difference(store.missing(mine)):
        with claim(store.checkpoint(task)) as free:
            if free:
                _clear(store.checkpoint(task))


def _clear(checkpoint: Path) -> None:
    from tinynet_core.training.checkpoint import remove

    remove(checkpoint)
    _lock_of(checkpoint).unlink(missing_ok=True)
