"""Shrinking to a budget on real MACs, beside the same search over built modules."""

import time

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

import tinynet_core as tn
from tinynet_core.scale import Scale

BUDGETS = {"efficientnet_b0": 100e6, "resnet50": 1.8e9, "ghostnet_a": 141e6}


def ours(name: str, macs: float, method: str) -> float:
    """Milliseconds for one network."""
    start = time.perf_counter()
    tn.shrunk(name, "macs", macs, method)
    return (time.perf_counter() - start) * 1e3


def peer(name: str, macs: float) -> float:
    """Milliseconds for bisecting the width on modules that are built and counted by torch, to four digits."""
    formula = tn.released_formula()
    c0 = tn.network(name).complexity().macs
    r, d = formula.predict([macs / c0])[0]
    start = time.perf_counter()
    low, high = 0.1, 2.0
    while high - low > 1e-4:
        w = (low + high) / 2
        spec = tn.network(name, Scale(r, d, w))
        with torch.device("meta"):
            module, image = spec.module(0.0).eval(), torch.empty(1, 3, spec.resolution, spec.resolution)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            module(image)
        low, high = (w, high) if counter.get_total_flops() < 2 * macs else (low, w)
    return (time.perf_counter() - start) * 1e3


if __name__ == "__main__":
    fit = tn.released_formula  # imports what it needs
    start = time.perf_counter()
    fit()
    print(f"fit of the default formula, once: {(time.perf_counter() - start) * 1e3:.0f} ms")
    for name, macs in BUDGETS.items():
        times = {m: np.median([ours(name, macs, m) for _ in range(9)]) for m in ("formula", "giant", "w")}
        slow = peer(name, macs)
        print(
            f"{name:<16} {macs / 1e6:,.0f}M: "
            + ", ".join(f"{m} {t:.1f} ms" for m, t in times.items())
            + f"; built modules {slow:,.0f} ms ({slow / times['formula']:,.0f}x); target <= 50 ms"
        )
