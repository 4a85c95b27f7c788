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


@pytest.fixture(params=NOTEBOOKS, ids=lambda p: p.stem)
def path(request):
    return request.param


@pytest.fixture
def code_cells(path):
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]


def test_the_list_of_notebooks():
    names = [p.stem.split("_")[1] for p in NOTEBOOKS]
    assert {f"fig{n}" for n in range(1, 8)} | {f"table{n}" for n in range(1, 8)} <= set(names)
    assert len({p.stem[:2] for p in NOTEBOOKS}) == len(NOTEBOOKS)  # with gaps: the address of a page does not change


def test_powers_are_written_as_powers():
    root = project_root()
    pages = [*NOTEBOOKS, *(root / "book").rglob("*.md"), *(root / "book" / "tinynet_book" / "paper").glob("*.yaml")]
    assert not [page for page in pages if "B^-" in page.read_text(encoding="utf-8")]


def test_the_list_of_contents_has_every_notebook_once_and_few_entries():
    parts = yaml.safe_load((project_root() / "book" / "_toc.yml").read_text(encoding="utf-8"))["parts"]
    chapters = [chapter for part in parts for chapter in part["chapters"]]
    assert len(parts) <= 6
    assert len(chapters) <= 30
    files = [page["file"] for chapter in chapters for page in (chapter, *chapter.get("sections", ()))]
    assert sorted(f for f in files if f.startswith("notebooks/")) == [f"notebooks/{p.stem}" for p in NOTEBOOKS]


def test_notebooks_of_the_sampled_study_open_it(path):
    sampled = page_of(path.stem).part == "sampled"
    assert ("open_notebook(globals()).sampled" in path.read_text(encoding="utf-8")) == sampled


def test_no_outputs_and_the_plain_kernel(path, code_cells):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert len({cell.id for cell in notebook.cells}) == len(notebook.cells)
    assert all(not cell.outputs and cell.execution_count is None for cell in code_cells)
    assert notebook.metadata.kernelspec.name == "python3"


def test_papermill_sees_the_parameters_and_injects_its_own_as_the_notebook_expects(path, code_cells):
    assert sum("parameters" in cell.metadata.get("tags", []) for cell in code_cells) == 1
    known = papermill.inspect_notebook(str(path))
    assert known.keys() == {"preset", "store", "train"}
    assert known["preset"]["default"] == '"reduced"'
    injected = parameterize_notebook(load_notebook_node(str(path)), {"prest": "smoke"})
    assert any(cell.source.startswith("# Parameters\nprest") for cell in injected.cells)


def test_cells_are_few_and_short_and_leave_training_and_files_to_the_packages(code_cells):
    assert max(len(cell.source.splitlines()) for cell in code_cells) <= 20
    assert len(code_cells) <= 20
    source = "\n".join(cell.source for cell in code_cells).replace("open_notebook(", "")
    assert source.count("book.claim(") <= 1
    assert not [word for word in ("import torch", "open(", "Path(", "for epoch") if word in source]


def test_every_alt_text_says_something_and_every_caption_is_of_its_own(code_cells):
    """The built site has one of each for every figure."""
    texts = [cell.metadata.mystnb.image.alt for cell in code_cells if "mystnb" in cell.metadata]
    assert min(map(len, texts)) > 60
    captions = [cell.metadata.tinynet.caption for cell in code_cells if "tinynet" in cell.metadata]
    assert len(set(captions)) == len(captions) >= 1
    assert all(20 < len(caption) <= 140 and caption.endswith(".") for caption in captions)


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


def test_a_kernel_that_dies_is_a_failed_notebook_with_the_time_of_its_end(tmp_path):
    path = tmp_path / "x.ipynb"
    nbformat.write(new(["import os; os._exit(1)"]), path)
    reason = execute(path, tmp_path / "out.ipynb", {"preset": 2}, tmp_path / "failed")
    assert reason.startswith("DeadKernelError: ")
    assert nbformat.read(tmp_path / "failed" / path.name, as_version=4).metadata.papermill.end_time


def test_a_book_that_failed_half_way_does_not_take_what_it_overwrote_for_good(tmp_path, monkeypatch):
    ran = []

    def run(todo, parameters, failed):
        """As ``_execute_together``, with a reason instead of running what divides by zero."""
        failed.mkdir(exist_ok=True)
        for path, out in todo:
            ran.append(path.read_text(encoding="utf-8"))
            reason = "division by zero" if "/ 0" in ran[-1] else ""
            shutil.copy(path, failed / path.name if reason else out)
            yield path, reason

    monkeypatch.setattr("tinynet_book.site.execute.project_root", lambda: tmp_path)
    monkeypatch.setattr("tinynet_book.site.execute._execute_together", run)
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
        assert [path.parent.name for path in paths] == ["failed" if failed else "smoke", "smoke"]
        sources = [nbformat.read(path, as_version=4).cells for path in paths]
        assert sources == [nbformat.reads(text, as_version=4).cells for text in (first, second)]


def test_a_page_that_the_preset_lacks_says_what_it_needs(tmp_path, monkeypatch):
    """``imagenette`` has no second world: no failure, and nothing of the notebook runs but its parameters."""
    ran = []

    def run(todo, parameters, failed):
        for path, out in todo:
            ran.append(shutil.copy(path, out))
            yield path, ""

    monkeypatch.setattr("tinynet_book.site.execute._execute_together", run)
    monkeypatch.setattr("tinynet_book.site.execute.notebooks", lambda root: [PAGE])
    for _ in range(2):
        (path,), failed = execute_all("imagenette", tmp_path / "store", tmp_path / "build")
        assert (failed, ran) == ({}, [path])  # once
    made = page(path, load_preset("imagenette"), ledger(Store(tmp_path)), {})
    assert made.cells[0].source == "# A second world"
    said = "This page needs `second_world`, which the preset `imagenette` does not have."
    assert said in [cell.source for cell in made.cells]
    assert [cell.source for cell in made.cells if cell.cell_type == "code" and "preset" not in cell.source] == []
