"""The commit that a record names: that of the checkout which holds the package, and of no other repository."""

import os
import subprocess
from pathlib import Path

import pytest
from conftest import ROOT

from tinynet_core import machine

NONE = {"commit": None, "clean": None}


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=x", "-c", "user.email=x@example.org", "-c", "commit.gpgsign=false")
    command = ["git", "-C", str(folder), *identity, *arguments]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    return subprocess.run(command, check=True, capture_output=True, encoding="utf-8", env=environment).stdout.strip()


def repository(folder: Path) -> Path:
    folder.mkdir()
    git(folder, "init", "--quiet")
    git(folder, "commit", "--quiet", "--allow-empty", "--message", "mine")
    return folder


def package(folder: Path) -> Path:
    (folder / "tinynet_core").mkdir(parents=True)
    for name in ("__init__", "machine"):
        (folder / "tinynet_core" / f"{name}.py").write_text("", encoding="utf-8")
    return folder / "tinynet_core"


def checkout(folder: Path) -> Path:
    repository(folder)
    (folder / ".gitignore").write_text("mine*.py\n", encoding="utf-8")
    package(folder)
    (folder / "records.jsonl").write_text("{}\n", encoding="utf-8")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "--message", "sources")
    return folder


def said(package: Path, monkeypatch) -> dict:
    """By a process that runs in a hook of another repository."""
    with monkeypatch.context() as patch:
        patch.setenv("GIT_DIR", str(package / ".git"))
        patch.setattr(machine, "__file__", str(package / "machine.py"))
        return machine.commit.__wrapped__()


@pytest.mark.parametrize("where", [".venv/lib/site-packages", "", "vendored"])
def test_a_package_inside_another_project_names_no_commit(tmp_path, monkeypatch, where):
    """A wheel in its environment, a tarball unpacked in it, and a copy that it tracks."""
    project = repository(tmp_path / "project")
    (project / ".gitignore").write_text(".venv\n", encoding="utf-8")
    inside = package(project / where)
    if where == "vendored":
        git(project, "add", ".")
        git(project, "commit", "--quiet", "--message", "vendored")
    assert said(inside, monkeypatch) == NONE


def test_the_checkout_of_these_tests_names_its_commit():
    if (ROOT / ".git").exists():
        assert machine.commit()["commit"] == git(ROOT, "rev-parse", "HEAD")


@pytest.mark.parametrize(
    ("name", "clean"),
    [
        ("tinynet_core/machine.py", False),  # tracked
        ("tinynet_core/more.py", False),
        ("tinynet_core/mine.py", False),  # ignored by git, imported all the same
        ("book/more.py", False),  # the book's package makes records too
        ("tinynet_core/__pycache__/machine.pyc", True),
        ("script.py", True),
        ("records.jsonl", True),  # which a sweep adds to
    ],
)
def test_what_counts_as_a_change(tmp_path, monkeypatch, name, clean):
    own = checkout(tmp_path / "own")
    assert said(own / "tinynet_core", monkeypatch) == {"commit": git(own, "rev-parse", "HEAD"), "clean": True}
    (own / name).parent.mkdir(exist_ok=True)
    (own / name).write_text("changed = True\n", encoding="utf-8")
    assert said(own / "tinynet_core", monkeypatch)["clean"] is clean
