"""Training loops as others write them, on the network, images, batch size, steps and optimiser that they are given.

Both are generators that yield after every step of one epoch, so that whoever calls them decides what is timed. What
costs a loop time without making it another loop is left out: evaluation, logging, checkpoints.
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager

import torch
from PIL import Image
from timm.data import create_loader
from timm.loss import LabelSmoothingCrossEntropy
from timm.optim import create_optimizer_v2
from timm.utils import ModelEmaV3
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from tinynet_core.data import ImageSet
from tinynet_core.networks import Network
from tinynet_core.training.colour import MEAN, STD
from tinynet_core.training.recipe import Recipe

TIMM_OPTIMIZERS = {"adamw": "adamw", "sgd": "nesterov", "rmsprop": "rmsproptf"}
FILTERS = {"bilinear": v2.InterpolationMode.BILINEAR, "bicubic": v2.InterpolationMode.BICUBIC}


class Pictures(Dataset):
    """PIL images in memory with their labels: what an image folder gives, without the disk and the decoder."""

    def __init__(self, pictures: Sequence[Image.Image], labels: Sequence[int]) -> None:
        self.pictures, self.labels, self.transform = pictures, labels, None

    @classmethod
    def of(cls, images: ImageSet) -> "Pictures":
        """The training images of ``images``."""
        return cls([Image.fromarray(image) for image in images.train_images], images.train_labels.tolist())

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, i: int):
        return self.transform(self.pictures[i]), self.labels[i]


def build(spec: Network, recipe: Recipe, device: torch.device) -> nn.Module:
    """The module of ``spec`` as the engine builds it, in the default layout."""
    return spec.build(recipe.dropout, recipe.zero_init_residual, recipe.zero_init_classifier).to(device).train()


def torchvision_steps(
    spec: Network, data: Dataset, recipe: Recipe, workers: int, device: torch.device
) -> Iterator[None]:
    """As torchvision's references for classification: DataLoader, transforms of PIL images, the default layout."""
    data.transform = v2.Compose(
        [
            v2.RandomResizedCrop(spec.resolution, recipe.crop_area, recipe.crop_aspect, FILTERS[recipe.interpolation]),
            v2.RandomHorizontalFlip(recipe.mirror),
            v2.ColorJitter(recipe.jitter, recipe.jitter, recipe.jitter),
            v2.PILToTensor(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(MEAN, STD),
        ]
    )
    pin = device.type == "cuda"
    loader = DataLoader(data, recipe.batch_size, shuffle=True, num_workers=workers, pin_memory=pin, drop_last=True)
    model = build(spec, recipe, device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=recipe.peak_lr, weight_decay=recipe.weight_decay)
    for images, labels in loader:
        images, labels = images.to(device, non_blocking=pin), labels.to(device, non_blocking=pin)
        with autocast(recipe, device):
            loss = F.cross_entropy(model(images), labels, label_smoothing=recipe.label_smoothing)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        yield


def timm_steps(
    spec: Network, data: Dataset, recipe: Recipe, workers: int, device: torch.device, channels_last: bool
) -> Iterator[None]:
    """As timm's train.py, from timm's own parts: loader with prefetcher, loss, optimiser and averaged weights.

    ``channels_last`` is what its option --channels-last does.
    """
    loader = create_loader(
        data,
        spec.resolution,
        recipe.batch_size,
        is_training=True,
        scale=recipe.crop_area,
        ratio=recipe.crop_aspect,
        hflip=recipe.mirror,
        color_jitter=recipe.jitter,
        interpolation=recipe.interpolation,
        num_workers=workers,
        pin_memory=device.type == "cuda",
        device=device,
        persistent_workers=False,
    )
    model = build(spec, recipe, device)
    if channels_last:
        model.to(memory_format=torch.channels_last)
    optimizer = create_optimizer_v2(
        model, TIMM_OPTIMIZERS[recipe.optimizer], recipe.peak_lr, recipe.weight_decay, recipe.momentum
    )
    averaged = ModelEmaV3(model, decay=recipe.ema_decay, use_warmup=recipe.ema_warmup)
    loss_of = LabelSmoothingCrossEntropy(recipe.label_smoothing)
    for step, (images, labels) in enumerate(loader, 1):
        if channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        with autocast(recipe, device):
            loss = loss_of(model(images), labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        averaged.update(model, step=step)
        yield


def autocast(recipe: Recipe, device: torch.device) -> AbstractContextManager:
    return torch.autocast(device.type, torch.bfloat16, enabled=recipe.precision == "bf16")
