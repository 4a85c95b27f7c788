import pytest
import torch

from tinynet_core import Store, run
from tinynet_core.training import checkpoint, loop
from tinynet_core.training.checkpoint import CheckpointError


def weights():
    return {"training_version": 1, "w": torch.arange(100_000, dtype=torch.float32)}


def flip_a_bit(path):
    body = bytearray(path.read_bytes())
    body[len(body) // 10] ^= 0x40
    path.write_bytes(body)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (flip_a_bit, "its checksum does not match its content"),
        (lambda path: checkpoint.save(path, {"module": torch.nn.Linear(2, 2)}), "UnpicklingError"),  # it would run code
        (lambda path: checkpoint.save(path, {"training_version": 2}), "not of training version 1"),
    ],
)
def test_what_cannot_be_used_is_set_aside_with_its_reason(tmp_path, damage, reason):
    path = tmp_path / "x.pt"
    assert checkpoint.load(path, 1) is None
    checkpoint.save(path, weights())
    assert checkpoint.load(path, 1)["w"].equal(weights()["w"])
    damage(path)
    with pytest.warns(UserWarning, match=rf"set aside as .*x\.damaged \({reason}\)"):
        assert checkpoint.load(path, 1) is None
    assert [p.name for p in tmp_path.iterdir()] == ["x.damaged"]


@pytest.fixture
def trained(make_experiment, tmp_path):
    experiment, store = make_experiment(epochs=1, batch_size=128), Store(tmp_path)
    run(experiment, store, "cpu")
    return experiment, store


def test_a_training_leaves_its_averaged_weights(trained):
    experiment, store = trained
    module = experiment.module("cpu", store.root)
    again = experiment.module("cpu", None)  # trained anew, without a store
    assert not module.training
    torch.testing.assert_close(module.state_dict(), again.state_dict(), atol=0, rtol=0)


def test_weights_of_another_version_and_damaged_ones_are_refused(trained, monkeypatch):
    experiment, store = trained
    with monkeypatch.context() as patch:
        patch.setattr(loop, "TRAINING_VERSION", 99)
        with pytest.raises(CheckpointError, match=r"training_version is 2, expected 99\): delete the file"):
            experiment.module("cpu", store.root)
    store.weights(experiment).write_bytes(b"nonsense")
    with pytest.raises(CheckpointError, match="delete the file to train them anew"):
        experiment.module("cpu", store.root)
