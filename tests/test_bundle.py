import hashlib
import os
import subprocess
import tarfile

import pytest

from tinynet_book.site.bundle import ARCHIVE, CHECKSUMS, bundle
from tinynet_core.files import UserError

FILES = {
    "index.html": b"<p>one</p>",
    "a/b.html": b"two",
    "a-b.html": b"three",
    "_static/x.css": b"",
    ".buildinfo": b"4",
}


@pytest.fixture
def make_site(tmp_path):
    """A site of ``FILES`` in a folder of this name, its files written in the given order."""

    def make(name, names=tuple(FILES)):
        for file in names:
            path = tmp_path / name / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(FILES[file])
        return tmp_path / name

    return make


def test_the_archive_holds_the_site_and_nothing_of_the_machine(make_site, tmp_path):
    archive = bundle(make_site("html"), tmp_path / "out")
    with tarfile.open(archive) as tar:
        entries = tar.getmembers()
        found = {entry.name: tar.extractfile(entry).read() for entry in entries}
    assert found == {f"site/{name}": content for name, content in FILES.items()}
    assert {(e.mtime, e.mode, e.uid, e.gid, e.uname, e.gname) for e in entries} == {(0, 0o644, 0, 0, "", "")}
    assert archive.read_bytes()[3:8] == bytes(5)  # of gzip's header: flags, so no name, and the time


def test_another_order_time_and_mode_give_the_same_bytes(make_site, tmp_path):
    first, second = make_site("one"), make_site("two", tuple(reversed(FILES)))
    for path in second.rglob("*.html"):
        os.utime(path, (1e9, 1e9))
        path.chmod(0o600)
    archives = [bundle(site, tmp_path / f"out-{site.name}").read_bytes() for site in (first, second)]
    assert archives[0] == archives[1]
    (second / "a-b.html").write_bytes(b"four")
    assert bundle(second, tmp_path / "out-two").read_bytes() != archives[0]


def test_sha256sum_accepts_the_checksum_and_sees_a_changed_byte(make_site, tmp_path):
    archive = bundle(make_site("html"), tmp_path / "out")
    line = (tmp_path / "out" / CHECKSUMS).read_text(encoding="utf-8")
    assert line == f"{hashlib.sha256(archive.read_bytes()).hexdigest()}  {ARCHIVE}\n"

    def check():
        command = ["sha256sum", "--check", "--strict", CHECKSUMS]
        return subprocess.run(command, cwd=tmp_path / "out", capture_output=True, check=False).returncode

    assert check() == 0
    damaged = bytearray(archive.read_bytes())
    damaged[-1] ^= 1
    archive.write_bytes(damaged)
    assert check() == 1


def test_a_second_archive_replaces_the_first(make_site, tmp_path):
    site = make_site("html")
    bundle(site, tmp_path / "out")
    (site / "new.html").write_bytes(b"new")
    with tarfile.open(bundle(site, tmp_path / "out")) as tar:
        assert "site/new.html" in tar.getnames()
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [CHECKSUMS, ARCHIVE]


def test_no_site_and_no_place_for_the_archive(make_site, tmp_path):
    with pytest.raises(UserError, match=r"nothing has no index.html: make book builds the site"):
        bundle(tmp_path / "nothing", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    site = make_site("html")
    with pytest.raises(UserError, match="which is part of the site"):
        bundle(site, site / "release")
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(UserError, match="file cannot be made: File exists"):
        bundle(site, tmp_path / "file")
