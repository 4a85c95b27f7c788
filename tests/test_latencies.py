import numpy as np
import pytest
import torch
from pydantic import ValidationError

from tinynet_book.dataset import classifiers, latencies, latencies_run
from tinynet_book.measure.latencies import ModelLatencies, TimedNetwork, distinct
from tinynet_core import Base, Record, Scale, Store, run
from tinynet_core.study.pages import series, stages
from tinynet_core.study.presets import load_preset
from tinynet_core.training.loop import Interrupted

PROXY = {"network": "efficientnet_b0", "base": Base(32, 0.35, 4), "classes": 8}
SMALL = (
    TimedNetwork(**PROXY, scale=Scale(0.5, 0.3, 0.3)),
    TimedNetwork(**PROXY, scale=Scale(1.5, 1.0, 1.0), head="scaled"),
)


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    store = Store(tmp_path_factory.mktemp("store"))
    before = torch.get_num_threads()
    record = run(ModelLatencies(networks=SMALL, runs=12, warmup=1), store)
    assert torch.get_num_threads() == before
    return store, record


def test_the_record_has_medians_with_intervals_in_order(measured):
    store, record = measured
    middle, low, high = (np.array(record.arrays[name]) for name in ("median_ms", "low_ms", "high_ms"))
    assert middle.shape == (2,)
    assert (low > 0).all()
    assert (low <= middle).all()
    assert (middle <= high).all()
    assert middle[0] < middle[1]  # a fiftieth of the multiply-adds
    assert record.metrics == {"round_ms": pytest.approx(middle.sum(), abs=1e-4)}
    assert store.get(record.experiment) == record
    assert Record.from_json(record.to_json()) == record


def test_cost_and_a_store_beside_trainings(measured):
    macs = sum(timed.spec().complexity().macs for timed in SMALL)
    assert measured[1].cost == {"networks": 2, "total_macs": macs}
    (row,) = measured[0].frame().itertuples()
    assert (row.kind, row.network, row.networks) == ("latencies", "", 2)
    assert row.macs != row.macs  # no network of its own


def test_a_stop_keeps_nothing(tmp_path):
    asked = iter([False, True])
    with pytest.raises(Interrupted):
        ModelLatencies(networks=SMALL, runs=3, warmup=0).perform("cpu", tmp_path, lambda: next(asked), False)
    assert not list(tmp_path.iterdir())


def test_a_network_is_timed_once_whatever_its_seed_and_recipe(make_experiment):
    first, other = make_experiment(), make_experiment(Scale(0.12, 0.5, 0.3))
    fixed = first.model_copy(update={"head": "fixed"})  # what this network has anyway
    found = distinct([first, make_experiment(seed=1), other, make_experiment(epochs=3), fixed])
    assert [timed.spec() for timed in found] == [first.spec(), other.spec()]
    assert distinct([first, other], most=1) == found[:1]
    assert distinct([]) == ()


def test_key_does_not_change_unnoticed():
    task = ModelLatencies(networks=SMALL)
    assert task.key == ModelLatencies(networks=[x.model_dump() for x in SMALL], runs=200, warmup=20, seed=0).key
    assert task.key != ModelLatencies(networks=SMALL[::-1]).key


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"networks": ()}, "at least 1 item"),
        ({"networks": ({"network": "tinynet_z"},)}, "unknown network 'tinynet_z', nearest: tinynet_"),
        ({"networks": ({"network": "tinynet_e", "scale": Scale()},)}, "tinynet_e has its own scale"),
        ({"networks": ({"network": "tinynet_e", "classes": 0},)}, "greater than or equal to 1"),
        ({"networks": ({"network": "tinynet_e", "recipe": 1},)}, "recipe"),
        ({"networks": (SMALL[0], SMALL[0])}, r"efficientnet_b0 \(r 0.5, d 0.3, w 0.3\) is listed twice"),
        ({"networks": (SMALL[0], SMALL[0].model_copy(update={"head": "fixed"}))}, "is listed twice"),
        ({"runs": 1}, "greater than or equal to 2"),
        ({"warmup": -1}, "greater than or equal to 0"),
        ({"threads": 0}, "greater than or equal to 1"),
        ({"rounds": 5}, "rounds"),
    ],
)
def test_bad_tasks(change, message):
    with pytest.raises(ValidationError, match=message):
        ModelLatencies(**{"networks": SMALL, **change})


@pytest.fixture(scope="module")
def study(made_up_study):
    return made_up_study


def test_the_page_of_all_models_wants_all_classifiers_and_ends_with_its_timing(study):
    everything = {e for series in classifiers(study).values() for e in series.all()}
    found = list(stages(study, ["cost"]))
    timings = [task for stage in found for task in stage if isinstance(task, ModelLatencies)]
    assert timings == [latencies_run(study)]
    assert [timings] == [stage for stage in found if timings[0] in stage]  # alone on the machine
    assert {task for stage in found for task in stage} - set(timings) == everything
    assert latencies(study).experiment == timings[0]
    assert not any(isinstance(task, ModelLatencies) for stage in stages(study, ["table4"]) for task in stage)


def test_presets_time_the_networks_of_table_3_first(study):
    networks = latencies_run(study).networks
    table3 = distinct(series(study, "table3").all())
    assert networks[: len(table3)] == table3
    assert load_preset("reduced").latency.models is None
    assert load_preset("reduced").latency.model_runs >= 200
