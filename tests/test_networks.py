"""Networks by name: published sizes, costs against traced modules, weights and logits against timm and torchvision."""

from functools import partial

import numpy as np
import pytest
import timm
import torch
import torchvision
from parity import assert_same_logits
from timm.layers import make_divisible
from timm.models.ghostnet import GhostNet as TimmGhostNet

from tinynet_core import Base, Scale, network
from tinynet_core.networks import SCALABLE
from tinynet_core.networks.fixed import FBNET_B, MNASNET_A1, MOBILENET_V1, NAMES, NETWORKS, PROXYLESS_MOBILE, stacked
from tinynet_core.networks.spec import round_channels
from tinynet_core.networks.trace import trace

SIZES = {  # resolution, parameters and MACs in millions as released or published, blocks of each stage
    "tinynet_a": (192, 6.187972, 336.87, [1, 2, 2, 4, 4, 5, 1]),
    "tinynet_b": (188, 3.730562, 200.71, [1, 2, 2, 3, 3, 4, 1]),
    "tinynet_c": (184, 2.457234, 99.54, [1, 2, 2, 3, 3, 3, 1]),
    "tinynet_d": (152, 2.338446, 51.58, [1, 1, 1, 2, 2, 3, 1]),
    "tinynet_e": (106, 2.042972, 24.36, [1, 1, 1, 2, 2, 2, 1]),
    "efficientnet_b0": (224, 5.288548, 385.81, [1, 2, 2, 3, 3, 4, 1]),
}


@pytest.mark.parametrize("name", SIZES)
def test_published_sizes(name):
    resolution, params, macs, blocks = SIZES[name]
    spec = network(name)
    cost = spec.complexity()
    assert (spec.resolution, cost.params / 1e6) == (resolution, params)
    assert cost.macs / 1e6 == pytest.approx(macs, abs=0.05)
    assert [s.repeats for s in spec.stages] == blocks


@pytest.mark.parametrize("family", ["efficientnet", "resnet", "ghostnet"])
def test_spec_cost_equals_traced_cost_at_random_scales(family):
    rng, names = np.random.default_rng(0), [name for name in SCALABLE if name.startswith(family)]
    for i in range(12):
        scale = Scale(*np.exp(rng.uniform(np.log(0.2), np.log(1.8), 3)).tolist())
        proxy = Base(int(rng.integers(16, 96)), float(rng.uniform(0.2, 1.0)), 4) if i % 3 == 0 else None
        head = ("fixed", "scaled")[i // 2 % 2]
        spec = network(names[i % len(names)], scale, int(rng.integers(1, 1001)), head, proxy)
        with torch.device("meta"):
            module = spec.module(0.0)
        assert spec.complexity() == trace(module, spec.resolution), spec
        assert sum(row.macs for row in spec.rows()) == spec.complexity().macs
        assert sum(row.params for row in spec.rows()) == spec.complexity().params


@pytest.mark.parametrize("name", NAMES)
def test_every_fixed_network_builds_at_its_cost(name):
    spec = network(name, num_classes=5)
    with torch.device("meta"):
        module = spec.build()
        assert module(torch.zeros(2, 3, spec.resolution, spec.resolution)).shape == (2, 5)
    assert name not in NETWORKS or spec.complexity() == trace(module, spec.resolution)


def test_layouts_have_the_published_number_of_blocks():
    """Of FBNet-B's 22 searched blocks one is a skip, of ProxylessNAS's two; weights as mit-han-lab released them."""
    assert [sum(s[1] for s in layout) for layout in (FBNET_B, PROXYLESS_MOBILE, MOBILENET_V1)] == [21, 20, 13]
    assert network("proxylessnas_mobile").complexity().params == 4_080_512


def mobile(layout, width, head, activation):
    return stacked("x", layout, width, 224, 32, head, activation)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (network("tinynet_c"), partial(timm.create_model, "tinynet_c")),
        (network("resnet18"), torchvision.models.resnet18),
        (network("resnet50"), torchvision.models.resnet50),
        (network("ghostnet_150"), lambda: TimmGhostNet(timm.create_model("ghostnet_100").cfgs, width=1.5)),
        (mobile(MOBILENET_V1, 1.0, 0, "relu6"), partial(timm.create_model, "mobilenetv1_100")),
        (mobile(MNASNET_A1, 0.5, 1280, "relu"), partial(timm.create_model, "semnasnet_050")),
    ],
    ids=["tinynet_c", "resnet18", "resnet50", "ghostnet_150", "mobilenetv1", "mnasnet"],
)
def test_weights_of_others_load_by_name_and_logits_agree(ours, theirs):
    assert_same_logits(ours.build(), theirs(), 64)


