import math
from functools import partial

import numpy as np
import pytest
from scipy.special import lambertw

from tinynet_core.estimate import makespan
from tinynet_core.simulation import (
    Cluster,
    expected_makespan,
    monte_carlo,
    simulate_data_parallel,
    simulate_sweep,
    summary,
    young_interval,
)

CAUSES = ("training_s", "checkpoint_s", "lost_s", "restart_s", "down_s", "idle_s")
WORK = np.random.default_rng(7).uniform(100, 2000, 30)


class Script:
    """A generator whose nodes all have pace 1 and fail at given times after they start or are repaired."""

    def __init__(self, *failures):
        self.failures = list(failures)

    def standard_normal(self, n):
        return np.zeros(n)

    def exponential(self, _):
        return self.failures.pop(0) if self.failures else math.inf


def rng(seed=0):
    return np.random.default_rng(seed)


def booked(usage):
    return {cause: getattr(usage, cause) for cause in CAUSES}


@pytest.mark.parametrize(("nodes", "slots"), [(1, 1), (1, 4), (4, 1), (3, 2), (64, 8)])
def test_without_failures_it_is_the_list_schedule(nodes, slots):
    usage = simulate_sweep(WORK, math.inf, Cluster(nodes, slots), rng())
    assert usage.makespan_s == makespan(WORK, nodes * slots)
    assert usage.training_s == pytest.approx(WORK.sum())
    assert usage.idle_s == pytest.approx(nodes * slots * usage.makespan_s - WORK.sum(), abs=1e-6)
    assert usage.checkpoint_s == usage.lost_s == usage.restart_s == usage.down_s == usage.failures == 0


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("simulate", [simulate_sweep, lambda w, i, c, r: simulate_data_parallel(w.sum(), i, c, r)])
def test_every_second_of_every_device_is_booked_once(simulate, seed):
    draw = rng(seed)
    cluster = Cluster(
        nodes=int(draw.integers(1, 9)),
        slots=int(draw.integers(1, 5)),
        gang=int(draw.integers(1, 3)),
        straggling=draw.choice([0.0, 0.3]),
        mtbf_h=draw.uniform(0.2, 1),
        repair_s=draw.choice([0.0, 500.0]),
        checkpoint_s=draw.choice([0.0, 7.0]),
        restart_s=draw.choice([0.0, 60.0]),
    )
    usage = simulate(WORK, draw.choice([90.0, 400.0]), cluster, draw)
    assert usage.failures > 0
    assert all(seconds >= -1e-6 for seconds in booked(usage).values())
    assert sum(booked(usage).values()) == pytest.approx(cluster.devices * usage.makespan_s, rel=1e-12)
    assert usage.capacity_s == cluster.devices * usage.makespan_s
    assert usage.used_s == pytest.approx(usage.capacity_s - usage.down_s - usage.idle_s)
    if not cluster.straggling and simulate is simulate_sweep:
        assert usage.training_s == pytest.approx(cluster.gang * WORK.sum())  # all of the work, and none twice


def test_a_failure_by_hand():
    """40 s of work, 1 s of checkpoint, 9 s lost; 10 s of repair, 5 s of restart; 40 s, 1 s, 20 s."""
    cluster = Cluster(mtbf_h=1, repair_s=10, checkpoint_s=1, restart_s=5)
    wanted = {"training_s": 100, "checkpoint_s": 2, "lost_s": 9, "restart_s": 5, "down_s": 10, "idle_s": 0}
    for usage in (
        simulate_sweep([100.0], 40.0, cluster, Script(50.0)),
        simulate_data_parallel(100.0, 40.0, cluster, Script(50.0)),
    ):
        assert booked(usage) == wanted
        assert (usage.makespan_s, usage.failures) == (126, 1)


def test_failures_in_a_restart_and_in_a_checkpoint_by_hand():
    """The first falls into the checkpoint after 40 s, the second into the restart after it."""
    cluster = Cluster(mtbf_h=1, repair_s=10, checkpoint_s=4, restart_s=5)
    usage = simulate_data_parallel(60.0, 40.0, cluster, Script(43.0, 2.0))
    wanted = {"training_s": 60, "checkpoint_s": 4, "lost_s": 43, "restart_s": 7, "down_s": 20, "idle_s": 0}
    assert booked(usage) == wanted
    assert usage.makespan_s == 43 + 10 + 2 + 10 + 5 + 40 + 4 + 20


def test_a_failed_run_goes_on_elsewhere():
    """Node 0 fails at 50 for long; the idle node 1 takes its run from the checkpoint at 40."""
    usage = simulate_sweep([100.0], 40.0, Cluster(2, 1, mtbf_h=1, repair_s=1e5), Script(50.0))
    assert usage.makespan_s == 50 + 60
    assert (usage.lost_s, usage.idle_s, usage.down_s) == (10, 50, 60)


def test_a_failed_run_waits_for_the_next_free_device_and_the_longest_goes_first():
    """Node 0 fails at 10 with all of its work left; node 1 is free at 60 and takes it before the run of 20."""
    usage = simulate_sweep([100.0, 60.0, 20.0], math.inf, Cluster(2, 1, mtbf_h=1, repair_s=1e5), Script(10.0))
    assert usage.makespan_s == 60 + 100 + 20
    assert (usage.lost_s, usage.down_s, usage.idle_s) == (10, 170, 0)


def test_a_node_fails_with_all_its_devices():
    usage = simulate_sweep([100.0] * 4, math.inf, Cluster(2, 2, mtbf_h=1, repair_s=30), Script(90.0))
    assert usage.failures == 1
    assert usage.lost_s == 2 * 90
    assert usage.makespan_s == 200  # on node 1, free at 100, before node 0 is there again at 120
    assert usage.down_s == 2 * 30
    assert usage.idle_s == 2 * 80


def test_checkpoints_lie_between_the_pieces():
    cluster = Cluster(checkpoint_s=3)
    for interval, count in ((10.0, 9), (100 / 7, 6), (99.0, 1), (100.0, 0), (math.inf, 0)):
        assert simulate_sweep([100.0], interval, cluster, rng()).checkpoint_s == 3 * count
        assert expected_makespan(100.0, interval, cluster) == 100 + 3 * count
    every_epoch = WORK / 100
    assert simulate_sweep(WORK, every_epoch, cluster, rng()).checkpoint_s == pytest.approx(3 * 99 * len(WORK))


@pytest.mark.parametrize("repair_s", [0.0, 300.0])
def test_one_worker_with_failures_against_the_renewal_formula(repair_s):
    """A stretch of s seconds takes (exp(s/M) - 1) (M + R) on average; ours has nine with and one without checkpoint."""
    mtbf, interval, checkpoint = 3600.0, 600.0, 30.0
    cluster = Cluster(mtbf_h=1, repair_s=repair_s, checkpoint_s=checkpoint)
    stretches = [interval + checkpoint] * 9 + [interval]
    formula = sum(math.expm1(s / mtbf) * (mtbf + repair_s) for s in stretches)
    assert expected_makespan(10 * interval, interval, cluster) == pytest.approx(formula, rel=1e-12)
    for simulate in (
        lambda r: simulate_sweep([10 * interval], interval, cluster, r),
        lambda r: simulate_data_parallel(10 * interval, interval, cluster, r),
    ):
        hours = monte_carlo({"one": simulate}, 3000).makespan_h
        assert abs(3600 * hours.mean() - formula) < 4 * 3600 * hours.std() / math.sqrt(len(hours))


def test_restarts_that_may_fail_too():
    cluster = Cluster(nodes=4, slots=2, mtbf_h=4, repair_s=60, checkpoint_s=20, restart_s=400)
    hours = monte_carlo({"one": partial(simulate_data_parallel, 9000.0, 700.0, cluster)}, 3000).makespan_h
    formula = expected_makespan(9000.0, 700.0, cluster)
    assert abs(3600 * hours.mean() - formula) < 4 * 3600 * hours.std() / math.sqrt(len(hours))
    assert formula > expected_makespan(9000.0, 700.0, Cluster(4, 2, mtbf_h=4, repair_s=60, checkpoint_s=20))


def test_several_nodes_fail_as_often_as_one_bad_node():
    many, bad = Cluster(nodes=8, mtbf_h=8, checkpoint_s=9), Cluster(nodes=1, mtbf_h=1, checkpoint_s=9)
    assert expected_makespan(1e4, 500.0, many) == pytest.approx(expected_makespan(1e4, 500.0, bad))
    assert young_interval(many) == pytest.approx(young_interval(bad))


@pytest.mark.parametrize(("checkpoint_s", "mtbf_h"), [(1, 24), (10, 24), (60, 168)])
def test_youngs_interval_is_near_the_exact_optimum(checkpoint_s, mtbf_h):
    """(exp((t + C)/M) - 1)/t is least where t/M = 1 + W(-exp(-C/M - 1)), W Lambert's function."""
    cluster, mtbf = Cluster(mtbf_h=mtbf_h, checkpoint_s=checkpoint_s), 3600 * mtbf_h
    exact = mtbf * (1 + lambertw(-math.exp(-checkpoint_s / mtbf - 1)).real)
    assert young_interval(cluster) == pytest.approx(exact, rel=0.02)
    grid = exact * np.geomspace(0.5, 2, 41)
    times = [expected_makespan(1000 * exact, t, cluster) for t in grid]
    assert grid[np.argmin(times)] == pytest.approx(exact, rel=0.05)


def test_the_simulated_waste_is_least_at_youngs_interval():
    cluster = Cluster(4, 8, mtbf_h=24, repair_s=300, checkpoint_s=20, restart_s=30)
    best = young_interval(cluster)
    cases = {x: partial(simulate_data_parallel, 3e5, x * best, cluster) for x in (0.2, 1.0, 5.0)}
    mean = summary(monte_carlo(cases, 100)).makespan_h
    assert mean[1.0] < 0.97 * mean[0.2]
    assert mean[1.0] < 0.97 * mean[5.0]


def test_a_parallel_training_waits_for_its_slowest_node():
    cluster = Cluster(nodes=16, straggling=0.2)
    usage = simulate_data_parallel(1000.0, math.inf, cluster, rng(3))
    assert usage.makespan_s == pytest.approx(1000 * cluster.paces(rng(3)).max())
    assert usage.training_s == pytest.approx(16 * usage.makespan_s)


def test_paces_are_log_normal_around_one():
    logs = np.log(Cluster(nodes=20_000, straggling=0.1).paces(rng()))
    assert logs.mean() == pytest.approx(0, abs=4 * 0.1 / math.sqrt(20_000))
    assert logs.std() == pytest.approx(0.1, rel=0.03)


def test_slow_nodes_delay_a_sweep():
    cases = {s: partial(simulate_sweep, WORK, math.inf, Cluster(8, 2, straggling=s)) for s in (0.0, 0.2)}
    runs = monte_carlo(cases, 100)
    even, uneven = (runs[runs.case == s].makespan_h for s in (0.0, 0.2))
    assert even.nunique() == 1
    assert uneven.mean() > even.mean()


def test_repetitions_are_seeded_and_cases_share_their_random_numbers():
    cluster = Cluster(2, 2, straggling=0.2, mtbf_h=2, repair_s=60)
    case = partial(simulate_sweep, WORK, 300.0, cluster)
    runs = monte_carlo({"a": case, "b": case}, 5, seed=1)
    assert list(runs.case) == ["a"] * 5 + ["b"] * 5
    first, second = (runs[runs.case == c].drop(columns="case").reset_index(drop=True) for c in "ab")
    assert first.equals(second)
    assert first.makespan_h.nunique() == 5
    assert not monte_carlo({"a": case}, 5, seed=2).makespan_h.equals(first.makespan_h)
    assert monte_carlo({"a": case}, 3, seed=1).makespan_h.equals(first.makespan_h[:3])


def test_the_summary_has_means_percentiles_and_shares():
    cluster = Cluster(2, 2, straggling=0.2, mtbf_h=1, repair_s=100, checkpoint_s=5, restart_s=20)
    runs = monte_carlo({8: partial(simulate_sweep, WORK, 300.0, cluster)}, 50)
    row = summary(runs).loc[8]
    assert row.devices == 4
    assert row.makespan_h == pytest.approx(runs.makespan_h.mean())
    assert (row.low_h, row.high_h) == pytest.approx(tuple(np.percentile(runs.makespan_h, [5, 95])))
    assert row.paid_h == pytest.approx(4 * row.makespan_h)
    assert row.used_h == pytest.approx((runs.capacity_h - runs.idle_h - runs.down_h).mean())
    shares = dict(zip(("training", "checkpoints", "lost", "restarts", "away", "idle"), CAUSES, strict=True))
    assert row[list(shares)].sum() == pytest.approx(1)
    for share, cause in shares.items():
        assert row[share] == pytest.approx(runs[f"{cause[:-2]}_h"].sum() / runs.capacity_h.sum())
    with pytest.raises(ValueError, match="repetitions must be at least 1, got 0"):
        monte_carlo({}, 0)


@pytest.mark.parametrize("seed", range(3))
def test_a_gang_is_one_slot_that_costs_as_many_devices(seed):
    options = {"straggling": 0.2, "mtbf_h": 1, "repair_s": 100, "checkpoint_s": 5, "restart_s": 20}
    one = simulate_sweep(WORK, 300.0, Cluster(3, 2, **options), rng(seed))
    eight = simulate_sweep(WORK, 300.0, Cluster(3, 2, gang=8, **options), rng(seed))
    assert eight.makespan_s == one.makespan_s
    assert eight.capacity_s == pytest.approx(8 * one.capacity_s)
    assert booked(eight) == pytest.approx({cause: 8 * seconds for cause, seconds in booked(one).items()})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"nodes": 0}, "Cluster.nodes must be a whole number above 0, got 0"),
        ({"slots": 1.5}, "Cluster.slots must be a whole number above 0, got 1.5"),
        ({"nodes": True}, "Cluster.nodes must be a whole number"),
        ({"straggling": -0.1}, "Cluster.straggling must be a number not below 0, got -0.1"),
        ({"repair_s": math.inf}, "Cluster.repair_s must be finite"),
        ({"restart_s": math.nan}, "Cluster.restart_s must be a number not below 0, got nan"),
        ({"checkpoint_s": "5"}, "Cluster.checkpoint_s must be a number not below 0, got '5'"),
        ({"mtbf_h": 0}, "Cluster.mtbf_h must be above 0"),
    ],
)
def test_bad_clusters(values, message):
    with pytest.raises(ValueError, match=message):
        Cluster(**values)


@pytest.mark.parametrize(
    ("work", "interval", "message"),
    [
        ([], 1.0, "at least one run"),
        ([1.0, 0.0], 1.0, "work_s must be finite and above 0, got 0"),
        ([math.inf], 1.0, "work_s must be finite and above 0, got inf"),
        ([1.0], 0.0, "interval_s must be above 0, got 0"),
        ([1.0], math.nan, "interval_s must be above 0, got nan"),
    ],
)
def test_bad_work(work, interval, message):
    with pytest.raises(ValueError, match=message):
        simulate_sweep(work, interval, Cluster(), rng())


def test_a_run_that_would_never_end_is_refused():
    cluster = Cluster(nodes=20, mtbf_h=1)
    assert simulate_sweep([3e4], math.inf, cluster, rng()).failures > 0
    with pytest.raises(ValueError, match=r"a run needs 30,000 s without a failure .* every 180 s: shorten interval_s"):
        simulate_data_parallel(3e4, math.inf, cluster, rng())
    with pytest.raises(ValueError, match="shorten interval_s"):
        expected_makespan(3e4, math.inf, cluster)
