import math

import numpy as np
import pytest
import torch
from coco import write_coco
from pydantic import ValidationError
from torchvision.models.detection._utils import BoxCoder, SSDMatcher
from torchvision.models.detection.ssd import SSD
from torchvision.ops import box_iou

from tinynet_core import Base, Recipe, Record, Scale, Store, network, run
from tinynet_core.data import CocoDataset, SceneDataset, load_detection
from tinynet_core.data.sets import ground_truth
from tinynet_core.detection import model, training
from tinynet_core.detection.model import Targets
from tinynet_core.detection.training import METRICS, average_precision
from tinynet_core.networks.trace import trace
from tinynet_core.study.classify import Experiment
from tinynet_core.study.detect import Detection, DetectionPlan
from tinynet_core.study.record import execute, outdated
from tinynet_core.training import checkpoint, loop
from tinynet_core.training.augment import Batch, draw

SCENES = SceneDataset(classes=2, side=96, train_images=16, val_images=6, most=3)
RECIPE = Recipe(
    epochs=2, batch_size=8, lr=5e-3, warmup_epochs=0.5, label_smoothing=0.0, dropout=0.0, mirror=0.5,
    ema_decay=0.9, zero_init_classifier=False,
)  # fmt: skip
BASE = Base(32, 0.25, 4)
SPEC = network("tinynet_e", base=BASE)


def detector(**more):
    return model.build(SPEC, 2, 96, 0.1, (0.2, 0.95), **more)


def train(path=None, should_stop=None):
    return training.DetectionRun(detector, load_detection(SCENES), RECIPE, 7, "cpu").train(path, should_stop)


def test_the_backbone_is_the_classifier_and_its_maps_halve_down_to_one_pixel():
    classifier, sides = SPEC.build().eval(), [6, 3, 2, 1]
    net = detector(pretrained=classifier).eval()
    x = torch.randn(2, 3, 96, 96)
    maps = net.backbone(x)
    torch.testing.assert_close(maps[1], classifier.forward_features(x))
    assert [m.shape[-1] for m in maps] == sides
    assert maps[0].shape[1] == 6 * SPEC.stages[4].c_out  # what the last strided stage expands
    outputs, anchors = net(x), 6 * sum(side**2 for side in sides)  # six boxes a place
    assert outputs["cls_logits"].shape == (2, anchors, 3)
    assert outputs["bbox_regression"].shape == (2, anchors, 4)


def test_cost_is_backbone_plus_heads_counted_by_hand():
    spec, classes, side = network("efficientnet_b-3"), 80, 512
    cost = model.cost(spec, classes, side, 1.0)
    channels = [6 * spec.stages[4].c_out, spec.head, 512, 256, 256, 128]
    macs, maps = model.backbone_macs(spec, side), [32, 16, 8, 4, 2, 1]
    for c_in, c_out, before, after in zip(channels[1:], channels[2:], maps[1:], maps[2:], strict=False):
        half = c_out // 2
        macs += c_in * half * before**2 + 9 * half * after**2 + half * c_out * after**2
    for c, s in zip(channels, maps, strict=True):
        macs += (2 * 9 * c + c * 6 * (81 + 4)) * s**2
    assert cost.macs == macs
    with torch.device("meta"):
        backbone = spec.build()
    backbone.classifier = torch.nn.Identity()
    assert model.backbone_macs(spec, side) == trace(backbone, side).macs


def test_loss_is_that_of_torchvisions_forward():
    """The same features and head in torchvision's own training step, with lists of images and of dictionaries."""
    torch.manual_seed(0)
    net = detector().eval()
    images = torch.rand(3, 3, 96, 96)
    boxes = torch.tensor([[10.0, 12.0, 50.0, 60.0], [30.0, 5.0, 90.0, 40.0]])
    labels = torch.tensor([1, 2])
    targets = [Targets(boxes, labels), Targets(boxes[:1], labels[1:]), Targets(boxes[:0], labels[:0])]
    ours = net.losses(net(images), targets)
    assert [loss.item() for loss in net.losses(net(images[2:]), targets[2:])] == [0.0, 0.0]  # a crop without objects
    net.backbone.register_forward_hook(lambda module, inputs, maps: dict(enumerate(maps)))
    whole = SSD(net.backbone, net.anchor_generator, (96, 96), 3, head=net.head, image_mean=[0] * 3, image_std=[1] * 3)
    whole.training = True
    theirs = whole(list(images), [t._asdict() for t in targets])
    torch.testing.assert_close(ours[0], theirs["bbox_regression"])
    torch.testing.assert_close(ours[1], theirs["classification"])


