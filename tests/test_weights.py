"""Weights from files and from libraries: what fits is loaded, anything else is refused in one line."""

import argparse
from pathlib import Path

import pytest
import timm
import torch
import torchvision
from parity import randomise
from safetensors.torch import save_file

from tinynet_core import Base, UserError, network
from tinynet_core.networks import NAMES, weights
from tinynet_core.networks.fixed import PEERS

PRETRAINED = set(timm.list_pretrained())
SMALL = network("resnet18", num_classes=3, base=Base(32, 0.1))


@pytest.fixture
def kept(cache):
    """The folder of released weights in an empty cache."""
    (cache / "weights").mkdir(parents=True)
    return cache / "weights"


@pytest.fixture
def state():
    return dict(randomise(SMALL.build()).state_dict())


def refusal(spec, path) -> str:
    module = spec.build()
    before = {key: tensor.clone() for key, tensor in module.state_dict().items()}
    with pytest.raises(UserError) as caught:
        weights.load_weights(module, spec.name, path)
    assert all(torch.equal(tensor, before[key]) for key, tensor in module.state_dict().items())
    assert "\n" not in str(caught.value)
    return str(caught.value)


WRITERS = {
    "w.safetensors": save_file,
    "safetensors.pth": save_file,
    "w.pth": torch.save,
    "old.pth": lambda state, path: torch.save(state, path, _use_new_zipfile_serialization=False),
    "double.pth": lambda state, path: torch.save({k: v.double() for k, v in state.items() if "num_ba" not in k}, path),
    "settings.bin": lambda state, path: torch.save({"ema": {"decay": 0.9}, "model": state}, path),
    "script.pth": lambda state, path: torch.save({"model": state, "args": argparse.Namespace(lr=0.1)}, path),
    "b.pth#params": lambda state, path: torch.save({"params": state}, path),
    "c.pth#ema.module": lambda state, path: torch.save({f"ema.module.{k}": v for k, v in state.items()}, path),
}


@pytest.mark.filterwarnings("ignore::tinynet_core.networks.weights.WeightsWarning")
@pytest.mark.parametrize("name", WRITERS)
def test_round_trip(tmp_path, state, name):
    WRITERS[name](state, tmp_path / name.partition("#")[0])
    loaded = SMALL.build(weights=f"{tmp_path / name}").state_dict()
    for key in (key for key, x in state.items() if x.is_floating_point()):
        torch.testing.assert_close(loaded[key], state[key], rtol=0, atol=0)


def test_released_weights_come_from_the_cache(kept):
    theirs = randomise(torchvision.models.shufflenet_v2_x0_5()).state_dict()
    torch.save(theirs, kept / "shufflenetv2_x0.5-f707e7126e.pth")
    ours = network("shufflenetv2_050").build(weights="torchvision").state_dict()
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


@pytest.mark.parametrize("name", weights.RELEASED)
def test_every_released_entry_is_a_network_that_the_library_released(name):
    assert name in NAMES
    for library, entry in weights.RELEASED[name].items():
        if library == "timm":
            assert entry in PRETRAINED
            entry = entry.partition(".")[0]
        with torch.device("meta"):
            theirs = (timm.create_model if library == "timm" else torchvision.models.get_model)(entry).state_dict()
            ours = network(name).build().state_dict()
        assert {k: v.shape for k, v in ours.items()} == {k: v.shape for k, v in theirs.items()}
        if name in PEERS:
            assert (library, entry) == PEERS[name][:2]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s | {"fc.bias": torch.tensor([1.0, float("nan"), 0.0])}, "'fc.bias' holds values that are not fin"),
        (lambda s: s | {"fc.bias": torch.ones(3).int()}, "'fc.bias' is of torch.int32, not torch.float32"),
        (lambda s: s | {"fc.bias": torch.ones(4)}, "'fc.bias' has shape (4,), not (3,)"),
        (lambda s: s | {"top.weight": torch.ones(3)}, "fit resnet18: the network has no tensor 'top.weight'"),
        (lambda s: {k: v for k, v in s.items() if not k.startswith("layer2.0")}, "'layer2.0.conv1.weight' is missing"),
        (lambda s: list(s.values()), "must hold a dict of tensors"),
        (lambda s: {"params": s}, "it has params; "),
    ],
)
def test_tensors_that_do_not_fit(tmp_path, state, change, message):
    torch.save(change(state), tmp_path / "w.pth")
    said = refusal(SMALL, tmp_path / "w.pth")
    assert said.startswith(f"weights file {tmp_path / 'w.pth'} ")
    assert message in said


