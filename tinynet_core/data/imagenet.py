"""ImageNet, or any local folder of images in its layout: decoded once into a cache, or streamed.

``$TINYNET_IMAGENET`` names the folder, with ``train/<class>/`` and ``val/<class>/``. Nothing is written there. Every
image is resized as a whole to a square, whatever its shape. The width over height of the original is kept. With this
number, a crop of the square is an exact rectangle of the original.
"""

import hashlib
import io
import os
import shutil
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from PIL import Image, UnidentifiedImageError
from pydantic import AfterValidator, BeforeValidator, Field, Strict, model_validator

from tinynet_core.data.sets import SPLITS, DataConfig, ImageSet, cached, read_arrays, write_arrays
from tinynet_core.files import UserError
from tinynet_core.machine import cache_root, in_chunks

SUFFIXES = (".jpeg", ".jpg", ".png")
LEFT_BEHIND = ("__MACOSX", "@eaDir")
"""Folders that archive programs and network disks add. They may hold images of their own."""
CLASS_LISTS = Path(__file__).parent / "class_lists"
"""Folder of class lists from public code. Each list is a file that names its source."""
_FORMAT = 3
"""Version of the cache. Raise it with every change to the cache files or to the pixels of a configuration."""
_LAYOUT = "train/<class>/ and val/<class>/ with .jpeg, .jpg or .png files"


def _listed(value: Any) -> Any:
    """Read the class folders, one per line, if ``value`` names a class list or a .txt file. Else return ``value``."""
    if not isinstance(value, str):
        return value
    known = sorted(path.stem for path in CLASS_LISTS.glob("*.txt"))
    if value not in known and not value.endswith(".txt"):
        raise ValueError(
            f"must be a list of folders, a .txt file with one folder per line, or {' or '.join(known)}, got {value!r}"
        )
    path = CLASS_LISTS / f"{value}.txt" if value in known else Path(value)
    if not path.is_file():
        raise ValueError(f"there is no file {value}")
    lines = map(str.strip, path.read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line and not line.startswith("#")]


_Wnid = Annotated[str, Field(pattern=r"^[^./\\][^/\\]*$")]
_Wnids = Annotated[
    tuple[_Wnid, ...], Strict(False), BeforeValidator(_listed), AfterValidator(lambda names: tuple(sorted({*names})))
]


class ImageNetDataset(DataConfig):
    """Choice and size of the folder's images. A label is a position in the sorted list of chosen classes."""

    kind: Literal["imagenet"] = "imagenet"
    classes: int = Field(1000, ge=2, le=100_000)
    class_seed: int | None = Field(None, ge=0, description="seed to draw the classes from the folder's classes")
    wnids: _Wnids | None = Field(
        None, description="or the class folders by name: a list, a .txt file with one folder per line, or imagenette"
    )
    train_per_class: int | None = Field(None, ge=1, description="training images to draw per class; null: all")
    image_seed: int = Field(0, ge=0, description="seed to draw the training images")
    validation_images: int | None = Field(
        None, ge=1, exclude_if=lambda n: n is None, description="number of them; null: 50 per class, as in ImageNet"
    )
    side: int = Field(256, ge=16, le=1024, description="side of a stored image in pixels")
    stream: bool = Field(False, exclude=True, description="decode at each access, without a cache; same pixels")

    @model_validator(mode="after")
    def _consistent(self) -> "ImageNetDataset":
        if self.wnids is not None and self.class_seed is not None:
            raise ValueError("give either class_seed, to draw the classes, or wnids, to name them")
        if self.wnids is not None and len(self.wnids) != self.classes:
            raise ValueError(f"wnids names {len(self.wnids)} classes, but classes is {self.classes}")
        return self

    @property
    def train_images(self) -> int:
        """Nominal number of training images, as in ImageNet if all are used. Unreadable files are not subtracted."""
        return self.classes * (self.train_per_class or 1281)

    @property
    def val_images(self) -> int:
        """Nominal number of validation images."""
        return self.validation_images or self.classes * 50


def imagenet_root() -> Path:
    """Return the folder that ``$TINYNET_IMAGENET`` names. Raise ``UserError`` unless it holds train/ and val/."""
    return named_root("TINYNET_IMAGENET", SPLITS, _LAYOUT, "/data/imagenet")


def named_root(variable: str, parts: Sequence[str], layout: str, example: str) -> Path:
    """Return the folder that an environment variable names. Raise ``UserError`` unless it holds all ``parts``."""
    value = os.environ.get(variable)
    if not value:
        raise UserError(
            f"the environment variable {variable} is not set: set it to the folder that holds {layout}, "
            f"as in: export {variable}={example}"
        )
    root = Path(value).expanduser().resolve()
    for part in parts:
        if not (root / part).exists():
            raise UserError(f"{variable}: there is no {root / part}; {root} must hold {layout}")
    return root