def test_perfect_codes_decode_to_the_objects():
    """Outputs made by torchvision's box coder from the objects themselves are detected as those objects."""
    net, side = detector(), 96
    boxes, labels = torch.tensor([[10.0, 12.0, 50.0, 60.0], [60.0, 50.0, 90.0, 80.0]]), torch.tensor([1, 2])
    anchors = net.place_anchors()
    matched = SSDMatcher(0.5)(box_iou(boxes, anchors))
    codes = BoxCoder((10.0, 10.0, 5.0, 5.0)).encode_single(boxes[matched.clamp(min=0)], anchors)
    wanted = torch.where(matched < 0, 0, labels[matched.clamp(min=0)])
    logits = 20 * torch.nn.functional.one_hot(wanted, 3).float()
    (found,) = net.detections({"bbox_regression": codes[None], "cls_logits": logits[None]})
    sure = found["scores"] > 0.5
    assert sorted(found["labels"][sure].tolist()) == [1, 2]
    for box, label in zip(found["boxes"][sure], found["labels"][sure], strict=True):
        torch.testing.assert_close(box, boxes[label - 1], atol=1e-3, rtol=0)
    assert found["boxes"].max() <= side


def test_boxes_move_as_the_pixels_do():
    """A white rectangle on black: the bounds of what is white after crop and flip are the moved box."""
    recipe = RECIPE.model_copy(update={"crop_area": (0.4, 0.9), "jitter": 0.0})
    images = torch.zeros(40, 3, 64, 64, dtype=torch.uint8)
    box = torch.tensor([[20.0, 16.0, 44.0, 36.0]])
    images[:, :, 16:36, 20:44] = 255
    batch, objects = Batch(images, torch.arange(40), torch.ones(40)), [Targets(box, torch.tensor([1]))] * 40
    draws = draw(40, recipe, torch.Generator().manual_seed(1))
    pixels, targets = training.augmented(batch, objects, 128, recipe, draws)
    assert 10 < draws.flip.sum() < 30
    assert sum(len(t.boxes) for t in targets) >= 35
    for image, target in zip(pixels, targets, strict=True):
        if len(target.boxes):
            white = image[0] > (0.5 - 0.485) / 0.229
            rows, columns = white.any(1).nonzero().flatten(), white.any(0).nonzero().flatten()
            bounds = torch.stack([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]).float()
            assert (bounds - target.boxes[0]).abs().max() <= 1.5


