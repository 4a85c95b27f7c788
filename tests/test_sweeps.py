import os
import re
import resource
import signal
import stat
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import pytest
from small import experiment as make
from small import results

from tinynet_core import Store, UserError, run, sweep
from tinynet_core.machine import Resources
from tinynet_core.study import local
from tinynet_core.study.local import ExecutorError, noting
from tinynet_core.study.record import execute
from tinynet_core.study.sweep import SweepError, SweepStopped, attempt

pytestmark = pytest.mark.usefixtures("one_thread")
EPOCHS, STEPS = 3, 3  # of the experiments, and in each epoch with its one batch of the evaluation


def leftovers(store):
    return sorted(path.name for path in store.root.glob("checkpoints/*"))


def one_worker(experiments, store, retries=2):
    return sweep(experiments, store, progress=False, resources=Resources(workers=1, retries=retries))


@pytest.fixture(scope="module")
def reference():
    trained = cache(lambda experiment: execute(experiment, "cpu"))
    return lambda experiments: results(trained(e) for e in experiments)


@pytest.fixture
def training(monkeypatch):
    return lambda stand_in: monkeypatch.setattr("tinynet_core.study.sweep.execute", stand_in)


# Stand-ins for training, which run in the workers. Steps are counted in files beside the checkpoints' folder.


def steps(store, experiment):
    file = store.root / f"steps-{experiment.seed}"
    return file.stat().st_size if file.exists() else 0


def counted(experiment, device, root, should_stop, compiled, signals=()):
    """Training that counts the steps of an experiment over all processes, with ``signals`` to itself at some."""
    file = root / f"steps-{experiment.seed}"

    def count():
        with file.open("ab") as steps:
            steps.write(b".")
        if number := dict(signals).get(file.stat().st_size):
            os.kill(os.getpid(), number)
        return should_stop()

    return execute(experiment, device, root, count, compiled)


def hit_in_the_second_epoch(experiment, device, *how):
    number = [0, signal.SIGKILL, signal.SIGTERM][experiment.seed]
    return counted(experiment, device, *how, signals={STEPS + 2: number})


def faulty(experiment, device, root, should_stop, compiled):
    """A defect, a disk that is full after 100 kB, in the middle of a checkpoint, and a kill at every start."""
    if experiment.seed == 1:
        raise KeyError("model")
    if experiment.seed == 3:
        return counted(experiment, device, root, should_stop, compiled, dict.fromkeys(range(9), signal.SIGKILL))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000 if experiment.seed == 2 else before[0], before[1]))
    try:
        return execute(experiment, device, root, should_stop, compiled)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_one_record_each_in_their_order_and_a_complete_store_is_only_read(reference, tmp_path, capsys):
    """Beside the lock of a killed process, with a time that is still to come."""
    experiments, store = [make(seed=s) for s in (0, 1, 0)] + [make(lr=1e30)], Store(tmp_path)
    lock = store.checkpoint(experiments[1]).with_suffix(".pt.lock")
    lock.parent.mkdir()
    lock.touch()
    os.utime(lock, (2**32, 2**32))
    *good, bad = sweep(experiments, store, workers=1)
    assert all(r.done and r.provenance["threads"] == 1 and 0 < r.wall_s < 600 for r in good)
    assert results(good) == reference(experiments[:3])
    assert (bad.status, bad.metrics, "diverged" in bad.reason) == ("failed", {}, True)
    assert leftovers(store) == []
    assert "trained 3/3 models, 1 failed: 100%" in capsys.readouterr().err
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    assert results(sweep(experiments, store)) == results([*good, bad])
    assert run(experiments[0], store) == store.get(experiments[0])
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"executor": "cloud"}, "executor must be 'local' or 'ray', got 'cloud'"),
        ({"address": "10.0.0.1:6379"}, "address '10.0.0.1:6379' is of a Ray cluster, but executor is 'local'"),
    ],
)
def test_bad_arguments_are_refused_before_any_work(tmp_path, arguments, message):
    with pytest.raises((UserError, ValueError), match=re.escape(message)):
        sweep([make()], Store(tmp_path), **arguments)
    assert list(tmp_path.iterdir()) == []


def test_a_worker_that_is_hit_goes_on_from_its_checkpoint(reference, training, tmp_path):
    """Killed, it repeats the steps of the epoch under way; terminated, none. Deaths after progress do not count."""
    training(hit_in_the_second_epoch)
    store, experiments = Store(tmp_path), [make(seed=s) for s in range(3)]
    assert results(one_worker(experiments, store, retries=0)) == reference(experiments)
    whole = EPOCHS * STEPS
    assert [steps(store, e) for e in experiments] == [whole, whole + 2, whole + 1]
    assert leftovers(store) == []


