import numpy as np
import pandas as pd
import pytest
from coco import write_coco
from scipy import stats

from tinynet_book import figures
from tinynet_book.analysis import detectors as comparison
from tinynet_book.paper import table
from tinynet_core import CocoDataset, Detection, Recipe, SceneDataset
from tinynet_core.data import load_detection

FRAME = pd.DataFrame(
    {
        "model": ["b"] * 3 + ["t"] * 3,
        "map": [0.10, 0.12, 0.14, 0.15, 0.18, 0.15],
        "map_large": [0.2, 0.2, 0.2, 0.3, 0.3, 0.3],
    }
)
SCENES = SceneDataset(classes=3, side=96, train_images=4, val_images=3, most=3)


def test_differences_are_welchs_in_points():
    found = comparison.differences(FRAME, "t", "b")
    assert found.index.tolist() == ["map", "map_large"]
    x, y = 100 * FRAME["map"][3:], 100 * FRAME["map"][:3]
    error = np.sqrt(x.var() / 3 + y.var() / 3)
    freedom = error**4 / ((x.var() / 3) ** 2 / 2 + (y.var() / 3) ** 2 / 2)
    half = stats.t.ppf(0.975, freedom) * error
    assert found.loc["map"].tolist() == pytest.approx([4.0, 4.0 - half, 4.0 + half])
    assert found.loc["map_large"].tolist() == pytest.approx([10.0, 10.0, 10.0])


def test_one_seed_has_no_interval_and_a_size_without_objects_no_difference():
    frame = FRAME.iloc[[0, 3]].assign(map_small=np.nan)
    found = comparison.differences(frame, "t", "b")
    assert found.difference["map"] == pytest.approx(5.0)
    assert found[["low", "high"]].isna().all(axis=None)
    assert "map_small" not in found.index


@pytest.mark.parametrize(
    ("intervals", "decision"),
    [
        ([(0.1, 4.0)], True),
        ([(0.1, 4.0), (2.0, 3.0)], True),
        ([(-0.1, 4.0)], None),
        ([(0.0, 4.0)], None),
        ([(0.1, 4.0), (-0.1, 3.0)], None),
        ([(-4.0, -0.1)], False),
        ([(0.1, 4.0), (-4.0, -0.1), (np.nan, np.nan)], False),
        ([(np.nan, np.nan)], None),
        ([(0.1, 4.0), (np.nan, np.nan)], None),
        ([], None),
    ],
)
def test_only_an_interval_on_one_side_of_zero_decides(intervals, decision):
    assert comparison.ahead(pd.DataFrame(intervals, columns=["low", "high"])) is decision


def test_the_paper_prints_every_metric_and_its_own_differences():
    printed = table("table5").set_index("model")[list(comparison.PRECISIONS)]
    gap = printed.loc["TinyNet-D"] - printed.loc["EfficientNet-B^-3"]
    assert gap.tolist() == pytest.approx([2.1, 2.7, 2.2, 1.8, 3.4, 2.7])


def test_backbones_equal_as_classifiers_differ_as_detectors():
    recipe = Recipe(epochs=2, label_smoothing=0.0, dropout=0.0, zero_init_classifier=False)
    tasks = {n: Detection(network=n, dataset=CocoDataset(), recipe=recipe) for n in ("tinynet_d", "efficientnet_b-3")}
    costs = comparison.costs(tasks)
    ratio = costs.loc["tinynet_d"] / costs.loc["efficientnet_b-3"]
    assert costs["classifier MACs (M)"].round().tolist() == [52, 50]
    assert ratio["backbone MACs (M)"] == pytest.approx(0.871, abs=1e-3)
    assert ratio["detector MACs (M)"] == pytest.approx(0.952, abs=1e-3)
    # the input grows by (512 / 152)^2, and the cost of a fully convolutional network nearly with it
    grown = costs["backbone MACs (M)"] / costs["classifier MACs (M)"]
    assert grown["tinynet_d"] == pytest.approx((512 / 152) ** 2, rel=0.1)


def test_samples_are_the_validation_images_with_their_objects(tmp_path, monkeypatch):
    monkeypatch.setenv("TINYNET_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TINYNET_COCO", str(write_coco(tmp_path / "coco")))
    for dataset in (SCENES, CocoDataset(classes=3, side=112)):
        data = load_detection(dataset)
        samples = comparison.samples(dataset, 2)
        assert len(samples) == 2
        assert comparison.class_names(dataset) == data.names
        for i, sample in enumerate(samples):
            assert np.array_equal(sample.image, data.val.images[i])
            truth = data.truth()
            wanted = [a for a in truth.loadAnns(truth.getAnnIds(imgIds=[data.val.ids[i]])) if not a["iscrowd"]]
            boxes = [[x, y, x + w, y + h] for x, y, w, h in (a["bbox"] for a in wanted)]
            np.testing.assert_allclose(sample.boxes, boxes, rtol=1e-5, atol=1e-3)
            assert sample.names == [truth.loadCats(a["category_id"])[0]["name"] for a in wanted]
            assert sample.shape == (truth.loadImgs(int(data.val.ids[i]))[0]["width"], sample.shape[1])


def test_figures_show_what_is_sure_and_every_metric():
    samples = comparison.samples(SCENES, 2)
    arrays = {
        "boxes": [[[1, 2, 30, 40], [5, 5, 9, 9]], []],
        "scores": [[0.9, 0.2], []],
        "labels": [[1, 2], []],
    }
    grid = figures.detected_objects(samples, {"b": arrays, "t": arrays}, ("O", "X", "T"))
    assert len(grid.axes) == 4
    assert [t.get_text() for t in grid.axes[0].texts] == ["O 0.90"]
    assert len(grid.axes[0].patches) == 2 * len(samples[0].boxes) + 1
    gaps = comparison.differences(FRAME, "t", "b")
    bars = figures.average_precisions(FRAME, gaps, {"map": 2.1, "map_large": 2.7}, 100)
    assert [t.get_text() for t in bars.axes[0].get_xticklabels()] == ["mAP", "AP large"]
    assert "100 validation images" in bars.axes[0].get_ylabel()
