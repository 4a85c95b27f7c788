"""What all data sets that the package draws have in common."""

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

from tinynet_core import machine
from tinynet_core.data import (
    CocoDataset,
    CreatureDataset,
    CreatureSceneDataset,
    Dataset,
    DetectionDataset,
    GlyphDataset,
    SceneDataset,
    drawn,
    load_detection,
    load_images,
    portrait,
)
from tinynet_core.data.drawn import PROBES, probe_hash, probes

IMAGES = (
    GlyphDataset(classes=6, resolution=24, train_images=60, val_images=12),
    CreatureDataset(genera=3, species=2, habitats=4, resolution=24, train_images=60, val_images=12),
)
SCENES = (
    SceneDataset(classes=3, side=96, train_images=12, val_images=6, most=5, seed=3),
    CreatureSceneDataset(classes=3, side=96, train_images=12, val_images=6, most=5, seed=3, difficulty=0.4),
)


def each(*datasets):
    return pytest.mark.parametrize("dataset", datasets, ids=lambda dataset: dataset.kind)


def load(dataset):
    drawn._arrays.cache_clear()
    return load_images(dataset) if dataset in IMAGES else load_detection(dataset)


def changed(dataset, **values):
    return dataset.model_copy(update=values)


@each(*IMAGES, *SCENES)
def test_an_image_depends_on_seed_split_and_index_alone(dataset):
    first = dataset.draw("train", 3)
    again = changed(dataset, train_images=10, val_images=1).draw("train", 3)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    for other in (changed(dataset, seed=9).draw("train", 3), dataset.draw("val", 3), dataset.draw("train", 4)):
        assert not np.array_equal(first[0], other[0])


def test_the_number_of_workers_does_not_change_a_byte(monkeypatch):
    monkeypatch.setattr(machine, "_CHUNK", 5)
    one, two = drawn.render(SCENES[1]), drawn.render(SCENES[1], workers=2)
    assert all(np.array_equal(one[name], two[name]) for name in one)


def test_an_image_in_both_splits_is_refused_and_leaves_no_cache(cache, monkeypatch):
    monkeypatch.setattr(CreatureDataset, "draw", lambda *which: (np.zeros((24, 24, 3), np.uint8),))
    with pytest.raises(RuntimeError, match="both in train and in val"):
        load(IMAGES[1])
    assert [p.name for p in cache.iterdir() if p.suffix != ".lock"] == []


@pytest.mark.parametrize("damage", [lambda body: body[:-1] + b"\x77", lambda body: body[:500]], ids=["byte", "cut off"])
def test_the_cache_is_read_back_and_rebuilt_where_anything_is_wrong(cache, damage):
    first = load(SCENES[1]).content_hash
    stamps = {p: p.stat().st_mtime_ns for p in cache.rglob("*.npy")}
    assert load(SCENES[1]).content_hash == first
    assert {p: p.stat().st_mtime_ns for p in cache.rglob("*.npy")} == stamps
    file = next(cache.rglob("val_images.npy"))
    file.write_bytes(damage(file.read_bytes()))
    with pytest.warns(UserWarning, match=r"dataset cache .* cannot be used .* rebuilding it"):
        assert load(SCENES[1]).content_hash == first


@each(*SCENES)
def test_the_annotations_are_cocos(cache, dataset):
    data = load(dataset)
    truth = data.truth()
    assert sorted(truth.getImgIds()) == data.val.ids.tolist() == [1, 2, 3, 4, 5, 6]
    assert tuple(c["name"] for c in truth.loadCats(truth.getCatIds())) == data.names == dataset.names
    for i, image in enumerate(data.val.ids.tolist()):
        found, scene = truth.loadAnns(truth.getAnnIds(imgIds=[image])), dataset.draw("val", i)
        assert np.array_equal(data.val.boxes[data.val.objects(i)], scene.boxes)
        labels = data.val.labels[data.val.objects(i)].tolist()
        assert [a["category_id"] for a in found] == labels == scene.labels.tolist()
        for annotation, (left, top, right, bottom) in zip(found, scene.boxes.tolist(), strict=True):
            assert annotation["bbox"] == [left, top, right - left, bottom - top]
            assert annotation["area"] == (right - left) * (bottom - top)


