"""Data sets as uint8 images with labels, loaded by their configuration."""

from typing import Annotated, Any

from pydantic import Discriminator, Tag

from tinynet_core.data.glyphs import GlyphDataset, load_glyphs
from tinynet_core.data.imagenet import load_imagenet
from tinynet_core.data.imageset import ImageSet
from tinynet_core.data.jpegs import JpegImages
from tinynet_core.data.selection import ImageNetDataset

__all__ = [
    "Dataset",
    "GlyphDataset",
    "ImageNetDataset",
    "ImageSet",
    "JpegImages",
    "load_glyphs",
    "load_imagenet",
    "load_images",
    "prepare",
]


def _kind(value: Any) -> Any:
    return value.get("kind", "glyphs") if isinstance(value, dict) else getattr(value, "kind", None)


Dataset = Annotated[
    Annotated[GlyphDataset, Tag("glyphs")] | Annotated[ImageNetDataset, Tag("imagenet")],
    Discriminator(
        _kind,
        custom_error_type="dataset_kind",
        custom_error_message="must be a mapping of keys whose kind is 'glyphs', as it is where left out, or 'imagenet'",
    ),
]
"""Any data set's configuration, told apart by its key ``kind``."""


def prepare(dataset: GlyphDataset | ImageNetDataset, workers: int = 1, progress: bool = False) -> None:
    """Fill the cache of ``dataset``, so that many processes can load it."""
    load_images(dataset, workers, progress)


def load_images(dataset: GlyphDataset | ImageNetDataset, workers: int = 1, progress: bool = False) -> ImageSet:
    """The images of ``dataset``, rendered or decoded in ``workers`` processes where no cache holds them."""
    if isinstance(dataset, GlyphDataset):
        return load_glyphs(dataset, workers, progress)
    return load_imagenet(dataset, workers, progress)
