"""How much there is to read on a page, and how long its sentences are."""

import re

import nbformat
import pytest
import textstat
from conftest import ROOT

from tinynet_book.site.page import METHOD

MOST_WORDS, LONGEST_SENTENCE = 900, 25
"""On a page outside folded method, and on average."""
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
PAGES = [*NOTEBOOKS, *(ROOT / "book" / f"{name}.md" for name in ("intro", "conclusions", "explorer"))]
_CODE = re.compile(r"^---\n.*?\n---\n|```.*?```|<.*?>", re.S)
_NO_SENTENCE = re.compile(r"^\s*(\||#|:::|\(.*\)=).*$", re.M)
_LINK = re.compile(r"!?\[([^\]]*)\]\([^)]*\)")
_MATHS = re.compile(r"\$+[^$]*\$+")


def prose(markdown):
    """The sentences of a text in Markdown: no tables, headings, code or addresses; a formula is one word."""
    text = _LINK.sub(r"\1", _NO_SENTENCE.sub("", _CODE.sub("", markdown)))
    return re.sub(r"[*`]", "", _MATHS.sub("x", text))


def written(page):
    if page.suffix == ".md":
        return page.read_text(encoding="utf-8")
    cells = nbformat.read(page, as_version=4).cells
    return "\n\n".join(
        c.source for c in cells if c.cell_type == "markdown" and METHOD not in c.metadata.get("tags", [])
    )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_is_short_and_so_are_its_sentences(page):
    text = prose(written(page))
    assert 30 < textstat.lexicon_count(text) <= MOST_WORDS
    assert textstat.words_per_sentence(text) <= LONGEST_SENTENCE
