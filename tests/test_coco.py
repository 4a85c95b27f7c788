import copy
import json

import numpy as np
import pytest
from coco import COLOURS, write_coco

from tinynet_core import UserError
from tinynet_core.data import CocoDataset, coco, prepare

DATASET = CocoDataset(classes=3, side=96, train_images=9, val_images=4)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("TINYNET_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TINYNET_COCO", str(tmp_path / "coco"))
    return write_coco(tmp_path / "coco")


def content_of(folder, split="val"):
    return json.loads((folder / "annotations" / f"instances_{split}2017.json").read_text(encoding="utf-8"))


def rewrite(folder, content, split="val"):
    (folder / "annotations" / f"instances_{split}2017.json").write_text(json.dumps(content), encoding="utf-8")


def test_images_boxes_and_labels_belong_together(folder):
    """The colour in the middle of a box, where no other lies on top, is that of its category."""
    data = coco.load_coco(DATASET)
    assert (len(data.train), len(data.val)) == (9, 4)  # the last training image has no object
    assert (data.categories, data.names) == ((3, 17, 90), ("red", "blue", "absent"))
    right = total = 0
    for split in (data.train, data.val):
        for i in range(len(split)):
            image = split.images[i].astype(int)
            assert image.shape == (96, 96, 3)
            for box, label in zip(split.boxes[split.objects(i)], split.labels[split.objects(i)], strict=True):
                x, y = int((box[0] + box[2]) / 2), int((box[1] + box[3]) / 2)
                right += np.abs(image[y, x] - COLOURS[data.categories[label - 1]]).max() < 60
                total += 1
    assert right / total > 0.8


def test_boxes_are_the_annotated_ones_without_crowds(folder):
    data, content = coco.load_coco(DATASET), content_of(folder)
    by_image = {image["id"]: [] for image in content["images"]}
    for annotation in content["annotations"]:
        if not annotation["iscrowd"]:
            by_image[annotation["image_id"]].append(annotation)
    assert any(a["iscrowd"] for a in content["annotations"])
    for i, image in enumerate(data.val.ids.tolist()):
        wanted = by_image[image]
        scale = np.tile(data.val.shapes[i] / 96, 2)
        boxes = data.val.boxes[data.val.objects(i)] * scale
        expected = [[x, y, x + w, y + h] for x, y, w, h in (a["bbox"] for a in wanted)]
        np.testing.assert_allclose(boxes, expected, rtol=1e-5, atol=1e-4)
        assert [data.categories[k - 1] for k in data.val.labels[data.val.objects(i)]] == [
            a["category_id"] for a in wanted
        ]


def test_the_truth_is_the_users_own_file(folder):
    assert coco.load_coco(DATASET).truth().dataset == content_of(folder)


def test_the_cache_follows_the_annotations(folder):
    prepare(DATASET)
    first = coco.load_coco(DATASET)
    content = content_of(folder)
    content["annotations"][0]["bbox"][0] += 1
    rewrite(folder, content)
    assert coco.load_coco(DATASET).content_hash != first.content_hash
    assert coco.load_coco(DATASET.model_copy(update={"side": 48})).val.boxes == pytest.approx(
        coco.load_coco(DATASET).val.boxes / 2
    )


