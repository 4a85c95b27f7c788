"""Released weights and weights from files. Nothing in a file is run; a module changes as a whole or not at all."""

import os
import pickle
import warnings
import zipfile
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import torch
import torchvision
from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url
from huggingface_hub.errors import LocalEntryNotFoundError
from safetensors.torch import load_file
from torch import Tensor, nn

from tinynet_core.files import UserError
from tinynet_core.machine import cache_root

LIBRARIES = ("timm", "torchvision")
# network, library, and a Hub repository for timm or the library's own name of the network for torchvision
RELEASED: dict[str, dict[str, str]] = {
    "tinynet_a": {"timm": "timm/tinynet_a.in1k"},
    "tinynet_b": {"timm": "timm/tinynet_b.in1k"},
    "tinynet_c": {"timm": "timm/tinynet_c.in1k"},
    "tinynet_d": {"timm": "timm/tinynet_d.in1k"},
    "tinynet_e": {"timm": "timm/tinynet_e.in1k"},
    "efficientnet_b0": {"timm": "timm/efficientnet_b0.ra_in1k"},
    "efficientnet_b1": {"timm": "timm/efficientnet_b1.ft_in1k"},
    "resnet18": {"timm": "timm/resnet18.tv_in1k", "torchvision": "resnet18"},
    "resnet34": {"timm": "timm/resnet34.tv_in1k", "torchvision": "resnet34"},
    "resnet50": {"timm": "timm/resnet50.tv_in1k", "torchvision": "resnet50"},
    "ghostnet_100": {"timm": "timm/ghostnet_100.in1k"},
    "mobilenetv2_100": {"timm": "timm/mobilenetv2_100.ra_in1k"},
    "mobilenetv2_050": {"timm": "timm/mobilenetv2_050.lamb_in1k"},
    "mnasnet_a1_100": {"timm": "timm/semnasnet_100.rmsp_in1k"},
    "mobilenetv3_small_050": {"timm": "timm/mobilenetv3_small_050.lamb_in1k"},
    "mobilenetv3_small_075": {"timm": "timm/mobilenetv3_small_075.lamb_in1k"},
    "mobilenetv3_small_100_128": {"timm": "timm/mobilenetv3_small_100.lamb_in1k"},
    "mobilenetv3_large_075": {"timm": "timm/tf_mobilenetv3_large_075.in1k"},
    "shufflenetv2_150": {"torchvision": "shufflenet_v2_x1_5"},
    "shufflenetv2_050": {"torchvision": "shufflenet_v2_x0_5"},
}
_HUB_FILE = "model.safetensors"
_TIMEOUT = 5.0  # seconds until a server that does not answer counts as out of reach


def load_weights(module: nn.Module, name: str, weights: str | Path) -> None:
    """Load ``weights`` into ``module``, the network called ``name``.

    ``weights`` is ``"timm"`` or ``"torchvision"`` for what that library released, taken from ``weights/`` in the cache
    folder where it lies there and downloaded otherwise, or a file: safetensors, or a state dict saved by torch, plain
    or under the key ``state_dict`` or ``model``. Floating tensors of any precision become those of the module.

    Raises ``UserError`` for weights that nobody released or that cannot be had, for a file that is damaged or holds
    more than tensors, and for tensors that are not this network's; the module is then unchanged.
    """
    if not isinstance(weights, str | os.PathLike):
        raise UserError(f"weights must be {_allowed()}, got {weights!r}")
    path = released_file(name, weights) if weights in LIBRARIES else Path(weights)
    pairs = _fit(module, name, read_tensors(path), path)
    with torch.no_grad():
        for target, tensor in pairs:
            target.copy_(tensor)


