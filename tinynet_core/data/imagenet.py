"""ImageNet, or any image folder, from the disk of whoever trains: decoded once into a cache, or streamed.

``$TINYNET_IMAGENET`` names the folder, which is a matter of the machine and not of the experiment. Nothing is written
there, and of its files only JPEG and PNG images are opened.
"""

import errno
import hashlib
import io
import json
import os
import shutil
import stat
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from tqdm import tqdm

from tinynet_core.data.cache import cache_root, cached
from tinynet_core.data.imagefolder import (
    SPLITS,
    JpegImages,
    UnreadableImage,
    class_folders,
    decode,
    image_files,
    imagenet_root,
)
from tinynet_core.data.processes import in_processes
from tinynet_core.data.sets import ImageSet
from tinynet_core.files import UserError

_FORMAT = 1
"""Raise with every change of the files of a cache, or of the pixels that a configuration gives."""
_CHUNK = 32
"""Images that a process reads at a time."""
_INDEX = ("names", "labels", "aspects", "file_sha256")
CLASS_LISTS = Path(__file__).parent / "class_lists"
"""Lists of classes that public code ships, one file each with its source."""
IMAGENET_IMAGES_PER_CLASS = 1281
IMAGENET_VALIDATION_PER_CLASS = 50


class ImageNetDataset(BaseModel):
    """Which images of the folder, and at what size. Labels are positions in the sorted list of chosen classes."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    kind: Literal["imagenet"] = "imagenet"
    classes: int = Field(1000, ge=2, le=100_000)
    class_seed: int | None = Field(None, ge=0, description="draws so many classes of those that the folder has")
    wnids: tuple[str, ...] | None = Field(
        None, description="or these class folders; in YAML a list, a .txt file that names one a line, or imagenette"
    )
    train_per_class: int | None = Field(None, ge=1, description="training images drawn of each class; null: all")
    image_seed: int = Field(0, ge=0, description="draws them")
    side: int = Field(256, ge=16, le=1024, description="of a stored image in pixels")
    stream: bool = Field(False, exclude=True, description="decode at each access, to the same pixels, without a cache")

    @field_validator("wnids", mode="before")
    @classmethod
    def _read_wnids(cls, value):
        if isinstance(value, str):
            value = _wnids_of_file(value)
        return tuple(value) if isinstance(value, list) else value

    @field_validator("wnids")
    @classmethod
    def _sorted_wnids(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        for wnid in value or ():
            if not wnid or wnid.startswith(".") or set(wnid) & set("/\\\0"):
                raise ValueError(f"{wnid!r} is not the name of a class folder")
        in_order = sorted(value or ())
        for wnid, following in pairwise(in_order):
            if wnid == following:
                raise ValueError(f"class {wnid} is listed twice")
        return None if value is None else tuple(in_order)

    @model_validator(mode="after")
    def _consistent(self) -> "ImageNetDataset":
        if self.wnids is not None and self.class_seed is not None:
            raise ValueError("give either class_seed, to draw the classes, or wnids, to name them, not both")
        if self.wnids is not None and len(self.wnids) != self.classes:
            raise ValueError(f"wnids names {len(self.wnids)} classes and classes is {self.classes}: they must agree")
        return self

    @property
    def mirror_safe(self) -> bool:
        """Whether a mirrored image keeps its class."""
        return True

    @property
    def train_images(self) -> int:
        """Nominal number of training images, for estimates; unreadable files and small classes make it fewer."""
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
            f"must be a list of class folders, or a .txt file that names one a line, or the name of a list that comes "
            f"with the package ({', '.join(known)}), got {name!r}"
        )
    try:
        path = CLASS_LISTS / f"{name}.txt" if name in known else Path(name)
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
    if absent := sorted(set(wnids) - set(class_folders(root / "val"))):
        raise UserError(f"{root / 'val'} has no class folder {absent[0]} ({len(absent)} of {len(wnids)} are missing)")
    digest = hashlib.sha256()
    names: dict[str, list[str]] = {split: [] for split in SPLITS}
    labels: dict[str, list[int]] = {split: [] for split in SPLITS}
    for split in SPLITS:
        for label, wnid in enumerate(wnids):
            found = image_files(root / split / wnid)
            if not found:
                raise UserError(f"class folder {root / split / wnid} holds no .jpeg, .jpg or .png files")
            digest.update(os.fsencode("".join(f"{split}/{wnid}/{name}\0{size}\0" for name, size in found)))
            wanted = dataset.train_per_class if split == "train" else None
            drawn = _draw([os.path.join(wnid, name) for name, _ in found], wnid, wanted, dataset.image_seed)
            names[split] += drawn
            labels[split] += [label] * len(drawn)
    return Selection(root, tuple(wnids), names, labels, digest.hexdigest())


def _choose_classes(dataset: ImageNetDataset, available: list[str], root: Path) -> Sequence[str]:
    if dataset.wnids is not None:
        if absent := sorted(set(dataset.wnids) - set(available)):
            count = f"{len(absent)} of {dataset.classes} are missing"
            raise UserError(f"wnids: {root / 'train'} has no class folder {absent[0]} ({count})")
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


def _draw(names: list[str], wnid: str, wanted: int | None, seed: int) -> list[str]:
    if wanted is None or wanted >= len(names):
        return names
    order = np.random.default_rng([seed, *os.fsencode(wnid)]).permutation(len(names))
    return [names[i] for i in sorted(order[:wanted])]


def load_imagenet(dataset: ImageNetDataset, workers: int = 1, progress: bool = False) -> ImageSet:
    """The images of ``dataset`` below ``$TINYNET_IMAGENET``, from the cache or, with ``stream``, from their files.

    The first load decodes every wanted file once, in ``workers`` processes. Those that cannot be read are left out and
    reported in one warning; ``unreadable.txt`` in the cache lists them. A class with fewer images than wanted gives all
    it has, and one warning counts such classes.

    Later loads list the folder, and compare names and sizes of the chosen classes' files with those of the first; and
    they check the index and the size of the cache, which is rebuilt with a warning where something does not fit.
    ``content_hash`` is over labels, names and bytes of the files, so it is the same for cache and stream.

    Safe to call from several processes at once: one builds, the others wait. Raises ``UserError`` for what a user can
    mend: the folder, the classes, the space on the disk.
    """
    selection = select(dataset, imagenet_root())
    described = f"{_FORMAT} {dataset.key} {selection.root} {'index' if dataset.stream else 'pixels'}"
    folder = cache_root().absolute() / f"imagenet-{hashlib.sha256(os.fsencode(described)).hexdigest()[:16]}"
    remarks: list[str] = []
    found = cached(
        folder,
        lambda scratch: remarks.extend(_fill(scratch, folder, dataset, selection, workers, progress)),
        lambda place: _read(place, dataset, selection),
    )
    for remark in remarks:
        warnings.warn(remark, stacklevel=2)
    return found


def _read(folder: Path, dataset: ImageNetDataset, selection: Selection) -> ImageSet:
    meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
    if meta["listing_sha256"] != selection.listing_sha256:
        raise ValueError(f"the images below {selection.root} changed since it was made")
    index = {split: {part: np.load(folder / f"{split}_{part}.npy") for part in _INDEX} for split in SPLITS}
    if (found := _content_hash(dataset, index)) != meta["content_sha256"]:
        raise ValueError(f"content hash {found[:12]} is not the recorded {str(meta['content_sha256'])[:12]}")
    images = {split: _open(folder, split, dataset, selection, len(index[split]["labels"])) for split in SPLITS}
    train, val = index["train"], index["val"]
    return ImageSet(
        *(images["train"], train["labels"], images["val"], val["labels"]),
        content_hash=found,
        train_aspects=train["aspects"],
        val_aspects=val["aspects"],
    )


def _open(folder: Path, split: str, dataset: ImageNetDataset, selection: Selection, n: int) -> np.ndarray | JpegImages:
    if dataset.stream:
        return JpegImages(selection.root / split, folder / f"{split}_names.npy", dataset.side)
    pixels = np.load(folder / f"{split}_pixels.npy", mmap_mode="r")
    if pixels.shape != (n, dataset.side, dataset.side, 3) or pixels.dtype != np.uint8:
        raise ValueError(f"{split} pixels are {pixels.dtype} {pixels.shape}")
    return pixels


def _content_hash(dataset: ImageNetDataset, index: dict[str, dict[str, np.ndarray]]) -> str:
    digest = hashlib.sha256(f"{_FORMAT} {dataset.side}".encode())
    for split in SPLITS:
        for part in _INDEX:
            array = index[split][part]
            digest.update(f"{array.dtype.str}{array.shape}".encode())
            digest.update(np.ascontiguousarray(array).data.cast("B"))
    return digest.hexdigest()


def _fill(
    scratch: Path, folder: Path, dataset: ImageNetDataset, selection: Selection, workers: int, progress: bool
) -> list[str]:
    """Read all files into ``scratch``, which becomes ``folder``; returns what the user should hear."""
    total = sum(map(len, selection.names.values()))
    if not dataset.stream:
        _check_space(folder.parent, total, dataset.side)
    index, broken = {}, []
    doing = "indexing images" if dataset.stream else "decoding images"
    with tqdm(total=total, desc=doing, unit="img", disable=not progress) as bar:
        for split in SPLITS:
            index[split], missing = _read_split(scratch, split, dataset, selection, workers, bar)
            broken += missing
    for split in SPLITS:
        for part in _INDEX:
            np.save(scratch / f"{split}_{part}.npy", index[split][part])
    lines = [f"{name}\t{reason}\n" for name, reason in broken]
    (scratch / "unreadable.txt").write_text("".join(lines), encoding="utf-8", errors="surrogateescape")
    meta = {
        "dataset": dataset.model_dump(),
        "root": str(selection.root),
        "classes": selection.wnids,
        "listing_sha256": selection.listing_sha256,
        "content_sha256": _content_hash(dataset, index),
    }
    (scratch / "meta.json").write_text(json.dumps(meta, indent=1), encoding="utf-8")
    return _remarks(folder, dataset, selection, broken, index["train"]["labels"])


def _check_space(folder: Path, images: int, side: int) -> None:
    need, free = images * side * side * 3, shutil.disk_usage(folder).free
    if need > free:
        raise UserError(
            f"the cache of {images:,} images at {side} px needs {need / 1e9:.1f} GB and {folder} has "
            f"{free / 1e9:.1f} GB free: set TINYNET_CACHE to a folder on a larger disk, or stream: true"
        )


class _Image(NamedTuple):
    aspect: float
    sha256: bytes
    pixels: bytes


def _read_files(paths: Sequence[Path], side: int, pixels: bool) -> list[_Image | str]:
    """What each file gave, or why it cannot be read; what it decodes to only where ``pixels`` are wanted."""
    warnings.filterwarnings("ignore", module=r"PIL\.")  # remarks on corrupt EXIF data, which good images cause
    found: list[_Image | str] = []
    for path in paths:
        try:
            data = _bytes(path)
            image, aspect = decode(data, side)
        except UnreadableImage as error:
            found.append(str(error))
        else:
            found.append(_Image(aspect, hashlib.sha256(data).digest(), image.tobytes() if pixels else b""))
    return found


def _read_split(
    scratch: Path, split: str, dataset: ImageNetDataset, selection: Selection, workers: int, bar: tqdm
) -> tuple[dict[str, np.ndarray], list[tuple[str, str]]]:
    """The index of a split, whose pixels are then in ``scratch``, and the files that were left out, with reasons."""
    names, labels = selection.names[split], selection.labels[split]
    paths = [selection.root / split / name for name in names]
    chunks = [paths[i : i + _CHUNK] for i in range(0, len(paths), _CHUNK)]
    read_files = partial(_read_files, side=dataset.side, pixels=not dataset.stream)
    good: list[int] = []
    images: list[_Image] = []
    broken: list[tuple[str, str]] = []
    with _pixel_file(scratch / f"{split}_pixels.npy", dataset) as file:
        reads = (read for chunk in in_processes(read_files, chunks, workers) for read in chunk)
        for i, read in enumerate(reads):
            bar.update()
            if isinstance(read, str):
                broken.append((f"{split}/{names[i]}", read))
                continue
            if file is not None:
                file.write(read.pixels)
            good.append(i)
            images.append(read._replace(pixels=b""))
        if file is not None:
            file.seek(0)
            file.write(_npy_header(len(good), dataset.side))
    kept = np.array(labels, np.int64)[good]
    _check_classes(selection, split, kept, broken)
    hashes = np.frombuffer(b"".join(image.sha256 for image in images), np.uint8)
    index = {
        "names": np.array([os.fsencode(names[i]) for i in good], np.bytes_),
        "labels": kept,
        "aspects": np.array([image.aspect for image in images], np.float32),
        "file_sha256": hashes.reshape(len(images), 32),
    }
    return index, broken


@contextmanager
def _pixel_file(path: Path, dataset: ImageNetDataset) -> Iterator[BinaryIO | None]:
    """The .npy file of the pixels, open behind its header; None where they are streamed."""
    if dataset.stream:
        yield None
        return
    try:
        with path.open("wb") as file:
            file.write(_npy_header(0, dataset.side))
            yield file
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror}") from error


def _npy_header(n: int, side: int) -> bytes:
    """Header of a .npy file of ``n`` images; NumPy pads it so that its length does not depend on ``n``."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"shape": (n, side, side, 3), "fortran_order": False, "descr": np.dtype(np.uint8).str}
    )
    return header.getvalue()


