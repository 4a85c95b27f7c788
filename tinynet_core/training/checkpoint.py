"""The state of a run between two steps, on disk whole or not at all."""

import hashlib
import io
import itertools
import warnings
from pathlib import Path
from typing import Any

import torch

from tinynet_core.files import UserError, whole

_DIGEST = hashlib.sha256().digest_size


class CheckpointError(UserError):
    """A checkpoint that cannot be written; says which and why."""


def save(path: Path, state: dict[str, Any]) -> None:
    """Write ``state`` to ``path`` through a temporary file, synced and renamed; one process at a time for each path.

    Raises ``CheckpointError`` when it cannot be written; the one before then stays.
    """
    memory = io.BytesIO()  # torch's own writer hides a full disk behind an internal error
    torch.save(state, memory)
    body = memory.getbuffer()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole(path) as file:
            file.write(hashlib.sha256(body).digest())  # torch does not notice a changed byte
            file.write(body)
    except OSError as error:
        raise CheckpointError(f"checkpoint {path} cannot be written: {error.strerror or error}") from error


def load(path: Path, training_version: int, identity: str | None = None) -> dict[str, Any] | None:
    """The state at ``path``, or None where there is none.

    A damaged file, one of another ``training_version`` and, where ``identity`` is given, one of another run is set
    aside by name with a warning.
    """
    try:
        content = memoryview(path.read_bytes())
    except FileNotFoundError:
        return None
    digest, body = content[:_DIGEST], content[_DIGEST:]
    if hashlib.sha256(body).digest() != digest:
        _set_aside(path, "its checksum does not match its content")
        return None
    try:
        state = torch.load(io.BytesIO(body), map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises many types for what it refuses
        _set_aside(path, type(error).__name__)
        return None
    if not isinstance(state, dict) or state.get("training_version") != training_version:
        _set_aside(path, f"not of training version {training_version}")
        return None
    if identity is not None and state.get("identity") != identity:
        _set_aside(path, "of another network, recipe, seed or data set")
        return None
    return state


def remove(path: Path) -> None:
    """Delete the checkpoint and what a killed process may have left of the next one."""
    for left in [path, *path.parent.glob(f"{path.stem}.*.tmp")]:
        left.unlink(missing_ok=True)


def _set_aside(path: Path, reason: str) -> None:
    names = (path.with_suffix(f".damaged{n}") for n in itertools.chain([""], itertools.count(2)))
    aside = next(name for name in names if not name.exists())
    path.rename(aside)
    warnings.warn(f"checkpoint set aside as {aside} ({reason}): training restarts", stacklevel=3)
