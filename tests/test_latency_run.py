import re
from statistics import median

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from tinynet_book.measure.clock import median_ratio
from tinynet_book.measure.latency_run import LatencyRun, pair, ratio, times
from tinynet_core import Record, Store, run
from tinynet_core.study.record import failed
from tinynet_core.training.loop import Interrupted

SMALL = {"networks": ("tinynet_e",), "runs": 5, "warmup": 1}


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    store = Store(tmp_path_factory.mktemp("store"))
    before = torch.get_num_threads()
    record = run(LatencyRun(networks=("tinynet_e", "efficientnet_b-4"), runs=5, warmup=1), store)
    assert torch.get_num_threads() == before
    return store, record


def test_the_record_has_the_runs_and_their_medians(measured):
    store, record = measured
    names = [pair(b, n) for n in ("tinynet_e", "efficientnet_b-4") for b in ("onnxruntime", "torch")]
    assert list(record.arrays) == list(record.metrics) == names
    for name, ms in record.arrays.items():
        assert len(ms) == 5
        assert all(x > 0 and x == round(x, 3) for x in ms)
        assert record.metrics[name] == pytest.approx(median(ms), abs=1e-4)
    assert record.cost == {"macs tinynet_e": 24_356_848, "macs efficientnet_b-4": 23_223_504}
    assert store.get(record.experiment) == record
    assert Record.from_json(record.to_json()) == record


def test_the_record_names_the_machine(measured):
    made = measured[1].provenance
    assert made["device"].startswith("cpu (")
    assert (made["threads"], made["torch_layout"]) == (1, "channels_last")
    assert re.match(r"\d+\.\d+", made["onnxruntime"])
    assert made["processors"] >= 1
    assert made["others_busy"] is None or made["others_busy"] >= 0


def test_a_store_shows_it_beside_trainings(measured, make_experiment, tmp_path):
    store = Store(tmp_path)
    store.put(measured[1])
    store.put(failed(make_experiment(), "no reason"))
    frame = store.frame().set_index("kind")
    assert frame.network["latency"] == ""
    assert frame["onnxruntime tinynet_e"]["latency"] == measured[1].metrics["onnxruntime tinynet_e"]
    assert frame.macs.notna().to_dict() == {"latency": False, "training": True}


def test_one_backend(measured):
    task = LatencyRun(**SMALL, backends=("torch",))
    result = task.perform("cpu", None, None, False)
    assert list(result.metrics) == ["torch tinynet_e"]


def test_a_stop_keeps_nothing(tmp_path):
    asked = iter([False, False, True])
    with pytest.raises(Interrupted):
        LatencyRun(**SMALL).perform("cpu", tmp_path, lambda: next(asked), False)
    assert not list(tmp_path.iterdir())


def test_it_asks_as_often_as_it_says():
    asked = []
    task = LatencyRun(**SMALL, backends=("onnxruntime",))
    task.perform("cpu", None, lambda: asked.append(1) is not None, False)
    assert len(asked) == task.steps == 6
    assert task.work == 6 * 24_356_848


def test_key_does_not_change_unnoticed():
    assert LatencyRun(**SMALL).key == LatencyRun(**SMALL, backends=["onnxruntime", "torch"], threads=1, seed=0).key
    assert LatencyRun(**SMALL).key[:12] == "d67c3af6b8fa"
    assert LatencyRun(**SMALL, seed=1).key != LatencyRun(**SMALL).key


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"networks": ()}, "at least 1 item"),
        ({"networks": ("tinynet_z",)}, "unknown network 'tinynet_z', nearest: tinynet_"),
        ({"networks": ("tinynet_e", "tinynet_e")}, "tinynet_e is listed twice"),
        ({"backends": ("tflite",)}, "'onnxruntime' or 'torch'"),
        ({"backends": ("torch", "torch")}, "torch is listed twice"),
        ({"backends": ()}, "at least 1 item"),
        ({"runs": 1}, "greater than or equal to 2"),
        ({"runs": 5.0}, "valid integer"),
        ({"warmup": -1}, "greater than or equal to 0"),
        ({"threads": 0}, "greater than or equal to 1"),
        ({"rounds": 5}, "rounds"),
    ],
)
def test_bad_runs(change, message):
    with pytest.raises(ValidationError, match=message):
        LatencyRun(**{**SMALL, **change})


NAMES = ("tinynet_a", "efficientnet_b0")


@pytest.fixture(scope="module")
def record():
    """Times drawn at random: TinyNet-A needs 0.8 of what B0 does, torch twice as long as ONNX Runtime."""
    rng = np.random.default_rng(0)
    task = LatencyRun(networks=NAMES, backends=("torch", "onnxruntime"), runs=200)
    size = {"tinynet_a": 8.0, "efficientnet_b0": 10.0, "onnxruntime": 1.0, "torch": 2.0}
    arrays = {
        pair(b, n): (size[b] * size[n] * rng.lognormal(0, 0.05, 200)).round(3).tolist()
        for b in task.backends
        for n in NAMES
    }
    metrics = {name: float(np.median(x)) for name, x in arrays.items()}
    return Record(
        experiment=task, status="done", metrics=metrics, arrays=arrays, cost=task.cost(), wall_s=1.0, provenance={}
    )


def test_times_are_those_of_the_record(record):
    found = times(record)
    assert len(found) == 800
    assert [*found.backend.unique()] == ["onnxruntime", "torch"]
    for (backend, name), group in found.groupby(["backend", "network"]):
        assert group.ms.tolist() == record.arrays[pair(backend, name)]
        assert group["round"].tolist() == list(range(200))


@pytest.mark.parametrize("mean", [False, True])
def test_a_ratio_has_the_interval_of_whole_rounds(record, mean):
    found = ratio(record, "torch", "tinynet_a", "efficientnet_b0", mean=mean)
    top, bottom = (np.array(record.arrays[pair("torch", name)]) for name in NAMES)
    assert found.value == pytest.approx(top.mean() / bottom.mean() if mean else median_ratio(top, bottom))
    assert 0.77 < found.low < found.value < found.high < 0.83
