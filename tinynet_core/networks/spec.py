"""A network as pure data: its architecture table, its exact cost without any tensor, and its torch module.

MACs are multiply-adds of convolutions and linear layers for one image, squeeze-excite included; biases, norms,
activation functions and pooling are not counted. The paper, like most of its field, calls this number "FLOPs".
Activations are the elements of all convolution and linear outputs (Radosavovic et al. 2020, section 3). Peak
activations are the largest number of input plus output elements of any one convolution or linear layer. This is the
working memory of running layer by layer, without the feature maps that shortcuts keep.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Union

import numpy as np

from tinynet_core.scaling.scale import Scale

if TYPE_CHECKING:
    from torch import nn

    from tinynet_core.networks.own import TracedNetwork

Activation = Literal["silu", "relu", "relu6", "hswish"]
Head = Literal["fixed", "scaled"]
Int = Any  # a whole number, or an int64 array where a tally counts many networks of one family at once


@dataclass(frozen=True, slots=True)
class Complexity:
    """Exact cost of a network for one image. For many networks, the fields are arrays (``tinynet_core.screen``)."""

    macs: Int
    params: Int
    activations: Int
    peak_activations: Int


class Row(NamedTuple):
    """One row of an architecture table: ``repeats`` blocks, of which the first has ``stride``."""

    operator: str
    channels: int
    kernel: int = 1
    stride: int = 1
    repeats: int = 1
    squeeze: bool = False


@dataclass(frozen=True, slots=True)
class CostedRow:
    """A ``row`` with its square input (``side`` in pixels, ``c_in`` channels) and the costs of this row alone."""

    row: Row
    side: int
    c_in: int
    macs: int
    params: int
    activations: int


class Tally:
    """Follow a square input of ``side`` pixels through the layers of a network and add up their costs.

    Each method counts ``times`` identical consecutive layers at the current side, then sets ``side`` to their output.
    """

    __slots__ = ("activations", "macs", "params", "peak", "side")

    def __init__(self, side: Int) -> None:
        self.side, self.macs, self.params, self.activations, self.peak = side, 0, 0, 0, 0

    def conv_bn(self, c_in: Int, c_out: Int, kernel: int, stride: int = 1, depthwise: bool = False, times: Int = 1):
        """Count a bias-free convolution padded by kernel // 2 and its batch norm. Depthwise needs c_in == c_out."""
        side = self.side
        area = area_in = side * side
        if stride != 1:
            self.side = side = (side - 1) // stride + 1
            area = side * side
        weights = kernel * kernel * c_out if depthwise else kernel * kernel * c_out * c_in
        output = c_out * area
        self.macs += times * weights * area
        self.params += times * (weights + 2 * c_out)
        self.activations += times * output
        self._widest(c_in * area_in + output, times)

    def squeeze_excite(self, channels: Int, reduced: Int, times: Int = 1):
        """Count two 1x1 convolutions with bias on the pooled map."""
        weights = 2 * channels * reduced
        self.macs += times * weights
        self.params += times * (weights + channels + reduced)
        self.activations += times * (channels + reduced)
        self._widest(channels + reduced, times)

    def linear(self, c_in: Int, c_out: Int):
        """Count a linear layer with bias, or a 1x1 convolution with bias on a pooled map."""
        self.macs += c_in * c_out
        self.params += c_in * c_out + c_out
        self.activations += c_out
        self._widest(c_in + c_out, 1)

    def _widest(self, elements: Int, times: Int) -> None:
        if elements > self.peak and times:
            self.peak = elements


class ArrayTally(Tally):
    """A tally of many networks of one family: sides, channels and times may be int64 arrays of equal length."""

    __slots__ = ()

    def _widest(self, elements: Int, times: Int) -> None:
        self.peak = np.maximum(self.peak, elements * (times > 0))


