"""Build the website with Jupyter Book."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from tinynet_book.paper.claims import ledger
from tinynet_book.site.execute import execute_all, notebooks, store_digest
from tinynet_book.site.stage import stage
from tinynet_core.files import UserError
from tinynet_core.study.pages import known, offered, stale
from tinynet_core.study.presets import project_root
from tinynet_core.study.study import MissingRecords, Study

SITE = "TINYNET_SITE_URL"
"""Environment variable with the address at which the site is published."""
REPOSITORY = "TINYNET_REPOSITORY_URL"
"""Environment variable with the address of the sources on GitHub or a server with its paths."""
_ICON_SCRIPT = re.compile(r"<script[^>]*/fontawesome\.js[^>]*></script>")
"""Draws every icon of the theme, which its font has drawn already, once more: 1.5 MB on every page."""
_EMPTY_LIST = re.compile(r'role="list" (?=class="citation-list")')
"""Says that the references are a list, of which no child is an item."""
_CARD = 'content="_static/card.png'
"""The picture of a link to the site, which is found only by its whole address."""


@dataclass(frozen=True, slots=True)
class Built:
    """A site: its ``index`` page, and what of its records is ``stale`` and which notebooks ``failed``, line by line.

    One with any of the two is not to be published; ``remedy`` says which records are missing and what makes them.
    """

    index: Path
    stale: list[str]
    failed: list[str]
    remedy: str = ""


def make_book(preset: str, store: str = "", build: Path | None = None) -> Built:
    """Execute the notebooks under ``preset`` and build the site from the records that there are.

    Raises ``MissingRecords`` before any work where there is none of them.
    ``build`` is the folder of everything made on the way, ``_build`` of the checkout by default.
    """
    root, address, repository = project_root(), published_at(SITE), published_at(REPOSITORY)
    notebooks(root)
    build = (build or root / "_build").resolve()
    study = Study(preset, store, train=False)
    if study.store.frame().empty:
        study.records(known(study))  # which says that there is none, and what makes them
    outdated = stale_pages(study)
    executed, failed = execute_all(study.preset_argument, study.store.root, build)
    index, stamp = build / "html" / "index.html", build / "html.sha256"
    now = _inputs_digest(root, executed, study, f"{outdated} {address} {repository} {failed}")
    if not (index.exists() and stamp.exists() and stamp.read_text(encoding="utf-8") == now):
        sources = build / "src"
        stage(root, executed, study, sources, outdated, failed, repository)
        stamp.unlink(missing_ok=True)
        _jupyter_book(root, sources, build, address, whole=not failed)
        stamp.write_text(now, encoding="utf-8")
    lines = [f"{name}: {reason}" for name, reason in failed.items()]
    return Built(index, outdated.get("", []), lines, _remedy(study, outdated, failed))


def published_at(setting: str) -> str:
    """The address in the environment variable ``SITE`` or ``REPOSITORY``, without a slash at its end; empty without."""
    given = os.environ.get(setting, "").strip()
    parts = urlsplit(given)
    if given and (parts.scheme not in ("http", "https") or not parts.netloc or parts.query or parts.fragment):
        raise UserError(f"{setting} must be an address such as https://example.org/book, got {given!r}")
    return given.rstrip("/")


def _remedy(study: Study, outdated: Mapping[str, list[str]], failed: Mapping[str, str]) -> str:
    """Which records are missing or stale, and the command that makes them; nothing where none is."""
    if any(reason.startswith(MissingRecords.__name__) for reason in failed.values()):
        missing = study.store.missing(known(study))
        return f"{len(missing)} missing records, such as {missing[0].label}; make them with: {study.command}"
    return f"make stale records anew with: {study.command} --retry-stale" if outdated else ""


def stale_pages(study: Study) -> dict[str, list[str]]:
    """What is stale of the records of each page, and under the empty name of all of them; a line for each reason."""
    everything = stale(study)
    if not everything:
        return {}
    pages = {page: stale(study, page) for page in offered(study.preset)}
    return {"": everything} | {page: lines for page, lines in pages.items() if lines}


def _jupyter_book(root: Path, sources: Path, build: Path, address: str, whole: bool) -> None:
    """A full build, so that no warning hides behind a cache; the old site is replaced only by a good one.

    Not ``whole`` is a site with pages of notebooks that failed: links to what they lack lead nowhere.
    """
    work, log = build / "jupyter-book", build / "jupyter-book.log"
    shutil.rmtree(work, ignore_errors=True)
    print("building the site", file=sys.stderr)
    command = [sys.executable, "-c", "from jupyter_book.cli.main import main; main()", "build", str(sources)]
    command += ["--path-output", str(work), "--config", str(root / "_config.yml"), "--toc", str(sources / "_toc.yml")]
    command += ["-W", "-n", "--keep-going"] if whole else []
    environment = os.environ | {"PYTHONUTF8": "1"}
    with log.open("wb") as out:
        done = subprocess.run(command, check=False, stdout=out, stderr=subprocess.STDOUT, cwd=root, env=environment)
    if done.returncode:
        lines = log.read_text(encoding="utf-8").splitlines()
        wrong = [line for line in lines if any(word in line for word in ("WARNING", "ERROR", "Error:"))]
        raise UserError("\n".join([*wrong[:20], f"the site was not built, see {log}"]))
    for page in (work / "_build" / "html").rglob("*.html"):
        page.write_text(_finished(page.read_text(encoding="utf-8"), address), encoding="utf-8")
    shutil.rmtree(build / "html", ignore_errors=True)
    shutil.move(work / "_build" / "html", build / "html")
    shutil.rmtree(work)


def _finished(page: str, address: str) -> str:
    """A page without what the theme puts there in vain, and with the whole address of its picture where it is known."""
    page = _EMPTY_LIST.sub("", _ICON_SCRIPT.sub("", page))
    return page.replace(_CARD, _CARD.replace("_static", f"{address}/_static")) if address else page


def _inputs_digest(root: Path, executed: list[Path], study: Study, state: str) -> str:
    """Everything that the site is made from."""
    content = [study.preset.model_dump_json(), ledger(study.store).to_json(), store_digest(study.store.root), state]
    digest = hashlib.sha256(json.dumps(content).encode())
    folders = (root / "book", root / "tinynet_core")
    sources = [p for folder in folders for p in folder.rglob("*") if p.is_file() and p.suffix != ".pyc"]
    for path in sorted([*executed, *sources, root / "_config.yml"]):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()
