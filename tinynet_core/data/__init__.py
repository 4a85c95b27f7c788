"""Data sets as uint8 images with labels, loaded by their configuration."""

from typing import Annotated, Any

from pydantic import Discriminator, Field, Tag

from tinynet_core.data.coco import CocoDataset, coco_root, load_coco
from tinynet_core.data.creatures import CreatureDataset, CreatureSceneDataset
from tinynet_core.data.drawn import DrawnScenes, load_drawn_images, load_drawn_scenes
from tinynet_core.data.glyphs import GlyphDataset
from tinynet_core.data.imagenet import ImageNetDataset, JpegImages, imagenet_root, load_imagenet
from tinynet_core.data.scenes import SceneDataset
from tinynet_core.data.sets import DetectionSet, ImageSet


def _kind(value: Any) -> Any:
    return value.get("kind", "glyphs") if isinstance(value, dict) else getattr(value, "kind", None)


Dataset = Annotated[
    Annotated[GlyphDataset, Tag("glyphs")]
    | Annotated[CreatureDataset, Tag("creatures")]
    | Annotated[ImageNetDataset, Tag("imagenet")],
    Discriminator(
        _kind,
        custom_error_type="dataset_kind",
        custom_error_message="must be keys whose kind is 'glyphs', as it is where left out, 'creatures' or 'imagenet'",
    ),
]
"""Any data set's configuration, told apart by its key ``kind``."""


DetectionDataset = Annotated[SceneDataset | CreatureSceneDataset | CocoDataset, Field(discriminator="kind")]
"""Any data set of images with boxes."""


def check_source(dataset: Dataset | DetectionDataset) -> None:
    """Raise ``UserError`` if the folder that ``dataset`` is read from is missing. Call this before any work starts."""
    if isinstance(dataset, ImageNetDataset):
        imagenet_root()
    elif isinstance(dataset, CocoDataset):
        coco_root()


def prepare(dataset: Dataset | DetectionDataset, workers: int = 1, progress: bool = False) -> None:
    """Fill the cache of ``dataset``, so that many processes can load it."""
    load: Any = load_detection if isinstance(dataset, DrawnScenes | CocoDataset) else load_images
    load(dataset, workers, progress)


def load_detection(dataset: DetectionDataset, workers: int = 1, progress: bool = False) -> DetectionSet:
    """Return images with boxes. What no cache holds is rendered or indexed in ``workers`` processes."""
    if isinstance(dataset, CocoDataset):
        return load_coco(dataset, workers, progress)
    return load_drawn_scenes(dataset, workers, progress)


def load_images(dataset: Dataset, workers: int = 1, progress: bool = False) -> ImageSet:
    """Return images and labels of both splits, and the hash of their content.

    ``dataset`` is creatures, glyphs, or ImageNet in the folder ``TINYNET_IMAGENET``. Images that no cache holds are
    rendered or decoded in so many ``workers``, processes, with a bar for ``progress``. Raises ``UserError`` if a folder
    of photographs is missing or does not hold what the data set asks for.
    """
    if isinstance(dataset, ImageNetDataset):
        return load_imagenet(dataset, workers, progress)
    return load_drawn_images(dataset, workers, progress)
