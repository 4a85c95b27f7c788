"""Beside every figure and table of a page: where it comes from, its files, and the command that makes it again."""

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
"""Evidence that rests on no record."""
FOLDER = "files"
"""Beside the pages: a folder of files for each."""
_SHOWN = 3
"""Commits and hashes that a note names."""
_LARGE = 100_000
"""Bytes of a picture above which the page shows a lighter one than its file is."""
_MARKDOWN_TABLE = re.compile(r"(?:^\|.*\n)\|[-:| ]+\|(?:\n\|.*)*", re.M)
_CELL_ENDS = re.compile(r"(?<!\\)\|")


@dataclass(frozen=True)
class Origin:
    """Where a page comes from: its ``evidence``, the ``preset`` by name, the ``command`` that makes it, the time of its
    last ``run``, and the ``records`` behind it."""

    evidence: str
    preset: str
    command: str
    run: str
    records: Sequence[Record]

    def lines(self, evidence: str) -> list[str]:
        """What a note says of a figure or table of this page that rests on ``evidence``."""
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
    """Keep every picture and table of ``notebook`` as files beside ``page``, with a note below each that links them.

    ``page`` is the file that the notebook becomes, ``template`` the one that was run. A picture stays on the page as
    SVG, or as PNG where it holds images or is large, a large one in 256 colours; a figure's numbers go into a file. A
    cell that rests on other evidence than its page says so in its metadata.

    Figures and tables are numbered within the page, after the number that its name begins with: the second figure of
    ``24_duel`` is Figure 24.2, with the caption in its cell's metadata, and a link to ``#figure-24-2`` leads to it.
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
    """Write the files of one figure or table; its number and caption, and where they and all else about it are."""
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
    """The picture or the tables in one output, by the suffix of a file; what a page does not show is taken out."""
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
    """The same picture in 256 colours, a third of the size or less."""
    light = io.BytesIO()
    Image.open(io.BytesIO(png)).convert("RGB").quantize(256).save(light, "PNG", optimize=True)
    return light.getvalue()


def _grid(table) -> pd.DataFrame:
    """A table of pandas as shown; a cell over several rows or columns is repeated in each."""
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
    """What is behind a picture that no notebook drew: its ``files`` beside the page, its worth, and the ``command``."""
    links = ", ".join(f"{{download}}`{name} <{name}>`" for name in files)
    items = "\n".join(f"- {x}" for x in (f"files: {links}", f"evidence: {evidence}", _page(), f"command: `{command}`"))
    return f":::{{dropdown}} Files and origin\n:class-container: origin\n{items}\n:::"


def _page() -> str:
    return f"page made at commit {_several([_commit(commit())])}"


def _commit(made: dict) -> str:
    """A commit in short, with a word where files in it had been changed."""
    return (made.get("commit") or "none")[:10] + (" with changes" if made.get("clean") is False else "")


def _several(values) -> str:
    """The different values in code style, in their order, the first few of many."""
    known = list(dict.fromkeys(map(str, values)))
    more = len(known) - _SHOWN
    return ", ".join(f"`{x}`" for x in known[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
