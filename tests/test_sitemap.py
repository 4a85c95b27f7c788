from xml.etree import ElementTree

import pytest

from tinynet_core.book.sitemap import NAMESPACE, SETTING, site_url, write_sitemap
from tinynet_core.errors import UserError


@pytest.fixture
def site(tmp_path):
    for name in ("index.html", "intro.html", "search.html", "genindex.html", "notebooks/01 a&b.html", "claims.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    (tmp_path / "_static").mkdir()
    (tmp_path / "_static" / "webpack-macros.html").write_text("")
    return tmp_path


def test_every_page_of_the_book_and_no_other(site):
    sitemap, robots = write_sitemap(site, "https://example.org/book")
    root = ElementTree.parse(sitemap).getroot()
    assert root.tag == "{http://www.sitemaps.org/schemas/sitemap/0.9}urlset"
    assert [place.text for place in root.iter(f"{{{NAMESPACE}}}loc")] == [
        "https://example.org/book/intro.html",
        "https://example.org/book/notebooks/01%20a%26b.html",
    ]
    assert sitemap.read_text().startswith("<?xml version='1.0' encoding='utf-8'?>\n<urlset xmlns=")
    assert robots.read_text() == "User-agent: *\nAllow: /\nSitemap: https://example.org/book/sitemap.xml\n"


def test_nothing_is_written_without_an_address(site):
    before = sorted(site.rglob("*"))
    assert write_sitemap(site, "") == []
    assert sorted(site.rglob("*")) == before


@pytest.mark.parametrize(
    ("given", "address"),
    [
        ("https://example.org/book/", "https://example.org/book"),
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000"),
        (" https://example.org ", "https://example.org"),
        ("", ""),
    ],
)
def test_the_address_is_a_setting(monkeypatch, given, address):
    monkeypatch.setenv(SETTING, given)
    assert site_url() == address


def test_an_address_that_is_not_set(monkeypatch):
    monkeypatch.delenv(SETTING, raising=False)
    assert site_url() == ""


@pytest.mark.parametrize(
    "given", ["example.org/book", "ftp://example.org", "https://", "https://e.org/?a=1", "https://e.org/#a"]
)
def test_an_address_of_no_site_is_refused(monkeypatch, given):
    monkeypatch.setenv(SETTING, given)
    with pytest.raises(UserError) as caught:
        site_url()
    assert str(caught.value) == f"TINYNET_SITE_URL must be an address such as https://example.org/book, got {given!r}"
