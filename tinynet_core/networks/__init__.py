"""Network families by name: a pure-data specification first, a torch module only on ``build``."""

import difflib

from tinynet_core.networks import efficientnet as _efficientnet
from tinynet_core.networks.efficientnet import EfficientNet, Head
from tinynet_core.scale import PAPER_BASE, Base, Scale

NAMES: tuple[str, ...] = _efficientnet.NAMES
SCALABLE: tuple[str, ...] = ("efficientnet_b0",)


def network(
    name: str,
    scale: Scale | None = None,
    num_classes: int = 1000,
    head: Head | None = None,
    base: Base = PAPER_BASE,
) -> EfficientNet:
    """The specification of the network called ``name``, at ``scale`` where the name stands for a scalable family.

    Raises ``ValueError`` for an unknown name (with the nearest known ones), for a scale given to a network that has its
    own, and for a class count below one.
    """
    if name not in NAMES:
        near = difflib.get_close_matches(str(name), NAMES, n=3, cutoff=0.4)
        raise ValueError(f"unknown network {name!r}, nearest: {', '.join(near or NAMES)}")
    return _efficientnet.efficientnet(name, scale, num_classes, head, base)
