import json

import numpy as np
import pytest
from pydantic import ValidationError

from tinynet_core.data import SceneDataset, prepare, scenes
from tinynet_core.data.boxes import ground_truth

SMALL = SceneDataset(classes=3, side=96, train_images=12, val_images=6, most=5, seed=3)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TINYNET_CACHE", str(tmp_path))
    scenes._load.cache_clear()
    yield tmp_path
    scenes._load.cache_clear()


def test_boxes_are_the_bounds_of_what_was_pasted(monkeypatch):
    """Without noise and clutter a scene differs from its bare canvas exactly where letters were pasted."""
    pasted = []
    real = scenes._place

    def place(rng, mask, side, taken):
        box = real(rng, mask, side, taken)
        pasted.append((mask, box))
        return box

    monkeypatch.setattr(scenes, "_place", place)
    for index in range(20):
        pasted.clear()
        scene = scenes.render_scene(SMALL, "train", index)
        ink = np.zeros((SMALL.side, SMALL.side), bool)
        for mask, box in pasted:
            if box is not None:
                ink[box[1] : box[3], box[0] : box[2]] |= np.asarray(mask) > 0
        for left, top, right, bottom in scene.boxes:
            inside = ink[top:bottom, left:right]
            assert all(edge.any() for edge in (inside[0], inside[-1], inside[:, 0], inside[:, -1]))
            ink[top:bottom, left:right] = False
        assert not ink.any()


def test_letters_are_inside_and_apart():
    for index in range(30):
        scene = scenes.render_scene(SMALL, "val", index)
        assert scene.image.shape == (96, 96, 3)
        assert 1 <= len(scene.boxes) == len(scene.labels) <= SMALL.most
        assert scene.boxes.min() >= 0
        assert scene.boxes.max() <= 96
        assert set(scene.labels) <= {1, 2, 3}
        covered = np.zeros((96, 96), int)
        for left, top, right, bottom in scene.boxes:
            covered[top:bottom, left:right] += 1
        assert covered.max() == 1


def test_a_letter_can_be_seen():
    for index in range(10):
        scene = scenes.render_scene(SMALL, "train", index)
        for left, top, right, bottom in scene.boxes:
            patch = scene.image[top:bottom, left:right].astype(float) @ (0.299, 0.587, 0.114)
            assert np.ptp(patch) > 50


@pytest.mark.parametrize("side", [96, 160, 512])
def test_every_size_class_exists(side):
    """The limits are COCO's at 512 pixels and go with the area of the canvas."""
    dataset = SMALL.model_copy(update={"side": side})
    limits = np.array(dataset.area_limits)
    assert limits == pytest.approx(np.array([32**2, 96**2]) * (side / 512) ** 2)
    boxes = np.concatenate([scenes.render_scene(dataset, "train", i).boxes for i in range(25)])
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    counts = np.bincount(np.searchsorted(limits, areas, side="right"), minlength=3)
    assert counts.min() >= 3, counts


def test_bytes_depend_on_seed_split_and_index_alone(monkeypatch):
    monkeypatch.setattr(scenes, "_CHUNK", 5)
    one, two = scenes.render(SMALL, workers=1), scenes.render(SMALL, workers=2)
    for name in one:
        assert np.array_equal(one[name], two[name]), name
    first = scenes.render_scene(SMALL, "train", 4)
    assert np.array_equal(one["train_images"][4], first.image)
    starts = one["train_starts"]
    assert np.array_equal(one["train_boxes"][starts[4] : starts[5]], first.boxes)
    for other in (SMALL.model_copy(update={"seed": 4}), SMALL.model_copy(update={"difficulty": 0.5})):
        assert not np.array_equal(first.image, scenes.render_scene(other, "train", 4).image)
    assert not np.array_equal(first.image, scenes.render_scene(SMALL, "val", 4).image)


def test_the_annotations_are_cocos(cache):
    data = scenes.load_scenes(SMALL)
    truth = data.truth()
    assert sorted(truth.getImgIds()) == data.val.ids.tolist() == [1, 2, 3, 4, 5, 6]
    assert [c["name"] for c in truth.loadCats(truth.getCatIds())] == ["O", "X", "T"]
    for i, image in enumerate(data.val.ids.tolist()):
        found = truth.loadAnns(truth.getAnnIds(imgIds=[image]))
        boxes, labels = data.val.boxes[data.val.objects(i)], data.val.labels[data.val.objects(i)]
        assert [a["category_id"] for a in found] == labels.tolist()
        for annotation, (left, top, right, bottom) in zip(found, boxes.tolist(), strict=True):
            assert annotation["bbox"] == [left, top, right - left, bottom - top]
            assert annotation["area"] == (right - left) * (bottom - top)
    content = json.loads(next(cache.glob("scenes-*/val.json")).read_text())
    assert content == truth.dataset
    assert ground_truth(content).getAnnIds() == truth.getAnnIds()


def test_the_cache_is_read_back_and_rebuilt_where_damaged(cache):
    prepare(SMALL)
    scenes._load.cache_clear()
    stamp = {p: p.stat().st_mtime_ns for p in cache.rglob("*.npy")}
    first = scenes.load_scenes(SMALL)
    assert stamp == {p: p.stat().st_mtime_ns for p in cache.rglob("*.npy")}
    scenes._load.cache_clear()
    boxes = next(cache.glob("scenes-*/val_boxes.npy"))
    content = bytearray(boxes.read_bytes())
    content[-1] ^= 1
    boxes.write_bytes(content)
    with pytest.warns(UserWarning, match=r"dataset cache .*scenes-.* is damaged .* rebuilding it"):
        assert scenes.load_scenes(SMALL).content_hash == first.content_hash


def test_a_mirrored_letter_is_that_letter():
    """What ``mirror_safe`` says: the mirror image of an upright letter resembles it more than any other letter."""
    masks = {}
    for character in scenes.CLASSES:
        mask = scenes.glyph_mask(character, "DejaVuSans", 32, 0.0, 96).resize((32, 32))
        masks[character] = np.asarray(mask).astype(float)
    for character, mask in masks.items():
        distance = {other: np.abs(mask[:, ::-1] - image).mean() for other, image in masks.items()}
        assert min(distance, key=distance.get) == character


@pytest.mark.parametrize(
    "bad", [{"classes": 0}, {"classes": 11}, {"side": 32}, {"most": 0}, {"shares": (0.5, 0.5, 0.5)}, {"sede": 1}]
)
def test_bad_configurations(bad):
    with pytest.raises(ValidationError, match=next(iter(bad))):
        SceneDataset(**bad)


def test_shares_may_be_a_list_as_yaml_has_it():
    assert SceneDataset.model_validate({"shares": [0.2, 0.3, 0.5]}).shares == (0.2, 0.3, 0.5)
    assert SceneDataset.model_validate_json(SMALL.model_dump_json()) == SMALL
