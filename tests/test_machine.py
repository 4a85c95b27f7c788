"""Processes, locks, sockets, and which commit a record names; the package as a wheel installs it."""

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest
from conftest import ROOT

from tinynet_core import UserError, machine
from tinynet_core.files import StoppedWaiting, locked
from tinynet_core.machine import Resources, folder_for_sockets
from tinynet_core.study.local import noting


@pytest.mark.parametrize(
    ("resources", "machine", "devices"),
    [
        ({"cpus": 3}, (8, 0), ["cpu"] * 2),
        ({}, (8, 2), ["cuda:0", "cuda:1"]),
        ({"gpus": 0.5, "workers": 3}, (8, 2), ["cuda:0", "cuda:1", "cuda:0"]),
        ({"gpus": 0, "workers": 3}, (8, 2), ["cpu"] * 3),
        ({}, (8, 2, "cpu"), ["cpu"] * 8),
        ({"gpus": 0.25}, (8, 2, "cuda:1"), ["cuda:1"] * 4),
    ],
)
def test_workers_and_their_devices(resources, machine, devices):
    assert Resources(**resources).devices(*machine) == devices


def test_a_share_of_no_gpu_is_refused():
    with pytest.raises(UserError, match=r"resources.gpus is 0.5, but this machine has no GPU"):
        Resources(gpus=0.5).devices(8, 0)


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_waiting_for_a_lock_hears_signals_that_are_only_noted(tmp_path, sent):
    """Also where the process ignores them, as one in the background does."""
    before = signal.signal(sent, signal.SIG_DFL)
    with (tmp_path / "x.lock").open("w", encoding="utf-8") as held, noting(sent) as received:
        fcntl.flock(held, fcntl.LOCK_EX)
        noted = signal.getsignal(sent)

        def send_once_waiting():
            while signal.getsignal(sent) is noted:
                time.sleep(0.01)
            os.kill(os.getpid(), sent)

        threading.Thread(target=send_once_waiting).start()
        told = f"stopped by {sent.name} while another process held .*x.lock"
        with pytest.raises(StoppedWaiting, match=told) as caught, locked(tmp_path / "x.lock"):
            pytest.fail("the lock is held elsewhere")
        assert received == [sent]
        assert caught.value.exit_status == 128 + sent
        assert signal.getsignal(sent) is noted
    signal.signal(sent, before)


def test_a_folder_that_is_too_long_for_sockets_is_not_used(tmp_path, monkeypatch):
    long = tmp_path / ("x" * 110)
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    assert folder_for_sockets(33) == "/tmp"
    monkeypatch.setattr(tempfile, "tempdir", "/short")
    assert folder_for_sockets(33) == "/short"


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=x", "-c", "user.email=x@example.org", "-c", "commit.gpgsign=false")
    command = ["git", "-C", str(folder), *identity, *arguments]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    return subprocess.run(command, check=True, capture_output=True, encoding="utf-8", env=environment).stdout.strip()


def repository(folder: Path, where: str = "", ignored: str = "", tracked: bool = True) -> Path:
    """A repository with a package in the folder ``where``; the package."""
    package = folder / where / "tinynet_core"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "machine.py").touch()
    (folder / ".gitignore").write_text(ignored, encoding="utf-8")
    (folder / "records.jsonl").touch()
    git(folder, "init", "--quiet")
    git(folder, "add", "." if tracked else ".gitignore")
    git(folder, "commit", "--quiet", "--message", "mine")
    return package


def said(package: Path, monkeypatch) -> dict:
    """By a process that runs in a hook of another repository."""
    with monkeypatch.context() as patch:
        patch.setenv("GIT_DIR", str(package / ".git"))
        patch.setattr(machine, "__file__", str(package / "machine.py"))
        return machine.commit.__wrapped__()


@pytest.mark.parametrize(
    "about",
    [
        {"where": ".venv/lib/site-packages", "ignored": ".venv\n"},  # a wheel in the environment of the project
        {"tracked": False},  # a tarball unpacked in it
        {"where": "vendored"},  # a copy that it tracks
    ],
)
def test_a_package_inside_another_project_names_no_commit(tmp_path, monkeypatch, about):
    assert said(repository(tmp_path, **about), monkeypatch) == {"commit": None, "clean": None}


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
    package = repository(tmp_path, ignored="mine*.py\n")
    assert said(package, monkeypatch) == {"commit": git(tmp_path, "rev-parse", "HEAD"), "clean": True}
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("changed = True\n", encoding="utf-8")
    assert said(package, monkeypatch)["clean"] is clean


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
