"""Solving the width for a budget on real MACs, beside the same bisection over built modules."""

import time

import numpy as np
import torch

import tinynet_core as tn
from tinynet_core.budget import solve
from tinynet_core.complexity import trace
from tinynet_core.scale import Scale


def ours() -> float:
    """Milliseconds for one width."""
    start = time.perf_counter()
    tn.solve_width("efficientnet_b0", 100e6, 0.825, 0.85)
    return (time.perf_counter() - start) * 1e3


def peer() -> float:
    """Milliseconds for the same search where every trial builds and traces a module."""

    def cost(w: float) -> int:
        spec = tn.network("efficientnet_b0", Scale(0.825, 0.85, w))
        with torch.device("meta"):
            module = spec.build()
        return trace(module, spec.resolution).macs

    start = time.perf_counter()
    solve(cost, 100e6, 0.1, 2.0)
    return (time.perf_counter() - start) * 1e3


if __name__ == "__main__":
    fast, slow = np.median([ours() for _ in range(9)]), peer()
    print(f"specification {fast:.1f} ms, built modules {slow:,.0f} ms, ratio {slow / fast:,.0f}, target <= 50 ms")
