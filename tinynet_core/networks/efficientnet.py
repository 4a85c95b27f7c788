"""The EfficientNet family: B0 under any scale, the released TinyNets, B1, and the inverse giant formula.

Architecture: Tan and Le 2019, Table 1. Scaling rules: the released TinyNet code (huawei-noah/Efficient-AI-Backbones,
``tinynet_pytorch/tinynet.py``).
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

from tinynet_core.networks.blocks import Activation, Stage
from tinynet_core.networks.complexity import Row, Tally
from tinynet_core.networks.rounding import at_least, round_channels, round_repeats
from tinynet_core.networks.spec import Network
from tinynet_core.scaling.scale import PAPER_BASE, Base, Scale, Scales, giant
from tinynet_core.scaling.solve import solve

if TYPE_CHECKING:
    from torch import nn

Head = Literal["fixed", "scaled"]

# kind, repeats, kernel, stride, expansion, channels
B0_STAGES: tuple[tuple[Literal["ir", "ds"], int, int, int, int, int], ...] = (
    ("ds", 1, 3, 1, 1, 16),
    ("ir", 2, 3, 2, 6, 24),
    ("ir", 2, 5, 2, 6, 40),
    ("ir", 3, 3, 2, 6, 80),
    ("ir", 3, 5, 1, 6, 112),
    ("ir", 4, 5, 2, 6, 192),
    ("ir", 1, 3, 1, 6, 320),
)
B0_STEM, B0_HEAD = 32, 1280

TINYNETS = {
    "tinynet_a": Scale(r=0.86, d=1.2, w=1.0),
    "tinynet_b": Scale(r=0.84, d=1.1, w=0.75),
    "tinynet_c": Scale(r=0.825, d=0.85, w=0.54),
    "tinynet_d": Scale(r=0.68, d=0.695, w=0.54),
    "tinynet_e": Scale(r=0.475, d=0.60, w=0.51),
}
B1 = Scale(r=240 / 224, d=1.1, w=1.0)  # Tan and Le's released code; it rounds repeats up
B1_INVERSE = Scale(r=0.86, d=0.8, w=0.89)  # paper, section 3.1
INVERSE_MACS = {2: 98e6, 3: 51e6, 4: 24e6}  # paper, Table 3; the triples were never published
INVERSE = tuple(f"efficientnet_b-{phi}" for phi in (1, 2, 3, 4))
NAMES = ("efficientnet_b0", "efficientnet_b1", *TINYNETS, *INVERSE)
SCALABLE = {"efficientnet_b0": PAPER_BASE}


@dataclass(frozen=True, slots=True)
class EfficientNet(Network):
    """A stem, stages of mobile blocks, a 1x1 head (none where ``head`` is 0) and a linear classifier."""

    stem: Any
    stages: tuple[Stage, ...]
    head: Any
    activation: Activation = "silu"

    def walk(self, tally: Tally) -> Iterator[Row]:
        """Tally the network part by part."""
        tally.conv_bn(3, self.stem, 3, stride=2)
        yield Row("conv", self.stem, 3, 2)
        for stage in self.stages:
            yield stage.tally(tally)
        last = self.stages[-1].c_out
        if not isinstance(self.head, int) or self.head:
            tally.conv_bn(last, self.head, 1)
            yield Row("conv", self.head)
            last = self.head
        tally.side = 1
        yield Row("average pooling", last)
        tally.linear(last, self.num_classes)
        yield Row("linear", self.num_classes)

    def module(self, dropout: float) -> "nn.Module":
        """The torch module."""
        from tinynet_core.networks.modules.efficientnet import EfficientNetModule

        return EfficientNetModule(self, dropout)


def efficientnet(name: str, scale: Scale | None, num_classes: int, head: Head | None, base: Base) -> EfficientNet:
    """The specification of a member of the family.

    ``efficientnet_b0`` takes any ``scale``; ``tinynet_a`` ... ``tinynet_e`` and ``efficientnet_b-1`` ...
    ``efficientnet_b-4`` have their own. ``head="fixed"`` keeps the stem and never shrinks the head, as the released
    TinyNets do; ``"scaled"`` moves both with the width, as EfficientNet does and as the parameter counts of
    EfficientNet-B^-phi in the paper's Table 3 require. ``None`` takes what the named network has.
    """
    if name == "efficientnet_b1":
        return scaled(name, B1, num_classes, head or "fixed", base, repeats=lambda n, d: math.ceil(n * d))
    if name in TINYNETS:
        scale = TINYNETS[name]
    elif name in INVERSE:
        return scaled(name, _inverse_giant(int(name[-1])), num_classes, head or "scaled", base)
    return scaled(name, scale or Scale(), num_classes, head or "fixed", base)


def scaled(
    name: str, scale: Any, num_classes: int, head: Head, base: Base, repeats: Any = round_repeats
) -> EfficientNet:
    """B0 at a ``Scale``, or at many ``Scales`` at once."""

    def channels_at(width: Any, channels: int) -> Any:
        return round_channels(channels * width, base.divisor)

    width = scale.w * base.width
    if head == "scaled":
        stem, top = channels_at(width, B0_STEM), channels_at(width, B0_HEAD)
    else:
        stem, top = channels_at(base.width, B0_STEM), channels_at(at_least(base.width, width), B0_HEAD)
    stages, c_in = [], stem
    for kind, n, kernel, stride, expansion, channels in B0_STAGES:
        c_out = channels_at(width, channels)
        stages.append(Stage(kind, repeats(n, scale.d), kernel, stride, expansion, c_in, c_out))
        c_in = c_out
    own = None if isinstance(scale, Scales) else scale
    return EfficientNet(name, own, base.pixels(scale.r), num_classes, stem, tuple(stages), top)


@cache
def _inverse_giant(phi: int) -> Scale:
    """B^-1 as published; B^-2 ... B^-4 on the giant curve where real MACs come nearest to the paper's FLOPs."""
    if phi == 1:
        return B1_INVERSE

    def macs(power: float) -> int:
        return scaled("", giant(power), 1000, "scaled", PAPER_BASE).complexity().macs

    return giant(solve(macs, INVERSE_MACS[phi], -8.0, 0.0).x)
