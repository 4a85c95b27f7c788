"""Turn an executed notebook into a page: first the answer and the picture, then folded code, last how it was made."""

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import nbformat
import pandas as pd
import yaml
from nbformat import NotebookNode
from nbformat.v4 import new_markdown_cell

from tinynet_book.paper.claims import Verdict, strongest
from tinynet_book.site.execute import INPUTS
from tinynet_book.tables import typeset
from tinynet_core.data import CocoDataset, ImageNetDataset
from tinynet_core.study.pages import Page, page_of
from tinynet_core.study.presets import Preset, load_preset, project_root

_NUMBER = re.compile(r"[+-]?\d+(?:\.(\d+))?")
BOX, PICTURE, METHOD = "box", "picture", "method"
"""Tags of cells: the text of the page's box, the picture below the box, and text that is folded."""
SIGNS: dict[Verdict, str] = {
    "matches": "✓ Holds",
    "within tolerance": "✓ Holds within tolerance",
    "differs": "✗ Does not hold",
    "not attempted": "○ Open",
}


def page(
    path: Path, preset: Preset, ledger: pd.DataFrame, stale: Mapping[str, list[str]], failure: str = ""
) -> NotebookNode:
    """Return the page of the executed notebook at ``path``.

    The box shows the verdicts on the claims in the metadata ``headline``, or else the text of the cell tagged ``BOX``.
    ``ledger`` comes from ``claims.ledger``; ``stale`` are reasons by page; ``failure`` is why the notebook failed.
    """
    notebook = nbformat.read(path, as_version=4)
    cells = [c for c in notebook.cells if "papermill-error-cell-tag" not in c.metadata.get("tags", [])]
    for name in ("papermill", INPUTS):
        notebook.metadata.pop(name, None)
    for cell in cells:
        if cell.cell_type == "code":
            _fold(cell)
        elif METHOD in cell.metadata.get("tags", []):
            title, _, text = cell.source.partition("\n")
            cell.source = f"::::{{dropdown}} {title.lstrip('# ')}\n{text.strip()}\n::::"
    about = page_of(path.stem)
    warnings = f"{failed_mark(failure)}{stale_mark(stale.get(about.name, []))}"
    headline = ledger[ledger.id.isin(notebook.metadata.get("tinynet", {}).get("headline", []))]
    text = box(headline) if len(headline) else _own_box(cells)
    picture = [c for c in cells if PICTURE in c.metadata.get("tags", []) and c.outputs]
    rest = [c for c in cells[1:] if c not in picture and BOX not in c.metadata.get("tags", [])]
    worth = _untrained()[about.evidence] if about.evidence else _trained(preset, about)
    made = f"{worth}\n\nRun it yourself: `{command(path, preset)}`\n:::"
    top = [new_markdown_cell(warnings + text, id=BOX)] if warnings + text else []
    notebook.cells = [cells[0], *top, *picture, *_joined(rest), new_markdown_cell(made, id="origin")]
    return notebook


def box(rows: pd.DataFrame) -> str:
    """Return an admonition with each claim and its finding on each kind of evidence, the strongest first.

    The title lists the verdicts, each on the strongest evidence that decides. The first verdict sets the colour.
    """
    parts = []
    for _, findings in rows.groupby("id", sort=False):
        first = findings.iloc[0]
        printed = "" if first.paper == "holds" else f" Printed: {first.paper}."
        says = "implies" if "derived" in first.source else "says"
        lines = [f"**The paper {says}** ({first.source}): {typeset(first.statement)}{printed}"]
        for x in findings.itertuples():
            apart = x.paper != "holds" and x.ours and not _repeats(x.note, x.ours)
            number = f"{x.ours} {x.interval}".strip() + ". " if apart else ""
            said = typeset(f"{number}{x.note[:1].upper()}{x.note[1:]}" + "." * bool(x.note))
            evidence = f"[{x.evidence}](#levels)" if x.evidence else "nothing measured"
            lines.append(f"**{SIGNS[x.verdict]}** ({evidence}). {said}".rstrip())
        parts.append("\n\n".join(lines))
    verdicts = strongest(rows).verdict
    verdict = verdicts.iloc[0]
    title = ", ".join(SIGNS[x] for x in dict.fromkeys(verdicts))
    return _admonition(title, f"box {verdict.replace(' ', '-')}", "\n\n".join(parts))


def _repeats(note: str, ours: str) -> bool:
    """Return whether a note already states the finding: its first number, rounded, with an interval or range."""
    said, found = _NUMBER.search(note), _NUMBER.search(ours)
    if not (said and found and "[" in note):
        return False
    return abs(float(said[0]) - float(found[0])) <= 0.51 * 10 ** -len(said[1] or "")


