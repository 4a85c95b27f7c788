"""A second count of what ``complexity`` counts: torch's own counter on a module built without memory."""

import pandas as pd
import torch
from torch.utils.flop_counter import FlopCounterMode

from tinynet_core.networks import Network, network
from tinynet_core.networks.own import ShapesOnly


def recount(spec: Network) -> tuple[int, int]:
    """MACs and parameters of the built module: torch's ``FlopCounterMode``, and the sizes of all parameters added up.

    The module and one image are on the ``meta`` device. torch counts two operations for each multiply-add of a
    convolution or a matrix product, and nothing else; the result is half of them.
    """
    with torch.device("meta"):
        module = spec.module(0.0).eval()
        image = torch.empty(1, 3, spec.resolution, spec.resolution)
    with FlopCounterMode(display=False) as counter, torch.no_grad(), ShapesOnly():
        module(image)
    return counter.get_total_flops() // 2, sum(p.numel() for p in module.parameters())


def crosscheck(costs: pd.DataFrame) -> pd.DataFrame:
    """Each network of a cost table once, counted twice: ``macs`` and ``params`` of the table and of ``recount``."""
    unique = costs.drop_duplicates("network").set_index("network")[["macs", "params"]]
    again = [recount(network(name)) for name in unique.index]
    return unique.assign(macs_again=[m for m, _ in again], params_again=[p for _, p in again])
