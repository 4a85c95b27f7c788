"""Image folders, ``train/<class>/`` and ``val/<class>/``: their files, listed as torchvision's ImageFolder lists them,
and what is in a file.

An image is resized to a square as a whole, whatever its shape: together with width over height of the original, a crop
of the square is an exact rectangle of the original.
"""

import io
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from tinynet_core.files import UserError

SPLITS = ("train", "val")
SUFFIXES = (".jpeg", ".jpg", ".png")
ROOT_VARIABLE = "TINYNET_IMAGENET"
_LAYOUT = "train/<class>/ and val/<class>/ with .jpeg, .jpg or .png files"


def imagenet_root() -> Path:
    """The folder that ``$TINYNET_IMAGENET`` names; raises ``UserError`` unless it holds train/ and val/."""
    root = named_root(ROOT_VARIABLE, _LAYOUT, "/data/imagenet")
    for split in SPLITS:
        if not (root / split).is_dir():
            raise UserError(f"{ROOT_VARIABLE}: {root} has no folder {split}/; it must hold {_LAYOUT}")
    return root


def named_root(variable: str, layout: str, example: str) -> Path:
    """The folder that an environment variable names; raises ``UserError`` where there is none."""
    value = os.environ.get(variable)
    if not value:
        raise UserError(
            f"the environment variable {variable} is not set: set it to the folder that holds {layout}, "
            f"as in: export {variable}={example}"
        )
    root = Path(value).expanduser().resolve()
    if not root.is_dir():
        raise UserError(f"{variable}: {root} is not a folder; it must hold {layout}")
    return root


def class_folders(folder: Path) -> list[str]:
    """Sorted names of the class folders in ``folder``, hidden ones left out; ``UserError`` where there is none."""
    try:
        found = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and entry.name[0] != ".")
    except OSError as error:
        raise _unlistable(error) from error
    if not found:
        raise UserError(f"{folder} holds no class folders: sort its images into one folder a class, <class>/<image>")
    return found


def image_files(folder: Path) -> list[tuple[str, int]]:
    """(name below ``folder``, size in bytes) of all images at any depth, in ImageFolder's order."""

    def stop(error: OSError) -> None:
        raise error

    try:
        found = [
            (directory, name)
            for directory, _, names in os.walk(folder, followlinks=True, onerror=stop)
            for name in names
            if name.lower().endswith(SUFFIXES)
        ]
        start = len(os.path.join(folder, ""))
        paths = [os.path.join(directory, name) for directory, name in sorted(found)]
        return [(path[start:], os.path.getsize(path)) for path in paths]
    except OSError as error:
        raise _unlistable(error) from error


def _unlistable(error: OSError) -> UserError:
    return UserError(f"{error.filename}: cannot be listed: {error.strerror}")


class UnreadableImage(Exception):
    """Bytes that cannot be decoded; the message says why."""


def decode(data: bytes, side: int) -> tuple[np.ndarray, float]:
    """Pixels uint8 (side, side, 3) of a JPEG or PNG file's bytes, and width over height of the original.

    Grey, palette, CMYK and transparent images become RGB as Pillow's ``convert`` does it; an EXIF orientation is
    ignored, as is usual in training on ImageNet. The filter is Pillow's antialiased bicubic. A JPEG at least four times
    ``side`` in both directions is decoded at a half, a quarter or an eighth of its size, which is never below twice
    ``side``: much faster, and the pixels differ by rounding and by details that the resize removes anyway.

    Raises ``UnreadableImage`` for anything else: a file that was cut off, one of another format, one whose grey has 16
    bits, which Pillow would turn into white.
    """
    try:
        # other formats stay shut, whatever the suffix: one of Pillow's decoders starts a program
        with Image.open(io.BytesIO(data), formats=("JPEG", "PNG")) as image:
            if image.mode.startswith(("I", "F")):
                raise UnreadableImage("more than 8 bits a channel")
            width, height = image.size
            drafted = image.draft("RGB", (2 * side, 2 * side))
            box = drafted[1] if drafted else None
            square = image.convert("RGB").resize((side, side), Image.Resampling.BICUBIC, box=box)
    except UnidentifiedImageError as error:
        raise UnreadableImage("neither JPEG nor PNG") from error
    except MemoryError:
        raise
    except Exception as error:  # Pillow raises nearly any type on broken bytes
        raise UnreadableImage(" ".join(str(error).split()) or type(error).__name__) from error
    return np.asarray(square), width / height


@dataclass(frozen=True)
class JpegImages:
    """Image files as a sequence of uint8 (side, side, 3), decoded at each access.

    ``index`` is a .npy file that lists the names below ``folder`` as bytes.
    """

    folder: Path
    index: Path
    side: int

    @cached_property
    def _names(self) -> np.ndarray:
        return np.load(self.index, mmap_mode="r")

    def __len__(self) -> int:
        return len(self._names)

    def path(self, i: int) -> Path:
        """The file behind image ``i``."""
        return self.folder / os.fsdecode(self._names[i])

    def __getitem__(self, i: int) -> np.ndarray:
        path = self.path(i)
        try:
            return decode(path.read_bytes(), self.side)[0]
        except (OSError, UnreadableImage) as error:
            raise UserError(f"{path} could be read when its folder was indexed and cannot any more: {error}") from error
