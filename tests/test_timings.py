import numpy as np
import pytest

from tinynet_book import figures
from tinynet_book.measure import timings
from tinynet_book.measure.clock import median_ratio
from tinynet_book.measure.latency_run import LatencyRun, pair
from tinynet_core import Record
from tinynet_core.study.record import failed

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
    times = timings.times(record)
    assert len(times) == 800
    assert timings.backends(record) == ("onnxruntime", "torch")
    for (backend, name), group in times.groupby(["backend", "network"]):
        assert group.ms.tolist() == record.arrays[pair(backend, name)]
        assert group["round"].tolist() == list(range(200))


def test_medians(record):
    found = timings.medians(record).set_index(["backend", "network"])
    for (backend, name), row in found.iterrows():
        times = np.array(record.arrays[pair(backend, name)])
        assert row["median"] == pytest.approx(np.median(times))
        assert row["mean"] == pytest.approx(times.mean())
        assert row["low"] < row["median"] < row["high"]
        # asymptotic standard error of a median: 1.2533 standard deviations over the root of n
        assert (row["high"] - row["low"]) / 2 == pytest.approx(1.96 * 1.2533 * times.std() / 200**0.5, rel=0.4)
        assert row["n"] == 200


@pytest.mark.parametrize("mean", [False, True])
def test_ratio(record, mean):
    found = timings.ratio(record, "torch", "tinynet_a", "efficientnet_b0", mean=mean)
    top, bottom = (np.array(record.arrays[pair("torch", name)]) for name in NAMES)
    assert found.value == pytest.approx(top.mean() / bottom.mean() if mean else median_ratio(top, bottom))
    assert 0.77 < found.low < found.value < found.high < 0.83


def test_costs_are_exact():
    """Layers: stem, 4 in the first block, 5 in each other one, head and classifier; 19 blocks and 16 blocks."""
    costs = timings.counted(NAMES)
    assert costs.macs.tolist() == [336_867_712, 385_814_752]
    assert costs.params.tolist() == [6_187_972, 5_288_548]
    assert costs.layers.tolist() == [1 + 4 + 18 * 5 + 2, 1 + 4 + 15 * 5 + 2]
    assert costs.resolution.tolist() == [192, 224]


def test_other_records_are_refused(make_experiment):
    with pytest.raises(ValueError, match="must be of a latency run, got one of kind 'training'"):
        timings.times(failed(make_experiment(), "no"))


def test_figures(record):
    labels = {name: name.upper() for name in NAMES} | timings.BACKENDS
    figure = figures.latency_distributions(timings.times(record), labels)
    assert [axes.get_title() for axes in figure.axes] == ["ONNX Runtime", "torch eager"]
    assert all("n = 200" in axes.get_ylabel() and "milliseconds" in axes.get_xlabel() for axes in figure.axes)
    medians = [f"{x.network.upper()}, median {x.median:.2f}" for x in timings.medians(record).itertuples()]
    shown = [text.get_text() for axes in figure.axes for text in axes.get_legend().get_texts()]
    assert shown == medians


def test_figure_of_ratios():
    import pandas as pd

    rows = [
        {"comparison": "A over B", "measure": "paper", "value": 0.8, "quoted": True},
        {"comparison": "A over B", "measure": "time", "value": 0.9, "low": 0.88, "high": 0.93, "quoted": False},
    ]
    (axes,) = figures.latency_ratios(pd.DataFrame(rows), 50).axes
    assert [t.get_text() for t in axes.get_yticklabels()] == ["paper", "time"]
    assert "n = 50" in axes.get_xlabel()
    assert {t.get_text() for t in axes.texts} == {"0.800", "0.900"}
