"""The address of a published site, its sitemap, and the site as one file."""

import hashlib
import os
import re
import subprocess
import tarfile
from xml.etree import ElementTree

import pytest

from tinynet_book.site import build, stage
from tinynet_book.site.publish import (
    ARCHIVE,
    CHECKSUMS,
    NAMESPACE,
    REPOSITORY,
    SITE,
    bundle,
    published_at,
    write_sitemap,
)
from tinynet_core.files import UserError

FILES = {"index.html": b"<p>one</p>", "a/b.html": b"two", "a-b.html": b"three", "_static/x.css": b"", ".info": b"4"}


def make_site(folder, names=tuple(FILES)):
    """A site of ``FILES``, written in the given order."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(FILES.get(name, b""))
    return folder


@pytest.mark.parametrize("setting", [SITE, REPOSITORY])
def test_an_address_is_a_setting(monkeypatch, setting):
    monkeypatch.delenv(setting, raising=False)
    assert published_at(setting) == ""
    for given in ("https://example.org/book/", "http://127.0.0.1:8000", " https://example.org ", ""):
        monkeypatch.setenv(setting, given)
        assert published_at(setting) == given.strip().removesuffix("/")
    for given in ("example.org/book", "ftp://example.org", "https://", "https://e.org/?a=1", "https://e.org/#a"):
        monkeypatch.setenv(setting, given)
        with pytest.raises(UserError, match=rf"{setting} must be an address such as .*, got {re.escape(repr(given))}"):
            published_at(setting)


def test_a_page_links_its_source_where_the_repository_is_known():
    line = stage._source("https://example.org/o/p", "notebooks/01_x.ipynb")
    assert "[notebooks/01_x.ipynb](https://example.org/o/p/blob/main/notebooks/01_x.ipynb)" in line
    assert "[edit it](https://example.org/o/p/edit/main/notebooks/01_x.ipynb)" in line
    assert stage._source("", "notebooks/01_x.ipynb") == ""


def test_the_picture_of_a_link_has_its_whole_address_where_it_is_known():
    page = '<head><meta property="og:image" content="_static/card.png"/></head>'
    assert build._finished(page, "") == page
    assert 'content="https://example.org/b/_static/card.png"' in build._finished(page, "https://example.org/b")


def test_the_sitemap_has_every_page_of_the_book_and_no_other(tmp_path):
    pages = ("index.html", "intro.html", "search.html", "notebooks/01 a&b.html", "claims.csv", "_static/x.html")
    site = make_site(tmp_path, pages)
    write_sitemap(site, "")
    assert not (site / "robots.txt").exists()
    write_sitemap(site, "https://example.org/book")
    root = ElementTree.parse(site / "sitemap.xml").getroot()
    assert root.tag == "{http://www.sitemaps.org/schemas/sitemap/0.9}urlset"
    assert [place.text for place in root.iter(f"{{{NAMESPACE}}}loc")] == [
        "https://example.org/book/intro.html",
        "https://example.org/book/notebooks/01%20a%26b.html",
    ]
    assert "\nSitemap: https://example.org/book/sitemap.xml\n" in (site / "robots.txt").read_text(encoding="utf-8")


def test_the_archive_holds_the_site_and_nothing_of_the_machine(tmp_path):
    archive = bundle(make_site(tmp_path / "html"), tmp_path / "out")
    with tarfile.open(archive) as tar:
        entries = tar.getmembers()
        found = {entry.name: tar.extractfile(entry).read() for entry in entries}
    assert found == {f"site/{name}": content for name, content in FILES.items()}
    assert {(e.mtime, e.mode, e.uid, e.gid, e.uname, e.gname) for e in entries} == {(0, 0o644, 0, 0, "", "")}
    assert archive.read_bytes()[3:8] == bytes(5)  # of gzip's header: flags, so no name, and the time
    line = (tmp_path / "out" / CHECKSUMS).read_text(encoding="utf-8")
    assert line == f"{hashlib.sha256(archive.read_bytes()).hexdigest()}  {ARCHIVE}\n"
    command = ["sha256sum", "--check", "--strict", CHECKSUMS]
    assert subprocess.run(command, cwd=tmp_path / "out", capture_output=True, check=False).returncode == 0


def test_another_order_time_and_mode_give_the_same_bytes(tmp_path):
    first, second = make_site(tmp_path / "one"), make_site(tmp_path / "two", tuple(reversed(FILES)))
    for path in second.rglob("*.html"):
        os.utime(path, (1e9, 1e9))
        path.chmod(0o600)
    archives = [bundle(site, tmp_path / f"out-{site.name}").read_bytes() for site in (first, second)]
    assert archives[0] == archives[1]
    (second / "a-b.html").write_bytes(b"four")
    assert bundle(second, tmp_path / "out-two").read_bytes() != archives[0]  # and replaces it
    assert sorted(path.name for path in (tmp_path / "out-two").iterdir()) == [CHECKSUMS, ARCHIVE]


def test_no_place_for_the_archive(tmp_path):
    site = make_site(tmp_path / "html")
    with pytest.raises(UserError, match="which is part of the site"):
        bundle(site, site / "release")
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(UserError, match="file cannot be made: File exists"):
        bundle(site, tmp_path / "file")
