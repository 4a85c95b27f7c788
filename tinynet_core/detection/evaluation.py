"""Average precision as COCO defines it, by pycocotools."""

import contextlib
import io
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pycocotools.coco import COCO

METRICS = {"map": 0, "ap50": 1, "ap75": 2, "map_small": 3, "map_medium": 4, "map_large": 5, "ar_100": 8}
"""Metrics by name, with their places in COCO's summary."""


def average_precision(
    truth: "COCO", detections: np.ndarray, image_ids: list[int], area_limits: tuple[float, float]
) -> dict[str, float]:
    """COCO's metrics, as fractions, of ``detections`` on the images ``image_ids`` of ``truth``.

    A row of ``detections`` is image id, left, top, width, height in pixels of the original image, score, category id.
    ``map`` is the mean over intersections over union of 0.5, 0.55, ... 0.95 and over categories; ``map_small``,
    ``map_medium`` and ``map_large`` are those of objects below, between and above ``area_limits`` in square pixels, by
    the area that the annotations give; ``ar_100`` is the recall at a hundred detections an image. A metric of which the
    images hold no object is left out.
    """
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    small, large = area_limits
    with contextlib.redirect_stdout(io.StringIO()):
        found = truth.loadRes(detections) if len(detections) else COCO()  # it refuses an empty list
        judge = COCOeval(truth, found, "bbox")
        judge.params.imgIds = sorted(image_ids)
        judge.params.areaRng = [[0, 1e10], [0, small], [small, large], [large, 1e10]]
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    return {name: float(judge.stats[place]) for name, place in METRICS.items() if judge.stats[place] >= 0}
