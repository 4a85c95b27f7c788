"""What the page of detectors draws: validation images with their objects."""

from typing import NamedTuple

import numpy as np

from tinynet_core.data import DetectionDataset, SceneDataset, load_detection
from tinynet_core.data.scenes import CLASSES, render_scene


class Sample(NamedTuple):
    """One validation image, uint8, with its objects: boxes in pixels of ``shape`` (width, height), and their names."""

    image: np.ndarray
    boxes: np.ndarray
    names: list[str]
    shape: tuple[int, int]


def samples(dataset: DetectionDataset, images: int) -> tuple[list[Sample], tuple[str, ...]]:
    """The first validation images, and the names of the labels 1, 2, ...: scenes are rendered, others decoded."""
    if isinstance(dataset, SceneDataset):
        scenes = [render_scene(dataset, "val", i) for i in range(min(images, dataset.val_images))]
        shape = (dataset.side, dataset.side)
        found = [Sample(s.image, s.boxes, [CLASSES[label - 1] for label in s.labels], shape) for s in scenes]
        return found, CLASSES[: dataset.classes]
    data = load_detection(dataset)
    found = []
    for i in range(min(images, len(data.val))):
        some, shape = data.val.objects(i), data.val.shapes[i]
        boxes = data.val.boxes[some] * np.tile(shape / data.side, 2)
        names = [data.names[label - 1] for label in data.val.labels[some]]
        found.append(Sample(data.val.images[i], boxes, names, (int(shape[0]), int(shape[1]))))
    return found, data.names
