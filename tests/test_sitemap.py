from xml.etree import ElementTree

import pytest

from tinynet_book.site.sitemap import NAMESPACE, write_sitemap


@pytest.fixture
def site(tmp_path):
    for name in ("index.html", "intro.html", "search.html", "genindex.html", "notebooks/01 a&b.html", "claims.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("", encoding="utf-8")
    (tmp_path / "_static").mkdir()
    (tmp_path / "_static" / "webpack-macros.html").write_text("", encoding="utf-8")
    return tmp_path


def test_every_page_of_the_book_and_no_other(site):
    sitemap, robots = write_sitemap(site, "https://example.org/book")
    root = ElementTree.parse(sitemap).getroot()
    assert root.tag == "{http://www.sitemaps.org/schemas/sitemap/0.9}urlset"
    assert [place.text for place in root.iter(f"{{{NAMESPACE}}}loc")] == [
        "https://example.org/book/intro.html",
        "https://example.org/book/notebooks/01%20a%26b.html",
    ]
    assert sitemap.read_text(encoding="utf-8").startswith("<?xml version='1.0' encoding='utf-8'?>\n<urlset xmlns=")
    assert (
        robots.read_text(encoding="utf-8") == "User-agent: *\nAllow: /\nSitemap: https://example.org/book/sitemap.xml\n"
    )


def test_nothing_is_written_without_an_address(site):
    before = sorted(site.rglob("*"))
    assert write_sitemap(site, "") == []
    assert sorted(site.rglob("*")) == before
