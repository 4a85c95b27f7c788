"""Cost of one candidate from its specification beside fvcore's and torch's counters, and a million screened at once."""

import logging
import resource
import time
from collections.abc import Callable

import click
import numpy as np
import torch
from frame import Recording
from fvcore.nn import FlopCountAnalysis
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import tinynet_core as tn

NETWORKS = ("efficientnet_b0", "resnet50", "ghostnet_a")
MILLION = 1_000_000


def specification(name: str, scales: list[tn.Scale]) -> float:
    """Microseconds per candidate."""
    start = time.perf_counter()
    for scale in scales:
        tn.network(name, scale).complexity()
    return (time.perf_counter() - start) / len(scales) * 1e6


def on_module(name: str, scales: list[tn.Scale], count: Callable[[nn.Module, torch.Tensor], None], at: str) -> float:
    """Microseconds per candidate that is built on device ``at`` and counted by ``count``."""
    start = time.perf_counter()
    for scale in scales:
        spec = tn.network(name, scale)
        with torch.device(at):
            module, image = spec.module(0.0).eval(), torch.zeros(1, 3, spec.resolution, spec.resolution)
        with torch.no_grad():
            count(module, image)
    return (time.perf_counter() - start) / len(scales) * 1e6


def by_torch(module: nn.Module, image: torch.Tensor) -> None:
    with FlopCounterMode(display=False):
        module(image)


def by_fvcore(module: nn.Module, image: torch.Tensor) -> None:
    """Fvcore traces with torch.jit, which needs tensors with memory."""
    FlopCountAnalysis(module, image).unsupported_ops_warnings(False).uncalled_modules_warnings(False).total()


def record_candidates(recording: Recording, name: str, count: int = 500) -> None:
    """Cost of a candidate of network ``name``, and how many times longer the counters take that need a module."""
    scales = tn.sample_scales(name, count)
    ours = [specification(name, scales) for _ in range(5)]
    recording.add(f"one candidate of {name}", ours, "µs", at_most=130)
    for counter, count, at in (("torch's counter", by_torch, "meta"), ("fvcore", by_fvcore, "cpu")):
        theirs = np.array([on_module(name, scales[:3], count, at) for _ in range(3)])
        recording.add(f"one candidate of {name}: {counter}", theirs, "µs")
        recording.add(f"one candidate of {name}: {counter} over ours", theirs / np.median(ours), "x")


def record_screening(recording: Recording, name: str) -> None:
    """A million candidates of network ``name``; every five-thousandth is held against its own count."""
    r, d, w = np.random.default_rng(0).uniform(0.35, 2.8, (3, MILLION))
    start = time.perf_counter()
    macs = tn.screen(name, r, d, w).macs
    recording.add(f"a million candidates of {name}", time.perf_counter() - start, "s", at_most=10)
    for i in range(0, MILLION, 5000):
        assert macs[i] == tn.network(name, tn.Scale(r[i], d[i], w[i])).complexity().macs


@click.command()
def main() -> None:
    """Measure and record. About five minutes."""
    logging.getLogger("fvcore").setLevel(logging.ERROR)
    with Recording("complexity") as recording:
        for name in NETWORKS:
            record_candidates(recording, name)
        for name in NETWORKS:
            record_screening(recording, name)
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        recording.add("the process at its largest", memory, "GiB", at_most=2)


if __name__ == "__main__":
    main()
