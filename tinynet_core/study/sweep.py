"""Training many tasks: what runs next, what is tried again, what is recorded, and how a sweep stops."""

import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from dataclasses import dataclass
from math import inf
from signal import SIGINT, SIGTERM, Signals
from typing import TYPE_CHECKING

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

EXECUTORS = ("local", "ray")
_TICK_S = 0.5
"""How often signals are heeded."""
_LOOK_S = 2.0
"""How often the store is looked into for records that another sweep is making."""


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
    from tinynet_core.training.team import team

    if (record := store.get(experiment)) is not None:
        return record
    leads = team().leads
    if leads:
        store.check_writable()
    with noting(SIGINT, SIGTERM) as received, _counting(experiment, store, progress and leads) as count:
        result = _run_here(experiment, store, device, compiled, lambda: count() or bool(received))
    if result is NoRecord.STOPPED:
        raise SweepStopped(received[0] if received else SIGTERM, 0, 1)  # else another of the processes had it
    if not isinstance(result, Record):
        raise UserError(f"{experiment.key[:12]} is being trained by another process, which several cannot wait for")
    if leads:
        store.put(result)
        tidy(store, [experiment])
    return result


def _run_here(
    task: Task, store: Store, device: str, compiled: bool, should_stop: Callable[[], bool]
) -> Record | NoRecord:
    from tinynet_core.training.loop import Interrupted
    from tinynet_core.training.team import team

    if not team().leads:
        try:
            return execute(task, device, store.root, should_stop, compiled)
        except Interrupted:
            return NoRecord.STOPPED
    while True:
        result = attempt(execute, task, store, compiled, device, should_stop)
        if result is not NoRecord.BUSY or team().size > 1 or should_stop():
            return result
        time.sleep(_TICK_S)


@contextmanager
def _counting(task: Task, store: Store, progress: bool) -> Iterator[Callable[[], bool]]:
    """A bar over the steps of one run, from where its checkpoint is, and what counts one; never a reason to stop."""
    from tinynet_core.training import checkpoint
    from tinynet_core.training.loop import TRAINING_VERSION

    state = checkpoint.load(store.checkpoint(task), TRAINING_VERSION) if progress else None
    done = state["steps"] if state else 0
    with tqdm(total=task.steps, initial=done, unit="step", desc=task.label, disable=not progress) as bar:

        def count() -> bool:
            bar.update(bar.n < task.steps)  # batches of the evaluation are asked for as well
            return False

        yield count


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
    if executor not in EXECUTORS:
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
        _Sweep(todo, store, resources, progress).train(_executor(executor, resources, len(todo), device, address))
    tidy(store, wanted)
    records = [store.get(e) for e in wanted]
    return [r for r in records if r is not None]


def _executor(
    name: str, resources: Resources, most: int, device: str, address: str | None
) -> "LocalExecutor | RayExecutor":
    """Starts functions elsewhere and says how they ended; what runs next or is tried again is the sweep's."""
    if name == "ray":
        from tinynet_core.study.ray import RayExecutor

        return RayExecutor(resources, device, address)
    from tinynet_core.study.local import LocalExecutor

    return LocalExecutor.on_this_machine(resources, most, device)


@dataclass
class _Try:
    """One run under way. ``checkpoint`` is what the file of its checkpoint looked like before."""

    task: Task
    checkpoint: tuple[int, ...] | None


class _Sweep:
    """The driver's loop over tasks that are waiting, claimed by other sweeps, under way, broken or recorded."""

    def __init__(self, todo: Sequence[Task], store: Store, resources: Resources, progress: bool) -> None:
        self.store, self.resources, self.progress = store, resources, progress
        self.work = {task: task.work for task in todo}
        self.waiting = deque(sorted(todo, key=lambda task: -self.work[task]))  # no long run is alone at the end
        self.claimed: list[Task] = []
        self.look_again = 0.0
        self.running: dict[Future, _Try] = {}
        self.deaths: Counter[Task] = Counter()
        self.broken: dict[Task, Exception] = {}
        self.recorded: dict[Task, bool] = {}
        self.signals: list[Signals] = []
        self.fatal: Exception | None = None

    def train(self, executor: "LocalExecutor | RayExecutor") -> None:
        """Bring every task to its end, or raise why that cannot be."""
        try:
            with noting(SIGINT, SIGTERM) as self.signals, self._bar() as bar:
                while not self._stopping() and (self.running or self.waiting or self.claimed):
                    self._submit(executor)
                    self._collect()
                    self._draw(bar, executor)
                executor.stop()
                while self.running:
                    self._collect()
        finally:
            executor.close()
        self._report()

    def _stopping(self) -> bool:
        return bool(self.signals) or self.fatal is not None

    def _submit(self, executor: "LocalExecutor | RayExecutor") -> None:
        if self.claimed and time.monotonic() >= self.look_again:
            missing = self.store.missing(self.claimed)
            for task in set(self.claimed).difference(missing):
                self._note(task)
            self.waiting.extend(missing)
            self.claimed, self.look_again = [], time.monotonic() + _LOOK_S
        while self.waiting and (executor.capacity is None or len(self.running) < executor.capacity):
            task = self.waiting.popleft()
            before = look_of(self.store.checkpoint(task))
            future = executor.submit(attempt, execute, task, self.store, self.resources.compiled)
            self.running[future] = _Try(task, before)

    def _collect(self) -> None:
        """Wait for runs to end, for a tick at most."""
        if not self.running:
            time.sleep(_TICK_S)
        for future in wait(self.running, timeout=_TICK_S, return_when=FIRST_COMPLETED).done:
            run = self.running.pop(future)
            try:
                result = future.result()
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
        try:
            self.store.put(record)
            self._note(record.experiment)
        except StoreError as error:
            self.waiting.append(record.experiment)
            self.fatal = self.fatal or error

    def _note(self, task: Task) -> None:
        record = self.store.get(task)  # another sweep's where that one was first
        self.recorded[task] = record is not None and record.done
        tidy(self.store, [task])

    def _bar(self) -> tqdm:
        """A bar over the multiply-adds of all tasks, drawn seldom where it is written to a file."""
        often = 0.5 if sys.stderr.isatty() else 5.0
        total = sum(self.work.values())
        return tqdm(total=total, unit="MAC", unit_scale=True, mininterval=often, disable=not self.progress)

    def _draw(self, bar: tqdm, executor: "LocalExecutor | RayExecutor") -> None:
        done = sum(self.work[task] for task in (*self.recorded, *self.broken))
        for future, run in self.running.items():
            done += round(self.work[run.task] * min(1.0, executor.steps(future) / (run.task.steps or inf)))
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
