"""The three families as torch modules; imported only when a network is built.

Parameter names follow timm's and torchvision's, so that their weights load by name. Training and activation maps call
three methods: ``get_classifier``, ``forward_features`` (the last feature map, of shape (N, C, H, W)) and ``last_norms``
(the batch norms that ``zero_init_residual`` starts at zero).
"""

from collections import OrderedDict
from typing import TYPE_CHECKING, Literal

import torch
from torch import nn
from torch.nn import functional as F

from tinynet_core.networks.spec import Activation

if TYPE_CHECKING:
    from tinynet_core.networks.efficientnet import EfficientNet, Stage
    from tinynet_core.networks.ghostnet import GhostNet, GhostRun
    from tinynet_core.networks.resnet import ResNet, ResNetStage

ACTIVATIONS: dict[str, type[nn.Module]] = {"silu": nn.SiLU, "relu": nn.ReLU, "relu6": nn.ReLU6, "hswish": nn.Hardswish}


def conv(c_in: int, c_out: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    """A bias-free convolution padded by kernel // 2."""
    return nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, groups=groups, bias=False)


class PooledConv2d(nn.Conv2d):
    """A 1x1 convolution on a 1x1 map, computed as the equivalent linear layer: several times faster on a CPU."""

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


def _squeeze(stage: "Stage", channels: int, c_in: int, activation: Activation) -> nn.Module:
    return SqueezeExcite(channels, stage.reduced(c_in), activation, "sigmoid") if stage.squeeze else nn.Identity()


class DepthwiseSeparable(nn.Module):
    """Depthwise convolution, squeeze-excite where the stage has it, pointwise projection."""

    def __init__(self, stage: "Stage", c_in: int, stride: int, activation: Activation) -> None:
        super().__init__()
        plain, act = stage.kind == "v1", ACTIVATIONS[activation]
        self.residual = stride == 1 and c_in == stage.c_out and not plain
        self.conv_dw = conv(c_in, c_in, stage.kernel, stride, groups=c_in)
        self.bn1 = nn.BatchNorm2d(c_in)
        self.act1 = act(inplace=True)
        self.se = _squeeze(stage, c_in, c_in, activation)
        self.conv_pw = conv(c_in, stage.c_out, 1)
        self.bn2 = nn.BatchNorm2d(stage.c_out)
        self.act2 = act(inplace=True) if plain else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.act1(self.bn1(self.conv_dw(x)))
        y = self.act2(self.bn2(self.conv_pw(self.se(y))))
        return x + y if self.residual else y


class InvertedResidual(nn.Module):
    """Pointwise expansion, depthwise convolution, squeeze-excite where the stage has it, pointwise projection."""

    def __init__(self, stage: "Stage", c_in: int, stride: int, activation: Activation) -> None:
        super().__init__()
        middle, act = c_in * stage.expansion, ACTIVATIONS[activation]
        self.residual = stride == 1 and c_in == stage.c_out
        self.conv_pw = conv(c_in, middle, 1)
        self.bn1 = nn.BatchNorm2d(middle)
        self.act1 = act(inplace=True)
        self.conv_dw = conv(middle, middle, stage.kernel, stride, groups=middle)
        self.bn2 = nn.BatchNorm2d(middle)
        self.act2 = act(inplace=True)
        self.se = _squeeze(stage, middle, c_in, activation)
        self.conv_pwl = conv(middle, stage.c_out, 1)
        self.bn3 = nn.BatchNorm2d(stage.c_out)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.act1(self.bn1(self.conv_pw(x)))
        y = self.act2(self.bn2(self.conv_dw(y)))
        y = self.bn3(self.conv_pwl(self.se(y)))
        return x + y if self.residual else y


def _blocks(stage: "Stage", activation: Activation) -> nn.Sequential:
    block = InvertedResidual if stage.kind == "ir" else DepthwiseSeparable
    first = block(stage, stage.c_in, stage.stride, activation)
    return nn.Sequential(first, *(block(stage, stage.c_out, 1, activation) for _ in range(stage.repeats - 1)))


class EfficientNetModule(nn.Module):  # used by Network.module (spec.py), which composes the name
    """A stem, mobile blocks, a 1x1 head (none where ``spec.head`` is 0) and a linear classifier."""

    def __init__(self, spec: "EfficientNet", dropout: float) -> None:
        super().__init__()
        act, head, last = ACTIVATIONS[spec.activation], spec.head, spec.stages[-1].c_out
        self.conv_stem = conv(3, spec.stem, 3, stride=2)
        self.bn1 = nn.BatchNorm2d(spec.stem)
        self.act1 = act(inplace=True)
        self.blocks = nn.Sequential(*(_blocks(stage, spec.activation) for stage in spec.stages))
        self.conv_head = conv(last, head, 1) if head else nn.Identity()
        self.bn2 = nn.BatchNorm2d(head) if head else nn.Identity()
        self.act2 = act(inplace=True) if head else nn.Identity()
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(head or last, spec.num_classes)

    def get_classifier(self) -> nn.Linear:
        return self.classifier

    def last_norms(self) -> list[nn.Module]:
        residual = [b for b in self.modules() if getattr(b, "residual", False)]
        return [b.bn3 if isinstance(b, InvertedResidual) else b.bn2 for b in residual]  # type: ignore[misc]

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        x = self.act1(self.bn1(self.conv_stem(x)))
        return self.act2(self.bn2(self.conv_head(self.blocks(x))))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.dropout(self.forward_features(x).mean((2, 3))))


