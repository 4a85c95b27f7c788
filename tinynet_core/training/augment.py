"""Cropping, resizing and colour jitter of a whole batch at once, on whatever device it lies.

A crop box and a flip differ from image to image; one pair of small matrices per image resamples them all in two
batched products, with the triangle filter that ``F.interpolate(mode="bilinear", antialias=True)`` uses.
"""

import math

import torch

from tinynet_core.training.recipe import Recipe

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
GREY = (0.299, 0.587, 0.114)


def resample(images: torch.Tensor, boxes: torch.Tensor, side: int, flip: torch.Tensor | None = None) -> torch.Tensor:
    """Cut ``boxes`` out of float ``images`` (n, 3, H, W) and resize them to (n, 3, side, side), antialiased.

    ``boxes`` is (n, 4): top, left, bottom, right in pixels, fractions allowed. ``flip`` (n,) mirrors where true.
    """
    rows = _filter(boxes[:, 0], boxes[:, 2], images.shape[2], side)
    columns = _filter(boxes[:, 1], boxes[:, 3], images.shape[3], side)
    if flip is not None:
        columns = torch.where(flip[:, None, None], columns.flip(1), columns)
    return rows[:, None] @ images @ columns[:, None].transpose(2, 3)


def _filter(low: torch.Tensor, high: torch.Tensor, size: int, side: int) -> torch.Tensor:
    """Weights (n, side, size) of a triangle filter as wide as an output pixel, each row summing to one."""
    step = ((high - low) / side)[:, None, None]
    centre = low[:, None, None] + (torch.arange(side, device=low.device)[None, :, None] + 0.5) * step
    pixel = torch.arange(size, device=low.device)[None, None, :] + 0.5
    weights = (1 - (pixel - centre).abs() / step.clamp(min=1)).clamp_(min=0)
    return weights / weights.sum(2, keepdim=True)


def random_boxes(n: int, size: int, recipe: Recipe, generator: torch.Generator) -> torch.Tensor:
    """(n, 4) random crops of a square image of ``size`` pixels: area, log aspect and place are uniform."""
    draw = torch.rand(4, n, generator=generator)
    area = recipe.crop_area[0] + draw[0] * (recipe.crop_area[1] - recipe.crop_area[0])
    low, high = (math.log(a) for a in recipe.crop_aspect)
    aspect = torch.exp(low + draw[1] * (high - low))
    width = (area * aspect).sqrt().clamp(max=1) * size
    height = (area / aspect).sqrt().clamp(max=1) * size
    top, left = draw[2] * (size - height), draw[3] * (size - width)
    return torch.stack([top, left, top + height, left + width], dim=1)


def centre_boxes(n: int, size: int, share: float) -> torch.Tensor:
    """(n, 4) equal boxes around the centre, ``share`` of the side."""
    low, high = size * (1 - share) / 2, size * (1 + share) / 2
    return torch.tensor([low, low, high, high]).expand(n, 4)


def jitter(images: torch.Tensor, factors: torch.Tensor) -> torch.Tensor:
    """Brightness, contrast and saturation of float images in [0, 1] by ``factors`` (n, 3), in this order."""
    brightness, contrast, saturation = (factors[:, i, None, None, None] for i in range(3))
    grey = torch.tensor(GREY, device=images.device)[None, :, None, None]
    images = (images * brightness).clamp_(0, 1)
    mean = (images * grey).sum(1, keepdim=True).mean((2, 3), keepdim=True)
    images = torch.lerp(mean, images, contrast).clamp_(0, 1)
    return torch.lerp((images * grey).sum(1, keepdim=True), images, saturation).clamp_(0, 1)


def normalise(images: torch.Tensor) -> torch.Tensor:
    """Subtract ImageNet's mean, divide by its standard deviation, and lay out channels last."""
    mean = torch.tensor(MEAN, device=images.device)[None, :, None, None]
    std = torch.tensor(STD, device=images.device)[None, :, None, None]
    return ((images - mean) / std).contiguous(memory_format=torch.channels_last)


def training_batch(images: torch.Tensor, side: int, recipe: Recipe, generator: torch.Generator) -> torch.Tensor:
    """uint8 (n, 3, S, S) images to augmented, normalised (n, 3, side, side).

    Random numbers are drawn on the CPU, so a seed means the same augmentation on every device.
    """
    n, device = len(images), images.device
    boxes = random_boxes(n, images.shape[2], recipe, generator)
    flip = torch.rand(n, generator=generator) < recipe.mirror
    factors = 1 + recipe.jitter * (2 * torch.rand(n, 3, generator=generator) - 1)
    batch = resample(images.float().div_(255), boxes.to(device), side, flip.to(device) if recipe.mirror else None)
    return normalise(jitter(batch, factors.to(device)) if recipe.jitter else batch)


def evaluation_batch(images: torch.Tensor, side: int, recipe: Recipe) -> torch.Tensor:
    """uint8 (n, 3, S, S) images to their normalised centre at (n, 3, side, side)."""
    boxes = centre_boxes(len(images), images.shape[2], recipe.eval_crop).to(images.device)
    return normalise(resample(images.float().div_(255), boxes, side))
