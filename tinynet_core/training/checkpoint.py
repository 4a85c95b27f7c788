"""The state of a run at the end of an epoch, on disk whole or not at all."""

import os
import warnings
from pathlib import Path
from typing import Any
from uuid import uuid4

import torch


def save(path: Path, state: dict[str, Any]) -> None:
    """Write ``state`` to ``path`` through a temporary file, synced and renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_suffix(f".{uuid4().hex}.tmp")
    try:
        with scratch.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        scratch.rename(path)
    finally:
        scratch.unlink(missing_ok=True)


def load(path: Path, training_version: int) -> dict[str, Any] | None:
    """The state at ``path``, or None where there is none.

    A damaged file, or one of another ``training_version``, is set aside by name with a warning.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        return None
    except Exception as error:  # torch.load raises many types for damaged files
        _set_aside(path, type(error).__name__)
        return None
    if not isinstance(state, dict) or state.get("training_version") != training_version:
        _set_aside(path, f"not of training version {training_version}")
        return None
    return state


def _set_aside(path: Path, reason: str) -> None:
    aside = path.with_suffix(".damaged")
    path.rename(aside)
    warnings.warn(f"checkpoint set aside as {aside} ({reason}): training restarts", stacklevel=3)
