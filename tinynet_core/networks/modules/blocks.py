"""The blocks of mobile networks as torch modules. Parameter names follow timm's, so that its weights load by name."""

from typing import Literal

import torch
from torch import nn
from torch.nn import functional as F

from tinynet_core.networks.blocks import Activation, Stage, squeezed

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "silu": nn.SiLU,
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "hswish": nn.Hardswish,
}


def blocks(stage: Stage, activation: Activation) -> nn.Sequential:
    """The blocks of ``stage``, one after the other."""
    built: list[nn.Module] = []
    for i in range(stage.repeats):
        c_in, stride = (stage.c_in, stage.stride) if i == 0 else (stage.c_out, 1)
        reduced = squeezed(c_in) if stage.squeeze else 0
        if stage.kind == "ir":
            block: nn.Module = InvertedResidual(
                stage.kernel, stride, c_in, c_in * stage.expansion, stage.c_out, reduced, activation
            )
        else:
            block = DepthwiseSeparable(stage.kernel, stride, c_in, stage.c_out, reduced, activation, stage.kind == "v1")
        built.append(block)
    return nn.Sequential(*built)


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
