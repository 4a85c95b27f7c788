"""Shrinking to a budget on real MACs, beside the same search over built modules."""

import time

import click
import torch
from frame import Recording
from torch.utils.flop_counter import FlopCounterMode

import tinynet_core as tn
from tinynet_core.scaling.scale import Scale

BUDGETS = {"efficientnet_b0": 100e6, "resnet50": 1.8e9, "ghostnet_a": 141e6}


def ours(name: str, macs: float, method: str) -> float:
    """Milliseconds for one network."""
    start = time.perf_counter()
    tn.shrink(name, macs, method)
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


def measure(recording: Recording, repeats: int) -> None:
    fit = tn.released_formula  # imports what it needs
    start = time.perf_counter()
    fit()
    recording.add("fit of the default formula, once", (time.perf_counter() - start) * 1e3, "ms")
    for name, macs in BUDGETS.items():
        case = f"{name} to {macs / 1e6:,.0f}M MACs"
        for method in ("formula", "giant", "w"):
            recording.add(f"{case}, {method}", [ours(name, macs, method) for _ in range(repeats)], "ms", at_most=50)
        recording.add(f"{case}: bisection over built modules", peer(name, macs), "ms")


@click.command()
@click.option("--repeats", type=click.IntRange(min=1), default=9, show_default=True)
def main(repeats: int) -> None:
    """Measure and record. About a minute."""
    with Recording("solve") as recording:
        measure(recording, repeats)


if __name__ == "__main__":
    main()
