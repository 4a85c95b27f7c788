"""Add to every figure and table of a page its origin, its files, and the command that reproduces it."""

import base64
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import count
from pathlib import Path

import pandas as pd
from bs4 import BeautifulSoup
from nbformat import NotebookNode
from nbformat.v4 import new_markdown_cell
from PIL import Image

from tinynet_book.notebook import FIGURE_DATA
from tinynet_core.machine import commit
from tinynet_core.study.record import Record, to_frame

EXACT = ("recomputed", "quoted")
"""Kinds of evidence that use no record."""
FOLDER = "files"
"""Folder next to the pages, with one subfolder of files per page."""
_SHOWN = 3
"""Most commits or hashes that a note names."""
_LARGE = 100_000
"""Size in bytes. If a picture is larger, the page shows a smaller version; the file keeps the original."""
_MARKDOWN_TABLE = re.compile(r"(?:^\|.*\n)\|[-:| ]+\|(?:\n\|.*)*", re.M)
_CELL_ENDS = re.compile(r"(?<!\\)\|")


@dataclass(frozen=True)
class Origin:
    """Origin of a page: its kind of ``evidence``, the name of its ``preset``, the ``command`` that runs its notebook,
    the time of the last ``run``, and the ``records`` that it uses."""

    evidence: str
    preset: str
    command: str
    run: str
    records: Sequence[Record]

    def lines(self, evidence: str) -> list[str]:
        """Return the lines of the note below a figure or table with this kind of ``evidence``."""
        lines = [f"evidence: {evidence}, preset `{self.preset}`"]
        if self.records and evidence not in EXACT:
            made = [record.provenance for record in self.records]
            seeds = {getattr(record.experiment, "seed", 0) for record in self.records}
            failed = sum(not record.done for record in self.records)
            spent = timedelta(seconds=round(sum(record.wall_s for record in self.records)))
            lines.append(
                f"{len(made)} records, {failed} of them failed; {len(seeds)} seed{'s' * (len(seeds) > 1)}; "
                f"{spent} (h:mm:ss) on {_several(x.get('device') or 'unnamed' for x in made)}"
            )
            lines.append(f"made at commit {_several(map(_commit, made))}")
            if hashes := [str(x["dataset_sha256"])[:12] for x in made if "dataset_sha256" in x]:
                lines.append(f"SHA-256 of the data: {_several(hashes)}")
        lines.append(f"notebook run on {self.run} (UTC), {_page()}")
        return [*lines, f"command: `{self.command}`"]


def attach(notebook: NotebookNode, page: Path, template: Path, origin: Origin) -> None:
    """Save every picture and table of ``notebook`` as files beside ``page``, and add a note with links below each.

    ``page`` is the output file of the notebook, ``template`` the notebook that was run. The page shows pictures as SVG.
    Pictures that embed images and large pictures are PNG, large ones in 256 colours. A figure's numbers go into a
    file. If a cell's evidence differs from its page's, the cell's metadata say so.

    Numbers of figures and tables start with the number of the page: the second figure of ``24_duel`` is Figure 24.2,
    with the link target ``#figure-24-2``. Captions are in the cell's metadata.
    """
    folder = page.parent / FOLDER / page.stem
    folder.mkdir(parents=True)
    (folder / "template.ipynb").write_bytes(template.read_bytes())
    notebooks = f"notebook: {_link(folder, 'template.ipynb')}, {{download}}`as run <{page.name}>`"
    if origin.records:
        to_frame(origin.records).to_csv(folder / "records.csv", index=False)
    behind = f"the records behind this page: {_link(folder, 'records.csv')}"
    number = {"figure": count(1), "table": count(1)}
    cells = []
    for cell in notebook.cells:
        cells.append(cell)
        if cell.cell_type == "code" and "remove-cell" not in cell.metadata.get("tags", []):
            said = cell.metadata.get("tinynet", {})
            evidence = said.get("evidence", origin.evidence)
            lines = [*origin.lines(evidence), notebooks]
            lines += [behind] if origin.records and evidence not in EXACT else []
            for output in cell.outputs:
                for kind, contents in _files(output.get("data", {})):
                    name = f"{kind}-{int(page.stem.split('_')[0])}-{next(number[kind])}"
                    cells.append(_note(folder, name, said.get("caption", ""), contents, lines))
    notebook.cells = cells


