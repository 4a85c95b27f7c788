"""ImageNet, or any image folder, from the disk of whoever trains: decoded once into a cache, or streamed.

``$TINYNET_IMAGENET`` names the folder, which is a matter of the machine and not of the experiment. Nothing is written
there, and of its files only JPEG and PNG images are opened.
"""

import hashlib
import json
import os
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import PIL
from filelock import FileLock
from tqdm import tqdm

from tinynet_core.data.imagefolder import SPLITS, imagenet_root
from tinynet_core.data.imageindex import Broken, Index, mapping, read_split
from tinynet_core.data.imageset import ImageSet, cache_root
from tinynet_core.data.jpegs import JpegImages
from tinynet_core.data.selection import ImageNetDataset, Selection, select
from tinynet_core.files import UserError

_FORMAT = 1
"""Raise with every change of the files of a cache, or of the pixels that a configuration gives."""


def load_imagenet(dataset: ImageNetDataset, workers: int = 1, progress: bool = False, verify: bool = False) -> ImageSet:
    """The images of ``dataset`` below ``$TINYNET_IMAGENET``, from the cache or, with ``stream``, from their files.

    The first load decodes every wanted file once, in ``workers`` processes. Those that cannot be read are left out
    (where ``train_per_class`` leaves images over, the next of the class's draw takes the place) and reported in one
    warning; ``unreadable.txt`` beside the cache lists them, ``meta.json`` counts them. A class with fewer images than
    wanted gives all it has, and one warning counts such classes.

    Later loads list the folder, and compare names and sizes of the chosen classes' files with those of the first; and
    they check the index and the size of the cache, which is rebuilt with a warning where something does not fit. A byte
    that changed inside a big cache, or in a file that kept its size, is only found with ``verify``, which reads all of
    it. ``content_hash`` is over labels, names and bytes of the files, so it is the same for cache and stream.

    Safe to call from several processes at once: one builds, the others wait. Raises ``UserError`` for what a user can
    mend: the folder, the classes, the space on the disk.
    """
    selection = select(dataset, imagenet_root())
    with _locked(_cache_folder(selection.root, dataset)) as folder:
        if folder.exists():
            try:
                if _fits(folder, dataset, selection):
                    return _read(folder, dataset, selection, verify)
            except (OSError, EOFError, ValueError, TypeError, KeyError) as error:
                warnings.warn(f"dataset cache {folder} cannot be used ({error}): rebuilding it", stacklevel=2)
                shutil.rmtree(folder)
        remarks = _build(folder, dataset, selection, workers, progress)
        built = _read(folder, dataset, selection, verify=False)
    for remark in remarks:
        warnings.warn(remark, stacklevel=2)
    return built


def _cache_folder(root: Path, dataset: ImageNetDataset) -> Path:
    name = hashlib.sha256(os.fsencode(f"{_FORMAT} {dataset.key} {root}")).hexdigest()
    return cache_root().absolute() / f"imagenet-{name[:16]}"


@contextmanager
def _locked(folder: Path) -> Iterator[Path]:
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder.with_suffix(".lock"))
        lock.acquire()
    except OSError as error:
        raise UserError(
            f"the cache folder {folder.parent} cannot be written ({error.strerror}): set TINYNET_CACHE to one that can"
        ) from error
    try:
        yield folder
    finally:
        lock.release()


def _fits(folder: Path, dataset: ImageNetDataset, selection: Selection) -> bool:
    """Whether ``folder`` has all that ``dataset`` needs; it may be an index without the pixels that are now wanted."""
    meta = _meta(folder)
    if meta["listing_sha256"] != selection.listing_sha256:
        raise ValueError(f"the images below {selection.root} changed since it was made")
    return dataset.stream or meta["has_pixels"]


def _meta(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "meta.json").read_text(encoding="utf-8"))


def _read(folder: Path, dataset: ImageNetDataset, selection: Selection, verify: bool) -> ImageSet:
    recorded = _meta(folder)["content_sha256"]
    parts = [field.name for field in fields(Index)]
    indices = {
        split: Index(**{part: np.load(_array(folder, split, part), mmap_mode="r") for part in parts})
        for split in SPLITS
    }
    if (found := _content_hash(dataset, indices)) != recorded:
        raise ValueError(f"content hash {found[:12]} is not the recorded {str(recorded)[:12]}")
    images = {split: _open_images(folder, split, dataset, selection, len(indices[split].labels)) for split in SPLITS}
    if verify:
        for split in SPLITS:
            _verify(images[split], indices[split])
    return ImageSet(
        images["train"],
        np.array(indices["train"].labels),
        images["val"],
        np.array(indices["val"].labels),
        found,
        np.array(indices["train"].aspects),
        np.array(indices["val"].aspects),
    )


def _array(folder: Path, split: str, part: str) -> Path:
    return folder / f"{split}_{part}.npy"


def _open_images(
    folder: Path, split: str, dataset: ImageNetDataset, selection: Selection, n: int
) -> np.ndarray | JpegImages:
    if dataset.stream:
        return JpegImages(selection.root / split, _array(folder, split, "names"), dataset.side)
    pixels = np.load(_array(folder, split, "pixels"), mmap_mode="r")
    if pixels.shape != (n, dataset.side, dataset.side, 3) or pixels.dtype != np.uint8:
        raise ValueError(f"{split} pixels are {pixels.dtype} {pixels.shape}")
    return pixels


