import math

import numpy as np
import pytest

from tinynet_core.scaling.solve import UnreachableBudget, short_decimal, solve


def steps(x):
    return int(x * 10) ** 2


@pytest.mark.parametrize("budget", [1, 7, 50, 99, 100, 101, 5000, 9999])
def test_nearest_step_is_found(budget):
    grid = {steps(x) for x in (*np.arange(0.05, 10, 0.01), 10)}
    found = solve(steps, budget, 0.05, 10)
    assert found.cost == steps(found.x)
    assert abs(found.cost - budget) == min(abs(c - budget) for c in grid)
    assert found.error == pytest.approx((found.cost - budget) / budget)


def test_the_answer_keeps_its_cost_when_typed_in_again():
    found = solve(steps, 3600, 0.05, 10)
    assert len(f"{found.x}") <= 5
    assert steps(float(f"{found.x:.4g}")) == found.cost


def test_numbers_of_numpy_are_numbers():
    assert solve(steps, np.int64(3600), 0.05, 10).cost == 3600


def test_negative_ranges_and_constant_costs():
    assert solve(lambda x: round(1000 * 2**x), 125, -8, 0).cost == 125
    assert solve(lambda x: 7, 7, 0.1, 1).cost == 7


def test_the_ends_of_the_range_are_reachable():
    assert solve(steps, steps(10), 0.05, 10).cost == steps(10)
    assert solve(lambda x: max(4, int(x)), 4, 1, 9).cost == 4


def test_unreachable_budgets_say_what_is_reachable():
    with pytest.raises(UnreachableBudget, match="below the smallest reachable cost 100"):
        solve(lambda x: 100 + int(x), 50, 0, 1)
    with pytest.raises(UnreachableBudget, match="above the largest reachable cost 10,000"):
        solve(steps, 20_000, 0.05, 10)


@pytest.mark.parametrize("budget", [0, -1, math.nan, math.inf, "100", True, None])
def test_bad_budgets(budget):
    with pytest.raises(ValueError, match="budget must be a finite number above 0"):
        solve(steps, budget, 0.05, 10)


@pytest.mark.parametrize(
    ("low", "high", "x"), [(0.81, 0.92, 0.9), (0.85, 0.8542, 0.852), (0.3, 0.5, 0.4), (0.7, 0.7, 0.7)]
)
def test_short_decimals(low, high, x):
    assert short_decimal(low, high) == x
