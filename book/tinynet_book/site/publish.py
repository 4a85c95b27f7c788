"""What makes a built site one that is published: its address, a sitemap, and the site as one file."""

import gzip
import hashlib
import os
import tarfile
from pathlib import Path
from urllib.parse import quote, urlsplit
from xml.etree import ElementTree

from tinynet_core.files import UserError, write_text

SITE = "TINYNET_SITE_URL"
"""Environment variable with the address at which the site is published."""
REPOSITORY = "TINYNET_REPOSITORY_URL"
"""Environment variable with the address of the sources on GitHub or a server with its paths."""
NAMESPACE = "http://www.sitemaps.org/schemas/sitemap/0.9"
NO_CONTENT = {"index.html", "genindex.html", "search.html"}
"""Pages that nobody should find: index.html only leads to the first page."""
ARCHIVE = "site.tar.gz"
CHECKSUMS = "SHA256SUMS"


def published_at(setting: str) -> str:
    """The address in the environment variable ``SITE`` or ``REPOSITORY``, without a slash at its end; empty without.

    Raises ``UserError`` for anything but an http or https address of a folder.
    """
    given = os.environ.get(setting, "").strip()
    parts = urlsplit(given)
    if given and (parts.scheme not in ("http", "https") or not parts.netloc or parts.query or parts.fragment):
        raise UserError(f"{setting} must be an address such as https://example.org/book, got {given!r}")
    return given.rstrip("/")


def write_sitemap(site: Path, address: str) -> None:
    """Write sitemap.xml, which lists every page, and robots.txt into folder ``site``; neither without an ``address``.

    Search engines read robots.txt only where the site is the root of its host; elsewhere the sitemap is to be handed
    to them by its address.
    """
    if not address:
        return
    root = ElementTree.Element("urlset", xmlns=NAMESPACE)
    for page in sorted(path.relative_to(site) for path in site.rglob("*.html")):
        if page.parts[0] != "_static" and page.as_posix() not in NO_CONTENT:
            entry = ElementTree.SubElement(root, "url")
            ElementTree.SubElement(entry, "loc").text = f"{address}/{quote(page.as_posix())}"
    ElementTree.indent(root)
    ElementTree.ElementTree(root).write(site / "sitemap.xml", encoding="utf-8", xml_declaration=True)
    write_text(f"User-agent: *\nAllow: /\nSitemap: {address}/sitemap.xml\n", site / "robots.txt")


def bundle(site: Path, folder: Path) -> Path:
    """Write folder ``site`` to ``site.tar.gz`` in ``folder``, and ``SHA256SUMS`` beside it; returns the archive.

    The archive depends on the names and the contents of the files alone: entries are sorted, times are zero, owners and
    permissions are the same for all. Another zlib may compress otherwise; the tar file inside stays the same.
    Raises ``UserError`` where there is no place for the archive.
    """
    if folder.resolve().is_relative_to(site.resolve()):
        raise UserError(f"the archive cannot go to {folder}, which is part of the site")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder} cannot be made: {error.strerror or error}") from error
    archive, scratch = folder / ARCHIVE, folder / f"{ARCHIVE}.tmp"
    files = sorted((path for path in site.rglob("*") if path.is_file()), key=lambda path: path.relative_to(site).parts)
    with (
        scratch.open("wb") as raw,
        gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w") as tar,
    ):
        for path in files:
            tar.add(path, f"site/{path.relative_to(site).as_posix()}", filter=_anonymous)
    scratch.replace(archive)
    write_text(f"{hashlib.sha256(archive.read_bytes()).hexdigest()}  {ARCHIVE}\n", folder / CHECKSUMS)
    return archive


def _anonymous(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    """Nothing of the machine: no time, no owner, the usual permissions."""
    return entry.replace(deep=False, mtime=0, mode=0o644, uid=0, gid=0, uname="", gname="")
