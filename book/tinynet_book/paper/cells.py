"""Every number printed in Tables 1 to 7. Each number is a claim of the ledger."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from tinynet_book.paper import MACS_DIGITS, rows

COSTS = ("params", "macs")
COST_NOTEBOOK = "06_table3_costs"
NOTEBOOKS = {
    "table1": "05_table1_tinynet",
    "table2": "17_table2_resnet",
    "table3": "12_table3_imagenet",
    "table4": "15_table4_latency",
    "table5": "16_table5_detection",
    "table6": "19_table6_ghostnet",
    "table7": "07_table7_ghostnet_a",
}
"""Page that checks the numbers of each table. The costs of all tables are on ``COST_NOTEBOOK`` instead."""
TABLES = tuple(NOTEBOOKS)
PUBLIC = {"table3": "26_released_tinynets", "table4": "26_released_tinynets", "table6": "28_networks_in_the_field"}
"""Page that compares the ImageNet accuracies of a table with measurements by third parties."""
ACCURACIES = ("top1", "top5")
PRECISIONS = {
    "map": "mAP",
    "ap50": "AP50",
    "ap75": "AP75",
    "map_small": "AP small",
    "map_medium": "AP medium",
    "map_large": "AP large",
}
"""Printed names of the columns of Table 5, by their names in records and in ``tables.yaml``."""
_CHANNELS = 8
"""Divisor of the inner channels of GhostNet-A. A printed expansion is therefore exact only to half of it."""


@cache
def _columns() -> dict[str, dict[str, Any]]:
    return yaml.safe_load(Path(__file__).with_name("columns.yaml").read_text(encoding="utf-8"))


class Cell(NamedTuple):
    """A printed ``number`` with its ``table``, ``row`` (from 0) and ``column``, and the ``id`` of its claim."""

    table: str
    row: int
    column: str
    number: float
    id: str


def cells(name: str) -> list[Cell]:
    """Return all numbers of a table in printed order. Rows of the same network share the ids of their costs."""
    own = Counter(_name(row) for row in rows(name))
    found = []
    for i, row in enumerate(rows(name)):
        printed = row.get("model", "")
        for column in (key for key in _columns() if key in row):
            shared = column in COSTS or own[_name(row)] == 1
            label = f"row_{i + 1}" if name == "table7" else _name(row) if shared else _slug(printed)
            found.append(Cell(name, i, column, float(row[column]), f"{name}-{label}-{column}"))
    return found


def cell_claims() -> Iterator[dict[str, Any]]:
    """Yield the fields of one ``claims.Claim`` per cell. The costs of a network appear once, even in several rows."""
    every: dict[str, Cell] = {}
    for cell in (cell for name in TABLES for cell in cells(name)):
        every.setdefault(cell.id, cell)
    return map(_claim, every.values())


def _claim(cell: Cell) -> dict[str, Any]:
    row, column = rows(cell.table)[cell.row], _columns()[cell.column]
    digits = MACS_DIGITS.get(cell.table, column["digits"]) if cell.column == "macs" else column["digits"]
    tolerance = column["tolerance"] * (cell.number if column.get("relative") else 1)
    if cell.column == "exp":
        tolerance = _CHANNELS / 2 / row["c_in"] + 1e-9
    model = row.get("model") or f"row {cell.row + 1} of Table 7, {row['operator']},"
    statement = column["statement"].format(model=model, number=f"{cell.number:.{max(column['digits'], 0)}f}")
    return {
        "id": cell.id,
        "source": f"Table {cell.table[-1]}",
        "statement": statement[0].upper() + statement[1:],
        "paper": cell.number,
        "unit": column["unit"],
        "digits": digits,
        "tolerance": tolerance,
        "notebook": COST_NOTEBOOK if cell.column in COSTS else NOTEBOOKS[cell.table],
        "public": PUBLIC.get(cell.table, "") if cell.column in ACCURACIES else "",
    }


def _name(row: dict[str, Any]) -> str:
    return str(row.get("network") or _slug(row.get("model", "")))


def _slug(model: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", unicodedata.normalize("NFKC", model).lower()).strip("_")
