"""Where batches come from: images that lie in memory, or files that are decoded on the way."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import NamedTuple

import numpy as np
import torch

from tinynet_core.data import JpegImages
from tinynet_core.machine import ahead, cores

AHEAD = 2
"""Batches that are decoded before they are asked for."""


class Batch(NamedTuple):
    """uint8 (n, 3, S, S) images and int64 labels on the device; aspects (n,) on the CPU, None where all are square."""

    images: torch.Tensor
    labels: torch.Tensor
    aspects: torch.Tensor | None


class Source:
    """Images with their labels and aspects.

    An array goes to the device where half of its free memory holds it. Files are decoded in threads, since decoders let
    other threads run.
    """

    def __init__(
        self,
        images: np.ndarray | JpegImages,
        labels: np.ndarray,
        aspects: np.ndarray | None,
        device: torch.device,
    ) -> None:
        self.device = device
        self.labels = torch.from_numpy(np.array(labels)).to(device)
        self.aspects = None if aspects is None else torch.from_numpy(np.array(aspects))
        self.files = None if isinstance(images, np.ndarray) else images
        self.pixels = _pixels(images, device) if isinstance(images, np.ndarray) else torch.empty(0)

    def __len__(self) -> int:
        return len(self.labels)

    def batches(self, indices: Sequence[torch.Tensor]) -> Iterator[Batch]:
        """One batch for each of ``indices``, int64 tensors on the CPU."""
        images = self._stored(indices) if self.files is None else self._decoded(indices, self.files)
        for index, part in zip(indices, images, strict=True):
            aspects = None if self.aspects is None else self.aspects[index]
            yield Batch(part.to(self.device, non_blocking=True), self.labels[index.to(self.device)], aspects)

    def _stored(self, indices: Sequence[torch.Tensor]) -> Iterator[torch.Tensor]:
        for index in indices:
            yield self.pixels[index.to(self.pixels.device)]

    def _decoded(self, indices: Sequence[torch.Tensor], files: JpegImages) -> Iterator[torch.Tensor]:
        wanted = [i for index in indices for i in index.tolist()]
        most = AHEAD * max(map(len, indices), default=1)
        with ThreadPoolExecutor(cores()) as pool:
            try:
                images = ahead(pool, files.__getitem__, wanted, most)
                for index in indices:
                    yield torch.from_numpy(np.stack([*islice(images, len(index))])).permute(0, 3, 1, 2)
            finally:
                pool.shutdown(cancel_futures=True)


def _pixels(images: np.ndarray, device: torch.device) -> torch.Tensor:
    """The images as (n, 3, S, S), on the device or, where they are too many, where they lie."""
    if device.type == "cuda" and images.nbytes > torch.cuda.mem_get_info(device)[0] / 2:
        return torch.from_numpy(images).permute(0, 3, 1, 2)
    return torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2))).to(device)
