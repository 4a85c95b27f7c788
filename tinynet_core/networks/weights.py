"""Released weights and weights from files. Nothing in a file is run; a module changes as a whole or not at all."""

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
_ALLOWED = f"{', '.join(map(repr, LIBRARIES))} or a file"
_TIMEOUT = 5.0  # seconds until a server that does not answer counts as out of reach


def load_weights(module: nn.Module, name: str, weights: str | Path) -> None:
    """Load ``weights`` into ``module``, the network called ``name``.

    ``weights`` is ``"timm"`` or ``"torchvision"`` for what that library released, taken from ``weights/`` in the cache
    folder and downloaded to it where needed, or a file: safetensors, or a state dict saved by torch, plain or under the
    key ``state_dict`` or ``model``. Floating tensors of any precision become those of the module.

    Raises ``UserError`` for weights that nobody released or that cannot be had, for a file that is damaged or holds
    more than tensors, and for tensors that are not this network's; the module is then unchanged.
    """
    path = released_file(name, str(weights)) if weights in LIBRARIES else Path(weights)
    tensors = read_tensors(path)
    if reason := _misfit(module.state_dict(), tensors):
        raise UserError(f"weights file {path} does not fit {name}: {reason}")
    module.load_state_dict(tensors, strict=False)


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


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors in the file at ``path`` by name, on the CPU, without a prefix ``module.`` that all names share.

    Raises ``UserError`` unless it is a whole file that holds tensors and nothing else.
    """
    if not path.is_file():
        raise UserError(f"weights file {path} is not there; weights must be {_ALLOWED}")
    try:
        if path.suffix.lower() == ".safetensors":
            loaded: Any = load_file(path)
        else:
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # both loaders raise many types for damaged files
        what = f"it is damaged, or holds more than tensors ({type(error).__name__})"
        raise UserError(f"weights file {path} refused: {what}") from error
    if isinstance(loaded, dict):
        loaded = next((loaded[key] for key in ("state_dict", "model") if isinstance(loaded.get(key), dict)), loaded)
    if not isinstance(loaded, dict) or not all(isinstance(x, Tensor) for x in loaded.values()):
        raise UserError(f"weights file {path} must hold a dict of tensors")
    prefix = "module." if all(str(key).startswith("module.") for key in loaded) else ""
    return {str(key).removeprefix(prefix): value for key, value in loaded.items()}


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
