"""Detectors: average precisions, and what is found in single images."""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from tinynet_book.analysis.detectors import PRECISIONS, Sample
from tinynet_book.figures.style import BLUE, GREEN, GREY, ORANGE, RED

LEAST_SCORE = 0.3
"""Detections below are not drawn."""


def average_precisions(
    frame: pd.DataFrame, differences: pd.DataFrame, printed: dict[str, float], images: int
) -> Figure:
    """Table 5 as a picture: each metric of each model, and by how much the second model is ahead of the first.

    Left the single seeds as ticks and their means as dots, right the differences with 95% intervals over seeds, beside
    the ``printed`` ones, in points by metric.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 4.2), width_ratios=(3, 2), layout="constrained")
    metrics = [metric for metric in PRECISIONS if metric in differences.index]
    place = np.arange(len(metrics))
    for shift, (name, group), colour in zip(
        (-0.12, 0.12), frame.groupby("model", sort=False), (GREEN, BLUE), strict=True
    ):
        values = 100 * group[metrics]
        for seed in values.to_numpy():
            left.plot(place + shift, seed, "_", color=colour, markersize=12, alpha=0.6)
        left.plot(place + shift, values.mean(), "o", color=colour, label=f"{name} (n = {len(group)})")
    left.set(ylabel=f"average precision (%), {images:,} validation images", ylim=(0, None))
    error = np.abs(differences.loc[metrics, ["low", "high"]].sub(differences.loc[metrics, "difference"], axis=0)).T
    seeds = differences.loc[metrics, "low"].notna().any()
    label = "here, 95% over seeds" if seeds else "here, one seed each"
    right.errorbar(
        place - 0.1,
        differences.difference[metrics],
        error,
        fmt="o",
        color=BLUE,
        capsize=3,
        label=label,
    )
    right.plot(place + 0.1, [printed[m] for m in metrics], "s", color=RED, label="paper, COCO (one run)")
    right.axhline(0, color=GREY, linewidth=0.8)
    right.set(ylabel="difference (points)")
    for axes in (left, right):
        axes.set_xticks(place, [PRECISIONS[m] for m in metrics], rotation=30, ha="right")
        axes.legend(fontsize="small")
    return figure


def detected_objects(samples: list[Sample], found: dict[str, dict[str, list[Any]]], names: tuple[str, ...]) -> Figure:
    """Objects (dashed) and detections scored at least ``LEAST_SCORE``, a row for each model and a column an image.

    ``found`` has for each model what the record of a detector keeps: ``boxes``, ``scores`` and ``labels`` by image.
    """
    figure, panels = plt.subplots(
        len(found), len(samples), figsize=(3 * len(samples), 3.2 * len(found)), squeeze=False, layout="constrained"
    )
    for row, (model, arrays) in zip(panels, found.items(), strict=True):
        for axes, sample, boxes, scores, labels in zip(
            row, samples, arrays["boxes"], arrays["scores"], arrays["labels"], strict=False
        ):
            width, height = sample.shape
            axes.imshow(sample.image, extent=(0, width, height, 0))
            for box in sample.boxes:
                _frame(axes, box, edgecolor="white", linewidth=2.5)
                _frame(axes, box, edgecolor="black", linestyle="--", linewidth=1)
            for box, score, label in zip(boxes, scores, labels, strict=True):
                if score >= LEAST_SCORE:
                    _frame(axes, box, edgecolor=ORANGE, linewidth=1.8)
                    text = {"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 0.5}
                    axes.text(box[0], box[1], f"{names[label - 1]} {score:.2f}", fontsize=7, bbox=text, clip_on=True)
            axes.set(xlim=(0, width), ylim=(height, 0), xticks=[], yticks=[])
        row[0].set_ylabel(model)
    return figure


def _frame(axes: Axes, box: Any, **style: Any) -> None:
    left, top, right, bottom = box
    axes.add_patch(Rectangle((left, top), right - left, bottom - top, fill=False, **style))
