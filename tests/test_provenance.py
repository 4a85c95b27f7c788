import base64
import io

import nbformat
import pandas as pd
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output

from tinynet_book.notebook import FIGURE_DATA
from tinynet_book.site.provenance import Origin, attach
from tinynet_core.study.record import Record, failed

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
SVG = "<svg><metadata><dc:date>2026-01-02T03:04:05</dc:date></metadata></svg>"
FRAME = pd.DataFrame(
    {("proxy", "top-1"): [90.5, 80.25], ("proxy", "n"): [3, 1], ("quoted", "top-1"): ["76,7", None]},
    index=pd.MultiIndex.from_tuples([("A", 1), ("A", 2)], names=["net", "seed"]),
)

MARKDOWN = (
    "Two:\n\n| a | `b` |\n|---|:-:|\n| 1 | 2, or 3 |\n|  | [x](y) |\n\nand\n\n| c |\n|---|\n| 4 |\n\nend | no table"
)


def origin(records=()):
    return Origin("proxy", "smoke", "papermill x", "2026-01-02 03:04", records)


@pytest.fixture
def page(tmp_path):
    picture = {"image/png": base64.b64encode(PNG).decode(), "image/svg+xml": SVG}
    caption = {"tinynet": {"caption": "Top-1 against MACs."}}
    notebook = new_notebook(cells=[
        new_code_cell("figure", metadata=caption, outputs=[new_output("display_data", picture)]),
        new_code_cell("frame", outputs=[new_output("display_data", {"text/html": FRAME.to_html()})]),
        new_code_cell("text", outputs=[new_output("display_data", {"text/markdown": "a | b"})]),
        new_code_cell("tables", outputs=[new_output("display_data", {"text/markdown": MARKDOWN})]),
        new_code_cell("hidden", metadata={"tags": ["remove-cell"]}, outputs=[
            new_output("display_data", {"text/html": FRAME.to_html()})]),
    ])  # fmt: skip
    template = tmp_path / "24_fig.ipynb"
    template.write_text("{}", encoding="utf-8")
    folder = tmp_path / "pages"
    folder.mkdir()
    return notebook, folder / "24_fig.ipynb", template


def test_every_figure_and_table_has_its_files_and_a_note_below_it(page):
    notebook, path, template = page
    attach(notebook, path, template, origin())
    nbformat.validate(notebook)
    files = path.parent / "files" / "24_fig"
    tables = [f"table-24-{i}.csv" for i in (1, 2, 3)]
    assert sorted(f.name for f in files.iterdir()) == ["figure-24-1.png", "figure-24-1.svg", *tables, "template.ipynb"]
    assert (files / "figure-24-1.png").read_bytes() == PNG
    assert (files / "figure-24-1.svg").read_text(encoding="utf-8") == SVG.replace("2026-01-02T03:04:05", "").replace(
        "<dc:date></dc:date>", ""
    )
    assert [*notebook.cells[0].outputs[0].data] == ["image/svg+xml"]  # with a dark ground a drawing can be inverted
    notes = [cell.id for cell in notebook.cells if cell.cell_type == "markdown"]
    assert notes == ["origin-figure-24-1", "origin-table-24-1", "origin-table-24-2", "origin-table-24-3"]
    kinds = [cell.cell_type[0] for cell in notebook.cells]
    assert "".join(kinds) == "cmcmccmmc"
    note = notebook.cells[1].source
    assert note.startswith(
        "(figure-24-1)=\n:::{container} numbered\n[Figure 24.1](#figure-24-1). Top-1 against MACs.\n:::\n"
    )
    assert "{download}`figure-24-1.png <files/24_fig/figure-24-1.png>`" in note
    assert "{download}`as run <24_fig.ipynb>`" in note
    assert "- evidence: proxy, preset `smoke`" in note
    assert "records" not in note


