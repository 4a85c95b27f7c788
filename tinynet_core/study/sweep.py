"""Training many tasks: what runs next, what is tried again, what is recorded, and how a sweep stops."""

import sys
import time
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from math import inf
from signal import SIGINT, SIGTERM, Signals
from typing import TYPE_CHECKING, Any, NamedTuple

from tqdm import tqdm

from tinynet_core.data import prepare
from tinynet_core.files import UserError, look_of
from tinynet_core.machine import Resources, cores, launched
from tinynet_core.study.record import Record, execute, failed
from tinynet_core.study.store import Store, StoreError
from tinynet_core.study.task import Task
from tinynet_core.study.worker import ExecutorError, NoRecord, WorkerDied, attempt, noting, tidy

if TYPE_CHECKING:
    from tinynet_core.study.local import LocalExecutor
    from tinynet_core.study.ray import RayExecutor

_TICK_S = 0.5
"""How often signals are heeded."""
_AGAIN_S = 2.0
"""How often a task is tried again that another sweep has claimed."""


class SweepError(UserError):
    """Experiments that stopped for a reason that is not their own, and have no record."""


class SweepStopped(UserError):
    """A sweep that ended on SIGINT or SIGTERM, with the state of its runs in their checkpoints.

    ``exit_status`` is what a shell expects of a process that the signal ended.
    """

    def __init__(self, received: Signals, done: int, left: int, more: Sequence[str] = ()) -> None:
        counts = f"{done} models done, {left} left"
        message = f"stopped by {received.name}: {counts}; the same command goes on from the checkpoints"
        super().__init__("\n".join([message, *more]))
        self.exit_status = 128 + received


def run(experiment: Task, store: Store, device: str = "auto", compiled: bool = False, progress: bool = False) -> Record:
    """The record of one task: from the store, or computed in this process and put there.

    Where another process computes it at the moment, that one's record is waited for. Of several processes that a
    launcher started for one training, all call this; the first of them writes.

    Parameters
    ----------
    experiment
        What to train or compute.
    store
        Where its record belongs.
    device
        ``"cpu"``, ``"cuda"``, ``"cuda:1"``; ``"auto"`` is a GPU where there is one.
    compiled
        Whether to send the network through ``torch.compile``.
    progress
        Whether to draw a bar.

    Returns
    -------
    Record
        What came out; a training that diverged or ran out of memory has one too, with the status ``"failed"``.

    Raises
    ------
    StoreError
        The store cannot be written; this is found before any work.
    SweepStopped
        SIGINT or SIGTERM; the state is in the checkpoint.
    """
    from tinynet_core.training.loop import Interrupted
    from tinynet_core.training.team import team

    if (record := store.get(experiment)) is not None:
        return record
    leads, total = team().leads, experiment.steps
    if leads:
        store.check_writable()
    shown = progress and leads
    with (
        noting(SIGINT, SIGTERM) as received,
        tqdm(total=total, unit="step", desc=experiment.label, disable=not shown) as bar,
    ):

        def should_stop() -> bool:
            bar.update(bar.n < total)  # batches of the evaluation are asked for as well
            return bool(received)

        if not leads:
            try:
                return execute(experiment, device, store.root, should_stop, compiled)
            except Interrupted:
                raise SweepStopped(received[0] if received else SIGTERM, 0, 1) from None
        while (
            (result := attempt(execute, experiment, store, compiled, device, should_stop)) is NoRecord.BUSY
            and team().size == 1
            and not received
        ):
            time.sleep(_TICK_S)
    if result is NoRecord.BUSY and not received:
        raise UserError(f"{experiment.key[:12]} is being trained by another process, which several cannot wait for")
    if isinstance(result, NoRecord):
        raise SweepStopped(received[0] if received else SIGTERM, 0, 1)  # else another of the processes had it
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
    """Records of many tasks; those that the store does not have are computed, several at a time.

    A run that diverges or runs out of memory is recorded as failed, and so is one whose process dies more than
    ``resources.retries`` times without getting further; the sweep goes on. However a sweep ends, the next one goes on
    where it was, and loses at most the epochs that were under way when it was killed. Several sweeps may share a store:
    each task is computed by one of them, and all return all records.

    Parameters
    ----------
    experiments
        What to train or compute.
    store
        Where the records belong.
    executor
        ``"local"``, processes of this machine, or ``"ray"``, tasks on a Ray cluster. The records do not depend on it.
    workers
        Runs at a time; goes before ``resources.workers``.
    device
        As for ``run``, for every worker; ``"auto"`` spreads them over the GPUs.
    progress
        Whether to draw a bar.
    resources
        What one run holds of a machine.
    address
        Of the Ray cluster; a new one on this machine where left out.

    Returns
    -------
    list of Record
        In the order of ``experiments``.

    Raises
    ------
    UserError
        The arguments do not go together, or a launcher such as ``accelerate launch`` started this process.
    SweepError
        Something else stopped a run, such as a full disk: told after the others have ended, and at once where the store
        is what cannot be written.
    SweepStopped
        SIGINT or SIGTERM, as soon as the runs under way have written their state; a second signal does not wait.
    """
    if launched():
        raise UserError("a launcher started several processes, which a sweep is not for: it starts its own workers")
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
        _Sweep(todo, store, resources).train(_executor(executor, resources, len(todo), device, address), progress)
    tidy(store, wanted)
    return [record for e in wanted if (record := store.get(e)) is not None]


