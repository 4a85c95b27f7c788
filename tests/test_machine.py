import os
import tempfile
from pathlib import Path

import pytest
from pydantic import ValidationError

from tinynet_core import UserError
from tinynet_core.machine import SOCKET_PATH, Resources, cores, folder_for_sockets


@pytest.mark.parametrize(
    ("resources", "machine", "devices"),
    [
        ({}, (4, 0), ["cpu"] * 4),
        ({"cpus": 3}, (8, 0), ["cpu"] * 2),
        ({"cpus": 16}, (8, 0), ["cpu"]),
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


@pytest.mark.parametrize(
    "wrong", [{"workers": 0}, {"cpus": 1.5}, {"gpus": 2}, {"retries": -1}, {"compiled": 1}, {"gpu": 1}]
)
def test_wrong_values_are_refused(wrong):
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        Resources(**wrong)


V2 = "0::/pods/a\n"


@pytest.mark.parametrize(
    ("groups", "limits", "expected"),
    [
        (None, {}, 8),  # another system
        (V2, {}, 8),
        (V2, {"pods/a/cpu.max": "max 100000\n"}, 8),
        (V2, {"pods/a/cpu.max": "200000 100000\n"}, 2),
        (V2, {"pods/a/cpu.max": "150000 100000\n"}, 2),
        (V2, {"pods/a/cpu.max": "5000 100000\n"}, 1),
        (V2, {"pods/a/cpu.max": "1600000 100000\n"}, 8),
        (V2, {"pods/a/cpu.max": "max 100000\n", "pods/cpu.max": "300000 100000\n"}, 3),  # of the group above
        (V2, {"pods/a/cpu.max": "400000 100000\n", "cpu.max": "250000 50000\n"}, 4),
        ("0::/\n", {"cpu.max": "250000 50000\n"}, 5),  # in a namespace of its own
        (V2, {"pods/b/cpu.max": "100000 100000\n"}, 8),  # of another container
    ],
)
def test_a_containers_quota_counts_as_cores(tmp_path, monkeypatch, groups, limits, expected):
    monkeypatch.setattr("os.sched_getaffinity", lambda process: set(range(8)), raising=False)
    files = {Path("sys/fs/cgroup", name): text for name, text in limits.items()}
    if groups is not None:
        files[Path("proc/self/cgroup")] = groups
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    assert cores(tmp_path) == expected


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
