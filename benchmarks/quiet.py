"""Measuring while other programs leave the machine alone.

A loop on all threads waits at every step for the slowest of them, so that one busy neighbour slows it many times over,
and processes of one thread hardly. A comparison of the two on a busy machine says nothing.
"""

import os
import time
from collections.abc import Callable
from typing import NamedTuple, TypeVar

import psutil

from tinynet_core.files import UserError

LIMIT = 0.1
"""Share of the cores that other programs may take during a measurement."""
PATIENCE_S = 3600.0
"""How long a quiet moment is waited for."""


T = TypeVar("T")


class Clocks(NamedTuple):
    """Seconds of wall time, of all cores not idle, and of this process with its children, the ended ones included."""

    wall: float
    busy: float
    own: float


def clocks() -> Clocks:
    cpu, own = psutil.cpu_times(), sum(os.times()[:4])
    waiting = sum(getattr(cpu, name, 0.0) for name in ("iowait", "guest", "guest_nice"))
    for child in psutil.Process().children(recursive=True):
        try:
            own += sum(child.cpu_times()[:4])
        except psutil.NoSuchProcess:  # it has ended meanwhile
            continue
    return Clocks(time.monotonic(), sum(cpu) - cpu.idle - waiting, own)


def others(start: Clocks, end: Clocks) -> float:
    """Share of the cores that other programs took between two readings, which count in hundredths of a second."""
    theirs = (end.busy - start.busy) - (end.own - start.own)
    return min(1.0, max(0.0, theirs / ((end.wall - start.wall) * psutil.cpu_count())))


class Quietly:
    """Runs work until other programs took at most ``limit`` of the cores meanwhile. A limit of 1 takes the first run.

    ``worst`` is the largest share that they took in a run that counted, None before the first.
    """

    def __init__(self, limit: float = LIMIT) -> None:
        self.limit = limit
        self.worst: float | None = None

    def __call__(self, work: Callable[[], T]) -> T:
        """What ``work`` returns; raises ``UserError`` when there was no quiet run within an hour."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            start = clocks()
            result = work()
            end = clocks()
            share = others(start, end)
            if share <= self.limit:
                self.worst = max(share, self.worst or 0.0)
                return result
            if time.monotonic() > deadline:
                raise UserError(
                    f"other programs took {share:.0%} of the cores, allowed are {self.limit:.0%}: "
                    "stop them, or measure with --others 1"
                )
            time.sleep(end.wall - start.wall)  # leaves them half of the time
