"""Batches from memory or from files: cropped, resized and augmented as a whole on the device that holds them.

Two small matrices per image resample all crops in two batched products, with the filters of torch's antialiased
``F.interpolate``. Images may be stored squeezed into a square. With their ``aspects``, width over height of the
originals, the crops are those of torchvision's ``RandomResizedCrop`` and ``CenterCrop`` on the originals.
"""

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

import numpy as np
import torch

from tinynet_core.data import JpegImages
from tinynet_core.machine import ahead, cores
from tinynet_core.training import randaugment
from tinynet_core.training.recipe import Recipe

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Mean and standard deviation of ImageNet's colours, from 0 to 1, as red, green, blue."""
_GREY = (0.299, 0.587, 0.114)
_TRIES = 10  # as torchvision's RandomResizedCrop


@dataclass(frozen=True)
class Draws:
    """Random numbers of one batch, drawn on the CPU: a seed gives the same augmentation on every device."""

    tries: torch.Tensor  # for crops, (n, 10, 2), uniform: area and logarithm of the aspect
    place: torch.Tensor  # for crops, (n, 2), uniform: corner
    flip: torch.Tensor  # (n,)
    factors: torch.Tensor  # for the jitter, (n, 3)
    policy: randaugment.Draw

    def take(self, part: slice) -> "Draws":
        """Return the draws of some images of the batch, such as those of one of several devices."""
        policy = randaugment.Draw(*(each[:, part] for each in self.policy))
        return Draws(self.tries[part], self.place[part], self.flip[part], self.factors[part], policy)


def draw(n: int, recipe: Recipe, generator: torch.Generator) -> Draws:
    """Draw the random numbers for ``n`` images."""
    tries, place = torch.rand(n, _TRIES, 2, generator=generator), torch.rand(n, 2, generator=generator)
    flip = torch.rand(n, generator=generator) < recipe.mirror
    factors = 1 + recipe.jitter * (2 * torch.rand(n, 3, generator=generator) - 1)
    policy = randaugment.draw(n, recipe.rand_augment, recipe.rand_augment_std, generator)
    return Draws(tries, place, flip, factors, policy)


def resample(
    images: torch.Tensor, boxes: torch.Tensor, side: int, flip: torch.Tensor | None = None, kernel: str = "bilinear"
) -> torch.Tensor:
    """Cut ``boxes`` out of float ``images`` (n, 3, H, W) and resize them to (n, 3, side, side), antialiased.

    ``boxes`` is (n, 4): top, left, bottom, right in pixels, fractions allowed. ``flip`` (n,) mirrors where true. The
    ``kernel`` is bilinear or bicubic.
    """
    rows = _filter(boxes[:, 0], boxes[:, 2], images.shape[2], side, kernel)
    columns = _filter(boxes[:, 1], boxes[:, 3], images.shape[3], side, kernel)
    if flip is not None:
        columns = torch.where(flip[:, None, None], columns.flip(1), columns)
    return rows[:, None] @ images @ columns[:, None].transpose(2, 3)


def _filter(low: torch.Tensor, high: torch.Tensor, size: int, side: int, kernel: str) -> torch.Tensor:
    """Return filter weights (n, side, size) over pixels. Each row sums to 1. Bicubic is Keys' kernel with a = -0.5."""
    step = ((high - low) / side)[:, None, None]
    centre = low[:, None, None] + (torch.arange(side, device=low.device)[None, :, None] + 0.5) * step
    pixel = torch.arange(size, device=low.device)[None, None, :] + 0.5
    x = (pixel - centre).abs() / step.clamp(min=1)
    if kernel == "bilinear":
        weights = (1 - x).clamp_(min=0)
    else:
        near, far = (1.5 * x - 2.5) * x * x + 1, -0.5 * (((x - 5) * x + 8) * x - 4)
        weights = torch.where(x < 1, near, torch.where(x < 2, far, torch.zeros_like(x)))
    return weights / weights.sum(2, keepdim=True)


def crop_boxes(draws: Draws, size: int, recipe: Recipe, aspects: torch.Tensor) -> torch.Tensor:
    """Return random crops (n, 4) of images with the ``aspects`` (n,), which are stored with a side of ``size`` pixels.

    A crop is the first try that fits into the image. If no try fits, the crop is the largest centred one of an
    allowed aspect.
    """
    tries = draws.tries
    least, most = recipe.crop_aspect
    area = recipe.crop_area[0] + tries[..., 0] * (recipe.crop_area[1] - recipe.crop_area[0])
    relative = torch.exp(math.log(least) + tries[..., 1] * math.log(most / least)) / aspects[:, None]
    sides = torch.stack([area / relative, area * relative], dim=2).sqrt()  # height, width as shares of the image
    fits = (sides <= 1).all(2)
    first = sides[torch.arange(len(tries)), fits.int().argmax(1)]
    largest = torch.stack([aspects / least, most / aspects], dim=1).clamp(max=1)
    any_fits = fits.any(1, keepdim=True)
    extent = torch.where(any_fits, first, largest)
    corner = torch.where(any_fits, draws.place, 0.5) * (1 - extent)
    return size * torch.cat([corner, corner + extent], dim=1)


