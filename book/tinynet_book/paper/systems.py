"""The systems of Figure 7 with their printed accuracies, and the lead of one group over another.

Top-1 and FLOPs are quoted. MACs are recomputed if the system is a network of this package.
"""

import math

import pandas as pd

from tinynet_book.paper import rows
from tinynet_core.networks import network

TABLES = ("table3", "table6", "others")
SERIES = (
    *("MobileNetV1", "MobileNetV2", "MobileNetV3", "ShuffleNetV2", "MnasNet", "FBNet", "ProxylessNAS"),
    *("GreedyNAS", "EfficientNet", "TinyNet", "GhostNet"),
)
"""Series of networks, given by the start of their names."""
TINY_GHOSTS = ("GhostNet-A", "GhostNet-B", "GhostNet-C", "GhostNet-D")
TINY_FORMULA = "GhostNet, tiny formula"
"""Family name of ``TINY_GHOSTS``: GhostNet-A, and the networks that the tiny formula derives from it."""


def family(model: str) -> str:
    """Return the line of Figure 7 for a printed name: its family, and additions such as RA after a plus sign.

    GhostNet-A to -D form a family of their own, apart from the GhostNets that change only the width.
    """
    plain, *added = model.removeprefix("Baseline ").split(" + ")
    found = next(name for name in SERIES if plain.startswith(name))
    return " + ".join([TINY_FORMULA if plain in TINY_GHOSTS else found, *added])


def systems() -> pd.DataFrame:
    """Return every system of Tables 3 and 6 and of Figure 7 once, in order of rising FLOPs.

    Columns: ``model`` and its ``family``; ``flops`` in millions and ``top1`` in percent, both quoted; ``macs``, our
    exact count, NaN if the system is no network of this package; ``augmented``, whether the paper states a training
    with RandAugment; ``source``.
    """
    lines: dict[tuple[str, float], dict] = {}
    for table in TABLES:
        for row in rows(table):
            name = row["model"].removeprefix("Baseline ")
            macs = network(row["network"]).complexity().macs if "network" in row else math.nan
            line = {"model": name, "family": family(name), "flops": row["macs"], "macs": macs, "top1": row["top1"]}
            source = row.get("source", f"Table {table[-1]}")
            lines.setdefault((name, row["top1"]), {**line, "augmented": name.endswith("+ RA"), "source": source})
    return pd.DataFrame(lines.values()).sort_values("flops", kind="stable", ignore_index=True)


def margins(group: pd.DataFrame, others: pd.DataFrame) -> pd.DataFrame:
    """Return how far each system of ``group`` leads its rival: the best of ``others`` with at most the same FLOPs.

    Both arguments are rows of ``systems()``. Columns: ``model``, ``flops``, ``top1``, ``rival``, ``rival_flops``,
    ``rival_top1``, ``margin`` in points of top-1. If no other system is that small, ``rival`` is empty, the rest NaN.
    """
    lines = []
    for x in group.itertuples():
        small = others[others.flops <= x.flops][["model", "flops", "top1"]]
        rival = small.loc[small.top1.idxmax()].tolist() if len(small) else ["", math.nan, math.nan]
        lines.append((x.model, x.flops, x.top1, *rival, round(x.top1 - rival[2], 1)))
    return pd.DataFrame(lines, columns=["model", "flops", "top1", "rival", "rival_flops", "rival_top1", "margin"])
