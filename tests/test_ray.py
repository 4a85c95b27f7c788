import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import wait

import pytest
import torch
from small import experiment, results

from tinynet_core import Store, sweep
from tinynet_core.machine import Resources
from tinynet_core.study.ray import RayExecutor
from tinynet_core.study.record import execute
from tinynet_core.study.sweep import SweepStopped
from tinynet_core.study.worker import ExecutorError
from tinynet_core.training import checkpoint as saved
from tinynet_core.training.loop import TRAINING_VERSION

ray = pytest.importorskip("ray")
cluster_utils = pytest.importorskip("ray.cluster_utils")


@pytest.fixture(scope="module")
def cluster():
    """Two nodes with one core each, which can run the functions of this file."""
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    health = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 500, "health_check_failure_threshold": 3}
    started = cluster_utils.Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "_system_config": health})
    started.add_node(num_cpus=1)
    yield started
    started.shutdown()
    ray.cloudpickle.unregister_pickle_by_value(sys.modules[__name__])


def when(happened, act):
    """Call ``act`` in a thread as soon as ``happened()``."""

    def watch():
        while not happened():
            time.sleep(0.01)
        act()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    return thread


def checkpoints(store):
    return list(store.root.glob("checkpoints/*.pt"))


def killed_at_once(experiment, device, root, should_stop, compiled):
    if experiment.seed == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return execute(experiment, device, root, should_stop, compiled)


ASKED_AN_EPOCH = 3  # two steps and one batch of the evaluation


def slowly(experiment, device, root, should_stop, compiled):
    """Training that is sure to be under way on both nodes at once, and that stops within an epoch, not between two."""
    asked = itertools.count()

    def paced():
        time.sleep(0.1)
        return next(asked) % ASKED_AN_EPOCH != 0 and should_stop()

    return execute(experiment, device, root, paced, compiled)


def surroundings(device, should_stop):
    return device, torch.get_num_threads(), os.environ.get("TINYNET_CACHE"), should_stop()


def defective(device, should_stop):
    raise KeyError("model")


def test_tasks_run_as_local_workers_do(cluster):
    executor = RayExecutor(Resources(), address=cluster.address)
    try:
        good, bad = executor.submit(surroundings), executor.submit(defective)
        assert good.result() == ("cpu", 1, os.environ["TINYNET_CACHE"], False)
        with pytest.raises(KeyError, match="model"):
            bad.result()
    finally:
        executor.close()


def test_a_lost_node_and_a_signal_change_no_record(cluster, monkeypatch, tmp_path):
    """Stopped while two nodes train, gone on with, a node taken away in the middle: the records of undisturbed runs."""
    experiments, store = [experiment(seed=s, epochs=12) for s in range(3)], Store(tmp_path)
    how = {"executor": "ray", "address": cluster.address, "progress": False}
    handler = signal.getsignal(signal.SIGTERM)
    with monkeypatch.context() as patch:
        patch.setattr("tinynet_core.study.sweep.execute", slowly)
        when(lambda: len(checkpoints(store)) == 2, lambda: os.kill(os.getpid(), signal.SIGTERM))
        with pytest.raises(SweepStopped, match="0 models done, 3 left"):
            sweep(experiments, store, **how)
        assert signal.getsignal(signal.SIGTERM) is handler
        before = {c: c.stat().st_mtime_ns for c in checkpoints(store)}
        assert all(saved.load(c, TRAINING_VERSION)["step"] for c in before)  # stopped in mid-epoch
        node = next(iter(cluster.worker_nodes))
        removal = when(
            lambda: all(c.exists() and c.stat().st_mtime_ns != t for c, t in before.items()),
            lambda: cluster.remove_node(node, allow_graceful=False),
        )
        records = sweep(experiments, store, **how)
    removal.join(timeout=0)
    assert not removal.is_alive()  # the node was lost in the middle
    assert {r.provenance["threads"] for r in records} == {1}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    assert results(records) == results(execute(e, "cpu") for e in experiments)
    torch.set_num_threads(threads)
    assert list((store.root / "checkpoints").iterdir()) == []


def test_a_worker_that_always_dies_is_a_failed_run(cluster, monkeypatch, tmp_path):
    monkeypatch.setattr("tinynet_core.study.sweep.execute", killed_at_once)
    experiments = [experiment(seed=s, epochs=1) for s in range(2)]
    resources = Resources(retries=1)
    records = sweep(experiments, Store(tmp_path), "ray", address=cluster.address, progress=False, resources=resources)
    assert [r.status for r in records] == ["done", "failed"]
    assert records[1].reason == "the worker process died"


def test_what_cannot_be_placed_is_said_and_waits(cluster):
    with pytest.warns(UserWarning, match="a run holds 64 CPU, the Ray cluster has"):
        executor = RayExecutor(Resources(cpus=64), address=cluster.address)
    try:
        assert not wait([executor.submit(surroundings)], timeout=0.2).done
    finally:
        executor.close()


def test_without_ray_one_line_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ExecutorError, match=r"executor 'ray' needs Ray: pip install 'tinynet-core\[ray\]'"):
        sweep([experiment()], Store(tmp_path), executor="ray", progress=False)


def test_a_cluster_that_is_not_there():
    with pytest.raises(ExecutorError, match=r"the Ray cluster at 127\.0\.0\.1:9 cannot be joined"):
        RayExecutor(Resources(), address="127.0.0.1:9")


def test_a_cluster_starts_whatever_the_length_of_tmpdir(tmp_path):
    long = tmp_path / ("x" * 110)
    long.mkdir()
    start = "from tinynet_core.study.ray import RayExecutor as R, Resources; R(Resources(gpus=0)).close()"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    command = [sys.executable, "-c", start]
    done = subprocess.run(
        command, env=environment | {"TMPDIR": str(long)}, capture_output=True, encoding="utf-8", check=False
    )
    assert done.returncode == 0, done.stderr
