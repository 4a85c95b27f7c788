"""Latency of EfficientNet-B0 and the TinyNets on one thread of this CPU, beside the paper's Table 4 on a phone."""

import click
import numpy as np
from frame import Recording, median_interval
from tqdm import tqdm

import tinynet_core as tn
from tinynet_core.export import build_module, onnx_run

NAMES = ("efficientnet_b0", "tinynet_a", "tinynet_b", "tinynet_c", "tinynet_d", "tinynet_e")
WARMUP = 20
PAPER = {"efficientnet_b0": 99.85, "tinynet_a": 81.30}  # milliseconds


def interleaved(rounds: int) -> np.ndarray:
    """Milliseconds by round and network; every round runs each network once, in an order of its own."""
    built = {name: build_module(tn.network(name)) for name in NAMES}
    runs = [onnx_run(module, images[:1], name) for name, (module, images) in built.items()]
    rng = np.random.default_rng(0)
    times = np.empty((rounds + WARMUP, len(NAMES)))
    for row in tqdm(times, unit="round", disable=None):
        for i in rng.permutation(len(NAMES)):
            row[i] = runs[i]()
    return times[WARMUP:]


def ratio_interval(top: np.ndarray, bottom: np.ndarray) -> tuple[float, float]:
    """A 95% interval of the ratio of two medians, from whole rounds drawn with replacement."""
    rounds = np.random.default_rng(0).integers(len(top), size=(5000, len(top)))
    ratios = np.median(top[rounds], axis=1) / np.median(bottom[rounds], axis=1)
    low, high = np.quantile(ratios, (0.025, 0.975))
    return low, high


def measure(recording: Recording, rounds: int) -> None:
    times = dict(zip(NAMES, interleaved(rounds).T, strict=True))
    for name, column in times.items():
        macs = tn.network(name).complexity().macs / 1e6
        recording.add(f"{name}, {macs:.0f}M MACs", column, "ms", interval=median_interval(column))
    a, b0 = times["tinynet_a"], times["efficientnet_b0"]
    theirs = PAPER["tinynet_a"] / PAPER["efficientnet_b0"]
    ratio, peer = np.median(a) / np.median(b0), f"the paper's Table 4 on a phone: {theirs:.3f}"
    recording.add("tinynet_a over efficientnet_b0", ratio, interval=ratio_interval(a, b0), peer=peer)


@click.command()
@click.option("--rounds", type=click.IntRange(min=1), default=300, show_default=True)
def main(rounds: int) -> None:
    """Measure and record. About three minutes."""
    with Recording("latency") as recording:
        measure(recording, rounds)


if __name__ == "__main__":
    main()
