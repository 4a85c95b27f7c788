import pytest
import torch
from scipy.stats import binom

from tinynet_core import Scale, UserError, network
from tinynet_core.latency import measure_latency, median_interval, timed_run
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
