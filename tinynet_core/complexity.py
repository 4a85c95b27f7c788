"""Cost of a network: multiply-adds, parameters and activations, from a specification or traced on a module.

MACs are multiply-adds of convolutions and linear layers for one image, squeeze-excite included; biases, norms,
activation functions and pooling are not counted. The paper, like most of its field, calls this number "FLOPs".
Activations are the elements of all convolution and linear outputs (Radosavovic et al. 2020, section 3).
"""

from dataclasses import dataclass

import torch
from torch import nn


@dataclass(frozen=True, slots=True)
class Complexity:
    """Exact cost of one network for one image."""

    macs: int
    params: int
    activations: int


class Tally:
    """Threads a square input of ``side`` pixels through layers and adds up what each one costs.

    Every method stands for ``times`` identical layers in a row at the present side and moves on to the output side.
    """

    __slots__ = ("activations", "macs", "params", "side")

    def __init__(self, side: int) -> None:
        self.side, self.macs, self.params, self.activations = side, 0, 0, 0

    def conv_bn(self, c_in: int, c_out: int, kernel: int, stride: int = 1, depthwise: bool = False, times: int = 1):
        """A bias-free convolution padded by kernel // 2, then a batch norm; depthwise needs c_in == c_out."""
        self.side = side = (self.side - 1) // stride + 1
        weights = kernel * kernel * c_out * (1 if depthwise else c_in)
        self.macs += times * weights * side * side
        self.params += times * (weights + 2 * c_out)
        self.activations += times * c_out * side * side

    def squeeze_excite(self, channels: int, reduced: int, times: int = 1):
        """Two 1x1 convolutions with bias on the pooled map."""
        weights = 2 * channels * reduced
        self.macs += times * weights
        self.params += times * (weights + channels + reduced)
        self.activations += times * (channels + reduced)

    def linear(self, c_in: int, c_out: int):
        """A linear layer with bias."""
        self.macs += c_in * c_out
        self.params += c_in * c_out + c_out
        self.activations += c_out

    def total(self) -> Complexity:
        return Complexity(self.macs, self.params, self.activations)


def trace(module: nn.Module, resolution: int, channels: int = 3) -> Complexity:
    """Cost of any torch module, counted layer by layer while one image of (channels, resolution, resolution) passes.

    Counts convolutions and ``Linear``; put the module on the ``meta`` device to count without memory.
    """
    macs = activations = 0

    def count(layer: nn.Module, _inputs, output: torch.Tensor) -> None:
        nonlocal macs, activations
        weight = layer.weight
        assert isinstance(weight, torch.Tensor)
        per_output = weight[0].numel()
        macs += output.numel() * per_output
        activations += output.numel()

    layers = [m for m in module.modules() if isinstance(m, nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.Linear)]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    device = next(module.parameters()).device
    was_training = module.training
    try:
        with torch.no_grad():
            module.eval()(torch.zeros(1, channels, resolution, resolution, device=device))
    finally:
        module.train(was_training)
        for hook in hooks:
            hook.remove()
    return Complexity(macs, sum(p.numel() for p in module.parameters()), activations)
