"""Training many experiments: what runs next, what is tried again, what is recorded, and how a sweep stops."""

import sys
import time
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from math import inf
from pathlib import Path
from signal import Signals

from tqdm import tqdm

from tinynet_core.data import prepare
from tinynet_core.errors import UserError
from tinynet_core.resources import Resources, cores, launched
from tinynet_core.study.executors import EXECUTORS, Executor, ExecutorError, WorkerDied, open_executor
from tinynet_core.study.executors.attempt import NoRecord, attempt, tidy
from tinynet_core.study.executors.stopping import StopSignals
from tinynet_core.study.record import Record, execute, failed
from tinynet_core.study.store import Store, StoreError
from tinynet_core.study.task import Task

_TICK_S = 0.5
"""How often signals are heeded."""
_LOOK_S = 2.0
"""How often the store is looked into for records that another sweep is making."""
_DRAW_S = {True: 0.5, False: 5.0}
"""How often the bar is drawn on a terminal, and elsewhere."""


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
    if team().leads:
        store.check_writable()
    with StopSignals() as stop, _Steps(experiment, store, progress and team().leads) as bar:
        result = _run_here(experiment, store, device, compiled, lambda: bar.step() or stop.received is not None)
    if isinstance(result, Record):
        if team().leads:
            store.put(result)
            tidy(store, [experiment])
        return result
    if result is NoRecord.STOPPED:
        raise SweepStopped(stop.received or Signals.SIGTERM, 0, 1)  # without one of its own, another process had it
    raise UserError(f"{experiment.key[:12]} is being trained by another process, which several cannot wait for")


def _run_here(experiment: Task, store: Store, *how) -> Record | NoRecord:
    from tinynet_core.training.loop import Interrupted
    from tinynet_core.training.team import team

    device, compiled, should_stop = how
    if not team().leads:
        try:
            return execute(experiment, device, store.root, should_stop, compiled)
        except Interrupted:
            return NoRecord.STOPPED
    while True:
        result = attempt(execute, experiment, store.root, compiled, device, should_stop)
        if result is not NoRecord.BUSY or team().size > 1 or should_stop():
            return result
        time.sleep(_TICK_S)


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
        opened = open_executor(executor, resources, len(todo), device, address)
        _Sweep(todo, store, resources, progress).train(opened)
    tidy(store, wanted)
    records = [store.get(e) for e in wanted]
    return [r for r in records if r is not None]


@dataclass
class _Try:
    """One run under way. ``checkpoint`` is what the file of its checkpoint looked like before."""

    experiment: Task
    checkpoint: tuple[int, ...] | None


