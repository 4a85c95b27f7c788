"""Accuracy of released weights on ImageNet's validation images, by the protocol of the library that released them."""

import hashlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
import torch
import torchvision
from PIL import Image
from timm.data import create_transform, resolve_data_config
from torch import Tensor, nn

from tinynet_core.data.imagenet import class_folders, image_files
from tinynet_core.files import UserError
from tinynet_core.machine import ahead
from tinynet_core.networks import network
from tinynet_core.networks.weights import RELEASED

CLASSES = 1000
BATCH = 64
"""Images a batch; the result does not depend on it beyond the rounding of single precision."""

Transform = Callable[[Image.Image], Tensor]


@dataclass(frozen=True, slots=True)
class Protocol:
    """How ``library`` evaluates the weights that it calls ``entry``.

    The shorter side of an image is resized to ``resize`` pixels with ``interpolation``, antialiased; the central square
    of ``resolution`` pixels, scaled to 0 ... 1, has ``mean`` taken off and is divided by ``std``, channel by channel.
    """

    library: str
    entry: str
    resolution: int
    resize: int
    interpolation: str
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def transform(self) -> Transform:
        """The library's own preprocessing: an RGB image to a float32 tensor (3, resolution, resolution)."""
        if self.library == "timm":
            return create_transform(**_timm_config(self.entry), is_training=False)
        return _torchvision_preset(self.entry)


def protocol(name: str, library: str) -> Protocol:
    """The protocol for the weights that ``library`` released for the network called ``name``; nothing is built or read.

    timm's is that of the input size it trained at, which for some of its networks is smaller than one it also tests at.
    Raises ``UserError`` where the library released none.
    """
    if library not in RELEASED.get(name, {}):
        allowed = ", ".join(map(repr, RELEASED.get(name, {}))) or "none"
        raise UserError(f"library {library!r}: it released no weights for {name}; allowed: {allowed}")
    entry = RELEASED[name][library]
    if library == "timm":
        entry = entry.removeprefix("timm/")
        config = _timm_config(entry)
        resolution, crop = config["input_size"][-1], config["crop_pct"]
        rest = (config["interpolation"], tuple(config["mean"]), tuple(config["std"]))
        return Protocol(library, entry, resolution, int(resolution / crop), *rest)
    preset = _torchvision_preset(entry)
    (resolution,), (resize,) = preset.crop_size, preset.resize_size
    rest = (preset.interpolation.value, tuple(preset.mean), tuple(preset.std))
    return Protocol(library, entry, resolution, resize, *rest)


def check_resolution(name: str, used: Protocol) -> None:
    """Raise ``UserError`` where the weights were released for another input size than the network ``name`` has."""
    own = network(name).resolution
    if own != used.resolution:
        raise UserError(
            f"weights={used.library!r}: {used.entry} was released for {used.resolution} pixels and {name} is a network "
            f"for {own}: its accuracy would be that of another network"
        )


def _timm_config(entry: str) -> dict[str, Any]:
    released = timm.get_pretrained_cfg(entry)
    if released is None:
        raise UserError(f"timm {timm.__version__} does not know {entry}, which it released")
    return resolve_data_config({}, pretrained_cfg=released.to_dict())


def _torchvision_preset(entry: str) -> Any:
    return torchvision.models.get_model_weights(entry).IMAGENET1K_V1.transforms()


@dataclass(frozen=True)
class ValidationImages:
    """Image files with their labels, and a SHA-256 of all their names and sizes."""

    paths: Sequence[Path]
    labels: Sequence[int]
    listing_sha256: str


def validation_images(root: Path) -> ValidationImages:
    """The images of ``root``/val; a label is the position of its class folder among the 1000 sorted ones.

    Released classifiers have their outputs in that order. Raises ``UserError`` for another number of class folders and
    for an empty one.
    """
    folder = root / "val"
    wnids = class_folders(folder)
    if len(wnids) != CLASSES:
        raise UserError(
            f"{folder} holds {len(wnids)} class folders: released weights tell the {CLASSES} classes of ImageNet apart "
            f"by their order, so it must hold exactly {CLASSES}"
        )
    paths, labels, digest = [], [], hashlib.sha256()
    for label, wnid in enumerate(wnids):
        found = image_files(folder / wnid)
        if not found:
            raise UserError(f"class folder {folder / wnid} holds no .jpeg, .jpg or .png files")
        digest.update(os.fsencode("".join(f"val/{wnid}/{name}\0{size}\0" for name, size in found)))
        paths += [folder / wnid / name for name, _ in found]
        labels += [label] * len(found)
    return ValidationImages(paths, labels, digest.hexdigest())


def accuracy(
    module: nn.Module,
    transform: Transform,
    images: ValidationImages,
    device: torch.device,
    workers: int = 1,
    should_stop: Callable[[], bool] = lambda: False,
) -> dict[str, float] | None:
    """``top1`` and ``top5`` of ``module`` as fractions, in single precision, and the number of ``images``.

    ``workers`` threads decode ahead. None where ``should_stop``, asked before each batch, ended it. Raises
    ``UserError`` for a file that is no readable JPEG or PNG.
    """
    module = module.eval().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    right = torch.zeros(2, dtype=torch.int64, device=device)
    batches = [slice(i, i + BATCH) for i in range(0, len(images.paths), BATCH)]

    def decoded(batch: slice) -> Tensor:
        return torch.stack([transform(_rgb(path)) for path in images.paths[batch]])

    with ThreadPoolExecutor(workers) as pool:
        for batch, pixels in zip(batches, ahead(pool, decoded, batches, workers + 1), strict=True):
            if should_stop():
                return None
            labels = torch.tensor(images.labels[batch], device=device)
            with torch.inference_mode():
                logits = module(pixels.to(device, memory_format=torch.channels_last))
                hits = logits.topk(5).indices == labels.unsqueeze(1)
                right += torch.stack([hits[:, 0].sum(), hits.sum()])
    top1, top5 = (right.double() / len(images.paths)).tolist()
    return {"top1": top1, "top5": top5, "images": len(images.paths)}


def _rgb(path: Path) -> Image.Image:
    try:
        with Image.open(path, formats=("JPEG", "PNG")) as image:
            return image.convert("RGB")
    except Exception as error:  # Pillow raises nearly any type on broken bytes
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"validation image {path} cannot be read: {reason}") from error
