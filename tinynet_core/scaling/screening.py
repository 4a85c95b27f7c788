"""Exact costs of very many scales of one network at once."""

from dataclasses import asdict

import numpy as np
from numpy.typing import ArrayLike

from tinynet_core.networks import SCALABLE, Head, family_of, network
from tinynet_core.networks.complexity import Complexity
from tinynet_core.scaling.scale import Base, Scale, Scales

CHUNK = 16_384
"""Candidates counted together: few enough that the intermediate arrays stay in the processor's cache."""


def screen(
    name: str,
    r: ArrayLike,
    d: ArrayLike,
    w: ArrayLike,
    num_classes: int = 1000,
    head: Head = "fixed",
    base: Base | None = None,
) -> Complexity:
    """Exact cost of a network at very many scales, the integers that ``network`` gives one by one.

    Parameters
    ----------
    name
        A scalable network.
    r, d, w
        Multipliers of resolution, depth and width: arrays of one shape, or that broadcast to one.
    num_classes, head, base
        As for ``network``.

    Returns
    -------
    Complexity
        MACs, parameters, activations and peak activations, int64 arrays of that shape.

    Raises
    ------
    ValueError
        The network takes no scale, a multiplier is not finite and above zero, or a cost does not fit 64 bits.
    """
    network(name, num_classes=num_classes, head=head, base=base)
    family, scales = family_of(name), Scales(r, d, w)
    shape, n = scales.r.shape, scales.r.size
    if n:
        largest = network(
            name, Scale(*(float(x.max()) for x in (scales.r, scales.d, scales.w))), num_classes, head, base
        )
        if max(asdict(largest.complexity()).values()) >= 2**63:
            raise ValueError(f"{name} at {largest.scale} has a cost beyond 64 bits: screen smaller scales")
    flat = [x.reshape(-1) for x in (scales.r, scales.d, scales.w)]
    columns = np.empty((4, n), dtype=np.int64)
    for start in range(0, n, CHUNK):
        part = slice(start, start + CHUNK)
        spec = family.scaled(name, Scales(*(x[part] for x in flat)), num_classes, head, base or SCALABLE[name])
        cost = spec.complexity()
        columns[:, part] = cost.macs, cost.params, cost.activations, cost.peak_activations
    return Complexity(*(column.reshape(shape) for column in columns))
