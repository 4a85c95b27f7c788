"""The page about the build of the site: the last run of each notebook, the machine, and the records."""

import platform
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path

import nbformat
import pandas as pd

from tinynet_book.site import markdown_table
from tinynet_book.site.conclusions import page_name
from tinynet_book.site.execute import environment
from tinynet_core.machine import commit, cores, processor
from tinynet_core.study.pages import page_of
from tinynet_core.study.study import Study


def status(executed: list[Path], study: Study, stale: Mapping[str, list[str]], failed: Mapping[str, str]) -> str:
    """Return the generated part of the page, in Markdown. ``stale`` and ``failed`` are as in ``stage``."""
    made = commit()
    tree = {True: "a clean tree", False: "a changed tree", None: "an unknown tree"}[made["clean"]]
    packages = ", ".join(f"{name} {version}" for name, version in environment()["packages"].items())
    machine = (
        f"The site and all notebooks were built on {processor()}, {cores()} cores, {platform.system()}, "
        f"Python {platform.python_version()}, from "
        f"commit `{(made['commit'] or 'none')[:10]}` ({tree}), with {packages}."
    )
    about = f"Preset `{study.preset.name}`: {study.preset.about}"
    return "\n\n".join([about, machine, _notebooks(executed, stale, failed), _records(study.store.frame())])


def _notebooks(executed: list[Path], stale: Mapping[str, list[str]], failed: Mapping[str, str]) -> str:
    lines = []
    for path in executed:
        notebook = nbformat.read(path, as_version=4)
        reasons = stale.get(page_of(path.stem).name, [])
        state = f"**stale**: {'; '.join(reasons)}" if reasons else "up to date"
        if failure := failed.get(path.name):
            state = f"**failed**: `{failure.splitlines()[0]}`"
        spent = timedelta(seconds=round(notebook.metadata.papermill.duration))
        lines.append((f"[{page_name(path.stem)}](notebooks/{path.name})", last_run(notebook), f"{spent}", state))
    return markdown_table(["page", "last run (UTC)", "time (h:mm:ss)", "state"], lines)


def last_run(notebook: nbformat.NotebookNode) -> str:
    """Return the time at which an executed notebook ended, in UTC, to the minute."""
    return datetime.fromisoformat(notebook.metadata.papermill.end_time).strftime("%Y-%m-%d %H:%M")


def _records(records: pd.DataFrame) -> str:
    """Summarize the records: their number, their training time, and the code that made them."""
    spent = records.wall_s[records.kind.isin(["training", "detection"])]
    commits = ", ".join(f"`{str(c)[:10]}`" for c in sorted(records.commit.unique(), key=str))
    return (
        f"Records: {len(records)}, of which {(records.status == 'failed').sum()} failed. Training time, detectors "
        f"included: {timedelta(seconds=round(spent.sum()))} in all, median {spent.median():.0f} s. "
        f"Devices: {', '.join(sorted(records.device.unique()))}. Commits: {commits}. "
        f"Records made from a changed tree: {(records['clean'] == False).sum()}."  # noqa: E712
    )