def test_the_blocks_of_fbnet_are_timms():
    """timm has FBNet-C, made of the same blocks."""
    layout = (
        ("ir", 1, 3, 1, 1, 16, False), ("ir", 1, 3, 2, 6, 24, False), ("ir", 2, 3, 1, 1, 24, False),
        ("ir", 1, 5, 2, 6, 32, False), ("ir", 1, 5, 1, 3, 32, False), ("ir", 1, 5, 1, 6, 32, False),
        ("ir", 1, 3, 1, 6, 32, False), ("ir", 1, 5, 2, 6, 64, False), ("ir", 1, 5, 1, 3, 64, False),
        ("ir", 2, 5, 1, 6, 64, False), ("ir", 3, 5, 1, 6, 112, False), ("ir", 1, 5, 1, 3, 112, False),
        ("ir", 4, 5, 2, 6, 184, False), ("ir", 1, 3, 1, 6, 352, False),
    )  # fmt: skip
    with torch.device("meta"):
        theirs = timm.create_model("fbnetc_100")
    assert stacked("x", layout, 1.0, 224, 16, 1984, "relu").complexity() == trace(theirs, 224)


def test_hard_swish_takes_the_place_of_relu_but_in_gates():
    with torch.device("meta"):
        plain, other = (network(name).build() for name in ("ghostnet_a", "ghostnet_a_hswish"))
    assert torch.nn.Hardswish not in {type(m) for m in plain.modules()}
    relus = {name for name, m in other.named_modules() if isinstance(m, torch.nn.ReLU)}
    assert relus == {f"{name}.act" for name, m in other.named_modules() if hasattr(m, "conv_reduce")}


def test_depth_and_width_do_what_they_say():
    spec = network("resnet50", Scale(r=0.5, d=0.5, w=0.5))
    assert spec.resolution == 112
    assert [row.side for row in spec.rows()] == [112, 56, 28, 28, 14, 7, 4, 1]
    assert [s.repeats for s in spec.stages] == [2, 2, 3, 2]
    assert [s.c_out for s in spec.stages] == [128, 256, 512, 1024]
    assert (spec.stem, network("resnet50", Scale(w=0.5), head="scaled").stem) == (64, 32)
    assert network("ghostnet_100", Scale(w=0.5)).complexity() == network("ghostnet_050").complexity()
    for d, blocks in ((1.0, [1, 2, 3, 4, 3, 6]), (0.5, [1, 1, 2, 2, 2, 3]), (2.0, [2, 4, 6, 8, 6, 12])):
        runs = network("ghostnet_a", Scale(d=d)).runs
        assert [sum(run.times for run in stage) for stage in runs] == blocks


@pytest.mark.parametrize(
    ("name", "norms"), [("efficientnet_b0", 25), ("resnet18", 16), ("resnet50", 32), ("ghostnet_100", 64)]
)
def test_options_of_build(name, norms):
    spec = network(name, Scale(0.3, 2.0, 0.3), num_classes=7)
    module = spec.build(dropout=0.5, zero_init_residual=True, zero_init_classifier=True)
    assert module.dropout.p == 0.5
    assert not module(torch.randn(2, 3, 67, 67)).any()  # the classifier starts at zero
    zeroed = [m for m in module.modules() if isinstance(m, torch.nn.BatchNorm2d) and not m.weight.any()]
    assert len(zeroed) == norms
    assert {id(norm) for norm in module.last_norms()} == {id(norm) for norm in zeroed}
    assert all(norm.weight.all() for norm in spec.build().last_norms())


def test_channel_rounding():
    for c in (*np.linspace(1, 2000, 4001), 17.28, 8.64):
        assert round_channels(c) == make_divisible(c, 8)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "tinynet_f"}, "unknown network 'tinynet_f', nearest: tinynet_"),
        ({"name": "mobilenetv2_100", "scale": Scale()}, "has a fixed scale; networks that take one: efficientnet_b0"),
        ({"name": "fbnet_b", "head": "scaled"}, "fbnet_b is a fixed network"),
        ({"name": "efficientnet_b0", "num_classes": 2.5}, "num_classes must be a whole number above 0, got 2.5"),
        ({"name": "efficientnet_b0", "head": "big"}, "head must be 'fixed' or 'scaled', got 'big'"),
    ],
)
def test_bad_input(arguments, message):
    with pytest.raises(ValueError, match=message):
        network(**arguments)