def image_files(folder: Path) -> list[tuple[str, int]]:
    """Return (name below ``folder``, bytes) of images, in torchvision's order, without hidden and left-behind ones."""
    from torchvision.datasets.folder import make_dataset

    found = make_dataset(folder.parent, {folder.name: 0}, SUFFIXES, allow_empty=True)
    names = [os.path.relpath(path, folder) for path, _ in found]
    return [(x, os.path.getsize(folder / x)) for x in names if not any(map(_is_left_behind, Path(x).parts))]


def _is_left_behind(name: str) -> bool:
    return name.startswith(".") or name in LEFT_BEHIND


def select(dataset: ImageNetDataset, root: Path) -> tuple[dict[str, list[tuple[str, int]]], str]:
    """Return the chosen files below ``root``, as (name, class) for each split, and a hash of the listing.

    Draws depend only on the names, not on the order of a listing. The draw of a class's training images depends on
    ``image_seed`` and the name of the class, not on the other classes.
    """
    wnids = _choose_classes(dataset, root / "train")
    digest = hashlib.sha256()
    files: dict[str, list[tuple[str, int]]] = {split: [] for split in SPLITS}
    for split in SPLITS:
        wanted = dataset.train_per_class if split == "train" else None
        for label, wnid in enumerate(wnids):
            found = image_files(root / split / wnid)
            if len(found) < (wanted or 1):
                raise UserError(
                    f"class folder {root / split / wnid} holds {len(found)} .jpeg, .jpg or .png files, "
                    f"must hold at least {wanted or 1}"
                )
            digest.update(os.fsencode("".join(f"{split}/{wnid}/{name}\0{size}\0" for name, size in found)))
            if wanted is not None and wanted < len(found):
                order = np.random.default_rng([dataset.image_seed, *os.fsencode(wnid)]).permutation(len(found))
                found = [found[i] for i in sorted(order[:wanted])]
            files[split] += [(os.path.join(wnid, name), label) for name, _ in found]
    return files, digest.hexdigest()


def _choose_classes(dataset: ImageNetDataset, folder: Path) -> Sequence[str]:
    if dataset.wnids is not None:
        return dataset.wnids
    available = sorted(x.name for x in os.scandir(folder) if x.is_dir() and not _is_left_behind(x.name))
    if dataset.classes == len(available):
        return available
    if dataset.classes > len(available) or dataset.class_seed is None:
        raise UserError(
            f"{folder} holds {len(available)} class folders, classes asks for {dataset.classes}: "
            "give class_seed to draw fewer, or wnids to name them"
        )
    rng = np.random.default_rng(dataset.class_seed)
    return sorted(available[i] for i in rng.choice(len(available), dataset.classes, replace=False))


def load_imagenet(dataset: ImageNetDataset, workers: int = 1, progress: bool = False) -> ImageSet:
    """Load ``dataset`` from ``$TINYNET_IMAGENET``: from the cache or, with ``stream``, from the image files.

    The first load decodes every wanted file once, in ``workers`` processes. Undecodable files are left out with a
    warning; ``meta.json`` in the cache lists them. If names or sizes of files change, a new cache is made.
    ``content_hash`` covers labels, names and bytes of the files, so it is the same for cache and stream. Raises
    ``UserError`` for problems that a user can solve: with the folder, the classes or the disk space.
    """
    root = imagenet_root()
    files, listing = select(dataset, root)
    kind = "index" if dataset.stream else "pixels"
    described = f"{_FORMAT} {dataset.key} {root} {listing} {kind}"
    folder = cache_root().absolute() / f"imagenet-{hashlib.sha256(os.fsencode(described)).hexdigest()[:16]}"
    return cached(
        folder,
        lambda scratch: _fill(scratch, folder, dataset, root, files, workers, progress),
        lambda place: _read(place, dataset, root),
    )


def _read(folder: Path, dataset: ImageNetDataset, root: Path) -> ImageSet:
    index = [f"{split}_{part}" for split in SPLITS for part in ("names", "labels", "aspects", "file_sha256")]
    arrays, found = read_arrays(folder, ["side", *index])
    images: dict[str, Any] = {}
    for split in SPLITS:
        if dataset.stream:
            images[split] = JpegImages(root / split, arrays[f"{split}_names"], dataset.side)
        else:
            shape = (len(arrays[f"{split}_labels"]), dataset.side, dataset.side, 3)
            images[split] = np.memmap(folder / f"{split}_pixels", np.uint8, "r", shape=shape)
    parts = {f"{split}_{part}": arrays[f"{split}_{part}"] for split in SPLITS for part in ("labels", "aspects")}
    return ImageSet(train_images=images["train"], val_images=images["val"], content_hash=found, **parts)


