"""Count a network with common tools, and explain how far each tool's number differs from ours."""

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
    """What ``tool`` ``prints`` (empty if not installed), the same as ``macs``, and the reason for ``difference``."""

    tool: str
    prints: str
    macs: int
    difference: int
    reason: str


def _count(tool: str, module: nn.Module, image: Tensor) -> float:
    """Return the number that ``tool`` prints for ``module``. Raise ``ImportError`` if the tool cannot be imported."""
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


LACK = "minus layers of types that it does not know"
# printed numbers per MAC, their name, operations added per output element by layer type, other differences
TOOLS: dict[str, tuple[int, str, dict[str, int], str]] = {
    "torch (FlopCounterMode)": (2, "FLOPs", {}, "a multiply-add is two FLOPs"),
    "fvcore": (1, "flops", {"batch norms": 2}, "average pools"),
    "ptflops": (1, "MACs", {"biases": 1, "batch norms": 2, "activations": 1}, f"pools, sums and gates, {LACK}"),
    "thop": (1, "MACs", {"batch norms": 4, "average pools": 1}, LACK),
    "calflops": (1, "MACs", {}, "its FLOPs are twice its MACs, plus norms, activations and pools"),
}
"""Tools by name. timm's benchmark.py uses fvcore or DeepSpeed. calflops follows the rules of DeepSpeed."""


def counters(spec: Specification) -> list[Counted]:
    """Count ``spec`` with each tool, ours first. Each ``reason`` lists what the tool counts besides multiply-adds."""
    module, ours = spec.build().eval(), spec.complexity().macs
    image = torch.zeros(1, getattr(spec, "channels", 3), spec.resolution, spec.resolution)
    elements = _elements(copy.deepcopy(module), image)
    rows = [Counted("tinynet", f"{ours:,} MACs", ours, 0, "only convolutions, linear layers and matrix products")]
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
        parts = [f"{x} {n:+,}" + f" ({extras[x]} per element)" * (extras[x] > 1) for x, n in added.items()]
        if rest or not extras:
            parts.append(f"{also} {rest:+,}" if rest else also)
        rows.append(Counted(name, f"{printed:,} {unit}", macs, macs - ours, "; ".join(parts)))
    return rows


def _elements(module: nn.Module, image: Tensor) -> dict[str, int]:
    """Return the number of output elements of all layers, for each layer type of ``KINDS``."""
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