def _note(folder: Path, name: str, caption: str, contents: dict[str, bytes], shared: Sequence[str]) -> NotebookNode:
    """Write the files of one figure or table. Return a cell with its number, caption, links to files and origin."""
    for suffix, content in contents.items():
        (folder / f"{name}.{suffix}").write_bytes(content)
    links = ", ".join(_link(folder, f"{name}.{suffix}") for suffix in contents)
    items = "\n".join(f"- {line}" for line in [f"files: {links}", *shared])
    kind, page, index = name.split("-")
    number = f"{kind.capitalize()} {page}.{index}"
    text = (
        f"({name})=\n:::{{container}} numbered\n[{number}](#{name}). {caption}\n:::\n\n"
        f":::{{dropdown}} {number}: files and origin\n:class-container: origin\n{items}\n:::"
    )
    return new_markdown_cell(text, id=f"origin-{name}")


def _link(folder: Path, name: str) -> str:
    return f"{{download}}`{name} <{FOLDER}/{folder.name}/{name}>`"


def _files(data: dict) -> Iterator[tuple[str, dict[str, bytes]]]:
    """Yield the figure or tables of one output as files by suffix. Remove from ``data`` what the page does not show."""
    if png := data.get("image/png"):
        files = {"png": base64.b64decode(png)}
        svg = re.sub(r"<dc:date>.*?</dc:date>", "", data.pop("image/svg+xml", ""))
        if svg:
            files["svg"] = svg.encode()
        if svg and "<image" not in svg and len(svg) <= _LARGE:
            data["image/svg+xml"] = svg
            del data["image/png"]
        elif len(files["png"]) > _LARGE:
            data["image/png"] = base64.b64encode(_lighter(files["png"])).decode()
        if (numbers := data.pop(FIGURE_DATA, "")).count("\n") > 1:
            files["csv"] = numbers.encode()
        yield "figure", files
    table = BeautifulSoup(data.get("text/html", ""), "html.parser").find("table", class_="dataframe")
    if table:
        yield "table", {"csv": _csv(_grid(table))}
    for lines in _MARKDOWN_TABLE.findall(data.get("text/markdown", "")):
        rows = [_CELL_ENDS.split(line.strip().strip("|")) for line in lines.splitlines()]
        yield "table", {"csv": _csv(pd.DataFrame([rows[0], *rows[2:]]).map(str.strip))}


def _lighter(png: bytes) -> bytes:
    """Return the same picture in 256 colours, with a third of the size or less."""
    light = io.BytesIO()
    Image.open(io.BytesIO(png)).convert("RGB").quantize(256).save(light, "PNG", optimize=True)
    return light.getvalue()


def _grid(table) -> pd.DataFrame:
    """Read an HTML table of pandas as shown. A cell that spans rows or columns is repeated in each of them."""
    grid: dict[tuple[int, int], str] = {}
    for i, row in enumerate(table.find_all("tr")):
        columns = (j for j in count() if (i, j) not in grid)
        for cell in row.find_all(("th", "td")):
            first = next(columns)
            for x in range(int(cell.get("rowspan", 1))):
                for y in range(int(cell.get("colspan", 1))):
                    grid[i + x, first + y] = cell.get_text().strip().replace("−", "-")
    return pd.Series(grid).unstack(fill_value="")


def _csv(table: pd.DataFrame) -> bytes:
    return table.to_csv(header=False, index=False, lineterminator="\n").encode()


def outside_note(files: Sequence[str], evidence: str, command: str) -> str:
    """Return the origin note for a picture that no notebook drew: its ``files``, ``evidence`` and ``command``."""
    links = ", ".join(f"{{download}}`{name} <{name}>`" for name in files)
    items = "\n".join(f"- {x}" for x in (f"files: {links}", f"evidence: {evidence}", _page(), f"command: `{command}`"))
    return f":::{{dropdown}} Files and origin\n:class-container: origin\n{items}\n:::"


def _page() -> str:
    return f"page made at commit {_several([_commit(commit())])}"


def _commit(made: dict) -> str:
    """Return the short commit, with a remark if the working tree had changes."""
    return (made.get("commit") or "none")[:10] + (" with changes" if made.get("clean") is False else "")


def _several(values) -> str:
    """Return the first few distinct values, in order and in code style, and the number of others."""
    known = list(dict.fromkeys(map(str, values)))
    more = len(known) - _SHOWN
    return ", ".join(f"`{x}`" for x in known[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
