"""The blocks of mobile networks, as data with a cost."""

from dataclasses import dataclass
from typing import Any, Literal

from tinynet_core.networks.complexity import Row, Tally
from tinynet_core.networks.rounding import at_least

Activation = Literal["silu", "relu", "relu6", "hswish"]


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
        """Add the cost of the stage to ``tally``."""
        self._block(tally, self.c_in, self.stride, 1)
        if not isinstance(self.repeats, int) or self.repeats > 1:
            self._block(tally, self.c_out, 1, self.repeats - 1)
        operator = {"ir": f"inverted residual x{self.expansion}", "ds": "separable", "v1": "separable"}[self.kind]
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
