"""The weights of a smaller network taken from those of a larger one of its family, as a start for fine-tuning.

Channels are kept by the size of their batch-norm scale, summed over all layers that share them (Liu et al. 2017,
"Network slimming"); those of a gate, which has no norm, by the L1 norm of their weights. Blocks are kept by position:
the first of a stage is the first, the others are spread evenly over the others.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from safetensors.torch import save
from torch import Tensor

from tinynet_core.files import UserError, check_target, exported
from tinynet_core.networks.efficientnet import EfficientNet, Stage
from tinynet_core.networks.resnet import ResNet
from tinynet_core.networks.spec import Network

ALONE = ""
"""The group of channels that nothing shares: images, and the classes."""


class Layer(NamedTuple):
    """A layer by its ``name`` in the smaller network and in the ``larger`` one, and the groups of channels it links.

    A group is kept as a whole: by every layer that gives ``out`` or takes ``into`` it. ``norm`` says that this is a
    batch norm of ``out``, whose scale counts; ``deep`` that a convolution has a channel for each of its own.
    """

    name: str
    larger: str
    out: str
    into: str = ALONE
    norm: bool = False
    deep: bool = False


def write_inherited(small: Network, large: Network, weights: str | Path, out: Path) -> list[str]:
    """Write a safetensors file with the weights of ``small``, as ``inherited`` takes them from a file of ``large``.

    Returns the names of the tensors that start anew. Raises ``UserError`` as ``inherited`` and ``load_weights`` do.
    """
    check_target(out, (".safetensors",))
    found, new = inherited(small, large, large.build(weights=weights).state_dict())
    tensors = {key: tensor.contiguous() for key, tensor in (small.build().state_dict() | found).items()}
    with exported(out) as file:
        file.write(save(tensors))
    return new


def inherited(small: Network, large: Network, weights: dict[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """The tensors of ``small`` that come from the ``weights`` of ``large``, by name, and the names of the others.

    Where the smaller network has a shortcut that the larger one has not, it starts as another function.

    Raises ``UserError`` for two families, for a family whose channels are not known here, and where the smaller network
    is wider somewhere.
    """
    kinds: dict[type, Any] = {EfficientNet: _efficientnet, ResNet: _resnet}
    if type(small) is not type(large) or type(small) not in kinds:
        raise UserError(f"weights can be taken over within EfficientNets and within ResNets, not by {small.name}")
    layers, own = list(kinds[type(small)](small, large)), small.build().state_dict()
    kept = _channels(layers, own, weights)
    found = {}
    for layer in layers:
        for key in (key for key in own if key.rpartition(".")[0] == layer.name):
            tensor = weights[f"{layer.larger}.{key.rpartition('.')[2]}"]
            if tensor.ndim and layer.out:
                tensor = tensor[kept[layer.out]]
            if tensor.ndim > 1 and layer.into and not layer.deep:
                tensor = tensor[:, kept[layer.into]]
            if tensor.shape == own[key].shape:  # else other classes
                found[key] = tensor.contiguous()
    return found, [key for key in own if key not in found]


def _channels(layers: list[Layer], own: dict[str, Tensor], weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Which channels of the larger network are kept of each group, in their order."""
    scores: dict[str, Any] = {}
    wanted: dict[str, int] = {}
    normed = {layer.out for layer in layers if layer.norm}
    for layer in layers:
        if layer.norm or layer.out not in (*normed, ALONE):
            size = weights[f"{layer.larger}.weight"].abs()
            scores[layer.out] = scores.get(layer.out, 0) + (size if layer.norm else size.flatten(1).sum(1))
            wanted[layer.out] = len(own[f"{layer.name}.weight"])
    for group, n in wanted.items():
        if n > len(scores[group]):
            raise UserError(f"{group} has {n} channels, and the larger network {len(scores[group])}")
    return {group: score.topk(wanted[group]).indices.sort().values for group, score in scores.items()}


def _positions(small: int, large: int) -> Iterator[tuple[int, int]]:
    """Blocks of a stage, each with the one of the larger network that it is taken from; without one it has none."""
    yield 0, 0
    for j in range(1, small if large > 1 else 1):
        yield j, 1 + (j - 1) * (large - 1) // (small - 1)


def _efficientnet(small: EfficientNet, large: EfficientNet) -> Iterator[Layer]:
    yield Layer("conv_stem", "conv_stem", "stem")
    yield Layer("bn1", "bn1", "stem", norm=True)
    into = "stem"
    for i, (ours, theirs) in enumerate(zip(small.stages, large.stages, strict=True)):
        for j, k in _positions(ours.repeats, theirs.repeats):
            yield from _mobile_block(ours, f"blocks.{i}.{j}", f"blocks.{i}.{k}", f"stage {i}", into)
            into = f"stage {i}"
    if small.head:
        yield Layer("conv_head", "conv_head", "head", into)
        yield Layer("bn2", "bn2", "head", norm=True)
        into = "head"
    yield Layer("classifier", "classifier", ALONE, into)


def _mobile_block(stage: Stage, name: str, larger: str, out: str, into: str) -> Iterator[Layer]:
    inside, last = (into, "conv_pw") if stage.kind != "ir" else (f"inside {name}", "conv_pwl")
    parts: list[tuple] = [("conv_dw", inside, inside, False, True), (last, out, inside)]
    if stage.kind == "ir":
        parts += [("conv_pw", inside, into), ("bn1", inside, ALONE, True), ("bn2", inside, ALONE, True)]
        parts += [("bn3", out, ALONE, True)]
    else:
        parts += [("bn1", inside, ALONE, True), ("bn2", out, ALONE, True)]
    if stage.squeeze:
        parts += [("se.conv_reduce", f"gate {name}", inside), ("se.conv_expand", inside, f"gate {name}")]
    for part, *links in parts:
        yield Layer(f"{name}.{part}", f"{larger}.{part}", *links)


def _resnet(small: ResNet, large: ResNet) -> Iterator[Layer]:
    yield Layer("conv1", "conv1", "stem")
    yield Layer("bn1", "bn1", "stem", norm=True)
    into = "stem"
    for i, (ours, theirs) in enumerate(zip(small.stages, large.stages, strict=True), 1):
        shortcut, own = (x.stride != 1 or x.c_in != x.c_out for x in (theirs, ours))
        for j, k in _positions(ours.repeats, theirs.repeats):
            name, larger = f"layer{i}.{j}", f"layer{i}.{k}"
            out = f"layer {i}" if shortcut or own else "stem"
            last = 3 if ours.bottleneck else 2
            groups = [into, *(f"inside {name}.{n}" for n in range(1, last)), out]
            for n in range(1, last + 1):
                yield Layer(f"{name}.conv{n}", f"{larger}.conv{n}", groups[n], groups[n - 1])
                yield Layer(f"{name}.bn{n}", f"{larger}.bn{n}", groups[n], norm=True)
            if j == 0 and shortcut and own:
                yield Layer(f"{name}.downsample.0", f"{larger}.downsample.0", out, into)
                yield Layer(f"{name}.downsample.1", f"{larger}.downsample.1", out, norm=True)
            into = out
    yield Layer("fc", "fc", ALONE, into)
