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
"""Environment variable with the address of the sources on GitHub, or on a server with the same URL paths."""
_ICON_SCRIPT = re.compile(r"<script[^>]*/fontawesome\.js[^>]*></script>")
"""Script that draws the theme's icons a second time, after its font. It costs 1.5 MB on every page."""
_EMPTY_LIST = re.compile(r'role="list" (?=class="citation-list")')
"""Attribute that marks the references as a list although none of its children is a list item."""
_CARD = 'content="_static/card.png'
"""Preview picture for links to the site. Other sites find it only by its full address."""


@dataclass(frozen=True, slots=True)
class Built:
    """A built site: its ``index`` page, and lines about its ``stale`` records and its ``failed`` notebooks.

    Do not publish a site with either. ``remedy`` names the missing or stale records and the command that makes them.
    """

    index: Path
    stale: list[str]
    failed: list[str]
    remedy: str = ""


def make_book(preset: str, store: str = "", build: Path | None = None) -> Built:
    """Execute the notebooks under ``preset`` and build the site from the existing records.

    Raises ``MissingRecords`` before any work if the store has no record.
    ``build`` is the folder of all intermediate files, by default ``_build`` in the checkout.
    """
    root, address, repository = project_root(), published_at(SITE), published_at(REPOSITORY)
    notebooks(root)
    build = (build or root / "_build").resolve()
    study = Study(preset, store, train=False)
    if study.store.frame().empty:
        study.records(known(study))  # raises, and names the command that makes records
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
    """Return the address in the environment variable ``setting`` without a final slash; empty if it is not set."""
    given = os.environ.get(setting, "").strip()
    parts = urlsplit(given)
    if given and (parts.scheme not in ("http", "https") or not parts.netloc or parts.query or parts.fragment):
        raise UserError(f"{setting} must be an address such as https://example.org/book, got {given!r}")
    return given.rstrip("/")


def _remedy(study: Study, outdated: Mapping[str, list[str]], failed: Mapping[str, str]) -> str:
    """Return which records are missing or stale, and the command that makes them; empty if there are none."""
    if any(reason.startswith(MissingRecords.__name__) for reason in failed.values()):
        missing = study.store.missing(known(study))
        return f"{len(missing)} missing records, such as {missing[0].label}; make them with: {study.command}"
    return f"make stale records anew with: {study.command} --retry-stale" if outdated else ""


def stale_pages(study: Study) -> dict[str, list[str]]:
    """Return why records are stale, one line per reason: by page, and for all records under the empty name."""
    everything = stale(study)
    if not everything:
        return {}
    pages = {page: stale(study, page) for page in offered(study.preset)}
    return {"": everything} | {page: lines for page, lines in pages.items() if lines}


def _jupyter_book(root: Path, sources: Path, build: Path, address: str, whole: bool) -> None:
    """Build everything anew, because a cache would hide warnings. Replace the old site only if the build succeeds.

    ``whole``: no notebook failed. Pages of failed notebooks lack link targets, so warnings are then no errors.
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
    """Remove what the theme adds needlessly to a page, and give its preview picture a full address if known."""
    page = _EMPTY_LIST.sub("", _ICON_SCRIPT.sub("", page))
    return page.replace(_CARD, _CARD.replace("_static", f"{address}/_static")) if address else page


def _inputs_digest(root: Path, executed: list[Path], study: Study, state: str) -> str:
    """Return a digest of everything that the site is made from."""
    content = [study.preset.model_dump_json(), ledger(study.store).to_json(), store_digest(study.store.root), state]
    digest = hashlib.sha256(json.dumps(content).encode())
    folders = (root / "book", root / "tinynet_core")
    sources = [p for folder in folders for p in folder.rglob("*") if p.is_file() and p.suffix != ".pyc"]
    for path in sorted([*executed, *sources, root / "_config.yml"]):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()
