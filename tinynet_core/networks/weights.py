"""Weights that libraries released, from files, or taken from a larger network.

Nothing in a file is run; a module changes as a whole or not at all.
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
# network, library, and what the library calls it: timm with the tag of the weights
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
"""Where checkpoints hold averaged weights and raw ones, as timm, torchvision and others name them."""
COUNTERS = ("n_averaged", "total_ops", "total_params")
"""Last names of tensors that averaging and counting tools leave in a state dict."""
_TIMEOUT = 5.0  # seconds until a server that does not answer counts as out of reach


class WeightsWarning(UserWarning):
    """What was chosen among a file's weights, or left aside."""


def load_weights(module: nn.Module, name: str, weights: str | Path) -> None:
    """Load ``weights`` into ``module``, the network called ``name``.

    ``weights`` is ``"timm"`` or ``"torchvision"`` for what that library released, kept in ``weights/`` of the cache
    folder, or a file: safetensors, or a state dict saved by torch, plain or in a checkpoint. Of averaged weights beside
    raw ones the averaged are taken; ``FILE#KEY`` names others, by their key or by what stands before the names of their
    tensors. A warning says what was chosen or left aside. Floating tensors take the module's precision.

    Raises ``UserError`` for weights that nobody released or that cannot be had, for a file that is damaged or holds
    more than tensors, and for tensors that are not this network's; the module is then unchanged.
    """
    path, tensors = _given(name, weights)
    own = module.state_dict()
    prefix = _prefix(own, tensors)
    outside = [k for k in tensors if not k.startswith(prefix)]
    kept = {k.removeprefix(prefix): x for k, x in tensors.items()}
    if reason := f"the network has no tensor {outside[0]!r}" if outside else _misfit(own, kept):
        raise UserError(f"weights file {path} does not fit {name}: {reason}")
    if prefix:
        said = f"weights file {path}: the prefix {prefix} of its names was left out"
        warnings.warn(said, WeightsWarning, stacklevel=2)
    module.load_state_dict(kept, strict=False)


def _given(name: str, weights: str | Path) -> tuple[Path, dict[str, Tensor]]:
    """The file that ``weights`` stands for, and its tensors."""
    path, key = Path(weights), ""
    if weights in LIBRARIES:
        path = released_file(name, str(weights))
    elif "#" in str(weights) and not path.exists():  # a file whose own name has a # is taken whole
        file, _, key = str(weights).rpartition("#")
        path = Path(file)
    return path, {k: x for k, x in read_tensors(path, key).items() if k.rpartition(".")[2] not in COUNTERS}


def _prefix(own: dict[str, Tensor], given: dict[str, Tensor]) -> str:
    """What stands before every name of the network in ``given``, such as ``module.`` or ``_orig_mod.``, if anything."""
    needed = [key for key in own if not key.endswith("num_batches_tracked")]
    found = (key.removesuffix(needed[0]) for key in given if key.endswith(f".{needed[0]}"))
    return next((x for x in found if all(x + key in given for key in needed)), "")


def released_file(name: str, library: str) -> Path:
    """The file with the weights that ``library`` released for the network called ``name``, downloaded where needed."""
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
        except Exception as error:  # a network, a proxy, a server and a disk each fail with types of their own
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            said = f"weights: {url} could not be downloaded ({reason}); save it as {kept} or give weights=FILE"
            raise UserError(said) from error
    return kept