def released_file(name: str, library: str) -> Path:
    """The file with the weights that ``library`` released for the network called ``name``, downloaded where needed.

    Raises ``UserError`` when there are none, or when they cannot be had.
    """
    known = RELEASED.get(name, {})
    if library not in known:
        who = f"{library} released none for {name}" if known else f"no library released weights for {name}"
        raise UserError(f"weights={library!r}: {who}; allowed: {' or '.join([*map(repr, known), 'a file'])}")
    if library == "timm":
        return _from_hub(known["timm"])
    return _from_torchvision(known["torchvision"])


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors in the file at ``path`` by name, on the CPU, without a prefix ``module.`` that all names share.

    Raises ``UserError`` unless it is a whole file that holds tensors and nothing else.
    """
    try:
        if not path.is_file():
            what = "is a folder" if path.is_dir() else "is not there" if not path.exists() else "is not a plain file"
            raise UserError(f"weights file {path} {what}; weights must be {_allowed()}")
        if not path.stat().st_size:
            raise UserError(f"weights file {path} is empty")
        loaded = load_file(path) if path.suffix.lower() == ".safetensors" else _unpickled(path)
    except UserError:
        raise
    except OSError as error:
        raise UserError(f"weights file {path} cannot be read: {error.strerror or error}") from error
    except pickle.UnpicklingError as error:
        what = "it holds Python objects, not only tensors, or is damaged"
        raise UserError(f"weights file {path} refused: {what}") from error
    except Exception as error:  # both loaders raise many types for damaged files
        raise UserError(f"weights file {path} is damaged or no file of tensors ({type(error).__name__})") from error
    return _tensors_of(loaded, path)


def _unpickled(path: Path) -> Any:
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if any(x.compress_type != zipfile.ZIP_STORED for x in archive.infolist()):
                raise UserError(f"weights file {path} refused: it is compressed, which torch never does")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.load(path, map_location="cpu", weights_only=True)


def _tensors_of(loaded: Any, path: Path) -> dict[str, Tensor]:
    if isinstance(loaded, dict):
        loaded = next((loaded[key] for key in ("state_dict", "model") if isinstance(loaded.get(key), dict)), loaded)
    if not isinstance(loaded, dict) or not loaded:
        what = "nothing" if loaded == {} else f"a {type(loaded).__name__}"
        raise UserError(f"weights file {path} must hold a dict of tensors, got {what}")
    for key, value in loaded.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            raise UserError(f"weights file {path} must hold tensors by name, {key!r} is a {type(value).__name__}")
        if value.layout != torch.strided or value.device.type != "cpu" or value.is_quantized or value.is_nested:
            raise UserError(f"weights file {path} must hold dense tensors, {key!r} is not one")
    prefix = "module." if all(key.startswith("module.") for key in loaded) else ""
    return {key.removeprefix(prefix): value for key, value in loaded.items()}


def _fit(module: nn.Module, name: str, tensors: dict[str, Tensor], path: Path) -> list[tuple[Tensor, Tensor]]:
    """Each tensor of ``module`` beside what replaces it; ``UserError`` names the first that does not fit."""
    own = module.state_dict()
    pairs = []
    for key, target in own.items():
        if key not in tensors and key.endswith("num_batches_tracked"):
            continue
        where = f"weights file {path} does not fit {name}: tensor {key!r}"
        if key not in tensors:
            raise UserError(f"{where} is missing")
        given = tensors[key]
        if given.shape != target.shape:
            raise UserError(f"{where} has shape {tuple(given.shape)} in the file, {tuple(target.shape)} in the network")
        if given.is_floating_point() != target.is_floating_point() or given.is_complex():
            raise UserError(f"{where} is of {given.dtype} in the file, {target.dtype} in the network")
        tensor = given.to(target.dtype)
        if not torch.isfinite(tensor).all():
            raise UserError(f"weights file {path}: tensor {key!r} holds values that are not finite in {target.dtype}")
        pairs.append((target, tensor))
    if extra := [key for key in tensors if key not in own]:
        raise UserError(f"weights file {path} does not fit {name}: the network has no tensor {extra[0]!r}")
    return pairs


def _from_hub(repository: str) -> Path:
    kept = _kept(f"{repository.rpartition('/')[2]}.safetensors")
    if kept.exists():
        return kept
    try:
        try:
            return Path(hf_hub_download(repository, _HUB_FILE, local_files_only=True))
        except LocalEntryNotFoundError:
            get_hf_file_metadata(hf_hub_url(repository, _HUB_FILE), timeout=_TIMEOUT)  # fails at once, without retries
            return Path(hf_hub_download(repository, _HUB_FILE))
    except Exception as error:  # a network, a proxy, a server and a disk each fail with types of their own
        raise _not_had(f"{_HUB_FILE} of the Hub repository {repository}", kept, error) from error


def _from_torchvision(entry: str) -> Path:
    url = torchvision.models.get_model_weights(entry).IMAGENET1K_V1.url
    kept = _kept(url.rpartition("/")[2])
    if kept.exists():
        return kept
    try:
        urlopen(Request(url, method="HEAD"), timeout=_TIMEOUT).close()
        kept.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(kept), hash_prefix=kept.stem.rpartition("-")[2])
    except Exception as error:  # as above, and a file with another hash
        raise _not_had(f"{kept.name} of torchvision", kept, error) from error
    return kept


def _kept(file: str) -> Path:
    return cache_root().absolute() / "weights" / file


def _not_had(what: str, kept: Path, error: Exception) -> UserError:
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    return UserError(f"weights: {what} could not be downloaded ({reason}); save it as {kept} or give weights=FILE")


def _allowed() -> str:
    return f"{', '.join(map(repr, LIBRARIES))} or a file"
