"""The closed form of a run that fails, on the page on scale, against random draws and an exact optimum."""

import math

import numpy as np
import pytest
from notebook_code import run_cell
from scipy.special import lambertw

CODE = run_cell("11", "def expected_seconds", math=math)
expected_seconds, young_interval = CODE["expected_seconds"], CODE["young_interval"]


def drawn_seconds(work, interval, rng, checkpoint, mtbf, repair, restart):
    """The time of one run, lived through failure by failure."""
    clock = done = 0.0
    fails_at, first = rng.exponential(mtbf), True
    while done < work:
        piece = min(interval, work - done)
        rest = work - done - piece > 1e-9
        needed = (0 if first else restart) + piece + rest * checkpoint
        if clock + needed <= fails_at:
            clock, done, first = clock + needed, done + piece, True
        else:
            clock, first = fails_at + repair, False
            fails_at = clock + rng.exponential(mtbf)
    return clock


@pytest.mark.parametrize("failures", [(30, 3600, 300, 0), (20, 3600, 60, 400)])
@pytest.mark.parametrize("interval", [700.0, 1e6])
def test_the_mean_of_many_lives(failures, interval):
    rng = np.random.default_rng(0)
    lives = np.array([drawn_seconds(6000.0, interval, rng, *failures) for _ in range(2000)])
    assert abs(lives.mean() - expected_seconds(6000.0, interval, *failures)) < 4 * lives.std() / math.sqrt(len(lives))


@pytest.mark.parametrize(("interval", "count"), [(100 / 7, 6), (math.inf, 0)])
def test_without_failures_only_checkpoints_cost(interval, count):
    assert expected_seconds(100.0, interval, checkpoint=3) == pytest.approx(100 + 3 * count)


def test_youngs_interval_is_near_the_exact_optimum():
    """(exp((t + C)/M) - 1)/t is least where t/M = 1 + W(-exp(-C/M - 1)), W Lambert's function."""
    checkpoint, mtbf = 60, 3600 * 168
    exact = mtbf * (1 + lambertw(-math.exp(-checkpoint / mtbf - 1)).real)
    assert young_interval(checkpoint, mtbf) == pytest.approx(exact, rel=0.02)