def read_tensors(path: Path, key: str = "") -> dict[str, Tensor]:
    """The tensors in the file at ``path`` by name, on the CPU: those under ``key`` where it is given."""
    if not path.is_file():
        allowed = f"{', '.join(map(repr, LIBRARIES))} or a file"
        raise UserError(f"weights file {path} is not there, or is a folder; weights must be {allowed}")
    with path.open("rb") as file:
        safe = file.read(9)[8:] == b"{"  # with which the table of contents of safetensors begins
    try:  # the options of a training script are plain data
        with torch.serialization.safe_globals([argparse.Namespace]), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            loaded: Any = load_file(path) if safe else torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # both loaders raise many types for damaged files
        what = f"it is damaged, or no file of tensors ({type(error).__name__})"
        if "TorchScript" in str(error):
            what = "it is a TorchScript archive; save the state_dict() of that module instead"
        elif foreign := re.search(r"GLOBAL (\S+)", str(error)):
            what = f"it holds more than tensors, {foreign[1]}; save the state_dict() alone"
        raise UserError(f"weights file {path} refused: {what}") from error
    sets = {k: x for k, x in loaded.items() if _are_tensors(x)} if isinstance(loaded, dict) else {}
    known = [k for k in (*AVERAGED, *RAW) if k in sets]
    chosen = key if key in sets else next(iter(known), "")
    found = sets[chosen] if chosen else loaded
    if key and key not in sets:  # then it is what stands before the names of tensors
        found = {k: x for k, x in found.items() if str(k).startswith(f"{key}.")} if _are_tensors(found) else {}
        if not found:
            has = ", ".join(map(repr, sets)) or "one set of tensors"
            raise UserError(f"weights file {path} has no {key!r}, it has {has}")
    raw = [k for k in known if k in RAW]
    if raw and chosen in AVERAGED and not key:
        said = f"weights file {path}: its averaged weights, {chosen}, are taken; {path}#{raw[0]} takes the raw ones"
        warnings.warn(said, WeightsWarning, stacklevel=4)
    if not _are_tensors(found):
        has = f", it has {', '.join(map(str, found))[:200]}" if isinstance(found, dict) else ""
        has += f"; {path}#{next(iter(sets))} takes those" if sets else ""
        raise UserError(f"weights file {path} must hold a dict of tensors{has}")
    return {str(k): x for k, x in found.items()}


def _are_tensors(x: Any) -> bool:
    return isinstance(x, dict) and bool(x) and all(isinstance(value, Tensor) for value in x.values())


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


ALONE = ""  # the group of channels that nothing shares: images, and the classes


class Layer(NamedTuple):
    """``parts`` of a block, a convolution and its norm where it has one, which take channels ``into`` and give ``out``.

    These are groups of channels that are kept as a whole; a depthwise convolution takes none of another group.
    ``ours`` and ``theirs`` stand before the names of the parts in the smaller network and in the larger one.
    """

    ours: str
    theirs: str
    parts: tuple[str, ...]
    out: str
    into: str = ALONE


def write_inherited(small: Network, large: Network, weights: str | Path, out: Path) -> list[str]:
    """Write ``small`` with weights that ``inherited`` takes from a file of ``large``; returns which start anew."""
    check_target(out, (".safetensors",))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", WeightsWarning)  # building says it
        tensors = _given(large.name, weights)[1]
    classifier = next((x for k, x in tensors.items() if k.endswith(("classifier.weight", "fc.weight"))), None)
    if classifier is not None:  # the larger network may have other classes
        large = replace(large, num_classes=len(classifier))
    found, new = inherited(small, large, large.build(weights=weights).state_dict())
    both = small.build().state_dict() | found
    tensors = {key: tensor.clone(memory_format=torch.contiguous_format) for key, tensor in both.items()}
    with exported(out) as file:
        file.write(save(tensors))
    return new


def inherited(small: Network, large: Network, weights: dict[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """The tensors of ``small`` that come from the ``weights`` of ``large``, by name, and the names of the others.

    Channels are kept by the size of their batch-norm scale, summed over all layers that share them (Liu et al. 2017,
    "Network slimming"); those of a gate, which has no norm, by the L1 norm of their weights. Blocks are kept by
    position: the first of a stage is the first, the others are spread evenly over the others. Where the smaller network
    has a shortcut that the larger one has not, it starts as another function.

    Raises ``UserError`` unless both are EfficientNets or ResNets, and where the smaller network is wider somewhere.
    """
    kinds: dict[type, Any] = {EfficientNet: _efficientnet, ResNet: _resnet}
    if type(small) is not type(large) or type(small) not in kinds:
        raise UserError(f"weights can be taken over within EfficientNets and within ResNets, not by {small.name}")
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
            if tensor.shape == own[key].shape:  # else other classes
                found[key] = tensor.contiguous()
    return found, [key for key in own if key not in found]


def _channels(layers: list[Layer], own: dict[str, Tensor], weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Which channels of the larger network are kept of each group, in their order."""
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
            raise UserError(f"{group} has {n} channels, and the larger network {len(scores[group])}")
    return {group: score.topk(wanted[group]).indices.sort().values for group, score in scores.items()}


def _positions(small: int, large: int) -> Iterator[tuple[int, int]]:
    """Blocks of a stage, each with the one of the larger network that it is taken from, where there is one."""
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
