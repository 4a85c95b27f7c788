"""What all data sets that the package draws have in common."""

import hashlib
import json

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

from tinynet_core.data import (
    CreatureDataset,
    CreatureSceneDataset,
    Dataset,
    DetectionDataset,
    GlyphDataset,
    SceneDataset,
    drawn,
    load_detection,
    load_images,
)

IMAGES = (
    GlyphDataset(classes=6, resolution=24, train_images=60, val_images=12),
    CreatureDataset(genera=3, species=2, habitats=4, resolution=24, train_images=60, val_images=12),
)
SCENES = (
    SceneDataset(classes=3, side=96, train_images=12, val_images=6, most=5, seed=3),
    CreatureSceneDataset(classes=3, side=96, train_images=12, val_images=6, most=5, seed=3, difficulty=0.4),
)
every = pytest.mark.parametrize("dataset", [*IMAGES, *SCENES], ids=lambda dataset: dataset.kind)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TINYNET_CACHE", str(tmp_path))
    return tmp_path


def load(dataset):
    drawn._arrays.cache_clear()
    return load_images(dataset) if dataset in IMAGES else load_detection(dataset)


def render(dataset, workers=1):
    return (drawn.render_images if dataset in IMAGES else drawn.render_scenes)(dataset, workers)


def changed(dataset, **values):
    return type(dataset)(**{**dataset.model_dump(), **values})


@every
def test_an_image_depends_on_seed_split_and_index_alone(dataset):
    first = dataset.draw("train", 3)
    again = changed(dataset, train_images=10, val_images=1).draw("train", 3)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    for other in (changed(dataset, seed=9).draw("train", 3), dataset.draw("val", 3), dataset.draw("train", 4)):
        assert not np.array_equal(first[0], other[0])


