"""Released weights and weights from files. Nothing in a file is run; a module changes as a whole or not at all."""

import argparse
import re
import warnings
import zipfile
from functools import partial
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import torch
import torchvision
from huggingface_hub import hf_hub_url
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
AVERAGED = ("state_dict_ema", "model_ema", "ema_state_dict", "ema_model", "ema")
RAW = ("state_dict", "model", "model_state_dict", "net", "network")
"""Where checkpoints hold averaged weights and raw ones, as timm, torchvision and others name them."""
COUNTERS = ("n_averaged", "total_ops", "total_params")
"""Last names of tensors that averaging and counting tools leave in a state dict."""
_ALLOWED = f"{', '.join(map(repr, LIBRARIES))} or a file"
_TIMEOUT = 5.0  # seconds until a server that does not answer counts as out of reach


class WeightsWarning(UserWarning):
    """What was chosen among a file's weights, or left aside."""


def load_weights(module: nn.Module, name: str, weights: str | Path) -> None:
    """Load ``weights`` into ``module``, the network called ``name``.

    ``weights`` is ``"timm"`` or ``"torchvision"`` for what that library released, taken from ``weights/`` in the cache
    folder and downloaded to it where needed, or a file: safetensors, or a state dict saved by torch, plain or in a
    checkpoint. Of a checkpoint with averaged weights beside raw ones the averaged are taken; ``FILE#KEY`` names others,
    by their key or by what stands before the names of their tensors.
    Floating tensors of any precision become those of the module. What was chosen or left aside is said in a warning.

    Raises ``UserError`` for weights that nobody released or that cannot be had, for a file that is damaged or holds
    more than tensors, and for tensors that are not this network's; the module is then unchanged.
    """
    path, key = (released_file(name, str(weights)), "") if weights in LIBRARIES else _file_and_key(weights)
    tensors, own = read_tensors(path, key), module.state_dict()
    prefix = _prefix(own, tensors)
    inside = {k.removeprefix(prefix): x for k, x in tensors.items() if k.startswith(prefix)}
    kept = {k: x for k, x in inside.items() if k.rpartition(".")[2] not in COUNTERS}
    outside = [k for k in tensors if not k.startswith(prefix) and k.rpartition(".")[2] not in COUNTERS]
    if reason := f"the network has no tensor {outside[0]!r}" if outside else _misfit(own, kept):
        raise UserError(f"weights file {path} does not fit {name}: {reason}")
    if prefix:
        warnings.warn(
            f"weights file {path}: the prefix {prefix} of its names was left out", WeightsWarning, stacklevel=2
        )
    module.load_state_dict(kept, strict=False)


def _file_and_key(weights: str | Path) -> tuple[Path, str]:
    """``FILE#KEY`` in two; a file whose own name has a # is taken whole."""
    file, mark, key = str(weights).rpartition("#")
    return (Path(weights), "") if Path(weights).exists() or not mark else (Path(file), key)


def _prefix(own: dict[str, Tensor], given: dict[str, Tensor]) -> str:
    """What stands before every name of the network in ``given``, such as ``module.`` or ``_orig_mod.``, if anything."""
    needed = [key for key in own if not key.endswith("num_batches_tracked")]
    first = needed[0] if needed else ""
    found = (key[: len(key) - len(first)] for key in given if key.endswith(f".{first}"))
    return next((x for x in found if all(x + key in given for key in needed)), "")


def released_file(name: str, library: str) -> Path:
    """The file with the weights that ``library`` released for the network called ``name``, downloaded where needed.

    Raises ``UserError`` when there are none, or when they cannot be had.
    """
    known = RELEASED.get(name, {})
    if library not in known:
        who = f"{library} released none for {name}" if known else f"no library released weights for {name}"
        raise UserError(f"weights={library!r}: {who}; allowed: {' or '.join([*map(repr, known), 'a file'])}")
    digest = None
    if library == "timm":
        url = hf_hub_url(known["timm"], "model.safetensors")
        file = f"{known['timm'].rpartition('/')[2]}.safetensors"
    else:
        url = torchvision.models.get_model_weights(known["torchvision"]).IMAGENET1K_V1.url
        file = url.rpartition("/")[2]
        digest = Path(file).stem.rpartition("-")[2]
    kept = cache_root().absolute() / "weights" / file
    if not kept.exists():
        try:
            urlopen(Request(url, method="HEAD"), timeout=_TIMEOUT).close()
            kept.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(url, str(kept), hash_prefix=digest)
        except Exception as error:  # a network, a proxy, a server and a disk each fail with types of their own
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise UserError(
                f"weights: {url} could not be downloaded ({reason}); save it as {kept} or give weights=FILE"
            ) from error
    return kept


