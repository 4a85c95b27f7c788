"""Image folders, ``train/<class>/`` and ``val/<class>/``, listed as torchvision's ImageFolder lists them."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from tinynet_core.data.jpegs import SUFFIXES
from tinynet_core.files import UserError

SPLITS = ("train", "val")
ROOT_VARIABLE = "TINYNET_IMAGENET"
_LAYOUT = "train/<class>/ and val/<class>/ with .jpeg, .jpg or .png files"


def imagenet_root() -> Path:
    """The folder that ``$TINYNET_IMAGENET`` names; raises ``UserError`` unless it holds train/ and val/."""
    value = os.environ.get(ROOT_VARIABLE)
    if not value:
        raise UserError(
            f"the environment variable {ROOT_VARIABLE} is not set: set it to the folder that holds {_LAYOUT}, "
            f"as in: export {ROOT_VARIABLE}=/data/imagenet"
        )
    root = Path(value).expanduser().resolve()
    if not root.is_dir():
        raise UserError(f"{ROOT_VARIABLE}: {root} is not a folder; it must hold {_LAYOUT}")
    for split in SPLITS:
        if not (root / split).is_dir():
            raise UserError(f"{ROOT_VARIABLE}: {root} has no folder {split}/; it must hold {_LAYOUT}")
    return root


def class_folders(folder: Path) -> list[str]:
    """Sorted names of the class folders in ``folder``; hidden ones are none.

    Raises ``UserError`` where there is none, with a word on the flat validation set that ImageNet comes with.
    """
    loose = False
    found = []
    for entry in _scan(folder):
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            found.append(entry.name)
        loose = loose or _is_image(entry.name)
    if not found and loose:
        raise UserError(
            f"{folder} holds images and no class folders: sort the flat set into one folder per class first, "
            f"{folder}/<class>/<image>"
        )
    if not found:
        raise UserError(f"{folder} holds no class folders")
    return sorted(found)


def image_files(folder: Path) -> list[tuple[str, int]]:
    """(name, size in bytes) of all images at any depth below ``folder``, in ImageFolder's order.

    Names are relative to ``folder``. Links to folders are followed, though not back to a folder that encloses them.
    The size is -1 for what is not a file: a pipe, a device, a dangling link.
    """
    found: list[tuple[str, str]] = []
    for directory, subfolders, names in os.walk(folder, followlinks=True, onerror=_unlistable):
        real = os.path.realpath(directory)
        subfolders[:] = [name for name in subfolders if not _encloses(os.path.join(directory, name), real)]
        found += [(directory, name) for name in names if _is_image(name)]
    start = len(os.path.join(folder, ""))
    paths = (os.path.join(directory, name) for directory, name in sorted(found))
    return [(path[start:], _size(path)) for path in paths]


def _scan(folder: Path) -> Iterator[os.DirEntry]:
    try:
        with os.scandir(folder) as entries:
            yield from entries
    except OSError as error:
        _unlistable(error)


def _unlistable(error: OSError) -> None:
    raise UserError(f"{error.filename}: cannot be listed: {error.strerror}") from error


def _is_image(name: str) -> bool:
    return name.lower().endswith(SUFFIXES)


def _encloses(folder: str, real: str) -> bool:
    """Whether the link ``folder`` leads to ``real`` or to a folder above it."""
    return os.path.islink(folder) and (real + os.sep).startswith(os.path.realpath(folder).rstrip(os.sep) + os.sep)


def _size(path: str) -> int:
    try:
        status = os.stat(path)
    except OSError:
        return -1
    return status.st_size if stat.S_ISREG(status.st_mode) else -1