def _fill(
    scratch: Path, folder: Path, dataset: ImageNetDataset, root: Path, files: dict, workers: int, progress: bool
) -> None:
    """Read all files into ``scratch``, which is renamed to ``folder`` afterwards."""
    total = sum(map(len, files.values()))
    need, free = total * dataset.side**2 * 3, shutil.disk_usage(scratch).free
    if need > free and not dataset.stream:
        raise UserError(
            f"the cache of {total:,} images at {dataset.side} px needs {need / 1e9:.1f} GB and {folder.parent} has "
            f"{free / 1e9:.1f} GB free: set TINYNET_CACHE to a folder on a larger disk, or stream: true"
        )
    arrays: dict[str, np.ndarray] = {"side": np.array(dataset.side)}
    broken: list[str] = []
    for split in SPLITS:
        jobs = [(root / split / name, dataset.side, not dataset.stream) for name, _ in files[split]]
        reads = in_chunks(read_file, jobs, workers, f"reading {split} images", progress)
        kept: list[tuple[bytes, int, float, bytes]] = []
        reasons: dict[int, str] = {}
        with (scratch / f"{split}_pixels").open("wb") as pixels:
            for (name, label), read in zip(files[split], reads, strict=True):
                if isinstance(read, str):
                    broken.append(read)
                    reasons[label] = read
                else:
                    pixels.write(read[2])
                    kept.append((os.fsencode(name), label, *read[:2]))
        if empty := reasons.keys() - {label for _, label, _, _ in kept}:
            raise UserError(f"{root / split}: a class has no readable image ({reasons[min(empty)]})")
        names, labels, aspects, digests = zip(*kept, strict=True)
        arrays[f"{split}_names"] = np.array(names, np.bytes_)
        arrays[f"{split}_labels"] = np.array(labels, np.int64)
        arrays[f"{split}_aspects"] = np.array(aspects, np.float32)
        arrays[f"{split}_file_sha256"] = np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 32)
    write_arrays(scratch, arrays, dataset.model_dump() | {"root": str(root), "unreadable": broken})
    if broken:
        first = "; ".join(broken[:3]) + ("; ..." if len(broken) > 3 else "")
        warnings.warn(
            f"unreadable images left out: {len(broken)} ({first}); {folder / 'meta.json'} lists them", stacklevel=2
        )


def read_file(path: Path, side: int, pixels: bool) -> tuple[float, bytes, bytes] | str:
    """Return an image's width over height, its file's SHA-256 and, if wanted, its pixels; or the error as text."""
    warnings.filterwarnings("ignore", module=r"PIL\.")  # good images with corrupt EXIF data cause warnings
    try:
        data = path.read_bytes()
        image, aspect = decode(data, side)
    except ValueError as error:
        return f"{path}: {error}"
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    return aspect, hashlib.sha256(data).digest(), image.tobytes() if pixels else b""


def decode(data: bytes, side: int) -> tuple[np.ndarray, float]:
    """Decode the bytes of a JPEG or PNG file to pixels, uint8 (side, side, 3), and the original's width over height.

    Pillow's ``convert`` turns all modes into RGB. The EXIF orientation is ignored, as is usual on ImageNet. The filter
    is Pillow's antialiased bicubic. A JPEG at least four times ``side`` in both directions is decoded at a half, a
    quarter or an eighth of its size, but never below twice ``side``. This is much faster. The pixels differ only by
    rounding and by details that the resize removes anyway. Raises ``ValueError`` for a truncated file, for another
    format, and for 16-bit grey, which Pillow would turn into white.
    """
    try:
        # allow no other format, whatever the suffix: one of Pillow's decoders starts a program
        with Image.open(io.BytesIO(data), formats=("JPEG", "PNG")) as image:
            if image.mode.startswith(("I", "F")):
                raise ValueError("more than 8 bits a channel")
            width, height = image.size
            drafted = image.draft("RGB", (2 * side, 2 * side))
            box = drafted[1] if drafted else None
            square = image.convert("RGB").resize((side, side), Image.Resampling.BICUBIC, box=box)
    except UnidentifiedImageError as error:
        raise ValueError("neither JPEG nor PNG") from error
    except MemoryError:
        raise
    except Exception as error:  # Pillow raises nearly any exception type on broken bytes
        raise ValueError(" ".join(str(error).split()) or type(error).__name__) from error
    return np.asarray(square), width / height


@dataclass(frozen=True)
class JpegImages:
    """Sequence of image files, decoded to uint8 (side, side, 3) at each access. ``names`` are bytes."""

    folder: Path
    names: np.ndarray
    side: int

    def __len__(self) -> int:
        return len(self.names)

    def path(self, i: int) -> Path:
        """Return the path of the file of image ``i``."""
        return self.folder / os.fsdecode(self.names[i])

    def __getitem__(self, i: int) -> np.ndarray:
        try:
            return decode(self.path(i).read_bytes(), self.side)[0]
        except (OSError, ValueError) as error:
            raise UserError(f"{self.path(i)} was readable when indexed but no longer is: {error}") from error
