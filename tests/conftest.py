import os
from pathlib import Path

import pytest
import torch
import yaml

from tinynet_core import CreatureDataset, Experiment, Recipe, Scale

ROOT = Path(__file__).resolve().parent.parent
TINY = {
    "name": "tiny",
    "about": "for tests",
    "base": {"resolution": 32, "width": 0.35, "divisor": 4},
    "dataset": {"kind": "creatures", "genera": 2, "species": 2, "resolution": 32, "train_images": 96, "val_images": 32},
    "recipe": {"epochs": 2, "batch_size": 32, "warmup_epochs": 0.5},
    "random_sample": {"models": 5, "frontier": 0.8},
}
"""A preset whose trainings take a second."""


@pytest.fixture(scope="session", autouse=True)
def _cache(tmp_path_factory):
    """Rendered images go to a folder of this test run, unless the caller names one."""
    os.environ.setdefault("TINYNET_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(scope="session")
def made_up_study(tmp_path_factory):
    """The smoke preset with records that are made up; only to be read."""
    from fake_study import fake_study

    return fake_study(tmp_path_factory.mktemp("made_up"))


@pytest.fixture
def made_up_sweep(monkeypatch):
    """Sweeps make their records up; sweeping itself is tested alone."""
    from fake_study import trained

    def sweep(tasks, store, *_, **__):
        records = [trained(task) for task in tasks]
        for record in records:
            store.put(record)
        return records

    monkeypatch.setattr("tinynet_core.study.sweep.sweep", sweep)


@pytest.fixture
def tiny(tmp_path):
    """The path of a file with the preset ``TINY``."""
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(TINY), encoding="utf-8")
    return str(path)


@pytest.fixture
def one_thread():
    """As in the workers, where training is in this process."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache of data sets and weights."""
    monkeypatch.setenv("TINYNET_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def make_experiment():
    """An experiment that trains in about a second; keyword arguments go to its recipe."""
    dataset = CreatureDataset(genera=2, species=2, resolution=32, train_images=256, val_images=64)

    def make(scale=Scale(0.12, 0.5, 0.2), seed=0, **recipe):  # noqa: B008
        recipe = Recipe(**{"epochs": 2, "warmup_epochs": 0.5, "batch_size": 32, **recipe})
        return Experiment(network="efficientnet_b0", scale=scale, dataset=dataset, recipe=recipe, seed=seed)

    return make
