"""Format the tables of all pages in one way: headings with words and units, few digits, aligned numbers."""

import hashlib
import math
import re
from typing import Any

import numpy as np
import pandas as pd
from pandas.io.formats.style import Styler

PERCENT, POINTS, MILLIONS = (100, ".1f"), (100, ".1f"), (1e-6, "")
COLUMNS: dict[str, tuple[str, float, str]] = {
    "top1": ("top-1 (%)", *PERCENT),
    "raw_top1": ("top-1 of raw weights (%)", *PERCENT),
    "sd": ("SD between seeds (points)", *POINTS),
    "off": ("off the budget", 1, "+.1%"),
    "gain_points": ("gain (points)", 1, "+.1f"),
    "macs": ("MACs (millions)", *MILLIONS),
    "flops": ("FLOPs (millions)", *MILLIONS),
    "rival_flops": ("FLOPs of the rival (millions)", *MILLIONS),
    "rival_top1": ("top-1 of the rival (%)", *PERCENT),
    "margin": ("lead (points)", 1, "+.1f"),
    "real_macs": ("MACs (millions, recomputed)", *MILLIONS),
    "params": ("parameters (millions)", *MILLIONS),
    "activations": ("activations (millions)", *MILLIONS),
    "peak_activations": ("peak activations (millions)", *MILLIONS),
    "resolution": ("input (px)", 1, ",.0f"),
    "side": ("input (px)", 1, ",.0f"),
    "c_in": ("channels in", 1, ",.0f"),
    "wall_s": ("training (s)", 1, ",.0f"),
    "r_std": ("SD of r", 1, ".3f"),
    "d_std": ("SD of d", 1, ".3f"),
    "w_eq5": ("w by Eq. 5", 1, ".3f"),
    "model": ("network", 1, ""),
}
"""Columns of numbers: heading, factor and number format. Costs have three significant digits."""
WORDS = {"macs": "MACs", "flops": "FLOPs", "params": "parameters", "top1": "top-1", "ema": "EMA"}
WORDS |= {"std": "SD", "sd": "SD"}
"""Words for parts of the names of all other columns."""
ROWS = 12
"""Rows of a long table that are visible before the reader unfolds the table."""
_MINUS, _TIMES = re.compile(r"(?<![\w)])-(?=\d)"), re.compile(r"(?<=\d)x(?=\d|\b)")
_NUMBER = re.compile(r"[+−]?\d[\d,.]*%?( [±\[].*)?$")
_UNIT = re.compile(r"(?<=.) (\([^()]+\))$")


def html(frame: pd.DataFrame) -> str:
    """Return ``frame`` as an HTML table of class ``dataframe``. A long table shows only its first rows until unfolded.

    Numbers have at most four significant digits. An unnamed index of row numbers is left out. The frame's attribute
    ``bold`` lists, by column, the positions of highlighted cells.
    """
    counts = isinstance(frame.index, pd.RangeIndex) and frame.index.name is None
    shown = frame if counts else _with_index(frame)
    shown.columns = [", ".join(filter(None, map(str, x))) if isinstance(x, tuple) else str(x) for x in shown.columns]
    text = pd.DataFrame({i: _texts(name, shown.iloc[:, i]) for i, name in enumerate(shown.columns)})
    right = [i for i in text if _is_of_numbers(text[i])]
    name = hashlib.sha256(text.to_csv().encode()).hexdigest()[:12]
    styled = Styler(text, uuid=name, cell_ids=False).hide(axis="index").format(escape="html")
    styled = styled.relabel_index(_headings(shown), axis="columns").set_table_attributes('class="dataframe"')
    classes = pd.DataFrame("", text.index, text.columns)
    classes[right] = "number"
    for i, name in enumerate(shown.columns):
        classes.iloc[frame.attrs.get("bold", {}).get(name, []), i] += " best"
    styled = styled.set_td_classes(classes)
    table = re.sub(r"<style.*?</style>\n?", "", styled.to_html(), flags=re.S)
    for i in right:
        table = table.replace(f'level0 col{i}"', f'level0 col{i} number"')
    if len(text) <= ROWS + 2:
        return table
    fold = f'<input type="checkbox" id="all-{name}"><label for="all-{name}">Show all {len(text)} rows</label>'
    return f'<div class="long">{fold}{table}</div>'


def _with_index(frame: pd.DataFrame) -> pd.DataFrame:
    """Turn the index into columns. With several levels, equal names in a row appear once in the first column."""
    names = [name or f"_{i}" for i, name in enumerate(frame.index.names)]
    shown = frame.set_axis(frame.index.set_names(names)).reset_index()
    if len(names) > 1:
        first = shown.columns[0]
        shown[first] = shown[first].mask(shown[first] == shown[first].shift(), "")
    return shown.rename(columns=dict(zip(shown.columns, ["" if x.startswith("_") else x for x in names], strict=False)))


def _headings(frame: pd.DataFrame) -> list[str]:
    words = []
    for i, name in enumerate(frame.columns):
        if name in COLUMNS and (COLUMNS[name][1] == 1 or any(map(_is_number, frame.iloc[:, i]))):
            words.append(COLUMNS[name][0])
        else:
            words.append(" ".join(WORDS.get(part, part) for part in name.replace("_", " ").split()))
    return [_UNIT.sub(r' <span class="unit">\1</span>', x) for x in words]


def _texts(name: str, column: pd.Series) -> list[str]:
    """Return a column's values as text. Numbers without a format have as many decimals as the largest one needs."""
    _, factor, form = COLUMNS.get(name, ("", 1.0, ""))
    sizes = [abs(x) for x in column if _is_number(x) and math.isfinite(x)]
    if (factor, form) == PERCENT and max(sizes, default=0) > 1:
        factor = 1.0  # printed in percent, not a fraction
    if (factor, form) == MILLIONS:
        factor = factor if max(sizes, default=0) >= 1e4 else 1.0  # else printed in millions
        return [millions(x * factor * 1e6) if _is_number(x) else _text(x) for x in column]
    digits = 0 if all(float(x).is_integer() for x in sizes) else min(3, _decimals(max(sizes), 4))
    return [_text(x * factor, form or f",.{digits}f") if _is_number(x) else _text(x) for x in column]


def millions(value: float) -> str:
    """Return a cost in millions as text, with three significant digits or, if there are more, all integer digits."""
    return _text(value / 1e6, f",.{_decimals(value / 1e6, 3)}f")


def _decimals(value: float, significant: int) -> int:
    return max(0, significant - 1 - math.floor(math.log10(abs(value)))) if value and math.isfinite(value) else 0


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool | np.bool_)


def _text(value: Any, form: str = "") -> str:
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if value is None or value is pd.NA or value != value:
        return ""
    return typeset(format(value, form) if form else str(value))


def typeset(text: str) -> str:
    """Replace - before a number with −, and x after or between numbers with ×."""
    return _TIMES.sub("×", _MINUS.sub("−", text))


def _is_of_numbers(texts: pd.Series) -> bool:
    said = [x for x in texts if x]
    return bool(said) and sum(bool(_NUMBER.match(x)) for x in said) > len(said) / 2
