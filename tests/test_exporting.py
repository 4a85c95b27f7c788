import warnings

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from tinynet_core import Scale, UserError, network
from tinynet_core import export as exporting
from tinynet_core.export import ExportError, build_module, export_onnx
from tinynet_core.networks.own import traced

SMALL = {
    "ghostnet_a": network("ghostnet_a", Scale(0.2, 0.3, 0.2)),
    "mobilenetv3_small_050": network("mobilenetv3_small_050", num_classes=7),
}


@pytest.fixture
def tiny():
    return network("resnet18", Scale(0.15, 0.5, 0.1), num_classes=5)


def session(path):
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("name", SMALL)
def test_the_file_agrees_with_torch_for_any_batch(tmp_path, name):
    spec = SMALL[name]
    done = export_onnx(spec, tmp_path / "net.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["net.onnx"]  # no temporary file, no external data
    assert done.path == tmp_path / "net.onnx"
    assert done.size == done.path.stat().st_size
    assert done.size > 4 * 0.95 * spec.complexity().params
    model = onnx.load(done.path)
    onnx.checker.check_model(model, full_check=True)
    assert [entry.version for entry in model.opset_import if not entry.domain] == [17]
    (image,), (logits,) = session(done.path).get_inputs(), session(done.path).get_outputs()
    assert (image.name, image.type) == ("image", "tensor(float)")
    assert image.shape == ["batch", 3, spec.resolution, spec.resolution]
    assert (logits.name, logits.shape) == ("logits", ["batch", spec.num_classes])
    module, _ = build_module(spec)
    for batch in (1, 3):
        image = torch.randn(batch, 3, spec.resolution, spec.resolution)
        (found,) = session(done.path).run(None, {"image": image.numpy()})
        with torch.no_grad():
            expected = module(image).numpy()
        assert found.shape == (batch, spec.num_classes)
        assert np.abs(expected).max() > 0.01
        np.testing.assert_allclose(found, expected, atol=1e-4)
    assert done.difference <= 1e-4


def test_weights_are_those_of_the_file(tmp_path, tiny):
    trained = tiny.build()
    for norm in trained.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.running_mean.normal_(0, 0.1)
    torch.save(trained.state_dict(), tmp_path / "w.pth")
    export_onnx(tiny, tmp_path / "net.onnx", weights=tmp_path / "w.pth")
    image = torch.randn(2, 3, 33, 33)
    with torch.no_grad():
        expected = trained.eval()(image).numpy()
    np.testing.assert_allclose(
        session(tmp_path / "net.onnx").run(None, {"image": image.numpy()})[0], expected, 1e-4, 1e-4
    )


def test_global_state_is_left_alone(tmp_path, tiny, capfd):
    torch.manual_seed(3)
    np.random.seed(3)
    before, filters = torch.get_rng_state(), list(warnings.filters)
    numbers = np.random.get_state()[1].copy()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        export_onnx(tiny, tmp_path / "net.onnx")
    assert torch.equal(torch.get_rng_state(), before)
    assert (np.random.get_state()[1] == numbers).all()
    assert warnings.filters == filters
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("net.pth", "must end in .onnx, got "),
        ("folder.onnx", "is a folder"),
        ("absent/net.onnx", "there is no folder "),
    ],
)
def test_bad_paths_are_told_before_any_work(tmp_path, monkeypatch, tiny, path, message):
    monkeypatch.setattr(exporting, "build_module", lambda *args: pytest.fail("work was done"))
    (tmp_path / "folder.onnx").mkdir()
    (tmp_path / "net.pth").touch()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError, match=message) as caught:
        export_onnx(tiny, tmp_path / path)
    assert str(tmp_path / path) in str(caught.value)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_check_that_fails_leaves_what_was_there(tmp_path, monkeypatch, tiny):
    class Wrong:
        def __init__(self, path, threads=None):
            self.session = session(path)

        def run(self, names, inputs):
            return [1.001 * self.session.run(names, inputs)[0]]

    monkeypatch.setattr(exporting, "open_session", Wrong)
    (tmp_path / "old.onnx").write_text("before", encoding="utf-8")
    for file in ("old.onnx", "new.onnx"):
        with pytest.raises(
            ExportError, match=r"resnet18: logits of ONNX Runtime and torch differ by .*, allowed is 0.0001"
        ):
            export_onnx(tiny, tmp_path / file)
    assert [path.name for path in tmp_path.iterdir()] == ["old.onnx"]
    assert (tmp_path / "old.onnx").read_text(encoding="utf-8") == "before"


class Own(nn.Module):
    """Two convolutions whose result ``finish`` changes."""

    def __init__(self, finish=torch.flatten):
        super().__init__()
        self.first, self.norm, self.second = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 6, 3)
        self.finish = finish

    def forward(self, image):
        return self.finish(self.second(self.norm(self.first(image))).mean((2, 3)))


def own(finish):
    return traced(lambda scale: Own(finish), 16, "own").at(Scale())


def test_a_network_of_ones_own_is_exported_as_it_is(tmp_path):
    spec = own(lambda x: x)
    export_onnx(spec, tmp_path / "net.onnx", seed=5)
    module, images = build_module(spec, seed=5)
    assert not module.norm.running_mean.any()  # its statistics may be trained ones
    with torch.no_grad():
        expected = module(images).numpy()
    np.testing.assert_allclose(
        session(tmp_path / "net.onnx").run(None, {"image": images.numpy()})[0], expected, atol=1e-5
    )
    with pytest.raises(UserError, match="weights are for the networks of this package, own is another one"):
        export_onnx(spec, tmp_path / "net.onnx", weights="timm")


def baked(x):
    """A step that the exporter writes down for one batch only."""
    return x * float(x.shape[0])


@pytest.mark.parametrize(
    ("finish", "message"),
    [
        (lambda x: x / 0, "own: logits are not finite"),
        (lambda x: {"logits": x}, "own must give a tensor of logits, got a dict"),
        (lambda x: torch.linalg.svdvals(x.reshape(-1, 2, 3)), "own cannot be exported to ONNX: "),
        (baked, "own: logits of ONNX Runtime and torch differ by"),
    ],
)
def test_networks_without_a_faithful_form(tmp_path, finish, message):
    with pytest.raises(ExportError, match=message) as caught:
        export_onnx(own(finish), tmp_path / "net.onnx")
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())