def _bytes(path: Path) -> bytes:
    """Bytes of a regular file; a file that never was one is unreadable, one that went away stops everything."""
    try:
        if stat.S_ISREG(os.stat(path).st_mode):
            return path.read_bytes()
        raise UnreadableImage("not a regular file")
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EPERM, errno.EIO):
            raise UnreadableImage(str(error.strerror)) from error
        if error.errno in (errno.ENOENT, errno.ELOOP) and path.is_symlink():
            raise UnreadableImage("a link that leads nowhere") from error
        raise UserError(f"{path} was there when its folder was listed and cannot be read: {error.strerror}") from error


def _check_classes(selection: Selection, split: str, labels: np.ndarray, broken: list[tuple[str, str]]) -> None:
    for wnid, count in zip(selection.wnids, np.bincount(labels, minlength=len(selection.wnids)), strict=True):
        if not count:
            name, reason = next(x for x in broken if x[0].startswith(f"{split}/{wnid}/"))
            example = f"{selection.root / name}: {reason}"
            raise UserError(f"class folder {selection.root / split / wnid} has no readable image ({example})")


def _remarks(
    folder: Path, dataset: ImageNetDataset, selection: Selection, broken: list[tuple[str, str]], labels: np.ndarray
) -> list[str]:
    remarks = []
    if broken:
        first = ", ".join(str(selection.root / name) for name, _ in broken[:5]) + (", ..." if len(broken) > 5 else "")
        remarks.append(f"unreadable images left out: {len(broken)} ({first}); {folder / 'unreadable.txt'} says why")
    counts = np.bincount(labels, minlength=len(selection.wnids))
    wanted = dataset.train_per_class or 0
    if short := [(int(n), wnid) for wnid, n in zip(selection.wnids, counts, strict=True) if n < wanted]:
        fewest, few = min(short)
        remarks.append(
            f"{len(short)} of {dataset.classes} classes have fewer than the {wanted} training images "
            f"asked for, {few} the fewest with {fewest}: all of theirs are used"
        )
    return remarks
