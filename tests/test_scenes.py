import itertools
import json

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError
from scipy.ndimage import distance_transform_edt

from tinynet_core.data import SceneDataset, prepare, scenes
from tinynet_core.data.glyphs import FACES, glyph_mask
from tinynet_core.data.sets import ground_truth

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


@pytest.mark.parametrize(("side", "difficulty"), [(64, 0.0), (64, 1.0), (96, 0.0), (128, 0.25), (160, 1.0), (512, 1.0)])
def test_a_letter_has_the_size_that_it_was_drawn_for(side, difficulty):
    """Every letter of every face, at both ends of each range and between: its class by the area of its annotation."""
    dataset = SMALL.model_copy(update={"side": side})
    rng = np.random.default_rng(0)
    wrong, drawn = [], 0
    for intended, (low, high) in enumerate(scenes.SIZES):
        for extent in (low, high, *rng.uniform(low, high, 2)):
            for character, face in itertools.product(scenes.CLASSES, FACES):
                mask = glyph_mask(character, face, side * extent, rng.uniform(-1, 1) * 30 * difficulty, scenes._FONT)
                mask = mask.crop(mask.getbbox())
                found = np.searchsorted(dataset.area_limits, mask.width * mask.height, side="right")
                drawn += 1
                if found != intended:
                    wrong.append((character, face, extent, mask.size, int(found)))
    assert drawn == 3 * 4 * 10 * 12
    assert not wrong, wrong[:5]


def test_shares_are_shares_of_cocos_sizes(monkeypatch):
    """On canvases where every letter finds a place, by the annotations as pycocotools reads them."""
    dataset = SMALL.model_copy(update={"side": 160, "val_images": 500, "most": 1, "shares": (0.2, 0.5, 0.3)})
    arrays = {
        "val_boxes": np.concatenate([scenes.render_scene(dataset, "val", i).boxes for i in range(500)]),
        "val_labels": np.ones(500, int),
        "val_starts": np.arange(501),
    }
    areas = [a["area"] for a in scenes.coco(dataset, arrays)["annotations"]]
    counts = np.bincount(np.searchsorted(dataset.area_limits, areas, side="right"), minlength=3)
    assert counts.sum() == 500
    deviations = np.sqrt(500 * np.array(dataset.shares) * (1 - np.array(dataset.shares)))
    assert (np.abs(counts - 500 * np.array(dataset.shares)) < 3 * deviations).all(), counts


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
    content = json.loads(next(cache.glob("scenes-*/val.json")).read_text(encoding="utf-8"))
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
    with pytest.warns(UserWarning, match=r"dataset cache .*scenes-.* cannot be used .* rebuilding it"):
        assert scenes.load_scenes(SMALL).content_hash == first.content_hash


SLANT = np.tan(np.radians(11))
"""By how much the oblique and italic faces lean, as their files say."""


def leaning(mask, by):
    """``mask`` sheared to the right by ``by`` of its height."""
    room = int(abs(by) * mask.height) + 2
    wide = Image.new("L", (mask.width + 2 * room, mask.height))
    wide.paste(mask, (room, 0))
    shear = (1, by, -by * mask.height / 2, 0, 1, 0)
    return wide.transform(wide.size, Image.Transform.AFFINE, shear, Image.Resampling.BICUBIC)


def ink(mask):
    return np.asarray(mask.crop(mask.getbbox()).resize((32, 32), Image.Resampling.BOX)) > 127


def chamfer(one, other):
    """Mean distance from the ink of each of two letters to that of the other."""
    return distance_transform_edt(~one)[other].mean() + distance_transform_edt(~other)[one].mean()


@pytest.mark.parametrize("face", FACES)
def test_a_mirrored_letter_keeps_its_class(face):
    """What ``mirror_safe`` says. A slanted letter is made to lean to the right again first; then of all letters of all
    faces the nearest is one of its own class."""
    drawn = {(o, f): ink(glyph_mask(o, f, 96, 0.0, 96)) for o in scenes.CLASSES for f in FACES}
    slanted = face.endswith(("Oblique", "Italic"))
    for character in scenes.CLASSES:
        mirrored = glyph_mask(character, face, 96, 0.0, 96).transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        seen = ink(leaning(mirrored, 2 * SLANT) if slanted else mirrored)
        distance = {key: chamfer(seen, other) for key, other in drawn.items()}
        assert min(distance, key=distance.get)[0] == character


def test_the_check_of_mirrored_letters_knows_one_that_is_another():
    """A mirrored d is a b."""
    drawn = {character: ink(glyph_mask(character, "DejaVuSans", 96, 0.0, 96)) for character in "bd"}
    distance = {character: chamfer(drawn["d"][:, ::-1], image) for character, image in drawn.items()}
    assert min(distance, key=distance.get) == "b"


@pytest.mark.parametrize(
    "bad", [{"classes": 0}, {"classes": 11}, {"side": 32}, {"most": 0}, {"shares": (0.5, 0.5, 0.5)}, {"sede": 1}]
)
def test_bad_configurations(bad):
    with pytest.raises(ValidationError, match=next(iter(bad))):
        SceneDataset(**bad)


def test_shares_may_be_a_list_as_yaml_has_it():
    assert SceneDataset.model_validate({"shares": [0.2, 0.3, 0.5]}).shares == (0.2, 0.3, 0.5)
    assert SceneDataset.model_validate_json(SMALL.model_dump_json()) == SMALL
