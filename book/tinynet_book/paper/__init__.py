"""The paper's numbers as data, and the ledger that holds each claim against a measurement."""

import math
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from tinynet_core.networks import Network, network
from tinynet_core.scaling.scale import Scale

MACS_DIGITS = {"table2": -2}
"""Decimals of a million to which FLOPs are printed: Table 2 prints tenths of a billion, the others whole millions."""
TOLERANCE = 0.02
"""Relative distance from a printed number within which ours counts as the same."""


@cache
def _tables() -> dict[str, list[dict[str, Any]]]:
    return yaml.safe_load((Path(__file__).parent / "tables.yaml").read_text(encoding="utf-8"))


def rows(name: str) -> list[dict[str, Any]]:
    """The rows of a table as they are kept in ``tables.yaml``."""
    return _tables()[name]


def table(name: str) -> pd.DataFrame:
    """A table as the paper prints it.

    ``params`` and ``macs`` are in millions, ``top1``, ``top5`` and average precisions in percent, ``latency_ms`` in
    milliseconds; what is not printed is missing. Table 7 is an architecture.
    """
    frame = pd.DataFrame(rows(name)).drop(columns=["network", "scale", "note"], errors="ignore")
    return frame.convert_dtypes() if name == "table7" else frame  # whole numbers stay whole beside what is missing


def costs(name: str) -> pd.DataFrame:
    """The cost columns of Table 1 ... 6 beside our exact counts, one row per row of the table.

    ``model`` as printed and ``network`` as named here; ``paper_params`` and ``paper_macs`` as printed, in millions, NaN
    where there is none; ``params`` and ``macs`` as counted; ``params_off`` and ``macs_off``, their relative distance.
    ``match``: each printed number of the row is ours after rounding, or within 2% of ours. ``note`` explains every row
    that is no match, and marks the networks whose r, d and w were never published.
    """
    digits = MACS_DIGITS.get(name, 0)
    lines = []
    for row in rows(name):
        cost = _spec(row).complexity()
        printed = {"params": row.get("params", math.nan), "macs": row["macs"]}
        ours = {"params": cost.params / 1e6, "macs": cost.macs / 1e6}
        line = {"model": row["model"], "network": row.get("network", "efficientnet_b0")}
        for key in ("params", "macs"):
            line |= {f"paper_{key}": printed[key], key: getattr(cost, key)}
        line |= {f"{key}_off": ours[key] / printed[key] - 1 for key in ("params", "macs")}
        line["match"] = _same(ours["params"], printed["params"], 1) and _same(ours["macs"], printed["macs"], digits)
        lines.append({**line, "note": row.get("note", "")})
    return pd.DataFrame(lines)


def _same(ours: float, printed: float, digits: int) -> bool:
    """Whether ``ours`` rounds to the ``printed`` number or is within 2% of it; nothing printed is always the same."""
    return math.isnan(printed) or round(ours, digits) == printed or abs(ours / printed - 1) <= TOLERANCE


def _spec(row: dict[str, Any]) -> Network:
    """The network that a row of a table is about."""
    return network(row.get("network", "efficientnet_b0"), Scale(**row["scale"]) if "scale" in row else None)


def recount(spec: Network) -> tuple[int, int]:
    """MACs and parameters of the built module: torch's ``FlopCounterMode``, and the sizes of all parameters added up.

    The module and one image are on the ``meta`` device. torch counts two operations for each multiply-add of a
    convolution or a matrix product, and nothing else; the result is half of them.
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from tinynet_core.networks.trace import ShapesOnly

    with torch.device("meta"):
        module = spec.module(0.0).eval()
        image = torch.empty(1, 3, spec.resolution, spec.resolution)
    with FlopCounterMode(display=False) as counter, torch.no_grad(), ShapesOnly():
        module(image)
    return counter.get_total_flops() // 2, sum(p.numel() for p in module.parameters())
