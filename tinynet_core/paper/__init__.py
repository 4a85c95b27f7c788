"""The paper's numbers as data, and the ledger that holds each claim against a measurement."""

from pathlib import Path

import pandas as pd
import yaml

from tinynet_core.networks import network
from tinynet_core.scale import Scale


def table(name: str) -> pd.DataFrame:
    """A table as the paper prints it (``macs`` in millions, ``top1`` in percent), with our exact ``real_macs``."""
    tables = yaml.safe_load((Path(__file__).parent / "tables.yaml").read_text())
    if name not in tables:
        raise ValueError(f"unknown table {name!r}, known: {', '.join(tables)}")
    frame = pd.DataFrame(tables[name])
    frame["real_macs"] = [
        network(row.get("network", "efficientnet_b0"), Scale(**row["scale"]) if "scale" in row else None)
        .complexity()
        .macs
        for row in tables[name]
    ]
    return frame[["model", "macs", "real_macs", "top1"]]
