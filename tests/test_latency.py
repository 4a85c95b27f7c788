import subprocess
import sys
from pathlib import Path
from time import sleep

import numpy as np
import pytest
import torch
from scipy.stats import binom, norm

from tinynet_core import Scale, UserError, network
from tinynet_core.export import build_module
from tinynet_core.latency import (
    OtherPrograms,
    estimate,
    interleaved,
    mean_ratio,
    measure_latency,
    median_interval,
    median_ratio,
    timed_run,
    torch_run,
    torch_threads,
)
from tinynet_core.networks.traced import traced


@pytest.fixture(scope="module")
def small():
    return network("efficientnet_b0", Scale(0.15, 0.2, 0.2), num_classes=10)


def test_numbers_are_positive_and_ordered(small):
    found = measure_latency(small, repeats=9, warmup=1)
    assert 0 < found.low_ms <= found.median_ms <= found.high_ms
    assert (found.repeats, found.threads) == (9, 1)
    assert found.processor
    assert found.processor == found.processor.strip()


def test_ten_times_the_macs_take_longer(small):
    large = network("efficientnet_b0", Scale(0.6, 0.2, 0.2), num_classes=10)
    assert large.complexity().macs > 10 * small.complexity().macs
    assert measure_latency(large, repeats=15).median_ms > measure_latency(small, repeats=15).median_ms


def test_one_run_is_its_own_interval(small):
    found = measure_latency(small, repeats=1, warmup=0, threads=2)
    assert found.low_ms == found.median_ms == found.high_ms
    assert found.threads == 2


def test_a_network_of_ones_own():
    spec = traced(lambda scale: torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.Flatten()), 16)(Scale())
    assert timed_run(spec)() > 0


@pytest.mark.parametrize("n", range(6, 60))
def test_the_interval_is_the_narrowest_that_covers_95_percent(n):
    low, high = median_interval(range(n)[::-1])
    assert low + high == n - 1
    assert 1 - 2 * binom.cdf(low, n, 0.5) >= 0.95
    assert 1 - 2 * binom.cdf(low + 1, n, 0.5) < 0.95


def test_the_interval_of_a_few_runs_is_their_extremes():
    assert median_interval([3.0]) == (3.0, 3.0)
    assert median_interval([5.0, 1.0, 2.0, 3.0, 4.0]) == (1.0, 5.0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"repeats": 0}, "repeats must be a whole number from 1 on, got 0"),
        ({"repeats": 2.0}, "repeats must be a whole number from 1 on, got 2.0"),
        ({"repeats": True}, "repeats must be a whole number from 1 on, got True"),
        ({"warmup": -1}, "warmup must be a whole number from 0 on, got -1"),
        ({"threads": 0}, "threads must be a whole number from 1 on, got 0"),
    ],
)
def test_bad_counts(small, arguments, message):
    with pytest.raises(UserError, match=message):
        measure_latency(small, **arguments)


def test_torch_eager_is_timed_too(small):
    module, images = build_module(small)
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


def test_a_machine_that_slows_down_slows_all_runs():
    clock = iter(range(10_000))
    runs = [lambda size=size: size * (1 + next(clock) / 400) for size in (2.0, 1.0)]
    times = interleaved(runs, rounds=400, warmup=0, seed=0)
    assert times[-1].mean() > 2 * times[0].mean()
    assert median_ratio(*times.T) == pytest.approx(2, rel=0.01)


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


def test_the_interval_of_a_median_agrees_with_order_statistics():
    sample = np.random.default_rng(4).gamma(2, 3, 501)
    found, (low, high) = estimate(np.median, sample), median_interval(sample)
    assert found.value == np.median(sample)
    assert found.low == pytest.approx(low, abs=0.3 * (high - low))
    assert found.high == pytest.approx(high, abs=0.3 * (high - low))


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


@pytest.mark.parametrize("samples", [([1.0],), ([1.0, 2.0], [1.0, 2.0, 3.0])])
def test_samples_that_allow_no_interval(samples):
    with pytest.raises(ValueError, match=r"two or more observations|same length"):
        estimate(np.median if len(samples) == 1 else median_ratio, *samples)


def test_other_programs_are_noticed():
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as other:
        sleep(0.2)
        with OtherPrograms() as load:
            sleep(0.6)
        other.kill()
    assert (load.busy is None) == (not Path("/proc/stat").exists())
    assert load.busy is None or load.busy > 0.2


def test_a_system_that_does_not_tell_its_load(monkeypatch):
    monkeypatch.setattr(Path, "read_text", lambda self, **_: "no numbers")
    with OtherPrograms() as load:
        pass
    assert load.busy is None
