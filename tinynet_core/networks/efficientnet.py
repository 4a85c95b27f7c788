"""The EfficientNet family: B0 at any scale, the released TinyNets, B1, and the networks of the inverse giant formula.

Architecture: Tan and Le 2019, Table 1. Scaling rules: the released TinyNet code (huawei-noah/Efficient-AI-Backbones,
``tinynet_pytorch/tinynet.py``).
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from tinynet_core.networks.spec import Activation, Head, Network, Row, Tally, at_least, round_channels, round_repeats
from tinynet_core.scaling.scale import PAPER_BASE, Base, Scale, giant

# kind, repeats, kernel, stride, expansion, channels, squeeze-excite
Layout = Sequence[tuple[Literal["ir", "ds", "v1"], int, int, int, int, int, bool]]
B0_LAYOUT: Layout = (
    ("ds", 1, 3, 1, 1, 16, True),
    ("ir", 2, 3, 2, 6, 24, True),
    ("ir", 2, 5, 2, 6, 40, True),
    ("ir", 3, 3, 2, 6, 80, True),
    ("ir", 3, 5, 1, 6, 112, True),
    ("ir", 4, 5, 2, 6, 192, True),
    ("ir", 1, 3, 1, 6, 320, True),
)
B0_STEM, B0_HEAD = 32, 1280

TINYNETS = {
    "tinynet_a": Scale(r=0.86, d=1.2, w=1.0),
    "tinynet_b": Scale(r=0.84, d=1.1, w=0.75),
    "tinynet_c": Scale(r=0.825, d=0.85, w=0.54),
    "tinynet_d": Scale(r=0.68, d=0.695, w=0.54),
    "tinynet_e": Scale(r=0.475, d=0.60, w=0.51),
}
# B⁻¹ is from the paper's section 3.1. The paper does not publish the other scales: those here lie on the giant curve,
# at the point whose exact MACs come nearest to the FLOPs of Table 3.
INVERSE = {
    "efficientnet_b-1": Scale(r=0.86, d=0.8, w=0.89),
    "efficientnet_b-2": giant(-2.37),
    "efficientnet_b-3": giant(-3.82),
    "efficientnet_b-4": giant(-5.4),
}
B1 = Scale(r=240 / 224, d=1.1, w=1.0)  # as in Tan and Le's released code, which rounds repeats up
SCALABLE = {"efficientnet_b0": PAPER_BASE}
NAMED_SCALES: dict[str, tuple[str, Scale, Head]] = {
    "efficientnet_b1": ("efficientnet_b0", B1, "fixed"),
    **{name: ("efficientnet_b0", scale, "fixed") for name, scale in TINYNETS.items()},
    **{name: ("efficientnet_b0", scale, "scaled") for name, scale in INVERSE.items()},
}
"""Networks with a fixed scale, by name: the network that is scaled, the scale, and the kind of head."""
NAMES = (*SCALABLE, *NAMED_SCALES)


@dataclass(frozen=True, slots=True)
class Stage:
    """A run of ``repeats`` blocks. The first has ``stride`` and goes from ``c_in`` to ``c_out`` channels.

    ``kind`` ``"ir"`` is an inverted residual block (Sandler et al. 2018), ``"ds"`` a depthwise-separable block.
    ``"v1"`` is the block of MobileNetV1, with no shortcut and with an activation after its last layer. ``squeeze`` adds
    squeeze-excite to the blocks, with a quarter of the block's input channels inside.
    """

    kind: Literal["ir", "ds", "v1"]
    repeats: Any
    kernel: int
    stride: int
    expansion: int
    c_in: Any
    c_out: Any
    squeeze: bool

    def tally(self, tally: Tally) -> Row:
        self._block(tally, self.c_in, self.stride, 1)
        self._block(tally, self.c_out, 1, self.repeats - 1)
        operator = f"inverted residual x{self.expansion}" if self.kind == "ir" else "separable"
        return Row(operator, self.c_out, self.kernel, self.stride, self.repeats, self.squeeze)

    def _block(self, tally: Tally, c_in: Any, stride: int, times: Any) -> None:
        middle = c_in * self.expansion
        if self.kind == "ir":
            tally.conv_bn(c_in, middle, 1, times=times)
        tally.conv_bn(middle, middle, self.kernel, stride, depthwise=True, times=times)
        if self.squeeze:
            tally.squeeze_excite(middle, self.reduced(c_in), times)
        tally.conv_bn(middle, self.c_out, 1, times=times)

    @staticmethod
    def reduced(c_in: Any) -> Any:
        """Channels inside squeeze-excite: a quarter of the block's input channels."""
        return at_least(1, c_in // 4)


@dataclass(frozen=True, slots=True)
class EfficientNet(Network):
    """A stem, stages of mobile blocks, a 1x1 head (none where ``head`` is 0) and a linear classifier."""

    stem: Any
    stages: tuple[Stage, ...]
    head: Any
    activation: Activation = "silu"

    def walk(self, tally: Tally) -> Iterator[Row]:
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


def stack(
    layout: Layout, c_in: Any, width: Any, divisor: int = 8, depth: Any = 1.0, rounded: Callable = round_repeats
) -> tuple[Stage, ...]:
    """Build the stages of ``layout`` after ``c_in`` channels. Scale channels by ``width``, repeats by ``depth``."""
    stages = []
    for kind, repeats, kernel, stride, expansion, channels, squeeze in layout:
        c_out = round_channels(channels * width, divisor)
        stages.append(Stage(kind, rounded(repeats, depth), kernel, stride, expansion, c_in, c_out, squeeze))
        c_in = c_out
    return tuple(stages)


def scaled(name: str, scale: Any, num_classes: int, head: Head, base: Base) -> EfficientNet:
    """Return B0 at one ``Scale``, or at many ``Scales`` at once.

    ``head="fixed"`` keeps the stem and never shrinks the head, as the released TinyNets do. ``"scaled"`` multiplies
    both by the width, as EfficientNet does. Only ``"scaled"`` gives the parameters of EfficientNet-B⁻ᵠ in the paper's
    Table 3.
    """
    width = scale.w * base.width
    ends = (width, width) if head == "scaled" else (base.width, at_least(base.width, width))
    stem, top = (round_channels(n * x, base.divisor) for n, x in zip((B0_STEM, B0_HEAD), ends, strict=True))
    rounded = (lambda n, depth: math.ceil(n * depth)) if name == "efficientnet_b1" else round_repeats
    stages = stack(B0_LAYOUT, stem, width, base.divisor, scale.d, rounded)
    return EfficientNet(name, scale, base.pixels(scale.r), num_classes, stem, stages, top)