def read_tensors(path: Path, key: str = "") -> dict[str, Tensor]:
    """The tensors in the file at ``path`` by name, on the CPU: those under ``key`` where it is given.

    Raises ``UserError`` unless it is a whole file that holds tensors and nothing else, or a checkpoint that has them
    under a key.
    """
    if not path.is_file():
        lack = "is a folder" if path.is_dir() else "is not there"
        raise UserError(f"weights file {path} {lack}; weights must be {_ALLOWED}")
    if not path.stat().st_size:
        raise UserError(f"weights file {path} is empty")
    try:
        if _is_torchscript(path):
            raise UserError("it is a TorchScript archive; save the state_dict() of that module instead")
        load = load_file if _is_safetensors(path) else partial(torch.load, map_location="cpu", weights_only=True)
        with torch.serialization.safe_globals([argparse.Namespace]):  # the options of the training script, plain data
            loaded: Any = load(path)
    except UserError as error:
        raise UserError(f"weights file {path} refused: {error}") from None
    except Exception as error:  # both loaders raise many types for damaged files
        foreign = re.search(r"GLOBAL (\S+)", str(error))
        what = f"it is damaged, or no file of tensors ({type(error).__name__})"
        if foreign:
            what = f"it holds more than tensors, {foreign[1]}; save the state_dict() alone"
        raise UserError(f"weights file {path} refused: {what}") from error
    sets = {k: x for k, x in loaded.items() if _are_tensors(x)} if isinstance(loaded, dict) else {}
    averaged, raw = ([k for k in keys if k in sets] for keys in (AVERAGED, RAW))
    flat = sets[next(iter([*averaged, *raw]))] if averaged or raw else loaded
    if key and key not in sets and _are_tensors(flat) and any(str(k).startswith(f"{key}.") for k in flat):
        return {str(k): x for k, x in flat.items() if str(k).startswith(f"{key}.")}
    if key and key not in sets:
        raise UserError(
            f"weights file {path} has no {key!r}, it has {', '.join(map(repr, sets)) or 'one set of tensors'}"
        )
    chosen = key or next(iter([*averaged, *raw]), "")
    if averaged and raw and not key:
        said = f"weights file {path}: its averaged weights, {chosen}, are taken; {path}#{raw[0]} takes the raw ones"
        warnings.warn(said, WeightsWarning, stacklevel=3)
    loaded = sets[chosen] if chosen else loaded
    if not _are_tensors(loaded) and loaded != {}:
        has = f", it has {', '.join(map(str, loaded))[:200]}" if isinstance(loaded, dict) else ""
        has += f"; {path}#{next(iter(sets))} takes those" if sets else ""
        raise UserError(f"weights file {path} must hold a dict of tensors{has}")
    return {str(k): x for k, x in loaded.items()}


def _are_tensors(x: Any) -> bool:
    return isinstance(x, dict) and bool(x) and all(isinstance(value, Tensor) for value in x.values())


def _is_safetensors(path: Path) -> bool:
    """Whether a file is meant to be one, by its suffix or by its ninth byte, with which a table of contents begins."""
    with path.open("rb") as file:
        return path.suffix.lower() == ".safetensors" or file.read(9)[8:] == b"{"


def _is_torchscript(path: Path) -> bool:
    return zipfile.is_zipfile(path) and any("/code/" in name for name in zipfile.ZipFile(path).namelist())


def _misfit(own: dict[str, Tensor], given: dict[str, Tensor]) -> str | None:
    """What keeps the tensors ``given`` from being those of a network, if anything does."""
    for key in [*own, *given]:
        if key not in own:
            return f"the network has no tensor {key!r}"
        if key not in given:
            if not key.endswith("num_batches_tracked"):
                return f"tensor {key!r} is missing"
        elif given[key].shape != own[key].shape:
            return f"tensor {key!r} has shape {tuple(given[key].shape)}, not {tuple(own[key].shape)}"
        elif given[key].dtype.is_floating_point != own[key].dtype.is_floating_point:
            return f"tensor {key!r} is of {given[key].dtype}, not {own[key].dtype}"
        elif not torch.isfinite(given[key].to(own[key].dtype)).all():
            return f"tensor {key!r} holds values that are not finite in {own[key].dtype}"
    return None