def _layer(stage: "ResNetStage") -> nn.Sequential:
    from torchvision.models.resnet import BasicBlock, Bottleneck  # imported here: it takes 2 s

    block: type[BasicBlock | Bottleneck] = Bottleneck if stage.bottleneck else BasicBlock
    shortcut = None
    if stage.stride != 1 or stage.c_in != stage.c_out:
        shortcut = nn.Sequential(conv(stage.c_in, stage.c_out, 1, stage.stride), nn.BatchNorm2d(stage.c_out))
    first = block(stage.c_in, stage.channels, stage.stride, shortcut)
    return nn.Sequential(first, *(block(stage.c_out, stage.channels) for _ in range(stage.repeats - 1)))


class ResNetModule(nn.Module):  # used by Network.module (spec.py), which composes the name
    """A 7x7 stem and max pooling, four stages of torchvision's residual blocks, and a linear classifier."""

    def __init__(self, spec: "ResNet", dropout: float) -> None:
        super().__init__()
        self.conv1 = conv(3, spec.stem, 7, stride=2)
        self.bn1 = nn.BatchNorm2d(spec.stem)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.layer1, self.layer2, self.layer3, self.layer4 = (_layer(stage) for stage in spec.stages)
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(spec.stages[-1].c_out, spec.num_classes)

    def get_classifier(self) -> nn.Linear:
        return self.fc

    def last_norms(self) -> list[nn.Module]:
        blocks = [block for layer in (self.layer1, self.layer2, self.layer3, self.layer4) for block in layer]
        return [block.bn3 if hasattr(block, "bn3") else block.bn2 for block in blocks]  # type: ignore[misc]

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.dropout(self.forward_features(x).mean((2, 3))))


class GhostModule(nn.Module):
    """Half of ``c_out`` comes from a 1x1 convolution, the other half from a depthwise 3x3 convolution of the first."""

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

    def __init__(self, run: "GhostRun", activation: Activation) -> None:
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

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.se(self.bn_dw(self.conv_dw(self.ghost1(x))))
        return self.ghost2(y) + self.shortcut(x)


def _groups(spec: "GhostNet") -> list[nn.Sequential]:
    """Group the blocks as timm does: each strided block alone, and all blocks between two strided ones together."""
    groups: list[list[nn.Module]] = [[]]
    for run in (run for stage in spec.runs for run in stage):
        blocks: list[nn.Module] = [GhostBottleneck(run, spec.activation) for _ in range(run.times)]
        if run.stride > 1:
            groups += [blocks, []]
        else:
            groups[-1] += blocks
    return [nn.Sequential(*blocks) for blocks in groups if blocks]


class GhostNetModule(nn.Module):  # used by Network.module (spec.py), which composes the name
    """A stem, ghost bottlenecks, a 1x1 convolution, pooling, a 1x1 head with bias and a linear classifier."""

    def __init__(self, spec: "GhostNet", dropout: float) -> None:
        super().__init__()
        act, top = ACTIVATIONS[spec.activation], spec.top
        self.conv_stem = conv(3, spec.stem, 3, stride=2)
        self.bn1 = nn.BatchNorm2d(spec.stem)
        self.act1 = act(inplace=True)
        last = conv(spec.runs[-1][-1].c_out, top, 1)
        final = nn.Sequential(OrderedDict(conv=last, bn1=nn.BatchNorm2d(top), act=act(inplace=True)))
        self.blocks = nn.Sequential(*_groups(spec), nn.Sequential(final))
        self.conv_head = PooledConv2d(top, spec.head, 1)
        self.act2 = act(inplace=True)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(spec.head, spec.num_classes)

    def get_classifier(self) -> nn.Linear:
        return self.classifier

    def last_norms(self) -> list[nn.Module]:
        ends = [block.ghost2 for block in self.modules() if isinstance(block, GhostBottleneck)]
        return [norm for end in ends for norm in (end.primary_conv[1], end.cheap_operation[1])]

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        return self.blocks(self.act1(self.bn1(self.conv_stem(x))))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.forward_features(x).mean((2, 3), keepdim=True)
        return self.classifier(self.dropout(self.act2(self.conv_head(x)).flatten(1)))
