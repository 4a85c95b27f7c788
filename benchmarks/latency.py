"""Latency of EfficientNet-B0 and the TinyNets on one thread of this CPU, beside the paper's Table 4 on a phone."""

import numpy as np
from tqdm import tqdm

import tinynet_core as tn
from tinynet_core.latency import median_interval, processor, timed_run

NAMES = ("efficientnet_b0", "tinynet_a", "tinynet_b", "tinynet_c", "tinynet_d", "tinynet_e")
ROUNDS, WARMUP = 300, 20
PAPER = {"efficientnet_b0": 99.85, "tinynet_a": 81.30}  # milliseconds


def interleaved() -> np.ndarray:
    """Milliseconds by round and network; every round runs each network once, in an order of its own."""
    runs = [timed_run(tn.network(name)) for name in NAMES]
    rng = np.random.default_rng(0)
    times = np.empty((ROUNDS + WARMUP, len(NAMES)))
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


if __name__ == "__main__":
    times = dict(zip(NAMES, interleaved().T, strict=True))
    print(f"{processor()}, one thread, {ROUNDS} rounds; milliseconds with 95% intervals of the median")
    for name, column in times.items():
        low, high = median_interval(column)
        macs = tn.network(name).complexity().macs / 1e6
        print(f"{name:<16} {macs:>4.0f}M MACs  {np.median(column):6.2f} [{low:.2f}, {high:.2f}]")
    a, b0 = times["tinynet_a"], times["efficientnet_b0"]
    low, high = ratio_interval(a, b0)
    print(f"tinynet_a / efficientnet_b0  {np.median(a) / np.median(b0):.3f} [{low:.3f}, {high:.3f}]")
    theirs = PAPER["tinynet_a"] / PAPER["efficientnet_b0"]
    print(f"paper, Table 4, on a phone   {theirs:.3f} ({PAPER['tinynet_a']:.2f} / {PAPER['efficientnet_b0']:.2f} ms)")
