"""The page on performance: its tables and its figure from what the scripts in benchmarks/ wrote."""

import json
import re
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from tinynet_book.figures import BLUE, RED

Section = dict[str, Any]
Row = dict[str, Any]

_PLACE = re.compile(r"<!-- results: (.+?) -->")
_SIGNS = {"at_least": "≥", "at_most": "≤"}


def fill_performance(page: Path, results: Path) -> None:
    """Put tables where ``page`` says ``<!-- results: GROUP -->`` and draw ``growth.png`` beside it.

    ``<!-- results: targets -->`` is every row that has a target. A group without rows says that it was not measured.
    """
    sections: dict[str, Section] = json.loads(results.read_text(encoding="utf-8"))
    text = page.read_text(encoding="utf-8")
    if rows := _rows(sections, "growth"):
        growth_figure(rows, _rows(sections, "exponents")).savefig(
            page.with_name("growth.png"), metadata={"Software": None}
        )
    page.write_text(_PLACE.sub(lambda place: performance_table(sections, place.group(1)), text), encoding="utf-8")


def performance_table(sections: dict[str, Section], group: str) -> str:
    """The rows of ``group`` as a table in Markdown, with the command and the machine below it."""
    if group == "targets":
        return _table([row for s in sections.values() for row in s["rows"] if _target(row)], verdict=True)
    if group == "history":
        return _history(sections)
    found = {script: rows for script in sections if (rows := _rows({script: sections[script]}, group))}
    if not found:
        return f"*Not measured: `book/benchmarks.json` holds no rows of {group}.*"
    return "\n\n".join(f"{_table(rows)}\n\n{_origin(sections[script])}" for script, rows in found.items())


def _history(sections: dict[str, Section]) -> str:
    """Every measurement that had a target, the newest first, those that were replaced included."""
    runs = []
    for section in sections.values():
        machine = section["machine"]
        now = {"date": section["date"], "commit": machine["commit"], "processor": machine["processor"]}
        latest = now | {"rows": [row for row in section["rows"] if _target(row)]}
        runs += [*(run for run in section.get("history", []) if run["rows"] != latest["rows"]), latest]
    lines = ["| date | commit | processor | what | target | measured | spread |", "|---|---|---|---|---|---|---|"]
    for run in sorted(runs, key=lambda run: run["date"], reverse=True):
        for row in run["rows"]:
            said = (
                row["what"] + _at(row) + (f" beside {row['peer']}" if "peer" in row else ""),
                _target(row),
                _quantity(row["value"], row),
                _spread(row),
            )
            cells = (run["date"], f"`{str(run['commit'])[:10]}`", run["processor"], *said)
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _rows(sections: dict[str, Section], group: str) -> list[Row]:
    return [row for section in sections.values() for row in section["rows"] if row["group"] == group]


def _table(rows: list[Row], verdict: bool = False) -> str:
    columns = {"what": [row["what"] + _at(row) for row in rows]}
    columns["against"] = [row.get("peer", "") for row in rows]
    columns["target"] = [_target(row) for row in rows]
    columns["measured"] = [_quantity(row["value"], row) for row in rows]
    columns["spread"] = [_spread(row) for row in rows]
    if verdict:
        columns["verdict"] = ["met" if meets(row) else "**missed**" for row in rows]
    shown = {name: cells for name, cells in columns.items() if any(cells)}
    lines = [" | ".join(shown), "|".join(["---"] * len(shown)), *map(" | ".join, zip(*shown.values(), strict=True))]
    return "\n".join(f"| {line} |" for line in lines)


def meets(row: Row) -> bool:
    """Whether the median of a row is on the right side of its target."""
    return bool(row.get("at_least", -np.inf) <= row["value"] <= row.get("at_most", np.inf))


def _target(row: Row) -> str:
    return " and ".join(f"{sign} {_quantity(row[key], row)}" for key, sign in _SIGNS.items() if key in row)


def _at(row: Row) -> str:
    return f", {row['x_label']} {_number(row['x'])}" if "x" in row else ""


def _spread(row: Row) -> str:
    if row["n"] == 1 and "interval" not in row:
        return "one run"
    kind = "95% interval" if "interval" in row else f"range of {row['n']}"
    return f"{_number(row['low'])} to {_number(row['high'])}, {kind}"


def _quantity(value: float, row: Row) -> str:
    unit = {"x": "×", "%": "%", "": ""}.get(row["unit"], f" {row['unit']}")
    return f"{_number(value)}{unit}"


def _number(x: float) -> str:
    return f"{x:,.0f}" if abs(x) >= 100 else f"{x:.3g}"


def _origin(section: Section) -> str:
    machine = section["machine"]
    packages = ", ".join(f"{name} {version}" for name, version in machine["packages"].items())
    gpu = f", {machine['gpu']}" if machine["gpu"] else ""
    load = f"at most {section['others']:.0%}" if section["others_are"] == "most" else f"{section['others']:.0%}"
    tree = {True: "", False: " with changes", None: ""}[machine["clean"]]
    return (
        f"`{section['command']}` on {section['date']}: {machine['processor']}, {machine['cores']} cores, "
        f"{machine['memory_gib']:g} GiB{gpu}; Python {machine['python']}, {packages}; commit "
        f"`{str(machine['commit'])[:10]}`{tree}. Other programs took {load} of the cores meanwhile."
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