class _Sweep:
    """The driver's loop over experiments that are waiting, claimed by other sweeps, under way, broken or recorded."""

    def __init__(self, todo: Sequence[Task], store: Store, resources: Resources, progress: bool) -> None:
        self.store, self.resources, self.progress = store, resources, progress
        self.work = {e: e.work for e in todo}
        self.waiting = deque(sorted(todo, key=lambda e: -self.work[e]))  # no long run is left alone at the end
        self.claimed: list[Task] = []
        self.look_again = 0.0
        self.running: dict[Future, _Try] = {}
        self.deaths: Counter[Task] = Counter()
        self.broken: dict[Task, Exception] = {}
        self.recorded: dict[Task, bool] = {}
        self.stop = StopSignals()
        self.fatal: Exception | None = None

    @property
    def stopping(self) -> bool:
        return self.stop.received is not None or self.fatal is not None

    def train(self, executor: Executor) -> None:
        """Bring every experiment to its end, or raise why that cannot be."""
        try:
            with self.stop, _Bar(self.work, self.progress) as bar:
                while not self.stopping and (self.running or self.waiting or self.claimed):
                    self._submit(executor)
                    self._collect()
                    bar.show(self._parts(executor), self.recorded)
                executor.stop()
                while self.running:
                    self._collect()
        finally:
            executor.close()
        self._report()

    def _submit(self, executor: Executor) -> None:
        if self.claimed and time.monotonic() >= self.look_again:
            missing = self.store.missing(self.claimed)
            for experiment in set(self.claimed).difference(missing):
                self._note(experiment)
            self.waiting.extend(missing)
            self.claimed, self.look_again = [], time.monotonic() + _LOOK_S
        while self.waiting and (executor.capacity is None or len(self.running) < executor.capacity):
            experiment = self.waiting.popleft()
            before = _look_of(self.store.checkpoint(experiment))
            future = executor.submit(attempt, execute, experiment, self.store.root, self.resources.compiled)
            self.running[future] = _Try(experiment, before)

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
                self.waiting.append(run.experiment)
                self.fatal = self.fatal or error
            except Exception as error:  # a defect or a full disk, not a result
                self.broken[run.experiment] = error
            else:
                self._after(run.experiment, result)

    def _after(self, experiment: Task, result: Record | NoRecord) -> None:
        if isinstance(result, Record):
            self._keep(result)
        elif result is NoRecord.BUSY:
            self.claimed.append(experiment)
        else:
            self.waiting.appendleft(experiment)

    def _after_death(self, run: _Try, death: WorkerDied) -> None:
        """Try again from the checkpoint; count the deaths since the run last got further."""
        experiment = run.experiment
        if _look_of(self.store.checkpoint(experiment)) != run.checkpoint:
            self.deaths[experiment] = 0
        elif not (death.asked or self.stopping):
            self.deaths[experiment] += 1
        if self.deaths[experiment] > self.resources.retries:
            self._keep(failed(experiment, str(death)))
        else:
            self.waiting.appendleft(experiment)

    def _keep(self, record: Record) -> None:
        try:
            self.store.put(record)
            self._note(record.experiment)
        except StoreError as error:
            self.waiting.append(record.experiment)
            self.fatal = self.fatal or error

    def _note(self, experiment: Task) -> None:
        record = self.store.get(experiment)  # another sweep's where that one was first
        self.recorded[experiment] = record is not None and record.done
        tidy(self.store, [experiment])

    def _parts(self, executor: Executor) -> dict[Task, float]:
        """What part of each experiment is behind it, as far as that is known."""
        under_way = {
            run.experiment: executor.steps(f) / (run.experiment.steps or inf) for f, run in self.running.items()
        }
        return under_way | dict.fromkeys([*self.recorded, *self.broken], 1.0)

    def _report(self) -> None:
        """Raise what kept experiments without a record."""
        left = len(self.work) - len(self.recorded)
        lines = [f"{e.key[:12]} {e.label}: {_in_a_line(error)}" for e, error in self.broken.items()]
        if lines:
            lines.insert(0, f"{len(lines)} experiments stopped without a result:")
        first = next(iter(self.broken.values()), None)
        if self.stop.received is not None:
            raise SweepStopped(self.stop.received, len(self.recorded), left, lines) from first
        if self.fatal is not None:
            go_on = f"{left} models left; nothing is lost, the same command goes on from the checkpoints"
            raise SweepError("\n".join([f"{self.fatal}: {go_on}", *lines])) from self.fatal
        if lines:
            raise SweepError("\n".join(lines)) from first


class _Bar(tqdm):
    """Multiply-adds done and the time left. It keeps its own time, since the clock of the machine may be set anew."""

    def __init__(self, work: dict[Task, int], progress: bool) -> None:
        self.work, self.done = work, dict.fromkeys(work, 0.0)
        self.start = self.next = time.monotonic()
        super().__init__(total=sum(work.values()), unit="MAC", unit_scale=True, desc="training", disable=not progress)

    @property
    def format_dict(self) -> dict:
        return {**super().format_dict, "elapsed": time.monotonic() - self.start}

    def show(self, parts: dict[Task, float], recorded: dict[Task, bool]) -> None:
        """Draw the bar; ``parts`` is what is done of each experiment, ``recorded`` whether it gave a result."""
        for experiment, part in parts.items():
            self.done[experiment] = max(self.done[experiment], min(part, 1.0))
        now = time.monotonic()
        ended = len(recorded) == len(self.work)
        if self.disable or (now < self.next and not ended):
            return
        self.next = now + _DRAW_S[sys.stderr.isatty()]
        self.n = round(sum(part * self.work[e] for e, part in self.done.items()))
        failures = len(recorded) - sum(recorded.values())
        self.set_description(f"trained {len(recorded)}/{len(self.work)} models, {failures} failed")


class _Steps:
    """A bar over the steps of one run, from where its checkpoint is."""

    def __init__(self, experiment: Task, store: Store, progress: bool) -> None:
        from tinynet_core.training import checkpoint
        from tinynet_core.training.loop import TRAINING_VERSION

        self.left, done = experiment.steps, 0
        if progress and (state := checkpoint.load(store.checkpoint(experiment), TRAINING_VERSION)) is not None:
            done = state["steps"]
        self.bar = tqdm(total=self.left, initial=done, unit="step", desc=experiment.label, disable=not progress)
        self.left -= done

    def __enter__(self) -> "_Steps":
        return self

    def __exit__(self, *_) -> None:
        self.bar.close()

    def step(self) -> bool:
        """Count one; never a reason to stop."""
        self.bar.update(self.left > 0)  # batches of the evaluation are asked for as well
        self.left -= 1
        return False


def _in_a_line(error: Exception) -> str:
    text = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
    return " ".join(text.split())


def _look_of(file: Path) -> tuple[int, ...] | None:
    """What changes about ``file`` when another takes its name."""
    try:
        status = file.stat()
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns
