import os
import signal

import numpy as np
import pytest

from tinynet_core import Base, Scale, Store, network, sample_scales, sample_scales_at, sweep
from tinynet_core.experiment import execute
from tinynet_core.sweeps import RANGE, SweepError


def macs(scale, base=Base()):  # noqa: B008
    return network("efficientnet_b0", scale, base=base).complexity().macs


def test_samples_lie_in_the_range_and_the_window():
    c0 = macs(Scale())
    scales = sample_scales("efficientnet_b0", 200, seed=3)
    values = np.array([(s.r, s.d, s.w) for s in scales])
    assert values.min() >= RANGE[0]
    assert values.max() <= RANGE[1]
    costs = np.array([macs(s) for s in scales]) / c0
    assert costs.min() >= 0.03
    assert costs.max() <= 1.05
    assert sample_scales("efficientnet_b0", 50, seed=3) == scales[:50]
    assert sample_scales("efficientnet_b0", 50, seed=4) != scales[:50]


def test_acceptance_rate_is_the_one_of_uniform_sampling():
    """14.3% of uniform triples lie in the paper's window."""
    rng = np.random.default_rng(1)
    c0 = macs(Scale())
    hits = [0.03 <= macs(Scale(*x)) / c0 <= 1.05 for x in rng.uniform(*RANGE, (4000, 3))]
    assert np.mean(hits) == pytest.approx(0.143, abs=0.02)


@pytest.mark.parametrize("base", [Base(), Base(40, 0.35)])
def test_equal_cost_samples_have_equal_cost(base):
    c0 = macs(Scale(), base)
    for scale in sample_scales_at("efficientnet_b0", 40, 0.5, seed=1, base=base):
        assert macs(scale, base) / c0 == pytest.approx(0.5, rel=0.03)
        assert RANGE[0] <= scale.w <= RANGE[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n": 0}, "n must be at least 1"),
        ({"n": 5, "window": (0.5, 0.1)}, "window must satisfy"),
        ({"n": 5, "window": (1000.0, 1001.0)}, "accepts too few"),
    ],
)
def test_bad_samples(arguments, message):
    with pytest.raises(ValueError, match=message):
        sample_scales("efficientnet_b0", **arguments)


def test_sweep_is_one_record_each_whatever_the_workers(make_experiment, tmp_path):
    experiments = [make_experiment(seed=s) for s in (0, 1, 0)]
    two = sweep(experiments, Store(tmp_path / "two"), workers=2, progress=False)
    assert [r.experiment.seed for r in two] == [0, 1, 0]
    assert all(r.done for r in two)
    assert two[0].provenance["threads"] == 1
    one = sweep(experiments[:1], Store(tmp_path / "one"), workers=1, progress=False)
    assert one[0].curve == two[0].curve  # the same bits in another process
    assert not list((tmp_path / "two" / "checkpoints").glob("*"))


def test_a_failed_run_does_not_stop_the_sweep(make_experiment, tmp_path):
    store = Store(tmp_path)
    bad, good = make_experiment(lr=1e30), make_experiment()
    records = sweep([bad, good], store, workers=1, progress=False)
    assert [r.status for r in records] == ["failed", "done"]
    assert "diverged" in store.get(bad).reason
    assert store.missing([bad, good]) == []


def dies(experiment, device, checkpoint):
    """Stands in for a run that the kernel kills for its memory."""
    if experiment.seed == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return execute(experiment, device, checkpoint)


def test_a_killed_worker_is_a_failed_run(make_experiment, tmp_path, monkeypatch):
    monkeypatch.setattr("tinynet_core.sweeps.execute", dies)
    records = sweep([make_experiment(seed=s) for s in range(3)], Store(tmp_path), workers=1, progress=False)
    assert [r.status for r in records] == ["done", "failed", "done"]
    assert records[1].reason == "the worker process ended with SIGKILL, as it does when memory runs out"


def breaks(experiment, device, checkpoint):
    """Stands in for a run that meets a defect."""
    if experiment.seed == 1:
        raise KeyError("model")
    return execute(experiment, device, checkpoint)


def test_an_unexpected_error_is_reported_after_the_others_are_done(make_experiment, tmp_path, monkeypatch):
    monkeypatch.setattr("tinynet_core.sweeps.execute", breaks)
    store, experiments = Store(tmp_path), [make_experiment(seed=s) for s in range(3)]
    with pytest.raises(SweepError, match=r"1 experiments stopped without a result:\n.* KeyError: 'model'"):
        sweep(experiments, store, workers=1, progress=False)
    assert store.missing(experiments) == [experiments[1]]


def test_unknown_executor(make_experiment, tmp_path):
    with pytest.raises(ValueError, match="executor must be 'local', got 'cloud'"):
        sweep([make_experiment()], Store(tmp_path), executor="cloud")


def test_an_empty_sweep_is_fine(tmp_path):
    assert sweep([], Store(tmp_path)) == []
    assert not (tmp_path / "records").exists()
