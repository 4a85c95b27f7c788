"""Networks that are not in this package: anything that can build a torch module from a ``Scale``.

Their cost is counted while an image passes through the module, on torch's meta device: shapes, no memory.
``networks.spec`` says what counts.
"""

import warnings
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import astuple, dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from tinynet_core.files import UserError
from tinynet_core.networks.spec import Complexity, CostedRow
from tinynet_core.scaling.scale import Scale, Scales

TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
COUNTED = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear, *TRANSPOSED)
ACTIVATIONS = {torch.relu, F.relu, F.relu6, F.hardtanh, F.hardswish, F.hardsigmoid}


class ShapesOnly(TorchFunctionMode):
    """Leaves out what changes no shape and on the meta device takes most of the time: activations and batch norms."""

    def __torch_function__(self, func: Callable, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in ACTIVATIONS and args:
            return args[0]
        if func is F.batch_norm and len(args) > 1 and args[1] is not None and args[0].shape[1:2] == args[1].shape:
            return args[0]
        return func(*args, **(kwargs or {}))


def trace(module: nn.Module, resolution: int, channels: int = 3) -> Complexity:
    """Cost of any torch module, counted layer by layer while one image of (channels, resolution, resolution) passes.

    Counts convolutions, transposed ones and ``Linear``, where they are called as modules; put the module on the
    ``meta`` device to count without memory. A warning names the first weight that no counted layer used, such as that
    of an attention layer or of a linear map applied by function: its multiply-adds are missing.
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
    device, was_training = next(module.parameters()).device, module.training
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
            stacklevel=2,
        )
    return Complexity(macs, sum(p.numel() for p in module.parameters()), activations, peak)


@dataclass(frozen=True)
class TracedFamily:
    """A network of your own under any scale, with the protocol of ``Family``; ``traced`` makes it."""

    builder: Callable[[Scale], nn.Module]
    resolution: int
    name: str
    channels: int
    _costs: dict[Scale, Complexity] = field(default_factory=dict, repr=False, compare=False)

    def at(self, scale: Scale = Scale()) -> "TracedNetwork":  # noqa: B008
        """The network at ``scale``; nothing is built yet."""
        pixels = max(1, int(self.resolution * scale.r + 1e-6))
        return TracedNetwork(self.name, pixels, self.channels, self, scale)

    def cost(self, scale: Scale) -> Complexity:
        """Exact cost at ``scale``, traced once.

        Raises ``UserError`` when the builder gives no torch module, or one that fails on an image.
        """
        if scale in self._costs:
            return self._costs[scale]
        network = self.at(scale)
        try:
            with torch.device("meta"):
                module = network.build()
            cost = trace(module, network.resolution, self.channels)
        except UserError:
            raise
        except Exception as error:  # the builder is anybody's code
            image = f"an image of {network.resolution} px with {self.channels} channels"
            reason = (str(error).strip().splitlines() or [""])[0]
            raise UserError(
                f"{self.name} at {scale} fails on the meta device, on {image}: {type(error).__name__}: {reason}"
            ) from error
        if not cost.macs:
            raise UserError(f"{self.name} has no convolution or linear layer whose cost could be counted")
        self._costs[scale] = cost
        return cost

    def screen(self, r: ArrayLike, d: ArrayLike, w: ArrayLike) -> Complexity:
        """Exact costs at many scales, traced one after the other: int64 arrays of their shape."""
        scales = Scales(r, d, w)
        flat = zip(scales.r.flat, scales.d.flat, scales.w.flat, strict=True)
        costs = np.array([astuple(self.cost(Scale(*x))) for x in flat], np.int64)
        return Complexity(*costs.reshape(-1, 4).T.reshape(4, *scales.r.shape))


@dataclass(frozen=True)
class TracedNetwork:
    """A ``TracedFamily`` at one scale; ``resolution`` is the input's side in pixels."""

    name: str
    resolution: int
    channels: int
    family: TracedFamily
    scale: Scale

    def complexity(self) -> Complexity:
        """Exact MACs, parameters and activations for one image at ``resolution``."""
        return self.family.cost(self.scale)

    def rows(self) -> list[CostedRow]:
        """Empty: the builder keeps its architecture to itself."""
        return []

    def build(self) -> nn.Module:
        """The module, with the initial weights that the builder gives it."""
        module = self.family.builder(self.scale)
        if not isinstance(module, nn.Module):
            raise UserError(f"{self.name} must build a torch.nn.Module, got {type(module).__name__}")
        return module


def traced(
    builder: Callable[[Scale], nn.Module], resolution: int = 224, name: str = "", channels: int = 3
) -> TracedFamily:
    """A network of your own, to be given to ``shrink`` in place of a name.

    Parameters
    ----------
    builder
        A function that takes a ``Scale`` and returns a torch module; it applies d and w as it sees fit.
    resolution
        Side in pixels of the square input at r = 1; r moves it.
    name
        What messages call it; the name of ``builder`` where left out.
    channels
        Channels of the input.

    Returns
    -------
    TracedFamily
        A family; ``family.at(scale)`` is the network at a ``Scale``.
    """
    if not callable(builder):
        raise ValueError(f"builder must be a function of a Scale, got {builder!r}")
    for key, value in (("resolution", resolution), ("channels", channels)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"{key} must be a whole number above 0, got {value!r}")
    return TracedFamily(builder, resolution, name or getattr(builder, "__name__", type(builder).__name__), channels)
