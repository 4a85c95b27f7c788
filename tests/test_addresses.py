import re

import pytest

from tinynet_book.site import build as site
from tinynet_book.site import stage
from tinynet_book.site.addresses import REPOSITORY, SITE, repository_url, site_url
from tinynet_core.files import UserError

READERS = pytest.mark.parametrize(("setting", "read"), [(SITE, site_url), (REPOSITORY, repository_url)])


@pytest.mark.parametrize(
    ("given", "address"),
    [
        ("https://example.org/book/", "https://example.org/book"),
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000"),
        (" https://example.org ", "https://example.org"),
        ("", ""),
    ],
)
@READERS
def test_an_address_is_a_setting(monkeypatch, setting, read, given, address):
    monkeypatch.setenv(setting, given)
    assert read() == address


@READERS
def test_an_address_that_is_not_set(monkeypatch, setting, read):
    monkeypatch.delenv(setting, raising=False)
    assert read() == ""


@pytest.mark.parametrize(
    "given", ["example.org/book", "ftp://example.org", "https://", "https://e.org/?a=1", "https://e.org/#a"]
)
@READERS
def test_what_is_no_address_of_a_folder_is_refused(monkeypatch, setting, read, given):
    monkeypatch.setenv(setting, given)
    with pytest.raises(UserError) as caught:
        read()
    assert re.fullmatch(
        rf"{setting} must be an address such as https://example\.org/\S+, got {re.escape(repr(given))}",
        str(caught.value),
    )


def test_a_page_links_its_source_where_the_repository_is_known():
    line = stage._source("https://example.org/o/p", "notebooks/01_x.ipynb")
    assert "[notebooks/01_x.ipynb](https://example.org/o/p/blob/main/notebooks/01_x.ipynb)" in line
    assert "[edit it](https://example.org/o/p/edit/main/notebooks/01_x.ipynb)" in line
    assert stage._source("", "notebooks/01_x.ipynb") == ""


def test_the_picture_of_a_link_has_its_whole_address_where_it_is_known():
    page = '<head><meta property="og:image" content="_static/card.png"/></head>'
    assert site._finished(page, "") == page
    assert 'content="https://example.org/b/_static/card.png"' in site._finished(page, "https://example.org/b")
