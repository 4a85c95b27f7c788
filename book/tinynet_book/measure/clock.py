"""Timing several networks beside each other: rounds in random order, and what else the machine did."""

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
