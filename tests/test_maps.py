import hashlib

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from torch.nn import functional as F

from tinynet_book.measure.cam import activation_maps
from tinynet_book.measure.maps import ActivationMaps
from tinynet_core import CreatureDataset, Experiment, Scale, Store, run
from tinynet_core.data import load_images
from tinynet_core.study.record import AnyTask, execute
from tinynet_core.study.task import weights_file
from tinynet_core.training.augment import evaluation_batch
from tinynet_core.training.loop import Interrupted
from tinynet_core.training.recipe import Recipe


def maps_of(experiment, **change):
    return ActivationMaps(**experiment.model_dump(exclude={"kind"}), **change)


@pytest.fixture(scope="module")
def experiment():
    """A network whose last feature map has 2x2 cells, on creatures that cover a part of the image."""
    dataset = CreatureDataset(genera=2, species=2, resolution=32, train_images=128, val_images=140, extent=(0.3, 0.5))
    recipe = Recipe(epochs=1, warmup_epochs=0.5)
    return Experiment(network="efficientnet_b0", scale=Scale(0.25, 0.5, 0.2), dataset=dataset, recipe=recipe)


@pytest.fixture(scope="module")
def stored(experiment, tmp_path_factory):
    """The training's record, the record of its maps, and the store."""
    store = Store(tmp_path_factory.mktemp("store"))
    return run(experiment, store, device="cpu"), run(maps_of(experiment, shown=5), store, device="cpu"), store


def test_the_task_is_told_apart_and_has_a_key_of_its_own(experiment):
    task = maps_of(experiment)
    assert task.training == experiment
    assert len({experiment.key, task.key, maps_of(experiment, shown=3).key}) == 3
    again = TypeAdapter(AnyTask).validate_json(task.model_dump_json())
    assert (type(again), again) == (ActivationMaps, task)
    assert (task.work, task.steps) == (experiment.spec().complexity().macs * 140, 2)


def test_a_network_without_class_activation_maps_is_refused(experiment):
    ghost = experiment.model_dump(exclude={"kind"}) | {"network": "ghostnet_a", "scale": None, "base": None}
    with pytest.raises(ValidationError, match="network ghostnet_a has no class activation maps"):
        ActivationMaps.model_validate(ghost)


def test_the_record_is_of_the_training_and_shows_some_of_its_images(stored):
    trained, maps, _ = stored
    found, index = maps.arrays, maps.arrays["index"]
    assert maps.metrics["top1"] == trained.metrics["top1"] == np.mean(found["correct"])
    assert maps.provenance["training"] == trained.key
    assert maps.provenance["dataset_sha256"] == trained.provenance["dataset_sha256"]
    assert index == sorted(set(index)) != list(range(5))
    assert found["label"] == [i % 4 for i in index]
    assert np.shape(found["map"]) == (5, 2, 2)
    assert all(np.ptp(m) > 0 for m in found["map"])
    right = [int(p == label) for p, label in zip(found["prediction"], found["label"], strict=True)]
    assert right == [found["correct"][i] for i in index]
    assert all(0.25 <= p <= 1 for p in found["probability"])


def test_the_measure_done_another_way(stored):
    """Image by image, with torch's own upsampling of the map and resizing of the region."""
    _, maps, store = stored
    task = maps.experiment
    module, side = task.training.module("cpu", store.root), task.spec().resolution
    data = load_images(task.dataset)
    labels = torch.from_numpy(np.array(data.val_labels))
    with torch.inference_mode():
        pixels = torch.from_numpy(np.array(data.val_images)).permute(0, 3, 1, 2)
        features = module.forward_features(evaluation_batch(pixels, side, task.recipe))
        drawn = activation_maps(features, module.classifier, labels).detach()
    assert drawn.shape[1:] == (2, 2)
    for i in (0, 17, 139):
        region = torch.from_numpy(task.dataset.region("val", i)).float()
        region = F.interpolate(region[None, None], (side, side), mode="bilinear", antialias=True)[0, 0]
        picture = F.interpolate(drawn[i].clamp(min=0)[None, None], (side, side), mode="bilinear")[0, 0]
        share = (picture * region).sum() / picture.sum() if picture.sum() > 0 else region.mean()
        assert maps.arrays["energy"][i] == pytest.approx(share.item(), abs=2e-3)
        assert maps.arrays["area"][i] == pytest.approx(region.mean().item(), abs=2e-3)


def test_weights_come_from_the_store_or_are_trained_now_and_every_network_shows_the_same_images(
    stored, experiment, tmp_path, monkeypatch
):
    _, maps, store = stored
    other = experiment.model_copy(update={"seed": 1, "scale": Scale(0.3, 0.5, 0.2)})
    assert execute(maps_of(other, shown=5), "cpu", tmp_path).arrays["index"] == maps.arrays["index"]
    assert weights_file(tmp_path, other.key).exists()
    assert not list((tmp_path / "checkpoints").iterdir())
    monkeypatch.setattr("tinynet_core.training.classifier.Run", None)
    assert execute(maps_of(experiment, shown=3), "cpu", store.root).metrics == maps.metrics
    digest = hashlib.sha256(store.weights(experiment).read_bytes()).hexdigest()
    assert maps.provenance["weights_sha256"] == digest


def test_a_stop_is_heeded(stored, experiment):
    _, _, store = stored
    with pytest.raises(Interrupted):
        maps_of(experiment, shown=2).perform("cpu", store.root, lambda: True, False)