@each(*SCENES)
def test_objects_are_inside_apart_and_visible(dataset):
    for index in range(20):
        scene = changed(dataset, difficulty=0.0).draw("val", index)
        assert scene.image.shape == (96, 96, 3)
        assert 1 <= len(scene.boxes) == len(scene.labels) <= dataset.most
        assert 0 <= scene.boxes.min() < scene.boxes.max() <= 96
        assert set(scene.labels) <= {1, 2, 3}
        covered = np.zeros((96, 96), int)
        for left, top, right, bottom in scene.boxes:
            covered[top:bottom, left:right] += 1
            patch = scene.image[top:bottom, left:right].astype(float) @ (0.299, 0.587, 0.114)
            assert np.ptp(patch) > 25
        assert covered.max() == 1


@each(*SCENES)
def test_shares_are_shares_of_cocos_sizes(dataset):
    """On canvases with one object; the limits are COCO's at 512 pixels and go with the area of the canvas."""
    shares, n = np.array([0.2, 0.5, 0.3]), 120
    one = changed(dataset, most=1, shares=tuple(shares), difficulty=0.0)
    assert one.area_limits == pytest.approx((6**2, 18**2))
    boxes = np.concatenate([one.draw("val", i).boxes for i in range(n)])
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    counts = np.bincount(np.searchsorted(one.area_limits, areas, side="right"), minlength=3)
    assert counts.sum() == n
    assert (np.abs(counts - n * shares) < 3 * np.sqrt(n * shares * (1 - shares))).all(), counts


@pytest.mark.parametrize(
    ("dataset", "bad"),
    [
        *((CreatureDataset, bad) for bad in ({"sede": 1}, {"home": float("nan")}, {"seed": 2**32})),
        *((CreatureDataset, {"extent": bad}) for bad in ((0.5, 0.4), (0.5, float("nan")))),
        (CreatureSceneDataset, {"shares": (0.5, 0.5, 0.5)}),
    ],
)
def test_bad_configurations(dataset, bad):
    with pytest.raises(ValidationError, match=next(iter(bad))):
        dataset(**bad)


@each(*IMAGES, *SCENES)
def test_a_configuration_survives_yaml_and_json(dataset):
    adapter = TypeAdapter(Dataset if dataset in IMAGES else DetectionDataset)
    name, values = ("extent", [0.3, 0.5]) if dataset in IMAGES else ("shares", [0.2, 0.3, 0.5])
    loaded = adapter.validate_python(dataset.model_dump(mode="json") | {name: values})
    assert loaded == changed(dataset, **{name: tuple(values)})
    assert adapter.validate_json(loaded.model_dump_json()) == loaded
    assert len({loaded.key, dataset.key, changed(dataset, seed=5).key}) == 3


@pytest.mark.parametrize(("n", "classes"), [(3000, 75), (500, 8), (40, 75), (3, 2)])
def test_every_class_is_probed_as_often_as_the_others(n, classes):
    found = probes(n, classes)
    assert found == probes(n, classes)
    assert len(set(found)) == len(found) >= min(PROBES, n)
    assert all(0 <= index < n for index in found)
    assert {index % classes for index in found} == set(range(min(classes, n)))
    assert probe_hash(CocoDataset()) == ""  # photographs have none


def test_another_look_of_one_class_is_seen(monkeypatch):
    dataset = CreatureDataset(genera=2, species=2)
    before = probe_hash(dataset)
    species = portrait.world(dataset.seed, 2, 2, dataset.habitats, dataset.spread).species[3]
    monkeypatch.setattr(species, "head", (species.head + 1) % 8)
    probe_hash.cache_clear()
    assert probe_hash(dataset) != before
    probe_hash.cache_clear()
