"""Put pages and executed notebooks into one folder, as Jupyter Book wants them."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import get_args

import matplotlib
import nbformat
import pandas as pd

from tinynet_book.analysis import calibration
from tinynet_book.dataset import README, release
from tinynet_book.explorer import write_explorer
from tinynet_book.figures import glyph_sheet, set_style, verdicts_by_evidence
from tinynet_book.paper.claims import Verdict, ledger, strongest
from tinynet_book.site import provenance
from tinynet_book.site.conclusions import (
    answered,
    at_a_glance,
    conclusions,
    firmness,
    how_to_check,
    next_steps,
    page_name,
    standing,
)
from tinynet_book.site.execute import INPUTS
from tinynet_book.site.ledger_page import ledger_html
from tinynet_book.site.performance import fill_performance
from tinynet_book.site.reference import citation, preset_schema, public_names
from tinynet_book.site.status import last_run, status
from tinynet_core.data import CocoDataset, GlyphDataset
from tinynet_core.data.drawn import probe_hash
from tinynet_core.study.pages import behind, page_of
from tinynet_core.study.presets import Preset, load_preset, project_root
from tinynet_core.study.store import Store
from tinynet_core.study.study import Study

EXTRA = "_extra"
"""Folder of what the site holds beside its pages, as _config.yml names it."""


def stage(
    root: Path,
    executed: list[Path],
    study: Study,
    folder: Path,
    stale: Mapping[str, list[str]],
    failed: Mapping[str, str],
    files: str = "",
    repository: str = "",
) -> None:
    """Write the sources of the site to ``folder``, which is emptied first.

    ``stale``: what is stale by page, as ``tinynet_book.site.build.stale_pages`` gives it. ``failed``: why a notebook
    did, by its file's name. ``files``: what the first page says of the book in other forms. ``repository``: where the
    sources are published, for the links that edit a page.
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
    found, verdicts = answered(table), _verdict_picture(table, folder, preset)
    behind = [name for name in failed if name.startswith(("22_", "23_"))]
    firm = f"Not known: {' and '.join(behind)} failed." if behind else firmness(study)
    check, said = how_to_check(preset), standing(preset, table, found)
    intro = {"standing": said, "check": check, "verdicts": mark + verdicts}
    _fill(folder / "intro.md", **intro, answers=at_a_glance(found), files=files)
    generated = mark + conclusions(preset, study.store)
    _fill(folder / "conclusions.md", generated=generated, firmness=firm, next_steps=next_steps())
    _fill(folder / "claims.md", generated=mark + verdicts + "\n\n" + _claims(table, folder))
    _fill(folder / "data.md", generated=_glyphs(preset, folder))
    calibrated = Store(root / "results" / "calibration")
    _fill(folder / "calibration.md", generated=calibration.page(load_preset("creatures"), calibrated))
    _fill(folder / "dataset.md", generated=NO_RELEASE if stale or failed else _dataset(study, folder / "dataset"))
    _fill(folder / "api.md", generated=public_names())
    _fill(folder / "preset_schema.md", generated=preset_schema())
    _fill(folder / "citing.md", generated=citation(root))
    write_explorer(study, folder / EXTRA / "explorer")
    _fill(folder / "explorer.md", generated=mark)
    fill_performance(folder / "performance.md", root / "book" / "benchmarks.json")
    _fill(folder / "runs.md", generated=mark + status(executed, study, stale, failed))


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
    worth = UNTRAINED[about.evidence] if about.evidence else _trained(preset, about.part)
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
    notebook, preset = nbformat.read(path, as_version=4), study.preset
    about = page_of(path.stem)
    evidence = about.evidence or _evidence(preset, about.part)
    records = behind(study, about.name) if about.recorded else []
    return provenance.Origin(evidence, preset.name, _command(path, preset), last_run(notebook), records)


def _command(path: Path, preset: Preset) -> str:
    return f"papermill notebooks/{path.name} out.ipynb -p preset {preset.name}"


NO_RELEASE = "Some records are stale or missing, so there is no release of these tables with this site."


def _dataset(study: Study, folder: Path) -> str:
    """The tables, written to ``folder`` beside the page, with links to them, and their README."""
    release(study, folder)
    names = sorted(path.name for path in folder.iterdir())
    links = ", ".join(f"{{download}}`{name} <{folder.name}/{name}>`" for name in names)
    text = README.read_text(encoding="utf-8").partition("\n")[2].strip()
    return f"**Files:** {links}.\n\n{text}"


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


UNTRAINED = {
    "recomputed": """:::{admonition} Evidence: recomputed
:class: tip
Nothing on this page was trained or timed: multiply-adds and parameters are counted exactly, and you will get the same
digits. Accuracies, where shown, are quoted from the paper.""",
    "quoted": """:::{admonition} Evidence: quoted, and simulated from it
:class: warning
The work is counted exactly. Every hour rests on a rate that the paper states, on assumptions listed on the page, and on
a simulation; no GPU was timed for it.""",
    "third party": """:::{admonition} Evidence: third party
:class: tip
Others measured and published these numbers, on ImageNet itself; each names its source. Nothing was trained or timed for
this page; networks, tests and clocks are theirs.""",
    "measured": """:::{admonition} Evidence: measured
:class: tip
Times are of the machine that the page names, networks with random weights. Another machine gives other times.""",
}
"""What a page that rests on no trained model says of its worth, by the evidence that its notebook names."""


def _trained(preset: Preset, part: str) -> str:
    """What a page that rests on trained models of a ``part`` of the preset says of their worth."""
    proxy = _evidence(preset, part) == "proxy"
    if proxy:
        worth = "No accuracy on this page is an ImageNet number unless it is marked as quoted."
    else:
        worth = "The prose of this page was written for the proxy, glyphs; the numbers are of this training."
    made = _detectors(preset) if part == "detection" else _classifiers(_part(preset, part))
    kind = "warning" if proxy else "tip"
    return f":::{{admonition}} Evidence: {_evidence(preset, part)}\n:class: {kind}\n{made} {worth}"


def _part(preset: Preset, part: str) -> Preset:
    about = load_preset(preset.sampled_on) if part == "sampled" and preset.sampled_on else preset
    return preset.close if part == "closeup" else about


def _evidence(preset: Preset, part: str) -> str:
    return preset.detection_evidence if part == "detection" else _part(preset, part).evidence


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
    names = {notebook: page_name(notebook) for notebook in table.notebook.unique()}
    html = f"```{{raw}} html\n{ledger_html(table, names)}\n```"
    return f"The whole table as a file: {{download}}`claims.csv`.\n\n{html}"


def _verdict_picture(table: pd.DataFrame, folder: Path, preset: Preset) -> str:
    """The figure of verdicts by evidence, drawn into ``folder``, with what it shows as its alternative text."""
    verdicts_by_evidence(table).savefig(folder / "verdicts.png", metadata={"Software": None})
    count = strongest(table).verdict.value_counts()
    summary = ", ".join(f"{count.get(v, 0)} {v}" for v in get_args(Verdict))
    command = f"tinynet claims --preset {preset.name} --format csv"
    note = provenance.outside_note(
        ["verdicts.png", "claims.csv"], f"that of each claim, preset `{preset.name}`", command
    )
    alt = f"Bars of the findings by evidence and verdict. Of {count.sum()} claims: {summary}."
    said = (
        f"{count.sum()} claims, each by the strongest evidence that decides it: {summary}. The bars count the "
        f"{len(table)} findings, of which a claim may have one on each kind of evidence."
    )
    return f"![{alt}](verdicts.png)\n\n{said}\n\n{note}"
