"""Run the notebooks of the book with papermill."""

import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import nbformat
import papermill
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from papermill.exceptions import PapermillExecutionError
from traitlets.config import Config

from tinynet_book.paper.claims import findings_path
from tinynet_book.site import kernels
from tinynet_core.files import UserError, write_text
from tinynet_core.machine import end_with_driver, folder_for_sockets, processor
from tinynet_core.study.pages import PAGES, lacking, page_of
from tinynet_core.study.presets import Preset, load_preset, project_root
from tinynet_core.study.store import FILE

INPUTS = "inputs"
"""Metadata key of an executed notebook. The value is a digest of all inputs of the notebook."""
CELL_TIMEOUT_S = 12 * 3600
ANSWER_TIMEOUT_S = 600
"""Seconds for a kernel to start or to send a cell's output. Jupyter's 60 s and 4 s are too few on a busy machine."""
PACKAGES = (
    *("torch", "torchvision", "numpy", "pandas", "scikit-learn", "pymoo", "timm", "onnxruntime", "matplotlib"),
    *("papermill", "jupyter-book"),
)
_BEHIND = 33
"""Bytes that a socket's path adds to the folder. The sockets of multiprocessing have the longest paths."""
AT_A_TIME = 2
"""Number of notebooks that run at the same time. Most of their time is the start of the kernel and imports."""


def notebooks(root: Path) -> list[Path]:
    """Return the notebooks of the book in reading order."""
    found = sorted((root / "notebooks").glob("[0-9]*.ipynb"))
    if not found:
        raise UserError(f"no notebooks in {root / 'notebooks'}: the book is built from a checkout of the project")
    return found


def execute_all(preset: str, store: Path, build: Path) -> tuple[list[Path], dict[str, str]]:
    """Return executed copies of all notebooks, and by name why some failed. Failed copies end at the error.

    There is one folder per preset. A copy stores a digest of its inputs, and is made anew only if they change.
    """
    root, folder = project_root(), build / "executed" / load_preset(preset).name
    folder.mkdir(parents=True, exist_ok=True)
    parameters = {"preset": preset, "store": str(store), "train": False}
    shared = _shared_digest(root, preset, parameters) + store_digest(store)
    found = [_offered(n, load_preset(preset), build / "absent", store) for n in notebooks(root)]
    inputs = {n: hashlib.sha256(shared.encode() + n.read_bytes()).hexdigest() for n in found}
    todo = [(n, folder / n.name) for n, digest in inputs.items() if _made_from(folder / n.name) != digest]
    failed: dict[str, str] = {}
    for notebook, reason in _execute_together(todo, parameters, build / "failed"):
        out = folder / notebook.name
        if reason:
            failed[notebook.name] = reason
            out.unlink(missing_ok=True)
            findings_path(store, notebook.stem).unlink(missing_ok=True)  # earlier findings no longer count
        else:
            executed = nbformat.read(out, as_version=4)
            executed.metadata[INPUTS] = inputs[notebook]
            write_text(nbformat.writes(executed), out)
    return [(build / "failed" if n.name in failed else folder) / n.name for n in inputs], failed


def _offered(notebook: Path, preset: Preset, folder: Path, store: Path) -> Path:
    """Return the notebook. If ``preset`` lacks what the notebook needs, return its first text and what is missing."""
    about = page_of(notebook.stem)
    lacks = lacking(preset, about.name) if about.name in PAGES else []
    if not lacks:
        return notebook
    findings_path(store, notebook.stem).unlink(missing_ok=True)
    left, text = nbformat.read(notebook, as_version=4), f"This page needs `{'` and `'.join(lacks)}`"
    said = nbformat.v4.new_markdown_cell(f"{text}, which the preset `{preset.name}` does not have.", id="needs")
    left.cells = [*left.cells[:2], said, *(c for c in left.cells if "parameters" in c.metadata.get("tags", []))]
    folder.mkdir(parents=True, exist_ok=True)
    write_text(nbformat.writes(left), folder / notebook.name)
    return folder / notebook.name


