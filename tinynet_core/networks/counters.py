"""The same network counted by the tools that people use, and what each of them counts beside multiply-adds."""

import contextlib
import copy
import io
import logging
import warnings
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from tinynet_core.networks.spec import Specification

ELEMENTWISE = (nn.ReLU, nn.ReLU6, nn.SiLU, nn.Sigmoid, nn.Hardsigmoid, nn.Hardswish, nn.GELU)
_POOLS = (nn.AdaptiveAvgPool2d, nn.AvgPool2d)


class Counted(NamedTuple):
    """What a ``tool`` ``prints``, the ``macs`` that it means, their ``difference`` to ours and its ``reason``.

    A tool that cannot be imported prints nothing.
    """

    tool: str
    prints: str
    macs: int
    difference: int
    reason: str


class _Tool(NamedTuple):
    """``counted`` gives the printed number, which is ``factor`` times as large as MACs; ``unit`` is what it is called.

    ``extras``: what it adds for each element of biases, batch norms, activations or average pools. ``also`` says the
    rest.
    """

    counted: Callable[[nn.Module, Tensor], float]
    factor: int
    unit: str
    extras: dict[str, int]
    also: str = ""


def _torch(module: nn.Module, image: Tensor) -> float:
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        module(image)
    return counter.get_total_flops()


def _fvcore(module: nn.Module, image: Tensor) -> float:
    from fvcore.nn import FlopCountAnalysis  # type: ignore[import-untyped]

    logging.getLogger("fvcore").setLevel(logging.ERROR)
    return FlopCountAnalysis(module, image).total()


def _ptflops(module: nn.Module, image: Tensor) -> float:
    from ptflops import get_model_complexity_info  # type: ignore[import-not-found]

    shape = tuple(image.shape[1:])
    return get_model_complexity_info(module, shape, as_strings=False, print_per_layer_stat=False, verbose=False)[0]


def _thop(module: nn.Module, image: Tensor) -> float:
    from thop import profile  # type: ignore[import-not-found]

    return profile(module, inputs=(image,), verbose=False)[0]


def _calflops(module: nn.Module, image: Tensor) -> float:
    from calflops import calculate_flops  # type: ignore[import-not-found]

    return calculate_flops(module, tuple(image.shape), print_results=False, output_as_string=False)[1]


TOOLS = {
    "torch (FlopCounterMode)": _Tool(_torch, 2, "FLOPs", {}, "a multiply-add is two FLOPs"),
    "fvcore": _Tool(_fvcore, 1, "flops", {"batch norms": 2}, "average pools"),
    "ptflops": _Tool(
        _ptflops,
        1,
        "MACs",
        {"biases": 1, "batch norms": 2, "activations": 1},
        "pools, sums and gates, less layers of classes that it does not know",
    ),
    "thop": _Tool(
        _thop, 1, "MACs", {"batch norms": 4, "average pools": 1}, "less layers of classes that it does not know"
    ),
    "calflops": _Tool(
        _calflops, 1, "MACs", {}, "the FLOPs that it prints are twice that, with norms, activations and pools"
    ),
}
"""Tools by name. timm's benchmark.py takes fvcore or DeepSpeed, whose rules calflops has."""


def counters(spec: Specification) -> list[Counted]:
    """``spec`` as each tool counts it that is installed, ours first.

    Every difference to our multiply-adds is put down to what the tool adds for elements of biases, batch norms,
    activations and average pools; what then remains is named with the tool's other rules.
    """
    module, ours = spec.build().eval(), spec.complexity().macs
    image = torch.zeros(1, getattr(spec, "channels", 3), spec.resolution, spec.resolution)
    elements = _elements(module, image)
    rows = [Counted("tinynet", f"{ours:,} MACs", ours, 0, "convolutions, linear layers and matrix products alone")]
    for name, tool in TOOLS.items():
        with torch.no_grad(), warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            try:
                printed = round(tool.counted(copy.deepcopy(module), image))
            except ImportError as missing:
                rows.append(Counted(name, "", 0, 0, f"cannot be imported: {missing}"))
                continue
        macs = printed // tool.factor
        rest, parts = macs - ours, []
        for what, times in tool.extras.items():
            if elements[what]:
                rest -= times * elements[what]
                parts.append(f"{what} {times * elements[what]:+,}" + f" ({times} an element)" * (times > 1))
        if rest or not tool.extras:
            parts.append(f"{tool.also} {rest:+,}" if rest else tool.also)
        rows.append(Counted(name, f"{printed:,} {tool.unit}", macs, macs - ours, "; ".join(parts)))
    return rows


def _elements(module: nn.Module, image: Tensor) -> dict[str, int]:
    """Elements of the outputs of layers, by what the tools call them."""
    found = dict.fromkeys(("biases", "batch norms", "activations", "average pools"), 0)

    def add(layer: nn.Module, _inputs: object, output: Tensor) -> None:
        if isinstance(layer, nn.Conv2d | nn.Linear) and layer.bias is not None:
            found["biases"] += output.numel()
        for what, kinds in (("batch norms", nn.BatchNorm2d), ("activations", ELEMENTWISE), ("average pools", _POOLS)):
            if isinstance(layer, kinds):
                found[what] += output.numel()

    hooks = [layer.register_forward_hook(add) for layer in module.modules()]
    with torch.no_grad():
        module(image)
    for hook in hooks:
        hook.remove()
    return found
