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
    """``module`` run eagerly by torch, which this changes to the layout channels_last, on as many threads as torch has.

    That layout is the faster one for these networks on a CPU.
    """
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
    """``statistic`` of ``samples`` with its bootstrap percentile interval from ``RESAMPLES`` resamples.

    ``statistic`` takes the samples and ``axis``. Several samples are paired: they come from the same rounds, and whole
    rounds are drawn. Raises ``ValueError`` for samples of different or of fewer than two runs.

    Rounds count as independent. Load that lasts many rounds makes the interval too narrow, of a ratio less so, because
    it moves both of its medians.
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


def median_ratio(top: np.ndarray, bottom: np.ndarray, axis: int = -1) -> np.ndarray:
    """The median of ``top`` over the median of ``bottom``."""
    return np.median(top, axis=axis) / np.median(bottom, axis=axis)


def mean_ratio(top: np.ndarray, bottom: np.ndarray, axis: int = -1) -> np.ndarray:
    """The mean of ``top`` over the mean of ``bottom``."""
    return np.mean(top, axis=axis) / np.mean(bottom, axis=axis)


def median_interval(times: Sequence[float]) -> tuple[float, float]:
    """The order statistics between which the true median lies with at least 95%, for independent ``times``.

    The number of times below the median is binomial. Fewer than six times reach no 95%: their extremes are given.
    """
    ordered = sorted(times)
    below = max(int(binom.ppf(0.025, len(ordered), 0.5)) - 1, 0)
    return ordered[below], ordered[-1 - below]


class OtherPrograms:
    """How many processors the other programs of this machine keep busy, on average, while the block lasts.

    ``busy`` is None where the system does not tell (it does on Linux). A virtual machine sees what it is denied by
    others as well, not whom they are.
    """

    busy: float | None = None

    def __enter__(self) -> "OtherPrograms":
        self._start = time.monotonic(), _processor_seconds()
        return self

    def __exit__(self, *_) -> None:
        began, before = self._start
        after = _processor_seconds()
        if before is not None and after is not None:
            self.busy = max(after - before, 0.0) / (time.monotonic() - began)


def conditions(threads: int, others: OtherPrograms) -> dict[str, Any]:
    """For a record: on what its times were measured, and how many processors other programs kept busy meanwhile."""
    return {
        "device": f"cpu ({processor()})",
        "threads": threads,
        "processors": os.cpu_count(),
        "onnxruntime": version("onnxruntime"),
        "others_busy": None if others.busy is None else round(others.busy, 3),
    }


def _processor_seconds() -> float | None:
    """What all programs but this process have used of all processors since the machine started."""
    try:
        _, *ticks = Path("/proc/stat").read_text(encoding="utf-8").split("\n", 1)[0].split()
        user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, ticks[:8])
    except (OSError, ValueError):
        return None
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK") - time.process_time()
