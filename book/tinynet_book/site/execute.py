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
"""Metadata of an executed notebook: a digest of all that it was made from."""
CELL_TIMEOUT_S = 12 * 3600
ANSWER_TIMEOUT_S = 600
"""How long a kernel may take to start, and to send what a cell left: on a busy machine more than Jupyter's 60 and 4."""
PACKAGES = (
    *("torch", "torchvision", "numpy", "pandas", "scikit-learn", "pymoo", "timm", "onnxruntime", "matplotlib"),
    *("papermill", "jupyter-book"),
)
_BEHIND = 33
"""Bytes of a socket's path behind the folder: those of multiprocessing are longer than those of the kernels."""
AT_A_TIME = 2
"""Notebooks under way at a time: starting a kernel and importing is most of what they do."""


def notebooks(root: Path) -> list[Path]:
    """The notebooks of the book in reading order."""
    found = sorted((root / "notebooks").glob("[0-9]*.ipynb"))
    if not found:
        raise UserError(f"no notebooks in {root / 'notebooks'}: the book is built from a checkout of the project")
    return found


def execute_all(preset: str, store: Path, build: Path) -> tuple[list[Path], dict[str, str]]:
    """Executed copies of all notebooks, and by name why some failed, whose copies go as far as they got.

    There is one folder per preset. A copy says what it was made from, and stays as it is while that did not change.
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
            findings_path(store, notebook.stem).unlink(missing_ok=True)  # what it found before does not count
        else:
            executed = nbformat.read(out, as_version=4)
            executed.metadata[INPUTS] = inputs[notebook]
            write_text(nbformat.writes(executed), out)
    return [(build / "failed" if n.name in failed else folder) / n.name for n in inputs], failed


def _offered(notebook: Path, preset: Preset, folder: Path, store: Path) -> Path:
    """The notebook, or its first text and what is missing where ``preset`` has not what it needs."""
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
    """The digest of what a copy was made from; empty where there is no copy."""
    return nbformat.read(executed, as_version=4).metadata.get(INPUTS, "") if executed.exists() else ""


def _execute_together(todo: list[tuple[Path, Path]], parameters: dict, failed: Path) -> Iterator[tuple[Path, str]]:
    """Run notebooks two at a time, each in a kernel of its own, and yield them with what went wrong in it."""
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
    """One thread a kernel, unless the user says otherwise: the small problems of notebooks get slower with more.

    ``scratch`` is where this process has its temporary files, sockets of kernels above all. It ends with the build, and
    its kernels with it.
    """
    end_with_driver()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    tempfile.tempdir = scratch
    kernels.offer()


def execute(notebook: Path, out: Path, parameters: dict, failed: Path) -> str:
    """Run one notebook and say why it failed, if so; ``out`` appears only on success, a failed run in ``failed``."""
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
                config=Config(KernelManager=connection),  # a TCP port may be taken before the kernel has it
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
    """What every notebook depends on: the code but for the site's, preset, parameters, machine, other packages."""
    digest = hashlib.sha256(json.dumps([parameters, environment()], sort_keys=True).encode())
    digest.update(load_preset(preset).model_dump_json().encode())
    for path in sorted([*(root / "tinynet_core").rglob("*"), *(root / "book" / "tinynet_book").rglob("*")]):
        if path.suffix in (".py", ".yaml") and "site" not in path.relative_to(root).parts:
            digest.update(str(path.relative_to(root)).encode() + path.read_bytes())
    return digest.hexdigest()


def environment() -> dict[str, Any]:
    """The processor that the notebooks run on and the versions of the packages that make their numbers."""
    return {"processor": processor(), "packages": {name: version(name) for name in PACKAGES}}


def store_digest(store: Path) -> str:
    """SHA-256 of the file of records: changes with every one that comes or goes."""
    path = store / FILE
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else ""
