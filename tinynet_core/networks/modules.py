"""The three families as torch modules; imported only when a network is built.

Parameter names follow timm's and torchvision's, so that their weights load by name. ``get_classifier`` and
``forward_features``, the last feature map (N, C, H, W), are what training and activation maps ask of a module;
``residual`` and ``last_norms`` of a block say which batch norms ``zero_init_residual`` starts at zero.
"""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Literal

import torch
from torch import nn
from torch.nn import functional as F

from tinynet_core.networks.blocks import EXPANSION, GhostRun, ResNetStage, Stage, squeezed
from tinynet_core.networks.spec import Activation

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "silu": nn.SiLU,
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "hswish": nn.Hardswish,
}


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
    """Depthwise convolution, squeeze-excite where the stage has it, pointwise projection."""

    def __init__(self, stage: Stage, c_in: int, stride: int, activation: Activation) -> None:
        super().__init__()
        plain, act = stage.kind == "v1", ACTIVATIONS[activation]
        self.residual = stride == 1 and c_in == stage.c_out and not plain
        self.conv_dw = conv(c_in, c_in, stage.kernel, stride, groups=c_in)
        self.bn1 = nn.BatchNorm2d(c_in)
        self.act1 = act(inplace=True)
        self.se = SqueezeExcite(c_in, squeezed(c_in), activation, "sigmoid") if stage.squeeze else nn.Identity()
        self.conv_pw = conv(c_in, stage.c_out, 1)
        self.bn2 = nn.BatchNorm2d(stage.c_out)
        self.act2 = act(inplace=True) if plain else nn.Identity()

    def last_norms(self) -> tuple[nn.Module, ...]:
        return (self.bn2,)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.act1(self.bn1(self.conv_dw(x)))
        y = self.act2(self.bn2(self.conv_pw(self.se(y))))
        return x + y if self.residual else y


class InvertedResidual(nn.Module):
    """Pointwise expansion, depthwise convolution, squeeze-excite where the stage has it, pointwise projection."""

    def __init__(self, stage: Stage, c_in: int, stride: int, activation: Activation) -> None:
        super().__init__()
        middle, act = c_in * stage.expansion, ACTIVATIONS[activation]
        self.residual = stride == 1 and c_in == stage.c_out
        self.conv_pw = conv(c_in, middle, 1)
        self.bn1 = nn.BatchNorm2d(middle)
        self.act1 = act(inplace=True)
        self.conv_dw = conv(middle, middle, stage.kernel, stride, groups=middle)
        self.bn2 = nn.BatchNorm2d(middle)
        self.act2 = act(inplace=True)
        self.se = SqueezeExcite(middle, squeezed(c_in), activation, "sigmoid") if stage.squeeze else nn.Identity()
        self.conv_pwl = conv(middle, stage.c_out, 1)
        self.bn3 = nn.BatchNorm2d(stage.c_out)

    def last_norms(self) -> tuple[nn.Module, ...]:
        return (self.bn3,)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.act1(self.bn1(self.conv_pw(x)))
        y = self.act2(self.bn2(self.conv_dw(y)))
        y = self.bn3(self.conv_pwl(self.se(y)))
        return x + y if self.residual else y


def _blocks(stage: Stage, activation: Activation) -> nn.Sequential:
    block = InvertedResidual if stage.kind == "ir" else DepthwiseSeparable
    first = block(stage, stage.c_in, stage.stride, activation)
    return nn.Sequential(first, *(block(stage, stage.c_out, 1, activation) for _ in range(stage.repeats - 1)))


class EfficientNetModule(nn.Module):
    """A stem, mobile blocks, a 1x1 head (none where ``head`` is 0) and a linear classifier."""

    def __init__(
        self, stem: int, stages: Sequence[Stage], head: int, activation: Activation, num_classes: int, dropout: float
    ) -> None:
        super().__init__()
        act, last = ACTIVATIONS[activation], stages[-1].c_out
        self.conv_stem = conv(3, stem, 3, stride=2)
        self.bn1 = nn.BatchNorm2d(stem)
        self.act1 = act(inplace=True)
        self.blocks = nn.Sequential(*(_blocks(stage, activation) for stage in stages))
        self.conv_head = conv(last, head, 1) if head else nn.Identity()
        self.bn2 = nn.BatchNorm2d(head) if head else nn.Identity()
        self.act2 = act(inplace=True) if head else nn.Identity()
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(head or last, num_classes)

    def get_classifier(self) -> nn.Linear:
        return self.classifier

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        x = self.act1(self.bn1(self.conv_stem(x)))
        return self.act2(self.bn2(self.conv_head(self.blocks(x))))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.dropout(self.forward_features(x).mean((2, 3))))


