import http.server
import os
import shutil
import subprocess
import sys
import threading
from functools import partial

import pytest

from tinynet_core import Study
from tinynet_core.presets import project_root

ROOT = project_root()
PRESET = "smoke"


@pytest.fixture(scope="session")
def site():
    """The site of ``PRESET``, built as ``make book`` builds it."""
    done = subprocess.run(
        [sys.executable, "-m", "tinynet_core.cli", "book", PRESET],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
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
    path = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if not path:
        if os.environ.get("CI"):
            pytest.fail("Chromium is needed here: apt-get install chromium")
        pytest.skip("no Chromium: apt-get install chromium, or set CHROMIUM")
    from playwright.sync_api import sync_playwright

    flags = ["--no-sandbox", "--disable-background-networking", "--disable-component-update", "--disable-sync"]
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=flags)
        yield chromium
        chromium.close()
