"""The numbers of the paper as data, and the ledger that compares each claim of the paper with a measurement."""

import math
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from tinynet_core.networks import Network, network
from tinynet_core.scaling.scale import Scale

MACS_DIGITS = {"table2": -2}
"""Printed decimals of FLOPs in millions. Table 2 prints tenths of a billion, the other tables whole millions."""
TOLERANCE = 0.02
"""Largest relative distance at which our number counts as the same as the printed number."""


@cache
def _tables() -> dict[str, list[dict[str, Any]]]:
    return yaml.safe_load((Path(__file__).parent / "tables.yaml").read_text(encoding="utf-8"))


def rows(name: str) -> list[dict[str, Any]]:
    """Return the rows of a table as ``tables.yaml`` stores them."""
    return _tables()[name]


def table(name: str) -> pd.DataFrame:
    """Return a table as the paper prints it.

    ``params`` and ``macs`` are in millions, ``top1``, ``top5`` and average precisions in percent, ``latency_ms`` in
    milliseconds. Numbers that the paper does not print are missing. Table 7 describes an architecture.
    """
    frame = pd.DataFrame(rows(name)).drop(columns=["network", "scale", "note"], errors="ignore")
    return frame.convert_dtypes() if name == "table7" else frame  # keeps integers beside missing values


def costs(name: str) -> pd.DataFrame:
    """Return the printed costs of a table (1 to 6) beside our exact counts, one row per row of the table.

    ``model`` is the printed name, ``network`` the name in this package. ``paper_params`` and ``paper_macs`` are the
    printed numbers in millions, or NaN. ``params`` and ``macs`` are our counts, ``params_off`` and ``macs_off`` their
    relative distances. ``match`` is true if our rounded count equals each printed number or is within 2% of it.
    ``note`` explains each row without a match. It also marks networks whose r, d and w were never published.
    """
    lines = []
    for row in rows(name):
        named = row.get("network", "efficientnet_b0")
        cost = network(named, Scale(**row["scale"]) if "scale" in row else None).complexity()
        line = {"model": row["model"], "network": named, "params": cost.params, "macs": cost.macs}
        line |= {"paper_params": row.get("params", math.nan), "paper_macs": row["macs"]}
        lines.append(line | {"match": True, "note": row.get("note", "")})
    frame = pd.DataFrame(lines)
    for key, digits in (("params", 1), ("macs", MACS_DIGITS.get(name, 0))):
        ours, printed = frame[key] / 1e6, frame[f"paper_{key}"]
        off = ours / printed - 1
        frame[f"{key}_off"] = off
        frame["match"] &= printed.isna() | (ours.round(digits) == printed) | (off.abs() <= TOLERANCE)
    return frame


def recount(spec: Network) -> tuple[int, int]:
    """Count the MACs of the built module with torch's ``FlopCounterMode``, and sum the sizes of its parameters.

    The module and one image are on the ``meta`` device. torch counts two operations for each multiply-add of a
    convolution or a matrix product, and nothing else. This function returns half of torch's count as the MACs.
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
