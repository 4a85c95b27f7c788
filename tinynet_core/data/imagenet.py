"""ImageNet, or any image folder, from the disk of whoever trains: decoded once into a cache, or streamed.

``$TINYNET_IMAGENET`` names the folder, which is a matter of the machine and not of the experiment. Nothing is written
there, and of its files only JPEG and PNG images are opened.
"""

import hashlib
import json
import os
import shutil
import warnings
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, Strict, field_validator, model_validator
from tqdm import tqdm

from tinynet_core.data.cache import cached, content_hash, read_arrays, write_arrays
from tinynet_core.data.imagefolder import (
    SPLITS,
    JpegImages,
    UnreadableImage,
    class_folders,
    decode,
    image_files,
    imagenet_root,
)
from tinynet_core.data.sets import ImageSet
from tinynet_core.files import UserError
from tinynet_core.machine import cache_root, in_processes

_FORMAT = 2
"""Raise with every change of the files of a cache, or of the pixels that a configuration gives."""
_CHUNK = 32
"""Images that a process reads at a time."""
_INDEX = ("names", "labels", "aspects", "file_sha256")
CLASS_LISTS = Path(__file__).parent / "class_lists"
"""Lists of classes that public code ships, one file each with its source."""
_ARRAYS = ("side", *(f"{split}_{part}" for split in SPLITS for part in _INDEX))
IMAGENET_IMAGES_PER_CLASS = 1281
IMAGENET_VALIDATION_PER_CLASS = 50


