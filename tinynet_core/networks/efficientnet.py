"""The EfficientNet family: B0 under any scale, the released TinyNets, and the inverse giant formula.

Architecture: Tan and Le 2019, Table 1. Scaling rules: the released TinyNet code (huawei-noah/Efficient-AI-Backbones,
``tinynet_pytorch/tinynet.py``). Parameter names follow timm's, so that its weights load by name.
"""

import math
from dataclasses import dataclass
from functools import cache
from typing import Literal

import torch
from torch import nn
from torch.nn import functional as F

from tinynet_core.budget import solve
from tinynet_core.complexity import Complexity, Tally
from tinynet_core.scale import PAPER_BASE, Base, Scale, giant

Head = Literal["fixed", "scaled"]

# repeats, kernel, stride, expansion, channels
B0_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
B0_STEM, B0_HEAD = 32, 1280

TINYNETS = {
    "tinynet_a": Scale(r=0.86, d=1.2, w=1.0),
    "tinynet_b": Scale(r=0.84, d=1.1, w=0.75),
    "tinynet_c": Scale(r=0.825, d=0.85, w=0.54),
    "tinynet_d": Scale(r=0.68, d=0.695, w=0.54),
    "tinynet_e": Scale(r=0.475, d=0.60, w=0.51),
}
B1_INVERSE = Scale(r=0.86, d=0.8, w=0.89)  # paper, section 3.1
INVERSE_MACS = {2: 98e6, 3: 51e6, 4: 24e6}  # paper, Table 3; the triples were never published
NAMES = ("efficientnet_b0", *TINYNETS, *(f"efficientnet_b-{phi}" for phi in (1, 2, 3, 4)))


def round_channels(channels: float, divisor: int = 8) -> int:
    """Nearest multiple of ``divisor``, at least one, and one more where rounding down would lose over 10%."""
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * channels else rounded


@dataclass(frozen=True, slots=True)
class Stage:
    """A run of ``repeats`` blocks; the first has ``stride`` and goes from ``c_in`` to ``c_out`` channels.

    ``expansion`` 1 is a depthwise-separable block, more is an inverted residual block.
    """

    repeats: int
    kernel: int
    stride: int
    expansion: int
    c_in: int
    c_out: int


@dataclass(frozen=True, slots=True)
class EfficientNet:
    """A member of the family as pure data: nothing is allocated until ``build``."""

    name: str
    scale: Scale
    resolution: int
    stem: int
    stages: tuple[Stage, ...]
    head: int
    num_classes: int

    def complexity(self) -> Complexity:
        """Exact MACs, parameters and activations for one image at ``resolution``."""
        tally = Tally(self.resolution)
        tally.conv_bn(3, self.stem, 3, stride=2)
        for s in self.stages:
            _block_cost(tally, s, s.c_in, s.stride, 1)
            if s.repeats > 1:
                _block_cost(tally, s, s.c_out, 1, s.repeats - 1)
        tally.conv_bn(self.stages[-1].c_out, self.head, 1)
        tally.linear(self.head, self.num_classes)
        return tally.total()

    def build(
        self, dropout: float = 0.0, zero_init_residual: bool = False, zero_init_classifier: bool = False
    ) -> nn.Module:
        """A randomly initialised torch module: (N, 3, R, R) float images to (N, num_classes) logits.

        ``dropout`` is applied before the classifier. ``zero_init_residual`` starts the last batch-norm scale of every
        residual branch at zero, without which deep thin members do not start to learn in a short schedule;
        ``zero_init_classifier`` starts the classifier at zero, so that the first loss is log(num_classes).
        """
        return EfficientNetModule(self, dropout, zero_init_residual, zero_init_classifier)


