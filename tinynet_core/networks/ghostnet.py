"""The GhostNet family: GhostNet and GhostNet-A of the paper's Table 7, each at any scale, and GhostNet-B, -C, -D.

GhostNet: Han et al. 2020, Table 1 (huawei-noah/Efficient-AI-Backbones, ``ghostnet_pytorch``). GhostNet-A: Table 7 of
the paper. The table omits kernel sizes and the rounding of inner channels. Both are taken from the 600M network in the
MindSpore model zoo (``research/cv/ghostnet/src/ghostnet600.py``). Depth multiplies the blocks of each stage of equal
output channels. Added blocks repeat the stage's last block.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from tinynet_core.networks.spec import Activation, Head, Network, Row, Tally, at_least, round_channels, round_repeats
from tinynet_core.scaling.scale import Base, Scale

STEM, TOP = 16, 960  # channels before the blocks, and between them and pooling
Stages = tuple[tuple[int, int, tuple[tuple[int, float, bool, int], ...]], ...]


class Layout(NamedTuple):
    """Rows of a GhostNet at width 1 in stages of equal output channels.

    A stage is (output channels, repeats, rows). A row is (kernel, inner channels, squeeze-excite, stride). The last row
    also describes all further blocks of its stage. With ``relative``, inner channels are given as a multiple of the
    input channels. Squeeze-excite divides them by ``squeeze``. Both numbers are rounded to multiples of ``divisor``.
    """

    stages: Stages
    relative: bool
    divisor: int
    squeeze: int
    head: int


STAGES: Stages = (
    (16, 1, ((3, 16, False, 1),)),
    (24, 2, ((3, 48, False, 2), (3, 72, False, 1))),
    (40, 2, ((5, 72, True, 2), (5, 120, True, 1))),
    (80, 4, ((3, 240, False, 2), (3, 200, False, 1), (3, 184, False, 1))),
    (112, 2, ((3, 480, True, 1), (3, 672, True, 1))),
    (160, 5, ((5, 672, True, 2), (5, 960, False, 1), (5, 960, True, 1), (5, 960, False, 1), (5, 960, True, 1))),
)
STAGES_A: Stages = (
    (16, 1, ((3, 1, True, 1),)),
    (24, 2, ((3, 3, True, 2), (3, 3, True, 1))),
    (40, 3, ((5, 3, True, 2), (3, 3, True, 1))),
    (80, 4, ((3, 6, True, 2), (3, 2.5, True, 1))),
    (112, 3, ((3, 6, True, 1), (3, 6, True, 1))),
    (160, 6, ((5, 6, True, 2), (3, 6, True, 1))),
)
GHOSTNET = Layout(STAGES, relative=False, divisor=4, squeeze=4, head=1280)
GHOSTNET_A = Layout(STAGES_A, relative=True, divisor=8, squeeze=10, head=1400)

# layout, and the size at r = d = w = 1
FAMILY = {
    "ghostnet_050": (GHOSTNET, Base(width=0.5, divisor=4)),
    "ghostnet_100": (GHOSTNET, Base(divisor=4)),
    "ghostnet_150": (GHOSTNET, Base(width=1.5, divisor=4)),
    "ghostnet_a": (GHOSTNET_A, Base(resolution=240, width=1.75, divisor=4)),
}
# GhostNet-A shrunk to the parameters and FLOPs of the paper's Table 6. The paper does not publish r, d, w; this project
# chose them. Among all networks with both numbers, with either head, each is the nearest to the r and d of the tiny
# formula. All three turn out to have the scaled head. tests/test_enumeration.py repeats the search.
SHRUNK = {
    "ghostnet_b": Scale(r=0.873, d=1.15, w=0.765),
    "ghostnet_c": Scale(r=0.79, d=0.8, w=0.678),
    "ghostnet_d": Scale(r=0.627, d=0.85, w=0.452),
}
SUFFIXES = ("", "_hswish")
SCALABLE = {name + suffix: base for name, (_, base) in FAMILY.items() for suffix in SUFFIXES}
NAMED_SCALES: dict[str, tuple[str, Scale, Head]] = {
    name + suffix: ("ghostnet_a", scale, "scaled") for name, scale in SHRUNK.items() for suffix in SUFFIXES
}
NAMES = (*SCALABLE, *NAMED_SCALES)


@dataclass(frozen=True, slots=True)
class GhostRun:
    """``times`` equal ghost bottlenecks from ``c_in`` to ``inner`` to ``c_out`` channels. No gate: ``reduced`` is 0."""

    times: Any
    kernel: int
    stride: int
    c_in: Any
    inner: Any
    c_out: Any
    reduced: Any
    gated: bool

    def tally(self, tally: Tally) -> Row:
        times, side = self.times, tally.side
        reshapes = (self.c_in != self.c_out) | (self.stride != 1)
        if reshapes is not False:
            tally.conv_bn(self.c_in, self.c_in, self.kernel, self.stride, depthwise=True, times=times * reshapes)
            tally.conv_bn(self.c_in, self.c_out, 1, times=times * reshapes)
            tally.side = side
        self._ghost(tally, self.c_in, self.inner)
        if self.stride > 1:
            tally.conv_bn(self.inner, self.inner, self.kernel, self.stride, depthwise=True, times=times)
        if self.gated:
            tally.squeeze_excite(self.inner, self.reduced, times)
        self._ghost(tally, self.inner, self.c_out)
        return Row("ghost bottleneck", self.c_out, self.kernel, self.stride, times, self.gated)

    def _ghost(self, tally: Tally, c_in: Any, c_out: Any) -> None:
        """Count a 1x1 convolution for half of the channels, rounded up, and a depthwise 3x3 on these for the rest."""
        half = (c_out + 1) // 2
        tally.conv_bn(c_in, half, 1, times=self.times)
        tally.conv_bn(half, half, 3, depthwise=True, times=self.times)


@dataclass(frozen=True, slots=True)
class GhostNet(Network):
    """A stem, runs of ghost bottlenecks, a 1x1 convolution, pooling, a 1x1 head with bias and a linear classifier."""

    stem: Any
    runs: tuple[tuple[GhostRun, ...], ...]
    top: Any
    head: Any
    activation: Activation

    def walk(self, tally: Tally) -> Iterator[Row]:
        tally.conv_bn(3, self.stem, 3, stride=2)
        yield Row("conv", self.stem, 3, 2)
        for stage in self.runs:
            for run in stage:
                yield run.tally(tally)
        tally.conv_bn(self.runs[-1][-1].c_out, self.top, 1)
        yield Row("conv", self.top)
        tally.side = 1
        yield Row("average pooling", self.top)
        tally.linear(self.top, self.head)
        yield Row("conv", self.head)
        tally.linear(self.head, self.num_classes)
        yield Row("linear", self.num_classes)


def scaled(name: str, scale: Any, num_classes: int, head: Head, base: Base) -> GhostNet:
    """Return the named network at one ``Scale``, or at many at once. ``_hswish`` replaces ReLU by hard-swish.

    All channels before pooling scale with the width, stem included, as in the published widths. The head of 1280
    channels (GhostNet-A: 1400) scales only with ``head="scaled"``.
    """
    plain = name.removesuffix("_hswish")
    layout, own_base = FAMILY["ghostnet_a" if plain in SHRUNK else plain]
    width = scale.w * base.width
    stem = c_in = round_channels(STEM * width, base.divisor)
    stages = []
    for channels, repeats, rows in layout.stages:
        c_out = round_channels(channels * width, base.divisor)
        blocks, ends = round_repeats(repeats, scale.d), len(rows) - 1
        counts = [*((blocks > i) * 1 for i in range(ends)), at_least(0, blocks - ends)]
        runs: list[GhostRun] = []
        for times, (kernel, inner, gated, stride) in zip(counts, rows, strict=True):
            c_inner = round_channels(inner * (c_in if layout.relative else width), layout.divisor)
            reduced = round_channels(c_inner // layout.squeeze, layout.divisor) if gated else 0
            if not isinstance(times, int) or times > 0:
                runs.append(GhostRun(times, kernel, stride, c_in, c_inner, c_out, reduced, gated))
            c_in = c_out
        stages.append(tuple(runs))
    top = round_channels(TOP * width, layout.divisor)
    head_width = base.width / own_base.width * (scale.w if head == "scaled" else 1.0)
    wide = round_channels(layout.head * head_width, 8)
    activation: Activation = "hswish" if name.endswith("_hswish") else "relu"
    return GhostNet(name, scale, base.pixels(scale.r), num_classes, stem, tuple(stages), top, wide, activation)
