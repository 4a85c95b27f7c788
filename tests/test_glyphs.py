import hashlib
import json

import numpy as np
import pytest
from pydantic import ValidationError

from tinynet_core import GlyphDataset
from tinynet_core.data import glyphs

SMALL = GlyphDataset(classes=6, resolution=24, train_images=600, val_images=60)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TINYNET_CACHE", str(tmp_path))
    glyphs._load.cache_clear()
    yield tmp_path
    glyphs._load.cache_clear()


def test_bytes_do_not_depend_on_the_number_of_workers():
    one, two = glyphs.render(SMALL, workers=1), glyphs.render(SMALL, workers=2)
    for name in one:
        assert np.array_equal(one[name], two[name]), name


def test_shapes_labels_and_variety():
    arrays = glyphs.render(SMALL)
    assert arrays["train_images"].shape == (600, 24, 24, 3)
    assert arrays["train_images"].dtype == np.uint8
    assert np.bincount(arrays["train_labels"]).tolist() == [100] * 6
    distinct = {image.tobytes() for name in ("train_images", "val_images") for image in arrays[name]}
    assert len(distinct) == 660  # no image twice, in particular none in both splits


def test_the_seed_decides():
    first = glyphs.render_image(SMALL, "train", 3)
    assert np.array_equal(first, glyphs.render_image(SMALL, "train", 3))
    assert not np.array_equal(first, glyphs.render_image(SMALL.model_copy(update={"seed": 1}), "train", 3))
    assert not np.array_equal(first, glyphs.render_image(SMALL, "val", 3))


def test_a_hundred_classes_that_every_face_can_draw():
    assert len(set(glyphs.CLASSES)) == 100
    for face in glyphs.FACES:
        font = glyphs._font(face, 64)
        unknown = font.getmask("\U0010fffd").getbbox(), bytes(font.getmask("\U0010fffd"))
        pictures = {c: (font.getmask(c).size, bytes(font.getmask(c))) for c in glyphs.CLASSES}
        assert unknown[1] not in [p[1] for p in pictures.values()], face
        assert len(set(pictures.values())) == 100, face


@pytest.mark.parametrize("classes", [2, 100])
@pytest.mark.parametrize("difficulty", [0.0, 1.0])
@pytest.mark.parametrize("resolution", [16, 130])
def test_the_extremes_render(classes, difficulty, resolution):
    dataset = GlyphDataset(classes=classes, difficulty=difficulty, resolution=resolution)
    for index in range(20):
        image = glyphs.render_image(dataset, "train", index)
        assert image.shape == (resolution, resolution, 3)
        assert image.std() > 3


def test_difficulty_makes_it_harder_for_a_simple_classifier():
    from sklearn.linear_model import LogisticRegression

    scores = []
    for difficulty in (0.0, 1.0):
        dataset = GlyphDataset(classes=4, resolution=16, train_images=800, val_images=200, difficulty=difficulty)
        a = glyphs.render(dataset)
        contrast = {
            s: np.abs(a[f"{s}_images"].mean(3) - a[f"{s}_images"].mean((1, 2, 3))[:, None, None]) for s in glyphs.SPLITS
        }
        flat = {s: x.reshape(len(x), -1) / x.max() for s, x in contrast.items()}
        model = LogisticRegression(max_iter=300).fit(flat["train"], a["train_labels"])
        scores.append(model.score(flat["val"], a["val_labels"]))
    assert scores[0] > scores[1] + 0.05, scores
    assert scores[0] > 0.35  # chance is 0.25


def test_cache_is_read_back(cache):
    first = glyphs.load_glyphs(SMALL)
    glyphs._load.cache_clear()
    stamp = {p: p.stat().st_mtime_ns for p in cache.rglob("*.npy")}
    second = glyphs.load_glyphs(SMALL)
    assert np.array_equal(first.val_images, second.val_images)
    assert first.content_hash == second.content_hash
    assert stamp == {p: p.stat().st_mtime_ns for p in cache.rglob("*.npy")}


