"""Load weights from a library's release or a file, or take weights over from a larger network.

No code in a file is run. Loading replaces all weights of a module or none.
"""

import argparse
import re
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple
from urllib.request import Request, urlopen

import torch
import torchvision
from huggingface_hub import hf_hub_url
from safetensors.torch import load_file, save
from torch import Tensor, nn

from tinynet_core.files import UserError, check_target, exported
from tinynet_core.machine import cache_root
from tinynet_core.networks.efficientnet import EfficientNet
from tinynet_core.networks.resnet import ResNet
from tinynet_core.networks.spec import Network

LIBRARIES = ("timm", "torchvision")
# network, library, and the name of the network in the library (for timm with the tag of the weights)
RELEASED: dict[str, dict[str, str]] = {
    **{f"tinynet_{x}": {"timm": f"tinynet_{x}.in1k"} for x in "abcde"},
    "efficientnet_b0": {"timm": "efficientnet_b0.ra_in1k"},
    "efficientnet_b1": {"timm": "efficientnet_b1.ft_in1k"},
    **{f"resnet{n}": {"timm": f"resnet{n}.tv_in1k", "torchvision": f"resnet{n}"} for n in (18, 34, 50)},
    "ghostnet_100": {"timm": "ghostnet_100.in1k"},
    "mobilenetv2_100": {"timm": "mobilenetv2_100.ra_in1k"},
    "mobilenetv2_050": {"timm": "mobilenetv2_050.lamb_in1k"},
    "mnasnet_a1_100": {"timm": "semnasnet_100.rmsp_in1k"},
    "mobilenetv3_small_050": {"timm": "mobilenetv3_small_050.lamb_in1k"},
    "mobilenetv3_small_075": {"timm": "mobilenetv3_small_075.lamb_in1k"},
    "mobilenetv3_small_100_128": {"timm": "mobilenetv3_small_100.lamb_in1k"},
    "mobilenetv3_large_075": {"timm": "tf_mobilenetv3_large_075.in1k"},
    "shufflenetv2_150": {"torchvision": "shufflenet_v2_x1_5"},
    "shufflenetv2_050": {"torchvision": "shufflenet_v2_x0_5"},
}
AVERAGED = ("state_dict_ema", "model_ema", "ema_state_dict", "ema_model", "ema")
RAW = ("state_dict", "model", "model_state_dict", "net", "network")
"""Keys of raw weights in a checkpoint, as timm, torchvision and others name them; ``AVERAGED`` for averaged weights."""
COUNTERS = ("n_averaged", "total_ops", "total_params")
"""Last part of the names of extra tensors that averaging and counting tools leave in a state dict."""
_TIMEOUT = 5.0  # seconds to wait for the answer of a server


class WeightsWarning(UserWarning):
    """Only some of the weights in a file were loaded, or their names were changed."""


def load_weights(module: nn.Module, name: str, weights: str | Path) -> None:
    """Load ``weights`` into ``module``, the network called ``name``.

    ``weights`` is ``"timm"`` or ``"torchvision"`` for the library's released weights, kept in ``weights/`` of the cache
    folder. Or it is a file: safetensors, or a state dict saved by torch, plain or in a checkpoint. If a file holds
    averaged and raw weights, the averaged are loaded. ``FILE#KEY`` selects others by their key or by the prefix of the
    tensor names. A warning says what was chosen or ignored. Floating-point tensors take the module's precision.

    Raises ``UserError`` if the library released no such weights, a download fails, a file is damaged or holds more than
    tensors, or the tensors do not fit the network. The module is then unchanged.
    """
    path, tensors = _given(name, weights)
    own = module.state_dict()
    prefix = _prefix(own, tensors)
    outside = [k for k in tensors if not k.startswith(prefix)]
    kept = {k.removeprefix(prefix): x for k, x in tensors.items()}
    if reason := f"the network has no tensor {outside[0]!r}" if outside else _misfit(own, kept):
        raise UserError(f"weights file {path} does not fit {name}: {reason}")
    if prefix:
        said = f"weights file {path}: the prefix {prefix} of its tensor names was removed"
        warnings.warn(said, WeightsWarning, stacklevel=2)
    module.load_state_dict(kept, strict=False)


