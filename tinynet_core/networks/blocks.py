"""The blocks of mobile networks, as data with a cost and as torch modules.

Parameter names follow timm's, so that its weights load by name.
"""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn
from torch.nn import functional as F

from tinynet_core.complexity import Row, Tally
from tinynet_core.networks.rounding import at_least

Activation = Literal["silu", "relu", "relu6", "hswish"]
ACTIVATIONS: dict[str, type[nn.Module]] = {
    "silu": nn.SiLU,
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "hswish": nn.Hardswish,
}


@dataclass(frozen=True, slots=True)
class Stage:
    """A run of ``repeats`` blocks; the first has ``stride`` and goes from ``c_in`` to ``c_out`` channels.

    ``kind`` is ``"ir"``, an inverted residual block (Sandler et al. 2018), ``"ds"``, a depthwise-separable one, or
    ``"v1"``, the one of MobileNetV1, which has no shortcut and an activation after its last layer. ``squeeze`` says
    whether the blocks have squeeze-excite, with a quarter of the block's input channels inside.
    """

    kind: Literal["ir", "ds", "v1"]
    repeats: Any
    kernel: int
    stride: int
    expansion: int
    c_in: Any
    c_out: Any
    squeeze: bool = True

    def tally(self, tally: Tally) -> Row:
        """Add the cost of the stage to ``tally``."""
        self._block(tally, self.c_in, self.stride, 1)
        if not isinstance(self.repeats, int) or self.repeats > 1:
            self._block(tally, self.c_out, 1, self.repeats - 1)
        operator = {"ir": f"inverted residual x{self.expansion}", "ds": "separable", "v1": "separable"}[self.kind]
        return Row(operator, self.c_out, self.kernel, self.stride, self.repeats, self.squeeze)

    def _block(self, tally: Tally, c_in: Any, stride: int, times: Any) -> None:
        middle = c_in * self.expansion
        if self.kind == "ir":
            tally.conv_bn(c_in, middle, 1, times=times)
        tally.conv_bn(middle, middle, self.kernel, stride, depthwise=True, times=times)
        if self.squeeze:
            tally.squeeze_excite(middle, squeezed(c_in), times)
        tally.conv_bn(middle, self.c_out, 1, times=times)

    def build(self, activation: Activation) -> nn.Sequential:
        """The stage as a torch module."""
        blocks: list[nn.Module] = []
        for i in range(self.repeats):
            c_in, stride = (self.c_in, self.stride) if i == 0 else (self.c_out, 1)
            reduced = squeezed(c_in) if self.squeeze else 0
            if self.kind == "ir":
                block: nn.Module = InvertedResidual(
                    self.kernel, stride, c_in, c_in * self.expansion, self.c_out, reduced, activation
                )
            else:
                block = DepthwiseSeparable(
                    self.kernel, stride, c_in, self.c_out, reduced, activation, self.kind == "v1"
                )
            blocks.append(block)
        return nn.Sequential(*blocks)


def squeezed(c_in: Any) -> Any:
    """Channels inside squeeze-excite: a quarter of the block's input channels."""
    return at_least(1, c_in // 4)


def conv(c_in: int, c_out: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    """A bias-free convolution padded by kernel // 2."""
    return nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, groups=groups, bias=False)


class PooledConv2d(nn.Conv2d):
    """A 1x1 convolution on a 1x1 map, computed as the linear layer it is: several times faster on a CPU."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.linear(x.flatten(1), self.weight.flatten(1), self.bias)[:, :, None, None]


class SqueezeExcite(nn.Module):
    """Channel gate with ``reduced`` channels inside (Hu et al. 2018)."""

    def __init__(self, channels: int, reduced: int, activation: Activation, gate: Literal["sigmoid", "hard"]) -> None:
        super().__init__()
        self.conv_reduce = PooledConv2d(channels, reduced, 1)
        self.act = ACTIVATIONS[activation](inplace=True)
        self.conv_expand = PooledConv2d(reduced, channels, 1)
        self.gate = nn.Hardsigmoid() if gate == "hard" else nn.Sigmoid()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inside = self.act(self.conv_reduce(x.mean((2, 3), keepdim=True)))
        return x * self.gate(self.conv_expand(inside))


class DepthwiseSeparable(nn.Module):
    """Depthwise convolution, squeeze-excite where ``reduced`` is not 0, pointwise projection."""

    def __init__(
        self, kernel: int, stride: int, c_in: int, c_out: int, reduced: int, activation: Activation, plain: bool
    ) -> None:
        super().__init__()
        self.residual = stride == 1 and c_in == c_out and not plain
        act = ACTIVATIONS[activation]
        self.conv_dw = conv(c_in, c_in, kernel, stride, groups=c_in)
        self.bn1 = nn.BatchNorm2d(c_in)
        self.act1 = act(inplace=True)
        self.se = SqueezeExcite(c_in, reduced, activation, "sigmoid") if reduced else nn.Identity()
        self.conv_pw = conv(c_in, c_out, 1)
        self.bn2 = nn.BatchNorm2d(c_out)
        self.act2 = act(inplace=True) if plain else nn.Identity()

    def last_norms(self) -> tuple[nn.Module, ...]:
        """Batch norm at the end of the residual branch."""
        return (self.bn2,)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.act1(self.bn1(self.conv_dw(x)))
        y = self.act2(self.bn2(self.conv_pw(self.se(y))))
        return x + y if self.residual else y


class InvertedResidual(nn.Module):
    """Pointwise expansion, depthwise convolution, squeeze-excite where ``reduced`` is not 0, pointwise projection."""

    def __init__(
        self, kernel: int, stride: int, c_in: int, middle: int, c_out: int, reduced: int, activation: Activation
    ) -> None:
        super().__init__()
        self.residual = stride == 1 and c_in == c_out
        act = ACTIVATIONS[activation]
        self.conv_pw = conv(c_in, middle, 1)
        self.bn1 = nn.BatchNorm2d(middle)
        self.act1 = act(inplace=True)
        self.conv_dw = conv(middle, middle, kernel, stride, groups=middle)
        self.bn2 = nn.BatchNorm2d(middle)
        self.act2 = act(inplace=True)
        self.se = SqueezeExcite(middle, reduced, activation, "sigmoid") if reduced else nn.Identity()
        self.conv_pwl = conv(middle, c_out, 1)
        self.bn3 = nn.BatchNorm2d(c_out)

    def last_norms(self) -> tuple[nn.Module, ...]:
        """Batch norm at the end of the residual branch."""
        return (self.bn3,)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.act1(self.bn1(self.conv_pw(x)))
        y = self.act2(self.bn2(self.conv_dw(y)))
        y = self.bn3(self.conv_pwl(self.se(y)))
        return x + y if self.residual else y