def _executor(
    name: str, resources: Resources, most: int, device: str, address: str | None
) -> "LocalExecutor | RayExecutor":
    """Starts functions elsewhere and says how they ended; what runs next or is tried again is the sweep's."""
    if name == "ray":
        from tinynet_core.study.ray import RayExecutor

        return RayExecutor(resources, device, address)
    from tinynet_core.study.local import LocalExecutor

    return LocalExecutor.on_this_machine(resources, most, device)


class _Try(NamedTuple):
    """One run under way. ``checkpoint`` is what the file of its checkpoint looked like before."""

    task: Task
    checkpoint: tuple[int, ...] | None


class _Sweep:
    """The driver's loop over tasks that are waiting, claimed by other sweeps, under way, broken or recorded."""

    def __init__(self, todo: Sequence[Task], store: Store, resources: Resources) -> None:
        self.store, self.resources = store, resources
        self.work = {task: task.work for task in todo}
        self.waiting = deque(sorted(todo, key=lambda task: -self.work[task]))  # no long run is alone at the end
        self.claimed: list[Task] = []
        self.again = 0.0
        self.running: dict[Any, _Try] = {}
        self.deaths: Counter[Task] = Counter()
        self.broken: dict[Task, Exception] = {}
        self.recorded: dict[Task, bool] = {}
        self.signals: list[Signals] = []
        self.fatal: Exception | None = None

    def train(self, executor: "LocalExecutor | RayExecutor", progress: bool) -> None:
        """Bring every task to its end, or raise why that cannot be."""
        often = 0.5 if sys.stderr.isatty() else 5.0  # seldom where it is written to a file
        total = sum(self.work.values())
        bar = tqdm(total=total, unit="MAC", unit_scale=True, mininterval=often, disable=not progress)
        try:
            with noting(SIGINT, SIGTERM) as self.signals, bar:
                while not self._stopping() and (self.running or self.waiting or self.claimed):
                    self._start(executor)
                    self._collect(executor)
                    self._draw(bar, executor)
                executor.stop()
                while self.running:
                    self._collect(executor)
        finally:
            executor.close()
        self._report()

    def _stopping(self) -> bool:
        return bool(self.signals) or self.fatal is not None

    def _start(self, executor: "LocalExecutor | RayExecutor") -> None:
        if self.claimed and time.monotonic() >= self.again:
            self.waiting.extend(self.claimed)
            self.claimed, self.again = [], time.monotonic() + _AGAIN_S
        while self.waiting and (executor.capacity is None or len(self.running) < executor.capacity):
            task = self.waiting.popleft()
            before = look_of(self.store.checkpoint(task))
            handle = executor.start(attempt, execute, task, self.store, self.resources.compiled)
            self.running[handle] = _Try(task, before)

    def _collect(self, executor: "LocalExecutor | RayExecutor") -> None:
        """Wait for runs to end, for a tick at most."""
        if not self.running:
            time.sleep(_TICK_S)
        for handle in executor.ended(_TICK_S):
            run = self.running.pop(handle)
            try:
                result = executor.result(handle)
            except WorkerDied as death:
                self._after_death(run, death)
            except ExecutorError as error:
                self.waiting.append(run.task)
                self.fatal = self.fatal or error
            except Exception as error:  # a defect or a full disk, not a result
                self.broken[run.task] = error
            else:
                if isinstance(result, Record):
                    self._keep(result)
                elif result is NoRecord.BUSY:
                    self.claimed.append(run.task)
                else:
                    self.waiting.appendleft(run.task)

    def _after_death(self, run: _Try, death: WorkerDied) -> None:
        """Try again from the checkpoint; count the deaths since the run last got further."""
        if look_of(self.store.checkpoint(run.task)) != run.checkpoint:
            self.deaths[run.task] = 0
        elif not (death.asked or self._stopping()):
            self.deaths[run.task] += 1
        if self.deaths[run.task] > self.resources.retries:
            self._keep(failed(run.task, str(death)))
        else:
            self.waiting.appendleft(run.task)

    def _keep(self, record: Record) -> None:
        task = record.experiment
        try:
            self.store.put(record)
            kept = self.store.get(task)  # another sweep's where that one was first
            self.recorded[task] = kept is not None and kept.done
            tidy(self.store, [task])
        except StoreError as error:
            self.waiting.append(task)
            self.fatal = self.fatal or error

    def _draw(self, bar: tqdm, executor: "LocalExecutor | RayExecutor") -> None:
        done = sum(self.work[task] for task in (*self.recorded, *self.broken))
        for handle, run in self.running.items():
            done += round(self.work[run.task] * min(1.0, executor.steps(handle) / (run.task.steps or inf)))
        failures = len(self.recorded) - sum(self.recorded.values())
        bar.set_description(f"trained {len(self.recorded)}/{len(self.work)} models, {failures} failed", refresh=False)
        bar.update(done - bar.n)

    def _report(self) -> None:
        """Raise what kept tasks without a record."""
        left = len(self.work) - len(self.recorded)
        lines = [f"{task.key[:12]} {task.label}: {_in_a_line(error)}" for task, error in self.broken.items()]
        if lines:
            lines.insert(0, f"{len(lines)} experiments stopped without a result:")
        first = next(iter(self.broken.values()), None)
        if self.signals:
            raise SweepStopped(self.signals[0], len(self.recorded), left, lines) from first
        if self.fatal is not None:
            go_on = f"{left} models left; nothing is lost, the same command goes on from the checkpoints"
            raise SweepError("\n".join([f"{self.fatal}: {go_on}", *lines])) from self.fatal
        if lines:
            raise SweepError("\n".join(lines)) from first


def _in_a_line(error: Exception) -> str:
    text = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
    return " ".join(text.split())
