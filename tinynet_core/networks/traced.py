"""Networks that are not in this package: anything that can build a torch module from a ``Scale``."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from tinynet_core.files import UserError
from tinynet_core.networks.complexity import Complexity, CostedRow
from tinynet_core.scaling.scale import Scale

if TYPE_CHECKING:
    from torch import nn


@runtime_checkable
class Specification(Protocol):
    """What shrinking needs of a network at one scale; the networks of this package are such specifications."""

    @property
    def name(self) -> str: ...

    @property
    def resolution(self) -> Any: ...

    def complexity(self) -> Complexity: ...

    def rows(self) -> list[CostedRow]: ...

    def build(self) -> "nn.Module": ...


Family = Callable[[Scale], Specification]
"""A network under any scale; ``family(Scale())`` is the network to shrink."""


@dataclass(frozen=True)
class TracedFamily:
    """A network of your own under any scale, its cost traced on the module that ``builder`` makes.

    ``builder`` takes a ``Scale`` and returns a torch module; it applies d and w as it sees fit. ``resolution`` is the
    side in pixels of the square input of ``channels`` channels at r = 1; r moves it as it does here.
    """

    builder: "Callable[[Scale], nn.Module]"
    resolution: int = 224
    name: str = ""
    channels: int = 3
    _costs: dict[Scale, Complexity] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not callable(self.builder):
            raise ValueError(f"builder must be a function of a Scale, got {self.builder!r}")
        for key in ("resolution", "channels"):
            value = getattr(self, key)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"{key} must be a whole number above 0, got {value!r}")
        if not self.name:
            object.__setattr__(self, "name", getattr(self.builder, "__name__", type(self.builder).__name__))

    def __call__(self, scale: Scale) -> "TracedNetwork":
        """The network at ``scale``; nothing is built yet."""
        return TracedNetwork(self, scale)


@dataclass(frozen=True)
class TracedNetwork:
    """A ``TracedFamily`` at one scale."""

    family: TracedFamily
    scale: Scale

    @property
    def name(self) -> str:
        return self.family.name

    @property
    def channels(self) -> int:
        return self.family.channels

    @property
    def resolution(self) -> int:
        return max(1, int(self.family.resolution * self.scale.r + 1e-6))

    def complexity(self) -> Complexity:
        """Exact MACs, parameters and activations, traced once without memory on the meta device.

        Raises ``UserError`` when the builder gives no torch module, or one that fails on an image of ``resolution``.
        """
        import torch

        from tinynet_core.networks.tracing import trace

        costs = self.family._costs
        if self.scale not in costs:
            try:
                with torch.device("meta"):
                    module = self._module()
            except UserError:
                raise
            except Exception as error:  # the builder is anybody's code
                raise UserError(
                    f"{self.name} at {self.scale} cannot be built on the meta device: {_reason(error)}"
                ) from error
            try:
                costs[self.scale] = trace(module, self.resolution, self.family.channels)
            except Exception as error:
                raise UserError(
                    f"{self.name} at {self.scale} fails on an image of {self.resolution} px with "
                    f"{self.family.channels} channels: {_reason(error)}"
                ) from error
            if not costs[self.scale].macs:
                del costs[self.scale]
                raise UserError(f"{self.name} has no convolution or linear layer whose cost could be counted")
        return costs[self.scale]

    def rows(self) -> list[CostedRow]:
        """Empty: the builder keeps its architecture to itself."""
        return []

    def build(self) -> "nn.Module":
        """The module, with the initial weights that the builder gives it."""
        return self._module()

    def _module(self) -> "nn.Module":
        from torch import nn

        module = self.family.builder(self.scale)
        if not isinstance(module, nn.Module):
            raise UserError(f"{self.name} must build a torch.nn.Module, got {type(module).__name__}")
        return module


def _reason(error: Exception) -> str:
    first = (str(error).strip().splitlines() or [""])[0]
    return f"{type(error).__name__}: {first}" if first else type(error).__name__


def traced(
    builder: "Callable[[Scale], nn.Module]", resolution: int = 224, name: str = "", channels: int = 3
) -> TracedFamily:
    """A network of your own, to be given to ``shrink`` in place of a name.

    Its cost is traced on torch's meta device: shapes, no memory.

    Parameters
    ----------
    builder
        A function that takes a ``Scale`` and returns a torch module; it applies d and w as it sees fit.
    resolution
        Side in pixels of the square input at r = 1; r moves it.
    name
        What messages call it; the name of ``builder`` where left out.
    channels
        Channels of the input.

    Returns
    -------
    TracedFamily
        A function from a ``Scale`` to a specification.

    Raises
    ------
    ValueError
        ``builder`` cannot be called, or a number is not a whole one above zero.
    """
    return TracedFamily(builder, resolution, name, channels)
