"""Networks by name: a pure-data specification first, a torch module only on ``build``."""

import difflib
from types import ModuleType

from tinynet_core.networks import efficientnet, ghostnet, mobile, peers, resnet
from tinynet_core.networks.efficientnet import Head
from tinynet_core.networks.spec import Network
from tinynet_core.scaling.scale import PAPER_BASE, Base, Scale

__all__ = ["NAMES", "SCALABLE", "Head", "Network", "base_of", "check_scalable", "family_of", "network"]

SCALABLE: dict[str, Base] = {**efficientnet.SCALABLE, **resnet.SCALABLE, **ghostnet.SCALABLE}
"""Networks that take a ``Scale``, with the size that r = d = w = 1 stands for."""
BASES: dict[str, Base] = {**dict.fromkeys(efficientnet.NAMES, PAPER_BASE), **resnet.BASES, **ghostnet.BASES}
"""The same size for every network of these families, those with a scale of their own included."""
NAMES: tuple[str, ...] = (*efficientnet.NAMES, *resnet.NAMES, *ghostnet.NAMES, *mobile.NAMES, *peers.NAMES)


def network(
    name: str,
    scale: Scale | None = None,
    num_classes: int = 1000,
    head: Head | None = None,
    base: Base | None = None,
) -> Network:
    """The specification of a network by name; no torch module is built.

    Parameters
    ----------
    name
        One of ``tinynet_core.networks.NAMES``, such as ``tinynet_a``, ``efficientnet_b0`` or ``resnet50``.
    scale
        For a scalable network: its multipliers, 1 each where left out.
    num_classes
        Outputs of the classifier, at least 1.
    head
        ``"fixed"`` keeps stem and head where the family keeps them, ``"scaled"`` moves them with the width; what the
        named network has where left out.
    base
        The size that r = d = w = 1 stands for, the named network's own where left out; another one makes a proxy.

    Returns
    -------
    Network
        Pure data that knows its exact cost, and how to build itself.

    Raises
    ------
    ValueError
        The name is unknown (the nearest known ones are told), a scale, head or base is given to a network that has its
        own, or ``num_classes`` is below one.
    """
    if name not in NAMES:
        near = difflib.get_close_matches(str(name).strip().lower(), NAMES, n=3, cutoff=0.5)
        hint = f"nearest: {', '.join(near)}" if near else f"known: {', '.join(NAMES)}"
        raise ValueError(f"unknown network {name!r}, {hint}")
    if isinstance(num_classes, bool) or not isinstance(num_classes, int) or num_classes < 1:
        raise ValueError(f"num_classes must be a whole number above 0, got {num_classes!r}")
    if head not in (None, "fixed", "scaled"):
        raise ValueError(f"head must be 'fixed' or 'scaled', got {head!r}")
    if scale is not None and name not in SCALABLE:
        raise ValueError(f"{name} has its own scale; networks that take one: {', '.join(SCALABLE)}")
    if name in efficientnet.NAMES:
        return efficientnet.efficientnet(name, scale, num_classes, head, base or PAPER_BASE)
    if name in BASES:
        build = resnet.resnet if name in resnet.NAMES else ghostnet.ghostnet
        return build(name, scale, num_classes, head, base or BASES[name])
    if head is not None or base is not None:
        raise ValueError(f"{name} is a fixed network: it takes neither head nor base")
    return mobile.mobile(name, num_classes) if name in mobile.NAMES else peers.peer(name, num_classes)


def base_of(name: str) -> Base | None:
    """The size that r = d = w = 1 stands for in the network called ``name``; None for a fixed network."""
    return BASES.get(name)


def check_scalable(name: str) -> None:
    """Raise ``ValueError`` unless ``name`` is a network that takes a ``Scale``."""
    if name not in SCALABLE:
        raise ValueError(f"network must be a scalable one ({', '.join(SCALABLE)}), got {name!r}")


def family_of(name: str) -> ModuleType:
    """The module that scales the network called ``name``."""
    check_scalable(name)
    return next(f for f in (efficientnet, resnet, ghostnet) if name in f.SCALABLE)