def efficientnet(
    name: str,
    scale: Scale | None = None,
    num_classes: int = 1000,
    head: Head | None = None,
    base: Base = PAPER_BASE,
) -> EfficientNet:
    """The specification of a member of the family.

    ``efficientnet_b0`` takes any ``scale``; ``tinynet_a`` ... ``tinynet_e`` and ``efficientnet_b-1`` ...
    ``efficientnet_b-4`` have their own. ``head="fixed"`` keeps the stem and never shrinks the head, as the released
    TinyNets do; ``"scaled"`` moves both with the width, as EfficientNet does and as the parameter counts of
    EfficientNet-B^-phi in the paper's Table 3 require. ``None`` takes what the named network has.
    """
    if name not in NAMES:
        raise ValueError(f"unknown EfficientNet {name!r}, known: {', '.join(NAMES)}")
    if name != "efficientnet_b0" and scale is not None:
        raise ValueError(f"{name} has its own scale; use efficientnet_b0 with a Scale instead")
    if isinstance(num_classes, bool) or not isinstance(num_classes, int) or num_classes < 1:
        raise ValueError(f"num_classes must be a whole number above 0, got {num_classes!r}")
    if head not in (None, "fixed", "scaled"):
        raise ValueError(f"head must be 'fixed' or 'scaled', got {head!r}")
    inverse = name.startswith("efficientnet_b-")
    if name in TINYNETS:
        scale = TINYNETS[name]
    elif inverse:
        scale = _inverse_giant(int(name[-1]))
    return _scaled_b0(name, scale or Scale(), num_classes, head or ("scaled" if inverse else "fixed"), base)


def _scaled_b0(name: str, scale: Scale, num_classes: int, head: Head, base: Base) -> EfficientNet:
    def channels_at(width: float, channels: int) -> int:
        return round_channels(channels * width, base.divisor)

    width = scale.w * base.width
    if head == "scaled":
        stem, top = channels_at(width, B0_STEM), channels_at(width, B0_HEAD)
    else:
        stem, top = channels_at(base.width, B0_STEM), channels_at(max(base.width, width), B0_HEAD)
    stages, c_in = [], stem
    for repeats, kernel, stride, expansion, channels in B0_STAGES:
        c_out = channels_at(width, channels)
        stages.append(Stage(max(1, round(repeats * scale.d)), kernel, stride, expansion, c_in, c_out))
        c_in = c_out
    return EfficientNet(name, scale, base.pixels(scale.r), stem, tuple(stages), top, num_classes)


@cache
def _inverse_giant(phi: int) -> Scale:
    """B^-1 as published; B^-2 ... B^-4 on the giant curve where real MACs come nearest to the paper's FLOPs."""
    if phi == 1:
        return B1_INVERSE

    def macs(power: float) -> int:
        return _scaled_b0("", giant(power), 1000, "scaled", PAPER_BASE).complexity().macs

    return giant(solve(macs, INVERSE_MACS[phi], -8.0, 0.0).x)


def _block_cost(tally: Tally, stage: Stage, c_in: int, stride: int, times: int) -> None:
    middle = c_in * stage.expansion
    if stage.expansion > 1:
        tally.conv_bn(c_in, middle, 1, times=times)
    tally.conv_bn(middle, middle, stage.kernel, stride, depthwise=True, times=times)
    tally.squeeze_excite(middle, _squeezed(c_in), times)
    tally.conv_bn(middle, stage.c_out, 1, times=times)