def _own_box(cells: list[NotebookNode]) -> str:
    texts = [o.data["text/markdown"] for c in cells if BOX in c.metadata.get("tags", []) for o in c.outputs]
    return _admonition("In short", "box in-short", "\n\n".join(texts))


def _admonition(title: str, kind: str, text: str) -> str:
    """Return a box of the class ``kind`` with this text, or nothing if the text is empty."""
    return f":::{{admonition}} {title}\n:class: {kind}\n{text}\n:::\n\n" if text else ""


def _joined(cells: list[NotebookNode]) -> list[NotebookNode]:
    """Join code without output with the code below, so that both fold into one line."""
    found: list[NotebookNode] = []
    for cell in cells:
        if found and _is_shown(found[-1]) and not found[-1].outputs and _is_shown(cell):
            cell.source = f"{found.pop().source}\n\n\n{cell.source}"
        found.append(cell)
    return found


def _is_shown(cell: NotebookNode) -> bool:
    """Return whether the page shows the cell as (folded) code."""
    return cell.cell_type == "code" and not {"remove-cell", "parameters"} & set(cell.metadata.get("tags", []))


def _fold(cell: NotebookNode) -> None:
    """Hide a cell's source (the whole cell if papermill injected it), and drop outputs that are no results."""
    tags = cell.metadata.setdefault("tags", [])
    tags.append("remove-cell" if "injected-parameters" in tags else "hide-input")
    cell.outputs = [o for o in cell.outputs if o.get("name") != "stderr" and o.output_type != "error"]
    if "injected-parameters" in tags:
        cell.source = cell.source.replace(f"{project_root()}/", "")
    if "claims" in tags:  # columns of sentences need room, see custom.css
        for data in (o.data for o in cell.outputs if "text/html" in o.get("data", {})):
            data["text/html"] = data["text/html"].replace('class="dataframe"', 'class="dataframe claims"')
    for name in ("papermill", "execution"):
        cell.metadata.pop(name, None)


def command(path: Path, preset: Preset) -> str:
    """Return the shell command that runs the notebook at ``path`` under ``preset``."""
    return f"papermill notebooks/{path.name} out.ipynb -p preset {preset.name}"


def stale_mark(reasons: list[str]) -> str:
    """Return a warning for the top of a page with stale records, or nothing."""
    title = "Stale: these numbers are not what the present code, preset and data give"
    return _admonition(title, "danger", "\n".join(f"- {reason}" for reason in reasons))


def failed_mark(reason: str) -> str:
    """Return a warning for the top of a page whose notebook failed, or nothing."""
    text = f"```text\n{reason.replace(f'{project_root()}/', '')}\n```" if reason else ""
    return _admonition("Failed: this notebook stopped with an error, so this page is incomplete", "danger", text)


@cache
def _untrained() -> dict[str, str]:
    """Return the texts about evidence for pages without trainings, by kind of evidence."""
    return yaml.safe_load(Path(__file__).with_name("evidence.yaml").read_text(encoding="utf-8"))


def _trained(preset: Preset, about: Page) -> str:
    """Return the text about evidence for a page that uses trainings."""
    found = evidence(preset, about)
    worth = "No accuracy on this page is an ImageNet number unless it is marked as quoted." if found == "proxy" else ""
    made = _detectors(preset) if about.part == "detection" else _classifiers(_part(preset, about))
    kind = "warning" if found == "proxy" else "tip"
    return f":::{{admonition}} Evidence: {found}\n:class: {kind}\n{made} {worth}"


def _part(preset: Preset, about: Page) -> Preset:
    if about.part == "closeup":
        return preset.close
    return load_preset(preset.sampled_on) if about.part == "sampled" and preset.sampled_on else preset


def evidence(preset: Preset, about: Page) -> str:
    """Return the kind of evidence of a page's trainings under ``preset``."""
    return preset.detection_evidence if about.part == "detection" else _part(preset, about).evidence


def _classifiers(preset: Preset) -> str:
    data = preset.dataset
    images = "photographs" if isinstance(data, ImageNetDataset) else f"drawn {data.kind}"
    return (
        f"Trained on {images} with the preset `{preset.name}`: "
        f"{data.classes} classes, {data.train_images:,} training and {data.val_images:,} validation images, baseline "
        f"input {preset.base.resolution} px, {preset.recipe.epochs} epochs."
    )


def _detectors(preset: Preset) -> str:
    plan = preset.detection
    if plan is None:
        return f"The preset `{preset.name}` trains no detector."
    data = "COCO" if isinstance(plan.dataset, CocoDataset) else "drawn scenes"
    return (
        f"Detectors trained on {data} with the preset `{preset.name}`: input {plan.resolution} px, "
        f"{plan.recipe.epochs} epochs."
    )
