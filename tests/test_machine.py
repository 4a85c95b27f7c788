import os
import tempfile

import pytest

from tinynet_core import UserError
from tinynet_core.machine import SOCKET_PATH, Resources, cores, folder_for_sockets


@pytest.mark.parametrize(
    ("resources", "machine", "devices"),
    [
        ({}, (4, 0), ["cpu"] * 4),
        ({"cpus": 3}, (8, 0), ["cpu"] * 2),
        ({"workers": 3}, (8, 0), ["cpu"] * 3),
        ({"workers": 3, "gpus": 0}, (8, 2), ["cpu"] * 3),
        ({}, (8, 1), ["cuda:0"]),
        ({}, (8, 2), ["cuda:0", "cuda:1"]),
        ({"gpus": 0.3}, (8, 2), ["cuda:0", "cuda:1"] * 3),
        ({"gpus": 0.1}, (8, 1), ["cuda:0"] * 10),
        ({"gpus": 0.5, "workers": 3}, (8, 2), ["cuda:0", "cuda:1", "cuda:0"]),
        ({}, (8, 2, "cpu"), ["cpu"] * 8),
        ({"gpus": 0.25}, (8, 2, "cuda:1"), ["cuda:1"] * 4),
        ({}, (8, 2, "cuda:1"), ["cuda:1"]),
    ],
)
def test_workers_and_their_devices(resources, machine, devices):
    assert Resources(**resources).devices(*machine) == devices


def test_a_share_of_no_gpu_is_refused():
    with pytest.raises(UserError, match=r"resources.gpus is 0.5, but this machine has no GPU"):
        Resources(gpus=0.5).devices(8, 0)


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
