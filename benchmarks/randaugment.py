"""RandAugment (magnitude 9, std 0.5) of a batch beside timm's on single PIL images: one core, the same images."""

import random
import time
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image
from record import Recording
from timm.data.auto_augment import rand_augment_transform

from tinynet_core.training.randaugment import FILL, rand_augment

BATCH = 64
ROUNDS = 31


def rates(*ways: Callable[[], object]) -> list[float]:
    """Images per second of processor time, ways in turns: the median over batches, each with its own operations."""
    seconds = np.empty((ROUNDS, len(ways)))
    for row in seconds:
        for i, augment in enumerate(ways):
            start = time.process_time()
            augment()
            row[i] = time.process_time() - start
    return [BATCH / s for s in np.median(seconds, axis=0)]


def compare(recording: Recording, side: int) -> None:
    coarse = torch.rand(BATCH, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    images = torch.nn.functional.interpolate(coarse, (side, side), mode="bicubic").clamp_(0, 1)
    levels = (images * 255).round().byte().permute(0, 2, 3, 1).numpy()
    pictures = [Image.fromarray(level) for level in levels]
    timms = rand_augment_transform("rand-m9-mstd0.5", {"img_mean": FILL})
    generator = torch.Generator().manual_seed(0)
    ours, bare, whole = rates(
        lambda: rand_augment(images, 9, 0.5, generator),
        lambda: [timms(picture) for picture in pictures],
        lambda: torch.from_numpy(np.stack([timms(Image.fromarray(level)) for level in levels])).float() / 255,
    )
    what = f"batches of {BATCH} at {side} px, images a second of processor time"
    recording.add(what, ours, "images/s")
    recording.add(what, ours / bare, "x", peer="timm")
    recording.add(what, ours / whole, "x", peer="timm, from and to a batch")


if __name__ == "__main__":
    torch.set_num_threads(1)
    random.seed(0)
    np.random.seed(0)
    with Recording("randaugment") as recording:
        for side in (64, 224):
            compare(recording, side)
