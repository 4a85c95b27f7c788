"""Work on many images: in several processes, and ahead of who asks for it."""

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context, parent_process
from typing import TypeVar

from tinynet_core.files import UserError

J = TypeVar("J")
T = TypeVar("T")


def in_processes(function: Callable[[J], T], jobs: Sequence[J], workers: int) -> Iterator[T]:
    """``function`` of each job, in order, computed in ``workers`` spawned processes, which end with this one.

    Raises ``UserError`` when a process dies.
    """
    if workers <= 1 or len(jobs) <= 1:
        yield from map(function, jobs)
        return
    pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=end_with_driver)
    try:
        yield from ahead(pool, function, jobs, 2 * workers)
    except BrokenProcessPool as error:
        raise UserError(
            "a process that reads or draws images ended abruptly: it was killed, memory ran out, or the script "
            'that was started lacks `if __name__ == "__main__":`; run it again, with fewer workers if memory is short'
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def ahead(pool: Executor, function: Callable[[J], T], jobs: Iterable[J], most: int) -> Iterator[T]:
    """``function`` of each job, in order, with at most so many results that nobody has asked for yet."""
    waiting: deque[Future[T]] = deque()
    for job in jobs:
        waiting.append(pool.submit(function, job))
        if len(waiting) > most:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def end_with_driver() -> None:
    """Let this process end, whatever it does, as soon as the one that started it has ended."""
    driver = parent_process()
    assert driver is not None

    def end() -> None:
        driver.join()
        os._exit(1)

    threading.Thread(target=end, daemon=True).start()
