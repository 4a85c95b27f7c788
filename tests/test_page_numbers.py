"""Every number that a page says is the paper's is in the ledger, in a preset that repeats it, or derived here."""

import re

import nbformat
import pytest

from tinynet_book.paper import rows
from tinynet_book.paper.claims import claims
from tinynet_core.study.presets import load_preset, project_root

NOTEBOOKS = sorted((project_root() / "notebooks").glob("*.ipynb"))
NUMBER = re.compile(r"(?<![\w.^-])-?\d+(?:,\d{3})*(?:\.\d+)?")
LISTED = r"((?:[A-Z]\.?)?\d[\d.]*(?:(?:,| and| to) \d[\d.]*)*)"
NAMES = re.compile(
    rf"(?:sections?|tables?|figures?|equations?|eqs?\.) {LISTED}"
    r"|B⁻[¹²³⁴]|[BC0-9]x|P\d\d|V\d+|phi = \d"  # names
    r"|^\d+\. |\[\d+\]|\$\$[^$]*\$\$|\$[^$]*\$|\{cite[^`]*`[^`]*`|`[^`]*`|\]\([^)]*\)",  # lists, formulas, code, links
    re.M | re.I,
)


def said(notebook):
    """The title of a page, and what it says of the paper in its section "What the paper says"."""
    cells = [c.source for c in nbformat.read(notebook, 4).cells if c.cell_type == "markdown"]
    texts = [text.partition("## What the paper says\n")[2].partition("\n## ")[0] for text in cells]
    title = cells[0].splitlines()[0]
    return "\n".join([title, *filter(None, texts)])


def numbers(text):
    return {float(x.replace(",", "")) for x in NUMBER.findall(NAMES.sub(" ", text))}


def places(text):
    """Tables, figures and sections that a text names."""
    found = re.findall(rf"(tab|fig|sec)(?:les?|ures?|tions?) {LISTED}", text, re.I)
    return {(kind.lower(), n) for kind, listed in found for n in re.findall(r"(?:[A-Z]\.?)?\d(?:\.?\d+)*", listed)}


def of_the_ledger(notebook, text):
    """Numbers of the claims that this page decides or whose place in the paper it names."""
    near = [c for c in claims().values() if c.notebook == notebook.stem or places(c.source) & places(text)]
    values = {float(c.paper) for c in near if not isinstance(c.paper, bool)}
    billions = {round(value / 1000, 1) for value in values if value >= 1000}
    return values | billions | set().union(*(numbers(c.statement) for c in near))


def protocol():
    """How the paper worked, as the presets that repeat it have it."""
    large, small = load_preset("imagenet1k"), load_preset("imagenet100")
    found = {large.recipe.epochs, small.recipe.epochs, large.recipe.batch_size, large.recipe.ema_decay}
    found |= {large.dataset.classes, small.dataset.classes, large.base.resolution, large.detection.resolution}
    found |= {small.random_sample.models, 100 * small.random_sample.frontier, *small.random_sample.window}
    found |= {*small.equal_cost_sample.c, 100 * small.equal_cost_sample.tolerance, large.latency.runs}
    return found | {0.35, 2.8}


DERIVED = {
    "06": {len(rows("table3")), len(rows("table6")), 4, 5},  # counts of rows; tables without weights
    "13": {500, 500 * 100 // 1024},  # images a class, steps an epoch
    "11": {2.5 * 100, 500, 8, 64},  # GPU hours in all, images a class, GPUs, nodes of the title
    "15": {round(100 * (1 - 81.30 / 99.85), 1), round(100 * (99.85 / 81.30 - 1)), 0.795, 0.814},
}


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem[:2])
def test_the_numbers_of_a_page(notebook):
    text = said(notebook)
    known = of_the_ledger(notebook, text) | protocol() | DERIVED.get(notebook.stem[:2], set()) | {1.0, 2.0}
    assert not numbers(text) - known