@pytest.mark.parametrize("svg", ["<svg><image/></svg>", f"<svg>{'0' * 400_000}</svg>"], ids=["photograph", "large"])
def test_a_photograph_or_a_large_drawing_stays_a_png_on_its_page(page, svg):
    notebook, path, template = page
    notebook.cells[0].outputs[0].data["image/svg+xml"] = svg
    attach(notebook, path, template, origin())
    assert [*notebook.cells[0].outputs[0].data] == ["image/png"]
    assert (path.parent / "files" / "24_fig" / "figure-24-1.svg").read_text(encoding="utf-8") == svg


def test_a_table_as_a_file_has_what_the_page_shows(page):
    notebook, path, template = page
    attach(notebook, path, template, origin())
    text = (path.parent / "files" / "24_fig" / "table-24-1.csv").read_text(encoding="utf-8")
    again = pd.read_csv(io.StringIO(text), header=[0, 1, 2], index_col=[0, 1])
    assert again.shape == FRAME.shape
    assert again.index.tolist() == FRAME.index.tolist()
    assert [column[:2] for column in again.columns] == FRAME.columns.tolist()
    assert again.iloc[:, 0].tolist() == [90.5, 80.25]
    assert again.iloc[0, 2] == "76,7"


def test_a_table_in_markdown_is_a_file_too(page):
    notebook, path, template = page
    attach(notebook, path, template, origin())
    files = path.parent / "files" / "24_fig"
    assert (files / "table-24-2.csv").read_text(encoding="utf-8") == 'a,`b`\n1,"2, or 3"\n,[x](y)\n'
    assert (files / "table-24-3.csv").read_text(encoding="utf-8") == "c\n4\n"


def test_what_a_note_says_of_the_records(make_experiment):
    experiments = [make_experiment(), make_experiment().model_copy(update={"seed": 1})]
    made = {"device": "cpu (X)", "commit": "0123456789abcdef", "clean": False, "dataset_sha256": "ab" * 32}
    records = [
        Record(
            experiment=experiments[0], status="done", metrics={"top1": 0.5}, cost={}, wall_s=3599.6, provenance=made
        ),
        failed(experiments[1], "diverged").model_copy(update={"provenance": {"commit": None}, "wall_s": 0.0}),
    ]
    lines = origin(records).lines("proxy")
    assert lines[0] == "evidence: proxy, preset `smoke`"
    assert lines[1] == "2 records, 1 of them failed; 2 seeds; 1:00:00 (h:mm:ss) on `cpu (X)`, `unnamed`"
    assert lines[2] == "made at commit `0123456789 with changes`, `none`"
    assert lines[3] == f"SHA-256 of the data: `{'ab' * 6}`"
    assert lines[4].startswith("notebook run on 2026-01-02 03:04 (UTC), page made at commit `")
    assert lines[5:] == ["command: `papermill x`"]
    assert len(origin(records).lines("recomputed")) == 3


def test_records_are_linked_as_a_table(page, make_experiment):
    notebook, path, template = page
    attach(notebook, path, template, origin([failed(make_experiment(), "diverged")]))
    assert "records.csv <files/24_fig/records.csv>" in notebook.cells[1].source
    frame = pd.read_csv(path.parent / "files" / "24_fig" / "records.csv")
    assert frame.status.tolist() == ["failed"]


def test_a_figure_that_rests_on_other_evidence_says_so_and_names_no_record(page, make_experiment):
    notebook, path, template = page
    notebook.cells[0].metadata["tinynet"]["evidence"] = "quoted"
    attach(notebook, path, template, origin([failed(make_experiment(), "diverged")]))
    figure, table = (cell.source for cell in notebook.cells[1:4:2])
    assert "- evidence: quoted, preset `smoke`" in figure
    assert "record" not in figure
    assert "- evidence: proxy, preset `smoke`" in table
    assert "1 records, 1 of them failed" in table


def test_the_numbers_of_a_figure_are_a_file_and_leave_the_page(page):
    notebook, path, template = page
    notebook.cells[0].outputs[0].data[FIGURE_DATA] = "x,y\n1,2\n"
    attach(notebook, path, template, origin())
    assert (path.parent / "files" / "24_fig" / "figure-24-1.csv").read_text(encoding="utf-8") == "x,y\n1,2\n"
    assert FIGURE_DATA not in notebook.cells[0].outputs[0].data
