"""Glyphs: an image-classification task that needs no download.

Letters with and without diacritics, drawn with the DejaVu faces that matplotlib ships. The classes of one letter differ
by a mark a few pixels high, so resolution matters, as it does in ImageNet. It is a proxy: a result on it is never an
ImageNet result. An image depends on (seed, split, index) alone.
"""

from functools import lru_cache
from pathlib import Path
from typing import ClassVar, Literal

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont
from pydantic import Field

from tinynet_core.data.drawn import DrawnImages, Extent
from tinynet_core.data.sets import SPLITS

_LETTERS = (
    "eéèêë", "aáàâä", "oóòôö", "uúùûü",
    "nńñňņ", "cćčĉç", "sśšŝş", "iíìîï",
    "zźžżƶ", "yýỳŷÿ", "rŕřŗȓ", "lĺľļł",
    "tťţŧț", "dďđḋḍ", "gğĝġģ", "hĥħḣḥ",
    "kķḱǩḳ", "wẁẃŵẅ", "AÁÀÂÄ", "EÉÈÊË",
)  # fmt: skip
CLASSES = tuple(letter[mark] for ten in range(0, 20, 10) for mark in range(5) for letter in _LETTERS[ten : ten + 10])
"""Twenty letters with five marks each. The first 20 classes are ten letters, plain and with an acute."""
FACES = (
    "DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSans-BoldOblique",
    "DejaVuSansMono", "DejaVuSansMono-Bold", "DejaVuSansMono-Oblique", "DejaVuSansMono-BoldOblique",
    "DejaVuSerif", "DejaVuSerif-Bold", "DejaVuSerif-Italic", "DejaVuSerif-BoldItalic",
)  # fmt: skip


class GlyphDataset(DrawnImages):
    """What to render. Two equal values give the same images, byte for byte, under one version of Pillow."""

    mirror_safe: ClassVar[bool] = False  # acute and grave change places

    kind: Literal["glyphs"] = "glyphs"
    renderer: Literal[2] = Field(2, description="raised with every change of the pixels that a configuration gives")
    classes: int = Field(20, ge=2, le=len(CLASSES), description="the first so many of CLASSES")
    resolution: int = Field(96, ge=16, le=512, description="side of a rendered image in pixels")
    train_images: int = Field(10_000, ge=1, le=2_000_000)
    val_images: int = Field(2_000, ge=1, le=200_000)
    difficulty: float = Field(0.5, ge=0.0, le=1.0, description="0: large, upright, clear; 1: small, turned, cluttered")
    seed: int = Field(0, ge=0)
    extent: Extent | None = Field(
        None,
        exclude_if=lambda extent: extent is None,  # keys made before there was one stay what they were
        description="range of a glyph's longer side as a share of the image; what difficulty says where left out",
    )

    def draw(self, split: str, index: int) -> tuple[np.ndarray, ...]:
        return (render_image(self, split, index),)

    def region(self, split: str, index: int) -> np.ndarray:
        return glyph_region(self, split, index)

    @property
    def names(self) -> tuple[str, ...]:
        return CLASSES[: self.classes]


def render_image(dataset: GlyphDataset, split: str, index: int) -> np.ndarray:
    """Image ``index`` of ``split``, uint8 (side, side, 3), of class ``index % classes``."""
    return _draw(dataset, split, index)[0]


def glyph_region(dataset: GlyphDataset, split: str, index: int) -> np.ndarray:
    """The pixels of image ``index`` of ``split`` that its glyph covers by more than half, bool (side, side)."""
    return _draw(dataset, split, index)[1]


def _draw(dataset: GlyphDataset, split: str, index: int) -> tuple[np.ndarray, np.ndarray]:
    """Image and region of the glyph."""
    rng = np.random.default_rng([dataset.seed, SPLITS.index(split), index])
    hard, side = dataset.difficulty, dataset.resolution
    ink, canvas = colours(rng, hard)
    image = background(rng, side, canvas, hard)
    clutter(rng, image, hard)
    face = FACES[int(rng.integers(len(FACES)))]
    longer = side * rng.uniform(*(dataset.extent or (0.55 - 0.2 * hard, 0.9)))
    mask = glyph_mask(CLASSES[index % dataset.classes], face, longer, rng.uniform(-1, 1) * 30 * hard, 2 * side)
    x = int(rng.integers(0, max(1, side - mask.width + 1)))
    y = int(rng.integers(0, max(1, side - mask.height + 1)))
    image.paste(tuple(ink), (x, y), mask)
    noise = rng.normal(0.0, 2.0 + 14.0 * hard, (side, side, 1))
    region = np.zeros((side, side), bool)
    region[y : y + mask.height, x : x + mask.width] = np.asarray(mask) > 127
    return np.clip(np.asarray(image) + noise, 0, 255).astype(np.uint8), region


def colours(rng: np.random.Generator, hard: float) -> tuple[list[int], np.ndarray]:
    """Ink and canvas colours whose lightness differs by at least 150 (easy) to 60 (hard) of 255."""
    least = 150 - 90 * hard
    while True:
        ink, canvas = rng.integers(0, 256, 3), rng.integers(0, 256, 3)
        if abs(float((ink - canvas) @ (0.299, 0.587, 0.114))) >= least:
            return ink.tolist(), canvas.astype(float)


def background(rng: np.random.Generator, side: int, canvas: np.ndarray, hard: float) -> Image.Image:
    """A plane of colour that drifts in a random direction by up to 60 of 255."""
    angle = rng.uniform(0, 2 * np.pi)
    along = np.linspace(-0.5, 0.5, side)
    ramp = np.cos(angle) * along[None, :] + np.sin(angle) * along[:, None]
    drift = rng.uniform(-60, 60, 3) * hard
    return Image.fromarray(np.clip(canvas + ramp[..., None] * drift, 0, 255).astype(np.uint8))


def clutter(rng: np.random.Generator, image: Image.Image, hard: float) -> None:
    """Strokes behind the glyph, up to eight at full difficulty."""
    draw, side = ImageDraw.Draw(image), image.width
    for _ in range(int(rng.integers(0, 1 + round(8 * hard)))):
        colour = tuple(rng.integers(0, 256, 3).tolist())
        ends = rng.uniform(0, side, 4).tolist()
        draw.line(ends, fill=colour, width=max(1, int(rng.uniform(0.01, 0.03) * side)))


def glyph_mask(character: str, face: str, extent: float, angle: float, font_size: int) -> Image.Image:
    """A glyph turned by ``angle`` degrees as an 8-bit mask cut to its ink, its longer side ``extent`` pixels."""
    font = _font(face, font_size)
    left, top, right, bottom = font.getbbox(character)
    big = Image.new("L", (int(right - left) + 4, int(bottom - top) + 4))
    ImageDraw.Draw(big).text((2 - left, 2 - top), character, fill=255, font=font)
    turned = big.rotate(angle, Image.Resampling.BICUBIC, expand=True)
    turned = turned.crop(turned.getbbox())
    zoom = extent / max(turned.size)
    size = max(1, round(turned.width * zoom)), max(1, round(turned.height * zoom))
    return turned.resize(size, Image.Resampling.BOX)


@lru_cache(maxsize=32)
def _font(face: str, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"{face}.ttf"), size)
