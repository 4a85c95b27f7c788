"""Findings that are counted and not trained: the costs of Tables 1 to 6 and the rows of Table 7."""

import pandas as pd

from tinynet_book.paper import costs
from tinynet_book.paper.cells import COSTS, TABLES, cells
from tinynet_book.paper.claims import Finding


def cost_findings() -> dict[str, Finding]:
    """Our exact weights and multiply-adds for every cost that Tables 1 to 6 print, in millions, by claim."""
    found = {}
    for name in TABLES[:-1]:
        ours = costs(name)
        for cell in (x for x in cells(name) if x.column in COSTS):
            row = ours.iloc[cell.row]
            found[cell.id] = Finding(value=row[cell.column] / 1e6, evidence="recomputed", note=row.note)
    return found


def layout_findings(ours: pd.DataFrame) -> dict[str, Finding]:
    """Our value for every cell of Table 7, by claim: ``ours`` has its rows in order and its columns by name."""
    if len(ours) != len({cell.row for cell in cells("table7")}):
        raise ValueError(f"ours must have one row for each of Table 7, got {len(ours)}")
    return {
        cell.id: Finding(value=float(ours[cell.column].iloc[cell.row]), evidence="recomputed")
        for cell in cells("table7")
    }
