"""Count the cost of any torch module, operator by operator, while one image passes through it.

``networks.spec`` defines what counts. Products of activations, as in attention, count too. The counts equal those that
torchvision publishes, and half of torch's ``FlopCounterMode``, which leaves out products with a vector.
"""

import warnings
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.module_tracker import ModuleTracker

from tinynet_core.networks.spec import Complexity

_aten = torch.ops.aten
FACTORS = {
    **dict.fromkeys((_aten.convolution, _aten.mm, _aten.bmm, _aten.mv, _aten.dot), 0),
    **dict.fromkeys((_aten.addmm, _aten.baddbmm, _aten.addmv), 1),
}
"""The operators that compute convolutions, linear layers and attention, with the index of the input argument."""
UNCOUNTED = {"mkldnn_rnn_layer", "_cdist_forward", "_trilinear", "_fft_r2c", "_fft_c2r", "_fft_c2c"}
"""Operators of torch that multiply and add but are not counted. No operator of another library is counted either."""
ACTIVATIONS = {torch.relu, F.relu, F.relu6, F.hardtanh, F.hardswish, F.hardsigmoid}


class TraceWarning(UserWarning):
    """Part of a traced module could not be counted, or the module could not be counted on the meta device."""


class ShapesOnly(TorchFunctionMode):
    """Skip activations and batch norms: they change no shape, and take most of the time on the meta device."""

    def __torch_function__(
        self, func: Callable, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func in ACTIVATIONS and args:
            return args[0]
        if func is F.batch_norm and len(args) > 1 and args[1] is not None and args[0].shape[1:2] == args[1].shape:
            return args[0]
        return func(*args, **(kwargs or {}))


class Counter(TorchDispatchMode):
    """Count operators. ``products`` holds the MACs of each call, in order; ``unknown`` the operators without a rule."""

    def __init__(self, tracker: ModuleTracker | None) -> None:
        super().__init__()
        self.products: list[int] = []
        self.activations = self.peak = 0
        self.unknown: dict[str, str] = {}
        self._tracker = tracker

    def __torch_dispatch__(self, op: Any, types: Any, args: tuple = (), kwargs: Mapping[str, Any] | None = None) -> Any:
        output = op(*args, **(kwargs or {}))
        if (packet := op.overloadpacket) in FACTORS:
            self.products.append(_macs(packet, args, output))
            self.activations += output.numel()
            self.peak = max(self.peak, args[FACTORS[packet]].numel() + output.numel())
        elif op.namespace != "aten" or packet.__name__ in UNCOUNTED:
            where = max(self._tracker.parents, key=len) if self._tracker else ""
            self.unknown.setdefault(packet.__name__, where)
        return output


def _macs(op: Any, args: tuple, output: torch.Tensor) -> int:
    if op is _aten.convolution:
        x, weight, transposed = args[0], args[1], args[6]
        return (x if transposed else output).numel() * weight[0].numel()
    return output.numel() * args[FACTORS[op]].shape[-1]


def trace(module: nn.Module, resolution: int, channels: int = 3) -> Complexity:
    """Return the cost of any torch module, counted by operator on an image of (channels, resolution, resolution).

    Convolutions, transposed convolutions, linear maps and matrix products count, whichever module or function calls
    them. Put the module on the ``meta`` device to count without allocating memory. A ``TraceWarning`` names operators
    that may multiply and add but are not counted, and the module that contains them.
    """
    counter = counted(module, resolution, channels)
    if counter.unknown:
        with ModuleTracker() as tracker:
            counter = counted(module, resolution, channels, tracker)
        told = ", ".join(f"{op} in {where.partition('.')[2] or where}" for op, where in counter.unknown.items())
        warnings.warn(f"{type(module).__name__} has operators that are not counted: {told}", TraceWarning, stacklevel=2)
    params = sum(p.numel() for p in module.parameters())
    return Complexity(sum(counter.products), params, counter.activations, counter.peak)


def counted(module: nn.Module, resolution: int, channels: int, tracker: ModuleTracker | None = None) -> Counter:
    """Count ``module`` in evaluation mode while one image passes, then restore the mode of each part."""
    tensors = [*module.parameters(), *module.buffers()]
    dtype = next((x.dtype for x in tensors if x.is_floating_point()), torch.float32)
    device = tensors[0].device if tensors else torch.device("cpu")
    image = torch.zeros(1, channels, resolution, resolution, device=device, dtype=dtype)
    modes, fast = [(part, part.training) for part in module.modules()], torch.backends.mha.get_fastpath_enabled()
    module.eval()
    torch.backends.mha.set_fastpath_enabled(False)  # then attention runs as separate products, which are counted
    try:
        shapes = ShapesOnly() if device.type == "meta" else nullcontext()
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), shapes, Counter(tracker) as counter:
            module(image)
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        for part, training in modes:
            part.training = training
    return counter
