import subprocess
import sys
from pathlib import Path
from time import sleep

import numpy as np
import pytest
import torch
from scipy.stats import binom, norm

from tinynet_book.measure.clock import (
    OtherPrograms,
    estimate,
    interleaved,
    mean_ratio,
    median_interval,
    median_ratio,
    torch_run,
    torch_threads,
)
from tinynet_core import Scale, network
from tinynet_core.export import build_module


def test_torch_eager_is_timed_too():
    module, images = build_module(network("efficientnet_b0", Scale(0.15, 0.2, 0.2), num_classes=10))
    expected = module(images[:1])
    assert torch_run(module, images[:1])() > 0
    torch.testing.assert_close(module(images[:1]), expected, rtol=1e-3, atol=1e-4)


def test_threads_of_torch_are_restored_even_after_an_error():
    before = torch.get_num_threads()
    with torch_threads(before + 1):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before
    with pytest.raises(ValueError, match="some"), torch_threads(before + 1):
        raise ValueError("some")
    assert torch.get_num_threads() == before


def logging_runs(log, count):
    return [lambda i=i: log.append(i) or float(i) for i in range(count)]


def test_every_round_has_each_run_once_in_an_order_of_its_own():
    log: list[int] = []
    times = interleaved(logging_runs(log, 4), rounds=50, warmup=3, seed=0)
    assert (times == np.arange(4.0)).all()
    assert times.shape == (50, 4)
    rounds = np.array(log).reshape(53, 4)
    assert (np.sort(rounds, axis=1) == np.arange(4)).all()
    assert len({tuple(row) for row in rounds.tolist()}) > 15
    again: list[int] = []
    interleaved(logging_runs(again, 4), rounds=50, warmup=3, seed=0)
    assert again == log
    other: list[int] = []
    interleaved(logging_runs(other, 4), rounds=50, warmup=3, seed=1)
    assert other != log


def test_a_stop_is_heeded_between_rounds():
    log: list[int] = []
    assert interleaved(logging_runs(log, 3), 10, 2, 0, lambda: len(log) >= 12) is None
    assert len(log) == 12


def test_the_interval_of_a_mean_is_the_normal_one():
    sample = np.random.default_rng(3).normal(10, 2, 1000)
    found = estimate(np.mean, sample)
    half = norm.ppf(0.975) * sample.std() / np.sqrt(1000)
    assert found.value == pytest.approx(sample.mean())
    assert found.low == pytest.approx(sample.mean() - half, abs=0.1 * half)
    assert found.high == pytest.approx(sample.mean() + half, abs=0.1 * half)


def drifting_pair(rng, rounds):
    """Two networks in the ratio 0.8, timed on a machine whose speed varies from round to round."""
    machine = np.exp(rng.normal(0, 0.3, rounds))
    return 8 * machine * rng.normal(1, 0.02, rounds), 10 * machine * rng.normal(1, 0.02, rounds)


def test_the_ratio_of_medians_is_covered_and_pairing_narrows_it():
    rng, inside, paired, apart = np.random.default_rng(0), 0, [], []
    for _ in range(40):
        top, bottom = drifting_pair(rng, 60)
        found = estimate(median_ratio, top, bottom)
        inside += found.low <= 0.8 <= found.high
        paired.append(found.high - found.low)
        shuffled = estimate(median_ratio, top, rng.permutation(bottom))
        apart.append(shuffled.high - shuffled.low)
    assert inside >= 34  # of 40 at 95%: fewer has a chance of one in a hundred
    assert np.mean(paired) < 0.6 * np.mean(apart)


def test_the_ratio_of_means():
    top, bottom = drifting_pair(np.random.default_rng(1), 200)
    found = estimate(mean_ratio, top, bottom)
    assert found.value == pytest.approx(top.sum() / bottom.sum())
    assert 0.79 < found.low < found.value < found.high < 0.81
    assert estimate(mean_ratio, top, bottom) == found


def test_other_programs_are_noticed():
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as other:
        sleep(0.2)
        with OtherPrograms() as load:
            sleep(0.6)
        other.kill()
    assert (load.busy is None) == (not Path("/proc/stat").exists())
    assert load.busy is None or load.busy > 0.2


@pytest.mark.parametrize("n", range(6, 60, 5))
def test_the_interval_is_the_narrowest_that_covers_95_percent(n):
    low, high = median_interval(range(n)[::-1])
    assert low + high == n - 1
    assert 1 - 2 * binom.cdf(low, n, 0.5) >= 0.95
    assert 1 - 2 * binom.cdf(low + 1, n, 0.5) < 0.95


def test_the_interval_of_a_few_runs_is_their_extremes():
    assert median_interval([3.0]) == (3.0, 3.0)
    assert median_interval([5.0, 1.0, 2.0, 3.0, 4.0]) == (1.0, 5.0)