def _given(name: str, weights: str | Path) -> tuple[Path, dict[str, Tensor]]:
    """Return the file that ``weights`` names, and its tensors."""
    path, key = Path(weights), ""
    if weights in LIBRARIES:
        path = released_file(name, str(weights))
    elif "#" in str(weights) and not path.exists():  # in the name of an existing file, # separates no key
        file, _, key = str(weights).rpartition("#")
        path = Path(file)
    return path, {k: x for k, x in read_tensors(path, key).items() if k.rpartition(".")[2] not in COUNTERS}


def _prefix(own: dict[str, Tensor], given: dict[str, Tensor]) -> str:
    """Return the prefix of the network's tensor names in ``given``, such as ``module.`` or ``_orig_mod.``, if any."""
    needed = [key for key in own if not key.endswith("num_batches_tracked")]
    found = (key.removesuffix(needed[0]) for key in given if key.endswith(f".{needed[0]}"))
    return next((x for x in found if all(x + key in given for key in needed)), "")


def released_file(name: str, library: str) -> Path:
    """Return the file of the weights that ``library`` released for the network ``name``. Download it if needed."""
    known = RELEASED.get(name, {})
    if library not in known:
        allowed = " or ".join([*map(repr, known), "a file"])
        raise UserError(f"weights={library!r}: {library} released none for {name}; allowed: {allowed}")
    entry, digest = known[library], None
    if library == "timm":
        url, file = hf_hub_url(f"timm/{entry}", "model.safetensors"), f"{entry}.safetensors"
    else:
        url = torchvision.models.get_model_weights(entry).IMAGENET1K_V1.url
        file = url.rpartition("/")[2]
        digest = Path(file).stem.rpartition("-")[2]
    kept = cache_root().absolute() / "weights" / file
    if not kept.exists():
        try:
            urlopen(Request(url, method="HEAD"), timeout=_TIMEOUT).close()
            kept.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(url, str(kept), hash_prefix=digest)
        except Exception as error:  # a network, a proxy, a server and a disk each raise different types
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            said = f"weights: {url} could not be downloaded ({reason}); save it as {kept} or give weights=FILE"
            raise UserError(said) from error
    return kept


def read_tensors(path: Path, key: str = "") -> dict[str, Tensor]:
    """Return the tensors in the file at ``path`` by name, on the CPU; with ``key``, only the tensors under this key."""
    if not path.is_file():
        allowed = f"{', '.join(map(repr, LIBRARIES))} or a file"
        raise UserError(f"weights file {path} is not there, or is a folder; weights must be {allowed}")
    with path.open("rb") as file:
        safe = file.read(9)[8:] == b"{"  # the header of a safetensors file begins here
    try:  # the Namespace of a training script's options is plain data
        with torch.serialization.safe_globals([argparse.Namespace]), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            loaded: Any = load_file(path) if safe else torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # both loaders raise many types for damaged files
        what = f"it is damaged, or is not a file of tensors ({type(error).__name__})"
        if "TorchScript" in str(error):
            what = "it is a TorchScript archive; save the state_dict() of that module instead"
        elif foreign := re.search(r"GLOBAL (\S+)", str(error)):
            what = f"it holds more than tensors, {foreign[1]}; save the state_dict() alone"
        raise UserError(f"weights file {path} refused: {what}") from error
    sets = {k: x for k, x in loaded.items() if _are_tensors(x)} if isinstance(loaded, dict) else {}
    known = [k for k in (*AVERAGED, *RAW) if k in sets]
    chosen = key if key in sets else next(iter(known), "")
    found = sets[chosen] if chosen else loaded
    if key and key not in sets:  # then it is a prefix of tensor names
        found = {k: x for k, x in found.items() if str(k).startswith(f"{key}.")} if _are_tensors(found) else {}
        if not found:
            has = ", ".join(map(repr, sets)) or "one set of tensors"
            raise UserError(f"weights file {path} has no {key!r}, it has {has}")
    raw = [k for k in known if k in RAW]
    if raw and chosen in AVERAGED and not key:
        said = f"weights file {path}: its averaged weights, {chosen}, are loaded; {path}#{raw[0]} loads the raw ones"
        warnings.warn(said, WeightsWarning, stacklevel=4)
    if not _are_tensors(found):
        has = f", it has {', '.join(map(str, found))[:200]}" if isinstance(found, dict) else ""
        has += f"; {path}#{next(iter(sets))} loads these" if sets else ""
        raise UserError(f"weights file {path} must hold a dict of tensors{has}")
    return {str(k): x for k, x in found.items()}


