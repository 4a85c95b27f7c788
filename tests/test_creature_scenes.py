import json

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

from tinynet_core.data import DetectionDataset, creature_scenes, load_detection, portrait, prepare
from tinynet_core.data.creature_scenes import CreatureSceneDataset, Scene, render_scene
from tinynet_core.data.probe import probe_hash
from tinynet_core.data.sets import ground_truth

SMALL = CreatureSceneDataset(classes=3, side=96, train_images=12, val_images=6, most=5, seed=3, difficulty=0.4)
PROBES = "fc122dae6b4da94318a0e3ce9d46576a9b68893ba98a5d83a06fddddd71b25c1"
"""Of ``SMALL``, on every machine; ``test_creatures`` draws the same parts on others."""


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TINYNET_CACHE", str(tmp_path))
    creature_scenes._load.cache_clear()
    yield tmp_path
    creature_scenes._load.cache_clear()


def changed(**values):
    return CreatureSceneDataset(**{**SMALL.model_dump(), **values})


def areas_of(boxes):
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def test_the_bytes_are_those_of_every_machine():
    assert probe_hash(SMALL) == PROBES


def test_boxes_are_the_bounds_of_what_was_painted(monkeypatch):
    """In the picture itself: what differs from the same picture without one of its creatures."""
    real = portrait.finished
    pictures = []

    def finished(canvas, dice, creatures, noise):
        for creature in creatures:
            mask = (canvas.numbers >= creature.first) & (canvas.numbers < creature.end)
            pictures.append(mask.reshape(96, 2, 96, 2).sum((1, 3)) >= 2)
        return real(canvas, dice, creatures, noise)

    monkeypatch.setattr(creature_scenes, "finished", finished)
    for index in range(20):
        pictures.clear()
        scene = render_scene(SMALL, "train", index)
        assert len(pictures) == len(scene.boxes)
        for mask, (left, top, right, bottom) in zip(pictures, scene.boxes, strict=True):
            inside = mask[top:bottom, left:right]
            assert all(edge.any() for edge in (inside[0], inside[-1], inside[:, 0], inside[:, -1]))
            assert mask.sum() == inside.sum()


def test_creatures_are_inside_and_apart():
    for index in range(30):
        scene = render_scene(SMALL, "val", index)
        assert scene.image.shape == (96, 96, 3)
        assert 1 <= len(scene.boxes) == len(scene.labels) <= SMALL.most
        assert scene.boxes.min() >= 0
        assert scene.boxes.max() <= 96
        assert set(scene.labels) <= {1, 2, 3}
        covered = np.zeros((96, 96), int)
        for left, top, right, bottom in scene.boxes:
            covered[top:bottom, left:right] += 1
        assert covered.max() == 1


def test_a_creature_can_be_seen():
    """Even a small one: its patch has more contrast than a patch of noise."""
    for index in range(10):
        scene = render_scene(changed(difficulty=0.0), "train", index)
        for left, top, right, bottom in scene.boxes:
            patch = scene.image[top:bottom, left:right].astype(float) @ (0.299, 0.587, 0.114)
            assert np.ptp(patch) > 25


@pytest.mark.parametrize("side", [96, 160])
@pytest.mark.parametrize("kind", [0, 1, 2], ids=["small", "medium", "large"])
def test_a_creature_has_the_size_that_it_was_drawn_for(side, kind):
    """By the area of its box, for many species and poses."""
    shares = tuple(float(i == kind) for i in range(3))
    sizes = []
    for seed in range(3):
        dataset = changed(side=side, classes=20, most=3, seed=seed, shares=shares, difficulty=0.1)
        limits = dataset.area_limits
        assert limits == pytest.approx(((side / 16) ** 2, (side * 3 / 16) ** 2))
        boxes = np.concatenate([render_scene(dataset, "train", i).boxes for i in range(20)])
        sizes += np.searchsorted(limits, areas_of(boxes), side="right").tolist()
    assert set(sizes) == {kind}
    assert len(sizes) > 60


def test_shares_are_shares_of_cocos_sizes(monkeypatch):
    """On canvases with one creature, by the annotations as pycocotools reads them."""
    n = 200
    dataset = changed(most=1, shares=(0.2, 0.5, 0.3), difficulty=0.0)
    arrays = {
        "val_boxes": np.concatenate([render_scene(dataset, "val", i).boxes for i in range(n)]),
        "val_labels": np.ones(n, int),
        "val_starts": np.arange(n + 1),
    }
    areas = [a["area"] for a in creature_scenes.coco(dataset, arrays)["annotations"]]
    counts = np.bincount(np.searchsorted(dataset.area_limits, areas, side="right"), minlength=3)
    assert counts.sum() == n
    shares = np.array(dataset.shares)
    assert (np.abs(counts - n * shares) < 3 * np.sqrt(n * shares * (1 - shares))).all(), counts


