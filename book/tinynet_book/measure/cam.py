"""Class activation maps, and how much of a map falls on the object.

Zhou et al. 2016, "Learning deep features for discriminative localization" (the paper's [60]): let a linear layer read
the spatial average of the last feature map f. Then the logit of class k is a bias plus the spatial average of
sum_c w_kc f_c(x, y). This sum is the map of class k: the contribution of each position to the logit.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import nn

from tinynet_core.training.augment import Source, centre_boxes, evaluation_batch, resample
from tinynet_core.training.recipe import Recipe

Placement = Literal["stretched", "centred"]
"""Position of a map's cells in the image: equal parts of the image, or centred on the pixels that a cell sees."""

BATCH = 128
"""Images per batch, as in the evaluation of a training."""


def activation_maps(features: torch.Tensor, classifier: nn.Linear, labels: torch.Tensor) -> torch.Tensor:
    """Return maps (n, h, w) of the classes ``labels`` (n,) from feature maps (n, C, h, w), without the bias.

    The logit of a class is the average of its map plus its bias.
    """
    return torch.einsum("nc,nchw->nhw", classifier.weight[labels], features)


class Seen(NamedTuple):
    """For every image, the map of its true class (n, h, w), the predicted class and its probability."""

    maps: torch.Tensor
    predictions: torch.Tensor
    probabilities: torch.Tensor


@torch.inference_mode()
def see(
    module: nn.Module, source: Source, side: int, recipe: Recipe, should_stop: Callable[[], bool] = lambda: False
) -> Seen | None:
    """Return maps and predictions of ``module`` for ``source``, cropped and resized to ``side`` as in evaluation.

    Return None if ``should_stop``, called before each batch, returns true.
    """
    device = source.device
    module = module.eval().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    classifier = module.get_classifier()  # type: ignore[operator]
    parts = []
    for images, labels, aspects in source.batches(torch.arange(len(source)).split(BATCH)):
        if should_stop():
            return None
        inputs = evaluation_batch(images, side, recipe, aspects)
        with torch.autocast(device.type, torch.bfloat16, enabled=recipe.precision == "bf16"):
            features = module.forward_features(inputs)  # type: ignore[operator]
            logits = classifier(features.mean((2, 3))).float()
        probability, prediction = logits.softmax(1).max(1)
        parts.append((activation_maps(features.float(), classifier, labels), prediction, probability))
    return Seen(*(torch.cat(column).cpu() for column in zip(*parts, strict=True)))


def seen_part(images: torch.Tensor, side: int, recipe: Recipe, aspects: torch.Tensor | None = None) -> torch.Tensor:
    """Crop float images (n, channels, S, S) as in evaluation, and resize them to (n, channels, side, side)."""
    boxes = centre_boxes(len(images), images.shape[2], recipe.eval_crop, aspects).to(images.device)
    return resample(images, boxes, side, None, "bilinear")


def cell_centres(side: int, cells: int, placement: Placement) -> torch.Tensor:
    """Return the centres of a map's cells along an image of ``side`` pixels, (cells,) float64.

    ``stretched``: spread over the whole image, as in ``F.interpolate`` and the literature. ``centred``: at the centre
    of the pixels that a cell sees. For layers with a padding of half a kernel, this is pixel i times ``stride`` for
    cell i.
    """
    index = torch.arange(cells, dtype=torch.float64)
    return (index + 0.5) * (side / cells) if placement == "stretched" else index * stride(side, cells) + 0.5


def stride(side: int, cells: int) -> int:
    """Return the power of two by which layers of stride 2, which round up, reduce ``side`` pixels to ``cells``."""
    powers = (2**power for power in range(math.ceil(math.log2(side)) + 1))
    return next(power for power in powers if math.ceil(side / power) == cells)


def interpolation(side: int, cells: int, placement: Placement) -> torch.Tensor:
    """Return weights (side, cells), float64, of linear interpolation between cell centres, constant at the edges."""
    centres = cell_centres(side, cells, placement)
    step = centres[1] - centres[0] if cells > 1 else 1.0
    position = ((torch.arange(side, dtype=torch.float64) + 0.5 - centres[0]) / step).clamp(0, cells - 1)
    return (1 - (position[:, None] - torch.arange(cells)).abs()).clamp(min=0)


@dataclass(frozen=True)
class Scores:
    """How well each of n maps covers its object, (n,) each, float64.

    ``energy``: fraction of the map's positive mass on the object. ``area``: fraction of the image that the object
    covers, which is the energy of a uniform map. ``best``: the highest possible energy of a map with as many cells.
    ``hit``: whether the cell with the largest value touches the object. ``chance``: fraction of cells that touch it.
    ``blind``: whether the map has no positive value. Such a map counts as uniform, and its hit as ``chance``.
    """

    energy: torch.Tensor
    area: torch.Tensor
    best: torch.Tensor
    hit: torch.Tensor
    chance: torch.Tensor
    blind: torch.Tensor

    @property
    def lift(self) -> torch.Tensor:
        """Energy divided by area. A uniform map has a lift of 1."""
        return self.energy / self.area


def scores(maps: torch.Tensor, regions: torch.Tensor, placement: Placement = "stretched") -> Scores:
    """Compare maps (n, h, w) with ``regions`` (n, S, S), the fraction from 0 to 1 of each pixel that is the object.

    Negative values of a map are set to 0, then the map is upsampled to S. A cell consists of the pixels nearest to its
    centre. It touches an object if at least one pixel's area of the object is in it. Objects must not be empty.
    """
    regions, maps = regions.double(), maps.double().clamp(min=0)
    area = regions.mean((1, 2))
    side = regions.shape[1]
    blind = maps.amax((1, 2)) == 0
    maps = torch.where(blind[:, None, None], 1.0, maps)
    rows, columns = (interpolation(side, cells, placement) for cells in maps.shape[1:])
    on_object = rows.T @ regions @ columns  # for each cell, mass of a map that is 1 only there
    everywhere = rows.sum(0)[:, None] * columns.sum(0)
    energy = (maps * on_object).sum((1, 2)) / (maps * everywhere).sum((1, 2))
    owned_rows, owned_columns = (_owned(side, cells, placement) for cells in maps.shape[1:])
    touches = (owned_rows.T @ regions @ owned_columns >= 1).double().flatten(1)
    chance = touches.mean(1)
    hit = touches.gather(1, maps.flatten(1).argmax(1, keepdim=True))[:, 0]
    best = (on_object / everywhere).amax((1, 2))
    return Scores(energy, area, best, torch.where(blind, chance, hit), chance, blind)


def _owned(side: int, cells: int, placement: Placement) -> torch.Tensor:
    """Return (side, cells) float64: 1 if the cell's centre is the nearest one to the pixel, else 0."""
    pixels = torch.arange(side, dtype=torch.float64) + 0.5
    nearest = (pixels[:, None] - cell_centres(side, cells, placement)).abs().argmin(1)
    return nn.functional.one_hot(nearest, cells).double()
