"""The ledger of claims as a page: a table to search, filter and sort, that is whole without a script as well."""

from html import escape
from importlib.resources import files
from itertools import islice

import pandas as pd

COLUMNS = {
    "source": "where",
    "statement": "the paper says",
    "paper": "paper",
    "ours": "here",
    "verdict": "verdict",
    "evidence": "evidence",
    "interval": "95% interval",
    "tolerance": "tolerance",
    "page": "page",
    "note": "note",
    "records": "records",
}
FILTERS = ("verdict", "evidence", "place")
"""Fields of a row that a list chooses from; ``place`` is the first part of its source, such as Table 3."""
_SHOWN_KEYS = 2


def ledger_html(ledger: pd.DataFrame, page_names: dict[str, str]) -> str:
    """Filters and table of ``claims.ledger``; ``page_names`` says how the page of each notebook is called."""
    rows = ledger.assign(place=ledger.source.str.partition(",")[0], evidence=ledger.evidence.replace("", "none"))
    lists = "".join(_list(name, rows[name]) for name in FILTERS)
    head = "".join(
        f'<th scope="col" aria-sort="none"><button type="button">{name}</button></th>' for name in COLUMNS.values()
    )
    body = "\n".join(_row(row, page_names) for row in rows.to_dict("records"))
    script = files("tinynet_core.book").joinpath("ledger.js").read_text()
    return (
        f'<div class="ledger-filters"><label>Search <input type="search" id="ledger-search"></label>{lists}'
        f'<output id="ledger-count" aria-live="polite">{len(rows)} of {len(rows)} claims</output></div>\n'
        '<div class="ledger-scroll" role="region" aria-label="Claims" tabindex="0">'
        f'<table id="ledger"><thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>\n'
        f"<script>\n{script}</script>"
    )


def _list(name: str, values: pd.Series) -> str:
    options = "".join(f"<option>{escape(value)}</option>" for value in dict.fromkeys(sorted(values)))
    choice = f'<select data-filter="{name}"><option value="">all</option>{options}</select>'
    return f"<label>{name.capitalize()} {choice}</label>"


def _row(row: dict, page_names: dict[str, str]) -> str:
    page = f'<a href="notebooks/{row["notebook"]}.html">{escape(page_names[row["notebook"]])}</a>'
    cells = {**row, "page": page, "records": _records(row["records"].split())}
    filters = " ".join(f'data-{name}="{escape(row[name])}"' for name in FILTERS)
    shown = (cells[name] if name == "page" else escape(str(cells[name])) for name in COLUMNS)
    return f'<tr id="claim-{row["id"]}" {filters}>{"".join(f"<td>{cell}</td>" for cell in shown)}</tr>'


def _records(keys: list[str]) -> str:
    """The first keys, cut as everywhere on the site, and how many more there are."""
    more = len(keys) - _SHOWN_KEYS
    return ", ".join(key[:12] for key in islice(keys, _SHOWN_KEYS)) + (f" and {more} more" if more > 0 else "")
