import hashlib
import pickle
import zipfile
from pathlib import Path

import pytest
import timm
import torch
import torchvision
from parity import randomise
from safetensors.torch import save_file

from tinynet_core import Base, UserError, network
from tinynet_core.networks import NAMES, Network, weights
from tinynet_core.networks.fixed import PEERS


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """The folder of released weights in an empty cache."""
    monkeypatch.setenv("TINYNET_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "cache" / "weights"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def small():
    """A network with few tensors of few elements."""
    return network("resnet18", num_classes=3, base=Base(32, 0.1))


def random_state(spec):
    """The tensors of ``spec`` with random values."""
    return randomise(spec.build()).state_dict()


def refusal(spec: Network, path) -> str:
    """The one line with which ``path`` is refused, and no tensor of the module has changed then."""
    module = spec.build()
    before = {key: tensor.clone() for key, tensor in module.state_dict().items()}
    with pytest.raises(UserError) as caught:
        weights.load_weights(module, spec.name, path)
    for key, tensor in module.state_dict().items():
        torch.testing.assert_close(tensor, before[key], rtol=0, atol=0)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("file", "write"),
    [
        ("w.safetensors", save_file),
        ("w.pth", torch.save),
        ("w.bin", lambda state, path: torch.save({"state_dict": state, "epoch": 3}, path)),
        ("w.pt", lambda state, path: torch.save({"model": {f"module.{k}": v for k, v in state.items()}}, path)),
        ("old.pth", lambda state, path: torch.save(state, path, _use_new_zipfile_serialization=False)),
        ("bare.pth", lambda state, path: torch.save({k: v for k, v in state.items() if "num_ba" not in k}, path)),
    ],
)
def test_round_trip(tmp_path, file, write):
    spec = network("tinynet_e")
    state = random_state(spec)
    write(state, tmp_path / file)
    for path in (tmp_path / file, str(tmp_path / file)):
        loaded = spec.build(weights=path).state_dict()
        assert list(loaded) == list(state)
        assert all(torch.equal(loaded[key], state[key]) for key in state)


@pytest.mark.parametrize("name", ["tinynet_e", "ghostnet_100", "resnet18", "mobilenetv3_small_050", "mnasnet_a1_100"])
def test_weights_of_timm_from_the_cache_give_its_logits(kept, name):
    repository = weights.RELEASED[name]["timm"].rpartition("/")[2]
    theirs = randomise(timm.create_model(repository.partition(".")[0]))
    save_file(theirs.state_dict(), kept / f"{repository}.safetensors")
    assert_same_logits(network(name), "timm", theirs)


def test_weights_of_torchvision_from_the_cache_give_its_logits(kept):
    theirs = randomise(torchvision.models.get_model("shufflenet_v2_x0_5"))
    torch.save(theirs.state_dict(), kept / "shufflenetv2_x0.5-f707e7126e.pth")
    assert_same_logits(network("shufflenetv2_050"), "torchvision", theirs)


