"""Networks by name, and ``Family``: one network at any scale, to be shrunk, sampled and screened."""

import difflib
from dataclasses import astuple, dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Union

import numpy as np
from numpy.typing import ArrayLike

from tinynet_core.files import UserError
from tinynet_core.networks import efficientnet, fixed, ghostnet, resnet
from tinynet_core.networks.spec import Complexity, Head, Network
from tinynet_core.scaling.scale import Base, Scale, Scales

if TYPE_CHECKING:
    from tinynet_core.networks.own import TracedFamily

CHUNK = 16_384  # candidates counted together: so few that the intermediate arrays stay in the processor's cache
FAMILIES = (efficientnet, resnet, ghostnet)
SCALABLE: dict[str, Base] = {name: base for module in FAMILIES for name, base in module.SCALABLE.items()}
"""Networks that take a ``Scale``, each with its size at r = d = w = 1."""
NAMED_SCALES = {name: own for module in FAMILIES for name, own in module.NAMED_SCALES.items()}
NAMES: tuple[str, ...] = (*(name for module in FAMILIES for name in module.NAMES), *fixed.NAMES)
_SCALED = {name: module.scaled for module in FAMILIES for name in module.NAMES}
AnyFamily = Union["Family", "TracedFamily"]
"""A network at any scale, of this package or your own (``tinynet_core.traced``)."""


@dataclass(frozen=True, slots=True)
class Family:
    """A network of this package at any scale: ``name`` with its ``base``, ``head`` and number of ``classes``."""

    name: str
    base: Base
    head: Head
    classes: int

    @property
    def resolution(self) -> int:
        """Side of the square input at r = 1, in pixels."""
        return self.base.resolution

    def at(self, scale: Scale = Scale()) -> Network:  # noqa: B008
        """Return the network at ``scale``, as pure data."""
        return _SCALED[self.name](self.name, scale, self.classes, self.head, self.base)

    @lru_cache(maxsize=1 << 16)  # noqa: B019  (a family is small, and pages ask for the same budgets again)
    def cost(self, scale: Scale) -> Complexity:
        """Return the exact cost at ``scale``."""
        return self.at(scale).complexity()

    def screen(self, r: ArrayLike, d: ArrayLike, w: ArrayLike) -> Complexity:
        """Return exact costs at many scales; see ``tinynet_core.screen``."""
        scales = Scales(r, d, w)
        flat = [x.reshape(-1) for x in (scales.r, scales.d, scales.w)]
        if scales.r.size:
            largest = Scale(*(float(x.max()) for x in flat))
            if max(astuple(self.cost(largest))) >= 2**63:
                raise ValueError(f"{self.name} at {largest} has a cost beyond 64 bits: screen smaller scales")
        columns = np.empty((4, scales.r.size), dtype=np.int64)
        for start in range(0, scales.r.size, CHUNK):
            part = slice(start, start + CHUNK)
            many: Any = Scales(*(x[part] for x in flat))
            columns[:, part] = astuple(self.at(many).complexity())
        return Complexity(*columns.reshape(4, *scales.r.shape))


def family(name: str, base: Base | None = None, head: Head | None = None, classes: int = 1000) -> Family:
    """Return the family of a scalable network by ``name``, such as ``efficientnet_b0``, ``resnet50``, ``ghostnet_a``.

    A family has ``.at(scale)``, ``.cost(scale)`` and ``.screen(r, d, w)``, and builds no module. ``base``, ``head`` and
    ``classes`` mean the same as in ``network``, where ``classes`` is called ``num_classes``.
    """
    if name not in SCALABLE:
        own = "or your own function (my_file.py:build in the shell, tinynet_core.traced(build) in Python)"
        raise ValueError(f"network must be a scalable one, {', '.join(SCALABLE)}, {own}; got {name!r}")
    _check(name, head, classes)
    return Family(name, base or SCALABLE[name], head or "fixed", classes)


def family_of(net: str | AnyFamily) -> AnyFamily:
    """Return the family called ``net``, or ``net`` itself if it is a family."""
    if isinstance(net, str):
        return family(net)
    if not hasattr(net, "screen"):
        raise UserError(f"net must be a scalable network's name or a family (see tinynet_core.traced), got {net!r}")
    return net


def screen(net: str | AnyFamily, r: ArrayLike, d: ArrayLike, w: ArrayLike) -> Complexity:
    """Return exact costs at very many scales, the same integers that ``network`` gives for each scale.

    ``net`` is the name of a scalable network, or a family. ``r``, ``d`` and ``w`` are arrays that broadcast to one
    shape. The int64 costs have this shape. Raises ``ValueError`` if a cost does not fit in 64 bits.
    """
    return family_of(net).screen(r, d, w)


def network(
    name: str, scale: Scale | None = None, num_classes: int = 1000, head: Head | None = None, base: Base | None = None
) -> Network:
    """Return the network ``name``, one of ``tinynet_core.networks.NAMES``, as pure data: no torch module is built.

    ``scale`` holds the multipliers of a scalable network, 1 each by default. ``num_classes`` is the number of outputs.
    ``head`` ``"fixed"`` keeps stem and head where the family keeps them; ``"scaled"`` multiplies them by the width. By
    default the head is that of the named network. ``base`` is the size at r = d = w = 1. A base other than the
    network's default makes a proxy.

    Raises ``ValueError`` for an unknown name, with the nearest known names, and for a scale, head or base that the
    network does not take.
    """
    _check(name, head, num_classes)
    if scale is not None and name not in SCALABLE:
        raise ValueError(f"{name} has a fixed scale; networks that take one: {', '.join(SCALABLE)}")
    if name in fixed.NAMES:
        if head is not None or base is not None:
            raise ValueError(f"{name} is a fixed network: it takes neither head nor base")
        return fixed.fixed(name, num_classes)
    _, own, own_head = NAMED_SCALES.get(name, (name, scale or Scale(), "fixed"))
    return _SCALED[name](name, own, num_classes, head or own_head, base or base_of(name))


def base_of(name: str) -> Base | None:
    """Return the size at r = d = w = 1 of the network called ``name``, or None for a fixed network."""
    return SCALABLE.get(NAMED_SCALES[name][0] if name in NAMED_SCALES else name)


def _check(name: str, head: Head | None, classes: int) -> None:
    if name not in NAMES:
        near = difflib.get_close_matches(str(name).strip().lower(), NAMES, n=3, cutoff=0.5)
        hint = f"nearest: {', '.join(near)}" if near else f"known: {', '.join(NAMES)}"
        raise ValueError(f"unknown network {name!r}, {hint}")
    if isinstance(classes, bool) or not isinstance(classes, int) or classes < 1:
        raise ValueError(f"num_classes must be a whole number above 0, got {classes!r}")
    if head not in (None, "fixed", "scaled"):
        raise ValueError(f"head must be 'fixed' or 'scaled', got {head!r}")