def remove(folder, name):
    target = folder / name
    for path in sorted(target.rglob("*"), reverse=True):
        path.unlink()
    if target.is_dir():
        target.rmdir()
    else:
        target.unlink()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("train2017", r"has no folder train2017/; it must hold annotations/instances_train2017\.json"),
        ("annotations/instances_val2017.json", r"there is no file .*instances_val2017\.json"),
        ("val2017/000000000002.jpg", r"lists 000000000002\.jpg, which .*val2017 lacks \(1 of 4 are missing\)"),
    ],
)
def test_missing_parts(folder, name, message):
    remove(folder, name)
    with pytest.raises(UserError, match=message):
        coco.load_coco(DATASET)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.pop("images"), "images: Field required"),
        (lambda c: c["annotations"].clear(), "annotations: List should have at least 1 item"),
        (lambda c: c["categories"].pop(), "have different categories"),
        (lambda c: c["annotations"][0].update(image_id=5), "is of image 5, which is not listed"),
        (lambda c: c["annotations"][0].update(category_id=4), "is of category 4, not listed"),
        (lambda c: c["annotations"].__setitem__(1, [3]), r"annotations\[1\]: .*, got \[3\]"),
        (lambda c: c["annotations"][1].update(id=1), "annotations: id 1 is given 2 times, must be unique"),
        (lambda c: c["images"][0].pop("width"), r"images\[0\]\.width: Field required"),
        (lambda c: c["images"][0].update(id="1000"), r"images\[0\]\.id: .* valid integer, got '1000'"),
        (lambda c: c["images"][0].update(width=0), r"images\[0\]\.width: .* greater than or equal to 1, got 0"),
        (lambda c: [a.update(iscrowd=1) for a in c["annotations"]], "no image has an object that is not a crowd"),
    ],
)
def test_annotations_that_do_not_fit_together(folder, change, message):
    content = content_of(folder)
    change(content)
    rewrite(folder, content)
    with pytest.raises(UserError, match=message) as caught:
        coco.load_coco(DATASET)
    assert str(folder / "annotations" / "instances_val2017.json") in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not list((folder.parent / "cache").glob("coco-*/"))


NOT_WHOLE = ("1", 1.5, True, None, [1])
NOT_A_NUMBER = ("9", True, None, [9], float("nan"), float("inf"))
WRONG = {
    "id": (0, *NOT_WHOLE),
    "image_id": NOT_WHOLE,
    "category_id": NOT_WHOLE,
    "area": (-1, *NOT_A_NUMBER),
    "iscrowd": (2, -1, "0", False, None),
    "bbox": ([1, 2, 3], "1234", 7, None, *([1, 2, 3, bad] for bad in NOT_A_NUMBER)),
}


@pytest.mark.parametrize("key", WRONG)
def test_an_annotation_that_pycocotools_would_misread(folder, key):
    whole = content_of(folder, "train")
    for value in ("left out", *WRONG[key]):
        content = copy.deepcopy(whole)
        content["annotations"][1][key] = value
        if value == "left out":
            del content["annotations"][1][key]
        rewrite(folder, content, "train")
        with pytest.raises(UserError, match=rf"instances_train2017\.json: annotations\[1\]\.{key}") as caught:
            coco.load_coco(DATASET)
        assert "\n" not in str(caught.value)


def test_broken_json(folder):
    (folder / "annotations" / "instances_train2017.json").write_text("{", encoding="utf-8")
    with pytest.raises(UserError, match=r"instances_train2017\.json: .*Invalid JSON"):
        coco.load_coco(DATASET)


def test_another_number_of_classes(folder):
    with pytest.raises(UserError, match="has 3 categories, but classes is 80"):
        coco.load_coco(CocoDataset())


def test_flat_boxes_are_left_out_and_said_so(folder):
    content = content_of(folder)
    content["annotations"][0]["bbox"][2] = 0
    rewrite(folder, content)
    with pytest.warns(UserWarning, match="1 boxes without an extent were left out"):
        data = coco.load_coco(DATASET)
    assert len(data.val.boxes) == sum(not a["iscrowd"] for a in content["annotations"]) - 1


@pytest.mark.parametrize(("value", "message"), [(None, "is not set"), ("nowhere", "is not a folder")])
def test_the_variable(folder, monkeypatch, value, message):
    if value is None:
        monkeypatch.delenv("TINYNET_COCO")
    else:
        monkeypatch.setenv("TINYNET_COCO", str(folder / value))
    with pytest.raises(UserError, match=f"TINYNET_COCO.*{message}"):
        coco.load_coco(DATASET)
