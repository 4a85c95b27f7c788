"""Timing several networks beside each other: rounds in random order, intervals, and what else the machine did."""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import binom, bootstrap
from torch import Tensor, nn

from tinynet_book.analysis.intervals import Interval
from tinynet_core.export import Run
from tinynet_core.machine import processor

RESAMPLES = 5000


def torch_run(module: nn.Module, image: Tensor) -> Run:
    """``module`` run eagerly by torch, which this changes to the layout channels_last: the faster one on a CPU."""
    module = module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    image = image.contiguous(memory_format=torch.channels_last)

    @torch.inference_mode()
    def run() -> float:
        start = time.perf_counter()
        module(image)
        return (time.perf_counter() - start) * 1e3

    return run


@contextmanager
def torch_threads(threads: int) -> Iterator[None]:
    """Torch on ``threads`` threads in this process, and on as many as before when the block is left."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def interleaved(
    runs: Sequence[Run], rounds: int, warmup: int, seed: int, should_stop: Callable[[], bool] = lambda: False
) -> np.ndarray | None:
    """Milliseconds by round and run, ``warmup`` rounds left out; None where ``should_stop`` ended it between rounds.

    Every round has each run once, in an order of its own drawn from ``seed``: a machine that slows down slows all of
    them, and none always follows the same other one, whose data it finds in the caches.
    """
    rng = np.random.default_rng(seed)
    times = np.empty((warmup + rounds, len(runs)))
    for row in times:
        if should_stop():
            return None
        for i in rng.permutation(len(runs)):
            row[i] = runs[i]()
    return times[warmup:]


def estimate(statistic: Callable[..., np.ndarray], *samples: Sequence[float]) -> Interval:
    """``statistic`` of ``samples``, which takes them and ``axis``, with its bootstrap percentile interval.

    Several samples are paired: they come from the same rounds, and whole rounds are drawn. Rounds count as independent:
    load that lasts many rounds makes the interval too narrow, of a ratio less so, because it moves both of its medians.
    """
    low, high = bootstrap(
        samples,
        statistic,
        n_resamples=RESAMPLES,
        batch=500,
        vectorized=True,
        paired=len(samples) > 1,
        method="percentile",
        random_state=np.random.default_rng(0),
    ).confidence_interval
    arrays = [np.asarray(sample, dtype=float) for sample in samples]
    return Interval(float(statistic(*arrays, axis=-1)), float(low), float(high), len(arrays[0]))


def median_interval(times: Sequence[float]) -> tuple[float, float]:
    """The order statistics between which the true median lies with at least 95%, for independent ``times``.

    The number of times below the median is binomial. Fewer than six times reach no 95%: their extremes are given.
    """
    ordered = sorted(times)
    below = max(int(binom.ppf(0.025, len(ordered), 0.5)) - 1, 0)
    return ordered[below], ordered[-1 - below]


def other_programs() -> tuple[float, float | None]:
    """Now, and the processor seconds that other programs have used since the machine started, where Linux tells them.

    A virtual machine sees what it is denied by others as well, not whom they are.
    """
    now, stat = time.monotonic(), Path("/proc/stat")
    if not stat.exists():
        return now, None
    user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, stat.read_text(encoding="utf-8").split()[1:9])
    busy = (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")
    return now, busy - time.process_time()


def conditions(threads: int, before: tuple[float, float | None]) -> dict[str, Any]:
    """For a record: on what its times were measured, and how many processors others kept busy since ``before``."""
    (start, was), (end, now) = before, other_programs()
    busy = None if was is None or now is None else round(max(now - was, 0.0) / (end - start), 3)
    return {
        "device": f"cpu ({processor()})",
        "threads": threads,
        "processors": os.cpu_count(),
        "onnxruntime": version("onnxruntime"),
        "others_busy": busy,
    }
