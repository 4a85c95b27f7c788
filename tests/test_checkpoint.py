import errno
import os

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


@pytest.mark.parametrize("share", [0.1, 0.5, 0.999])
def test_a_flipped_byte_is_never_used(tmp_path, share):
    path = tmp_path / "x.pt"
    checkpoint.save(path, weights())
    body = bytearray(path.read_bytes())
    body[int(share * len(body))] ^= 0x40
    path.write_bytes(body)
    with pytest.warns(UserWarning, match="set aside"):
        assert checkpoint.load(path, 1) is None


def test_a_full_disk_is_reported_in_one_line_and_keeps_the_old_checkpoint(tmp_path, monkeypatch):
    def full(handle):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    path = tmp_path / "x.pt"
    checkpoint.save(path, {"training_version": 1})
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(CheckpointError, match=r"x\.pt cannot be written: No space left on device$"):
            checkpoint.save(path, weights())
    assert checkpoint.load(path, 1) == {"training_version": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["x.pt"]


def test_what_a_killed_writer_left_is_removed_with_the_checkpoint(tmp_path):
    path = tmp_path / "x.pt"
    checkpoint.save(path, weights())
    for name in ("x.1f.tmp", "y.1f.tmp"):
        (tmp_path / name).write_bytes(b"half of a checkpoint")
    checkpoint.remove(path)
    assert [p.name for p in tmp_path.iterdir()] == ["y.1f.tmp"]
