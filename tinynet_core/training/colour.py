"""Colours of float images (n, 3, H, W): jitter, and the normalisation that networks expect."""

import torch

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
GREY = (0.299, 0.587, 0.114)


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
