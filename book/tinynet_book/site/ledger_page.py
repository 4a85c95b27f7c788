"""The page of the claims ledger: a table to search, filter and sort. It is complete without JavaScript, too."""

import re
from html import escape
from importlib.resources import files

import pandas as pd

COLUMNS = {
    "source": "where",
    "statement": "the paper says",
    "verdict": "verdict",
    "paper": "paper",
    "ours": "here",
    "interval": "95% interval, or range (third party)",
    "evidence": "evidence",
    "page": "page",
    "note": "note",
    "tolerance": "tolerance",
    "records": "records or source",
}
FILTERS = ("verdict", "evidence", "place")
"""Fields that have a selection list. ``place`` is the first part of a claim's source, such as Table 3."""
_SHOWN_KEYS = 2
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e[-+]?\d+)?")


def ledger_html(ledger: pd.DataFrame, page_names: dict[str, str]) -> str:
    """Return the filters and the table of ``claims.ledger`` as HTML; ``page_names`` are page titles by notebook."""
    rows = ledger.assign(place=ledger.source.str.partition(",")[0], evidence=ledger.evidence.replace("", "none"))
    rows["anchor"] = rows.id.where(~rows.duplicated("id"), rows.id + "-" + rows.evidence.str.replace(" ", "-"))
    lists = "".join(_list(name, rows[name]) for name in FILTERS)
    head = "".join(
        f'<th scope="col" aria-sort="none"><button type="button">{name}</button></th>' for name in COLUMNS.values()
    )
    body = "\n".join(_row(row, page_names) for row in rows.to_dict("records"))
    script = files("tinynet_book.site").joinpath("ledger.js").read_text(encoding="utf-8")
    return (
        f'<div class="ledger-filters"><label>Search <input type="search" id="ledger-search"></label>{lists}'
        f'<output id="ledger-count" aria-live="polite">{len(rows)} of {len(rows)} findings</output></div>\n'
        '<div class="ledger-scroll" role="region" aria-label="Claims" tabindex="0">'
        f'<table id="ledger"><thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>\n'
        f"<script>\n{script}</script>"
    )


def _list(name: str, values: pd.Series) -> str:
    options = "".join(f"<option>{escape(value)}</option>" for value in sorted(values.unique()))
    choice = f'<select data-filter="{name}"><option value="">all</option>{options}</select>'
    return f"<label>{name.capitalize()} {choice}</label>"


def _row(row: dict, page_names: dict[str, str]) -> str:
    texts = {**row, "page": page_names[row["notebook"]]}
    cells = {name: escape(str(texts[name])) for name in COLUMNS}
    cells["page"] = f'<a href="notebooks/{row["notebook"]}.html">{cells["page"]}</a>'
    cells["source"] = f'<a href="#claim-{row["anchor"]}">{cells["source"]}</a>'
    cells["records"] = _records(row["records"].split())
    filters = " ".join(f'data-{name}="{escape(row[name])}"' for name in FILTERS)
    shown = "".join(f"<td{_order(texts[name])}>{cell}</td>" for name, cell in cells.items())
    return f'<tr id="claim-{row["anchor"]}" {filters}>{shown}</tr>'


def _order(text: str) -> str:
    """Return an attribute for sorting with the number at the start of a cell; empty without a number."""
    found = _NUMBER.match(text.lstrip("([+"))
    return f' data-by="{float(found[0])}"' if found else ""


def _records(keys: list[str]) -> str:
    """Return the first record keys, shortened as on the whole site, or links to sources, and the number of others."""
    shown = [f'<a href="{escape(key)}">source</a>' if key.startswith("https:") else key[:12] for key in keys]
    more = len(keys) - _SHOWN_KEYS
    return ", ".join(shown[:_SHOWN_KEYS]) + (f" and {more} more" if more > 0 else "")
