import http.server
import os
import shutil
import subprocess
import sys
import threading
from functools import partial

import pytest

from tinynet_core import Study
from tinynet_core.study.presets import project_root

ROOT = project_root()
PRESET = "reduced"
FLAGS = ("--no-sandbox", "--disable-background-networking", "--disable-component-update", "--disable-sync")
"""Of Chromium; root has no sandbox, and nothing but the site is opened."""
CUT_OFF = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
"""It finds no other machine."""


@pytest.fixture(scope="session")
def site():
    """The site of ``PRESET``, built as ``make book`` builds it; with ``TINYNET_BUILT`` set, as it lies there."""
    if not os.environ.get("TINYNET_BUILT"):
        subprocess.run([sys.executable, "-m", "tinynet_core.cli", "book", PRESET], cwd=ROOT, check=True)
    return ROOT / "_build" / "html"


@pytest.fixture(scope="session")
def study(site):
    """What the site was made from."""
    return Study(PRESET, train=False)


class _Site(http.server.SimpleHTTPRequestHandler):
    """Says nothing, and lets the browser keep the files that all pages share."""

    def log_message(self, *arguments):
        pass

    def end_headers(self):
        self.send_header("Cache-Control", "max-age=3600")
        super().end_headers()


@pytest.fixture(scope="session")
def address(site):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(_Site, directory=str(site)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()


@pytest.fixture(scope="session")
def context():
    """Chromium, as Debian installs it, its pages on a desk. Where CI is set its absence is an error, not a skip."""
    path = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if not path:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("no Chromium: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=[*FLAGS, CUT_OFF])
        yield browser.new_context(viewport={"width": 1280, "height": 900})
        browser.close()


@pytest.fixture(scope="session")
def watch(address):
    """Gives the list of what a page does wrong from then on, such as asking for anything but the site."""

    def watched(view, messages=("error", "warning")):
        wrong = []
        view.on("console", lambda m: wrong.append(f"console: {m.text}") if m.type in messages else None)
        view.on("pageerror", lambda e: wrong.append(f"page error: {e}"))
        view.on("requestfailed", lambda r: wrong.append(f"failed: {r.url}"))
        view.on("response", lambda r: wrong.append(f"{r.status}: {r.url}") if r.status >= 400 else None)
        known = (address, "data:", "blob:")
        view.on("request", lambda r: None if r.url.startswith(known) else wrong.append(f"outside: {r.url}"))
        return wrong

    return watched
