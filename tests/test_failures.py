"""The closed form of a run that fails against random draws, an exact optimum and hand calculation."""

import math

import numpy as np
import pytest
from scipy.special import lambertw

from tinynet_book.analysis.failures import Failures, expected_seconds, young_interval


def drawn_seconds(work, interval, failures, rng):
    """The time of one run, lived through failure by failure."""
    clock = done = 0.0
    fails_at, first = rng.exponential(failures.mtbf), True
    while done < work:
        piece = min(interval, work - done)
        rest = work - done - piece > 1e-9
        needed = (0 if first else failures.restart) + piece + rest * failures.checkpoint
        if clock + needed <= fails_at:
            clock, done, first = clock + needed, done + piece, True
        else:
            clock, first = fails_at + failures.repair, False
            fails_at = clock + rng.exponential(failures.mtbf)
    return clock


@pytest.mark.parametrize("failures", [Failures(3600, 300, 0, 30), Failures(3600, 60, 400, 20), Failures(1800)])
@pytest.mark.parametrize("interval", [600.0, 700.0, 1e6])
def test_the_mean_of_many_lives(failures, interval):
    rng = np.random.default_rng(0)
    lives = np.array([drawn_seconds(6000.0, interval, failures, rng) for _ in range(4000)])
    assert abs(lives.mean() - expected_seconds(6000.0, interval, failures)) < 4 * lives.std() / math.sqrt(len(lives))


@pytest.mark.parametrize(("interval", "count"), [(10.0, 9), (100 / 7, 6), (99.0, 1), (100.0, 0), (math.inf, 0)])
def test_without_failures_only_checkpoints_cost(interval, count):
    assert expected_seconds(100.0, interval, Failures(checkpoint=3)) == pytest.approx(100 + 3 * count)


@pytest.mark.parametrize(("checkpoint", "hours"), [(1, 24), (10, 24), (60, 168)])
def test_youngs_interval_is_near_the_exact_optimum(checkpoint, hours):
    """(exp((t + C)/M) - 1)/t is least where t/M = 1 + W(-exp(-C/M - 1)), W Lambert's function."""
    failures, mtbf = Failures(3600 * hours, checkpoint=checkpoint), 3600 * hours
    exact = mtbf * (1 + lambertw(-math.exp(-checkpoint / mtbf - 1)).real)
    assert young_interval(failures) == pytest.approx(exact, rel=0.02)
    grid = exact * np.geomspace(0.5, 2, 41)
    times = [expected_seconds(1000 * exact, t, failures) for t in grid]
    assert grid[np.argmin(times)] == pytest.approx(exact, rel=0.05)