def test_average_precision_by_hand():
    """Three objects; by score: a hit, a miss, a hit with an intersection over union of 0.8.

    Precision is 1 up to a recall of 1/3, then 2/3 up to 2/3, then 0: over the 101 recalls 0, 0.01, ... that is
    (34 + 33 * 2/3) / 101 up to a threshold of 0.8, which 7 of the 10 thresholds are, and 34 / 101 above it.
    """
    objects = [(1, [0, 0, 10, 10]), (1, [50, 50, 10, 10]), (2, [0, 0, 100, 100])]
    annotations = [
        {"id": i, "image_id": image, "category_id": 1, "bbox": box, "area": box[2] * box[3], "iscrowd": 0}
        for i, (image, box) in enumerate(objects, 1)
    ]
    truth = ground_truth({"images": [{"id": 1}, {"id": 2}], "categories": [{"id": 1}], "annotations": annotations})
    rows = np.array([
        [1, 0, 0, 10, 10, 0.9, 1],
        [1, 80, 0, 10, 10, 0.8, 1],
        [1, 50, 50, 10, 8, 0.7, 1],
    ])  # fmt: skip
    found = average_precision(truth, rows, [1, 2], (32.0**2, 96.0**2))
    good, bad = (34 + 33 * 2 / 3) / 101, 34 / 101
    assert found["ap50"] == pytest.approx(good)
    assert found["ap75"] == pytest.approx(good)
    assert found["map"] == pytest.approx((7 * good + 3 * bad) / 10)
    assert found["ar_100"] == pytest.approx((7 * 2 / 3 + 3 / 3) / 10)
    assert found["map_large"] == 0.0
    # of the two small objects: precision 1 up to a recall of 1/2, then 2/3
    assert found["map_small"] == pytest.approx((7 * (51 + 50 * 2 / 3) + 3 * 51) / 10 / 101)
    assert "map_medium" not in found  # there is none


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An uninterrupted training and its last checkpoint."""
    path = tmp_path_factory.mktemp("whole") / "whole.pt"
    return train(path).outcome.curve, checkpoint.load(path, loop.TRAINING_VERSION)


def test_a_run_stopped_at_any_step_ends_with_the_same_bits(whole, tmp_path):
    """Two steps and one batch of the evaluation an epoch; average precision is measured after the last."""
    assert ["ema_map" in row for row in whole[0]] == [False, True]
    cut, asked = tmp_path / "cut.pt", 1
    countdown = iter(range(asked, -2, -1))
    with pytest.raises(loop.Interrupted):
        train(cut, lambda: next(countdown) <= 0)
    state = checkpoint.load(cut, loop.TRAINING_VERSION)
    assert (state["epoch"], state["step"]) == divmod(asked, 3)
    torch.rand(13)  # the global generator is somewhere else by now
    assert train(cut).outcome.curve == whole[0]
    resumed = checkpoint.load(cut, loop.TRAINING_VERSION)
    for part in ("model", "ema"):
        assert all(torch.equal(resumed[part][name], value) for name, value in whole[1][part].items())


@pytest.fixture
def task():
    return Detection(
        network="tinynet_e", base=BASE, dataset=SCENES, recipe=RECIPE, resolution=96, extra_width=0.1, seed=0
    )


def test_a_record_says_how_well_and_shows_detections(task, tmp_path):
    record = run(task, Store(tmp_path), device="cpu")
    assert record.done
    assert Record.from_json(record.to_json()) == record
    assert set(record.metrics) >= {"map", "ap50", "ap75", "ar_100", "raw_map", "loss", "raw_loss", "train_loss"}
    assert all(0 <= record.metrics[name] <= 1 for name in METRICS if name in record.metrics)
    assert record.metrics["map"] == record.curve[-1]["ema_map"]
    assert record.cost == task.cost()
    assert record.cost["classifier_macs"] == network("tinynet_e", base=BASE).complexity().macs
    assert record.provenance["dataset_sha256"] == load_detection(SCENES).content_hash
    assert [len(record.arrays[name]) for name in ("boxes", "scores", "labels")] == [6, 6, 6]
    for boxes, scores, labels in zip(*(record.arrays[n] for n in ("boxes", "scores", "labels")), strict=True):
        assert len(boxes) == len(scores) == len(labels) <= 12
        assert scores == sorted(scores, reverse=True)
        assert set(labels) <= {1, 2}
        assert all(0 <= x <= 96 for box in boxes for x in box)
    assert Store(tmp_path).weights(task).exists()
    assert Store(tmp_path).frame([task])["map"].item() == record.metrics["map"]


def test_a_pretrained_backbone_starts_with_the_weights_of_its_classifier(tiny_dataset, tmp_path, monkeypatch):
    classifier = Experiment(
        network="efficientnet_b0", scale=Scale(0.2, 0.5, 0.2), dataset=tiny_dataset,
        recipe=Recipe(epochs=1, warmup_epochs=0.5, batch_size=32), seed=3,
    )  # fmt: skip
    plan = DetectionPlan(dataset=SCENES, recipe=RECIPE, resolution=96, extra_width=0.1, pretrained=True)
    task = plan.detection(classifier)
    assert (task.network, task.scale, task.seed) == ("efficientnet_b0", classifier.scale, 3)
    assert task.data == (SCENES, tiny_dataset)
    given = []
    real = model.build
    monkeypatch.setattr(model, "build", lambda *a: given.append(a[-1]) or real(*a))
    record = execute(task, "cpu", tmp_path)
    assert record.done
    assert outdated(record) == ""
    weights = classifier.module("cpu", tmp_path).state_dict()
    (start,) = [module for module in given if isinstance(module, torch.nn.Module)]
    assert all(torch.equal(value, weights[name]) for name, value in start.state_dict().items())
    backbone = real(task.spec(), 2, 96, 0.1, task.boxes, True, start).backbone.backbone.state_dict()
    assert backbone.keys() == {name for name in weights if not name.startswith("classifier")}
    assert all(torch.equal(value, weights[name]) for name, value in backbone.items())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"recipe": {"dropout": 0.1}}, "recipe.dropout must be 0"),
        ({"boxes": (0.9, 0.2)}, "boxes must satisfy 0 < low < high <= 1"),
        ({"network": "ghostnet_a", "base": None}, "network must have an inverted residual block"),
    ],
)
def test_bad_tasks(task, change, message):
    content = task.model_dump()
    if "recipe" in change:
        change = {"recipe": content["recipe"] | change["recipe"]}
    with pytest.raises(ValidationError, match=message):
        Detection.model_validate(content | change)


def test_a_folder_in_cocos_layout_is_trained_on_and_judged(cache, tmp_path, monkeypatch):
    """JPEGs of several shapes, a crowd, category ids with gaps; decoded at one size and trained at another."""
    monkeypatch.setenv("TINYNET_COCO", str(write_coco(tmp_path / "coco")))
    dataset = CocoDataset(classes=3, side=112, train_images=9, val_images=4)
    recipe = RECIPE.model_copy(update={"epochs": 4, "batch_size": 3, "crop_area": (0.9, 1.0), "jitter": 0.1})
    task = Detection(network="tinynet_e", base=BASE, dataset=dataset, recipe=recipe, resolution=96, extra_width=0.1)
    record = execute(task, "cpu", tmp_path / "store")
    assert record.done
    assert record.curve[-1]["train_loss"] < 0.8 * record.curve[0]["train_loss"]
    assert math.isfinite(record.metrics["raw_loss"])
    assert "map_large" not in record.metrics  # no object has 96 x 96 pixels
    shapes = load_detection(dataset).val.shapes
    for boxes, (width, height) in zip(record.arrays["boxes"], shapes, strict=True):
        assert all(0 <= a < c <= width + 0.1 and 0 <= b < d <= height + 0.1 for a, b, c, d in boxes)
    assert {label for labels in record.arrays["labels"] for label in labels} <= {1, 2, 3}
