import base64
import io

import pandas as pd
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output

from tinynet_book.notebook import FIGURE_DATA
from tinynet_book.site.provenance import Origin, attach
from tinynet_core.study.record import failed

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
def notebook():
    picture = {"image/png": base64.b64encode(PNG).decode(), "image/svg+xml": SVG, FIGURE_DATA: "x,y\n1,2\n"}
    table, markdown = {"text/html": FRAME.to_html()}, {"text/markdown": MARKDOWN}
    cells = [
        new_code_cell("figure", metadata={"tinynet": {"caption": "Top-1 against MACs."}}),
        *map(new_code_cell, ("frame", "text", "tables")),
        new_code_cell("hidden", metadata={"tags": ["remove-cell"]}),
    ]
    for cell, data in zip(cells, (picture, table, {"text/markdown": "a | b"}, markdown, table), strict=True):
        cell.outputs = [new_output("display_data", data)]
    return new_notebook(cells=cells)


@pytest.fixture
def attached(notebook, tmp_path):
    """Attaches its files to the notebook and gives the folder that they are in."""
    (tmp_path / "24_fig.ipynb").write_text("{}", encoding="utf-8")

    def attach_files(*records):
        attach(notebook, tmp_path / "pages" / "24_fig.ipynb", tmp_path / "24_fig.ipynb", origin(records))
        return tmp_path / "pages" / "files" / "24_fig"

    return attach_files


def test_every_figure_and_table_has_its_files_and_a_note_below_it(notebook, attached):
    files = attached()
    figures = [f"figure-24-1.{suffix}" for suffix in ("csv", "png", "svg")]
    tables = [f"table-24-{i}.csv" for i in (1, 2, 3)]
    assert sorted(f.name for f in files.iterdir()) == [*figures, *tables, "template.ipynb"]
    assert (files / "figure-24-1.png").read_bytes() == PNG
    assert (files / "figure-24-1.svg").read_text(encoding="utf-8") == "<svg><metadata></metadata></svg>"
    assert (files / "figure-24-1.csv").read_text(encoding="utf-8") == "x,y\n1,2\n"
    assert [*notebook.cells[0].outputs[0].data] == ["image/svg+xml"]  # with a dark ground a drawing can be inverted
    notes = [cell.id for cell in notebook.cells if cell.cell_type == "markdown"]
    assert notes == ["origin-figure-24-1", *(f"origin-table-24-{i}" for i in (1, 2, 3))]
    note = notebook.cells[1].source
    number = "(figure-24-1)=\n:::{container} numbered\n[Figure 24.1](#figure-24-1). Top-1 against MACs.\n:::\n"
    assert note.startswith(number)
    assert "{download}`figure-24-1.png <files/24_fig/figure-24-1.png>`" in note
    assert "records" not in note


@pytest.mark.parametrize("svg", ["<svg><image/></svg>", f"<svg>{'0' * 400_000}</svg>"], ids=["photograph", "large"])
def test_a_photograph_or_a_large_drawing_stays_a_png_on_its_page(notebook, attached, svg):
    notebook.cells[0].outputs[0].data["image/svg+xml"] = svg
    files = attached()
    assert [*notebook.cells[0].outputs[0].data] == ["image/png"]
    assert (files / "figure-24-1.svg").read_text(encoding="utf-8") == svg


def test_a_table_as_a_file_has_what_the_page_shows(attached):
    files = attached()
    first, *others = ((files / f"table-24-{i}.csv").read_text(encoding="utf-8") for i in (1, 2, 3))
    again = pd.read_csv(io.StringIO(first), header=[0, 1, 2], index_col=[0, 1])
    assert again.shape == FRAME.shape
    assert again.index.tolist() == FRAME.index.tolist()
    assert [column[:2] for column in again.columns] == FRAME.columns.tolist()
    assert again.iloc[:, 0].tolist() == [90.5, 80.25]
    assert again.iloc[0, 2] == "76,7"
    assert others == ['a,`b`\n1,"2, or 3"\n,[x](y)\n', "c\n4\n"]


def test_what_a_note_says_of_the_records(make_experiment):
    made = {"device": "cpu (X)", "commit": "0123456789abcdef", "clean": False, "dataset_sha256": "ab" * 32}
    lost = failed(make_experiment(seed=1), "diverged")
    done = {"experiment": make_experiment(), "status": "done", "provenance": made, "wall_s": 3599.6}
    records = [lost.model_copy(update=x) for x in (done, {"provenance": {"commit": None}, "wall_s": 0.0})]
    assert len(origin(records).lines("recomputed")) == 3
    *lines, last_run, command = origin(records).lines("proxy")
    assert lines == [
        "evidence: proxy, preset `smoke`",
        "2 records, 1 of them failed; 2 seeds; 1:00:00 (h:mm:ss) on `cpu (X)`, `unnamed`",
        "made at commit `0123456789 with changes`, `none`",
        f"SHA-256 of the data: `{'ab' * 6}`",
    ]
    assert last_run.startswith("notebook run on 2026-01-02 03:04 (UTC), page made at commit `")
    assert command == "command: `papermill x`"


def test_records_are_linked_but_of_a_figure_that_rests_on_other_evidence(notebook, attached, make_experiment):
    notebook.cells[0].metadata["tinynet"]["evidence"] = "quoted"
    files = attached(failed(make_experiment(), "diverged"))
    figure, table = (cell.source for cell in notebook.cells[1:4:2])
    assert "- evidence: quoted, preset `smoke`" in figure
    assert "record" not in figure
    assert "1 records, 1 of them failed" in table
    assert "records.csv <files/24_fig/records.csv>" in table
    assert pd.read_csv(files / "records.csv").status.tolist() == ["failed"]