def assert_same_logits(spec, library, theirs):
    ours = spec.build(weights=library).double().eval()
    image = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    with torch.inference_mode():
        expected = theirs.double()(image)
        assert expected.std() > 1e-3
        torch.testing.assert_close(ours(image), expected, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("name", weights.RELEASED)
def test_every_released_entry_is_a_network_that_the_library_released(name):
    assert name in NAMES
    for library, entry in weights.RELEASED[name].items():
        if library == "timm":
            assert entry.removeprefix("timm/") in timm.list_pretrained()
            entry = entry.removeprefix("timm/").partition(".")[0]
        with torch.device("meta"):
            theirs = (timm.create_model if library == "timm" else torchvision.models.get_model)(entry).state_dict()
            ours = network(name).build().state_dict()
        assert {k: v.shape for k, v in ours.items()} == {k: v.shape for k, v in theirs.items()}
        if name in PEERS:
            assert (library, entry) == PEERS[name][:2]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_become_the_modules(tmp_path, small, dtype):
    state = {k: v.to(dtype) if v.is_floating_point() else v for k, v in random_state(small).items()}
    torch.save(state, tmp_path / "w.pth")
    loaded = small.build(weights=tmp_path / "w.pth").state_dict()
    assert all(loaded[key].dtype in (torch.float32, torch.int64) for key in state)
    assert all(torch.equal(loaded[key], state[key].to(loaded[key].dtype)) for key in state)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s | {"fc.bias": torch.tensor([1.0, float("nan"), 0.0])}, "'fc.bias' holds values that are"),
        (lambda s: s | {"fc.bias": torch.tensor([0.0, 1e300, 0.0]).double() * 1e300}, "not finite in torch.flo"),
        (lambda s: s | {"fc.bias": torch.ones(3).int()}, "'fc.bias' is of torch.int32 in the file, torch.floa"),
        (lambda s: s | {"fc.bias": torch.ones(3, dtype=torch.cfloat)}, "is of torch.complex64"),
        (lambda s: s | {"bn1.num_batches_tracked": torch.tensor(1.0)}, "is of torch.float32 in the file, torch."),
        (lambda s: s | {"fc.bias": torch.ones(4)}, r"'fc.bias' has shape (4,) in the file, (3,) in the network"),
        (lambda s: s | {"fc.bias": torch.ones(3).to_sparse()}, "must hold dense tensors, 'fc.bias' is not one"),
        (lambda s: s | {"fc.bias": torch.ones(3, device="meta")}, "must hold dense tensors"),
        (lambda s: s | {"top.weight": torch.ones(3)}, "fit resnet18: the network has no tensor 'top.weight'"),
        (lambda s: {k: v for k, v in s.items() if not k.startswith("layer2.0")}, "'layer2.0.conv1.weight' is missing"),
        (lambda s: {}, "must hold a dict of tensors, got nothing"),
        (lambda s: list(s.values()), "must hold a dict of tensors, got a list"),
        (lambda s: s["fc.bias"], "must hold a dict of tensors, got a Tensor"),
        (lambda s: s | {"epoch": 3}, "must hold tensors by name, 'epoch' is a int"),
        (lambda s: s | {3: torch.ones(3)}, "must hold tensors by name, 3 is a Tensor"),
        (lambda s: {"model": {"state_dict": s}}, "'state_dict' is a dict"),
    ],
)  # fmt: skip
def test_tensors_that_do_not_fit(tmp_path, small, change, message):
    torch.save(change(dict(small.build().state_dict())), tmp_path / "w.pth")
    said = refusal(small, tmp_path / "w.pth")
    assert message in said
    assert str(tmp_path / "w.pth") in said


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_damaged_files(tmp_path, small, suffix):
    path, state = tmp_path / f"w{suffix}", small.build().state_dict()
    assert "is not there; weights must be 'timm', 'torchvision' or a file" in refusal(small, path)
    assert "is a folder" in refusal(small, tmp_path)
    path.touch()
    assert refusal(small, path) == f"weights file {path} is empty"
    for text in (b"hello", bytes(64), b"x" * 2000, b"PK\x03\x04 and so on"):
        path.write_bytes(text)
        assert "damaged" in refusal(small, path)
    save_file(state, path) if suffix == ".safetensors" else torch.save(state, path)
    whole = path.read_bytes()
    for size in (1, 7, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        assert "damaged" in refusal(small, path)


class Hostile:
    """Creates a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("protocol", [2, 4])
def test_a_pickle_with_code_is_refused_and_not_run(tmp_path, small, protocol):
    trap, path = tmp_path / "trap", tmp_path / "w.pth"
    state = {**small.build().state_dict(), "extra": Hostile(trap)}
    for old in (True, False):
        torch.save(state, path, pickle_protocol=protocol, _use_new_zipfile_serialization=not old)
        assert "refused: it holds Python objects, not only tensors" in refusal(small, path)
    path.write_bytes(pickle.dumps({"extra": Hostile(trap)}, protocol=protocol))
    assert "refused: it holds Python objects, not only tensors" in refusal(small, path)
    assert not trap.exists()
    pickle.loads(path.read_bytes())
    assert trap.exists()  # the trap works where pickle is trusted


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("shufflenetv2_050", "timm", "timm released none for shufflenetv2_050; allowed: 'torchvision' or a file"),
        ("tinynet_a", "torchvision", "torchvision released none for tinynet_a; allowed: 'timm' or a file"),
        ("fbnet_b", "timm", "no library released weights for fbnet_b; allowed: a file"),
        ("tinynet_e", "imagenet", "file imagenet is not there; weights must be 'timm', 'torchvision' or a file"),
        ("tinynet_e", 3, "weights must be 'timm', 'torchvision' or a file, got 3"),
    ],
)
def test_weights_that_nobody_has(kept, name, given, message):
    assert message in refusal(network(name), given)


def test_a_download_of_timm_is_used_or_it_is_said_which_file_belongs_where(kept, tmp_path, monkeypatch):
    def offline(*args, **kwargs):
        raise OSError("no route to the host\nsecond line")

    monkeypatch.setattr(weights, "hf_hub_download", offline)
    message = refusal(network("tinynet_e"), "timm")
    assert "model.safetensors of the Hub repository timm/tinynet_e.in1k" in message
    assert f"(no route to the host); save it as {kept / 'tinynet_e.in1k.safetensors'} or give weights=FILE" in message
    state = random_state(network("tinynet_e"))
    save_file(state, tmp_path / "model.safetensors")
    monkeypatch.setattr(weights, "hf_hub_download", lambda *args, **kwargs: str(tmp_path / "model.safetensors"))
    loaded = network("tinynet_e").build(weights="timm").state_dict()
    assert all(torch.equal(loaded[key], state[key]) for key in state)


def test_a_download_of_torchvision_is_kept_when_its_hash_is_right(kept, tmp_path, monkeypatch):
    """The download itself is torch's, here from a file."""
    spec, served = network("shufflenetv2_050"), tmp_path / "served"
    served.mkdir()
    state = random_state(spec)
    torch.save(state, served / "w.pth")
    digest = hashlib.sha256((served / "w.pth").read_bytes()).hexdigest()
    for name in (f"w-{'0' * 8}.pth", f"w-{digest[:8]}.pth"):
        (served / name).write_bytes((served / "w.pth").read_bytes())

    def release(name):
        enum = type("Weights", (), {"IMAGENET1K_V1": type("Entry", (), {"url": (served / name).as_uri()})})
        monkeypatch.setattr(torchvision.models, "get_model_weights", lambda entry: enum)

    release(f"w-{'0' * 8}.pth")
    assert "invalid hash value" in refusal(spec, "torchvision")
    assert not list(kept.iterdir())
    release(f"w-{digest[:8]}.pth")
    loaded = spec.build(weights="torchvision").state_dict()
    assert all(torch.equal(loaded[key], state[key]) for key in state)
    assert [path.name for path in kept.iterdir()] == [f"w-{digest[:8]}.pth"]


def test_a_compressed_archive_is_refused_before_it_is_unpacked(tmp_path):
    path = tmp_path / "bomb.pth"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(10_000_000))
    with pytest.raises(UserError, match=r"bomb\.pth refused: it is compressed, which torch never does"):
        network("tinynet_e").build(weights=path)
