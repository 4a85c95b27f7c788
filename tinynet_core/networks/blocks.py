"""The blocks of the three families, as data with a cost; each takes numbers or arrays of them."""

from dataclasses import dataclass
from typing import Any, Literal

from tinynet_core.networks.spec import Row, Tally, at_least

EXPANSION = 4
"""Output channels of a bottleneck block of a ResNet over its inner channels."""


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
        self._block(tally, self.c_in, self.stride, 1)
        if not isinstance(self.repeats, int) or self.repeats > 1:
            self._block(tally, self.c_out, 1, self.repeats - 1)
        operator = f"inverted residual x{self.expansion}" if self.kind == "ir" else "separable"
        return Row(operator, self.c_out, self.kernel, self.stride, self.repeats, self.squeeze)

    def _block(self, tally: Tally, c_in: Any, stride: int, times: Any) -> None:
        middle = c_in * self.expansion
        if self.kind == "ir":
            tally.conv_bn(c_in, middle, 1, times=times)
        tally.conv_bn(middle, middle, self.kernel, stride, depthwise=True, times=times)
        if self.squeeze:
            tally.squeeze_excite(middle, squeezed(c_in), times)
        tally.conv_bn(middle, self.c_out, 1, times=times)


def squeezed(c_in: Any) -> Any:
    """Channels inside squeeze-excite: a quarter of the block's input channels."""
    return at_least(1, c_in // 4)


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
        return self.channels * EXPANSION if self.bottleneck else self.channels

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
class GhostRun:
    """``times`` equal ghost bottlenecks: ``c_in`` to ``inner`` to ``c_out`` channels, ``reduced`` 0 for no gate."""

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
        """Half of the channels by a 1x1 convolution, the rest by a depthwise 3x3 on them; one too many is cut."""
        half = (c_out + 1) // 2
        tally.conv_bn(c_in, half, 1, times=self.times)
        tally.conv_bn(half, half, 3, depthwise=True, times=self.times)
