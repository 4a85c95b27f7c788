"""The cube explorer: one HTML file with its data, a style sheet and two scripts beside it."""

import json
import shutil
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from plotly.offline import get_plotlyjs  # type: ignore[import-untyped]

from tinynet_book.explorer.data import COMPARED, EQUAL_COST, FRONTIER, GIANTS, SAMPLE, Models, budgets, trained_models
from tinynet_book.tables import millions, typeset
from tinynet_core.study.presets import Preset
from tinynet_core.study.study import Study

TEMPLATES = Path(__file__).parent
MARKERS = {SAMPLE: ("circle", 5), EQUAL_COST: ("square", 4), COMPARED: ("square-open", 4)}
MARKERS |= {GIANTS: ("circle-open", 5), FRONTIER: ("diamond", 8)}
"""Symbol and size in pixels of each group of models, in the order of the legend."""
HEAD = ("group", "r", "d", "w", "input (px)", "MACs", "parameters", "top-1 (%)", "± (points)", "seed", "key")


def write_explorer(study: Study, folder: Path) -> Path:
    """Write the page, its scripts and its tables to ``folder`` and return the path of index.html.

    The page loads no other resources. The same records always give the same bytes.
    """
    sampled = study.sampled
    models = trained_models(sampled)
    steps = budgets(sampled.preset, models.formula) if models.formula else pd.DataFrame()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "plotly.min.js").write_bytes(get_plotlyjs().encode())
    for name in ("explorer.css", "explorer.js"):
        shutil.copyfile(TEMPLATES / name, folder / name)
    models.frame.to_csv(folder / "models.csv", index=False)
    if len(steps):
        steps.drop(columns="command").to_csv(folder / "budgets.csv", index=False)
    index = folder / "index.html"
    index.write_text(_page(sampled.preset, models, steps), encoding="utf-8")
    return index


def _page(preset: Preset, models: Models, steps: pd.DataFrame) -> str:
    frame, positions = models.frame, _positions(steps)
    plotted = frame[np.isfinite(frame[["r", "d", "w", "top1"]].astype(float)).all(axis=1)]
    start = int(np.abs(np.log(2 * steps.c.unique())).argmin()) if positions else 0
    data = {"models": [_point(x) for x in plotted.itertuples()], "markers": MARKERS, "steps": positions, "start": start}
    data["evidence"] = preset.evidence
    template = Environment(
        loader=FileSystemLoader(TEMPLATES, encoding="utf-8"), autoescape=True, undefined=StrictUndefined
    ).get_template("index.html")
    return template.render(
        preset=preset,
        proxy="" if preset.evidence == "trained" else "No accuracy here is an ImageNet number.",
        failed=len(frame) - len(plotted),
        missing=models.missing,
        unable="" if positions else f"No budget can be chosen here: {models.reason or 'no width meets one'}.",
        positions=positions,
        head=HEAD,
        models=[_cells(row) for row in frame.itertuples()],
        data=json.dumps(data, allow_nan=False).replace("<", "\\u003c"),
    )


def _point(row: Any) -> dict[str, Any]:
    """Return the data of a model in the cube: position, top-1 in percent, and the hover text."""
    texts = [text for _, text in _cells(row)]
    hover = "<br>".join(f"{escape(name)}: {escape(text)}" for name, text in zip(HEAD, texts, strict=True))
    place = {"group": row.group, "key": row.key[:12], "at": [row.r, row.d, row.w], "top1": 100 * row.top1}
    return {**place, "cells": texts, "hover": hover}


def _positions(steps: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the texts of each position of the slider, and the place of its network in the cube."""
    found = []
    for c, rows in steps.groupby("c") if len(steps) else ():
        own = rows.iloc[0]
        position: dict[str, Any] = {"c": f"{100 * c:.3g}%", "r": f"{own.r:.3f}", "d": f"{own.d:.3f}"}
        position |= {f"{x}_band": f"{own[f'{x}_low']:.2f} to {own[f'{x}_high']:.2f}" for x in "rd"}
        position |= {"at": [own.r, own.d, own.w], "low": [own.r_low, own.d_low], "high": [own.r_high, own.d_high]}
        found.append(position | {"networks": [_network(row) for row in rows.itertuples()]})
    return found


def _network(row: Any) -> dict[str, Any]:
    """Return a network as pairs of label and text with the command that prints it, or why there is no network."""
    if not np.isfinite(row.w):
        return {"size": row.size_label, "reason": row.reason}
    pairs = [
        ("width w", f"{row.w:.3f}"),
        ("input (px)", f"{row.resolution:.0f}"),
        ("MACs (M)", millions(row.macs)),
        ("off budget", typeset(f"{round(row.off, 3) + 0.0:+.1%}")),
        ("params (M)", millions(row.params)),
    ]
    return {"size": row.size_label, "rows": pairs, "command": row.command}


def _cells(row: Any) -> list[tuple[Any, str]]:
    """Return a model's row of the table: for each cell the value to sort by, and the text."""
    done = row.status == "done" and np.isfinite(row.top1)
    accuracy = [(row.top1, f"{100 * row.top1:.1f}"), (row.top1_half, f"{100 * row.top1_half:.1f}")]
    return [
        (row.group, row.group),
        *((x, f"{x:.3f}") for x in (row.r, row.d, row.w)),
        *((x, f"{x:,.0f}") for x in (row.resolution, row.macs, row.params)),
        *(accuracy if done else [(-1, f"failed: {row.reason or 'no accuracy'}"), (-1, "")]),
        (row.seed, str(row.seed)),
        (row.key, row.key[:12]),
    ]