def _squeezed(c_in: int) -> int:
    """Channels inside squeeze-excite: a quarter of the block's input channels."""
    return max(1, c_in // 4)


def _conv(c_in: int, c_out: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    return nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, groups=groups, bias=False)


class PooledConv2d(nn.Conv2d):
    """A 1x1 convolution on a 1x1 map, computed as the linear layer it is: several times faster on a CPU."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.linear(x.flatten(1), self.weight.flatten(1), self.bias)[:, :, None, None]


class SqueezeExcite(nn.Module):
    """Channel gate; ``reduced`` is a quarter of the block's input channels."""

    def __init__(self, channels: int, reduced: int) -> None:
        super().__init__()
        self.conv_reduce = PooledConv2d(channels, reduced, 1)
        self.conv_expand = PooledConv2d(reduced, channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        gate = F.silu(self.conv_reduce(x.mean((2, 3), keepdim=True)), inplace=True)
        return x * self.conv_expand(gate).sigmoid()


class DepthwiseSeparable(nn.Module):
    """Depthwise convolution, squeeze-excite, pointwise projection."""

    def __init__(self, kernel: int, stride: int, c_in: int, c_out: int) -> None:
        super().__init__()
        self.residual = stride == 1 and c_in == c_out
        self.conv_dw = _conv(c_in, c_in, kernel, stride, groups=c_in)
        self.bn1 = nn.BatchNorm2d(c_in)
        self.se = SqueezeExcite(c_in, _squeezed(c_in))
        self.conv_pw = _conv(c_in, c_out, 1)
        self.bn2 = nn.BatchNorm2d(c_out)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.silu(self.bn1(self.conv_dw(x)), inplace=True)
        y = self.bn2(self.conv_pw(self.se(y)))
        return x + y if self.residual else y


class InvertedResidual(nn.Module):
    """Pointwise expansion, depthwise convolution, squeeze-excite, pointwise projection."""

    def __init__(self, kernel: int, stride: int, expansion: int, c_in: int, c_out: int) -> None:
        super().__init__()
        middle = c_in * expansion
        self.residual = stride == 1 and c_in == c_out
        self.conv_pw = _conv(c_in, middle, 1)
        self.bn1 = nn.BatchNorm2d(middle)
        self.conv_dw = _conv(middle, middle, kernel, stride, groups=middle)
        self.bn2 = nn.BatchNorm2d(middle)
        self.se = SqueezeExcite(middle, _squeezed(c_in))
        self.conv_pwl = _conv(middle, c_out, 1)
        self.bn3 = nn.BatchNorm2d(c_out)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.silu(self.bn1(self.conv_pw(x)), inplace=True)
        y = F.silu(self.bn2(self.conv_dw(y)), inplace=True)
        y = self.bn3(self.conv_pwl(self.se(y)))
        return x + y if self.residual else y


class EfficientNetModule(nn.Module):
    """The torch module of an ``EfficientNet`` specification."""

    def __init__(
        self, spec: EfficientNet, dropout: float, zero_init_residual: bool, zero_init_classifier: bool
    ) -> None:
        super().__init__()
        self.conv_stem = _conv(3, spec.stem, 3, stride=2)
        self.bn1 = nn.BatchNorm2d(spec.stem)
        self.blocks = nn.Sequential(*(_stage(s) for s in spec.stages))
        self.conv_head = _conv(spec.stages[-1].c_out, spec.head, 1)
        self.bn2 = nn.BatchNorm2d(spec.head)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(spec.head, spec.num_classes)
        self._initialise(zero_init_residual)
        if zero_init_classifier:
            nn.init.zeros_(self.classifier.weight)

    def _initialise(self, zero_init_residual: bool) -> None:
        """He-normal on fan-out for convolutions, uniform 1/sqrt(classes) for the classifier, as EfficientNet does."""
        for m in self.modules():
            if isinstance(m, nn.Conv2d):
                fan_out = m.kernel_size[0] * m.kernel_size[1] * m.out_channels // m.groups
                nn.init.normal_(m.weight, 0.0, math.sqrt(2.0 / fan_out))
                if m.bias is not None:
                    nn.init.zeros_(m.bias)
            elif isinstance(m, nn.Linear):
                bound = 1.0 / math.sqrt(m.out_features)
                nn.init.uniform_(m.weight, -bound, bound)
                nn.init.zeros_(m.bias)
            elif zero_init_residual and isinstance(m, DepthwiseSeparable | InvertedResidual) and m.residual:
                nn.init.zeros_((m.bn2 if isinstance(m, DepthwiseSeparable) else m.bn3).weight)

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        """Last feature map, (N, head, H, W)."""
        x = F.silu(self.bn1(self.conv_stem(x)), inplace=True)
        return F.silu(self.bn2(self.conv_head(self.blocks(x))), inplace=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.dropout(self.forward_features(x).mean((2, 3))))


def _stage(s: Stage) -> nn.Sequential:
    blocks: list[nn.Module] = []
    for i in range(s.repeats):
        c_in, stride = (s.c_in, s.stride) if i == 0 else (s.c_out, 1)
        if s.expansion == 1:
            blocks.append(DepthwiseSeparable(s.kernel, stride, c_in, s.c_out))
        else:
            blocks.append(InvertedResidual(s.kernel, stride, s.expansion, c_in, s.c_out))
    return nn.Sequential(*blocks)
