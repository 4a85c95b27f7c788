"""The weights that a training ended with, in a safetensors file that is written whole or not at all."""

import hashlib
import json
import os
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from tinynet_core.files import UserError


class WeightsError(UserError):
    """Trained weights that cannot be written or read; says which and why."""


def save(path: Path, module: nn.Module, about: dict[str, str]) -> None:
    """Write the state of ``module`` to ``path``, on disk when this returns; ``about`` says where it comes from."""
    scratch = path.with_suffix(".tmp")  # who trains holds the claim, so that there is one writer
    state = {name: value.detach().cpu().contiguous() for name, value in module.state_dict().items()}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(about, sort_keys=True)  # in one entry: safetensors writes several in no fixed order
        save_file(state, scratch, {"about": text})
        with scratch.open("rb") as file:
            os.fsync(file.fileno())
        scratch.replace(path)
    except Exception as error:  # safetensors hides a full disk behind a type of its own
        raise WeightsError(f"weights {path} cannot be written: {error}") from error
    finally:
        scratch.unlink(missing_ok=True)


def load(path: Path, module: nn.Module, about: dict[str, str]) -> None:
    """Read the file at ``path`` into ``module``.

    Raises ``WeightsError`` unless it holds exactly its tensors and says the same ``about`` where they come from.
    """
    try:
        with safe_open(path, "pt") as file:
            found = json.loads((file.metadata() or {}).get("about", "{}"))
        if other := [name for name, value in about.items() if found.get(name) != value]:
            raise ValueError(f"{other[0]} is {found.get(other[0])}, wanted is {about[other[0]]}")
        module.load_state_dict(load_file(path))
    except Exception as error:  # as above, and torch's for tensors that do not fit
        reason = " ".join(str(error).split())
        raise WeightsError(f"weights {path} cannot be used ({reason}): delete the file to train them anew") from error


def digest(path: Path) -> str:
    """SHA-256 of the file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
