"""Detectors held against each other and against the paper's Table 5, and what they look at."""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from tinynet_core.data import DetectionDataset, SceneDataset, load_detection

if TYPE_CHECKING:
    from tinynet_core.study.detect import Detection

PRECISIONS = {
    "map": "mAP",
    "ap50": "AP50",
    "ap75": "AP75",
    "map_small": "AP small",
    "map_medium": "AP medium",
    "map_large": "AP large",
}
"""The columns of Table 5 by their name in records and in ``tables.yaml``."""


class Sample(NamedTuple):
    """One validation image, uint8, with its objects: boxes in pixels of ``shape`` (width, height), and their names."""

    image: np.ndarray
    boxes: np.ndarray
    names: list[str]
    shape: tuple[int, int]


def differences(frame: pd.DataFrame, better: str, worse: str) -> pd.DataFrame:
    """Mean of the model ``better`` minus that of ``worse`` for each metric of Table 5, in points, by metric.

    ``frame`` has a row for each finished detector. ``low`` and ``high`` are a 95% interval, Welch's t over seeds, which
    are missing where either model has one seed. A metric that a record lacks, since its images hold no such object, is
    missing altogether.
    """
    rows = {}
    for metric in PRECISIONS:
        values = [100 * frame.loc[frame.model == name, metric].dropna() for name in (better, worse) if metric in frame]
        if not values or min(map(len, values)) == 0:
            continue
        rows[metric] = {"difference": values[0].mean() - values[1].mean(), **_interval(*values)}
    return pd.DataFrame.from_dict(rows, orient="index", columns=["difference", "low", "high"])


def ahead(gaps: pd.DataFrame) -> bool | None:
    """Whether ``differences`` show the one model ahead in each of the metrics that are the rows of ``gaps``.

    True where every interval is above zero, False where one is below; None, undecided, where neither is so, as where
    there is no interval or no row.
    """
    if (gaps.high < 0).any():
        return False
    return True if len(gaps) and (gaps.low > 0).all() else None


def _interval(first: pd.Series, second: pd.Series) -> dict[str, float]:
    from scipy.stats import ttest_ind

    if min(len(first), len(second)) < 2:
        return {"low": np.nan, "high": np.nan}
    if first.std() == second.std() == 0:
        return dict.fromkeys(("low", "high"), float(first.mean() - second.mean()))
    interval = ttest_ind(first, second, equal_var=False).confidence_interval()
    return {"low": float(interval.low), "high": float(interval.high)}


def costs(tasks: "dict[str, Detection]") -> pd.DataFrame:
    """Exact millions of multiply-adds and weights of each detector, its backbone at both resolutions included."""
    rows = {}
    for name, task in tasks.items():
        spec, cost = task.spec(), task.cost()
        rows[name] = {
            "classifier's input (px)": spec.resolution,
            "classifier MACs (M)": cost["classifier_macs"] / 1e6,
            "detector's input (px)": cost["resolution"],
            "backbone MACs (M)": cost["backbone_macs"] / 1e6,
            "detector MACs (M)": cost["macs"] / 1e6,
            "detector weights (M)": cost["params"] / 1e6,
        }
    return pd.DataFrame.from_dict(rows, orient="index")


def samples(dataset: DetectionDataset, images: int) -> list[Sample]:
    """The first validation images: scenes are rendered, those of a user's folder decoded."""
    if isinstance(dataset, SceneDataset):
        from tinynet_core.data.scenes import CLASSES, render_scene

        scenes = [render_scene(dataset, "val", i) for i in range(min(images, dataset.val_images))]
        shape = (dataset.side, dataset.side)
        return [Sample(s.image, s.boxes, [CLASSES[label - 1] for label in s.labels], shape) for s in scenes]
    data = load_detection(dataset)
    found = []
    for i in range(min(images, len(data.val))):
        some, shape = data.val.objects(i), data.val.shapes[i]
        boxes = data.val.boxes[some] * np.tile(shape / data.side, 2)
        names = [data.names[label - 1] for label in data.val.labels[some]]
        found.append(Sample(data.val.images[i], boxes, names, (int(shape[0]), int(shape[1]))))
    return found


def class_names(dataset: DetectionDataset) -> tuple[str, ...]:
    """Names of the labels 1, 2, ..."""
    if isinstance(dataset, SceneDataset):
        from tinynet_core.data.scenes import CLASSES

        return CLASSES[: dataset.classes]
    return load_detection(dataset).names