class ImageNetDataset(BaseModel):
    """Which images of the folder, and at what size. Labels are positions in the sorted list of chosen classes."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    mirror_safe: ClassVar[bool] = True

    kind: Literal["imagenet"] = "imagenet"
    classes: int = Field(1000, ge=2, le=100_000)
    class_seed: int | None = Field(None, ge=0, description="draws so many classes of those that the folder has")
    wnids: Annotated[tuple[str, ...], Strict(False)] | None = Field(
        None, description="or these class folders: a list, a .txt file that names one a line, or imagenette"
    )
    train_per_class: int | None = Field(None, ge=1, description="training images drawn of each class; null: all")
    image_seed: int = Field(0, ge=0, description="draws them")
    side: int = Field(256, ge=16, le=1024, description="of a stored image in pixels")
    stream: bool = Field(False, exclude=True, description="decode at each access, to the same pixels, without a cache")

    @field_validator("wnids", mode="before")
    @classmethod
    def _listed_wnids(cls, value: Any) -> Any:
        return _wnids_of_file(value) if isinstance(value, str) else value

    @field_validator("wnids")
    @classmethod
    def _sorted_wnids(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if value is None:
            return None
        for wnid in value:
            if not wnid or wnid.startswith(".") or set(wnid) & set("/\\\0"):
                raise ValueError(f"{wnid!r} is not the name of a class folder")
            if value.count(wnid) > 1:
                raise ValueError(f"class {wnid} is listed twice")
        return tuple(sorted(value))

    @model_validator(mode="after")
    def _consistent(self) -> "ImageNetDataset":
        if self.wnids is not None and self.class_seed is not None:
            raise ValueError("give either class_seed, to draw the classes, or wnids, to name them, not both")
        if self.wnids is not None and len(self.wnids) != self.classes:
            raise ValueError(f"wnids names {len(self.wnids)} classes and classes is {self.classes}: they must agree")
        return self

    @property
    def train_images(self) -> int:
        """Nominal number of training images, for estimates; unreadable files make it fewer."""
        return self.classes * (self.train_per_class or IMAGENET_IMAGES_PER_CLASS)

    @property
    def val_images(self) -> int:
        """Nominal number of validation images, 50 of each class as in ImageNet."""
        return self.classes * IMAGENET_VALIDATION_PER_CLASS

    @property
    def key(self) -> str:
        """SHA-256 of the configuration, ``stream`` left out."""
        return hashlib.sha256(json.dumps(self.model_dump(), sort_keys=True).encode()).hexdigest()


def _wnids_of_file(name: str) -> list[str]:
    known = sorted(path.stem for path in CLASS_LISTS.glob("*.txt"))
    if name not in known and not name.endswith(".txt"):
        raise ValueError(
            f"must be a list of class folders, a .txt file that names one a line, or {' or '.join(known)}, got {name!r}"
        )
    path = CLASS_LISTS / f"{name}.txt" if name in known else Path(name)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{name} cannot be read: {' '.join(str(error).split())}") from error
    return [wnid for line in lines if (wnid := line.strip()) and not wnid.startswith("#")]


class Selection(NamedTuple):
    """The chosen classes, sorted; by split the names of their files and the classes of these; a hash of the listing."""

    root: Path
    wnids: tuple[str, ...]
    names: dict[str, list[str]]
    labels: dict[str, list[int]]
    listing_sha256: str


def select(dataset: ImageNetDataset, root: Path) -> Selection:
    """The files of ``dataset`` below ``root``. Draws depend on the names alone, not on the order of a listing.

    A class's draw of training images depends on ``image_seed`` and its name, not on the other classes.
    """
    wnids = _choose_classes(dataset, class_folders(root / "train"), root)
    _check_present(wnids, class_folders(root / "val"), root / "val")
    digest = hashlib.sha256()
    names: dict[str, list[str]] = {split: [] for split in SPLITS}
    labels: dict[str, list[int]] = {split: [] for split in SPLITS}
    for split in SPLITS:
        for label, wnid in enumerate(wnids):
            found = image_files(root / split / wnid)
            wanted = dataset.train_per_class if split == "train" else None
            if len(found) < (wanted or 1):
                raise UserError(
                    f"class folder {root / split / wnid} holds {len(found)} .jpeg, .jpg or .png files, "
                    f"must hold at least {wanted or 1}"
                )
            digest.update(os.fsencode("".join(f"{split}/{wnid}/{name}\0{size}\0" for name, size in found)))
            drawn = _draw([os.path.join(wnid, name) for name, _ in found], wnid, wanted, dataset.image_seed)
            names[split] += drawn
            labels[split] += [label] * len(drawn)
    return Selection(root, tuple(wnids), names, labels, digest.hexdigest())


def _choose_classes(dataset: ImageNetDataset, available: list[str], root: Path) -> Sequence[str]:
    if dataset.wnids is not None:
        _check_present(dataset.wnids, available, root / "train")
        return dataset.wnids
    holds = f"{root / 'train'} holds {len(available)} class folders"
    if dataset.classes > len(available):
        raise UserError(f"{holds}, fewer than the {dataset.classes} that classes asks for")
    if dataset.classes == len(available):
        return available
    if dataset.class_seed is None:
        raise UserError(
            f"{holds}, classes asks for {dataset.classes}: give class_seed to draw them or wnids to name them"
        )
    rng = np.random.default_rng(dataset.class_seed)
    return sorted(available[i] for i in rng.choice(len(available), dataset.classes, replace=False))


def _check_present(wnids: Sequence[str], available: list[str], folder: Path) -> None:
    if absent := sorted(set(wnids) - set(available)):
        raise UserError(f"{folder} has no class folder {absent[0]} ({len(absent)} of {len(wnids)} are missing)")


def _draw(names: list[str], wnid: str, wanted: int | None, seed: int) -> list[str]:
    if wanted is None or wanted >= len(names):
        return names
    order = np.random.default_rng([seed, *os.fsencode(wnid)]).permutation(len(names))
    return [names[i] for i in sorted(order[:wanted])]


def load_imagenet(dataset: ImageNetDataset, workers: int = 1, progress: bool = False) -> ImageSet:
    """The images of ``dataset`` below ``$TINYNET_IMAGENET``, from the cache or, with ``stream``, from their files.

    The first load decodes every wanted file once, in ``workers`` processes. Those that cannot be decoded are left out
    and reported in one warning; ``meta.json`` in the cache lists them. Later loads compare names and sizes of the
    chosen classes' files with those of the first, and check the index of the cache, which is rebuilt with a warning
    where something does not fit.

    ``content_hash`` is over labels, names and bytes of the files, so it is the same for cache and stream. Raises
    ``UserError`` for what a user can mend: the folder, the classes, the space on the disk.
    """
    selection = select(dataset, imagenet_root())
    described = f"{_FORMAT} {dataset.key} {selection.root} {'index' if dataset.stream else 'pixels'}"
    folder = cache_root().absolute() / f"imagenet-{hashlib.sha256(os.fsencode(described)).hexdigest()[:16]}"
    return cached(
        folder,
        lambda scratch: _fill(scratch, folder, dataset, selection, workers, progress),
        lambda place: _read(place, dataset, selection),
    )


def _read(folder: Path, dataset: ImageNetDataset, selection: Selection) -> ImageSet:
    meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
    if meta["dataset"]["listing_sha256"] != selection.listing_sha256:
        raise ValueError(f"the images below {selection.root} changed since it was made")
    arrays, found = read_arrays(folder, _ARRAYS)
    images: dict[str, Any] = {}
    for split in SPLITS:
        if dataset.stream:
            images[split] = JpegImages(selection.root / split, folder / f"{split}_names.npy", dataset.side)
        else:
            shape = (len(arrays[f"{split}_labels"]), dataset.side, dataset.side, 3)
            images[split] = np.memmap(folder / f"{split}_pixels", np.uint8, "r", shape=shape)
    return ImageSet(
        *(images["train"], arrays["train_labels"], images["val"], arrays["val_labels"]),
        content_hash=found,
        train_aspects=arrays["train_aspects"],
        val_aspects=arrays["val_aspects"],
    )


def _fill(
    scratch: Path, folder: Path, dataset: ImageNetDataset, selection: Selection, workers: int, progress: bool
) -> None:
    """Read all files into ``scratch``, which becomes ``folder``."""
    total = sum(map(len, selection.names.values()))
    need, free = total * dataset.side**2 * 3, shutil.disk_usage(folder.parent).free
    if need > free and not dataset.stream:
        raise UserError(
            f"the cache of {total:,} images at {dataset.side} px needs {need / 1e9:.1f} GB and {folder.parent} has "
            f"{free / 1e9:.1f} GB free: set TINYNET_CACHE to a folder on a larger disk, or stream: true"
        )
    arrays, broken = {"side": np.array(dataset.side)}, []
    with tqdm(total=total, desc="reading images", unit="img", disable=not progress) as bar:
        for split in SPLITS:
            index, missing = _read_split(scratch / f"{split}_pixels", split, dataset, selection, workers, bar)
            arrays |= {f"{split}_{part}": index[part] for part in _INDEX}
            broken += missing
    about = dataset.model_dump() | {"root": str(selection.root), "wnids": selection.wnids, "unreadable": broken}
    about |= {"listing_sha256": selection.listing_sha256}
    write_arrays(scratch, arrays, about, content_hash(arrays))
    if broken:
        first = "; ".join(broken[:3]) + ("; ..." if len(broken) > 3 else "")
        warnings.warn(
            f"unreadable images left out: {len(broken)} ({first}); {folder / 'meta.json'} lists them", stacklevel=2
        )


class _Image(NamedTuple):
    aspect: float
    sha256: bytes
    pixels: bytes


def _read_files(paths: Sequence[Path], side: int, pixels: bool) -> list[_Image | str]:
    """What each file gave, with its ``pixels`` where they are wanted, or why it cannot be decoded."""
    warnings.filterwarnings("ignore", module=r"PIL\.")  # remarks on corrupt EXIF data, which good images cause
    found: list[_Image | str] = []
    for path in paths:
        try:
            data = path.read_bytes()
            image, aspect = decode(data, side)
            found.append(_Image(aspect, hashlib.sha256(data).digest(), image.tobytes() if pixels else b""))
        except UnreadableImage as error:
            found.append(f"{path}: {error}")
        except OSError as error:
            raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    return found


def _read_split(
    file: Path, split: str, dataset: ImageNetDataset, selection: Selection, workers: int, bar: tqdm
) -> tuple[dict[str, np.ndarray], list[str]]:
    """The index of a split, whose pixels are then in ``file`` unless they are streamed, and what was left out."""
    names, labels = selection.names[split], selection.labels[split]
    paths = [selection.root / split / name for name in names]
    chunks = [paths[i : i + _CHUNK] for i in range(0, len(paths), _CHUNK)]
    good: list[int] = []
    images: list[_Image] = []
    broken: list[str] = []
    read_files = partial(_read_files, side=dataset.side, pixels=not dataset.stream)
    with file.open("wb") as pixels:
        reads = in_processes(read_files, chunks, workers)
        for i, read in enumerate(read for chunk in reads for read in chunk):
            bar.update()
            if isinstance(read, str):
                broken.append(read)
                continue
            pixels.write(read.pixels)
            good.append(i)
            images.append(read._replace(pixels=b""))
    kept = np.array(labels, np.int64)[good]
    if empty := sorted(set(labels) - set(kept.tolist())):
        folder = selection.root / split / selection.wnids[empty[0]]
        reason = next(line for line in broken if line.startswith(f"{folder}{os.sep}"))
        raise UserError(f"class folder {folder} has no readable image ({reason})")
    index = {
        "names": np.array([os.fsencode(names[i]) for i in good], np.bytes_),
        "labels": kept,
        "aspects": np.array([image.aspect for image in images], np.float32),
        "file_sha256": np.frombuffer(b"".join(image.sha256 for image in images), np.uint8).reshape(-1, 32),
    }
    return index, broken
