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