def _shortcut(c_in: int, c_out: int, stride: int) -> nn.Sequential | None:
    if stride == 1 and c_in == c_out:
        return None
    return nn.Sequential(conv(c_in, c_out, 1, stride), nn.BatchNorm2d(c_out))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut."""

    residual = True

    def __init__(self, c_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = conv(c_in, channels, 3, stride)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = conv(channels, channels, 3)
        self.bn2 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _shortcut(c_in, channels, stride)

    def last_norms(self) -> tuple[nn.Module, ...]:
        return (self.bn2,)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        return self.relu(y + (x if self.downsample is None else self.downsample(x)))


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions and a shortcut."""

    residual = True

    def __init__(self, c_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = conv(c_in, channels, 1)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = conv(channels, channels, 3, stride)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = conv(channels, channels * EXPANSION, 1)
        self.bn3 = nn.BatchNorm2d(channels * EXPANSION)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _shortcut(c_in, channels * EXPANSION, stride)

    def last_norms(self) -> tuple[nn.Module, ...]:
        return (self.bn3,)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn3(self.conv3(self.relu(self.bn2(self.conv2(y)))))
        return self.relu(y + (x if self.downsample is None else self.downsample(x)))


def _layer(stage: ResNetStage) -> nn.Sequential:
    block = Bottleneck if stage.bottleneck else BasicBlock
    first = block(stage.c_in, stage.channels, stage.stride)
    return nn.Sequential(first, *(block(stage.c_out, stage.channels, 1) for _ in range(stage.repeats - 1)))


class ResNetModule(nn.Module):
    """A 7x7 stem and max pooling, four stages of residual blocks, and a linear classifier."""

    def __init__(self, stem: int, stages: Sequence[ResNetStage], num_classes: int, dropout: float) -> None:
        super().__init__()
        self.conv1 = conv(3, stem, 7, stride=2)
        self.bn1 = nn.BatchNorm2d(stem)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.layer1, self.layer2, self.layer3, self.layer4 = (_layer(stage) for stage in stages)
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(stages[-1].c_out, num_classes)

    def get_classifier(self) -> nn.Linear:
        return self.fc

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.dropout(self.forward_features(x).mean((2, 3))))


class GhostModule(nn.Module):
    """Half of ``c_out`` by a 1x1 convolution, the other half by a depthwise 3x3 convolution of the first."""

    def __init__(self, c_in: int, c_out: int, activation: Activation | None) -> None:
        super().__init__()
        half = (c_out + 1) // 2
        act = ACTIVATIONS[activation](inplace=True) if activation else nn.Identity()
        self.c_out = c_out
        self.primary_conv = nn.Sequential(conv(c_in, half, 1), nn.BatchNorm2d(half), act)
        self.cheap_operation = nn.Sequential(conv(half, half, 3, groups=half), nn.BatchNorm2d(half), act)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first = self.primary_conv(x)
        return torch.cat([first, self.cheap_operation(first)], dim=1)[:, : self.c_out]


class GhostBottleneck(nn.Module):
    """Ghost module to the inner channels, depthwise convolution where strided, gate, ghost module, shortcut."""

    residual = True

    def __init__(self, run: GhostRun, activation: Activation) -> None:
        super().__init__()
        inner, kernel, stride = run.inner, run.kernel, run.stride
        self.ghost1 = GhostModule(run.c_in, inner, activation)
        self.conv_dw = conv(inner, inner, kernel, stride, groups=inner) if stride > 1 else nn.Identity()
        self.bn_dw = nn.BatchNorm2d(inner) if stride > 1 else nn.Identity()
        self.se = SqueezeExcite(inner, run.reduced, "relu", "hard") if run.gated else nn.Identity()
        self.ghost2 = GhostModule(inner, run.c_out, None)
        self.shortcut = nn.Sequential()
        if stride > 1 or run.c_in != run.c_out:
            self.shortcut = nn.Sequential(
                conv(run.c_in, run.c_in, kernel, stride, groups=run.c_in),
                nn.BatchNorm2d(run.c_in),
                conv(run.c_in, run.c_out, 1),
                nn.BatchNorm2d(run.c_out),
            )

    def last_norms(self) -> tuple[nn.Module, ...]:
        return self.ghost2.primary_conv[1], self.ghost2.cheap_operation[1]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.se(self.bn_dw(self.conv_dw(self.ghost1(x))))
        return self.ghost2(y) + self.shortcut(x)


def _groups(runs: Sequence[Sequence[GhostRun]], activation: Activation) -> list[nn.Sequential]:
    """The blocks as timm groups them: a strided block alone, the others up to the next one together."""
    groups: list[list[nn.Module]] = [[]]
    for run in (run for stage in runs for run in stage):
        blocks: list[nn.Module] = [GhostBottleneck(run, activation) for _ in range(run.times)]
        if run.stride > 1:
            groups += [blocks, []]
        else:
            groups[-1] += blocks
    return [nn.Sequential(*blocks) for blocks in groups if blocks]


class GhostNetModule(nn.Module):
    """A stem, ghost bottlenecks, a 1x1 convolution, pooling, a 1x1 head with bias and a linear classifier."""

    def __init__(
        self,
        stem: int,
        runs: Sequence[Sequence[GhostRun]],
        top: int,
        head: int,
        activation: Activation,
        num_classes: int,
        dropout: float,
    ) -> None:
        super().__init__()
        act = ACTIVATIONS[activation]
        self.conv_stem = conv(3, stem, 3, stride=2)
        self.bn1 = nn.BatchNorm2d(stem)
        self.act1 = act(inplace=True)
        last = conv(runs[-1][-1].c_out, top, 1)
        final = nn.Sequential(OrderedDict(conv=last, bn1=nn.BatchNorm2d(top), act=act(inplace=True)))
        self.blocks = nn.Sequential(*_groups(runs, activation), nn.Sequential(final))
        self.conv_head = PooledConv2d(top, head, 1)
        self.act2 = act(inplace=True)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(head, num_classes)

    def get_classifier(self) -> nn.Linear:
        return self.classifier

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        return self.blocks(self.act1(self.bn1(self.conv_stem(x))))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.forward_features(x).mean((2, 3), keepdim=True)
        return self.classifier(self.dropout(self.act2(self.conv_head(x)).flatten(1)))
