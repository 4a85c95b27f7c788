"""Time that a network takes for one image on this machine's CPU, as ONNX Runtime runs it."""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from torch import Tensor, nn

from tinynet_core.export import build_module, open_session, write_onnx
from tinynet_core.networks.spec import Specification

Run = Callable[[], float]
"""Runs a network once for one image and returns the milliseconds that it took."""
WARMUP, REPEATS = 5, 30


def measure_latency(spec: Specification) -> float:
    """Milliseconds of ``spec`` for one random image on one thread: the median of 30 runs after 5 to warm up.

    Weights are random, or those that a network from outside this package builds itself with: they do not matter here.
    Raises ``ExportError`` for a network that cannot be exported.
    """
    run = timed_run(spec)
    return median([run() for _ in range(WARMUP + REPEATS)][WARMUP:])


def timed_run(spec: Specification, threads: int = 1) -> Run:
    """``spec`` run once for one random image by ONNX Runtime on ``threads`` threads."""
    module, images = build_module(spec)
    return onnx_run(module, images[:1], spec.name, threads)


def onnx_run(module: nn.Module, image: Tensor, name: str, threads: int = 1) -> Run:
    """``module``, called ``name``, exported for the size of ``image`` and run by ONNX Runtime."""
    image = image.contiguous()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "network.onnx"
        write_onnx(module, image, file, name)
        session = open_session(file, threads)
    inputs = {"image": image.numpy()}

    def run() -> float:
        start = time.perf_counter()
        session.run(None, inputs)
        return (time.perf_counter() - start) * 1e3

    return run
