"""The package as a wheel installs it: no checkout around it, and a user of whom little is known."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from conftest import ROOT

READ = """
import tinynet_book.commands, tinynet_core
from tinynet_core.machine import commit
study = tinynet_core.Study("smoke")
print(tinynet_core.__file__, study.store.root, len(study.store.frame()), commit(), sep="\\n")
"""


def test_the_store_is_read_with_an_empty_environment(tmp_path_factory, tmp_path):
    """From a folder of packages with these two in it, laid out as pyproject.toml lays out the wheel."""
    site = tmp_path_factory.mktemp("site")
    for package in (ROOT / "tinynet_core", ROOT / "book" / "tinynet_book"):
        shutil.copytree(package, site / package.name)
    known = {"PATH": os.environ["PATH"], "PYTHONPATH": str(site)}
    done = subprocess.run(
        [sys.executable, "-c", READ], cwd=tmp_path, env=known, capture_output=True, encoding="utf-8", check=False
    )
    assert done.returncode == 0, done.stderr
    file, store, records, commit = done.stdout.splitlines()
    assert file == str(site / "tinynet_core" / "__init__.py")
    assert store.endswith(str(Path("tinynet", "runs", "smoke")))
    assert not Path(store).is_relative_to(site)
    assert records == "0"
    assert commit == "{'commit': None, 'clean': None}"
    assert list(tmp_path.iterdir()) == []
