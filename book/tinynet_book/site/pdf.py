"""The book as one PDF: all pages of the built site in their order, printed by Chromium."""

import os
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from mimetypes import guess_type
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from tinynet_core.files import UserError

if TYPE_CHECKING:
    from playwright.sync_api import Page, Route

FILE = "tinynet-book.pdf"
ORIGIN = "https://book.invalid"
"""A host that cannot exist: the pages are handed to the browser under it, without a server."""
FLAGS = ("--no-sandbox", "--disable-background-networking", "--disable-component-update", "--disable-sync")
"""Of Chromium; root has no sandbox, and nothing but the site is opened."""
TIMEOUT_MS = 120_000
MARGINS = {"top": "18mm", "bottom": "20mm", "left": "18mm", "right": "18mm"}
FOOTER = (
    '<div style="width: 100%; font: 8pt sans-serif; color: #555; text-align: center">'
    '<span class="title"></span>, page <span class="pageNumber"></span> of <span class="totalPages"></span></div>'
)


class PdfError(UserError):
    """The book could not be printed."""


def write_pdf(site: Path, out: Path, address: str = "") -> Path:
    """Print the site in folder ``site`` to ``out``, an A4 file with an outline; a file that is there is replaced.

    The pages follow the links to the next page, which are in the order of the table of contents. Links between pages
    become links inside the file. ``address`` is where the site is published: links to its data files point there,
    and without it they are plain text. Folded code is left out.

    Raises ``PdfError`` where playwright or Chromium is missing, and for a page or a picture that is.
    """
    script, style = (Path(__file__).with_name(f"print.{kind}").read_text(encoding="utf-8") for kind in ("js", "css"))
    scratch = out.with_suffix(".tmp")
    print("printing the book", file=sys.stderr)
    with _opened(site) as page:
        missing = page.evaluate(script, {"address": address, "style": style})
        if missing:
            raise PdfError(f"{site} cannot be printed, missing: {', '.join(missing)}")
        page.emulate_media(media="print", color_scheme="light")
        page.pdf(
            path=scratch,
            format="A4",
            margin=MARGINS,  # type: ignore[arg-type]
            print_background=True,
            display_header_footer=True,
            header_template="<span></span>",
            footer_template=FOOTER,
            outline=True,
            tagged=True,
        )
    scratch.replace(out)
    return out


def chromium() -> str:
    """Chromium or Chrome: what ``CHROMIUM`` names, or the one on the PATH; ``PdfError`` where there is none."""
    named = os.environ.get("CHROMIUM")
    if named and not shutil.which(named):
        raise PdfError(f"CHROMIUM is {named}, which cannot be run")
    found = named or shutil.which("chromium") or shutil.which("google-chrome")
    if not found:
        raise PdfError("Chromium is needed: apt-get install chromium, or set CHROMIUM to its path")
    return found


@contextmanager
def _opened(site: Path) -> Iterator["Page"]:
    """The first page of ``site`` in a browser that reaches nothing else."""
    first, program = _first_page(site), chromium()
    try:
        from playwright.sync_api import Error, sync_playwright
    except ImportError:
        raise PdfError("the PDF needs playwright: pip install 'tinynet-core[test]'") from None
    with sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(executable_path=program, args=[*FLAGS])
        except Error as error:
            raise PdfError(f"{program} does not start: {error.message.splitlines()[0]}") from None
        page = browser.new_page()
        page.set_default_timeout(TIMEOUT_MS)
        page.route("**/*", lambda route: _answer(route, site))
        page.goto(f"{ORIGIN}/{first}")
        yield page
        browser.close()


def _first_page(site: Path) -> str:
    """What index.html leads to, or index.html itself."""
    index = site / "index.html"
    if not index.is_file():
        raise PdfError(f"{site} has no index.html: make book builds the site")
    found = re.search(
        r'http-equiv="refresh" content="0; ?url=([^"]+)"', index.read_text(encoding="utf-8"), re.IGNORECASE
    )
    return found[1] if found else index.name


def _answer(route: "Route", site: Path) -> None:
    """A file of the site, 404 where there is none, and nothing from elsewhere."""
    url = urlsplit(route.request.url)
    if f"{url.scheme}://{url.netloc}" != ORIGIN:
        route.abort()
        return
    path = site / unquote(url.path).lstrip("/")
    if path.is_file():
        route.fulfill(body=path.read_bytes(), content_type=guess_type(path.name)[0] or "application/octet-stream")
    else:
        route.fulfill(status=404)
