"""The task of training a detector on a classifier's backbone and evaluating it as COCO does (paper, Table 5)."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from tinynet_core.data import DetectionDataset, load_detection, load_images
from tinynet_core.detection import tapped_stage
from tinynet_core.networks.efficientnet import EfficientNet
from tinynet_core.networks.family import network
from tinynet_core.study.classify import Experiment, Training, check_recipe
from tinynet_core.study.task import Result, Task, checkpoint_file, weights_file, weights_source
from tinynet_core.training.recipe import Recipe

if TYPE_CHECKING:
    from tinynet_core.detection.training import DetectionRun
    from tinynet_core.study.study import Study

SHOWN_IMAGES, SHOWN_DETECTIONS = 6, 12
"""Number of validation images whose detections a record keeps, and number of detections per image."""
_UNUSED = ("label_smoothing", "dropout", "rand_augment", "zero_init_classifier")
_CLASSIFIER = ("network", "scale", "head", "base")


class _Setting(BaseModel):
    """Settings that are the same for all detectors of a comparison."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dataset: DetectionDataset
    recipe: Recipe
    resolution: int = Field(512, ge=64, le=2048, strict=True, description="side of the detector's input in pixels")
    boxes: tuple[float, float] = Field(
        (0.2, 0.95), description="side of the smallest and largest square default box, as a share of the image's side"
    )
    extra_width: float = Field(1.0, gt=0, le=4, description="multiplies the channels of the extra blocks, 512 to 128")

    @model_validator(mode="after")
    def _trainable(self):
        for name in _UNUSED:
            if getattr(self.recipe, name):
                raise ValueError(f"recipe.{name} must be 0 or false for a detector, got {getattr(self.recipe, name)}")
        if self.recipe.eval_crop != 1:
            raise ValueError(f"recipe.eval_crop must be 1, objects can be anywhere, got {self.recipe.eval_crop:g}")
        check_recipe(self.recipe, self.dataset)
        low, high = self.boxes
        if not 0 < low < high <= 1:
            raise ValueError(f"boxes must satisfy 0 < low < high <= 1, got {low:g}, {high:g}")
        return self


class DetectionPlan(_Setting):
    """How a preset trains its detectors. If ``pretrained``, they start with the weights of their classifiers."""

    pretrained: bool = Field(False, strict=True)

    def detection(self, classifier: Experiment) -> "Detection":
        """Return the detector on the network of ``classifier``, with the same seed."""
        shared = {name: getattr(self, name) for name in _Setting.model_fields}
        own = {name: getattr(classifier, name) for name in (*_CLASSIFIER, "seed")}
        return Detection(**shared, **own, pretraining=classifier if self.pretrained else None)


