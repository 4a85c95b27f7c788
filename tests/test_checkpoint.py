import hashlib

import pytest
import torch

from tinynet_book.measure.maps import ActivationMaps
from tinynet_core import Experiment, Store, run
from tinynet_core.training import checkpoint, loop
from tinynet_core.training.checkpoint import CheckpointError


def weights():
    return {"training_version": 1, "w": torch.arange(100_000, dtype=torch.float32)}


def flipped(share):
    def flip(path):
        body = bytearray(path.read_bytes())
        body[int(share * len(body))] ^= 0x40
        path.write_bytes(body)

    return flip


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:100]), "its checksum does not match its content"),
        (flipped(0.1), "its checksum does not match its content"),
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


# Weights


@pytest.fixture
def trained(make_experiment, tmp_path):
    experiment, store = make_experiment(epochs=1), Store(tmp_path)
    return experiment, store, run(experiment, store, "cpu")


def test_a_training_leaves_its_averaged_weights_and_tasks_start_with_them(trained, tmp_path):
    experiment, store, record = trained
    module = experiment.module("cpu", store.root)
    again = experiment.module("cpu", None)  # trained anew, without a store
    assert not module.training
    for name, value in module.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name
    task = ActivationMaps(**{name: getattr(experiment, name) for name in Experiment.model_fields if name != "kind"})
    maps, alone = run(task, store, "cpu"), run(task, Store(tmp_path / "without"), "cpu")
    assert maps.metrics["top1"] == alone.metrics["top1"] == record.metrics["top1"]
    digest = hashlib.sha256(store.weights(experiment).read_bytes()).hexdigest()
    assert maps.provenance["weights_sha256"] == alone.provenance["weights_sha256"] == digest
    assert not list((tmp_path / "without" / "checkpoints").iterdir())


def test_weights_of_another_version_and_damaged_ones_are_refused(trained, monkeypatch):
    experiment, store, _ = trained
    with monkeypatch.context() as patch:
        patch.setattr(loop, "TRAINING_VERSION", 99)
        with pytest.raises(CheckpointError, match=r"training_version is 2, wanted is 99\): delete the file"):
            experiment.module("cpu", store.root)
    for content in (b"", b"nonsense"):
        store.weights(experiment).write_bytes(content)
        with pytest.raises(CheckpointError, match="delete the file to train them anew"):
            experiment.module("cpu", store.root)
