"""What can be said of the notebooks without running them; they run in ``make test`` by nbmake and papermill."""

import re

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


@pytest.fixture(params=NOTEBOOKS, ids=lambda p: p.stem)
def notebook(request):
    return nbformat.read(request.param, as_version=4)


def code_cells(notebook):
    return [c for c in notebook.cells if c.cell_type == "code"]


def draws(cell):
    """Whether a figure comes out of a cell."""
    called = re.search(r"^ *(?:figure\b.* = |enumerated\()", cell.source, re.M)
    return called is not None and not cell.source.startswith("def ")


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


def test_notebooks_of_the_sampled_study_open_it():
    for path in NOTEBOOKS:
        sampled = page_of(path.stem).part == "sampled"
        assert ("open_notebook(globals()).sampled" in path.read_text(encoding="utf-8")) == sampled, path.stem


def test_no_outputs_and_the_plain_kernel(notebook):
    nbformat.validate(notebook)
    assert all(not c.outputs and c.execution_count is None for c in code_cells(notebook))
    assert notebook.metadata.kernelspec.name == "python3"


def test_one_parameters_cell_with_the_published_preset(notebook):
    (cell,) = [c for c in code_cells(notebook) if "parameters" in c.metadata.get("tags", [])]
    assert 'preset = "reduced"' in cell.source


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_papermill_sees_the_parameters_and_injects_its_own_as_the_notebook_expects(path):
    assert set(papermill.inspect_notebook(str(path))) == {"preset", "store", "train"}
    injected = parameterize_notebook(load_notebook_node(str(path)), {"prest": "smoke"})
    assert any(cell.source.startswith("# Parameters\nprest") for cell in injected.cells)


def test_few_and_short_cells(notebook):
    cells = code_cells(notebook)
    assert max(len(c.source.splitlines()) for c in cells) <= 20
    assert len(cells) <= 20


def test_every_figure_has_alt_text(notebook):
    for cell in code_cells(notebook):
        if draws(cell):
            assert len(cell.metadata.mystnb.image.alt) > 60


def test_every_figure_has_a_caption_of_its_own(notebook):
    captions = [c.metadata.tinynet.caption for c in code_cells(notebook) if "tinynet" in c.metadata]
    assert len(set(captions)) == len(captions) >= 1
    assert all(20 < len(caption) <= 140 and caption.endswith(".") for caption in captions)
    assert all("tinynet" in c.metadata for c in code_cells(notebook) if draws(c))


def test_no_training_loop_or_file_handling(notebook):
    source = "\n".join(c.source for c in code_cells(notebook))
    assert len(re.findall("book\\.claim\\(", source)) <= 1
    for word in ("import torch", "open(", "Path(", "for epoch"):
        assert word not in source.replace("open_notebook(", "")


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


def without_kernels(todo, parameters, failed):
    """What ``_execute_together`` does, by evaluating the last cell of each notebook here."""
    for path, out in todo:
        notebook = nbformat.read(path, as_version=4)
        reason, target = "", out
        try:
            shown = str(eval(notebook.cells[-1].source))
        except ZeroDivisionError as error:
            failed.mkdir(exist_ok=True)
            shown, target, reason = "", failed / path.name, str(error)
        notebook.cells[-1].outputs = [nbformat.v4.new_output("execute_result", {"text/plain": shown})]
        nbformat.write(notebook, target)
        yield path, reason


def test_a_book_that_failed_half_way_does_not_take_what_it_overwrote_for_good(tmp_path, monkeypatch):
    monkeypatch.setattr("tinynet_book.site.execute.project_root", lambda: tmp_path)
    monkeypatch.setattr("tinynet_book.site.execute._execute_together", without_kernels)
    (tmp_path / "notebooks").mkdir()

    def write(first, second):
        for name, source in (("01_a", first), ("02_b", second)):
            notebook = new([source])
            for i, cell in enumerate(notebook.cells):
                cell.id = f"c{i}"
            nbformat.write(notebook, tmp_path / "notebooks" / f"{name}.ipynb")

    def shown():
        paths, failed = execute_all("smoke", tmp_path / "store", tmp_path / "build")
        assert [p.parent.name for p in paths if p.name in failed] == ["failed"] * len(failed)
        outputs = [nbformat.read(p, as_version=4).cells[-1].outputs[0] for p in paths]
        return [failed.get(p.name) or o.data["text/plain"] for p, o in zip(paths, outputs, strict=True)]

    write("1", "2")
    assert shown() == ["1", "2"]
    write("1 / 0", "3")
    assert shown() == ["division by zero", "3"]
    write("1", "2")
    assert shown() == ["1", "2"]
    monkeypatch.setattr("tinynet_book.site.execute._execute_together", lambda todo, *_: [1 / 0 for _ in todo])
    assert shown() == ["1", "2"]  # nothing is left to do
