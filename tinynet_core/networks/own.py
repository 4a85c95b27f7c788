"""Your own networks: any function that builds a torch module from a ``Scale``."""

import sys
import traceback
import warnings
from collections.abc import Callable
from dataclasses import astuple, dataclass, field, replace
from importlib import import_module
from inspect import isfunction
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import nn
from tqdm import tqdm

from tinynet_core.files import UserError
from tinynet_core.networks.spec import Complexity, CostedRow
from tinynet_core.networks.trace import TraceWarning, trace
from tinynet_core.scaling.scale import Scale, Scales

WAYS = ("on the meta device", "after it was built on the CPU", "while it runs on the CPU")
"""Ways to count a module, the fastest first. Only the meta device needs no memory."""


@dataclass(frozen=True)
class TracedFamily:
    """Your own network at any scale, with the methods of ``Family``. Use ``traced`` to create one."""

    builder: Callable[[Scale], nn.Module]
    resolution: int
    name: str
    channels: int
    _costs: dict[Scale, Complexity] = field(default_factory=dict, repr=False, compare=False)
    _ways: list[str] = field(default_factory=list, repr=False, compare=False)
    gaps: list[str] = field(default_factory=list, repr=False, compare=False)
    """Reasons why networks could not be built, for the scales tried so far."""

    def at(self, scale: Scale = Scale()) -> "TracedNetwork":  # noqa: B008
        """Return the network at ``scale`` without building it."""
        pixels = max(1, int(self.resolution * scale.r + 1e-6))
        return TracedNetwork(self.name, pixels, self.channels, self, scale)

    def cost(self, scale: Scale) -> Complexity:
        """Return the exact cost, traced once per scale. Raise ``UserError`` if building or running the module fails."""
        if scale not in self._costs:
            self._costs[scale] = self._traced(self.at(scale))
        return self._costs[scale]

    def screen(self, r: ArrayLike, d: ArrayLike, w: ArrayLike) -> Complexity:
        """Return exact costs at many scales, traced one after the other, as int64 arrays of the scales' shape."""
        scales = Scales(r, d, w)
        flat = zip(scales.r.flat, scales.d.flat, scales.w.flat, strict=True)
        costs = np.array([astuple(self.cost(Scale(*x))) for x in flat], np.int64)
        return Complexity(*costs.reshape(-1, 4).T.reshape(4, *scales.r.shape))

    def _traced(self, network: "TracedNetwork") -> Complexity:
        """Return the cost by the first of ``WAYS`` that works. All later scales use the same way."""
        where, failures = f"{self.name} at {network.scale}", []
        for way in self._ways or WAYS:
            fault = "cannot be built"
            try:
                with torch.device("meta" if way == WAYS[0] else "cpu"):
                    module = network.build()
                if way == WAYS[1]:
                    module.to("meta")
                fault = f"fails on an image of {network.resolution} px with {self.channels} channels"
                cost = trace(module, network.resolution, self.channels)
            except UserError:
                raise
            except (Exception, SystemExit) as error:  # the builder is user code: it may raise anything
                failures.append(f"{fault}: {_reason(error)}")
                continue
            if not cost.macs:
                raise UserError(f"{self.name} has no convolution or linear layer whose cost could be counted")
            if failures and not self._ways:
                said = f"{where} is counted {way}, which is slower: on the meta device it {failures[0]}"
                warnings.warn(said, TraceWarning, stacklevel=2)
            self._ways[:] = [way]
            return cost
        self.gaps.append(f"{where} {failures[-1]}")
        raise UserError(self.gaps[-1])