def test_workers_that_cannot_start_record_nothing(monkeypatch, tmp_path):
    monkeypatch.setattr(local, "_serve", os.getpid)  # which takes no arguments
    store, experiments = Store(tmp_path), [make(seed=s) for s in range(3)]
    with pytest.raises(SweepError, match="worker processes end with exit status 1 while they start") as caught:
        one_worker(experiments, store)
    assert isinstance(caught.value.__cause__, ExecutorError)
    assert store.missing(experiments) == experiments


def test_faults_are_reported_after_the_others_are_done_and_who_always_dies_is_a_failed_run(
    reference, training, tmp_path
):
    training(faulty)
    store, experiments = Store(tmp_path), [make(seed=s) for s in range(4)]
    with pytest.raises(SweepError) as caught:
        one_worker(experiments, store, retries=1)
    head, *lines = str(caught.value).splitlines()
    assert head == "2 experiments stopped without a result:"
    assert [line[:12] for line in lines] == [e.key[:12] for e in experiments[1:3]]
    assert lines[0].endswith("KeyError: 'model'")
    assert lines[1].endswith(f"{store.checkpoint(experiments[2])} cannot be written: File too large")
    assert 'raise KeyError("model")' in caught.value.__cause__.__notes__[0]  # where in the worker
    dead = store.get(experiments[3])
    assert dead.reason == "the worker process ended with SIGKILL, as it does when memory runs out"
    assert (dead.status, steps(store, experiments[3])) == ("failed", 2)
    assert store.missing(experiments) == experiments[1:3]
    assert leftovers(store) == sorted(f"{e.key}.pt.lock" for e in experiments[1:3])
    training(execute)
    assert results(one_worker(experiments[:3], store)) == reference(experiments[:3])
    assert leftovers(store) == []


def test_a_disk_that_fills_up_under_the_store(reference, training, monkeypatch, tmp_path):
    training(counted)
    store, experiments = Store(tmp_path), [make(seed=s) for s in range(2)]

    def full(descriptor):
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)  # of the driver, which alone writes the store
        with pytest.raises(SweepError, match=r"No space left on device: 2 models left; nothing is lost"):
            one_worker(experiments, store)
    assert [steps(store, e) for e in experiments] == [EPOCHS * STEPS, 0]  # stopped early
    assert results(one_worker(experiments, store)) == reference(experiments)
    assert steps(store, experiments[0]) == EPOCHS * STEPS  # the last checkpoint was kept


def test_two_sweeps_on_one_store_share_the_work(reference, training, tmp_path):
    training(counted)
    store, experiments = Store(tmp_path), [make(seed=s) for s in range(3)]
    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(one_worker, experiments, Store(tmp_path))
        here = results(one_worker(experiments, store))
        assert results(other.result()) == here == reference(experiments)
    assert [steps(store, e) for e in experiments] == [EPOCHS * STEPS] * 3
    assert len((tmp_path / "records.jsonl").read_bytes().splitlines()) == 3
    assert leftovers(store) == []


def test_without_the_drivers_file_system_the_checkpoint_is_kept_in_the_data_cache(tmp_path):
    seen = []

    def look(experiment, device, root, should_stop, compiled):
        seen.append(root)
        return execute(experiment, device, root, should_stop, compiled)

    assert attempt(look, make(epochs=1), Store(tmp_path / "not here"), False, "cpu", lambda: False).done
    (root,) = seen
    assert root.is_relative_to(os.environ["TINYNET_CACHE"])
    assert list((root / "checkpoints").iterdir()) == []  # nobody else could remove it
    assert list(tmp_path.iterdir()) == []


def test_a_signal_stops_the_sweep_and_no_step_is_done_twice(reference, training, tmp_path):
    training(counted)
    store, experiments, epochs = Store(tmp_path), [make(epochs=8), make(seed=1)], 8
    handlers = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)

    def send_when_training():
        while not list(store.root.glob("checkpoints/*.pt")):
            time.sleep(0.005)
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=send_when_training)
    thread.start()
    with pytest.raises(SweepStopped, match="0 models done, 2 left; the same command goes on") as caught:
        one_worker(experiments, store)
    thread.join()
    assert caught.value.exit_status == 128 + signal.SIGTERM
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == handlers
    assert steps(store, experiments[1]) == 0
    assert STEPS < steps(store, experiments[0]) < epochs * STEPS
    assert results(one_worker(experiments, store)) == reference(experiments)
    assert steps(store, experiments[0]) == epochs * STEPS + 1  # asked once more, at the step where it stopped


@pytest.mark.parametrize(("number", "raised"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)])
def test_a_second_signal_ends_at_once_and_ignored_ones_stay_ignored(number, raised):
    with noting(signal.SIGINT, signal.SIGTERM) as received:
        signal.raise_signal(number)
        assert received == [number]
        with pytest.raises(raised) as caught:
            signal.raise_signal(number)
    assert getattr(caught.value, "code", 143) == 143
    before = signal.signal(number, signal.SIG_IGN)
    try:
        with noting(number) as received:
            signal.raise_signal(number)
            assert received == []
        assert signal.getsignal(number) is signal.SIG_IGN
    finally:
        signal.signal(number, before)
