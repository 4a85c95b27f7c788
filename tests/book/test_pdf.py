"""A small site printed to a PDF, whose objects are then read with no help from the browser."""

import re
from concurrent.futures import ThreadPoolExecutor

import pytest

from tinynet_book.site.pdf import PdfError, chromium, write_pdf

HEAD = '<!DOCTYPE html><meta charset="utf-8"><title>{0} — The book</title>'
MATHJAX = """<script>window.MathJax = {
  startup: { promise: Promise.resolve() },
  typesetPromise: async (parts) => parts[0].querySelectorAll(".math").forEach((m) => { m.outerHTML = "<h2>Set</h2>"; }),
};</script>"""
PICTURE = '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><rect width="9" height="9"/></svg>'
PAGES = {
    "index.html": '<meta http-equiv="Refresh" content="0; url=intro.html" />',
    "intro.html": HEAD.format("First")
    + MATHJAX
    + '<link rel="next" href="notebooks/02.html"><nav class="bd-docs-nav"><div class="bd-toc-item">'
    '<a href="notebooks/02.html">Second</a></div></nav><article class="bd-article"><section id="x"><h1>First</h1>'
    '<a href="notebooks/02.html#x">a section</a> <a href="_downloads/t.csv">a table</a> '
    '<a href="https://example.com/p">elsewhere</a></section></article>',
    "notebooks/02.html": HEAD.format("Second")
    + '<link rel="next" href="../a.html"><article class="bd-article"><section id="x"><h1>Second</h1>'
    '<img src="../p.svg" loading="lazy"><details class="above-input"><summary>code</summary><h2>Code</h2></details>'
    "<details><summary>more</summary><h2>More</h2></details><p class='math'>x</p></section></article>",
    "a.html": HEAD.format("Third") + '<article class="bd-article"><section id="x"><h1>Third</h1></section></article>',
    "p.svg": PICTURE,
}


@pytest.fixture
def print_site(browser, tmp_path):
    """Print a site of these pages; in a thread, since the tests' own browser has this one."""

    def print_pages(pages, address=""):
        for name, text in pages.items():
            path = tmp_path / "site" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(write_pdf, tmp_path / "site", tmp_path / "book.pdf", address).result()

    return print_pages


def objects(pdf):
    """The dictionaries of a PDF by number."""
    found = re.findall(rb"^(\d+) 0 obj\n(.*?)\n?endobj", pdf.read_bytes(), re.DOTALL | re.MULTILINE)
    return {int(number): text.decode("latin-1") for number, text in found}


def outline(pdf):
    """The titles of the outline in order, each with the level."""
    known = objects(pdf)
    (root,) = [text for text in known.values() if "/Type /Outlines" in text]

    def walk(text, key, level):
        entry = re.search(rf"/{key} (\d+) 0 R", text)
        if entry:
            item = known[int(entry[1])]
            yield re.search(r"/Title \((.*?)\)", item)[1], level
            yield from walk(item, "First", level + 1)
            yield from walk(item, "Next", level)

    return list(walk(root, "First", 1))


def test_the_book_has_the_pages_in_their_order_and_links_that_lead_on(print_site):
    pdf = print_site(PAGES, "https://example.org/book")
    assert outline(pdf) == [("First", 1), ("Second", 1), ("More", 2), ("Set", 2), ("Third", 1)]
    text = "\n".join(objects(pdf).values())
    assert len(re.findall(r"/Type /Page\b", text)) == 1 + 3  # the cover
    assert set(re.findall(r"/MediaBox \[0 0 (\d+)\.\d+ (\d+)\.\d+\]", text)) == {("595", "842")}
    assert set(re.findall(r"/URI \((.*?)\)", text)) == {
        "https://example.org/book/_downloads/t.csv",
        "https://example.com/p",
    }
    assert set(re.findall(r"/Dest /(\S+)", text)) == {"page-notebooks-02", "page-notebooks-02--x"}
    assert "".join(f"{ord(c):04X}" for c in "The book") in text or "/Title (The book)" in text
    assert not pdf.with_suffix(".tmp").exists()


def test_without_an_address_data_are_no_links_and_the_old_file_goes(print_site, tmp_path):
    (tmp_path / "book.pdf").write_text("old", encoding="utf-8")
    text = "\n".join(objects(print_site(PAGES)).values())
    assert re.findall(r"/URI \((.*?)\)", text) == ["https://example.com/p"]


def test_what_is_missing_is_named_and_nothing_is_asked_of_others(print_site, tmp_path):
    wrong = '<img src="lost.png"><img src="https://example.com/x.png"></article>'
    first = PAGES["intro.html"].replace(MATHJAX, "")
    with pytest.raises(PdfError) as caught:
        print_site(PAGES | {"intro.html": first, "a.html": PAGES["a.html"].replace("</article>", wrong)})
    for name in ("https://book.invalid/lost.png", "https://example.com/x.png", "MathJax"):
        assert name in str(caught.value)
    assert "p.svg" not in str(caught.value)
    assert not (tmp_path / "book.pdf").exists()


def test_a_page_that_is_missing_is_named(print_site):
    pages = {name: text for name, text in PAGES.items() if name != "a.html"}
    with pytest.raises(PdfError, match=r"site cannot be printed, missing: /a\.html$"):
        print_site(pages)


def test_no_site(tmp_path):
    with pytest.raises(PdfError, match=r"has no index\.html: make book builds the site"):
        write_pdf(tmp_path, tmp_path / "book.pdf")


def test_no_chromium(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CHROMIUM", raising=False)
    with pytest.raises(PdfError, match="Chromium is needed: apt-get install chromium, or set CHROMIUM to its path"):
        chromium()
    monkeypatch.setenv("CHROMIUM", "/nowhere/chrome")
    with pytest.raises(PdfError, match="CHROMIUM is /nowhere/chrome, which cannot be run"):
        chromium()
    program = tmp_path / "google-chrome"
    program.write_text("#!/bin/sh\n", encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.delenv("CHROMIUM")
    assert chromium() == str(program)
