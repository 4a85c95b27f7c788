"""Measure released weights on ImageNet's validation images, with the protocol of the library that released them."""

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import timm
import torch
import torchvision
from PIL import Image
from timm.data import create_transform, resolve_data_config
from torch import Tensor, nn
from torchvision.datasets import ImageFolder

from tinynet_core.files import UserError
from tinynet_core.machine import ahead
from tinynet_core.networks import network
from tinynet_core.networks.weights import RELEASED

CLASSES = 1000
BATCH = 64
"""Images per batch. The batch size changes the result only by rounding in single precision."""


class Protocol(NamedTuple):
    """How a library evaluates its weights ``entry``: the input ``resolution`` in pixels and the ``transform``."""

    entry: str
    resolution: int
    transform: Callable[[Image.Image], Tensor]


def protocol(name: str, library: str) -> Protocol:
    """Return the protocol for the weights that ``library`` released for the network called ``name``.

    For timm, this uses the training resolution. timm also tests some of its networks at a higher resolution.
    Raises ``UserError`` if the library released no weights, or released them for another resolution.
    """
    if library not in RELEASED.get(name, {}):
        allowed = ", ".join(map(repr, RELEASED.get(name, {}))) or "none"
        raise UserError(f"library {library!r}: it released no weights for {name}; allowed: {allowed}")
    entry = RELEASED[name][library]
    if library == "timm":
        released = timm.get_pretrained_cfg(entry)
        if released is None:
            raise UserError(f"timm {timm.__version__} does not know {entry}, although timm released it")
        config = resolve_data_config({}, pretrained_cfg=released.to_dict())
        found = Protocol(entry, config["input_size"][-1], create_transform(**config, is_training=False))
    else:
        transform = torchvision.models.get_model_weights(entry).IMAGENET1K_V1.transforms()
        found = Protocol(entry, transform.crop_size[0], transform)
    if found.resolution != network(name).resolution:
        raise UserError(
            f"weights={library!r}: {entry} was released for {found.resolution} pixels, but {name} has an input "
            f"of {network(name).resolution}: the accuracy would be that of another network"
        )
    return found


def validation_images(root: Path, transform: Callable[[Image.Image], Tensor]) -> ImageFolder:
    """Return the images of ``root``/val. A label is the position of the class folder among the 1000 sorted folders.

    Released classifiers have their outputs in this order. Raises ``UserError`` if there are not 1000 class folders.
    """
    images = ImageFolder(root / "val", transform, loader=_rgb)
    if len(images.classes) != CLASSES:
        raise UserError(
            f"{root / 'val'} holds {len(images.classes)} class folders: released weights number the {CLASSES} "
            f"classes of ImageNet in the order of the folders, so it must hold exactly {CLASSES}"
        )
    return images


def listing_sha256(images: ImageFolder) -> str:
    """Return the SHA-256 of the names and sizes of all image files."""
    digest = hashlib.sha256()
    for path in (Path(path) for path, _ in images.samples):
        digest.update(f"val/{path.parent.name}/{path.name}\0{path.stat().st_size}\0".encode())
    return digest.hexdigest()


def accuracy(
    module: nn.Module,
    images: ImageFolder,
    device: torch.device,
    workers: int = 1,
    should_stop: Callable[[], bool] = lambda: False,
) -> dict[str, float] | None:
    """Return ``top1`` and ``top5`` of ``module`` as fractions, in single precision, and the number of ``images``.

    ``workers`` threads decode images in advance. Return None if ``should_stop``, called before each batch, returns
    true. Raises ``UserError`` for a file that is not a readable JPEG or PNG.
    """
    module = module.eval().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    right = torch.zeros(2, dtype=torch.int64, device=device)
    batches = torch.arange(len(images)).split(BATCH)

    def decoded(batch: Tensor) -> tuple[Tensor, Tensor]:
        pixels, labels = zip(*(images[i] for i in batch.tolist()), strict=True)
        return torch.stack(pixels), torch.tensor(labels)

    with ThreadPoolExecutor(workers) as pool:
        for pixels, labels in ahead(pool, decoded, batches, workers + 1):
            if should_stop():
                return None
            with torch.inference_mode():
                logits = module(pixels.to(device, memory_format=torch.channels_last))
                hits = logits.topk(5).indices == labels.to(device).unsqueeze(1)
                right += torch.stack([hits[:, 0].sum(), hits.sum()])
    top1, top5 = (right.double() / len(images)).tolist()
    return {"top1": top1, "top5": top5, "images": len(images)}


def _rgb(path: str) -> Image.Image:
    try:
        with Image.open(path, formats=("JPEG", "PNG")) as image:
            return image.convert("RGB")
    except Exception as error:  # Pillow raises many error types for broken files
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"validation image {path} cannot be read: {reason}") from error