@dataclass(frozen=True)
class TracedNetwork:
    """A ``TracedFamily`` at one scale. ``resolution`` is the side of the square input in pixels."""

    name: str
    resolution: int
    channels: int
    family: TracedFamily
    scale: Scale

    def complexity(self) -> Complexity:
        """Return the exact cost for one image at ``resolution``."""
        return self.family.cost(self.scale)

    def rows(self) -> list[CostedRow]:
        """Return an empty list, because a builder does not describe its architecture."""
        return []

    def build(self) -> nn.Module:
        """Build the module, with the initial weights that the builder gives it."""
        module = self.family.builder(self.scale)
        if not isinstance(module, nn.Module):
            raise UserError(f"{self.name} must build a torch.nn.Module, got {type(module).__name__}")
        return module


def _reason(error: BaseException) -> str:
    """Return the type and first line of an error, and the last line of user code in its traceback."""
    first = (str(error).strip().splitlines() or [""])[0]
    where = ""
    for frame in traceback.extract_tb(error.__traceback__):
        file = Path(frame.filename)
        others = file.parent == Path(__file__).parent or "site-packages" in file.parts or file.name.startswith("<")
        if not others:
            where = f" ({file.name}, line {frame.lineno})"
    return f"{type(error).__name__}{': ' * bool(first)}{first}{where}"


def traced(
    builder: Callable[[Scale], nn.Module], resolution: int = 224, name: str = "", channels: int = 3
) -> TracedFamily:
    """Wrap your own network, so that ``shrink`` takes it in place of a name. ``.at(scale)`` is the network at a scale.

    ``builder`` takes a ``Scale``, applies d and w in its own way, and returns a torch module. ``resolution`` is the
    side of the square input in pixels at r = 1; r multiplies it. ``channels`` is the number of input channels. Messages
    call the network ``name``, by default the name of ``builder``.
    """
    if not callable(builder) or isinstance(builder, nn.Module):
        raise ValueError(f"builder must be a function of a Scale that returns a module, got a {type(builder).__name__}")
    for key, value in (("resolution", resolution), ("channels", channels)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"{key} must be a whole number above 0, got {value!r}")
    return TracedFamily(builder, resolution, name or getattr(builder, "__name__", type(builder).__name__), channels)


def from_file(name: str, resolution: int | None, channels: int) -> TracedFamily:
    """Return the family for ``file.py:function`` or ``module:function``. A progress bar counts the networks tried."""
    where, _, attribute = name.rpartition(":")
    if not (where and attribute):
        raise UserError(f"{name} must be file.py:function or module:function")
    if where.endswith(".py") and not Path(where).is_file():
        raise UserError(f"there is no file {where}")
    try:
        names = vars(_imported(where))
    except (Exception, SystemExit) as error:  # the file is user code: it may raise anything
        raise UserError(f"{where} cannot be imported: {_reason(error)}") from error
    if attribute not in names:
        there = [name for name, x in names.items() if isfunction(x) or isinstance(x, type)]
        raise UserError(f"{where} has no function {attribute!r}, it has {', '.join(there[-8:]) or 'none'}")
    family = traced(names[attribute], resolution or 224, attribute, channels)
    bar = tqdm(desc=f"networks of {attribute} tried", delay=2, leave=False, disable=None)

    def counted(scale: Scale) -> nn.Module:
        bar.update()
        return family.builder(scale)

    return replace(family, builder=counted)


def _imported(where: str) -> ModuleType:
    """Import a module by name, or from a file. The file may be part of a package and can import files beside it."""
    if not where.endswith(".py"):
        sys.path.append("")
        return import_module(where)
    path = Path(where).resolve()
    folder, name = path.parent, path.stem
    while (folder / "__init__.py").is_file():
        folder, name = folder.parent, f"{folder.name}.{name}"
    sys.path.insert(0, str(folder))
    if "." in name:
        return import_module(name)
    if name in {*sys.modules, *sys.stdlib_module_names}:
        name = f"_{name}"
    module = sys.modules[name] = ModuleType(name)  # dataclasses look up the module of their class in sys.modules
    module.__file__ = str(path)
    exec(compile(path.read_bytes(), path, "exec"), vars(module))
    return module
