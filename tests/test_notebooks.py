"""What can be said of the notebooks without running them; they run in ``make test`` by nbmake and papermill."""

import shutil

import nbformat
import papermill
import pytest
import yaml
from papermill.iorw import load_notebook_node
from papermill.parameterize import parameterize_notebook

from tinynet_book.paper.claims import ledger
from tinynet_book.site.execute import execute, execute_all
from tinynet_book.site.page import page
from tinynet_core import Store, load_preset
from tinynet_core.study.pages import page_of
from tinynet_core.study.presets import project_root

NOTEBOOKS = sorted((project_root() / "notebooks").glob("*.ipynb"))
PAGE = project_root() / "notebooks" / "22_second_world.ipynb"


def test_the_list_of_notebooks():
    names = [p.stem.split("_")[1] for p in NOTEBOOKS]
    assert {f"fig{n}" for n in range(1, 8)} | {f"table{n}" for n in range(1, 8)} <= set(names)
    assert len({p.stem[:2] for p in NOTEBOOKS}) == len(NOTEBOOKS)  # with gaps: the address of a page does not change


def test_the_list_of_contents_has_every_notebook_once_and_few_entries():
    parts = yaml.safe_load((project_root() / "book" / "_toc.yml").read_text(encoding="utf-8"))["parts"]
    chapters = [chapter for part in parts for chapter in part["chapters"]]
    assert len(parts) <= 6
    assert len(chapters) <= 30
    files = [page["file"] for chapter in chapters for page in (chapter, *chapter.get("sections", ()))]
    assert sorted(f for f in files if f.startswith("notebooks/")) == [f"notebooks/{p.stem}" for p in NOTEBOOKS]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_a_notebook_has_its_parameters_no_outputs_short_cells_and_words_for_its_figures(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert len({cell.id for cell in notebook.cells}) == len(notebook.cells)
    assert notebook.metadata.kernelspec.name == "python3"
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(not cell.outputs and cell.execution_count is None for cell in code)
    assert max(len(cell.source.splitlines()) for cell in code) <= 20
    assert len(code) <= 20
    known = papermill.inspect_notebook(str(path))
    assert known.keys() == {"preset", "store", "train"}
    assert known["preset"]["default"] == '"reduced"'
    source = "\n".join(cell.source for cell in code)
    assert source.count("book.claim(") <= 1
    assert ("open_notebook(globals()).sampled" in source) == (page_of(path.stem).part == "sampled")
    texts = [cell.metadata.mystnb.image.alt for cell in code if "mystnb" in cell.metadata]
    assert min(map(len, texts)) > 60
    captions = [cell.metadata.tinynet.caption for cell in code if "tinynet" in cell.metadata]
    assert len(set(captions)) == len(captions) >= 1
    assert all(20 < len(caption) <= 140 and caption.endswith(".") for caption in captions)


def test_papermill_injects_parameters_as_open_notebook_expects():
    injected = parameterize_notebook(load_notebook_node(str(NOTEBOOKS[0])), {"prest": "smoke"})
    assert any(cell.source.startswith("# Parameters\nprest") for cell in injected.cells)


def new(cells):
    parameters = nbformat.v4.new_code_cell("preset = 1", metadata={"tags": ["parameters"]})
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    return nbformat.v4.new_notebook(cells=[parameters, *map(nbformat.v4.new_code_cell, cells)], metadata=kernel)


def test_a_failing_notebook_leaves_no_output_and_its_page_says_why_without_a_traceback(tmp_path):
    path = tmp_path / "11_scale.ipynb"
    notebook = new(["2 + 2", "import json; json.loads('')"])
    notebook.cells.insert(0, nbformat.v4.new_markdown_cell("# Title"))
    nbformat.write(notebook, path)
    reason = execute(path, tmp_path / "out.ipynb", {"preset": 2}, tmp_path / "failed")
    assert reason.startswith("JSONDecodeError: Expecting ")
    assert sorted(p.name for p in tmp_path.rglob("*.ipynb")) == ["11_scale.ipynb", "11_scale.ipynb"]
    made = page(tmp_path / "failed" / path.name, load_preset("smoke"), ledger(Store(tmp_path)), {}, reason)
    assert made.cells[0].source == "# Title"
    assert made.cells[1].source.startswith(":::{admonition} Failed")
    assert "\nJSONDecodeError: Expecting value" in made.cells[1].source
    assert str(tmp_path) not in str(made)
    assert "Traceback" not in str(made)
    assert "'text/plain': '4'" in str(made)


@pytest.fixture
def ran(monkeypatch):
    """The sources of the notebooks that were run: copied instead, or failed where they divide by zero."""
    sources = []

    def run(todo, parameters, failed):
        failed.mkdir(exist_ok=True)
        for path, out in todo:
            sources.append(path.read_text(encoding="utf-8"))
            reason = "division by zero" if "/ 0" in sources[-1] else ""
            shutil.copy(path, failed / path.name if reason else out)
            yield path, reason

    monkeypatch.setattr("tinynet_book.site.execute._execute_together", run)
    return sources


def test_a_book_that_failed_half_way_does_not_take_what_it_overwrote_for_good(tmp_path, monkeypatch, ran):
    monkeypatch.setattr("tinynet_book.site.execute.project_root", lambda: tmp_path)
    (tmp_path / "notebooks").mkdir()
    one, wrong, two, three = (nbformat.writes(new([source])) for source in ("1", "1 / 0", "2", "3"))
    for first, second, expected in (
        (one, two, [one, two]),
        (wrong, three, [wrong, three]),
        (one, two, [one, two]),
        (one, two, []),
    ):
        for name, text in (("06_table3_costs.ipynb", first), ("07_table7_ghostnet_a.ipynb", second)):
            (tmp_path / "notebooks" / name).write_text(text, encoding="utf-8")
        ran.clear()
        paths, failed = execute_all("smoke", tmp_path / "store", tmp_path / "build")
        assert ran == expected
        assert failed == ({"06_table3_costs.ipynb": "division by zero"} if first == wrong else {})
        sources = [nbformat.read(path, as_version=4).cells for path in paths]
        assert sources == [nbformat.reads(text, as_version=4).cells for text in (first, second)]


def test_a_page_that_the_preset_lacks_says_what_it_needs(tmp_path, monkeypatch, ran):
    """``imagenette`` has no second world: no failure, and nothing of the notebook runs but its parameters."""
    monkeypatch.setattr("tinynet_book.site.execute.notebooks", lambda root: [PAGE])
    for _ in range(2):
        (path,), failed = execute_all("imagenette", tmp_path / "store", tmp_path / "build")
        assert (failed, len(ran)) == ({}, 1)
    made = page(path, load_preset("imagenette"), ledger(Store(tmp_path)), {})
    assert made.cells[0].source == "# A second world"
    said = "This page needs `second_world`, which the preset `imagenette` does not have."
    assert said in [cell.source for cell in made.cells]
    assert [cell.source for cell in made.cells if cell.cell_type == "code" and "preset" not in cell.source] == []
