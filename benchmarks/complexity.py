"""Cost of one candidate from its specification beside fvcore's and torch's counters, and a million screened at once."""

import logging
import resource
import time
from collections.abc import Callable

import numpy as np
import torch
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


if __name__ == "__main__":
    logging.getLogger("fvcore").setLevel(logging.ERROR)
    print("one candidate, microseconds (target <= 130)")
    for name in NETWORKS:
        scales = tn.sample_scales(name, 500)
        ours = np.median([specification(name, scales) for _ in range(5)])
        torchs = np.median([on_module(name, scales[:3], by_torch, "meta") for _ in range(3)])
        fvcores = np.median([on_module(name, scales[:3], by_fvcore, "cpu") for _ in range(3)])
        print(
            f"  {name:<16} specification {ours:.0f}, torch's counter {torchs:,.0f} ({torchs / ours:,.0f}x), "
            f"fvcore {fvcores:,.0f} ({fvcores / ours:,.0f}x)"
        )
    print("a million candidates (target <= 10 s, <= 2 GiB)")
    r, d, w = np.random.default_rng(0).uniform(0.35, 2.8, (3, MILLION))
    for name in NETWORKS:
        start = time.perf_counter()
        macs = tn.screen(name, r, d, w).macs
        seconds = time.perf_counter() - start
        some = range(0, MILLION, 5000)
        same = all(macs[i] == tn.network(name, tn.Scale(r[i], d[i], w[i])).complexity().macs for i in some)
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(f"  {name:<16} {seconds:.2f} s, process at most {memory:.2f} GiB, equal one by one ({len(some)}): {same}")
