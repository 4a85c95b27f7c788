"""Cost of any torch module, counted while an image passes; ``networks.complexity`` says what counts."""

import warnings
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from tinynet_core.networks.complexity import Complexity

TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
COUNTED = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear, *TRANSPOSED)
ACTIVATIONS = {torch.relu, F.relu, F.relu6, F.hardtanh, F.hardswish, F.hardsigmoid}


class TraceWarning(UserWarning):
    """Weights of a traced module whose multiply-adds could not be counted."""


class ShapesOnly(TorchFunctionMode):
    """Leaves out what changes no shape and on the meta device takes most of the time: activations and batch norms."""

    def __torch_function__(
        self, func: Callable, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func in ACTIVATIONS and args:
            return args[0]
        if func is F.batch_norm and len(args) > 1 and args[1] is not None and args[0].shape[1:2] == args[1].shape:
            return args[0]
        return func(*args, **(kwargs or {}))


def trace(module: nn.Module, resolution: int, channels: int = 3) -> Complexity:
    """Cost of any torch module, counted layer by layer while one image of (channels, resolution, resolution) passes.

    Counts convolutions, transposed ones and ``Linear``, where they are called as modules; put the module on the
    ``meta`` device to count without memory. A ``TraceWarning`` names the first weight that no counted layer used, such
    as that of an attention layer or of a linear map applied by function: its multiply-adds are missing.
    """
    macs = activations = peak = 0
    called: set[int] = set()

    def count(layer: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        nonlocal macs, activations, peak
        weight = layer.weight
        assert isinstance(weight, torch.Tensor)
        called.add(id(weight))
        macs += (inputs[0] if isinstance(layer, TRANSPOSED) else output).numel() * weight[0].numel()
        activations += output.numel()
        peak = max(peak, inputs[0].numel() + output.numel())

    layers = [m for m in module.modules() if isinstance(m, COUNTED)]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    device = next(module.parameters()).device
    was_training = module.training
    try:
        with torch.no_grad(), ShapesOnly() if device.type == "meta" else nullcontext():
            module.eval()(torch.zeros(1, channels, resolution, resolution, device=device))
    finally:
        module.train(was_training)
        for hook in hooks:
            hook.remove()
    left_out = [name for name, p in module.named_parameters() if p.ndim > 1 and id(p) not in called]
    if left_out:
        warnings.warn(
            f"{len(left_out)} weights of {type(module).__name__} belong to no layer that was counted, such as "
            f"{left_out[0]}: the real cost is higher",
            TraceWarning,
            stacklevel=2,
        )
    return Complexity(macs, sum(p.numel() for p in module.parameters()), activations, peak)
