"""Cost of one candidate from its specification, beside torch's own counter on the built module."""

import time

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

import tinynet_core as tn


def specification(scales: list[tn.Scale]) -> float:
    """Microseconds per candidate."""
    start = time.perf_counter()
    for scale in scales:
        tn.network("efficientnet_b0", scale).complexity()
    return (time.perf_counter() - start) / len(scales) * 1e6


def counter(scales: list[tn.Scale]) -> float:
    """Microseconds per candidate: build on the meta device, run, count."""
    start = time.perf_counter()
    for scale in scales:
        spec = tn.network("efficientnet_b0", scale)
        with torch.device("meta"):
            module, image = spec.build().eval(), torch.empty(1, 3, spec.resolution, spec.resolution)
        with FlopCounterMode(display=False), torch.no_grad():
            module(image)
    return (time.perf_counter() - start) / len(scales) * 1e6


if __name__ == "__main__":
    scales = tn.sample_scales("efficientnet_b0", 1000)
    ours = np.median([specification(scales) for _ in range(5)])
    theirs = np.median([counter(scales[:5]) for _ in range(5)])
    print(f"specification {ours:.0f} us, torch's {theirs:,.0f} us, ratio {theirs / ours:,.0f}, target <= 130 us")