@pytest.mark.parametrize("dataset", [IMAGES[1], SCENES[1]], ids=lambda dataset: dataset.kind)
def test_the_number_of_workers_does_not_change_a_byte(dataset, monkeypatch):
    monkeypatch.setattr(drawn, "_CHUNK", 5)
    one, two = render(dataset), render(dataset, workers=2)
    assert all(np.array_equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize("dataset", IMAGES, ids=lambda dataset: dataset.kind)
def test_labels_go_around_and_no_image_comes_twice(dataset):
    arrays = render(dataset)
    assert arrays["train_images"].shape == (60, 24, 24, 3)
    assert arrays["train_images"].dtype == np.uint8
    assert np.bincount(arrays["train_labels"]).tolist() == [10] * 6
    assert len({image.tobytes() for split in ("train", "val") for image in arrays[f"{split}_images"]}) == 72


def test_an_image_in_both_splits_is_refused_and_leaves_no_cache(cache, monkeypatch):
    monkeypatch.setattr(CreatureDataset, "draw", lambda *which: (np.zeros((24, 24, 3), np.uint8),))
    with pytest.raises(RuntimeError, match="both in train and in val"):
        load(IMAGES[1])
    assert [p.name for p in cache.iterdir() if p.suffix != ".lock"] == []


@every
def test_the_cache_is_read_back_and_rebuilt_where_a_byte_changed(cache, dataset):
    first = load(dataset)
    files = {p: p.stat().st_mtime_ns for p in cache.rglob("*.npy")}
    assert load(dataset).content_hash == first.content_hash
    assert files == {p: p.stat().st_mtime_ns for p in cache.rglob("*.npy")}
    victim = next(cache.rglob("val_labels.npy"))
    content = bytearray(victim.read_bytes())
    content[-1] ^= 1
    victim.write_bytes(content)
    with pytest.warns(UserWarning, match=r"dataset cache .* cannot be used .* rebuilding it"):
        assert load(dataset).content_hash == first.content_hash


@pytest.mark.parametrize("damage", ["cut off", "empty", "no meta", "a list"])
def test_any_damage_is_noticed(cache, damage):
    good = load(IMAGES[1]).content_hash
    images, meta = (next(cache.rglob(name)) for name in ("val_images.npy", "meta.json"))
    if damage == "no meta":
        meta.unlink()
    elif damage in ("cut off", "empty"):
        images.write_bytes(images.read_bytes()[: 500 * (damage == "cut off")])
    else:
        meta.write_text("[]", encoding="utf-8")
    with pytest.warns(UserWarning, match=r"dataset cache .* cannot be used .* rebuilding it"):
        assert load(IMAGES[1]).content_hash == good


def test_the_content_hash_is_that_of_the_bytes(cache):
    images, digest = load(IMAGES[0]), hashlib.sha256()
    for name in ("train_images", "train_labels", "val_images", "val_labels"):
        array = getattr(images, name)
        digest.update(f"{name}{array.shape}".encode() + array.tobytes())
    assert digest.hexdigest() == images.content_hash
    assert json.loads(next(cache.rglob("meta.json")).read_text(encoding="utf-8"))["sha256"] == images.content_hash


@pytest.mark.parametrize("dataset", SCENES, ids=lambda dataset: dataset.kind)
def test_the_annotations_are_cocos(cache, dataset):
    data = load(dataset)
    truth = data.truth()
    assert sorted(truth.getImgIds()) == data.val.ids.tolist() == [1, 2, 3, 4, 5, 6]
    assert tuple(c["name"] for c in truth.loadCats(truth.getCatIds())) == data.names == dataset.names
    for i, image in enumerate(data.val.ids.tolist()):
        found = truth.loadAnns(truth.getAnnIds(imgIds=[image]))
        boxes, labels = data.val.boxes[data.val.objects(i)], data.val.labels[data.val.objects(i)]
        scene = dataset.draw("val", i)
        assert np.array_equal(boxes, scene.boxes)
        assert [a["category_id"] for a in found] == labels.tolist() == scene.labels.tolist()
        for annotation, (left, top, right, bottom) in zip(found, boxes.tolist(), strict=True):
            assert annotation["bbox"] == [left, top, right - left, bottom - top]
            assert annotation["area"] == (right - left) * (bottom - top)


@pytest.mark.parametrize("dataset", SCENES, ids=lambda dataset: dataset.kind)
def test_objects_are_inside_apart_and_visible(dataset):
    for index in range(30):
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


@pytest.mark.parametrize("dataset", SCENES, ids=lambda dataset: dataset.kind)
def test_shares_are_shares_of_cocos_sizes(dataset):
    """On canvases with one object; the limits are COCO's at 512 pixels and go with the area of the canvas."""
    shares, n = np.array([0.2, 0.5, 0.3]), 200
    one = changed(dataset, most=1, shares=shares.tolist(), difficulty=0.0)
    assert one.area_limits == pytest.approx((6**2, 18**2))
    boxes = np.concatenate([one.draw("val", i).boxes for i in range(n)])
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    counts = np.bincount(np.searchsorted(one.area_limits, areas, side="right"), minlength=3)
    assert counts.sum() == n
    assert (np.abs(counts - n * shares) < 3 * np.sqrt(n * shares * (1 - shares))).all(), counts


BAD = {
    GlyphDataset: [{"classes": 1}, {"classes": 101}, {"difficulty": 1.1}],
    CreatureDataset: [
        *({"genera": 1}, {"species": 27}, {"habitats": 0}, {"spread": 0.0}, {"variety": -0.1}, {"seed": 2**32}),
        *({"home": float("nan")}, {"pose": 2.1}, {"occlusion": "often"}, {"renderer": 2}, {"seed": 1.0}),
        *({"extent": bad} for bad in ((0.0, 0.5), (0.5, 0.4), (0.5, 1.1), (0.5, float("nan")), 0.5, (0.1, "0.2"))),
    ],
    SceneDataset: [{"classes": 11}, {"side": 32}, {"most": 0}],
    CreatureSceneDataset: [
        *({"classes": 0}, {"side": 64}, {"seed": 2**32}),
        *({"shares": bad} for bad in ((0.5, 0.5, 0.5), (float("nan"), 0.5, 0.5), (1.5, -0.5, 0.0), (0.5, 0.5))),
    ],
}


@pytest.mark.parametrize(
    ("dataset", "bad"), [(kind, bad) for kind in BAD for bad in [{"sede": 1}, {"train_images": 0}, *BAD[kind]]]
)
def test_bad_configurations(dataset, bad):
    with pytest.raises(ValidationError, match=next(iter(bad))) as error:
        dataset(**bad)
    assert len({e["loc"][0] for e in error.value.errors()}) == 1


@every
def test_a_configuration_survives_yaml_and_json(dataset):
    adapter = TypeAdapter(Dataset if dataset in IMAGES else DetectionDataset)
    pair = {"extent": [0.3, 0.5]} if dataset in IMAGES else {"shares": [0.2, 0.3, 0.5]}
    loaded = adapter.validate_python(json.loads(dataset.model_dump_json()) | pair)
    assert type(loaded) is type(dataset)
    ((name, values),) = pair.items()
    assert getattr(loaded, name) == tuple(values)
    assert adapter.validate_json(loaded.model_dump_json()) == loaded
    assert len({loaded.key, dataset.key, changed(dataset, seed=5).key}) == 3
