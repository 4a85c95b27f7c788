"""The GhostNet family as torch modules. Parameter names follow timm's, so that its weights load by name."""

from collections import OrderedDict

import torch
from torch import nn

from tinynet_core.networks.blocks import Activation
from tinynet_core.networks.ghostnet import GhostNet, GhostRun
from tinynet_core.networks.modules.blocks import ACTIVATIONS, PooledConv2d, SqueezeExcite, conv


def _groups(spec: GhostNet) -> list[nn.Sequential]:
    """The blocks as timm groups them: a strided block alone, the others up to the next one together."""
    groups: list[list[nn.Module]] = [[]]
    for run in (run for stage in spec.runs for run in stage):
        blocks: list[nn.Module] = [GhostBottleneck(run, spec.activation) for _ in range(run.times)]
        if run.stride > 1:
            groups += [blocks, []]
        else:
            groups[-1] += blocks
    return [nn.Sequential(*blocks) for blocks in groups if blocks]


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
        """Batch norms at the end of the residual branch: one for each half of its channels."""
        return self.ghost2.primary_conv[1], self.ghost2.cheap_operation[1]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.se(self.bn_dw(self.conv_dw(self.ghost1(x))))
        return self.ghost2(y) + self.shortcut(x)


class GhostNetModule(nn.Module):
    """The torch module of a ``GhostNet`` specification."""

    def __init__(self, spec: GhostNet, dropout: float) -> None:
        super().__init__()
        act = ACTIVATIONS[spec.activation]
        self.conv_stem = conv(3, spec.stem, 3, stride=2)
        self.bn1 = nn.BatchNorm2d(spec.stem)
        self.act1 = act(inplace=True)
        last = conv(spec.runs[-1][-1].c_out, spec.top, 1)
        final = nn.Sequential(OrderedDict(conv=last, bn1=nn.BatchNorm2d(spec.top), act=act(inplace=True)))
        self.blocks = nn.Sequential(*_groups(spec), nn.Sequential(final))
        self.conv_head = PooledConv2d(spec.top, spec.head, 1)
        self.act2 = act(inplace=True)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(spec.head, spec.num_classes)

    def get_classifier(self) -> nn.Linear:
        """The last layer."""
        return self.classifier

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        """Last feature map, (N, top, H, W)."""
        return self.blocks(self.act1(self.bn1(self.conv_stem(x))))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.forward_features(x).mean((2, 3), keepdim=True)
        return self.classifier(self.dropout(self.act2(self.conv_head(x)).flatten(1)))
