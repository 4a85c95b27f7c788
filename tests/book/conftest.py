import http.server
import os
import subprocess
import sys
import threading
from functools import partial

import pytest

from tinynet_book.site.pdf import PdfError, chromium
from tinynet_core import Study
from tinynet_core.study.presets import project_root

ROOT = project_root()
PRESET = "reduced"


@pytest.fixture(scope="session")
def site():
    """The site of ``PRESET``, built as ``make book`` builds it; with ``TINYNET_BUILT`` set, as it lies there."""
    if os.environ.get("TINYNET_BUILT"):
        return ROOT / "_build" / "html"
    done = subprocess.run(
        [sys.executable, "-m", "tinynet_core.cli", "book", PRESET],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        encoding="utf-8",
        check=True,
    )
    index = done.stdout.strip().splitlines()[-1]
    assert index == str(ROOT / "_build" / "html" / "index.html")
    return ROOT / "_build" / "html"


@pytest.fixture(scope="session")
def study(site):
    """What the site was made from."""
    return Study(PRESET, train=False)


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


@pytest.fixture(scope="session")
def address(site):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(site)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()


@pytest.fixture(scope="session")
def browser():
    """Chromium, as Debian installs it. Where CI is set its absence is an error, not a skip."""
    try:
        path = chromium()
    except PdfError as error:
        if os.environ.get("CI"):
            pytest.fail(str(error))
        pytest.skip(str(error))
    from playwright.sync_api import sync_playwright

    flags = ["--no-sandbox", "--disable-background-networking", "--disable-component-update", "--disable-sync"]
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=path, args=flags)
        yield launched
        launched.close()


@pytest.fixture
def watch(address):
    """Cuts a page off from everything but the site, and gives the list of what it then does wrong."""

    def watched(view, messages=("error", "warning")):
        wrong = []
        view.on("console", lambda m: wrong.append(f"console: {m.text}") if m.type in messages else None)
        view.on("pageerror", lambda e: wrong.append(f"page error: {e}"))
        view.on("requestfailed", lambda r: wrong.append(f"failed: {r.url}"))
        view.on("response", lambda r: wrong.append(f"{r.status}: {r.url}") if r.status >= 400 else None)

        def guard(route):
            if route.request.url.startswith((address, "data:", "blob:")):
                route.continue_()
            else:
                wrong.append(f"outside: {route.request.url}")
                route.abort()

        view.route("**/*", guard)
        return wrong

    return watched