def test_bytes_depend_on_seed_split_and_index_alone(monkeypatch):
    monkeypatch.setattr(creature_scenes, "_CHUNK", 5)
    one, two = creature_scenes.render(SMALL, workers=1), creature_scenes.render(SMALL, workers=2)
    for name in one:
        assert np.array_equal(one[name], two[name]), name
    first = render_scene(SMALL, "train", 4)
    assert np.array_equal(one["train_images"][4], first.image)
    starts = one["train_starts"]
    assert np.array_equal(one["train_boxes"][starts[4] : starts[5]], first.boxes)
    for other in (changed(seed=4), changed(difficulty=0.5)):
        assert not np.array_equal(first.image, render_scene(other, "train", 4).image)
    assert not np.array_equal(first.image, render_scene(SMALL, "val", 4).image)


def test_no_scene_is_in_both_splits():
    arrays = creature_scenes.render(changed(train_images=40, val_images=20))
    distinct = {image.tobytes() for name in ("train_images", "val_images") for image in arrays[name]}
    assert len(distinct) == 60


def test_the_annotations_are_cocos(cache):
    data = creature_scenes.load_creature_scenes(SMALL)
    truth = data.truth()
    assert sorted(truth.getImgIds()) == data.val.ids.tolist() == [1, 2, 3, 4, 5, 6]
    assert [c["name"] for c in truth.loadCats(truth.getCatIds())] == ["1a", "2a", "3a"] == list(data.names)
    for i, image in enumerate(data.val.ids.tolist()):
        found = truth.loadAnns(truth.getAnnIds(imgIds=[image]))
        boxes, labels = data.val.boxes[data.val.objects(i)], data.val.labels[data.val.objects(i)]
        assert [a["category_id"] for a in found] == labels.tolist()
        for annotation, (left, top, right, bottom) in zip(found, boxes.tolist(), strict=True):
            assert annotation["bbox"] == [left, top, right - left, bottom - top]
            assert annotation["area"] == (right - left) * (bottom - top)
    content = json.loads(next(cache.glob("creature-scenes-*/val.json")).read_text(encoding="utf-8"))
    assert content == truth.dataset
    assert ground_truth(content).getAnnIds() == truth.getAnnIds()


def test_the_cache_is_read_back_and_rebuilt_where_damaged(cache):
    first = creature_scenes.load_creature_scenes(SMALL)
    creature_scenes._load.cache_clear()
    stamp = {p: p.stat().st_mtime_ns for p in cache.rglob("*.npy")}
    assert creature_scenes.load_creature_scenes(SMALL).content_hash == first.content_hash
    assert stamp == {p: p.stat().st_mtime_ns for p in cache.rglob("*.npy")}
    creature_scenes._load.cache_clear()
    boxes = next(cache.glob("creature-scenes-*/val_boxes.npy"))
    content = bytearray(boxes.read_bytes())
    content[-1] ^= 1
    boxes.write_bytes(content)
    with pytest.warns(UserWarning, match=r"dataset cache .*creature-scenes-.* cannot be used .* rebuilding it"):
        assert creature_scenes.load_creature_scenes(SMALL).content_hash == first.content_hash


def test_a_creature_that_finds_no_place_is_left_out():
    crowded = changed(most=20, shares=(0.0, 0.0, 1.0))
    counts = [len(render_scene(crowded, "train", i).boxes) for i in range(10)]
    assert min(counts) >= 1
    assert max(counts) < 10


def test_a_scene_names_its_parts():
    assert Scene._fields == ("image", "boxes", "labels")
    scene = render_scene(SMALL, "val", 0)
    assert (scene.image.dtype, scene.boxes.dtype, scene.labels.dtype) == (np.uint8, np.int64, np.int64)


@pytest.mark.parametrize(
    "bad",
    [
        {"classes": 0},
        {"classes": 101},
        {"side": 64},
        {"most": 0},
        {"shares": (0.5, 0.5, 0.5)},
        {"shares": (float("nan"), 0.5, 0.5)},
        {"seed": 2**32},
        {"sede": 1},
    ],
)
def test_bad_configurations(bad):
    with pytest.raises(ValidationError, match=next(iter(bad))) as error:
        CreatureSceneDataset(**bad)
    assert error.value.error_count() == 1


def test_shares_may_be_a_list_as_yaml_has_it():
    assert CreatureSceneDataset.model_validate({"shares": [0.2, 0.3, 0.5]}).shares == (0.2, 0.3, 0.5)
    assert CreatureSceneDataset.model_validate_json(SMALL.model_dump_json()) == SMALL


def test_the_kind_names_the_data_set(cache):
    dataset = TypeAdapter(DetectionDataset).validate_python({**SMALL.model_dump(), "kind": "creature_scenes"})
    assert dataset == SMALL
    prepare(dataset)
    assert [p.name.startswith("creature-scenes-") for p in cache.glob("*/")] == [True]
    assert load_detection(dataset).content_hash == creature_scenes.load_creature_scenes(SMALL).content_hash
