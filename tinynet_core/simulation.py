"""What a cluster makes of a study: slow nodes, failures and checkpoints, in a discrete-event simulation.

A node has one pace and fails as a whole, at exponentially distributed times. A run on a failed node falls back to its
last checkpoint. All times are of the wall clock; every second of every device from the start to the end of the last run
is booked under one cause.
"""

import heapq
import itertools
import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

MAX_RISK = 10.0
"""Longest stretch without a checkpoint over the mean time between failures: about exp(10) attempts to get through."""


@dataclass(frozen=True)
class Cluster:
    """``nodes`` of ``slots`` each; a run has one slot. Raises ``ValueError`` for a value outside its range."""

    nodes: int = 1
    slots: int = 1
    gang: int = 1
    """Devices of a slot, which work on one run together."""
    straggling: float = 0.0
    """Standard deviation of the logarithm of a node's time for a piece of work; the median node takes 1."""
    mtbf_h: float = math.inf
    """Mean hours between two failures of a node."""
    repair_s: float = 0.0
    """Seconds until a failed node, or one in its place, is there again."""
    checkpoint_s: float = 0.0
    """Seconds to write a checkpoint, while the device waits."""
    restart_s: float = 0.0
    """Seconds to start an interrupted run again, on any node."""

    def __post_init__(self) -> None:
        for name in ("nodes", "slots", "gang"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"Cluster.{name} must be a whole number above 0, got {value!r}")
        for name in ("straggling", "mtbf_h", "repair_s", "checkpoint_s", "restart_s"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0:
                raise ValueError(f"Cluster.{name} must be a number not below 0, got {value!r}")
            if value == math.inf and name != "mtbf_h":
                raise ValueError(f"Cluster.{name} must be finite, got {value!r}")
        if self.mtbf_h == 0:
            raise ValueError("Cluster.mtbf_h must be above 0, got 0: the nodes would never work")

    @property
    def devices(self) -> int:
        return self.nodes * self.slots * self.gang

    @property
    def mtbf_s(self) -> float:
        return 3600 * self.mtbf_h

    def paces(self, rng: np.random.Generator) -> np.ndarray:
        """Seconds each node takes for a second of work, log-normal with median 1."""
        return np.exp(self.straggling * rng.standard_normal(self.nodes))


@dataclass
class Usage:
    """Seconds of all devices together, by what they went to; the causes add up to ``devices * makespan_s``."""

    devices: int
    makespan_s: float = 0.0
    training_s: float = 0.0
    """Work that was kept, at the pace of its node."""
    checkpoint_s: float = 0.0
    lost_s: float = 0.0
    """Work, and unfinished checkpoints, that a failure undid."""
    restart_s: float = 0.0
    down_s: float = 0.0
    """Devices of a failed node, until it is there again."""
    idle_s: float = 0.0
    failures: int = 0
    """Failures of nodes, those without a run included."""

    @property
    def capacity_s(self) -> float:
        """What is paid for where devices are rented for as long as the last run takes."""
        return self.devices * self.makespan_s

    @property
    def used_s(self) -> float:
        """What is paid for where devices are rented only while a run is on them."""
        return self.training_s + self.checkpoint_s + self.lost_s + self.restart_s

    def book(self, spent: dict[str, float], devices: int) -> None:
        """Add the seconds that each of ``devices`` has ``spent`` on a cause."""
        for cause, seconds in spent.items():
            setattr(self, cause, getattr(self, cause) + devices * seconds)


@dataclass(frozen=True, eq=False)
class _Attempt:
    """A run from one start to its end or to a failure: restart, then pieces of work with a checkpoint between them."""

    run: int
    start: float
    work: float
    interval: float
    pace: float
    checkpoint: float
    restart: float

    @property
    def checkpoints(self) -> int:
        """None after the last piece: the result itself is written then."""
        return max(0, math.ceil(self.work / self.interval - 1e-9) - 1)

    @property
    def seconds(self) -> float:
        return self.restart + self.pace * self.work + self.checkpoints * self.checkpoint

    def finished(self) -> dict[str, float]:
        """How the time of an attempt that reaches its end is spent."""
        return {
            "restart_s": self.restart,
            "training_s": self.pace * self.work,
            "checkpoint_s": self.checkpoints * self.checkpoint,
        }

    def failed(self, elapsed: float) -> tuple[float, dict[str, float]]:
        """Work left after a failure ``elapsed`` seconds in, and how these seconds are spent."""
        restart = min(elapsed, self.restart)
        piece = self.pace * self.interval + self.checkpoint
        kept = min(self.checkpoints, int((elapsed - restart) // piece)) if self.checkpoints else 0
        training = kept * self.pace * self.interval if kept else 0.0
        checkpoint = kept * self.checkpoint
        spent = {
            "restart_s": restart,
            "training_s": training,
            "checkpoint_s": checkpoint,
            "lost_s": elapsed - restart - training - checkpoint,
        }
        return self.work - (kept * self.interval if kept else 0.0), spent


def simulate_sweep(work_s: Sequence[float], interval_s: ArrayLike, cluster: Cluster, rng: np.random.Generator) -> Usage:
    """Independent runs of ``work_s`` seconds, each on one slot of ``cluster``, the longest first.

    ``interval_s`` is the work between two checkpoints, one number or one per run, infinity for none. A free slot takes
    the run with most work left; the run of a failed node waits for the next free slot of any node.

    Raises ``ValueError`` for work or intervals that are not above zero, and where a run would never get through.
    """
    work, interval, paces = _checked(work_s, interval_s, cluster, cluster.paces(rng), cluster.mtbf_s)
    return _Sweep(work, interval, paces, cluster, rng).run()


class _Sweep:
    """The state of a sweep between two events; events are (time, order, what happens, to which node or slot)."""

    def __init__(self, work, interval, paces, cluster: Cluster, rng: np.random.Generator) -> None:
        self.cluster, self.rng, self.interval, self.paces = cluster, rng, interval, paces
        self.usage = Usage(cluster.devices)
        self.now = 0.0
        self.open = len(work)
        self.queue = [(-seconds, run, 0.0) for run, seconds in enumerate(work)]  # work left, run, cost of its restart
        heapq.heapify(self.queue)
        self.running: dict[int, _Attempt] = {}
        self.free = dict.fromkeys(range(cluster.nodes * cluster.slots), 0.0)  # slot: since when
        self.down: dict[int, float] = {}  # node: since when
        self.events: list = []
        self.order = itertools.count()

    def run(self) -> Usage:
        for node in range(self.cluster.nodes):
            self._await_failure(node)
        self._assign()
        while self.open:
            self.now, _, happens, where = heapq.heappop(self.events)
            happens(where)
            self._assign()
        for since in self.free.values():
            self._book({"idle_s": self.now - since})
        for since in self.down.values():
            self._book({"down_s": self.now - since}, self.cluster.slots)
        self.usage.makespan_s = self.now
        return self.usage

    def _at(self, time: float, happens: Callable, where) -> None:
        heapq.heappush(self.events, (time, next(self.order), happens, where))

    def _await_failure(self, node: int) -> None:
        if math.isfinite(self.cluster.mtbf_s):
            self._at(self.now + self.rng.exponential(self.cluster.mtbf_s), self._fail, node)

    def _assign(self) -> None:
        """Runs to free slots, the first nodes first."""
        while self.queue and self.free:
            left, run, restart = heapq.heappop(self.queue)
            slot = min(self.free)
            self._book({"idle_s": self.now - self.free.pop(slot)})
            pace = self.paces[slot // self.cluster.slots]
            attempt = _Attempt(run, self.now, -left, self.interval[run], pace, self.cluster.checkpoint_s, restart)
            self.running[slot] = attempt
            self._at(self.now + attempt.seconds, self._finish, (slot, attempt))

    def _finish(self, where: tuple[int, _Attempt]) -> None:
        slot, attempt = where
        if self.running.get(slot) is not attempt:
            return  # a failure came first
        del self.running[slot]
        self._book(attempt.finished())
        self.free[slot] = self.now
        self.open -= 1

    def _fail(self, node: int) -> None:
        self.usage.failures += 1
        self.down[node] = self.now
        for slot in self._slots(node):
            attempt = self.running.pop(slot, None)
            if attempt is None:
                self._book({"idle_s": self.now - self.free.pop(slot)})
                continue
            left, spent = attempt.failed(self.now - attempt.start)
            self._book(spent)
            heapq.heappush(self.queue, (-left, attempt.run, self.cluster.restart_s))
        self._at(self.now + self.cluster.repair_s, self._repair, node)

    def _repair(self, node: int) -> None:
        self._book({"down_s": self.now - self.down.pop(node)}, self.cluster.slots)
        self.free.update(dict.fromkeys(self._slots(node), self.now))
        self._await_failure(node)

    def _book(self, spent: dict[str, float], slots: int = 1) -> None:
        self.usage.book(spent, slots * self.cluster.gang)

    def _slots(self, node: int) -> range:
        return range(node * self.cluster.slots, (node + 1) * self.cluster.slots)


def simulate_data_parallel(work_s: float, interval_s: float, cluster: Cluster, rng: np.random.Generator) -> Usage:
    """One training of ``work_s`` seconds on all devices of ``cluster`` at once, at the pace of its slowest node.

    Any failure stops it as a whole, until the node is there again; nothing fails while it stands still.
    """
    pace = cluster.paces(rng).max()
    (work,), (interval,), _ = _checked([work_s], interval_s, cluster, np.array([pace]), cluster.mtbf_s / cluster.nodes)
    usage = Usage(cluster.devices)
    restart = 0.0
    while True:
        attempt = _Attempt(0, usage.makespan_s, work, interval, pace, cluster.checkpoint_s, restart)
        failure = rng.exponential(cluster.mtbf_s / cluster.nodes)
        if failure >= attempt.seconds:
            usage.book(attempt.finished(), cluster.devices)
            usage.makespan_s += attempt.seconds
            return usage
        work, spent = attempt.failed(failure)
        usage.book({**spent, "down_s": cluster.repair_s}, cluster.devices)
        usage.makespan_s += failure + cluster.repair_s
        usage.failures += 1
        restart = cluster.restart_s


def _checked(work_s, interval_s, cluster: Cluster, paces: np.ndarray, mtbf_s: float):
    work = np.array(work_s, dtype=float)
    interval = np.broadcast_to(np.asarray(interval_s, dtype=float), work.shape)
    if not len(work):
        raise ValueError("work_s must hold at least one run")
    if len(bad := work[~(np.isfinite(work) & (work > 0))]):
        raise ValueError(f"work_s must be finite and above 0, got {bad[0]:g}")
    if len(bad := interval[~(interval > 0)]):
        raise ValueError(f"interval_s must be above 0, got {bad[0]:g}")
    stretch = paces.max() * np.minimum(work, interval).max() + cluster.checkpoint_s + cluster.restart_s
    if stretch > MAX_RISK * mtbf_s:
        raise ValueError(
            f"a run needs {stretch:,.0f} s without a failure to get on, and there is one every {mtbf_s:,.0f} s: "
            "shorten interval_s"
        )
    return work.tolist(), interval.tolist(), paces.tolist()


def expected_makespan(work_s: float, interval_s: float, cluster: Cluster) -> float:
    """Exact mean time in seconds of ``simulate_data_parallel`` on nodes of pace 1, and of one run on a single slot.

    A stretch of s seconds takes (exp(lambda s) - 1) (1/lambda + repair) where a failure costs the repair alone (a
    renewal argument); the restart, in which the run may fail again, is part of the stretch from the second attempt on.
    """
    (work,), (interval,), _ = _checked([work_s], interval_s, cluster, np.ones(1), cluster.mtbf_s / cluster.nodes)
    whole = _Attempt(0, 0.0, work, interval, 1.0, cluster.checkpoint_s, 0.0)
    if math.isinf(cluster.mtbf_s):
        return whole.seconds
    failure_rate = cluster.nodes / cluster.mtbf_s

    def stretch(s: float) -> float:
        lost = 1 / failure_rate + cluster.repair_s
        again = math.expm1(failure_rate * (cluster.restart_s + s)) * lost
        return -math.expm1(-failure_rate * s) * (lost + again)

    count = whole.checkpoints
    if not count:
        return stretch(work)
    return count * stretch(interval + cluster.checkpoint_s) + stretch(work - count * interval)


def young_interval(cluster: Cluster) -> float:
    """Seconds of work between checkpoints that waste least, to first order: sqrt(2 * checkpoint * MTBF of all nodes).

    J. W. Young, Communications of the ACM 17(9), 1974; J. T. Daly, Future Generation Computer Systems 22(3), 2006. For
    independent runs, each on one node, give the cluster with ``nodes=1``.
    """
    return math.sqrt(2 * cluster.checkpoint_s * cluster.mtbf_s / cluster.nodes)


def monte_carlo(
    cases: Mapping[Hashable, Callable[[np.random.Generator], Usage]], repetitions: int = 200, seed: int = 0
) -> pd.DataFrame:
    """One row per case and repetition, in hours: case, makespan_h, capacity_h, used_h, every cause of ``Usage``.

    Repetition i has the same random numbers in every case.
    """
    if repetitions < 1:
        raise ValueError(f"repetitions must be at least 1, got {repetitions}")
    causes = [f.name for f in fields(Usage) if f.name.endswith("_s")]
    rows = []
    for case, simulate in cases.items():
        for child in np.random.SeedSequence(seed).spawn(repetitions):
            usage = simulate(np.random.default_rng(child))
            hours = {f"{name[:-2]}_h": getattr(usage, name) / 3600 for name in (*causes, "capacity_s", "used_s")}
            rows.append({"case": case, "devices": usage.devices, **hours, "failures": usage.failures})
    return pd.DataFrame(rows)


def summary(runs: pd.DataFrame) -> pd.DataFrame:
    """Per case of ``monte_carlo``: devices, mean makespan with its 5th and 95th percentile, and what went where.

    ``paid_h`` counts all devices until the last run ends, ``used_h`` those with a run; ``training``, ``checkpoints``,
    ``lost``, ``restarts``, ``away`` (nodes that failed) and ``idle`` are fractions of ``paid_h`` and add up to one.
    """
    groups = runs.groupby("case", sort=False)
    mean, makespans = groups.mean(), groups.makespan_h
    causes = {
        "training": mean.training_h,
        "checkpoints": mean.checkpoint_h,
        "lost": mean.lost_h,
        "restarts": mean.restart_h,
        "away": mean.down_h,
        "idle": mean.idle_h,
    }
    table = {"devices": mean.devices.astype(int), "makespan_h": mean.makespan_h}
    table |= {"low_h": makespans.quantile(0.05), "high_h": makespans.quantile(0.95)}
    table |= {"paid_h": mean.capacity_h, "used_h": mean.used_h}
    return pd.DataFrame(table | {cause: hours / mean.capacity_h for cause, hours in causes.items()})
