"""A cluster of two nodes with one core each: a killed worker, a signal and a lost node change no record."""

import itertools
import os
import signal
import sys
import threading
import time

import pytest
from small import experiment, results

from tinynet_core import Store, sweep
from tinynet_core.machine import Resources
from tinynet_core.study import ray as executors
from tinynet_core.study.local import ExecutorError
from tinynet_core.study.record import execute
from tinynet_core.study.sweep import SweepStopped
from tinynet_core.training import checkpoint as saved
from tinynet_core.training.loop import TRAINING_VERSION

ray = pytest.importorskip("ray")
cluster_utils = pytest.importorskip("ray.cluster_utils")
ASKED_AN_EPOCH = 3  # two steps and one batch of the evaluation


@pytest.fixture(scope="module")
def cluster():
    """Two nodes, which can run the functions of this file; this process is connected to them."""
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    health = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 500, "health_check_failure_threshold": 3}
    started = cluster_utils.Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "_system_config": health})
    started.add_node(num_cpus=1)
    handler = signal.getsignal(signal.SIGTERM)
    executors._connect(started.address)
    assert signal.getsignal(signal.SIGTERM) is handler
    yield started
    ray.shutdown()
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


def slowly(experiment, device, root, should_stop, compiled):
    """Training that goes on once two are under way, which ``both`` says, and that never stops between two epochs.

    The worker of the last one is killed once, before its first step.
    """
    asked, killed, both = itertools.count(), root / "killed", root / "both"
    if experiment.seed == 2 and not killed.exists():
        killed.write_text(os.environ["TINYNET_CACHE"], encoding="utf-8")
        os.kill(os.getpid(), signal.SIGKILL)

    def paced():
        time.sleep(0.1)
        number = next(asked)
        while number > ASKED_AN_EPOCH and not both.exists():
            time.sleep(0.05)
            since = (root / "begin").stat().st_mtime_ns
            if sum(c.stat().st_mtime_ns > since for c in root.glob("checkpoints/*.pt")) >= 2:
                both.touch()
        return number % ASKED_AN_EPOCH != 0 and should_stop()

    return execute(experiment, device, root, paced, compiled)


def test_a_killed_worker_a_signal_and_a_lost_node_change_no_record(cluster, one_thread, monkeypatch, tmp_path):
    """Stopped while two nodes train, gone on with, a node taken away in the middle: the records of undisturbed runs."""
    experiments, store = [experiment(seed=s, epochs=12) for s in range(3)], Store(tmp_path)
    begin, both, node = tmp_path / "begin", tmp_path / "both", next(iter(cluster.worker_nodes))
    with monkeypatch.context() as patch:
        patch.setattr("tinynet_core.study.sweep.execute", slowly)
        begin.touch()
        when(both.exists, lambda: os.kill(os.getpid(), signal.SIGTERM))
        with pytest.raises(SweepStopped, match="0 models done, 3 left"):
            sweep(experiments, store, executor="ray", progress=False)
        states = [saved.load(path, TRAINING_VERSION) for path in tmp_path.glob("checkpoints/*.pt")]
        assert all(state["step"] for state in states)  # stopped in mid-epoch
        begin.touch()
        both.unlink()
        removal = when(both.exists, lambda: cluster.remove_node(node, allow_graceful=False))
        records = sweep(experiments, store, executor="ray", progress=False)
    assert (tmp_path / "killed").read_text(encoding="utf-8") == os.environ["TINYNET_CACHE"]
    removal.join(timeout=60)
    assert not removal.is_alive()  # the node was lost in the middle
    assert {r.provenance["threads"] for r in records} == {1}
    assert results(records) == results(execute(e, "cpu") for e in experiments)
    assert list((store.root / "checkpoints").iterdir()) == []


def test_what_cannot_be_placed_is_said(cluster):
    with pytest.warns(UserWarning, match="a run holds 64 CPU, the Ray cluster has"):
        executors.RayExecutor(Resources(cpus=64)).close()


def test_without_ray_or_its_cluster_one_line_says_so(monkeypatch, tmp_path):
    with pytest.raises(ExecutorError, match=r"the Ray cluster at 127\.0\.0\.1:9 cannot be joined"):
        executors._connect("127.0.0.1:9")
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ExecutorError, match=r"executor 'ray' needs Ray: pip install 'tinynet-core\[ray\]'"):
        sweep([experiment()], Store(tmp_path), executor="ray", progress=False)
