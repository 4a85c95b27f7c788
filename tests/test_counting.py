"""Counting by operator: against torchvision's published counts, torch's own counter, and algebra."""

import re

import pytest
import timm
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision import models, ops

from tinynet_core import Scale, network
from tinynet_core.networks.counters import counters
from tinynet_core.networks.efficientnet import scaled
from tinynet_core.networks.trace import TraceWarning, trace
from tinynet_core.scaling.scale import PAPER_BASE

pytestmark = pytest.mark.filterwarnings("error::tinynet_core.networks.trace.TraceWarning")

TORCHVISION = (
    *("alexnet", "convnext_tiny", "convnext_small", "densenet121", "densenet169", "efficientnet_b0", "efficientnet_b1"),
    *("efficientnet_b2", "efficientnet_b3", "efficientnet_b4", "efficientnet_v2_s", "efficientnet_v2_m", "maxvit_t"),
    *("mnasnet0_5", "mnasnet1_0", "mobilenet_v2", "mobilenet_v3_large", "mobilenet_v3_small", "resnet18", "resnet34"),
    *("resnet50", "resnet101", "resnext50_32x4d", "resnext101_64x4d", "shufflenet_v2_x0_5", "shufflenet_v2_x1_0"),
    *("squeezenet1_0", "squeezenet1_1", "swin_t", "swin_s", "swin_v2_t", "vgg11", "vgg16_bn", "vit_b_16", "vit_b_32"),
    *("wide_resnet50_2", "regnet_x_400mf", "regnet_y_400mf", "googlenet", "inception_v3"),
)
TIMM = (
    *("vit_tiny_patch16_224", "swin_tiny_patch4_window7_224", "deit3_small_patch16_224", "mobilevit_s", "resnetblur50"),
    *("coatnet_0_rw_224", "xcit_nano_12_p16_224", "mixer_s32_224", "ghostnet_100", "repvgg_a0", "nf_resnet26"),
)
ON_THE_CPU = ("googlenet", "inception_v3", "regnet_x_400mf", "regnet_y_400mf")
"""Networks that torchvision cannot build on the meta device."""


def without_memory(make, on_the_cpu=False):
    if on_the_cpu:
        return make().to("meta")
    with torch.device("meta"):
        return make()


@pytest.mark.parametrize("name", TORCHVISION)
def test_torchvisions_published_count(name):
    weights = models.get_model_weights(name).DEFAULT
    quick = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    module = without_memory(lambda: models.get_model(name, **quick), name in ON_THE_CPU)
    macs = trace(module, weights.transforms().crop_size[0]).macs
    assert macs / 1e9 == pytest.approx(weights.meta["_ops"], abs=0.51e-3)


@pytest.mark.parametrize("name", TIMM)
def test_torchs_own_counter(name):
    module = without_memory(lambda: timm.create_model(name), "xcit" in name or "vit" in name)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module.eval()(torch.zeros(1, 3, 224, 224, device="meta"))
    assert 2 * trace(module, 224).macs == counter.get_total_flops()


@pytest.mark.parametrize(("i", "pixels", "d", "w"), [(2, 260, 1.2, 1.1), (4, 380, 1.8, 1.4), (7, 600, 3.1, 2.0)])
def test_efficientnets_with_blocks_rounded_up_are_timms(i, pixels, d, w):
    ours = scaled("efficientnet_b1", Scale(pixels / 224, d, w), 1000, "scaled", PAPER_BASE).complexity()
    theirs = trace(without_memory(lambda: timm.create_model(f"efficientnet_b{i}")), pixels)
    assert (ours.macs, ours.params) == (theirs.macs, theirs.params)


@pytest.mark.parametrize("name", ["tinynet_e", "mobilenetv3_small_050", "resnet18"])
def test_what_other_tools_count_is_ours_and_what_their_rules_add(name):
    found, cost = {row.tool: row for row in counters(network(name))}, network(name).complexity()
    assert found["tinynet"].macs == cost.macs
    for row in found.values():
        assert row.difference == sum(int(x.replace(",", "")) for x in re.findall(r"[+-][\d,]{2,}", row.reason))
    assert found["torch (FlopCounterMode)"].difference == 0
    if name == "resnet18":  # a norm behind every convolution, and a classifier of 1000 classes
        assert found["fvcore"].difference == 2 * (cost.activations - 1000)
    assert found["fvcore"].difference > 0


class Attention(nn.Module):
    """Eight channels, two heads, on as many tokens as the image has pixels; ``way`` is how the products are called."""

    def __init__(self, way):
        super().__init__()
        self.way, self.embed = way, nn.Conv2d(3, 8, 1)
        self.inner = nn.MultiheadAttention(8, 2, batch_first=True) if way == "module" else nn.Linear(8, 24)
        self.out = nn.Identity() if way == "module" else nn.Linear(8, 8)

    def forward(self, x):
        tokens = self.embed(x).flatten(2).transpose(1, 2)
        if self.way == "module":
            return self.inner(tokens, tokens, tokens)[0]
        q, k, v = (x.unflatten(-1, (2, 4)).transpose(1, 2) for x in self.inner(tokens).chunk(3, -1))
        if self.way == "function":
            mixed = nn.functional.scaled_dot_product_attention(q, k, v)
        else:
            mixed = torch.einsum("bhqk,bhkc->bhqc", (q @ k.mT).softmax(-1), v)
        return self.out(mixed.transpose(1, 2).flatten(2))


@pytest.mark.parametrize("device", ["meta", "cpu"])
@pytest.mark.parametrize("way", ["module", "function", "products"])
def test_attention_in_closed_form(way, device):
    """Embedding 3 x 8, projections 4 x 8 x 8 a token, and two products of all pairs of tokens over 8 channels."""
    tokens = 6 * 6
    assert trace(Attention(way).to(device), 6).macs == tokens * (3 * 8 + 4 * 8 * 8) + 2 * tokens**2 * 8


def test_layers_in_closed_form():
    module = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ConvTranspose2d(4, 6, 4, 2, 1))
    assert trace(module, 8).macs == 27 * 4 * 64 + 4 * 6 * 16 * 64  # each input pixel meets every weight once


def test_the_image_has_the_precision_of_the_module_and_no_memory_is_needed():
    module = timm.create_model("mobilenetv3_small_050", num_classes=10)
    expected = trace(module, 64)
    assert trace(module.to("meta", torch.bfloat16), 64) == expected


def test_modes_are_left_as_they_were():
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4).eval(), nn.Dropout())
    trace(module, 8)
    assert [part.training for part in module.modules()] == [True, True, False, True]


@pytest.mark.parametrize(
    ("layer", "named"),
    [
        (lambda x: ops.deform_conv2d(x, x.new_zeros(1, 18, 6, 6), x.new_zeros(4, 3, 3, 3)), "deform_conv2d in inner"),
        (lambda x: torch.cdist(x.flatten(2), x.flatten(2)), "_cdist_forward in inner"),
    ],
)
def test_what_is_not_counted_is_named_with_its_module(layer, named):
    class Inner(nn.Module):
        def forward(self, x):
            return layer(x)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.inner = nn.Conv2d(3, 3, 1), Inner()

        def forward(self, x):
            return self.inner(self.conv(x))

    with pytest.warns(TraceWarning, match=f"Net has operators that are not counted: {named}"):
        assert trace(Net(), 8).macs == 9 * 64
