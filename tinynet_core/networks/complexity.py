"""Cost of a network: multiply-adds, parameters and activations, from a specification.

MACs are multiply-adds of convolutions and linear layers for one image, squeeze-excite included; biases, norms,
activation functions and pooling are not counted. The paper, like most of its field, calls this number "FLOPs".
Activations are the elements of all convolution and linear outputs (Radosavovic et al. 2020, section 3). Peak
activations are the elements of the input and the output of the one convolution or linear layer that needs most: the
working memory of running layer by layer, without what a shortcut keeps aside.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

Int = Any
"""A whole number, or an int64 array of them: a tally counts one network or many of one family at once."""


@dataclass(frozen=True, slots=True)
class Complexity:
    """Exact cost of one network for one image; arrays for many networks (``tinynet_core.screen``)."""

    macs: Int
    params: Int
    activations: Int
    peak_activations: Int


class Row(NamedTuple):
    """A part of a network as an architecture table lists it: ``repeats`` blocks, the first with ``stride``."""

    operator: str
    channels: int
    kernel: int = 1
    stride: int = 1
    repeats: int = 1
    squeeze: bool = False


@dataclass(frozen=True, slots=True)
class CostedRow:
    """A ``row`` with its square input of ``side`` pixels and ``c_in`` channels, and its own MACs and parameters."""

    row: Row
    side: int
    c_in: int
    macs: int
    params: int


class Tally:
    """Threads a square input of ``side`` pixels through layers and adds up what each one costs.

    Every method stands for ``times`` identical layers in a row at the present side and moves on to the output side.
    """

    __slots__ = ("activations", "macs", "params", "peak", "side")

    def __init__(self, side: Int) -> None:
        self.side, self.macs, self.params, self.activations, self.peak = side, 0, 0, 0, 0

    def conv_bn(self, c_in: Int, c_out: Int, kernel: int, stride: int = 1, depthwise: bool = False, times: Int = 1):
        """A bias-free convolution padded by kernel // 2, then a batch norm; depthwise needs c_in == c_out."""
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
        """Two 1x1 convolutions with bias on the pooled map."""
        weights = 2 * channels * reduced
        self.macs += times * weights
        self.params += times * (weights + channels + reduced)
        self.activations += times * (channels + reduced)
        self._widest(channels + reduced, times)

    def linear(self, c_in: Int, c_out: Int):
        """A linear layer with bias, or a 1x1 convolution with bias on a pooled map."""
        self.macs += c_in * c_out
        self.params += c_in * c_out + c_out
        self.activations += c_out
        self._widest(c_in + c_out, 1)

    def pool(self, stride: int):
        """Pooling by a window of 3 padded by 1: costs nothing, changes the side."""
        self.side = (self.side - 1) // stride + 1

    def total(self) -> Complexity:
        return Complexity(self.macs, self.params, self.activations, self.peak)

    def _widest(self, elements: Int, times: Int) -> None:
        if elements > self.peak and times:
            self.peak = elements


class ArrayTally(Tally):
    """A tally of many networks of one family: sides, channels and times may be int64 arrays of one length."""

    __slots__ = ()

    def _widest(self, elements: Int, times: Int) -> None:
        self.peak = np.maximum(self.peak, elements * (times > 0))


class Walkable(ABC):
    """What a specification gains by threading a tally through itself: its cost and its architecture table."""

    __slots__ = ()
    resolution: Int

    @abstractmethod
    def walk(self, tally: Tally) -> Iterator[Row]:
        """Tally the network part by part, yielding each part's row after it."""

    def complexity(self) -> Complexity:
        """Exact MACs, parameters and activations for one image at ``resolution``."""
        tally = (ArrayTally if isinstance(self.resolution, np.ndarray) else Tally)(self.resolution)
        for _ in self.walk(tally):
            pass
        return tally.total()

    def rows(self) -> list[CostedRow]:
        """The network as an architecture table, each row with its input and its cost."""
        tally = Tally(self.resolution)
        rows, c_in, side, macs, params = [], 3, self.resolution, 0, 0
        for row in self.walk(tally):
            rows.append(CostedRow(row, side, c_in, tally.macs - macs, tally.params - params))
            c_in, side, macs, params = row.channels, tally.side, tally.macs, tally.params
        return rows
