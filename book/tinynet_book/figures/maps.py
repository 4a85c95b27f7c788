"""Where networks look: class activation maps, and how much of them falls on the object."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from tinynet_book.figures.style import BLUE, GREY, RED
from tinynet_book.measure.maps import ActivationMaps
from tinynet_core.data import GlyphDataset, load_images
from tinynet_core.data.glyphs import CLASSES, glyph_region, render_image
from tinynet_core.study.record import Record

SIDE = 160
"""Pixels of a drawn image."""


def activation_grid(records: Mapping[str, Record]) -> Figure:
    """The images that the records of ``ActivationMaps`` show, and below each the map of each network (Figure 5).

    The object is outlined where it is known. Negative values of a map are left out, and each map is scaled to its own
    largest value. Above a map stand the predicted class and its probability.
    """
    first = next(iter(records.values()))
    images, regions = _pictures(first)
    index = first.arrays["index"]
    figure, panels = plt.subplots(
        len(records) + 1, len(index), figsize=(1.6 * len(index), 1.9 * (len(records) + 1)), squeeze=False
    )
    for axes, image, label in zip(panels[0], images, first.arrays["label"], strict=True):
        axes.imshow(image)
        axes.set_title(_class(first, label), fontsize=9)
    for row, (name, record) in zip(panels[1:], records.items(), strict=True):
        _overlay(row, images, record)
        row[0].set_ylabel(name, fontsize=9)
    panels[0, 0].set_ylabel("image, class", fontsize=9)
    for column, region in zip(panels.T, regions, strict=False):
        for axes in column:
            axes.contour(region, levels=[0.5], colors="white", linewidths=0.8)
    for axes in panels.flat:
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
    figure.tight_layout(pad=0.4)
    return figure


def _overlay(row: Sequence, images: np.ndarray, record: Record) -> None:
    """Draw the maps of one network over the grey images."""
    import torch

    from tinynet_book.measure.cam import upsampled

    maps = upsampled(torch.tensor(record.arrays["map"]).clamp(min=0), SIDE).numpy()
    columns = (record.arrays[name] for name in ("label", "prediction", "probability"))
    for axes, image, one, label, prediction, probability in zip(row, images, maps, *columns, strict=True):
        axes.imshow(image.mean(2), cmap="gray", vmin=0, vmax=1)
        axes.imshow(one, cmap="jet", vmin=0, vmax=one.max() or 1, alpha=0.5)
        colour = "black" if prediction == label else RED
        axes.set_title(f"{_class(record, prediction)} {probability:.0%}", fontsize=9, color=colour)


def _pictures(record: Record) -> tuple[np.ndarray, list[np.ndarray]]:
    """What evaluation sees of the images, (n, SIDE, SIDE, 3) from 0 to 1, and the outlined regions where known."""
    import torch

    from tinynet_book.measure.cam import seen_part

    task, index = _task(record), record.arrays["index"]
    if isinstance(task.dataset, GlyphDataset):
        shown, aspects = [render_image(task.dataset, "val", i) for i in index], None
        regions = np.stack([glyph_region(task.dataset, "val", i) for i in index])
        outlined = seen_part(torch.from_numpy(regions)[:, None].float(), SIDE, task.recipe)[:, 0].numpy()
    else:
        stored = load_images(task.dataset)
        shown, outlined = [stored.val_images[i] for i in index], np.empty(0)
        aspects = None if stored.val_aspects is None else torch.from_numpy(stored.val_aspects[index])
    pixels = torch.from_numpy(np.stack(shown)).permute(0, 3, 1, 2)
    images = seen_part(pixels / 255, SIDE, task.recipe, aspects).permute(0, 2, 3, 1).numpy()
    return images, [*outlined]


def _task(record: Record) -> ActivationMaps:
    """What the record is of; raises ``ValueError`` where that is no map."""
    if not isinstance(record.experiment, ActivationMaps):
        raise ValueError(f"the record must be of activation maps, got one of kind {record.experiment.kind!r}")
    return record.experiment


def _class(record: Record, label: int) -> str:
    """The letter of a glyph; the number of any other class."""
    return CLASSES[label] if isinstance(_task(record).dataset, GlyphDataset) else f"class {label}"


def lift_distributions(frame: pd.DataFrame) -> Figure:
    """For each model and seed, the share of validation images whose map has at most so high a ``lift``.

    ``frame`` has the columns model, seed, lift, a row for each image.
    """
    figure, axes = plt.subplots(figsize=(8, 4.5), layout="constrained")
    images = frame.groupby(["model", "seed"]).size().iloc[0]
    for (name, runs), colour in zip(frame.groupby("model", sort=False), (BLUE, RED), strict=True):
        for i, (_, run) in enumerate(runs.groupby("seed")):
            axes.ecdf(run.lift, color=colour, linewidth=1.2, label=name if i == 0 else None)
        axes.axvline(runs.lift.mean(), color=colour, linestyle="--", linewidth=0.8)
    axes.axvline(1, color=GREY, linestyle=":")
    axes.text(0.97, 0.97, "a map that\nknows nothing", fontsize=8, ha="right", va="top")
    axes.set(
        xlabel=f"lift: energy on the object over its share of the image (n = {images:,} validation images)",
        ylabel="share of images at or below",
        xlim=(0, None),
    )
    axes.legend(loc="lower right", title=f"dashed: means; seeds: {frame.seed.nunique()}", fontsize="small")
    return figure


def paired_differences(table: pd.DataFrame, images: int) -> Figure:
    """Differences between two models with 95% intervals, a panel for each measure, a dot for each seed and placement.

    ``table`` has the columns measure, placement, seed, difference, low, high.
    """
    measures = list(table.measure.unique())
    figure, panels = plt.subplots(1, len(measures), figsize=(5 * len(measures), 3.6), layout="constrained")
    for axes, measure in zip(np.atleast_1d(panels), measures, strict=True):
        rows = table[table.measure == measure].reset_index(drop=True)
        for (placement, part), colour in zip(rows.groupby("placement", sort=False), (BLUE, GREY), strict=True):
            error = np.abs(part[["low", "high"]].to_numpy().T - part.difference.to_numpy())
            axes.errorbar(part.difference, part.index, xerr=error, fmt="o", color=colour, label=placement)
        axes.axvline(0, color="0.3", linewidth=0.8)
        axes.set(
            title=measure,
            xlabel=f"difference, paired by image (n = {images:,}), 95% bootstrap",
            yticks=rows.index,
            yticklabels=[f"seed {seed}" for seed in rows.seed],
        )
        axes.margins(y=0.3)
    np.atleast_1d(panels)[0].legend(title="cells", loc="best", fontsize="small")
    return figure
