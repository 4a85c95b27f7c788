"""Timing networks: rounds, intervals, records of either kind, and what their keys rest on."""

import subprocess
import sys
from pathlib import Path
from statistics import median
from time import sleep
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from notebook_code import run_cell
from scipy.stats import bootstrap

from tinynet_book.analysis.intervals import Interval
from tinynet_book.measure import clock
from tinynet_book.measure.latency_run import LatencyRun, pair
from tinynet_core import Record, Store, run
from tinynet_core.training.loop import Interrupted

NAMES = ("tinynet_e", "efficientnet_b-4")
TASK = LatencyRun(networks=NAMES, runs=5, warmup=1)


def test_every_round_has_each_run_once_in_an_order_of_its_own():
    def log(seed):
        calls: list[int] = []
        runs = [lambda i=i: calls.append(i) or float(i) for i in range(4)]
        times = clock.interleaved(runs, rounds=50, warmup=3, seed=seed)
        assert (times == np.arange(4.0)).all()
        assert times.shape == (50, 4)
        return calls

    rounds = np.array(log(0)).reshape(53, 4)
    assert (np.sort(rounds, axis=1) == np.arange(4)).all()
    assert len({tuple(row) for row in rounds.tolist()}) > 15
    assert log(0) == log(0) != log(1)


def test_a_ratio_is_paired_by_rounds_which_narrows_its_interval():
    """Two networks in the ratio 0.8, on a machine whose speed varies from round to round."""
    rng = np.random.default_rng(0)
    machine = np.exp(rng.normal(0, 0.3, 200))
    top, bottom = (size * machine * rng.normal(1, 0.02, 200) for size in (8, 10))
    record = SimpleNamespace(arrays={"torch a": top, "torch b": bottom})
    code = run_cell("15", "def estimate", record=record, np=np, bootstrap=bootstrap, Interval=Interval)
    found = code["ratio"]("torch", "a", "b")
    assert found.value == pytest.approx(np.median(top) / np.median(bottom))
    assert 0.77 < found.low < 0.8 < found.high < 0.83
    record.arrays["torch b"] = np.random.default_rng(0).permutation(bottom)
    apart = code["ratio"]("torch", "a", "b")
    assert found.high - found.low < 0.6 * (apart.high - apart.low)


def test_other_programs_are_noticed():
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as other:
        sleep(0.2)
        before = clock.other_programs()
        sleep(0.6)
        busy = clock.conditions(1, before)["others_busy"]
        other.kill()
    assert (busy is None) == (not Path("/proc/stat").exists())
    assert busy is None or busy > 0.2


def test_the_record_has_times_machine_and_cost(tmp_path):
    store, before = Store(tmp_path), torch.get_num_threads()
    record = run(TASK, store)
    assert torch.get_num_threads() == before
    names = [pair(b, n) for n in NAMES for b in ("onnxruntime", "torch")]
    assert list(record.arrays) == list(record.metrics) == names
    for name, ms in record.arrays.items():
        assert len(ms) == 5
        assert all(x > 0 and x == round(x, 3) for x in ms)
        assert record.metrics[name] == pytest.approx(median(ms), abs=1e-4)
    assert record.cost == {"macs tinynet_e": 24_356_848, "macs efficientnet_b-4": 23_223_504}
    made = record.provenance
    assert made["device"].startswith("cpu (")
    assert (made["threads"], made["torch_layout"]) == (1, "channels_last")
    assert store.get(TASK) == Record.from_json(record.to_json()) == record
    assert len(store.frame()) == 1


def test_it_asks_as_often_as_it_says_and_a_stop_keeps_nothing(tmp_path):
    task, asked = LatencyRun(networks=NAMES[:1], backends=["torch"], runs=5, warmup=1), []
    task.perform("cpu", None, lambda: asked.append(1) is not None, False)
    assert len(asked) == task.steps == 6
    assert task.work == 6 * 24_356_848
    answers = iter([False, False, True])
    with pytest.raises(Interrupted):
        task.perform("cpu", tmp_path, lambda: next(answers), False)
    assert not list(tmp_path.iterdir())


def test_keys_do_not_change_unnoticed():
    few = {"networks": ("tinynet_e",), "runs": 5, "warmup": 1}
    assert LatencyRun(**few).key == LatencyRun(**few, backends=["onnxruntime", "torch"], threads=1, seed=0).key
    assert LatencyRun(**few).key[:12] == "d67c3af6b8fa"
    assert LatencyRun(**few, seed=1).key != LatencyRun(**few).key
