"""The built site as one file for a release, the same bytes for the same site, with its checksum."""

import gzip
import hashlib
import tarfile
from pathlib import Path

from tinynet_core.files import UserError, write_text

ARCHIVE = "site.tar.gz"
CHECKSUMS = "SHA256SUMS"
FOLDER = "site"
"""What the archive unpacks into."""


def bundle(site: Path, folder: Path) -> Path:
    """Write folder ``site`` to ``site.tar.gz`` in ``folder``, which is made, and ``SHA256SUMS`` beside it.

    The archive depends on the names and the contents of the files alone: entries are sorted, times are zero, owners and
    permissions are the same for all. Another zlib may compress otherwise; the tar file inside stays the same.
    ``sha256sum --check SHA256SUMS`` verifies it. Returns the archive; files that are there are replaced.

    Raises ``UserError`` where there is no site, or no place for the archive.
    """
    if not (site / "index.html").is_file():
        raise UserError(f"{site} has no index.html: make book builds the site")
    if folder.resolve().is_relative_to(site.resolve()):
        raise UserError(f"the archive cannot go to {folder}, which is part of the site")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder} cannot be made: {error.strerror or error}") from error
    archive, scratch = folder / ARCHIVE, folder / f"{ARCHIVE}.tmp"
    _pack(site, scratch)
    scratch.replace(archive)
    with archive.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    write_text(f"{digest}  {ARCHIVE}\n", folder / CHECKSUMS)
    return archive


def _pack(site: Path, out: Path) -> None:
    files = sorted((path for path in site.rglob("*") if path.is_file()), key=lambda path: path.relative_to(site).parts)
    with (
        out.open("wb") as raw,
        gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w") as tar,
    ):
        for path in files:
            tar.add(path, f"{FOLDER}/{path.relative_to(site).as_posix()}", recursive=False, filter=_anonymous)


def _anonymous(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    """Nothing of the machine: no time, no owner, the usual permissions."""
    entry.mtime, entry.mode = 0, 0o644
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    return entry
