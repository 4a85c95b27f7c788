"""RandAugment of a whole batch at once, on the device that holds the batch.

The policy is timm's ``rand-m9-mstd0.5`` with its default (not "increasing") 15 operations: Cubuk et al.,
https://arxiv.org/abs/1909.13719, with the ranges of the TensorFlow EfficientNet code. Images with the same
operation are processed together. Results equal PIL's 8-bit levels up to rounding, with one exception: the bicubic
kernel is torch's (a = -0.75), a little softer than PIL's (a = -1).
"""

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch.nn import functional as F

Operation = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""Function of m images (whole levels 0 to 255, may be overwritten) and m arguments. Returns the new levels."""

LAYERS, MAX_MAGNITUDE = 2, 10.0
UNTOUCHED = -1
FILL = (124, 116, 104)
"""ImageNet's mean colour."""


class Draw(NamedTuple):
    """Operations on n images in each layer: four CPU tensors (layers, n).

    ``ops`` indexes ``OPS`` or is ``UNTOUCHED``. ``magnitudes``, float64, lie in [0, 10]. ``signs``, float64, are the
    directions of rotation, shear and shift. ``bicubic`` chooses bicubic instead of bilinear interpolation for these.
    """

    ops: torch.Tensor
    magnitudes: torch.Tensor
    signs: torch.Tensor
    bicubic: torch.Tensor


def draw(n: int, magnitude: float, std: float, generator: torch.Generator) -> Draw:
    """Draw operations for ``n`` images from a CPU ``generator``, so that a seed means the same on every device.

    In each layer an image gets an operation with a probability of one half. All ``OPS`` are equally likely. The
    magnitude is normal with mean ``magnitude`` and standard deviation ``std``, clipped to [0, 10].
    """
    ops = torch.randint(len(OPS), (LAYERS, n), generator=generator)
    happens, sign, kernel = torch.rand(3, LAYERS, n, generator=generator)
    normal = torch.randn(LAYERS, n, generator=generator, dtype=torch.float64)
    return Draw(
        torch.where(happens < 0.5, ops, UNTOUCHED),
        (magnitude + std * normal).clamp_(0, MAX_MAGNITUDE),
        torch.where(sign < 0.5, 1.0, -1.0).double(),
        kernel < 0.5,
    )


def apply(images: torch.Tensor, draws: Draw) -> torch.Tensor:
    """Return a copy of float32 ``images`` (n, 3, H, W) in [0, 1] with the operations of ``draws`` applied."""
    images = images.clone()
    for ops, magnitudes, signs, bicubic in zip(*draws, strict=True):
        strength = magnitudes / MAX_MAGNITUDE
        for number, (argument, operation) in enumerate(_ON_LEVELS.values()):
            _replace(images, ops == number, argument(strength), operation)
        matrices, warped = _matrices(ops, strength * signs, *images.shape[2:]), ops >= len(_ON_LEVELS)
        _replace(images, warped & ~bicubic, matrices, partial(_warp, mode="bilinear"))
        _replace(images, warped & bicubic, matrices, partial(_warp, mode="bicubic"))
    return images


def _replace(images: torch.Tensor, chosen: torch.Tensor, arguments: torch.Tensor, operation: Operation) -> None:
    """Apply ``operation`` to the ``chosen`` (n,) images as levels 0 to 255, each with its row of ``arguments``."""
    rows = chosen.nonzero()[:, 0]
    if len(rows):
        argument, rows = arguments[rows].float().to(images.device), rows.to(images.device)
        levels = images.index_select(0, rows).mul_(255).round_()
        images.index_copy_(0, rows, operation(levels, argument).div_(255))


def _per_image(argument: torch.Tensor) -> torch.Tensor:
    return argument.view(-1, 1, 1, 1)


