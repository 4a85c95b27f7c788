"""From a folder of JPEG files to a record: what a user of ImageNet does, in small."""

import pytest
from jpegs import wnid, write_image_folder

from tinynet_core import Experiment, Scale, Store, load_preset, run
from tinynet_core.data import ImageNetDataset
from tinynet_core.study.pages import offered
from tinynet_core.training.recipe import EFFICIENTNET_RECIPE

RECIPE = EFFICIENTNET_RECIPE.scaled(epochs=2, batch_size=16, images=30 / 1_281_167).model_copy(
    update={"rand_augment": 9.0, "zero_init_residual": True, "lr": 1.0}
)
DATASET = {"kind": "imagenet", "classes": 3, "class_seed": 1, "train_per_class": 10, "side": 32}


def experiment(**dataset):
    scale, data = Scale(0.1, 0.5, 0.25), ImageNetDataset(**DATASET | dataset)
    return Experiment(network="efficientnet_b0", scale=scale, dataset=data, recipe=RECIPE)


def test_a_cached_and_a_streamed_training_are_one_experiment_with_one_result(tmp_path, monkeypatch):
    root = write_image_folder(tmp_path / "images", classes=4, train=12, val=4)
    monkeypatch.setenv("TINYNET_IMAGENET", str(root))
    monkeypatch.setenv("TINYNET_CACHE", str(tmp_path / "cache"))
    cached, streamed = experiment(), experiment(stream=True)
    assert cached.key == streamed.key
    a = run(cached, Store(tmp_path / "a"), "cpu")
    b = run(streamed, Store(tmp_path / "b"), "cpu")
    assert a.done
    assert a.curve == b.curve
    assert a.provenance["dataset_sha256"] == b.provenance["dataset_sha256"]


def test_the_preset_imagenette_on_a_small_folder_of_its_layout(tmp_path, monkeypatch):
    preset = load_preset("imagenette")
    root = write_image_folder(tmp_path / "imagenette2-160", classes=10, train=2, val=1)
    for split in ("train", "val"):
        for label, name in enumerate(preset.dataset.wnids):
            (root / split / wnid(label)).rename(root / split / name)
    monkeypatch.setenv("TINYNET_IMAGENET", str(root))
    monkeypatch.setenv("TINYNET_CACHE", str(tmp_path / "cache"))
    assert (preset.dataset.train_images, preset.dataset.val_images, preset.evidence) == (8580, 3925, "proxy")
    assert {"fig1", "fig3", "table1", "table3"} <= offered(preset)
    dataset = preset.dataset.model_copy(update={"train_per_class": 2, "validation_images": 10})
    recipe = preset.recipe.scaled(epochs=1).model_copy(update={"batch_size": 10, "precision": "fp32"})
    small = preset.model_copy(update={"dataset": dataset, "recipe": recipe})
    record = run(small.experiment(Scale(0.2, 0.3, 0.1)), Store(tmp_path / "store"), "cpu")
    assert record.done
    assert 10 * record.metrics["top1"] == pytest.approx(round(10 * record.metrics["top1"]))