def centre_boxes(n: int, size: int, share: float, aspects: torch.Tensor | None = None) -> torch.Tensor:
    """Return squares (n, 4) around the centre of the original image. Their side is ``share`` of its shorter side."""
    aspects = torch.ones(n) if aspects is None else aspects
    width, height = share / aspects.clamp(min=1), share * aspects.clamp(max=1)
    return size / 2 * torch.stack([1 - height, 1 - width, 1 + height, 1 + width], dim=1)


class Batch(NamedTuple):
    """Images, uint8 (n, 3, S, S), and labels, int64, on the device; aspects (n,) on the CPU, 1 for square images."""

    images: torch.Tensor
    labels: torch.Tensor
    aspects: torch.Tensor

    def take(self, part: slice) -> "Batch":
        """Return some images of the batch."""
        return Batch(*(each[part] for each in self))


def training_batch(batch: Batch, side: int, recipe: Recipe, draws: Draws, clamp: bool = False) -> torch.Tensor:
    """Return augmented, normalised images (n, 3, side, side): crop and flip, colour jitter, then RandAugment.

    ``clamp`` limits crops to [0, 1], because rounding may leave values above white.
    """
    images, _, aspects = batch
    crops = crop_boxes(draws, images.shape[2], recipe, aspects).to(images.device)
    flip = draws.flip.to(images.device) if recipe.mirror else None
    images = resample(images.float().div_(255), crops, side, flip, recipe.interpolation)
    if clamp or recipe.interpolation == "bicubic":
        images.clamp_(0, 1)
    if recipe.jitter:
        images = jitter(images, draws.factors.to(images.device))
    if recipe.rand_augment:
        images = randaugment.apply(images, draws.policy)
    return normalise(images)


def evaluation_batch(
    images: torch.Tensor, side: int, recipe: Recipe, aspects: torch.Tensor | None = None
) -> torch.Tensor:
    """Return the normalised centres (n, 3, side, side) of uint8 ``images`` (n, 3, S, S)."""
    boxes = centre_boxes(len(images), images.shape[2], recipe.eval_crop, aspects).to(images.device)
    batch = resample(images.float().div_(255), boxes, side, None, recipe.interpolation)
    return normalise(batch.clamp_(0, 1) if recipe.interpolation == "bicubic" else batch)


def jitter(images: torch.Tensor, factors: torch.Tensor) -> torch.Tensor:
    """Scale brightness, contrast and saturation of float images in [0, 1] by ``factors`` (n, 3), in this order."""
    brightness, contrast, saturation = (factors[:, i, None, None, None] for i in range(3))
    grey = torch.tensor(_GREY, device=images.device)[None, :, None, None]
    images = (images * brightness).clamp_(0, 1)
    mean = (images * grey).sum(1, keepdim=True).mean((2, 3), keepdim=True)
    images = torch.lerp(mean, images, contrast).clamp_(0, 1)
    return torch.lerp((images * grey).sum(1, keepdim=True), images, saturation).clamp_(0, 1)


def normalise(images: torch.Tensor) -> torch.Tensor:
    """Subtract ImageNet's mean, divide by its standard deviation, and lay out channels last."""
    mean = torch.tensor(MEAN, device=images.device)[None, :, None, None]
    std = torch.tensor(STD, device=images.device)[None, :, None, None]
    return ((images - mean) / std).contiguous(memory_format=torch.channels_last)


class Source:
    """Images with labels and aspects. An array moves to the device if half of the device's free memory holds it."""

    def __init__(
        self, images: np.ndarray | JpegImages, labels: np.ndarray, aspects: np.ndarray | None, device: torch.device
    ) -> None:
        self.device = device
        self.labels = torch.from_numpy(np.array(labels)).to(device)
        self.aspects = torch.ones(len(labels)) if aspects is None else torch.from_numpy(np.array(aspects))
        self.images: JpegImages | torch.Tensor
        if isinstance(images, JpegImages):
            self.images = images
        elif device.type == "cuda" and images.nbytes > torch.cuda.mem_get_info(device)[0] / 2:
            self.images = torch.from_numpy(images).permute(0, 3, 1, 2)
        else:
            self.images = torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2))).to(device)

    def __len__(self) -> int:
        return len(self.labels)

    def batches(self, indices: Sequence[torch.Tensor]) -> Iterator[Batch]:
        """Yield one batch for each of ``indices``, int64 tensors on the CPU."""
        for index, images in zip(indices, self._chosen(indices), strict=True):
            labels = self.labels[index.to(self.device)]
            yield Batch(images.to(self.device, non_blocking=True), labels, self.aspects[index])

    def _chosen(self, indices: Sequence[torch.Tensor]) -> Iterator[torch.Tensor]:
        """Yield the images of each batch, on the device that holds them or decoded from files."""
        if isinstance(self.images, torch.Tensor):
            yield from (self.images[index.to(self.images.device)] for index in indices)
            return
        wanted = [i for index in indices for i in index.tolist()]
        most = 2 * max(map(len, indices), default=1)  # number of images decoded ahead
        with ThreadPoolExecutor(cores()) as pool:
            try:
                images = ahead(pool, self.images.__getitem__, wanted, most)
                for index in indices:
                    yield torch.from_numpy(np.stack([*islice(images, len(index))])).permute(0, 3, 1, 2)
            finally:
                pool.shutdown(cancel_futures=True)