def _blend(start: torch.Tensor, end: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    """Interpolate levels from ``start`` (factor 0) to ``end`` (factor 1) and beyond, truncated to whole levels."""
    return (end - start).mul_(_per_image(factor)).add_(start).clamp_(0, 255).floor_()


def _grey(levels: torch.Tensor) -> torch.Tensor:
    """Return luma (m, 1, H, W) with PIL's weights, 16-bit fractions. Every step is exact in float32."""
    red, green, blue = levels.split(1, dim=1)
    return (red * 19595 + green * 38470 + blue * 7471).add_(32768).div_(65536).floor_()


def _auto_contrast(levels: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
    """Stretch each channel of each image to the full range, unless it has a single level."""
    low, high = levels.amin((2, 3), keepdim=True), levels.amax((2, 3), keepdim=True)
    flat = low == high
    low, spread = low.masked_fill(flat, 0), (high - low).masked_fill(flat, 255)
    return levels.sub_(low).mul_(255).div_(spread).floor_()


def _equalise(levels: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
    from torchvision.transforms.v2.functional import equalize  # the import takes 1 s

    return equalize(levels.byte()).to(levels.dtype)


def _posterise(levels: torch.Tensor, bits: torch.Tensor) -> torch.Tensor:
    width = _per_image(2 ** (8 - bits))
    return levels.div_(width).floor_().mul_(width)


def _solarise(levels: torch.Tensor, threshold: torch.Tensor) -> torch.Tensor:
    bright = levels.clone().ge_(_per_image(threshold))
    return (255 - 2 * levels).mul_(bright).add_(levels)


def _solarise_add(levels: torch.Tensor, addition: torch.Tensor) -> torch.Tensor:
    """Brighten the darker half of the levels."""
    return levels.clone().lt_(128).mul_(_per_image(addition)).add_(levels).clamp_(max=255)


def _contrast(levels: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    """Blend with the mean grey, rounded. Integer sums make the mean the same on every device."""
    total, count = _grey(levels).sum(3).long().sum((1, 2)), levels.shape[2] * levels.shape[3]
    mean = (2 * total + count) // (2 * count)
    return _blend(_per_image(mean), levels, factor)


def _sharpness(levels: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    """Blend with a 3 x 3 blur that counts the centre five times. The outermost pixels do not change."""
    rows = levels[:, :, :-2] + levels[:, :, 1:-1] + levels[:, :, 2:]
    total = rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]
    smooth = levels.clone()
    smooth[:, :, 1:-1, 1:-1] = total.add_(levels[:, :, 1:-1, 1:-1], alpha=4).div_(13).round_()
    return _blend(smooth, levels, factor)


def _enhancement(strength: torch.Tensor) -> torch.Tensor:
    return 0.1 + 1.8 * strength


_ON_LEVELS: dict[str, tuple[Callable[[torch.Tensor], torch.Tensor], Operation]] = {
    "AutoContrast": (lambda strength: strength, _auto_contrast),
    "Equalize": (lambda strength: strength, _equalise),
    "Invert": (lambda strength: strength, lambda levels, _: levels.neg_().add_(255)),
    "Posterize": (lambda strength: (4 * strength).trunc(), _posterise),
    "Solarize": (lambda strength: (256 * strength).trunc(), _solarise),
    "SolarizeAdd": (lambda strength: (110 * strength).trunc(), _solarise_add),
    "Color": (_enhancement, lambda levels, factor: _blend(_grey(levels), levels, factor)),
    "Contrast": (_enhancement, _contrast),
    "Brightness": (_enhancement, lambda levels, factor: levels.mul_(_per_image(factor)).clamp_(max=255).floor_()),
    "Sharpness": (_enhancement, _sharpness),
}
"""Operations on levels. Each has a function from magnitude / 10 to its argument, and the operation itself."""

_AFFINE = ("Rotate", "ShearX", "ShearY", "TranslateXRel", "TranslateYRel")

OPS = (*_ON_LEVELS, *_AFFINE)
"""Names of the operations, as in timm."""


def _matrices(ops: torch.Tensor, strength: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Return maps (n, 2, 3) from a pixel's place in the result to its place in the image, from the top left corner.

    Rotation is about the centre, up to 30 degrees. Shear keeps the corner, up to 0.3. Shifts go up to 0.45 of a side.
    """
    turn, shear_x, shear_y, shift_x, shift_y = (torch.where(ops == OPS.index(name), strength, 0.0) for name in _AFFINE)
    cos, sin = (turn * math.radians(30)).cos(), (turn * math.radians(30)).sin()
    x, y = width / 2, height / 2
    across = torch.stack([cos, 0.3 * shear_x - sin, (1 - cos) * x + sin * y + 0.45 * width * shift_x], 1)
    down = torch.stack([0.3 * shear_y + sin, cos, (1 - cos) * y - sin * x + 0.45 * height * shift_y], 1)
    return torch.stack([across, down], 1)


def _warp(levels: torch.Tensor, matrices: torch.Tensor, mode: str) -> torch.Tensor:
    """Resample through ``matrices``. Pixels whose centre comes from outside the image take the fill colour."""
    height, width = levels.shape[2:]
    column = torch.arange(width, device=levels.device) + 0.5
    row = torch.arange(height, device=levels.device)[:, None] + 0.5
    across, down, offset = matrices[:, :, None, None].unbind(-1)
    place = across * column + (down * row + offset)
    last = torch.tensor([width - 1, height - 1], dtype=levels.dtype, device=levels.device).view(1, 2, 1, 1)
    inside = place.floor().mul_(2).sub_(last).abs_().sub_(last).amax(1, keepdim=True).le_(0)
    fill = torch.tensor(FILL, dtype=levels.dtype, device=levels.device).view(1, 3, 1, 1)
    grid = place.mul_(2 / (last + 1)).sub_(1).permute(0, 2, 3, 1)
    warped = F.grid_sample(levels.sub_(fill), grid, mode=mode, padding_mode="border", align_corners=False)
    # PIL truncates to whole levels. In float32 a flat area may lie just below its level; adding 0.001 keeps it.
    return warped.mul_(inside).add_(fill + 1e-3).clamp_(0, 255).floor_()
