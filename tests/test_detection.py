import numpy as np
import pytest
import torch
from coco import write_coco
from pydantic import ValidationError
from safetensors.torch import load_file
from torchvision.models.detection.ssd import SSD

from tinynet_core import Base, Recipe, Store, network, run
from tinynet_core.data import CocoDataset, CreatureSceneDataset, load_detection
from tinynet_core.data.sets import ground_truth
from tinynet_core.detection import model, training
from tinynet_core.detection.model import Targets
from tinynet_core.detection.training import METRICS, average_precision
from tinynet_core.networks.trace import trace
from tinynet_core.study.detect import Detection, DetectionPlan
from tinynet_core.study.record import execute, outdated
from tinynet_core.training import checkpoint, loop
from tinynet_core.training.augment import Batch, draw

SCENES = CreatureSceneDataset(classes=2, side=96, train_images=16, val_images=6, most=3)
RECIPE = Recipe(
    epochs=2, batch_size=8, lr=5e-3, warmup_epochs=0.5, label_smoothing=0.0, dropout=0.0, mirror=0.5,
    ema_decay=0.9, zero_init_classifier=False,
)  # fmt: skip
BASE = Base(32, 0.25, 4)
SPEC = network("tinynet_e", base=BASE)


def detector(**more):
    return model.build(SPEC, 2, 96, 0.1, (0.2, 0.95), **more)


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


def test_loss_and_detections_are_those_of_torchvisions_forward():
    """The same features and head in torchvision's own step, with lists of images and of dictionaries."""
    torch.manual_seed(0)
    net = detector().eval()
    images = torch.rand(3, 3, 96, 96)
    boxes = torch.tensor([[10.0, 12.0, 50.0, 60.0], [30.0, 5.0, 90.0, 40.0]])
    labels = torch.tensor([1, 2])
    targets = [Targets(boxes, labels), Targets(boxes[:1], labels[1:]), Targets(boxes[:0], labels[:0])]
    ours, found = net.losses(net(images), targets), net.detections(net(images))
    assert [loss.item() for loss in net.losses(net(images[2:]), targets[2:])] == [0.0, 0.0]  # a crop without objects
    net.backbone.register_forward_hook(lambda module, inputs, maps: dict(enumerate(maps)))
    whole = SSD(
        net.backbone, net.anchor_generator, (96, 96), 3, head=net.head, image_mean=[0] * 3, image_std=[1] * 3,
        score_thresh=0.001, nms_thresh=0.55, detections_per_img=100, topk_candidates=300,
    )  # fmt: skip
    whole.training = True
    theirs = whole(list(images), [t._asdict() for t in targets])
    torch.testing.assert_close(ours[0], theirs["bbox_regression"])
    torch.testing.assert_close(ours[1], theirs["classification"])
    whole.training = False
    torch.testing.assert_close(found, whole(list(images)))
    assert all(len(one["boxes"]) == 100 and set(one["labels"].tolist()) == {1, 2} for one in found)


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
    about = {"category_id": 1, "iscrowd": 0}
    objects = [
        {"id": 1, "image_id": 1, "bbox": [0, 0, 10, 10], "area": 100, **about},
        {"id": 2, "image_id": 1, "bbox": [50, 50, 10, 10], "area": 100, **about},
        {"id": 3, "image_id": 2, "bbox": [0, 0, 100, 100], "area": 10_000, **about},
    ]
    truth = ground_truth({"images": [{"id": 1}, {"id": 2}], "categories": [{"id": 1}], "annotations": objects})
    rows = np.array([[1, 0, 0, 10, 10, 0.9, 1], [1, 80, 0, 10, 10, 0.8, 1], [1, 50, 50, 10, 8, 0.7, 1]])
    found = average_precision(truth, rows, [1, 2], (32.0**2, 96.0**2))
    good, bad = (34 + 33 * 2 / 3) / 101, 34 / 101
    expected = {"map": (7 * good + 3 * bad) / 10, "ap50": good, "ap75": good, "ar_100": (7 * 2 / 3 + 3 / 3) / 10}
    # of the two small objects: precision 1 up to a recall of 1/2, then 2/3; none is medium
    expected |= {"map_small": (7 * (51 + 50 * 2 / 3) + 3 * 51) / 10 / 101, "map_large": 0.0}
    assert found == pytest.approx(expected)


@pytest.fixture
def task():
    return Detection(
        network="tinynet_e", base=BASE, dataset=SCENES, recipe=RECIPE, resolution=96, extra_width=0.1, seed=0
    )


