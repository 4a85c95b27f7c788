import errno
import os
import resource
import signal
import subprocess
import sys

import pytest
import torch

from tinynet_core.training import checkpoint
from tinynet_core.training.checkpoint import CheckpointError


def test_a_damaged_checkpoint_is_set_aside(tmp_path):
    path = tmp_path / "x.pt"
    assert checkpoint.load(path, 1) is None
    checkpoint.save(path, {"training_version": 1})
    assert checkpoint.load(path, 1) == {"training_version": 1}
    path.write_bytes(path.read_bytes()[:100])
    with pytest.warns(UserWarning, match=r"set aside as .*x\.damaged"):
        assert checkpoint.load(path, 1) is None
    assert (tmp_path / "x.damaged").exists()
    assert not path.exists()


def test_a_checkpoint_that_runs_code_is_refused(tmp_path):
    path = tmp_path / "x.pt"
    checkpoint.save(path, {"training_version": 1, "module": torch.nn.Linear(2, 2)})
    with pytest.warns(UserWarning, match="set aside .*UnpicklingError"):
        assert checkpoint.load(path, 1) is None


def test_a_checkpoint_of_another_training_version_is_set_aside(tmp_path):
    path = tmp_path / "x.pt"
    checkpoint.save(path, {"training_version": 1})
    with pytest.warns(UserWarning, match="not of training version 2"):
        assert checkpoint.load(path, 2) is None


def test_a_failed_save_keeps_the_old_checkpoint(tmp_path):
    path = tmp_path / "x.pt"
    checkpoint.save(path, {"training_version": 1})
    with pytest.raises(Exception, match=r"pickle|lambda"):
        checkpoint.save(path, {"epoch": lambda: 1})
    assert checkpoint.load(path, 1) == {"training_version": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["x.pt"]


def weights():
    return {"training_version": 1, "w": torch.arange(100_000, dtype=torch.float32)}


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.7, 0.9, 0.999])
def test_a_flipped_byte_is_never_used(tmp_path, share):
    path = tmp_path / "x.pt"
    checkpoint.save(path, weights())
    body = bytearray(path.read_bytes())
    body[int(share * len(body))] ^= 0x40
    path.write_bytes(body)
    with pytest.warns(UserWarning, match="set aside"):
        assert checkpoint.load(path, 1) is None


def test_a_full_disk_keeps_the_old_checkpoint_and_says_so(tmp_path):
    """A limit on the size of files stands in for the disk: the write stops half-way with an error of the system."""
    path = tmp_path / "x.pt"
    checkpoint.save(path, {"training_version": 1})
    script = (
        "import sys, torch; from pathlib import Path; from tinynet_core.training import checkpoint\n"
        "checkpoint.save(Path(sys.argv[1]), {'training_version': 1, 'w': torch.zeros(100_000)})"
    )

    def limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))

    done = subprocess.run(
        [sys.executable, "-c", script, str(path)], preexec_fn=limit, capture_output=True, encoding="utf-8", check=False
    )
    assert done.returncode == 1
    assert f"CheckpointError: checkpoint {path} cannot be written: File too large" in done.stderr
    assert checkpoint.load(path, 1) == {"training_version": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["x.pt"]


def test_no_space_is_reported_in_one_line(tmp_path, monkeypatch):
    def full(handle):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CheckpointError, match=r"x\.pt cannot be written: No space left on device$"):
        checkpoint.save(tmp_path / "x.pt", weights())
    assert not list(tmp_path.iterdir())


def test_what_a_killed_writer_left_is_overwritten_and_removed(tmp_path):
    path = tmp_path / "x.pt"
    path.with_suffix(".tmp").write_bytes(b"half of a checkpoint")
    checkpoint.save(path, weights())
    assert [p.name for p in tmp_path.iterdir()] == ["x.pt"]
    path.with_suffix(".tmp").write_bytes(b"half of a checkpoint")
    checkpoint.remove(path)
    assert not list(tmp_path.iterdir())
