import fcntl
import os
import signal
import tempfile
import threading
import time

import pytest

from tinynet_core import UserError
from tinynet_core.files import StoppedWaiting, locked
from tinynet_core.machine import SOCKET_PATH, Resources, cores, folder_for_sockets, launched
from tinynet_core.study.worker import noting


@pytest.mark.parametrize(
    ("resources", "machine", "devices"),
    [
        ({}, (4, 0), ["cpu"] * 4),
        ({"cpus": 3}, (8, 0), ["cpu"] * 2),
        ({"workers": 3, "gpus": 0}, (8, 2), ["cpu"] * 3),
        ({}, (8, 2), ["cuda:0", "cuda:1"]),
        ({"gpus": 0.3}, (8, 2), ["cuda:0", "cuda:1"] * 3),
        ({"gpus": 0.5, "workers": 3}, (8, 2), ["cuda:0", "cuda:1", "cuda:0"]),
        ({}, (8, 2, "cpu"), ["cpu"] * 8),
        ({"gpus": 0.25}, (8, 2, "cuda:1"), ["cuda:1"] * 4),
    ],
)
def test_workers_and_their_devices(resources, machine, devices):
    assert Resources(**resources).devices(*machine) == devices


def test_a_share_of_no_gpu_is_refused():
    with pytest.raises(UserError, match=r"resources.gpus is 0.5, but this machine has no GPU"):
        Resources(gpus=0.5).devices(8, 0)


def test_the_number_of_processes_is_a_number(monkeypatch):
    for value, several in (("", False), ("1", False), ("4", True)):
        monkeypatch.setenv("WORLD_SIZE", value)
        assert launched() == several
    monkeypatch.setenv("WORLD_SIZE", "two")
    with pytest.raises(UserError, match="WORLD_SIZE must be a whole number, got 'two'"):
        launched()


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


def test_the_cores_are_those_that_this_process_may_run_on(monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda process: {0}, raising=False)
    assert cores() == 1


def test_sockets_lie_where_their_paths_are_short_enough(tmp_path, monkeypatch):
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    with tempfile.TemporaryDirectory(dir="/tmp") as short:
        monkeypatch.setattr(tempfile, "tempdir", short)
        assert folder_for_sockets(33) == short
        assert folder_for_sockets(SOCKET_PATH - len(short) + 1) == "/tmp"
    long = tmp_path / ("x" * 110)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    assert len(folder_for_sockets(33)) <= 70
    monkeypatch.setattr(os, "access", lambda path, mode: path == str(long))
    with pytest.raises(UserError, match=f"^TMPDIR: {long} is too long for sockets in it, which allow 70 bytes"):
        folder_for_sockets(33)
