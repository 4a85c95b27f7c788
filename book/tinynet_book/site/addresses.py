"""Where the site and its sources are published, as the environment says; nothing where it says nothing."""

import os
from urllib.parse import urlsplit

from tinynet_core.files import UserError

SITE = "TINYNET_SITE_URL"
"""Environment variable with the address at which the site is published, such as https://example.org/book."""
REPOSITORY = "TINYNET_REPOSITORY_URL"
"""Environment variable with the address of the sources on GitHub or a server with its paths."""
_EXAMPLES = {SITE: "https://example.org/book", REPOSITORY: "https://example.org/owner/project"}


def site_url() -> str:
    """The address of the published site without a slash at its end, empty where ``TINYNET_SITE_URL`` is not set.

    Raises ``UserError`` for anything but an http or https address of a folder.
    """
    return _address(SITE)


def repository_url() -> str:
    """The address of the repository in the same way, from ``TINYNET_REPOSITORY_URL``."""
    return _address(REPOSITORY)


def _address(setting: str) -> str:
    given = os.environ.get(setting, "").strip()
    parts = urlsplit(given)
    if given and (parts.scheme not in ("http", "https") or not parts.netloc or parts.query or parts.fragment):
        raise UserError(f"{setting} must be an address such as {_EXAMPLES[setting]}, got {given!r}")
    return given.rstrip("/")
