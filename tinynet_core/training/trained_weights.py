"""The weights that a training ended with, in a safetensors file that is written whole or not at all."""

import hashlib
import json
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import load_file
from safetensors.torch import save as serialized
from torch import nn

from tinynet_core.files import UserError, whole


class WeightsError(UserError):
    """Trained weights that cannot be written or read; says which and why."""


def save(path: Path, module: nn.Module, about: dict[str, str]) -> None:
    """Write the state of ``module`` to ``path``, on disk when this returns; ``about`` says where it comes from."""
    state = {name: value.detach().cpu().contiguous() for name, value in module.state_dict().items()}
    text = json.dumps(about, sort_keys=True)  # in one entry: safetensors writes several in no fixed order
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole(path) as file:
            file.write(serialized(state, {"about": text}))
    except OSError as error:
        raise WeightsError(f"weights {path} cannot be written: {error.strerror or error}") from error


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
    except Exception as error:  # safetensors has a type of its own, and torch one for tensors that do not fit
        reason = " ".join(str(error).split())
        raise WeightsError(f"weights {path} cannot be used ({reason}): delete the file to train them anew") from error


def digest(path: Path) -> str:
    """SHA-256 of the file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
