"""The ResNet family: ResNet-18, -34 and -50, each at any scale, and ResNet-50 shrunk as in the paper's Table 2.

Architecture: He et al. 2016, Table 1, with the stride on the 3x3 convolution as in torchvision. Depth
multiplies the blocks of each of the four stages, and width all channels after the stem. The paper gives no rule for
ResNet, so these are the rules of the TinyNets.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tinynet_core.networks.spec import Head, Network, Row, Tally, round_channels, round_repeats
from tinynet_core.scaling.scale import PAPER_BASE, Base, Scale

STEM = 64
CHANNELS = (64, 128, 256, 512)
REPEATS = {"resnet18": (2, 2, 2, 2), "resnet34": (3, 4, 6, 3), "resnet50": (3, 4, 6, 3)}
# ResNet-50 shrunk to the FLOPs of the paper's Table 2. The paper does not publish r, d, w; this project chose them.
# resnet50_a and _b follow the tiny formula, with the width solved on exact MACs. The others follow the giant formula.
# Decimals are as short as the cost allows. tests/test_enumeration.py repeats the search.
SHRUNK = {
    "resnet50_a": Scale(r=0.927, d=1.15, w=0.94),
    "resnet50_b": Scale(r=0.79, d=1.05, w=0.82),
    "resnet50_giant_a": Scale(r=0.952, d=0.94, w=0.967),
    "resnet50_giant_b": Scale(r=0.83, d=0.78, w=0.88),
}
SCALABLE = dict.fromkeys(REPEATS, PAPER_BASE)
NAMED_SCALES: dict[str, tuple[str, Scale, Head]] = {name: ("resnet50", x, "fixed") for name, x in SHRUNK.items()}
NAMES = (*SCALABLE, *NAMED_SCALES)


@dataclass(frozen=True, slots=True)
class ResNetStage:
    """``repeats`` blocks of ``channels`` inner channels; the first has ``stride`` and takes ``c_in`` channels."""

    repeats: Any
    stride: int
    c_in: Any
    channels: Any
    bottleneck: bool

    @property
    def c_out(self) -> Any:
        return self.channels * 4 if self.bottleneck else self.channels

    def tally(self, tally: Tally) -> Row:
        side = tally.side
        reshapes = (self.c_in != self.c_out) | (self.stride != 1)
        if reshapes is not False:
            tally.conv_bn(self.c_in, self.c_out, 1, self.stride, times=reshapes)
            tally.side = side
        self._block(tally, self.c_in, self.stride, 1)
        self._block(tally, self.c_out, 1, self.repeats - 1)
        operator = "bottleneck" if self.bottleneck else "basic block"
        return Row(operator, self.c_out, 3, self.stride, self.repeats)

    def _block(self, tally: Tally, c_in: Any, stride: int, times: Any) -> None:
        if self.bottleneck:
            tally.conv_bn(c_in, self.channels, 1, times=times)
            tally.conv_bn(self.channels, self.channels, 3, stride, times=times)
            tally.conv_bn(self.channels, self.c_out, 1, times=times)
        else:
            tally.conv_bn(c_in, self.channels, 3, stride, times=times)
            tally.conv_bn(self.channels, self.channels, 3, times=times)


@dataclass(frozen=True, slots=True)
class ResNet(Network):
    """A 7x7 stem and max pooling, four stages of residual blocks, and a linear classifier."""

    stem: Any
    stages: tuple[ResNetStage, ...]

    def walk(self, tally: Tally) -> Iterator[Row]:
        tally.conv_bn(3, self.stem, 7, stride=2)
        yield Row("conv", self.stem, 7, 2)
        tally.side = (tally.side - 1) // 2 + 1  # pooling costs nothing
        yield Row("max pooling", self.stem, 3, 2)
        for stage in self.stages:
            yield stage.tally(tally)
        tally.side = 1
        yield Row("average pooling", self.stages[-1].c_out)
        tally.linear(self.stages[-1].c_out, self.num_classes)
        yield Row("linear", self.num_classes)


def scaled(name: str, scale: Any, num_classes: int, head: Head, base: Base) -> ResNet:
    """Return the named network at one ``Scale``, or at many at once. ``head="scaled"`` scales the stem too."""
    kind = "resnet50" if name in SHRUNK else name
    width = scale.w * base.width
    stem = c_in = round_channels(STEM * (width if head == "scaled" else base.width), base.divisor)
    stages = []
    for i, (n, channels) in enumerate(zip(REPEATS[kind], CHANNELS, strict=True)):
        inner = round_channels(channels * width, base.divisor)
        stage = ResNetStage(round_repeats(n, scale.d), 1 if i == 0 else 2, c_in, inner, kind == "resnet50")
        stages.append(stage)
        c_in = stage.c_out
    return ResNet(name, scale, base.pixels(scale.r), num_classes, stem, tuple(stages))
