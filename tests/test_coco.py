"""COCO from a folder: what is annotated is what is loaded, and anything else is refused in one line."""

import json

import numpy as np
import pytest
from coco import COLOURS, write_coco

from tinynet_core import UserError
from tinynet_core.data import CocoDataset, coco

DATASET = CocoDataset(classes=3, side=96, train_images=9, val_images=4)


@pytest.fixture
def folder(cache, tmp_path, monkeypatch):
    monkeypatch.setenv("TINYNET_COCO", str(tmp_path / "coco"))
    return write_coco(tmp_path / "coco")


def annotations(folder):
    return folder / "annotations" / "instances_val2017.json"


def content_of(folder):
    return json.loads(annotations(folder).read_text(encoding="utf-8"))


def rewrite(folder, change):
    content = content_of(folder)
    change(content)
    annotations(folder).write_text(json.dumps(content), encoding="utf-8")


def test_images_boxes_and_labels_are_the_annotated_ones_without_crowds(folder):
    """The colour in the middle of a box, where no other lies on top, is that of its category."""
    data, content = coco.load_coco(DATASET), content_of(folder)
    assert (len(data.train), len(data.val)) == (9, 4)  # the last training image has no object
    assert (data.categories, data.names) == ((3, 17, 90), ("red", "blue", "absent"))
    assert data.truth().dataset == content
    assert any(a["iscrowd"] for a in content["annotations"])
    right = []
    for split in (data.train, data.val):
        for i, number in enumerate(split.ids.tolist()):
            image, objects = split.images[i].astype(int), split.objects(i)
            boxes, categories = split.boxes[objects], [data.categories[k - 1] for k in split.labels[objects]]
            for (left, top, end, bottom), category in zip(boxes, categories, strict=True):
                middle = image[int((top + bottom) / 2), int((left + end) / 2)]
                right.append(np.abs(middle - COLOURS[category]).max() < 60)
            if split is data.val:
                wanted = [a for a in content["annotations"] if a["image_id"] == number and not a["iscrowd"]]
                expected = [[x, y, x + w, y + h] for x, y, w, h in (a["bbox"] for a in wanted)]
                np.testing.assert_allclose(boxes * np.tile(split.shapes[i] / 96, 2), expected, rtol=1e-5, atol=1e-4)
                assert categories == [a["category_id"] for a in wanted]
    assert image.shape == (96, 96, 3)
    assert np.mean(right) > 0.8


def test_the_cache_follows_the_annotations(folder):
    first = coco.load_coco(DATASET)
    rewrite(folder, lambda c: c["annotations"][0].update(bbox=[1, 2, 30, 40]))
    second = coco.load_coco(DATASET)
    assert second.content_hash != first.content_hash
    smaller = coco.load_coco(DATASET.model_copy(update={"side": 48}))
    assert smaller.val.boxes == pytest.approx(second.val.boxes / 2)


def test_an_image_that_cannot_be_decoded_is_named_before_any_work(folder):
    path = folder / "train2017" / "000000000001.jpg"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(UserError, match=r"1 annotated images cannot be decoded: .*train2017/000000000001\.jpg: "):
        coco.load_coco(DATASET)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("train2017", r"TINYNET_COCO: there is no .*/train2017; .* must hold train2017, val2017, annotations/inst"),
        ("val2017/000000000002.jpg", r"1 annotated images are missing, the first is .*val2017/000000000002\.jpg"),
    ],
)
def test_missing_parts(folder, name, message):
    (folder / name).rename(folder / "elsewhere")
    with pytest.raises(UserError, match=message):
        coco.load_coco(DATASET)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["annotations"].clear(), "not in COCO's format: ValueError: no image has an object that is not"),
        (lambda c: c["categories"].pop(), "has 2 categories, but classes is 3"),
        (lambda c: c["categories"][0].update(name="green"), "has other categories than the training split"),
        (lambda c: c["annotations"][0].update(category_id=4), "not in COCO's format: KeyError: 4"),
        (lambda c: c["annotations"][1].update(id=0), "annotation ids must be at least 1: pycocotools takes 0 for"),
    ],
)
def test_annotations_that_do_not_fit_together(folder, change, message):
    rewrite(folder, change)
    with pytest.raises(UserError, match=message) as caught:
        coco.load_coco(DATASET)
    assert str(annotations(folder)) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not list((folder.parent / "cache").glob("coco-*/"))


def test_flat_boxes_are_left_out(folder):
    objects = sum(not a["iscrowd"] for a in content_of(folder)["annotations"])
    rewrite(folder, lambda c: c["annotations"][0]["bbox"].__setitem__(2, 0))
    assert len(coco.load_coco(DATASET).val.boxes) == objects - 1