class Detection(_Setting, Training):
    """SSDLite on one backbone: one data set, one recipe, one seed.

    ``pretraining`` is the training of the classifier whose averaged weights the backbone starts with. Without it, the
    weights are random. The defaults of ``scale`` and ``base`` are those of the named network.
    """

    kind: Literal["detection"] = "detection"
    pretraining: Experiment | None = None

    __hash__ = Task.__hash__  # otherwise it would be the hash of _Setting

    @model_validator(mode="after")
    def _consistent(self) -> "Detection":
        for name in _CLASSIFIER:
            wanted, given = getattr(self, name), getattr(self.pretraining or self, name)
            if given != wanted:
                raise ValueError(f"pretraining.{name} must be the detector's, {wanted}, got {given}")
        self.spec()
        return self

    @classmethod
    def planned(cls, study: "Study") -> list[Task]:
        """Return the detectors of Table 5."""
        from tinynet_core.study.series import detectors

        return [task for tasks in detectors(study.preset).values() for task in tasks]

    def spec(self) -> EfficientNet:
        """Return the specification of the classifier. The detector does not use its last layer."""
        classes = 1000 if self.pretraining is None else self.pretraining.dataset.classes
        spec = network(self.network, self.scale, classes, self.head, self.base)
        tapped_stage(spec)
        assert isinstance(spec, EfficientNet)
        return spec

    @property
    def identity(self) -> dict[str, Any]:
        return {**super().identity, "pretraining": self.pretraining and self.pretraining.identity}

    @property
    def label(self) -> str:
        return f"detector on {super().label}"

    def cost(self) -> dict[str, int]:
        """Return the exact cost of the detector, and the backbone's MACs at the resolutions of detector and classifier.

        ``classifier_macs`` is what the paper calls the FLOPs of the backbone.
        """
        from tinynet_core.detection import model

        spec = self.spec()
        cost = model.cost(spec, self.dataset.classes, self.resolution, self.extra_width)
        counts = {"macs": cost.macs, "params": cost.params, "activations": cost.activations}
        backbone, classifier = model.backbone_macs(spec, self.resolution), spec.complexity().macs
        return {"resolution": self.resolution, **counts, "backbone_macs": backbone, "classifier_macs": classifier}

    @property
    def data(self) -> tuple[Any, ...]:
        return (self.dataset, *(self.pretraining.data if self.pretraining else ()))

    def perform(self, device: str, root: Path | None, should_stop: Callable[[], bool] | None, compiled: bool) -> Result:
        """Train the detector and evaluate the averaged weights.

        ``metrics`` are the results of ``average_precision``, as fractions, and the losses; ``raw_*`` are those of the
        raw weights. ``arrays`` holds the best detections on the first validation images: ``boxes`` (left, top, right,
        bottom in pixels of the original image), ``scores`` and ``labels``, with one list per image.
        """
        from tinynet_core.detection import model
        from tinynet_core.detection.training import METRICS, DetectionRun
        from tinynet_core.training.checkpoint import save_weights

        data, before = load_detection(self.dataset), self.pretraining
        start = None if before is None else before.module(device, root, should_stop, compiled)
        spec, classes, zero_init = self.spec(), self.dataset.classes, self.recipe.zero_init_residual

        def build() -> model.Detector:
            return model.build(spec, classes, self.resolution, self.extra_width, self.boxes, zero_init, start)

        run = DetectionRun(build, data, self.recipe, self.seed, device, compiled, before.key if before else "")
        run.train(root and checkpoint_file(root, self.key), should_stop)
        if root is not None:
            about = {"key": self.key, "dataset_sha256": data.content_hash}
            save_weights(weights_file(root, self.key), run.ema.module, about)
        sources = {"dataset_sha256": data.content_hash, "compiled": compiled}
        if before is not None:
            sources |= weights_source(root, before)
            sources["pretraining_dataset_sha256"] = load_images(before.dataset).content_hash
        last = run.curve[-1]
        metrics = {name: last[f"ema_{name}"] for name in METRICS if f"ema_{name}" in last}
        metrics |= {f"raw_{name}": last[f"raw_{name}"] for name in METRICS if f"raw_{name}" in last}
        metrics |= {"loss": last["ema_loss"], "raw_loss": last["raw_loss"], "train_loss": last["train_loss"]}
        return Result(metrics, run.curve, _shown(run), run.wall_s, sources)


def _shown(run: "DetectionRun") -> dict[str, list[Any]]:
    """Return the best detections on the first images. Boxes are rounded to 0.1 pixel, scores to four decimals."""
    label_of = {category: label for label, category in enumerate(run.data.categories, 1)}
    boxes, scores, labels = [], [], []
    for rows in run.detect(SHOWN_IMAGES):
        best = rows[:SHOWN_DETECTIONS]
        corners = np.concatenate([best[:, 1:3], best[:, 1:3] + best[:, 3:5]], axis=1)
        boxes.append(corners.round(1).tolist())
        scores.append(best[:, 5].round(4).tolist())
        labels.append([label_of[int(x)] for x in best[:, 6]])
    return {"boxes": boxes, "scores": scores, "labels": labels}
