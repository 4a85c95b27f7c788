"""Collect pages and executed notebooks in one folder, in the layout that Jupyter Book needs."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import get_args

import matplotlib
import nbformat
import pandas as pd

from tinynet_book.analysis.models import write_tables
from tinynet_book.explorer import write_explorer
from tinynet_book.figures import set_style, sheet
from tinynet_book.paper.claims import Verdict, ledger, strongest
from tinynet_book.site import conclusions, provenance, reference
from tinynet_book.site.ledger_page import ledger_html
from tinynet_book.site.page import command, evidence, page, stale_mark
from tinynet_book.site.status import last_run, status
from tinynet_core.data import CreatureDataset
from tinynet_core.data.drawn import DrawnImages, probe_hash
from tinynet_core.study.pages import behind, lacking, page_of
from tinynet_core.study.presets import Preset
from tinynet_core.study.study import Study

NO_TABLES = "Some records are stale or missing, so these tables are not part of this site."


def stage(
    root: Path,
    executed: list[Path],
    study: Study,
    folder: Path,
    stale: Mapping[str, list[str]],
    failed: Mapping[str, str],
    repository: str = "",
) -> None:
    """Write the sources of the site to ``folder``, which is emptied first.

    ``stale``: reasons by page, from ``tinynet_book.site.build.stale_pages``. ``failed``: reasons by the file name of
    the failed notebook. ``repository``: address of the published sources, for links to edit a page.
    """
    preset = study.preset
    table, mark = ledger(study.store), stale_mark(stale.get("", []))
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(root / "book", folder, ignore=shutil.ignore_patterns("tinynet_book"))
    for file in folder.rglob("*.md"):
        lines = source(repository, f"book/{file.relative_to(folder).as_posix()}")
        file.write_text(file.read_text(encoding="utf-8") + lines, encoding="utf-8")
    (folder / "notebooks").mkdir()
    for path in executed:
        target = folder / "notebooks" / path.name
        notebook = page(path, preset, table, stale, failed.get(path.name, ""))
        if lines := source(repository, f"notebooks/{path.name}"):
            notebook.cells.append(nbformat.v4.new_markdown_cell(lines, id="source"))
        provenance.attach(notebook, target, root / "notebooks" / path.name, _origin(path, study))
        nbformat.write(notebook, target)
    matplotlib.use("agg")
    set_style()
    found = conclusions.answered(table)
    write_explorer(study, folder / "_extra" / "explorer")  # next to the pages, see _config.yml
    _fill(folder / "intro.md", cards=conclusions.cards(table), answers=conclusions.at_a_glance(found))
    generated = {
        "conclusions": mark + conclusions.conclusions(preset, found, study.store.frame()),
        "claims": f"{mark}{_claims(table, folder)}",
        "data": _sheet(preset, folder),
        "dataset": NO_TABLES if stale or failed else _tables(study, folder / "dataset"),
        "api": reference.public_names(),
        "explorer": mark,
        "runs": mark + status(executed, study, stale, failed),
    }
    for name, text in generated.items():
        _fill(folder / f"{name}.md", generated=text)


def source(repository: str, path: str) -> str:
    """Return the last lines of a page: links to read and edit its source, and to run a notebook that is on GitHub.

    Return nothing without a ``repository``.
    """
    if not repository:
        return ""
    read, change = (f"{repository}/{what}/main/{path}" for what in ("blob", "edit"))
    lines = f"\n\n---\n\nSource of this page: [{path}]({read}), [edit it]({change}).\n"
    project = repository.removeprefix("https://github.com/")
    if project == repository or not path.endswith(".ipynb"):
        return lines
    binder = f"https://mybinder.org/v2/gh/{project}/main?urlpath=lab/tree/{path}"
    colab = f"https://colab.research.google.com/github/{project}/blob/main/{path}"
    first = f"there `!git clone --depth 1 {repository} project && pip install -q -e project` first"
    return f"{lines}\nRun it in [Binder]({binder}), or in [Colab]({colab}): {first}, then restart the runtime.\n"


def _fill(page: Path, **content: str) -> None:
    """Replace each comment on the page that names a piece of ``content`` with this piece."""
    text = page.read_text(encoding="utf-8")
    for place, generated in content.items():
        text = text.replace(f"<!-- {place} -->", generated)
    page.write_text(text, encoding="utf-8")


def _origin(path: Path, study: Study) -> provenance.Origin:
    """Return the origin of the figures and tables of a page, with the records that the page uses."""
    notebook, preset, about = nbformat.read(path, as_version=4), study.preset, page_of(path.stem)
    worth = about.evidence or evidence(preset, about)
    records = behind(study, about.name) if about.recorded and not lacking(preset, about.name) else []
    return provenance.Origin(worth, preset.name, command(path, preset), last_run(notebook), records)


def _tables(study: Study, folder: Path) -> str:
    """Write the tables to ``folder`` beside the page, and return links to them."""
    write_tables(study, folder)
    names = sorted(path.name for path in folder.iterdir())
    return f"**Files:** {', '.join(f'{{download}}`{name} <{folder.name}/{name}>`' for name in names)}."


def _sheet(preset: Preset, folder: Path) -> str:
    """Draw the overview picture of the images into ``folder``, and return its origin note."""
    drawn = preset.dataset if isinstance(preset.dataset, DrawnImages) else CreatureDataset()
    data = f"tn.load_preset({preset.name!r}).dataset" if drawn is preset.dataset else "tn.CreatureDataset()"
    sheet(drawn).savefig(folder / "sheet.png", metadata={"Software": None})
    command = (
        'python -c "import tinynet_core as tn; from tinynet_book.figures import sheet; '
        f"sheet({data}).savefig('sheet.png')\""
    )
    said = f"drawn by the package, SHA-256 of its probe images `{probe_hash(drawn)[:12]}`"
    return provenance.outside_note(["sheet.png"], said, command)


def _claims(table: pd.DataFrame, folder: Path) -> str:
    """Return the verdicts on all claims: a summary, a CSV file, and a table with filters."""
    table.to_csv(folder / "claims.csv", index=False)
    count = strongest(table).verdict.value_counts()
    summary = ", ".join(f"{count.get(v, 0)} {v}" for v in get_args(Verdict))
    names = {notebook: conclusions.page_name(notebook) for notebook in table.notebook.unique()}
    return (
        f"Verdicts on {count.sum()} claims, each by the strongest evidence that decides it: {summary}. The table lists "
        f"all {len(table)} findings. A claim may have one finding for each kind of evidence. The table as a file: "
        f"{{download}}`claims.csv`.\n\n```{{raw}} html\n{ledger_html(table, names)}\n```"
    )
