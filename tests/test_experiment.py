import re

import pytest
import small
from pydantic import ValidationError

from tinynet_core import Experiment, Scale, Store
from tinynet_core.networks import SCALABLE
from tinynet_core.study.record import execute, failed, to_frame


def test_key_is_of_the_content_alone(make_experiment):
    a, b = make_experiment(), make_experiment()
    assert a.key == b.key
    assert re.fullmatch("[0-9a-f]{64}", a.key)
    others = [make_experiment(seed=1), make_experiment(lr=0.1), make_experiment(scale=Scale(0.12, 0.5, 0.4))]
    assert len({a.key, a.model_copy(update={"seed": 5}).key, *(o.key for o in others)}) == 5
    almost, other = make_experiment(lr=0.1 * (1 + 2e-16)), make_experiment(lr=0.1 * (1 + 1e-8))
    assert almost.key == others[1].key != other.key  # the last digits of a power do not count
    assert Experiment.model_validate_json(a.model_dump_json()).key == a.key


def test_key_does_not_change_unnoticed(make_experiment):
    """A change here orphans every record ever made."""
    assert make_experiment().key == "3c9a818430691bb4168e54b87ff9009ab7b723a361aec3d0cc5c9fa893c0a583"


def test_two_scales_of_one_network_are_one_experiment(make_experiment, tmp_path):
    """Multipliers, name, head and base are labels: what counts is the network that they give."""
    a, b = make_experiment(scale=Scale(0.12, 0.5, 0.2)), make_experiment(scale=Scale(0.1201, 0.51, 0.2001))
    assert (a.spec().stages, a.spec().resolution) == (b.spec().stages, b.spec().resolution)
    assert (a.key, a) == (b.key, b)
    assert len({a, b}) == 1
    store = Store(tmp_path)
    store.put(failed(a, "because"))
    assert store.missing([b, a]) == []
    assert store.get(b).experiment.scale == b.scale
    assert store.records()[0].experiment.scale == a.scale


def test_a_named_network_is_the_one_at_its_scale(make_experiment):
    content = make_experiment().model_dump() | {"base": None}
    named = Experiment.model_validate(content | {"network": "tinynet_e", "scale": None})
    scaled = Experiment.model_validate(content | {"network": "efficientnet_b0", "scale": Scale(0.475, 0.60, 0.51)})
    assert named.key == scaled.key
    assert named.key != scaled.model_copy(update={"head": "scaled"}).key


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"network": "tinynet_z"}, "unknown network"),
        ({"network": "tinynet_a"}, "has a fixed scale"),
        ({"sede": 1}, "sede"),
        ({"network": "mobilenetv2_100", "scale": None, "base": None}, "must be false for mobilenetv2"),
        ({"recipe": {"epochs": 2, "batch_size": 512}}, "batch_size 512 is above the 256 training images"),
    ],
)
def test_bad_experiments(make_experiment, change, message):
    with pytest.raises(ValidationError, match=message):
        Experiment.model_validate({**make_experiment().model_dump(), **change})


@pytest.mark.parametrize("name", ["ghostnet_a_hswish", "shufflenetv2_050"])
def test_networks_that_no_golden_run_has_train(name):
    content = small.experiment(epochs=1).model_dump() | {"network": name, "base": None}
    content["scale"] = Scale(0.13, 0.3, 0.15) if name in SCALABLE else None
    content["recipe"] |= {"zero_init_residual": False, "zero_init_classifier": False}
    record = execute(Experiment.model_validate(content), device="cpu")
    assert record.done
    assert to_frame([record]).r.isna().item() == (name not in SCALABLE)


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: you tr")])
def test_lack_of_memory_becomes_a_failed_record(monkeypatch, error):
    def perform(*_):
        raise error

    monkeypatch.setattr(Experiment, "perform", perform)
    assert execute(small.experiment(), "cpu").reason == "out of memory on cpu"
