import threading
import time

import pytest

from tinynet_core import Store, sweep
from tinynet_core.executors.ray import RayExecutor

ray = pytest.importorskip("ray")


@pytest.fixture(scope="module")
def cluster():
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    yield cluster
    cluster.shutdown()


def essence(record):
    return record.model_dump(exclude={"wall_s", "provenance"})


def test_lost(cluster, make_experiment, tmp_path):
    node = cluster.add_node(num_cpus=1)
    experiments = [make_experiment(seed=s, epochs=40) for s in range(4)]
    store = Store(tmp_path / "ray")
    ends = []
    orig = RayExecutor._translate

    def tr(self, ended, future):
        print(time.time(), "ended", repr(ended.exception())[:1000])
        orig(self, ended, future)

    RayExecutor._translate = tr

    def remove():
        while not len(list(store.root.glob("checkpoints/*.pt"))) >= 2:
            time.sleep(0.05)
        time.sleep(1)
        print(time.time(), "removing")
        cluster.remove_node(node, allow_graceful=False)
        print(time.time(), "removed")

    t = threading.Thread(target=remove)
    t.start()
    a = time.time()
    records = sweep(experiments, store, executor="ray", address=cluster.address, progress=False)
    print("took", time.time() - a)
    t.join()
    local = sweep(experiments, Store(tmp_path / "local"), progress=False)
    assert [essence(r) for r in records] == [essence(r) for r in local]