def _are_tensors(x: Any) -> bool:
    return isinstance(x, dict) and bool(x) and all(isinstance(value, Tensor) for value in x.values())


def _misfit(own: dict[str, Tensor], given: dict[str, Tensor]) -> str | None:
    """Return the reason why the tensors ``given`` do not fit the network's own, or None if they fit."""
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


ALONE = ""  # in place of a group: all channels are kept, as those of images and classes


class Layer(NamedTuple):
    """A convolution and its norm, if any (``parts``), from the channel group ``into`` to the channel group ``out``.

    All layers that share a group keep the same channels. A depthwise convolution has no group ``into``.
    ``ours`` and ``theirs`` are the prefixes of the names of the parts in the smaller and in the larger network.
    """

    ours: str
    theirs: str
    parts: tuple[str, ...]
    out: str
    into: str = ALONE


def write_inherited(small: Network, large: Network, weights: str | Path, out: Path) -> list[str]:
    """Write the weights of ``small`` that ``inherited`` gives. Return the names of the tensors that start anew."""
    check_target(out, (".safetensors",))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", WeightsWarning)  # large.build below warns of the same
        tensors = _given(large.name, weights)[1]
    classifier = next((x for k, x in tensors.items() if k.endswith(("classifier.weight", "fc.weight"))), None)
    if classifier is not None:  # the weights may be for another number of classes
        large = replace(large, num_classes=len(classifier))
    found, new = inherited(small, large, large.build(weights=weights).state_dict())
    both = small.build().state_dict() | found
    tensors = {key: tensor.clone(memory_format=torch.contiguous_format) for key, tensor in both.items()}
    with exported(out) as file:
        file.write(save(tensors))
    return new


