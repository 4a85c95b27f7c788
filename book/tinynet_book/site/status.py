"""The page that says how the site was made: every notebook's last run, the machine, and the records behind it all."""

import platform
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path

import nbformat
import pandas as pd

from tinynet_book.site.conclusions import page_name
from tinynet_book.site.execute import environment
from tinynet_core.machine import commit, cores, processor
from tinynet_core.study.pages import page_of
from tinynet_core.study.study import Study


def status(executed: list[Path], study: Study, stale: Mapping[str, list[str]], failed: Mapping[str, str]) -> str:
    """The generated part of the page, in Markdown; ``stale`` and ``failed`` as ``stage`` takes them."""
    preset = study.preset
    parts = [f"Preset `{preset.name}`: {preset.about}", _machine(), _notebooks(executed, stale, failed)]
    records = study.store.frame()
    return "\n\n".join(parts if records.empty else [*parts, _records(records)])


def _machine() -> str:
    made = commit()
    tree = {True: "a clean tree", False: "a changed tree", None: "an unknown tree"}[made["clean"]]
    packages = ", ".join(f"{name} {version}" for name, version in environment()["packages"].items())
    return (
        f"Built, every notebook included, on {processor()}, {cores()} cores, {platform.system()}, "
        f"Python {platform.python_version()}, from "
        f"commit `{(made['commit'] or 'none')[:10]}` ({tree}), with {packages}."
    )


def _notebooks(executed: list[Path], stale: Mapping[str, list[str]], failed: Mapping[str, str]) -> str:
    lines = ["| page | last run (UTC) | time (h:mm:ss) | state |", "|---|---|---|---|"]
    for path in executed:
        notebook = nbformat.read(path, as_version=4)
        reasons = stale.get(page_of(path.stem).name, [])
        state = f"**stale**: {'; '.join(reasons)}" if reasons else "up to date"
        if failure := failed.get(path.name):
            state = f"**failed**: `{failure.splitlines()[0]}`"
        link = f"[{page_name(path.stem)}](notebooks/{path.name})"
        spent = timedelta(seconds=round(notebook.metadata.papermill.duration))
        lines.append(f"| {link} | {last_run(notebook)} | {spent} | {state} |")
    return "\n".join(lines)


def last_run(notebook: nbformat.NotebookNode) -> str:
    """When an executed notebook was done, in UTC to the minute."""
    return datetime.fromisoformat(notebook.metadata.papermill.end_time).strftime("%Y-%m-%d %H:%M")


def _records(records: pd.DataFrame) -> str:
    """How many there are, what they cost, and which code made them."""
    failed = int((records.status == "failed").sum())
    spent = records.wall_s[records.kind.isin(["training", "detection"])]
    clean = records["clean"].map({True: "clean", False: "changed"}).fillna("unknown")
    commits = ", ".join(
        f"`{str(c)[:10]}` ({s})" for c, s in sorted({*zip(records.commit, clean, strict=True)}, key=str)
    )
    return (
        f"Records: {len(records)}, of which {failed} failed. Training time, detectors included: "
        f"{timedelta(seconds=round(spent.sum()))} in all, median {spent.median():.0f} s. "
        f"Devices: {', '.join(sorted(records.device.unique()))}. Commits (state of the tree): {commits}."
    )
