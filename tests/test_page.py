"""An executed notebook as a page: what comes first, and what became of its claims in a box."""

import nbformat
import pandas as pd
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from tinynet_book.site.page import box, page
from tinynet_core import load_preset


def row(key, verdict, evidence, **more):
    known = {"id": key, "source": "Table 1", "statement": "A beats B.", "paper": "holds", "ours": "", "interval": ""}
    return known | {"verdict": verdict, "evidence": evidence, "note": "", "notebook": "01_fig1"} | more


def shown(source, data, *tags):
    return new_code_cell(source, metadata={"tags": list(tags)}, outputs=[new_output("display_data", data)])


@pytest.fixture
def made(tmp_path):
    """The page of a notebook with a picture far down, two cells that show nothing, and a box of its own."""

    def of(**metadata):
        cells = [
            new_markdown_cell("# Title"),
            new_markdown_cell("## How we test it\n\nWith care.", metadata={"tags": ["method"]}),
            new_code_cell("preset = 1", metadata={"tags": ["parameters"]}),
            new_code_cell("preset = 2", metadata={"tags": ["injected-parameters"]}),
            new_code_cell("import x"),
            new_code_cell("def f(): ..."),
            shown("table", {"text/plain": "numbers"}),
            shown("draw", {"image/png": "AA=="}, "picture"),
            shown("Markdown()", {"text/markdown": "**In a word**: yes"}, "box"),
        ]
        path = tmp_path / "06_table3_costs.ipynb"
        nbformat.write(new_notebook(cells=cells, metadata=metadata), path)
        return page(path, load_preset("smoke"), pd.DataFrame([row("a", "differs", "proxy")]), {})

    return of


def test_the_box_and_the_picture_come_first_method_folds_and_silent_code_joins_what_is_below_it(made):
    *sources, origin = [cell.source for cell in made().cells]
    assert sources == [
        "# Title",
        ":::{admonition} In short\n:class: box in-short\n**In a word**: yes\n:::\n\n",
        "draw",
        "::::{dropdown} How we test it\nWith care.\n::::",
        "preset = 1",
        "preset = 2",
        "import x\n\n\ndef f(): ...\n\n\ntable",
    ]
    assert "Evidence: recomputed" in origin
    assert "papermill notebooks/06_table3_costs.ipynb out.ipynb -p preset smoke" in origin


def test_the_box_of_a_page_says_what_became_of_its_headline(made):
    assert made(tinynet={"headline": ["a"]}).cells[1].source == (
        ":::{admonition} ✗ Does not hold\n:class: box differs\n**The paper says** (Table 1): A beats B.\n\n"
        "**✗ Does not hold** ([proxy](#levels)).\n:::\n\n"
    )


def test_the_strongest_evidence_that_decides_gives_the_title_and_all_of_it_is_said():
    rows = [
        row("a", "not attempted", "measured", note="one seed"),
        row("a", "within tolerance", "proxy", paper="2.5 points", ours="2.1 points", interval="[1, 3]", note="n = 3"),
        row("b", "not attempted", ""),
    ]
    text = box(pd.DataFrame(rows))
    assert text.startswith(":::{admonition} ✓ Holds within tolerance, ○ Open\n:class: box within-tolerance\n")
    assert "**○ Open** ([measured](#levels)). One seed." in text
    assert "**✓ Holds within tolerance** ([proxy](#levels)). 2.1 points [1, 3]. N = 3." in text
    assert "**○ Open** (nothing measured)" in text


def test_a_number_is_said_once_and_what_the_paper_does_not_say_itself_it_implies():
    found = row("a", "matches", "proxy", paper="2 points", ours="2.13 points", interval="[1, 3]")
    found |= {"note": "2.1, 95% [1, 3], n = 3", "source": "Section 4.2, derived here"}
    text = box(pd.DataFrame([found]))
    assert "**The paper implies** (Section 4.2, derived here)" in text
    assert "([proxy](#levels)). 2.1, 95% [1, 3], n = 3." in text
    assert "2.13" not in text
    for other in ("2 of 9 ahead", "2.3, 95% [1, 3]"):
        assert "2.13 points [1, 3]. " in box(pd.DataFrame([found | {"note": other}]))
