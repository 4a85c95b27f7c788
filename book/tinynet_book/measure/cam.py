"""Class activation maps, and how much of a map falls on the object.

Zhou et al. 2016, "Learning deep features for discriminative localization" (the paper's [60]): where one linear layer
reads the average of the last feature map f over its places, the logit of class k is the average over the places of
sum_c w_kc f_c(x, y), plus a bias. That sum is the map of class k: what each place adds to the logit.
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
"""Where the cells of a map lie in the image: in equal parts of it, or around the pixels that they look at."""

BATCH = 128
"""Images a batch, as in the evaluation of a training."""


def activation_maps(features: torch.Tensor, classifier: nn.Linear, labels: torch.Tensor) -> torch.Tensor:
    """(n, h, w) maps of the classes ``labels`` (n,) from feature maps (n, C, h, w), the bias left out.

    The average of a map, plus the bias of its class, is the logit.
    """
    return torch.einsum("nc,nchw->nhw", classifier.weight[labels], features)


class Seen(NamedTuple):
    """Of every image: the map of its true class (n, h, w), the predicted class and its probability."""

    maps: torch.Tensor
    predictions: torch.Tensor
    probabilities: torch.Tensor


@torch.inference_mode()
def see(
    module: nn.Module, source: Source, side: int, recipe: Recipe, should_stop: Callable[[], bool] = lambda: False
) -> Seen | None:
    """Maps and predictions of ``module`` for all images of ``source``, cut and resized to ``side`` as in evaluation.

    None where ``should_stop``, asked before each batch, ended it.
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
    """The part of float images (n, channels, S, S) that evaluation looks at, resized to (n, channels, side, side)."""
    boxes = centre_boxes(len(images), images.shape[2], recipe.eval_crop, aspects).to(images.device)
    return resample(images, boxes, side, None, "bilinear")


def cell_centres(side: int, cells: int, placement: Placement) -> torch.Tensor:
    """Where along an image of ``side`` pixels the cells of a map have their centres, (cells,) float64.

    ``stretched``: over the whole image, as ``F.interpolate`` does and the literature draws maps. ``centred``: at the
    pixels in the middle of what the cells look at, which is i times ``stride`` for cell i, with paddings of half a
    kernel.
    """
    index = torch.arange(cells, dtype=torch.float64)
    return (index + 0.5) * (side / cells) if placement == "stretched" else index * stride(side, cells) + 0.5


def stride(side: int, cells: int) -> int:
    """The power of two by which layers of stride 2 bring ``side`` pixels down to ``cells``, rounding up each time."""
    powers = (2**power for power in range(math.ceil(math.log2(side)) + 1))
    return next(power for power in powers if math.ceil(side / power) == cells)


def interpolation(side: int, cells: int, placement: Placement) -> torch.Tensor:
    """(side, cells) weights, float64: a row for each pixel, between the two nearest centres; the edges are held."""
    centres = cell_centres(side, cells, placement)
    step = centres[1] - centres[0] if cells > 1 else 1.0
    position = ((torch.arange(side, dtype=torch.float64) + 0.5 - centres[0]) / step).clamp(0, cells - 1)
    return (1 - (position[:, None] - torch.arange(cells)).abs()).clamp(min=0)


@dataclass(frozen=True)
class Scores:
    """How each of n maps lies on its object, (n,) each, float64.

    ``energy``: share of the map's positive mass that lies on the object. ``area``: share of the image that does, which
    is the energy of a map that knows nothing. ``best``: the highest energy that a map of so many cells can have.
    ``hit``: whether the cell with the largest value touches the object. ``chance``: the share of cells that do.
    ``blind``: whether the map has no positive value; its mass then counts as spread evenly, and its hit as chance.
    """

    energy: torch.Tensor
    area: torch.Tensor
    best: torch.Tensor
    hit: torch.Tensor
    chance: torch.Tensor
    blind: torch.Tensor

    @property
    def lift(self) -> torch.Tensor:
        """Energy over area: 1 for a map that knows nothing."""
        return self.energy / self.area


def scores(maps: torch.Tensor, regions: torch.Tensor, placement: Placement = "stretched") -> Scores:
    """Hold maps (n, h, w) against the shares of the pixels that the objects cover, ``regions`` (n, S, S) from 0 to 1.

    Negative values of a map are set to 0, then it is upsampled to S. A cell is the pixels that are nearest to its
    centre, and touches an object of which it holds a pixel's area or more. No object may cover nothing.
    """
    regions, maps = regions.double(), maps.double().clamp(min=0)
    area = regions.mean((1, 2))
    side = regions.shape[1]
    blind = maps.amax((1, 2)) == 0
    maps = torch.where(blind[:, None, None], 1.0, maps)
    rows, columns = (interpolation(side, cells, placement) for cells in maps.shape[1:])
    on_object = rows.T @ regions @ columns  # of a map that is 1 in one cell, by cell
    everywhere = rows.sum(0)[:, None] * columns.sum(0)
    energy = (maps * on_object).sum((1, 2)) / (maps * everywhere).sum((1, 2))
    owned_rows, owned_columns = (_owned(side, cells, placement) for cells in maps.shape[1:])
    touches = (owned_rows.T @ regions @ owned_columns >= 1).double().flatten(1)
    chance = touches.mean(1)
    hit = touches.gather(1, maps.flatten(1).argmax(1, keepdim=True))[:, 0]
    best = (on_object / everywhere).amax((1, 2))
    return Scores(energy, area, best, torch.where(blind, chance, hit), chance, blind)


def _owned(side: int, cells: int, placement: Placement) -> torch.Tensor:
    """(side, cells): 1 where the pixel is nearest to the centre of the cell."""
    pixels = torch.arange(side, dtype=torch.float64) + 0.5
    nearest = (pixels[:, None] - cell_centres(side, cells, placement)).abs().argmin(1)
    return nn.functional.one_hot(nearest, cells).double()
