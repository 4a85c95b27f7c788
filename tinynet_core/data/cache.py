"""Arrays that are made once and then read from a cache folder, whole and with the recorded hash or not at all."""

import hashlib
import json
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import platformdirs
from filelock import FileLock

from tinynet_core.files import UserError, user_folder

T = TypeVar("T")


def cache_root() -> Path:
    """Where loaded sets live: ``$TINYNET_CACHE`` or the user's cache folder."""
    named = os.environ.get("TINYNET_CACHE")
    return Path(named) if named else user_folder(platformdirs.user_cache_dir, "tinynet-core", "TINYNET_CACHE")


def cached(folder: Path, fill: Callable[[Path], None], read: Callable[[Path], T]) -> T:
    """What ``read`` makes of ``folder``, which ``fill`` makes where it is absent.

    ``fill`` is given an empty folder that takes the name of ``folder`` only when it is complete and on the disk. One
    that ``read`` cannot use, because it was changed or cut off, is made anew with a warning. Safe to call from several
    processes. Raises ``UserError`` for a folder that cannot be written.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_suffix(".lock")):
            if folder.exists():
                try:
                    return read(folder)
                except (OSError, EOFError, ValueError, TypeError, KeyError) as error:
                    warnings.warn(f"dataset cache {folder} cannot be used ({error}): rebuilding it", stacklevel=4)
                    shutil.rmtree(folder)
            _fill_whole(folder, fill)
    except OSError as error:
        raise UserError(
            f"the cache folder {folder.parent} cannot be written ({error.strerror or error}): "
            "set TINYNET_CACHE to one that can"
        ) from error
    return read(folder)


def _fill_whole(folder: Path, fill: Callable[[Path], None]) -> None:
    """Let ``fill`` make ``folder`` beside its place. The lock is held; older ones are of killed processes."""
    prefix = f".building-{folder.name}-"
    for left in folder.parent.glob(f"{prefix}*"):
        shutil.rmtree(left, ignore_errors=True)
    scratch = Path(tempfile.mkdtemp(prefix=prefix, dir=folder.parent))
    try:
        fill(scratch)
        for path in [*scratch.iterdir(), scratch]:
            handle = os.open(path, os.O_RDONLY)
            os.fsync(handle)
            os.close(handle)
        scratch.rename(folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def content_hash(arrays: dict[str, np.ndarray]) -> str:
    """SHA-256 over names, shapes and bytes of ``arrays``, in their order."""
    digest = hashlib.sha256()
    for name, array in arrays.items():
        digest.update(f"{name}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def write_arrays(folder: Path, arrays: dict[str, np.ndarray], dataset: dict[str, Any], sha256: str) -> None:
    """Write each array as a .npy file, and ``meta.json`` with the configuration that they are of and their hash."""
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    (folder / "meta.json").write_text(json.dumps({"dataset": dataset, "sha256": sha256}, indent=1), encoding="utf-8")


def read_arrays(folder: Path, names: Sequence[str]) -> tuple[dict[str, np.ndarray], str]:
    """The arrays called ``names``, memory-mapped, and their hash; ``ValueError`` where it is not the recorded one."""
    recorded = json.loads((folder / "meta.json").read_text(encoding="utf-8"))["sha256"]
    arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in names}
    found = content_hash(arrays)
    if found != recorded:
        raise ValueError(f"content hash {found[:12]} is not the recorded {recorded[:12]}")
    return arrays, found