def _made_from(executed: Path) -> str:
    """Return the digest of the inputs of an executed copy; empty if there is no copy."""
    return nbformat.read(executed, as_version=4).metadata.get(INPUTS, "") if executed.exists() else ""


def _execute_together(todo: list[tuple[Path, Path]], parameters: dict, failed: Path) -> Iterator[tuple[Path, str]]:
    """Run two notebooks at a time, each in its own kernel, and yield each with its error text (empty if it ran)."""
    scratch = folder_for_sockets(_BEHIND)
    with ProcessPoolExecutor(AT_A_TIME, get_context("spawn"), _start, (scratch,)) as pool:
        running = [pool.submit(execute, notebook, out, parameters, failed) for notebook, out in todo]
        try:
            for (notebook, _), future in zip(todo, running, strict=True):
                reason = future.result()
                print(f"failed {notebook.name}: {reason}" if reason else f"executed {notebook.name}", file=sys.stderr)
                yield notebook, reason
        finally:
            pool.shutdown(cancel_futures=True)


def _start(scratch: str) -> None:
    """Set up a worker process, with one thread per kernel by default: more threads slow small problems down.

    ``scratch`` is the folder of the worker's temporary files, mainly the sockets of kernels. The worker ends when the
    build ends, and its kernels end with it.
    """
    end_with_driver()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    tempfile.tempdir = scratch
    kernels.offer()


def execute(notebook: Path, out: Path, parameters: dict, failed: Path) -> str:
    """Run one notebook and return why it failed, or "". Write it to ``out`` on success, to folder ``failed`` if not."""
    scratch = out.with_suffix(".running.ipynb")
    try:
        with tempfile.TemporaryDirectory(prefix="tinynet-") as own:
            connection = {"transport": "ipc", "ip": f"{own}/kernel", "connection_file": f"{own}/kernel.json"}
            papermill.execute_notebook(
                str(notebook),
                str(scratch),
                parameters=parameters,
                cwd=str(notebook.parent),
                progress_bar=False,
                log_output=False,
                execution_timeout=CELL_TIMEOUT_S,
                start_timeout=ANSWER_TIMEOUT_S,
                iopub_timeout=ANSWER_TIMEOUT_S,
                config=Config(KernelManager=connection),  # another process may take a TCP port first
                **kernels.isolation(own),
            )
    except (PapermillExecutionError, DeadKernelError, CellTimeoutError) as error:
        failed.mkdir(parents=True, exist_ok=True)
        scratch.rename(failed / notebook.name)
        if isinstance(error, PapermillExecutionError):
            return f"{error.ename}: {error.evalue}"
        return f"{type(error).__name__}: {error}"
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise
    scratch.rename(out)
    return ""


def _shared_digest(root: Path, preset: str, parameters: dict) -> str:
    """Return a digest of what all notebooks depend on: code (not site/), preset, parameters, machine, packages."""
    digest = hashlib.sha256(json.dumps([parameters, environment()], sort_keys=True).encode())
    digest.update(load_preset(preset).model_dump_json().encode())
    for path in sorted([*(root / "tinynet_core").rglob("*"), *(root / "book" / "tinynet_book").rglob("*")]):
        if path.suffix in (".py", ".yaml") and "site" not in path.relative_to(root).parts:
            digest.update(str(path.relative_to(root)).encode() + path.read_bytes())
    return digest.hexdigest()


def environment() -> dict[str, Any]:
    """Return the processor that runs the notebooks, and the versions of the packages that compute their numbers."""
    return {"processor": processor(), "packages": {name: version(name) for name in PACKAGES}}


def store_digest(store: Path) -> str:
    """Return the SHA-256 of the file of records, which changes with every added or removed record."""
    path = store / FILE
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else ""
