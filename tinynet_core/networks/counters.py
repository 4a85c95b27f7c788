"""The same network counted by the tools that people use, and what each of them counts beside multiply-adds."""

import contextlib
import copy
import io
import logging
import warnings
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from tinynet_core.networks.spec import Specification

KINDS: dict[str, tuple[type[nn.Module], ...]] = {
    "biases": (nn.Conv2d, nn.Linear),
    "batch norms": (nn.BatchNorm2d,),
    "activations": (nn.ReLU, nn.ReLU6, nn.SiLU, nn.Sigmoid, nn.Hardsigmoid, nn.Hardswish, nn.GELU),
    "average pools": (nn.AdaptiveAvgPool2d, nn.AvgPool2d),
}


class Counted(NamedTuple):
    """What a ``tool`` ``prints``, if it can be imported, the ``macs`` that it means, and why these differ from ours."""

    tool: str
    prints: str
    macs: int
    difference: int
    reason: str


def _count(tool: str, module: nn.Module, image: Tensor) -> float:
    """What ``tool`` prints for ``module``; ``ImportError`` where it cannot be imported."""
    if tool == "fvcore":
        from fvcore.nn import FlopCountAnalysis  # type: ignore[import-untyped]

        logging.getLogger("fvcore").setLevel(logging.ERROR)
        return FlopCountAnalysis(module, image).total()
    if tool == "ptflops":
        from ptflops import get_model_complexity_info  # type: ignore[import-not-found]

        shape, quiet = tuple(image.shape[1:]), {"print_per_layer_stat": False, "verbose": False}
        return get_model_complexity_info(module, shape, as_strings=False, **quiet)[0]
    if tool == "thop":
        from thop import profile  # type: ignore[import-not-found]

        return profile(module, inputs=(image,), verbose=False)[0]
    if tool == "calflops":
        from calflops import calculate_flops  # type: ignore[import-not-found]

        return calculate_flops(module, tuple(image.shape), print_results=False, output_as_string=False)[1]
    with FlopCounterMode(display=False) as counter:
        module(image)
    return counter.get_total_flops()


LACK = "less layers of classes that it does not know"
# the factor from MACs to its number, what it calls that, what it adds for each element, and what else it does
TOOLS: dict[str, tuple[int, str, dict[str, int], str]] = {
    "torch (FlopCounterMode)": (2, "FLOPs", {}, "a multiply-add is two FLOPs"),
    "fvcore": (1, "flops", {"batch norms": 2}, "average pools"),
    "ptflops": (1, "MACs", {"biases": 1, "batch norms": 2, "activations": 1}, f"pools, sums and gates, {LACK}"),
    "thop": (1, "MACs", {"batch norms": 4, "average pools": 1}, LACK),
    "calflops": (1, "MACs", {}, "the FLOPs that it prints are twice that, with norms, activations and pools"),
}
"""Tools by name. timm's benchmark.py takes fvcore or DeepSpeed, whose rules calflops has."""


def counters(spec: Specification) -> list[Counted]:
    """``spec`` as each tool counts it, ours first; ``reason`` puts differences down to what a tool counts beside."""
    module, ours = spec.build().eval(), spec.complexity().macs
    image = torch.zeros(1, getattr(spec, "channels", 3), spec.resolution, spec.resolution)
    elements = _elements(copy.deepcopy(module), image)
    rows = [Counted("tinynet", f"{ours:,} MACs", ours, 0, "convolutions, linear layers and matrix products alone")]
    for name, (factor, unit, extras, also) in TOOLS.items():
        with torch.no_grad(), warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            try:
                printed = round(_count(name, copy.deepcopy(module), image))
            except ImportError as missing:
                rows.append(Counted(name, "", 0, 0, f"cannot be imported: {missing}"))
                continue
        macs = printed // factor
        added = {what: times * elements[what] for what, times in extras.items() if elements[what]}
        rest = macs - ours - sum(added.values())
        parts = [f"{x} {n:+,}" + f" ({extras[x]} an element)" * (extras[x] > 1) for x, n in added.items()]
        if rest or not extras:
            parts.append(f"{also} {rest:+,}" if rest else also)
        rows.append(Counted(name, f"{printed:,} {unit}", macs, macs - ours, "; ".join(parts)))
    return rows


def _elements(module: nn.Module, image: Tensor) -> dict[str, int]:
    """Elements of the outputs of layers, by what the tools call them."""
    found = dict.fromkeys(KINDS, 0)

    def add(layer: nn.Module, _inputs: object, output: Tensor) -> None:
        for what, kinds in KINDS.items():
            if isinstance(layer, kinds) and (what != "biases" or layer.bias is not None):
                found[what] += output.numel()

    for layer in module.modules():
        layer.register_forward_hook(add)
    with torch.no_grad():
        module(image)
    return found