def test_what_is_no_file(kept):
    assert "timm released none for fbnet_b; allowed: a file" in refusal(network("fbnet_b"), "timm")
    said = refusal(network("tinynet_e"), "imagenet")
    assert "file imagenet is not there, or is a folder; weights must be 'timm', 'torchvision' or a file" in said


def prefixed(state, prefix):
    return {prefix + key: x for key, x in state.items()}


@pytest.mark.filterwarnings("ignore:.*the prefix module. of its tensor names was removed")
def test_averaged_weights_are_taken_and_the_raw_ones_can_be(tmp_path, state):
    path = tmp_path / "w.pth"
    other = {key: x + 1 if x.is_floating_point() else x for key, x in state.items()}
    averaged = {"n_averaged": torch.tensor(3), **prefixed(other, "module.")}
    torch.save({"model": state, "model_ema": averaged, "epoch": 1}, path)
    with pytest.warns(weights.WeightsWarning, match="averaged weights, model_ema, are loaded; .*#model loads the raw"):
        loaded = SMALL.build(weights=str(path)).state_dict()
    assert torch.equal(loaded["conv1.weight"], other["conv1.weight"])
    loaded = SMALL.build(weights=f"{path}#model").state_dict()
    assert torch.equal(loaded["conv1.weight"], state["conv1.weight"])
    assert "has no 'best', it has 'model', 'model_ema'" in refusal(SMALL, f"{path}#best")


@pytest.mark.parametrize("prefix", ["module._orig_mod.", "ema.module.net."])
def test_prefixes_of_wrappers_are_left_out_and_that_is_said(tmp_path, state, prefix):
    path = tmp_path / "w.pth"
    torch.save({"state_dict": prefixed(state, prefix)}, path)
    with pytest.warns(weights.WeightsWarning, match=f"the prefix {prefix} of its tensor names was removed"):
        loaded = SMALL.build(weights=str(path)).state_dict()
    assert all(torch.equal(loaded[key], state[key]) for key in state)
    torch.save({"state_dict": {**prefixed(state, prefix), "criterion.weight": torch.ones(3)}}, path)
    assert "the network has no tensor 'criterion.weight'" in refusal(SMALL, path)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_damaged_files(tmp_path, state, suffix):
    path = tmp_path / f"w{suffix}"
    (save_file if suffix == ".safetensors" else torch.save)(state, path)
    whole = path.read_bytes()
    for content in (b"", b"hello", b"PK\x03\x04 and so on", whole[:100], whole[: len(whole) // 2], whole[:-1]):
        path.write_bytes(content)
        assert "refused: it is damaged" in refusal(SMALL, path)


class Hostile:
    """Creates a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_a_torchscript_archive_is_named(tmp_path):
    torch.jit.script(torch.nn.ReLU()).save(tmp_path / "w.pth")
    said = refusal(SMALL, tmp_path / "w.pth")
    assert "it is a TorchScript archive; save the state_dict() of that module instead" in said


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_with_code_is_refused_and_not_run(tmp_path, state, zipped):
    trap, path = tmp_path / "trap", tmp_path / "w.pth"
    torch.save({**state, "extra": Hostile(trap)}, path, _use_new_zipfile_serialization=zipped)
    assert "refused: it holds more than tensors, getattr; save the state_dict() alone" in refusal(SMALL, path)
    assert not trap.exists()
    torch.load(path, weights_only=False)
    assert trap.exists()  # the trap works where pickle is trusted


def test_a_download_is_kept_when_its_hash_is_right(kept, tmp_path, state, monkeypatch):
    """The downloads themselves are torch's, here from a file."""
    served = tmp_path / "w-00000000.pth"
    torch.save(state, served)
    enum = type("Weights", (), {"IMAGENET1K_V1": type("Entry", (), {"url": served.as_uri()})})
    monkeypatch.setattr(torchvision.models, "get_model_weights", lambda entry: enum)
    assert "invalid hash value" in refusal(SMALL, "torchvision")
    assert not list(kept.iterdir())
    monkeypatch.setattr(weights, "hf_hub_url", lambda repository, file: (tmp_path / file).as_uri())
    message = refusal(SMALL, "timm")
    assert f"No such file or directory: '{tmp_path / 'model.safetensors'}'>)" in message
    assert f"; save it as {kept / 'resnet18.tv_in1k.safetensors'} or give weights=FILE" in message
    save_file(state, tmp_path / "model.safetensors")
    loaded = SMALL.build(weights="timm").state_dict()
    assert all(torch.equal(loaded[key], state[key]) for key in state)
    assert [path.name for path in kept.iterdir()] == ["resnet18.tv_in1k.safetensors"]
