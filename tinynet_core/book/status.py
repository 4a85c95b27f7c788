"""The page that says how the site was made: every notebook's last run, the machine, and the records behind it all."""

import platform
from collections.abc import Mapping
from datetime import datetime, timedelta
from importlib.metadata import version
from pathlib import Path

import nbformat
import pandas as pd

from tinynet_core.book.conclusions import page_name
from tinynet_core.record import commit, processor
from tinynet_core.resources import cores
from tinynet_core.study import PAGES, Study

_PACKAGES = (
    *("torch", "torchvision", "numpy", "pandas", "scikit-learn", "pymoo", "timm", "onnxruntime", "matplotlib"),
    *("papermill", "jupyter-book"),
)


def status(executed: list[Path], study: Study, stale: Mapping[str, list[str]]) -> str:
    """The generated part of the page, in Markdown; ``stale`` as ``site.stale_pages`` gives it."""
    preset = study.preset
    parts = [f"Preset `{preset.name}`: {preset.about}", _machine(), _notebooks(executed, stale)]
    records = study.store.frame()
    return "\n\n".join(parts if records.empty else [*parts, _records(records)])


def page_of(path: Path) -> str:
    """The name that the page of a notebook has in ``PAGES``, or nothing for one that rests on records of them all."""
    name = path.stem.split("_")[1]
    return name if name in PAGES else ""


def _machine() -> str:
    made = commit()
    tree = {True: "a clean tree", False: "a changed tree", None: "an unknown tree"}[made["clean"]]
    packages = ", ".join(f"{name} {version(name)}" for name in _PACKAGES)
    return (
        f"Built on {processor()}, {cores()} cores, {platform.system()}, Python {platform.python_version()}, from "
        f"commit `{(made['commit'] or 'none')[:10]}` ({tree}), with {packages}."
    )


def _notebooks(executed: list[Path], stale: Mapping[str, list[str]]) -> str:
    lines = ["| page | last run (UTC) | time (h:mm:ss) | state |", "|---|---|---|---|"]
    for path in executed:
        notebook = nbformat.read(path, as_version=4)
        run, trained = notebook.metadata.papermill, "evidence" not in notebook.metadata.get("tinynet", {})
        ended = datetime.fromisoformat(run.end_time).strftime("%Y-%m-%d %H:%M")
        reasons = stale.get(page_of(path), []) if trained else []
        state = f"**stale**: {'; '.join(reasons)}" if reasons else "up to date"
        link = f"[{page_name(path.stem)}](notebooks/{path.name})"
        lines.append(f"| {link} | {ended} | {timedelta(seconds=round(run.duration))} | {state} |")
    return "\n".join(lines)


def _records(records: pd.DataFrame) -> str:
    """How many there are, what they cost, and which code made them."""
    failed = int((records.status == "failed").sum())
    clean = records["clean"].map({True: "clean", False: "changed"}).fillna("unknown")
    commits = ", ".join(
        f"`{str(c)[:10]}` ({s})" for c, s in sorted({*zip(records.commit, clean, strict=True)}, key=str)
    )
    return (
        f"Records: {len(records)}, of which {failed} failed. Training time: "
        f"{timedelta(seconds=round(records.wall_s.sum()))} in all, median {records.wall_s.median():.0f} s a "
        f"model. Devices: {', '.join(sorted(records.device.unique()))}. Commits (state of the tree): {commits}."
    )
