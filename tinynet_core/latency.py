"""Time that a network takes for one image on this machine's CPU, as ONNX Runtime runs it."""

import platform
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from scipy.stats import binom

from tinynet_core.errors import UserError
from tinynet_core.exporting import Buildable, build_module, open_session, write_onnx


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds for one image: the median of ``repeats`` runs and a 95% interval of that median.

    The interval lies between two order statistics (``median_interval``). It tells of this one build of the network on
    this machine at this time: load that comes and goes more slowly than the runs moves all of them together.
    """

    median_ms: float
    low_ms: float
    high_ms: float
    repeats: int
    threads: int
    processor: str


def measure_latency(spec: Buildable, repeats: int = 30, warmup: int = 5, threads: int = 1) -> Latency:
    """Run ``spec`` for one random image ``warmup`` + ``repeats`` times on ``threads`` threads and time the latter.

    Weights are random, or those that a network from outside this package builds itself with: they do not matter here.
    Raises ``UserError`` for counts out of range and ``ExportError`` for a network that cannot be exported.
    """
    for key, value, least in (("repeats", repeats, 1), ("warmup", warmup, 0), ("threads", threads, 1)):
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise UserError(f"{key} must be a whole number from {least} on, got {value!r}")
    run = timed_run(spec, threads)
    for _ in range(warmup):
        run()
    times = [run() for _ in range(repeats)]
    low, high = median_interval(times)
    return Latency(median(times), low, high, repeats, threads, processor())


def timed_run(spec: Buildable, threads: int = 1) -> Callable[[], float]:
    """A function that runs ``spec`` once for one random image and returns the milliseconds it took."""
    module, images = build_module(spec)
    image = images[:1].contiguous()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "network.onnx"
        write_onnx(module, image, file, spec.name)
        session = open_session(file, threads)
    inputs = {"image": image.numpy()}

    def run() -> float:
        start = time.perf_counter()
        session.run(None, inputs)
        return (time.perf_counter() - start) * 1e3

    return run


def median_interval(times: Sequence[float]) -> tuple[float, float]:
    """The order statistics between which the true median lies with at least 95%, for independent ``times``.

    The number of times below the median is binomial. Fewer than six times reach no 95%: their extremes are given.
    """
    ordered = sorted(times)
    below = max(int(binom.ppf(0.025, len(ordered), 0.5)) - 1, 0)
    return ordered[below], ordered[-1 - below]


def processor() -> str:
    """The name of this machine's processor, as exactly as the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return next(iter(names), "") or platform.processor() or platform.machine()
