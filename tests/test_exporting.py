"""ONNX files: the logits of torch for any batch, or no file; and the time that ONNX Runtime takes."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from tinynet_core import Scale, UserError, network, traced
from tinynet_core import export as exporting
from tinynet_core.export import ExportError, build_module, export_onnx, measure_latency, profile


def logits_of(path, images):
    return onnxruntime.InferenceSession(path).run(None, {"image": images.numpy()})[0]


@pytest.mark.parametrize(
    "spec",
    [network("ghostnet_a", Scale(0.2, 0.3, 0.2)), network("mobilenetv3_small_050", num_classes=7)],
    ids=lambda spec: spec.name,
)
def test_the_file_agrees_with_torch_for_any_batch_and_nothing_else_changes(tmp_path, spec, capfd):
    torch.manual_seed(3)
    before = torch.get_rng_state()
    path = tmp_path / "net.onnx"
    difference, share = export_onnx(spec, path)
    assert torch.equal(torch.get_rng_state(), before)
    assert capfd.readouterr() == ("", "")
    assert [*tmp_path.iterdir()] == [path]  # no temporary file, no external data
    onnx.checker.check_model(onnx.load(path), full_check=True)
    module, _ = build_module(spec)
    for batch in (1, 3):
        image = torch.randn(batch, 3, spec.resolution, spec.resolution)
        with torch.no_grad():
            expected = module(image).numpy()
        assert expected.shape == (batch, spec.num_classes)
        assert np.abs(expected).max() > 0.01
        np.testing.assert_allclose(logits_of(path, image), expected, atol=1e-4)
    assert 0 <= difference <= 1e-4
    assert 0 <= share <= 1e-4


class Own(nn.Module):
    """Two convolutions whose result ``finish`` changes."""

    def __init__(self, finish):
        super().__init__()
        self.first, self.norm, self.second = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 6, 3)
        self.finish = finish

    def forward(self, image):
        return self.finish(self.second(self.norm(self.first(image))).mean((2, 3)))


def own(finish):
    return traced(lambda scale: Own(finish), 16, "own").at(Scale())


def test_a_network_of_ones_own_is_exported_as_it_is(tmp_path):
    spec = own(lambda x: x)
    export_onnx(spec, tmp_path / "net.onnx")
    module, images = build_module(spec)
    assert not module.norm.running_mean.any()  # its statistics may be trained ones
    with torch.no_grad():
        expected = module(images).numpy()
    np.testing.assert_allclose(logits_of(tmp_path / "net.onnx", images), expected, atol=1e-5)
    with pytest.raises(UserError, match="weights are for networks of this package; own is your own network"):
        export_onnx(spec, tmp_path / "net.onnx", weights="timm")


@pytest.mark.parametrize(
    ("finish", "message"),
    [
        (lambda x: x / 0, "own: logits are not finite"),
        (lambda x: {"logits": x}, "own must give a tensor of logits, got a dict"),
        (lambda x: torch.linalg.svdvals(x.reshape(-1, 2, 3)), "own cannot be exported to ONNX: "),
        # the exporter writes the size of the batch down as a constant
        (lambda x: x * float(x.shape[0]), "own: logits of ONNX Runtime and torch differ by"),
    ],
)
def test_networks_without_a_faithful_form_leave_what_was_there(tmp_path, finish, message):
    (tmp_path / "net.onnx").write_text("before", encoding="utf-8")
    with pytest.raises(ExportError, match=message) as caught:
        export_onnx(own(finish), tmp_path / "net.onnx")
    assert "\n" not in str(caught.value)
    assert [path.read_text(encoding="utf-8") for path in tmp_path.iterdir()] == ["before"]


def test_ten_times_the_macs_take_longer():
    small, large = (network("efficientnet_b0", Scale(r, 0.2, 0.2), num_classes=10) for r in (0.15, 0.6))
    assert large.complexity().macs > 10 * small.complexity().macs
    assert 0 < measure_latency(small) < measure_latency(large)
    assert measure_latency(own(lambda x: x)) > 0


ROW_OF = {  # by the module in the name of a node; stem, stages, head convolution, pool, classifier
    "efficientnet_b0": {"conv_stem": 0, **{f"blocks.{i}/": i + 1 for i in range(7)}, "conv_head": 8, "classifier": 10},
    "resnet50": {**{f"/layer{i}/": i + 1 for i in range(1, 5)}, "/relu/": 0, "fc": 7},
}


@pytest.mark.parametrize("name", ROW_OF)
def test_the_time_of_a_node_counts_to_the_row_that_its_name_says(name):
    spec = network(name, Scale(0.2, 0.5, 0.2), num_classes=5)
    module, images = build_module(spec)
    timed = exporting.node_times(module, images[:1], name)
    names = [node for node, operator in timed if operator in exporting.PRODUCTS]
    expected = [next(row for part, row in ROW_OF[name].items() if part in node) for node in names]
    assert exporting.row_of_products(spec, module) == expected
    times = profile(spec)
    assert len(times) == len(spec.rows())
    assert min(times) > 0