def inherited(small: Network, large: Network, weights: dict[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """Return the tensors of ``small`` taken from the ``weights`` of ``large``, by name, and the names of all others.

    Channels are kept by the size of their batch-norm scale, summed over all layers that share them (Liu et al. 2017,
    "Network slimming"). A gate has no norm: its channels are kept by the L1 norm of their weights. Blocks are kept by
    position: the first block of a stage stays the first, and the others are spread evenly over the larger stage's
    others. If only ``small`` has a shortcut somewhere, it starts as a different function than ``large``.

    Raises ``UserError`` unless both are EfficientNets or both ResNets, or if ``small`` is wider somewhere.
    """
    kinds: dict[type, Any] = {EfficientNet: _efficientnet, ResNet: _resnet}
    if type(small) is not type(large) or type(small) not in kinds:
        raise UserError(f"weights are taken over only between two EfficientNets or two ResNets, not by {small.name}")
    layers, own = list(kinds[type(small)](small, large)), small.build().state_dict()
    kept, found = _channels(layers, own, weights), {}
    for layer in layers:
        names = [layer.ours + part for part in layer.parts]
        for key in (key for key in own if key.rpartition(".")[0] in names):
            tensor = weights[layer.theirs + key.removeprefix(layer.ours)]
            if tensor.ndim and layer.out:
                tensor = tensor[kept[layer.out]]
            if tensor.ndim > 1 and layer.into:
                tensor = tensor[:, kept[layer.into]]
            if tensor.shape == own[key].shape:  # false for a classifier of other classes
                found[key] = tensor.contiguous()
    return found, [key for key in own if key not in found]


def _channels(layers: list[Layer], own: dict[str, Tensor], weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the indices of the larger network's channels that each group keeps, in ascending order."""
    scores: dict[str, Any] = {}
    wanted: dict[str, int] = {}
    normed = {layer.out for layer in layers if len(layer.parts) > 1}
    for layer in layers:
        if len(layer.parts) > 1 or layer.out not in (*normed, ALONE):
            last = f"{layer.parts[-1]}.weight"
            size = weights[layer.theirs + last].abs()
            scores[layer.out] = scores.get(layer.out, 0) + size.reshape(len(size), -1).sum(1)
            wanted[layer.out] = len(own[layer.ours + last])
    for group, n in wanted.items():
        if n > len(scores[group]):
            raise UserError(f"{group} has {n} channels, but only {len(scores[group])} in the larger network")
    return {group: score.topk(wanted[group]).indices.sort().values for group, score in scores.items()}


def _positions(small: int, large: int) -> Iterator[tuple[int, int]]:
    """Yield each block of a stage that is taken over, with the block of the larger network that it comes from."""
    yield 0, 0
    for j in range(1, small if large > 1 else 1):
        yield j, 1 + (j - 1) * (large - 1) // (small - 1)


def _efficientnet(small: EfficientNet, large: EfficientNet) -> Iterator[Layer]:
    yield Layer("", "", ("conv_stem", "bn1"), "stem")
    into = "stem"
    for i, (ours, theirs) in enumerate(zip(small.stages, large.stages, strict=True)):
        for j, k in _positions(ours.repeats, theirs.repeats):
            at, out, gate = (f"blocks.{i}.{j}.", f"blocks.{i}.{k}."), f"stage {i}", f"gate of block {i}.{j}"
            if ours.kind == "ir":
                inside = f"inside block {i}.{j}"
                yield Layer(*at, ("conv_pw", "bn1"), inside, into)
                yield Layer(*at, ("conv_dw", "bn2"), inside)
                yield Layer(*at, ("conv_pwl", "bn3"), out, inside)
            else:
                inside = into
                yield Layer(*at, ("conv_dw", "bn1"), inside)
                yield Layer(*at, ("conv_pw", "bn2"), out, inside)
            if ours.squeeze:
                yield Layer(*at, ("se.conv_reduce",), gate, inside)
                yield Layer(*at, ("se.conv_expand",), inside, gate)
            into = out
    if small.head:
        yield Layer("", "", ("conv_head", "bn2"), "head", into)
        into = "head"
    yield Layer("", "", ("classifier",), ALONE, into)


def _resnet(small: ResNet, large: ResNet) -> Iterator[Layer]:
    yield Layer("", "", ("conv1", "bn1"), "stem")
    into = "stem"
    for i, (ours, theirs) in enumerate(zip(small.stages, large.stages, strict=True), 1):
        shortcut, own = (x.stride != 1 or x.c_in != x.c_out for x in (theirs, ours))
        out, last = f"layer {i}" if shortcut or own else "stem", 3 if ours.bottleneck else 2
        for j, k in _positions(ours.repeats, theirs.repeats):
            at = f"layer{i}.{j}.", f"layer{i}.{k}."
            groups = [into, *(f"inside layer {i}.{j}.{n}" for n in range(1, last)), out]
            for n in range(1, last + 1):
                yield Layer(*at, (f"conv{n}", f"bn{n}"), groups[n], groups[n - 1])
            if j == 0 and shortcut and own:
                yield Layer(*at, ("downsample.0", "downsample.1"), out, into)
            into = out
    yield Layer("", "", ("fc",), ALONE, into)
