"""Fill the page on performance with the tables and the figure of what the scripts here wrote.

python benchmarks/page.py
"""

import json
import re
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from tinynet_book.figures import BLUE, RED
from tinynet_book.site import markdown_table
from tinynet_core.study.presets import project_root

Section = dict[str, Any]
Row = dict[str, Any]

BOOK = project_root() / "book"
GROWTH = ("growth", "exponents")
_PLACE = re.compile(r"(<!-- results: (.+?) -->\n).*?(<!-- end -->)", re.S)
_SIGNS = {"at_least": "≥", "at_most": "≤"}


def filled(page: str, sections: dict[str, Section]) -> str:
    """A page with the tables of now between its marks ``<!-- results: GROUP -->`` and ``<!-- end -->``.

    The group ``targets`` is every row that has a target, ``history`` those of earlier runs too. A group without rows
    says that it was not measured.
    """
    return _PLACE.sub(lambda place: f"{place[1]}\n{performance_table(sections, place[2])}\n\n{place[3]}", page)


def performance_table(sections: dict[str, Section], group: str) -> str:
    """The rows of ``group`` as a table in Markdown, with the command and the machine below it."""
    if group == "targets":
        rows = [row for s in sections.values() for row in s["rows"] if _target(row)]
        verdicts = ["met" if meets(row) else "**missed**" for row in rows]
        return _markdown(_table(rows).assign(verdict=verdicts))
    if group == "history":
        return _history(sections)
    parts = []
    for section in sections.values():
        if rows := [row for row in section["rows"] if row["group"] == group]:
            parts.append(f"{_markdown(_table(rows))}\n\n{_origin(section)}")
    return "\n\n".join(parts) or f"*Not measured: `book/benchmarks.json` holds no rows of {group}.*"


def _history(sections: dict[str, Section]) -> str:
    """Every measurement that had a target, the newest first, those that were replaced included."""
    runs = []
    for section in sections.values():
        machine = section["machine"]
        now = {"date": section["date"], "commit": machine["commit"], "processor": machine["processor"]}
        latest = now | {"rows": [row for row in section["rows"] if _target(row)]}
        runs += [*(run for run in section.get("history", []) if run["rows"] != latest["rows"]), latest]
    about = [
        _table(run["rows"]).assign(date=run["date"], commit=f"`{str(run['commit'])[:10]}`", processor=run["processor"])
        for run in sorted(runs, key=lambda run: run["date"], reverse=True)
    ]
    every = pd.concat(about)
    return _markdown(every[["date", "commit", "processor", *every.columns.drop(["date", "commit", "processor"])]])


def _table(rows: list[Row]) -> pd.DataFrame:
    lines = {
        "what": [row["what"] + (f", {row['x_label']} {_number(row['x'])}" if "x" in row else "") for row in rows],
        "against": [row.get("peer", "") for row in rows],
        "target": [_target(row) for row in rows],
        "measured": [_quantity(row["value"], row) for row in rows],
        "spread": [_spread(row) for row in rows],
    }
    return pd.DataFrame(lines)


def _markdown(table: pd.DataFrame) -> str:
    shown = table.loc[:, (table != "").any()]
    return markdown_table([*shown], shown.to_numpy().tolist())


def meets(row: Row) -> bool:
    """Whether the median of a row is on the right side of its target."""
    return bool(row.get("at_least", -np.inf) <= row["value"] <= row.get("at_most", np.inf))


def _target(row: Row) -> str:
    return " and ".join(f"{sign} {_quantity(row[key], row)}" for key, sign in _SIGNS.items() if key in row)


def _spread(row: Row) -> str:
    if row["n"] == 1 and "interval" not in row:
        return "one run"
    kind = "95% interval" if "interval" in row else f"range of {row['n']}"
    return f"{_number(row['low'])} to {_number(row['high'])}, {kind}"


def _quantity(value: float, row: Row) -> str:
    return _number(value) + {"x": "×", "%": "%", "": ""}.get(row["unit"], f" {row['unit']}")


def _number(x: float) -> str:
    return f"{x:,.0f}" if abs(x) >= 100 else f"{x:.3g}"


def _origin(section: Section) -> str:
    machine = section["machine"]
    packages = ", ".join(f"{name} {version}" for name, version in machine["packages"].items())
    gpu = f", {machine['gpu']}" if machine["gpu"] else ""
    load = f"{'at most ' * (section['others_are'] == 'most')}{section['others']:.0%}"
    return (
        f"`{section['command']}` on {section['date']}: {machine['processor']}, {machine['cores']} cores, "
        f"{machine['memory_gib']:g} GiB{gpu}; Python {machine['python']}, {packages}; commit "
        f"`{str(machine['commit'])[:10]}`{' with changes' * (machine['clean'] is False)}. "
        f"Other programs took {load} of the cores meanwhile."
    )


def growth_figure(points: list[Row], exponents: list[Row]) -> Figure:
    """Cost against each thing that it grows with, both axes logarithmic, the fitted power in the title."""
    labels = list(dict.fromkeys(row["x_label"] for row in points))
    figure, panels = plt.subplots(1, len(labels), figsize=(3.4 * len(labels), 3.6), squeeze=False, layout="constrained")
    for axes, label, power in zip(panels[0], labels, exponents, strict=True):
        rows = [row for row in points if row["x_label"] == label]
        x, y, low, high = (np.array([row[key] for row in rows]) for key in ("x", "value", "low", "high"))
        axes.errorbar(x, y, [y - low, high - y], fmt="o", color=BLUE, markersize=5, elinewidth=0.8)
        through = np.exp(np.mean(np.log(y) - power["value"] * np.log(x)))
        axes.plot(x, through * x ** power["value"], color=RED, linewidth=1)
        interval = f"[{power['low']:.2f}, {power['high']:.2f}]"
        axes.set_title(f"exponent {power['value']:.2f}\n{interval}", fontsize="medium")
        axes.set(xlabel=label, ylabel=f"time of one {rows[0]['what']} ({rows[0]['unit']})", xscale="log", yscale="log")
        axes.set_xticks(x, [_number(each) for each in x], fontsize="small")
        axes.minorticks_off()
    return figure


def main() -> None:
    sections = json.loads((BOOK / "benchmarks.json").read_text(encoding="utf-8"))
    page = BOOK / "performance.md"
    page.write_text(filled(page.read_text(encoding="utf-8"), sections), encoding="utf-8")
    rows = {group: [x for s in sections.values() for x in s["rows"] if x["group"] == group] for group in GROWTH}
    growth_figure(*rows.values()).savefig(BOOK / "growth.png", metadata={"Software": None})


if __name__ == "__main__":
    main()
