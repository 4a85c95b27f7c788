"""What the page of detectors shows: the paper's metrics, and validation images with their objects."""

import numpy as np
import pytest
from coco import write_coco

from tinynet_book.measure.scenes import samples
from tinynet_book.paper import table
from tinynet_book.paper.cells import PRECISIONS
from tinynet_core import CocoDataset, SceneDataset
from tinynet_core.data import load_detection

SCENES = SceneDataset(classes=3, side=96, train_images=4, val_images=3, most=3)


def test_the_paper_prints_every_metric_and_its_own_differences():
    printed = table("table5").set_index("model")[list(PRECISIONS)]
    gap = printed.loc["TinyNet-D"] - printed.loc["EfficientNet-B^-3"]
    assert gap.tolist() == pytest.approx([2.1, 2.7, 2.2, 1.8, 3.4, 2.7])


def test_samples_are_the_validation_images_with_their_objects(tmp_path, monkeypatch):
    monkeypatch.setenv("TINYNET_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TINYNET_COCO", str(write_coco(tmp_path / "coco")))
    for dataset in (SCENES, CocoDataset(classes=3, side=112)):
        data = load_detection(dataset)
        found, names = samples(dataset, 2)
        assert len(found) == 2
        assert names == data.names
        for i, sample in enumerate(found):
            assert np.array_equal(sample.image, data.val.images[i])
            truth = data.truth()
            wanted = [a for a in truth.loadAnns(truth.getAnnIds(imgIds=[data.val.ids[i]])) if not a["iscrowd"]]
            boxes = [[x, y, x + w, y + h] for x, y, w, h in (a["bbox"] for a in wanted)]
            np.testing.assert_allclose(sample.boxes, boxes, rtol=1e-5, atol=1e-3)
            assert sample.names == [truth.loadCats(a["category_id"])[0]["name"] for a in wanted]
            assert sample.shape == (truth.loadImgs(int(data.val.ids[i]))[0]["width"], sample.shape[1])
