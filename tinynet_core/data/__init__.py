"""Data sets as uint8 images with labels, loaded by their configuration."""

from typing import Annotated, Any

from pydantic import Discriminator, Field, Tag

from tinynet_core.data.boxes import DetectionSet
from tinynet_core.data.coco import CocoDataset, coco_root, load_coco
from tinynet_core.data.glyphs import GlyphDataset, load_glyphs
from tinynet_core.data.imagefolder import imagenet_root
from tinynet_core.data.imagenet import load_imagenet
from tinynet_core.data.imageset import ImageSet
from tinynet_core.data.jpegs import JpegImages
from tinynet_core.data.scenes import SceneDataset, load_scenes
from tinynet_core.data.selection import ImageNetDataset

__all__ = [
    "CocoDataset",
    "Dataset",
    "DetectionDataset",
    "DetectionSet",
    "GlyphDataset",
    "ImageNetDataset",
    "ImageSet",
    "JpegImages",
    "SceneDataset",
    "check_source",
    "load_detection",
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


DetectionDataset = Annotated[SceneDataset | CocoDataset, Field(discriminator="kind")]
"""Any data set of images with boxes."""


def check_source(dataset: GlyphDataset | ImageNetDataset | SceneDataset | CocoDataset) -> None:
    """Raise ``UserError`` where the folder that ``dataset`` comes from is not there, before any work rests on it."""
    if isinstance(dataset, ImageNetDataset):
        imagenet_root()
    elif isinstance(dataset, CocoDataset):
        coco_root()


def prepare(
    dataset: GlyphDataset | ImageNetDataset | SceneDataset | CocoDataset, workers: int = 1, progress: bool = False
) -> None:
    """Fill the cache of ``dataset``, so that many processes can load it."""
    if isinstance(dataset, SceneDataset | CocoDataset):
        load_detection(dataset, workers, progress)
    else:
        load_images(dataset, workers, progress)


def load_detection(dataset: SceneDataset | CocoDataset, workers: int = 1, progress: bool = False) -> DetectionSet:
    """The images of ``dataset`` with their boxes, rendered in ``workers`` processes, or indexed, where no cache has."""
    return load_scenes(dataset, workers, progress) if isinstance(dataset, SceneDataset) else load_coco(dataset)


def load_images(dataset: GlyphDataset | ImageNetDataset, workers: int = 1, progress: bool = False) -> ImageSet:
    """The images of a data set, rendered or decoded where no cache holds them.

    Parameters
    ----------
    dataset
        Glyphs, or ImageNet in the folder ``TINYNET_IMAGENET``.
    workers
        Processes that render or decode.
    progress
        Whether to draw a bar.

    Returns
    -------
    ImageSet
        Images and labels of both splits, and the hash of their content.

    Raises
    ------
    UserError
        The folder is not there, or is not what the data set asks for.
    """
    if isinstance(dataset, GlyphDataset):
        return load_glyphs(dataset, workers, progress)
    return load_imagenet(dataset, workers, progress)
