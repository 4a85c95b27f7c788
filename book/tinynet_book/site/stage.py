"""Put pages and executed notebooks into one folder, as Jupyter Book wants them."""

import shutil
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import get_args

import matplotlib
import nbformat
import pandas as pd
import yaml

from tinynet_book.analysis.models import write_tables
from tinynet_book.explorer import write_explorer
from tinynet_book.figures import glyph_sheet, set_style, verdicts_by_evidence
from tinynet_book.paper.claims import Verdict, ledger, strongest
from tinynet_book.site import conclusions, provenance, reference
from tinynet_book.site.execute import INPUTS
from tinynet_book.site.ledger_page import ledger_html
from tinynet_book.site.status import last_run, status
from tinynet_core.data import CocoDataset, GlyphDataset
from tinynet_core.data.drawn import probe_hash
from tinynet_core.study.pages import Page, behind, page_of
from tinynet_core.study.presets import Preset, load_preset, project_root
from tinynet_core.study.study import Study

EXTRA = "_extra"
"""Folder of what the site holds beside its pages, as _config.yml names it."""
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

    ``stale``: what is stale by page, as ``tinynet_book.site.build.stale_pages`` gives it. ``failed``: why a notebook
    did, by its file's name. ``repository``: where the sources are published, for the links that edit a page.
    """
    preset = study.preset
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(root / "book", folder, ignore=shutil.ignore_patterns("tinynet_book"))
    for page in folder.rglob("*.md"):
        source = _source(repository, f"book/{page.relative_to(folder).as_posix()}")
        page.write_text(page.read_text(encoding="utf-8") + source, encoding="utf-8")
    (folder / "notebooks").mkdir()
    for path in executed:
        page = folder / "notebooks" / path.name
        notebook = _page(path, preset, stale, failed.get(path.name, ""))
        if source := _source(repository, f"notebooks/{path.name}"):
            notebook.cells.append(nbformat.v4.new_markdown_cell(source, id="source"))
        provenance.attach(notebook, page, root / "notebooks" / path.name, _origin(path, study))
        nbformat.write(notebook, page)
    matplotlib.use("agg")
    set_style()
    table, mark = ledger(study.store), _stale_mark(stale.get("", []))
    found, verdicts = conclusions.answered(table), mark + _verdict_picture(table, folder, preset)
    write_explorer(study, folder / EXTRA / "explorer")
    _fill(
        folder / "intro.md",
        standing=conclusions.standing(preset, table, found),
        verdicts=verdicts,
        answers=conclusions.at_a_glance(found),
    )
    generated = {
        "conclusions": mark + conclusions.conclusions(preset, study.store),
        "claims": f"{verdicts}\n\n{_claims(table, folder)}",
        "data": _glyphs(preset, folder),
        "dataset": NO_TABLES if stale or failed else _tables(study, folder / "dataset"),
        "api": reference.public_names(),
        "explorer": mark,
        "runs": mark + status(executed, study, stale, failed),
    }
    for name, text in generated.items():
        _fill(folder / f"{name}.md", generated=text)


def _source(repository: str, path: str) -> str:
    """The last line of a page: links to where its source is read and changed; nothing without a ``repository``."""
    if not repository:
        return ""
    read, change = (f"{repository}/{what}/main/{path}" for what in ("blob", "edit"))
    return f"\n\n---\n\nSource of this page: [{path}]({read}), [edit it]({change}).\n"


def _fill(page: Path, **content: str) -> None:
    """Put generated ``content`` where the page names it in a comment."""
    text = page.read_text(encoding="utf-8")
    for place, generated in content.items():
        text = text.replace(f"<!-- {place.replace('_', ' ')} -->", generated)
    page.write_text(text, encoding="utf-8")


def _page(path: Path, preset: Preset, stale: Mapping[str, list[str]], failure: str) -> nbformat.NotebookNode:
    """An executed notebook as a page: code folded, parameters and progress bars away, its origin under the title."""
    notebook = nbformat.read(path, as_version=4)
    notebook.cells = [c for c in notebook.cells if "papermill-error-cell-tag" not in c.metadata.get("tags", [])]
    for name in ("papermill", INPUTS):
        notebook.metadata.pop(name, None)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            _fold(cell)
    about = page_of(path.stem)
    worth = _untrained()[about.evidence] if about.evidence else _trained(preset, about)
    origin = f"{_failed_mark(failure)}{_stale_mark(stale.get(about.name, []))}{worth}"
    text = f"{origin}\n\nRun it yourself: `{_command(path, preset)}`\n:::"
    notebook.cells.insert(1, nbformat.v4.new_markdown_cell(text, id="origin"))
    return notebook


def _fold(cell: nbformat.NotebookNode) -> None:
    """Hide the source of a cell, or all of it where papermill injected it, and what is no result."""
    tags = cell.metadata.setdefault("tags", [])
    tags.append("remove-cell" if "injected-parameters" in tags else "hide-input")
    cell.outputs = [o for o in cell.outputs if o.get("name") != "stderr" and o.output_type != "error"]
    if "injected-parameters" in tags:
        cell.source = cell.source.replace(f"{project_root()}/", "")
    if "claims" in tags:  # sentences, which need room: see custom.css
        for data in (o.data for o in cell.outputs if "text/html" in o.get("data", {})):
            data["text/html"] = data["text/html"].replace('class="dataframe"', 'class="dataframe claims"')
    for name in ("papermill", "execution"):
        cell.metadata.pop(name, None)


def _origin(path: Path, study: Study) -> provenance.Origin:
    """Where the figures and tables of a page come from, and the records that it rests on."""
    notebook, preset, about = nbformat.read(path, as_version=4), study.preset, page_of(path.stem)
    evidence = about.evidence or _evidence(preset, about)
    records = behind(study, about.name) if about.recorded else []
    return provenance.Origin(evidence, preset.name, _command(path, preset), last_run(notebook), records)


def _command(path: Path, preset: Preset) -> str:
    return f"papermill notebooks/{path.name} out.ipynb -p preset {preset.name}"


def _tables(study: Study, folder: Path) -> str:
    """The tables, written to ``folder`` beside the page, with links to them."""
    write_tables(study, folder)
    names = sorted(path.name for path in folder.iterdir())
    return f"**Files:** {', '.join(f'{{download}}`{name} <{folder.name}/{name}>`' for name in names)}."


def _stale_mark(reasons: list[str]) -> str:
    """A warning at the top of a page whose records are stale, or nothing."""
    text = "\n".join(f"- {reason}" for reason in reasons)
    return _warning("Stale: these numbers are not what the present code, preset and data give", text)


def _failed_mark(reason: str) -> str:
    """A warning at the top of a page whose notebook failed, or nothing."""
    text = f"```text\n{reason.replace(f'{project_root()}/', '')}\n```" if reason else ""
    return _warning("Failed: this notebook ended with an error, and the page with it", text)


def _warning(title: str, text: str) -> str:
    return f":::{{admonition}} {title}\n:class: danger\n{text}\n:::\n\n" if text else ""


@cache
def _untrained() -> dict[str, str]:
    """What a page that rests on no trained model says of its worth, by its evidence."""
    return yaml.safe_load(Path(__file__).with_name("evidence.yaml").read_text(encoding="utf-8"))


def _trained(preset: Preset, about: Page) -> str:
    """What a page that rests on trained models says of their worth."""
    evidence = _evidence(preset, about)
    worth = "The prose of this page was written for the proxy, glyphs; the numbers are of this training."
    if evidence == "proxy":
        worth = "No accuracy on this page is an ImageNet number unless it is marked as quoted."
    made = _detectors(preset) if about.part == "detection" else _classifiers(_part(preset, about))
    kind = "warning" if evidence == "proxy" else "tip"
    return f":::{{admonition}} Evidence: {evidence}\n:class: {kind}\n{made} {worth}"


def _part(preset: Preset, about: Page) -> Preset:
    if about.part == "closeup":
        return preset.close
    return load_preset(preset.sampled_on) if about.part == "sampled" and preset.sampled_on else preset


def _evidence(preset: Preset, about: Page) -> str:
    return preset.detection_evidence if about.part == "detection" else _part(preset, about).evidence


def _classifiers(preset: Preset) -> str:
    data = preset.dataset
    return (
        f"Trained on {'glyphs' if isinstance(data, GlyphDataset) else 'photographs'} with the preset `{preset.name}`: "
        f"{data.classes} classes, {data.train_images:,} training and {data.val_images:,} validation images, baseline "
        f"input {preset.base.resolution} px, {preset.recipe.epochs} epochs."
    )


def _detectors(preset: Preset) -> str:
    plan = preset.detection
    if plan is None:
        return f"The preset `{preset.name}` trains no detector."
    data = "COCO" if isinstance(plan.dataset, CocoDataset) else "scenes of glyphs"
    return (
        f"Detectors trained on {data} with the preset `{preset.name}`: input {plan.resolution} px, "
        f"{plan.recipe.epochs} epochs."
    )


def _glyphs(preset: Preset, folder: Path) -> str:
    """The picture of the images, drawn into ``folder``, and what is behind it."""
    own = isinstance(preset.dataset, GlyphDataset)
    drawn = preset.dataset if isinstance(preset.dataset, GlyphDataset) else GlyphDataset()
    glyph_sheet(drawn).savefig(folder / "glyphs.png", metadata={"Software": None})
    data = f"tn.load_preset({preset.name!r}).dataset" if own else "tn.GlyphDataset()"
    command = (
        'python -c "import tinynet_core as tn; from tinynet_book.figures import glyph_sheet; '
        f"glyph_sheet({data}).savefig('glyphs.png')\""
    )
    said = f"drawn by the package, seed {drawn.seed}, SHA-256 of its probe images `{probe_hash(drawn)[:12]}`"
    return provenance.outside_note(["glyphs.png"], said, command)


def _claims(table: pd.DataFrame, folder: Path) -> str:
    """What became of all claims, as a file and as a table with filters."""
    table.to_csv(folder / "claims.csv", index=False)
    names = {notebook: conclusions.page_name(notebook) for notebook in table.notebook.unique()}
    html = f"```{{raw}} html\n{ledger_html(table, names)}\n```"
    return f"The whole table as a file: {{download}}`claims.csv`.\n\n{html}"


def _verdict_picture(table: pd.DataFrame, folder: Path, preset: Preset) -> str:
    """The figure of verdicts by evidence, drawn into ``folder``, with what it shows as its alternative text."""
    verdicts_by_evidence(table).savefig(folder / "verdicts.png", metadata={"Software": None})
    count = strongest(table).verdict.value_counts()
    summary = ", ".join(f"{count.get(v, 0)} {v}" for v in get_args(Verdict))
    command = f"tinynet claims --preset {preset.name} --format csv"
    evidence = f"that of each claim, preset `{preset.name}`"
    note = provenance.outside_note(["verdicts.png", "claims.csv"], evidence, command)
    alt = f"Bars of the findings by evidence and verdict. Of {count.sum()} claims: {summary}."
    said = (
        f"{count.sum()} claims, each by the strongest evidence that decides it: {summary}. The bars count the "
        f"{len(table)} findings, of which a claim may have one on each kind of evidence."
    )
    return f"![{alt}](verdicts.png)\n\n{said}\n\n{note}"
