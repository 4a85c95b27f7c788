"""Build the website with Jupyter Book."""

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

from tinynet_core.book.execute import execute_all
from tinynet_core.book.stage import stage
from tinynet_core.errors import UserError
from tinynet_core.presets import load_preset, project_root
from tinynet_core.study import Study


class BookError(UserError):
    """The site could not be built; the log says why."""


def make_book(preset: str, store: str = "", train: bool = True, build: Path | None = None) -> Path:
    """Execute the notebooks under ``preset``, build the site, and return the path of its index.html.

    ``build`` is the folder of everything made on the way, ``_build`` of the checkout by default.
    """
    root = project_root()
    build = (build or root / "_build").resolve()
    study = Study(preset, store, train)
    executed = execute_all(preset, study.store.root, train, build)
    sources = build / "src"
    stage(root, executed, load_preset(preset), study.store, sources)
    index = build / "html" / "index.html"
    stamp, now = build / "html.sha256", _tree_digest(sources, root)
    if not (index.exists() and stamp.exists() and stamp.read_text() == now):
        _jupyter_book(root, sources, build)
        stamp.write_text(now)
    return index


def _jupyter_book(root: Path, sources: Path, build: Path) -> None:
    """A full build, so that no warning hides behind a cache; the old site is replaced only by a good one."""
    work, log = build / "jupyter-book", build / "jupyter-book.log"
    shutil.rmtree(work, ignore_errors=True)
    print("building the site", file=sys.stderr)
    command = [
        *(sys.executable, "-c", "from jupyter_book.cli.main import main; main()", "build", str(sources)),
        *(
            "--path-output",
            str(work),
            "--config",
            str(root / "_config.yml"),
            "--toc",
            str(sources / "_toc.yml"),
            "-W",
            "-n",
            "--keep-going",
        ),
    ]
    with log.open("w") as out:
        done = subprocess.run(command, check=False, stdout=out, stderr=subprocess.STDOUT, cwd=root)
    if done.returncode:
        wrong = [line for line in log.read_text().splitlines() if any(word in line for word in ("WARNING", "ERROR", "Error:"))]
        raise BookError("\n".join([*wrong[:20], f"the site was not built, see {log}"]))
    shutil.rmtree(build / "html", ignore_errors=True)
    shutil.move(work / "_build" / "html", build / "html")
    shutil.rmtree(work)


def _tree_digest(sources: Path, root: Path) -> str:
    digest = hashlib.sha256((root / "_config.yml").read_bytes())
    for path in sorted(p for p in sources.rglob("*") if p.is_file()):
        digest.update(str(path.relative_to(sources)).encode() + path.read_bytes())
    return digest.hexdigest()
