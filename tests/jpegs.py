"""Small image folders made on the spot: JPEGs of random shapes whose colour and stripes tell their class."""

from pathlib import Path

import numpy as np
from PIL import Image


def wnid(label: int) -> str:
    """The name of class folder ``label``; names sort as labels do."""
    return f"n{label + 1:08d}"


def picture(label: int, width: int, height: int, rng: np.random.Generator) -> Image.Image:
    """RGB: a hue and a stripe width of the class, faded and shifted at random."""
    phase = 2 * np.pi * (label * 0.381966 + np.arange(3) / 3)
    colour = 128 + 90 * np.cos(phase) * rng.uniform(0.7, 1.0)
    x, y = np.meshgrid(np.arange(width) / width, np.arange(height) / height)
    stripes = np.sin(2 * np.pi * ((label + 1) * x + rng.uniform()) + y)
    pixels = colour + 25 * stripes[..., None] + rng.normal(0, 4, (height, width, 1))
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def write_image_folder(root: Path, classes: int = 4, train: int = 6, val: int = 3) -> Path:
    """``root`` with train/<wnid>/ and val/<wnid>/ of so many JPEGs a class, sides from 32 to 64 pixels."""
    rng = np.random.default_rng(0)
    for split, count in (("train", train), ("val", val)):
        for label in range(classes):
            folder = root / split / wnid(label)
            folder.mkdir(parents=True)
            for i in range(count):
                width, height = rng.integers(32, 65, 2).tolist()
                name = f"{wnid(label)}_{i}.JPEG" if split == "train" else f"ILSVRC2012_val_{i:08d}.JPEG"
                picture(label, width, height, rng).save(folder / name, "JPEG", quality=90)
    return root