@pytest.mark.parametrize("damage", ["flip a byte", "cut off", "empty", "no meta", "not json", "a list"])
def test_a_damaged_cache_is_rebuilt_and_said_so(cache, damage):
    good = glyphs.load_glyphs(SMALL).content_hash
    glyphs._load.cache_clear()
    folder = next(cache.glob("glyphs-*/"))
    images, meta = folder / "val_images.npy", folder / "meta.json"
    if damage == "flip a byte":
        content = bytearray(images.read_bytes())
        content[-1] ^= 1
        images.write_bytes(content)
    elif damage == "cut off":
        images.write_bytes(images.read_bytes()[:500])
    elif damage == "empty":
        images.write_bytes(b"")
    elif damage == "no meta":
        meta.unlink()
    else:
        meta.write_text("[]" if damage == "a list" else "{", encoding="utf-8")
    with pytest.warns(UserWarning, match=r"dataset cache .* cannot be used .* rebuilding it"):
        assert glyphs.load_glyphs(SMALL).content_hash == good
    assert not list(cache.glob(".rendering-*"))


def test_content_hash_is_that_of_the_bytes(cache):
    images = glyphs.load_glyphs(SMALL)
    digest = hashlib.sha256()
    for name in ("train_images", "train_labels", "val_images", "val_labels"):
        array = getattr(images, name)
        digest.update(f"{name}{array.shape}".encode() + array.tobytes())
    assert digest.hexdigest() == images.content_hash
    assert (
        json.loads((next(cache.glob("glyphs-*/")) / "meta.json").read_text(encoding="utf-8"))["sha256"]
        == images.content_hash
    )


def test_an_interrupted_rendering_leaves_nothing(cache, monkeypatch):
    monkeypatch.setattr(glyphs, "content_hash", lambda arrays: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        glyphs.load_glyphs(SMALL)
    assert [p.name for p in cache.iterdir() if not p.name.endswith(".lock")] == []


@pytest.mark.parametrize(
    "bad",
    [
        {"classes": 1},
        {"classes": 101},
        {"difficulty": 1.1},
        {"resolution": 8},
        {"train_images": 0},
        {"sede": 1},
        {"extent": (0.0, 0.5)},
        {"extent": (0.5, 0.4)},
        {"extent": (0.5, 1.1)},
        {"extent": (0.5, float("nan"))},
        {"extent": 0.5},
    ],
)
def test_bad_configurations(bad):
    with pytest.raises(ValidationError, match=next(iter(bad))):
        GlyphDataset(**bad)


def test_nothing_changes_where_the_extent_is_left_out():
    """Of images rendered, and keys given, before data sets had one."""
    assert SMALL.key == "7d69e04b6aa5a41f0b646eb54b8884919c7e0ab1feece0b062ab4b94bb517583"
    pixels = b"".join(glyphs.render_image(SMALL, "val", i).tobytes() for i in range(20))
    assert hashlib.sha256(pixels).hexdigest() == "0a6106d422abd916ad1bd72f3d1f34226bd76b8efd80fd7f5132442bef316219"


def test_the_extent_is_the_longer_side_of_the_letter():
    dataset = GlyphDataset(resolution=200, difficulty=0.0, extent=(0.3, 0.5))
    assert dataset.key != dataset.model_copy(update={"extent": (0.3, 0.6)}).key
    longest = []
    for i in range(60):
        rows, columns = np.nonzero(glyphs.glyph_region(dataset, "val", i))
        longest.append(max(np.ptp(rows), np.ptp(columns)) + 1)
    assert min(longest) >= 0.3 * 200 - 2
    assert max(longest) <= 0.5 * 200 + 1
    assert max(longest) - min(longest) > 20


@pytest.mark.parametrize("extent", [[0.3, 0.5], (0.3, 0.5)])
def test_the_extent_survives_yaml_and_json(extent):
    dataset = GlyphDataset.model_validate({"extent": extent})
    assert dataset.extent == (0.3, 0.5)
    assert GlyphDataset.model_validate_json(dataset.model_dump_json()) == dataset
    assert GlyphDataset.model_validate_json(GlyphDataset().model_dump_json()) == GlyphDataset()


@pytest.mark.parametrize("extent", [None, (0.2, 0.4), (1.0, 1.0)])
def test_the_region_is_where_the_ink_is(extent):
    """On easy images a pixel is ink where its lightness is nearer to the ink's than to the ground's."""
    dataset = GlyphDataset(resolution=96, difficulty=0.0, extent=extent)
    for i in range(40):
        region = glyphs.glyph_region(dataset, "val", i)
        light = glyphs.render_image(dataset, "val", i) @ np.array([0.299, 0.587, 0.114])
        assert region.shape == (96, 96)
        assert region.dtype == bool
        ink, ground = np.median(light[region]), np.median(light[~region])
        assert abs(ink - ground) > 100
        nearer = abs(light - ink) < abs(light - ground)
        assert (nearer != region).mean() < 0.005
