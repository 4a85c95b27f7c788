"""An image file as a square of pixels, and a list of image files that are decoded on demand.

The whole image is resized to a square, whatever its shape: together with width over height of the original, a crop of
the square is an exact rectangle of the original.
"""

import io
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from tinynet_core.files import UserError

SUFFIXES = (".jpeg", ".jpg", ".png")


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
    if not data:
        raise UnreadableImage("empty file")
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
    except (MemoryError, UnreadableImage):
        raise
    except Exception as error:  # Pillow raises nearly any type on broken bytes
        raise UnreadableImage(" ".join(str(error).split()) or type(error).__name__) from error
    return np.asarray(square), width / height


@dataclass(frozen=True)
class JpegImages:
    """Image files as a sequence of uint8 (side, side, 3), decoded at each access.

    ``index`` is a .npy file that lists the names below ``folder`` as bytes. Pickles as these paths alone, so that
    any number of loader processes share the list through the page cache.
    """

    folder: Path
    index: Path
    side: int

    @cached_property
    def _names(self) -> np.ndarray:
        return np.load(self.index, mmap_mode="r")

    def __reduce__(self):
        return type(self), (self.folder, self.index, self.side)

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