@dataclass(frozen=True, slots=True)
class Network(ABC):
    """A network as pure data: nothing is allocated until ``build``. ``resolution`` is the input's side in pixels.

    For many networks of one family at once, ``scale`` is a ``Scales``, and the numbers that depend on it are arrays.
    """

    name: str
    scale: Scale | None
    resolution: Any
    num_classes: int

    @abstractmethod
    def walk(self, tally: Tally) -> Iterator[Row]:
        """Add the network to ``tally`` part by part. Yield the row of each part after adding it."""

    def module(self, dropout: float) -> "nn.Module":
        """Return the torch module with torch's own initial weights and ``dropout`` before the classifier.

        Its class is in ``networks.modules``, named as this class plus ``Module``: ``GhostNetModule`` for ``GhostNet``.
        """
        from tinynet_core.networks import modules

        return getattr(modules, f"{type(self).__name__}Module")(self, dropout)

    def identity(self) -> dict[str, Any]:
        """Return everything that affects the network's output, as JSON data. Name and scale are labels and left out."""
        content = {key: value for key, value in asdict(self).items() if key not in ("name", "scale")}
        return {"family": type(self).__name__.lower(), **content}

    def complexity(self) -> Complexity:
        """Return the exact MACs, parameters and activations for one image at ``resolution``."""
        tally = (ArrayTally if isinstance(self.resolution, np.ndarray) else Tally)(self.resolution)
        for _ in self.walk(tally):
            pass
        return Complexity(tally.macs, tally.params, tally.activations, tally.peak)

    def rows(self) -> list[CostedRow]:
        """Return the architecture table of the network, each row with its input and its cost."""
        tally = Tally(self.resolution)
        rows, c_in, side, before = [], 3, self.resolution, (0, 0, 0)
        for row in self.walk(tally):
            now = (tally.macs, tally.params, tally.activations)
            rows.append(CostedRow(row, side, c_in, *(x - y for x, y in zip(now, before, strict=True))))
            c_in, side, before = row.channels, tally.side, now
        return rows

    def build(
        self,
        dropout: float = 0.0,
        zero_init_residual: bool = False,
        zero_init_classifier: bool = False,
        weights: str | Path | None = None,
    ) -> "nn.Module":
        """Build the torch module, which maps (N, 3, R, R) float images to (N, num_classes) logits.

        ``dropout`` is applied before the classifier. ``zero_init_residual`` starts the last batch-norm scale of every
        residual branch at zero; otherwise deep thin networks do not start to learn in a short schedule.
        ``zero_init_classifier`` starts the classifier at zero, so that the first loss is log(num_classes). Weights are
        random unless ``weights`` names a library or a file (``networks.weights.load_weights``).
        """
        module = self.module(dropout)
        self.initialise(module, zero_init_residual, zero_init_classifier)
        if weights is not None:
            from tinynet_core.networks.weights import load_weights

            load_weights(module, self.name, weights)
        return module

    def initialise(self, module: "nn.Module", zero_init_residual: bool, zero_init_classifier: bool) -> None:
        """Set weights as in EfficientNet: convolutions He-normal on fan-out, linear layers uniform 1/sqrt(outputs)."""
        from torch import nn

        for m in module.modules():
            if isinstance(m, nn.Conv2d):
                fan_out = m.kernel_size[0] * m.kernel_size[1] * m.out_channels // m.groups
                nn.init.normal_(m.weight, 0.0, math.sqrt(2.0 / fan_out))
                if m.bias is not None:
                    nn.init.zeros_(m.bias)
            elif isinstance(m, nn.Linear):
                bound = 1.0 / math.sqrt(m.out_features)
                nn.init.uniform_(m.weight, -bound, bound)
                nn.init.zeros_(m.bias)
        if zero_init_residual and hasattr(module, "last_norms"):
            for norm in module.last_norms():  # type: ignore[operator]
                nn.init.zeros_(norm.weight)
        if zero_init_classifier:
            nn.init.zeros_(module.get_classifier().weight)  # type: ignore[operator]


Specification = Union["Network", "TracedNetwork"]  # a network at one scale, of this package or your own


# Rounding rules of the released TinyNet code (huawei-noah/Efficient-AI-Backbones, ``tinynet_pytorch/tinynet.py``).
# Each function takes a number or an array, and gives the same results for both.


def round_channels(channels: Any, divisor: int = 8) -> Any:
    """Round to the nearest multiple of ``divisor``, at least ``divisor``, but up if rounding down loses over 10%."""
    if isinstance(channels, np.ndarray):
        whole = np.maximum(divisor, (channels + divisor / 2).astype(np.int64) // divisor * divisor)
        return whole + divisor * (whole < 0.9 * channels)
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * channels else rounded


def round_repeats(repeats: int, depth: Any) -> Any:
    """Round ``repeats`` times ``depth`` to the nearest whole number, half to even, at least one."""
    if isinstance(depth, np.ndarray):
        return np.maximum(1, np.rint(repeats * depth).astype(np.int64))
    return max(1, round(repeats * depth))


def at_least(low: Any, value: Any) -> Any:
    """Return the larger of ``low`` and ``value``, elementwise for an array."""
    return np.maximum(low, value) if isinstance(value, np.ndarray) else max(low, value)
