"""Time several networks in turn: rounds in random order, and the load of other programs meanwhile."""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tinynet_core.export import Run
from tinynet_core.machine import processor


def torch_run(module: nn.Module, image: Tensor) -> Run:
    """Return a timed eager run of ``module``. Changes ``module`` to channels_last, the faster layout on a CPU."""
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
    """Run torch on ``threads`` threads in this process, and restore the old number at the end of the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def interleaved(
    runs: Sequence[Run], rounds: int, warmup: int, seed: int, should_stop: Callable[[], bool] = lambda: False
) -> np.ndarray | None:
    """Return milliseconds by round and run without ``warmup`` rounds, or None if ``should_stop`` ends it in between.

    Every round contains each run once, in a random order drawn from ``seed``. A machine that slows down thus affects
    all runs, and no run always finds the same other run's data in the caches.
    """
    rng = np.random.default_rng(seed)
    times = np.empty((warmup + rounds, len(runs)))
    for row in times:
        if should_stop():
            return None
        for i in rng.permutation(len(runs)):
            row[i] = runs[i]()
    return times[warmup:]


def other_programs() -> tuple[float, float | None]:
    """Return the time now and the processor seconds that other programs used since boot (None if not on Linux).

    On a virtual machine, the seconds include processor time that the host gave to others (steal).
    """
    now, stat = time.monotonic(), Path("/proc/stat")
    if not stat.exists():
        return now, None
    user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, stat.read_text(encoding="utf-8").split()[1:9])
    busy = (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")
    return now, busy - time.process_time()


def conditions(threads: int, before: tuple[float, float | None]) -> dict[str, Any]:
    """Return the machine's description for a record, with the mean number of processors busy for other programs."""
    (start, was), (end, now) = before, other_programs()
    busy = None if was is None or now is None else round(max(now - was, 0.0) / (end - start), 3)
    return {
        "device": f"cpu ({processor()})",
        "threads": threads,
        "processors": os.cpu_count(),
        "onnxruntime": version("onnxruntime"),
        "others_busy": busy,
    }
