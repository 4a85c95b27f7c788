"""Files of a training, each written whole or not at all: the state between two steps, and the final weights."""

import hashlib
import io
import json
import warnings
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from safetensors.torch import save as serialized
from torch import nn

from tinynet_core.files import UserError, whole

_DIGEST = hashlib.sha256().digest_size


class CheckpointError(UserError):
    """A file of a training cannot be written, or weights cannot be read. The message names the file and the reason."""


def save(path: Path, state: dict[str, Any]) -> None:
    """Write ``state`` to ``path``. If writing fails, keep the previous checkpoint and raise ``CheckpointError``."""
    memory = io.BytesIO()  # torch's own writer hides a full disk behind an internal error
    torch.save(state, memory)
    body = memory.getbuffer()
    _write(path, hashlib.sha256(body).digest(), body)  # torch itself does not notice a changed byte


def load(path: Path, training_version: int, identity: str | None = None) -> dict[str, Any] | None:
    """Return the state at ``path``, or None if there is no usable file.

    A damaged file, or a file of another ``training_version`` or ``identity``, is renamed with a warning.
    """
    if not path.exists():
        return None
    content = memoryview(path.read_bytes())
    digest, body = content[:_DIGEST], content[_DIGEST:]
    try:
        if hashlib.sha256(body).digest() != digest:
            raise ValueError("its checksum does not match its content")
        state = torch.load(io.BytesIO(body), map_location="cpu", weights_only=True)
        if state["training_version"] != training_version:
            raise ValueError(f"not of training version {training_version}")
        if identity is not None and state["identity"] != identity:
            raise ValueError("of another network, recipe, seed or data set")
        return state
    except Exception as error:  # torch.load raises many exception types
        reason = str(error) if isinstance(error, ValueError) else type(error).__name__
    aside = path.replace(path.with_suffix(".damaged"))
    warnings.warn(f"checkpoint set aside as {aside} ({reason}): training restarts", stacklevel=2)
    return None


def remove(path: Path) -> None:
    """Delete the checkpoint, and the temporary files that a killed process may have left."""
    for left in [path, *path.parent.glob(f"{path.stem}.*.tmp")]:
        left.unlink(missing_ok=True)


def save_weights(path: Path, module: nn.Module, about: dict[str, str]) -> None:
    """Write the state of ``module`` to ``path`` as safetensors; ``about`` says where the weights come from."""
    state = {name: value.detach().cpu().contiguous() for name, value in module.state_dict().items()}
    text = json.dumps(about, sort_keys=True)  # one entry, because safetensors writes several in no fixed order
    _write(path, serialized(state, {"about": text}))


def load_weights(path: Path, module: nn.Module, about: dict[str, str]) -> None:
    """Read the file at ``path`` into ``module``. Raise ``CheckpointError`` unless its tensors and ``about`` match."""
    try:
        with safe_open(path, "pt") as file:
            found = json.loads((file.metadata() or {}).get("about", "{}"))
        if other := [name for name, value in about.items() if found.get(name) != value]:
            raise ValueError(f"{other[0]} is {found.get(other[0])}, expected {about[other[0]]}")
        module.load_state_dict(load_file(path))
    except Exception as error:  # safetensors and torch raise different exception types
        reason = " ".join(str(error).split())
        raise CheckpointError(
            f"weights {path} cannot be used ({reason}): delete the file to train them anew"
        ) from error


def _write(path: Path, *parts: bytes | memoryview) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole(path) as file:
            file.writelines(parts)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be written: {error.strerror or error}") from error
