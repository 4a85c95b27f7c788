"""The package as a wheel installs it: no checkout around it, and a user of whom little is known."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from tiny_preset import TINY

from tinynet_core import Study, UserError
from tinynet_core.cli import tinynet
from tinynet_core.machine import cache_root
from tinynet_core.study.presets import project_root
from tinynet_core.study.study import default_store

ROOT = project_root()
READ = """
import os, pkgutil, tinynet_book, tinynet_core
from importlib import import_module
for package in (tinynet_core, tinynet_book):
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        import_module(module.name)
from tinynet_core.machine import commit
study = tinynet_core.Study("smoke")
print(tinynet_core.__file__, study.store.root, len(study.store.frame()), commit(), sep="\\n")
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """A folder of packages with these two in it, laid out as pyproject.toml lays out the wheel."""
    folder = tmp_path_factory.mktemp("site")
    for package in (ROOT / "tinynet_core", ROOT / "book" / "tinynet_book"):
        shutil.copytree(package, folder / package.name, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def test_every_module_imports_and_the_store_is_read_with_an_empty_environment(site, tmp_path):
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


def test_a_user_without_a_home_is_told_what_to_name(monkeypatch):
    for name in ("HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME", "TINYNET_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("tinynet_core.study.study.in_checkout", lambda: False)
    preset = Study("smoke", "store").preset
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # as it is without HOME and an entry in passwd
    with pytest.raises(UserError, match="this user has no home folder: name the store, or set HOME"):
        default_store(preset)
    with pytest.raises(UserError, match="name TINYNET_CACHE, or set HOME"):
        cache_root()
