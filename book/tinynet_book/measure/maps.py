"""The task that computes class activation maps of a trained network on the validation images."""

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field, model_validator

from tinynet_core.data import load_images
from tinynet_core.data.drawn import DrawnImages
from tinynet_core.networks.efficientnet import EfficientNet
from tinynet_core.networks.resnet import ResNet
from tinynet_core.study.classify import Experiment
from tinynet_core.study.presets import Preset
from tinynet_core.study.series import two_smallest
from tinynet_core.study.task import Result, Task, weights_source

if TYPE_CHECKING:
    from torch import Tensor

    from tinynet_book.measure.cam import Seen
    from tinynet_core.study.study import Study

DRAW_SEED = 0
"""Seed that selects the shown validation images. It is no field of the task, so all networks show the same images."""


class ActivationMaps(Experiment):
    """Maps for the true class of each image, by the network that the ``Experiment`` with the same fields trains.

    The record's ``metrics`` contain ``top1``, a fraction. Its ``arrays`` describe ``shown`` validation images:
    ``index``, ``label``, ``prediction``, its ``probability``, and ``map``. The objects of drawn images are known. For
    them, ``arrays`` also have ``correct`` and the ``Scores`` of every image, for both placements of the cells.
    ``metrics`` then have the means of the scores; the mean of ``hit`` is called ``pointing``.
    """

    kind: Literal["maps"] = "maps"  # type: ignore[assignment]
    shown: int = Field(8, ge=1, le=1000, strict=True)

    @model_validator(mode="after")
    def _can_be_mapped(self) -> "ActivationMaps":
        if not isinstance(self.spec(), EfficientNet | ResNet):
            raise ValueError(
                f"network {self.network} has no class activation maps: they need a network of the EfficientNet or "
                "ResNet family, whose classifier reads the average of the feature map"
            )
        return self

    @classmethod
    def planned(cls, study: "Study") -> list[Task]:
        """Return the tasks of Figure 5."""
        return [task for tasks in maps(study.preset).values() for task in tasks]

    @property
    def training(self) -> Experiment:
        """The training that makes the network."""
        return Experiment(**self.model_dump(exclude={"kind", "shown"}))

    @property
    def needs(self) -> tuple[Task, ...]:
        return (self.training,)

    @property
    def label(self) -> str:
        return f"maps of {self.training.label}"

    @property
    def work(self) -> int:
        """MACs to compute the maps, without the training."""
        return self.spec().complexity().macs * self.dataset.val_images

    @property
    def steps(self) -> int:
        """Batches to compute the maps, without the training."""
        from tinynet_book.measure.cam import BATCH

        return -(-self.dataset.val_images // BATCH)

    def perform(self, device: str, root: Path | None, should_stop: Callable[[], bool] | None, compiled: bool) -> Result:
        """Compute the maps with weights in the store, or train the network first. A stopped task starts anew."""
        from tinynet_book.measure.cam import see
        from tinynet_core.training.augment import Source
        from tinynet_core.training.loop import Interrupted, pick_device

        module = self.training.module(device, root, should_stop, compiled)
        start = time.monotonic()
        images = load_images(self.dataset)
        source = Source(images.val_images, images.val_labels, images.val_aspects, pick_device(device))
        seen = see(module, source, self.spec().resolution, self.recipe, should_stop or (lambda: False))
        if seen is None:
            raise Interrupted
        labels = source.labels.cpu()
        correct = seen.predictions == labels
        metrics, arrays = {"top1": correct.double().mean().item()}, self._drawn(seen, labels)
        if isinstance(self.dataset, DrawnImages):
            measured, by_image = self._measured(self.dataset, seen.maps)
            metrics |= measured
            arrays |= by_image | {"correct": correct.int().tolist()}
        return Result(
            metrics=metrics,
            arrays=arrays,
            wall_s=time.monotonic() - start,
            sources={"dataset_sha256": images.content_hash, **weights_source(root, self.training)},
        )

    def _drawn(self, seen: "Seen", labels: "Tensor") -> dict[str, list[Any]]:
        """Return the arrays of the shown images."""
        n = len(labels)
        index = np.sort(np.random.default_rng(DRAW_SEED).choice(n, min(self.shown, n), replace=False))
        return {
            "index": index.tolist(),
            "label": labels[index].tolist(),
            "prediction": seen.predictions[index].tolist(),
            "probability": _rounded(seen.probabilities[index]),
            "map": [_rounded(one, largest=one.abs().max().item()) for one in seen.maps[index]],
        }

    def _measured(self, dataset: DrawnImages, maps: "Tensor") -> tuple[dict[str, float], dict[str, list[Any]]]:
        """Score the maps on the objects' regions, cropped and resized like the images. Return metrics and arrays."""
        import torch

        from tinynet_book.measure.cam import scores, seen_part

        regions = np.stack([dataset.region("val", i) for i in range(len(maps))])
        seen = seen_part(torch.from_numpy(regions)[:, None].float(), self.spec().resolution, self.recipe)[:, 0]
        plain, centred = scores(maps, seen, "stretched"), scores(maps, seen, "centred")
        moved = ("energy", "best", "hit", "chance")  # depend on the placement
        arrays = {name: getattr(plain, name).double() for name in (*moved, "area", "blind")}
        arrays |= {f"{name}_centred": getattr(centred, name) for name in moved}
        measured = arrays | {"lift": plain.lift, "lift_centred": centred.lift}
        metrics = {name.replace("hit", "pointing"): values.mean().item() for name, values in measured.items()}
        return metrics, {name: _rounded(values) for name, values in arrays.items()}


def maps(preset: Preset) -> dict[str, list[ActivationMaps]]:
    """Return the tasks of Figure 5: class activation maps of every network of Figure 4."""
    networks = two_smallest(preset).items()
    return {label: [ActivationMaps(**e.model_dump(exclude={"kind"})) for e in runs] for label, runs in networks}


def _rounded(values: "Tensor", largest: float = 1.0) -> list[Any]:
    """Round the values to a ten-thousandth of ``largest``, or finer."""
    return np.round(values.double().numpy(), 4 - math.ceil(math.log10(largest or 1.0))).tolist()
