"""The records that the checkout comes with: whole, from clean trees, and made by the training of now."""

import re

from tinynet_core import Store
from tinynet_core.presets import preset_names, project_root
from tinynet_core.training.loop import TRAINING_VERSION

STORES = sorted((project_root() / "results").glob("*/records.jsonl"))


def test_each_store_is_of_a_preset_and_sound():
    assert {path.parent.name for path in STORES} <= set(preset_names())
    for path in STORES:
        assert Store(path.parent).check().sound


def test_the_records_come_from_clean_trees_and_the_present_training():
    for record in (record for path in STORES for record in Store(path.parent).records()):
        assert record.provenance["clean"] is True
        assert re.fullmatch(r"[0-9a-f]{40}", record.provenance["commit"])
        assert record.provenance["training_version"] == TRAINING_VERSION
        assert record.done or record.reason


def test_no_path_of_a_machine_is_in_them():
    for path in STORES:
        assert not re.search(r"/(home|root|work|Users|tmp)/", path.read_text())