def _verify(images: np.ndarray | JpegImages, index: Index) -> None:
    for i, name in enumerate(index.names):
        if isinstance(images, JpegImages):
            data, expected = images.path(i).read_bytes(), index.file_sha256[i]
        else:
            data, expected = images[i].tobytes(), index.pixel_sha256[i]
        if hashlib.sha256(data).digest() != expected.tobytes():
            raise ValueError(f"image {i}, {os.fsdecode(name)}, changed")


def _content_hash(dataset: ImageNetDataset, indices: dict[str, Index]) -> str:
    digest = hashlib.sha256(f"{_FORMAT} {dataset.side}".encode())
    for split in SPLITS:
        indices[split].update(digest)
    return digest.hexdigest()


def _build(folder: Path, dataset: ImageNetDataset, selection: Selection, workers: int, progress: bool) -> list[str]:
    """Read all files and put ``folder`` in place as a whole; returns what the user should hear."""
    total = sum(len(c.wanted) for split in SPLITS for c in selection.files[split])
    scratch = folder.with_name(f".building-{folder.name}")
    doing = "indexing images" if dataset.stream else "decoding images"
    try:
        if scratch.exists():
            shutil.rmtree(scratch)  # what a killed build left: this one holds the lock
        if not dataset.stream:
            _check_space(folder.parent, total, dataset.side)
        scratch.mkdir()
        indices: dict[str, Index] = {}
        broken: dict[str, list[Broken]] = {}
        with mapping(workers) as mapped, tqdm(total=total, desc=doing, unit="img", disable=not progress) as bar:
            for split in SPLITS:
                pixels = None if dataset.stream else _array(scratch, split, "pixels")
                source = selection.root / split, selection.files[split]
                indices[split], broken[split] = read_split(*source, dataset.side, pixels, mapped, bar)
                _check_classes(selection, split, indices[split], broken[split])
        short = _short_classes(dataset, selection, indices["train"])
        _write(scratch, dataset, selection, indices, broken, short)
        if folder.exists():
            shutil.rmtree(folder)  # an index without pixels
        scratch.rename(folder)
    except OSError as error:
        raise UserError(f"the cache {folder} cannot be built: {error.strerror or error}") from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return _remarks(folder, dataset, selection, broken, short)


def _check_space(folder: Path, images: int, side: int) -> None:
    need, free = images * side * side * 3, shutil.disk_usage(folder).free
    if need > free:
        raise UserError(
            f"the cache of {images:,} images at {side} px needs {need / 1e9:.1f} GB and {folder} has "
            f"{free / 1e9:.1f} GB free: set TINYNET_CACHE to a folder on a larger disk, or stream: true"
        )


def _check_classes(selection: Selection, split: str, index: Index, broken: list[Broken]) -> None:
    counts = np.bincount(index.labels, minlength=len(selection.wnids))
    for wnid, count in zip(selection.wnids, counts, strict=True):
        if not count:
            name, reason = next(b for b in broken if b.name.startswith(os.path.join(wnid, "")))
            example = f"{selection.root / split / name}: {reason}"
            raise UserError(f"class folder {selection.root / split / wnid} has no readable image ({example})")


def _short_classes(dataset: ImageNetDataset, selection: Selection, index: Index) -> dict[str, int]:
    """Number of training images of each class that has fewer than were asked for."""
    counts = np.bincount(index.labels, minlength=len(selection.wnids)).tolist()
    wanted = dataset.train_per_class or 0
    return {wnid: n for wnid, n in zip(selection.wnids, counts, strict=True) if n < wanted}


def _write(
    scratch: Path,
    dataset: ImageNetDataset,
    selection: Selection,
    indices: dict[str, Index],
    broken: dict[str, list[Broken]],
    short: dict[str, int],
) -> None:
    """Everything but the pixels; on the disk, not only on its way there, when this returns."""
    for split, index in indices.items():
        for field in fields(Index):
            np.save(_array(scratch, split, field.name), getattr(index, field.name))
    lines = [f"{split}/{name}\t{reason}\n" for split in SPLITS for name, reason in broken[split]]
    (scratch / "unreadable.txt").write_text("".join(lines), encoding="utf-8", errors="surrogateescape")
    meta = {
        "dataset": dataset.model_dump(),
        "root": str(selection.root),
        "classes": selection.wnids,
        "images": {split: len(index.labels) for split, index in indices.items()},
        "unreadable": {split: len(broken[split]) for split in SPLITS},
        "short_classes": short,
        "has_pixels": not dataset.stream,
        "pillow": PIL.__version__,
        "listing_sha256": selection.listing_sha256,
        "content_sha256": _content_hash(dataset, indices),
    }
    (scratch / "meta.json").write_text(json.dumps(meta, indent=1), encoding="utf-8")
    for path in [*scratch.iterdir(), scratch]:
        handle = os.open(path, os.O_RDONLY)
        os.fsync(handle)
        os.close(handle)


def _remarks(
    folder: Path, dataset: ImageNetDataset, selection: Selection, broken: dict[str, list[Broken]], short: dict[str, int]
) -> list[str]:
    remarks = []
    paths = [str(selection.root / split / name) for split in SPLITS for name, _ in broken[split]]
    if paths:
        first = ", ".join(paths[:5]) + (", ..." if len(paths) > 5 else "")
        remarks.append(f"unreadable images left out: {len(paths)} ({first}); {folder / 'unreadable.txt'} says why")
    if short:
        few = min(short, key=lambda wnid: (short[wnid], wnid))
        remarks.append(
            f"{len(short)} of {dataset.classes} classes have fewer than the {dataset.train_per_class} training images "
            f"asked for, {few} the fewest with {short[few]}: all of theirs are used"
        )
    return remarks
