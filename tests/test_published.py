"""The records that the checkout comes with: whole, from clean trees, and made by the training of now."""

import re

import pytest

from tinynet_core import Store
from tinynet_core.presets import preset_names, project_root
from tinynet_core.training.loop import TRAINING_VERSION

STORES = sorted((project_root() / "results").glob("*/records.jsonl"))


@pytest.fixture(params=STORES, ids=lambda path: path.parent.name)
def records(request):
    store = Store(request.param.parent)
    assert store.check().sound
    return store.records()


def test_each_is_of_a_preset():
    assert {path.parent.name for path in STORES} <= set(preset_names())
    assert STORES


def test_they_come_from_clean_trees_and_the_present_training(records):
    assert len({record.key for record in records}) == len(records)
    for record in records:
        assert record.provenance["clean"] is True
        assert re.fullmatch(r"[0-9a-f]{40}", record.provenance["commit"])
        assert record.provenance["training_version"] == TRAINING_VERSION
        assert record.done or record.reason


def test_no_path_of_a_machine_is_in_them():
    for path in STORES:
        assert not re.search(r"/(home|root|work|Users|tmp)/", path.read_text())
