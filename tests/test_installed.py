"""The package as a wheel installs it: no checkout around it, and a user of whom little is known."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import yaml
from click.testing import CliRunner
from tiny_preset import TINY

from tinynet_core.cli import tinynet
from tinynet_core.study.presets import project_root

ROOT = project_root()
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


def test_a_sweep_says_where_its_records_go(tmp_path, monkeypatch):
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(TINY), encoding="utf-8")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setattr("tinynet_core.study.study.in_checkout", lambda: False)
    monkeypatch.setattr("tinynet_core.study.sweep.sweep", lambda *_, **__: [])
    done = CliRunner().invoke(tinynet, ["sweep", str(tmp_path / "tiny.yaml"), "--page", "fig1", "--limit", "1"])
    assert done.stderr == f"records go to {tmp_path / 'data' / 'tinynet' / 'runs' / 'tiny'}\n"
