"""Weights that trainings leave, and tasks that start with them."""

import threading
import time

import pytest
import torch

from tinynet_book.measure.maps import ActivationMaps
from tinynet_core import Store, run
from tinynet_core.study.classify import Experiment
from tinynet_core.study.task import claim
from tinynet_core.training import loop, trained_weights
from tinynet_core.training.trained_weights import WeightsError


@pytest.fixture
def experiment(make_experiment):
    return make_experiment(epochs=1)


def maps_of(experiment):
    return ActivationMaps(**{name: getattr(experiment, name) for name in Experiment.model_fields if name != "kind"})


def test_a_training_leaves_its_averaged_weights(experiment, tmp_path):
    store = Store(tmp_path)
    record = run(experiment, store, "cpu")
    module = experiment.module("cpu", store.root)
    again = experiment.module("cpu", None)  # trained anew, without a store
    assert not module.training
    for name, value in module.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name
    maps = run(maps_of(experiment), store, "cpu")
    assert maps.metrics["top1"] == record.metrics["top1"]
    assert maps.provenance["weights_sha256"] == trained_weights.digest(store.weights(experiment))


def test_weights_of_another_version_or_other_images_are_refused(experiment, tmp_path, monkeypatch):
    store = Store(tmp_path)
    run(experiment, store, "cpu")
    monkeypatch.setattr(loop, "TRAINING_VERSION", 99)
    with pytest.raises(WeightsError, match=r"training_version is 2, wanted is 99\): delete the file"):
        experiment.module("cpu", store.root)


@pytest.mark.parametrize("content", [b"", b"nonsense", b"\x08\0\0\0\0\0\0\0{}      "])
def test_damaged_weights_are_refused(experiment, tmp_path, content):
    path = Store(tmp_path).weights(experiment)
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    with pytest.raises(WeightsError, match="delete the file to train them anew"):
        experiment.module("cpu", tmp_path)


def test_weights_that_another_process_is_making_are_waited_for(experiment, tmp_path):
    elsewhere = Store(tmp_path / "elsewhere")
    run(experiment, elsewhere, "cpu")
    store, found = Store(tmp_path / "store"), []
    with claim(store.checkpoint(experiment)) as mine:
        assert mine
        waiting = threading.Thread(target=lambda: found.append(experiment.module("cpu", store.root)))
        waiting.start()
        time.sleep(1.0)
        assert not found
        assert not store.checkpoint(experiment).exists()  # it did not train beside the other
        store.weights(experiment).parent.mkdir()
        store.weights(experiment).write_bytes(elsewhere.weights(experiment).read_bytes())
        waiting.join(timeout=20)
    assert len(found) == 1


def test_a_task_that_trains_its_network_itself_leaves_no_checkpoint(experiment, tmp_path):
    store = Store(tmp_path)
    record = run(maps_of(experiment), store, "cpu")
    assert record.done
    assert store.weights(experiment).exists()
    assert not list((tmp_path / "checkpoints").glob("*.pt"))
