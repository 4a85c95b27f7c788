"""Class activation maps of a trained network over the validation images: which network, and drawing them."""

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
"""Draws the validation images that are shown: the same for every network, since it is no part of the task."""


class ActivationMaps(Experiment):
    """The maps of the network that the ``Experiment`` of the same fields trains, for the true class of each image.

    ``metrics`` of its record have ``top1``, a fraction. ``arrays`` have the maps of ``shown`` validation images:
    ``index``, ``label``, ``prediction``, its ``probability``, and ``map``. Of drawn images, whose objects are
    known, ``arrays`` have, image by image, ``correct`` and what is in ``Scores``, for either placement of the cells,
    and ``metrics`` are their means, with ``pointing`` for hits.
    """

    kind: Literal["maps"] = "maps"  # type: ignore[assignment]
    shown: int = Field(8, ge=1, le=1000, strict=True)

    @model_validator(mode="after")
    def _can_be_mapped(self) -> "ActivationMaps":
        if not isinstance(self.spec(), EfficientNet | ResNet):
            raise ValueError(
                f"network {self.network} has no class activation maps: they need a network whose classifier reads the "
                "average of its feature map, of the EfficientNet or the ResNet family"
            )
        return self

    @classmethod
    def planned(cls, study: "Study") -> list[Task]:
        """Those of Figure 5."""
        return [task for tasks in maps(study.preset).values() for task in tasks]

    @property
    def training(self) -> Experiment:
        """The training that the network comes from."""
        return Experiment(**self.model_dump(exclude={"kind", "shown"}))

    @property
    def needs(self) -> tuple[Task, ...]:
        return (self.training,)

    @property
    def label(self) -> str:
        return f"maps of {self.training.label}"

    @property
    def work(self) -> int:
        """Of the maps alone."""
        return self.spec().complexity().macs * self.dataset.val_images

    @property
    def steps(self) -> int:
        """Of the maps alone."""
        from tinynet_book.measure.cam import BATCH

        return -(-self.dataset.val_images // BATCH)

    def perform(self, device: str, root: Path | None, should_stop: Callable[[], bool] | None, compiled: bool) -> Result:
        """Draw them with the weights in the store, or train the network now; one that is stopped draws them anew."""
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
        """What is kept of the images that are shown."""
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
        """Metrics and arrays of the maps on the regions of the objects, cut and resized as the images are."""
        import torch

        from tinynet_book.measure.cam import scores, seen_part

        regions = np.stack([dataset.region("val", i) for i in range(len(maps))])
        seen = seen_part(torch.from_numpy(regions)[:, None].float(), self.spec().resolution, self.recipe)[:, 0]
        plain, centred = scores(maps, seen, "stretched"), scores(maps, seen, "centred")
        moved = ("energy", "best", "hit", "chance")  # by the placement
        arrays = {name: getattr(plain, name).double() for name in (*moved, "area", "blind")}
        arrays |= {f"{name}_centred": getattr(centred, name) for name in moved}
        measured = arrays | {"lift": plain.lift, "lift_centred": centred.lift}
        metrics = {name.replace("hit", "pointing"): values.mean().item() for name, values in measured.items()}
        return metrics, {name: _rounded(values) for name, values in arrays.items()}


def maps(preset: Preset) -> dict[str, list[ActivationMaps]]:
    """The class activation maps of Figure 5, of every network of Figure 4."""
    networks = two_smallest(preset).items()
    return {label: [ActivationMaps(**e.model_dump(exclude={"kind"})) for e in runs] for label, runs in networks}


def _rounded(values: "Tensor", largest: float = 1.0) -> list[Any]:
    """The values to a ten-thousandth of ``largest``, or finer."""
    return np.round(values.double().numpy(), 4 - math.ceil(math.log10(largest or 1.0))).tolist()
