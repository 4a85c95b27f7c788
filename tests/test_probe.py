"""Probes: a few images of every class tell whether a data set is drawn as it was."""

import pytest

from tinynet_core import CocoDataset, GlyphDataset
from tinynet_core.data import glyphs
from tinynet_core.data.probe import PROBES, probe_hash, probes
from tinynet_core.study.presets import load_preset


@pytest.mark.parametrize(("n", "classes"), [(3000, 75), (1500, 75), (500, 8), (64, 4), (40, 75), (3, 2), (2500, 5)])
def test_every_class_is_probed_as_often_as_the_others(n, classes):
    found = probes(n, classes)
    assert found == probes(n, classes)
    assert len(set(found)) == len(found)
    assert all(0 <= index < n for index in found)
    assert {index % classes for index in found} == set(range(min(classes, n)))
    assert len(found) >= min(PROBES, n)


def test_another_letter_of_one_class_is_seen(monkeypatch):
    """The data set of the published study is what ``probe_hash`` was once blind to."""
    dataset = load_preset("reduced").dataset
    before = probe_hash(dataset)
    letters = list(glyphs.CLASSES)
    letters[67] = "X"
    monkeypatch.setattr(glyphs, "CLASSES", tuple(letters))
    probe_hash.cache_clear()
    assert probe_hash(dataset) != before
    probe_hash.cache_clear()


def test_photographs_have_no_probes():
    assert probe_hash(CocoDataset()) == ""
    assert probe_hash(GlyphDataset(train_images=64, val_images=64)) != ""
