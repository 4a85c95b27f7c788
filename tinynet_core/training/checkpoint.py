"""The state of a run at the end of an epoch, on disk whole or not at all."""

import os
import warnings
from pathlib import Path
from typing import Any

import torch


def save(path: Path, state: dict[str, Any]) -> None:
    """Write ``state`` to ``path`` through a temporary file, synced and renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_suffix(f".{os.getpid()}.tmp")
    try:
        with scratch.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        scratch.rename(path)
    finally:
        scratch.unlink(missing_ok=True)


def load(path: Path) -> dict[str, Any] | None:
    """The state at ``path``, or None where there is none; a damaged file is set aside by name with a warning."""
    if not path.exists():
        return None
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises many types for damaged files
        aside = path.with_suffix(".damaged")
        path.rename(aside)
        warnings.warn(f"checkpoint set aside as {aside} ({type(error).__name__}): training restarts", stacklevel=2)
        return None