def test_a_record_says_how_well_and_shows_detections(task, tmp_path):
    record = run(task, Store(tmp_path), device="cpu")
    assert record.done
    assert set(record.metrics) >= {"map", "ap50", "ap75", "ar_100", "raw_map", "loss", "raw_loss", "train_loss"}
    assert all(0 <= record.metrics[name] <= 1 for name in METRICS if name in record.metrics)
    assert ["ema_map" in row for row in record.curve] == [False, True]  # measured after the last epoch alone
    assert record.metrics["map"] == record.curve[-1]["ema_map"]
    assert record.cost["classifier_macs"] == network("tinynet_e", base=BASE).complexity().macs
    arrays = [record.arrays[name] for name in ("boxes", "scores", "labels")]
    assert [len(array) for array in arrays] == [6, 6, 6]
    for boxes, scores, labels in zip(*arrays, strict=True):
        assert len(boxes) == len(scores) == len(labels) <= 12
        assert scores == sorted(scores, reverse=True)
        assert set(labels) <= {1, 2}
        assert all(0 <= x <= 96 for box in boxes for x in box)
    assert Store(tmp_path).weights(task).exists()


def test_a_pretrained_backbone_starts_with_the_weights_of_its_classifier(make_experiment, tmp_path):
    """Where it learns next to nothing, they are those that it ends with."""
    classifier, recipe = make_experiment(seed=3, epochs=1, batch_size=64), RECIPE.model_copy(update={"lr": 1e-12})
    plan = DetectionPlan(dataset=SCENES, recipe=recipe, resolution=96, extra_width=0.1, pretrained=True)
    task = plan.detection(classifier)
    assert (task.network, task.scale, task.seed) == ("efficientnet_b0", classifier.scale, 3)
    assert task.data == (SCENES, classifier.dataset)
    record = run(task, Store(tmp_path), device="cpu")
    assert record.done
    assert outdated(record) == ""
    found = load_file(Store(tmp_path).weights(task))
    for name, value in classifier.module("cpu", tmp_path).named_parameters():
        if not name.startswith("classifier"):
            torch.testing.assert_close(found[f"backbone.backbone.{name}"], value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"recipe": RECIPE.model_copy(update={"dropout": 0.1})}, "recipe.dropout must be 0"),
        ({"boxes": (0.9, 0.2)}, "boxes must satisfy 0 < low < high <= 1"),
        ({"network": "ghostnet_a", "base": None}, "network must have an inverted residual block"),
    ],
)
def test_bad_tasks(task, change, message):
    with pytest.raises(ValidationError, match=message):
        Detection.model_validate(task.model_dump() | change)


def test_a_folder_in_cocos_layout_is_trained_on_and_judged(cache, tmp_path, monkeypatch):
    """JPEGs of several shapes, a crowd, category ids with gaps; decoded at one size and trained at another."""
    monkeypatch.setenv("TINYNET_COCO", str(write_coco(tmp_path / "coco")))
    dataset = CocoDataset(classes=3, side=112, train_images=9, val_images=4)
    recipe = RECIPE.model_copy(update={"epochs": 1, "batch_size": 3})
    task = Detection(network="tinynet_e", base=BASE, dataset=dataset, recipe=recipe, resolution=96, extra_width=0.1)
    record = execute(task, "cpu", tmp_path / "store")
    assert record.done
    assert "map_large" not in record.metrics  # no object has 96 x 96 pixels
    shapes = load_detection(dataset).val.shapes
    for boxes, (width, height) in zip(record.arrays["boxes"], shapes, strict=True):
        assert all(0 <= a < c <= width + 0.1 and 0 <= b < d <= height + 0.1 for a, b, c, d in boxes)
    assert {label for labels in record.arrays["labels"] for label in labels} <= {1, 2, 3}


def train(path, should_stop=None):
    run = training.DetectionRun(detector, load_detection(SCENES), RECIPE, 7, "cpu")
    return run.train(path, should_stop).curve


def test_a_run_stopped_at_any_step_ends_with_the_same_bits(tmp_path):
    """Two steps and one batch of the evaluation an epoch; average precision is measured after the last."""
    whole, cut, asked = tmp_path / "whole.pt", tmp_path / "cut.pt", 1
    curve = train(whole)
    assert ["ema_map" in row for row in curve] == [False, True]
    countdown = iter(range(asked, -2, -1))
    with pytest.raises(loop.Interrupted):
        train(cut, lambda: next(countdown) <= 0)
    state = checkpoint.load(cut, loop.TRAINING_VERSION)
    assert (state["epoch"], state["step"]) == divmod(asked, 3)
    torch.rand(13)  # the global generator is somewhere else by now
    assert train(cut) == curve
    ends = [checkpoint.load(path, loop.TRAINING_VERSION) for path in (whole, cut)]
    for part in ("model", "ema"):
        torch.testing.assert_close(ends[0][part], ends[1][part], atol=0, rtol=0)
