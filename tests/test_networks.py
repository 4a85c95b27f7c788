"""Networks by name: published sizes, costs against traced modules, weights and logits against timm and torchvision."""

import numpy as np
import pytest
import timm
import torch
import torchvision
from parity import assert_same_logits
from timm.models.ghostnet import GhostNet as TimmGhostNet

from tinynet_core import Base, Scale, network
from tinynet_core.networks import NAMES, SCALABLE
from tinynet_core.networks import efficientnet as efficientnets
from tinynet_core.networks.efficientnet import TINYNETS
from tinynet_core.networks.fixed import FBNET_B, MNASNET_A1, MOBILENET_V1, NETWORKS, PROXYLESS_MOBILE, stacked
from tinynet_core.networks.ghostnet import GHOSTNET_A
from tinynet_core.networks.spec import round_channels
from tinynet_core.networks.trace import trace

RELEASED = {  # resolution, parameters, MACs in millions, repeats
    "tinynet_a": (192, 6_187_972, 336.87, (1, 2, 2, 4, 4, 5, 1)),
    "tinynet_b": (188, 3_730_562, 200.71, (1, 2, 2, 3, 3, 4, 1)),
    "tinynet_c": (184, 2_457_234, 99.54, (1, 2, 2, 3, 3, 3, 1)),
    "tinynet_d": (152, 2_338_446, 51.58, (1, 1, 1, 2, 2, 3, 1)),
    "tinynet_e": (106, 2_042_972, 24.36, (1, 1, 1, 2, 2, 2, 1)),
    "efficientnet_b0": (224, 5_288_548, 385.81, (1, 2, 2, 3, 3, 4, 1)),
}
RESNETS = ["resnet18", "resnet34", "resnet50"]
PUBLISHED = {  # parameters and MACs in millions
    "ghostnet_050": (2.59, 42.3),
    "ghostnet_100": (5.18, 141.2),
    "ghostnet_150": (9.07, 297.7),
    "ghostnet_a": (11.94, 587.5),
}


@pytest.mark.parametrize("name", RELEASED)
def test_released_networks(name):
    resolution, params, macs, repeats = RELEASED[name]
    spec = network(name)
    cost = spec.complexity()
    assert (spec.resolution, cost.params) == (resolution, params)
    assert cost.macs / 1e6 == pytest.approx(macs, abs=0.005)
    assert tuple(s.repeats for s in spec.stages) == repeats


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_sizes(name):
    cost = network(name).complexity()
    assert (round(cost.params / 1e6, 2), round(cost.macs / 1e6, 1)) == PUBLISHED[name]


@pytest.mark.parametrize(
    ("name", "params", "macs"),
    [("resnet18", 11_689_512, 1.8e9), ("resnet34", 21_797_672, 3.6e9), ("resnet50", 25_557_032, 3.8e9)],
)
def test_published_resnets(name, params, macs):
    cost = network(name).complexity()
    assert cost.params == params
    assert cost.macs == pytest.approx(macs, rel=0.08)  # He et al. 2016 stride on the first 1x1 convolution


@pytest.mark.parametrize(("phi", "params", "macs"), [(1, 3.6, 201), (2, 3.0, 98), (3, 2.0, 51), (4, 1.3, 24)])
def test_inverse_giant_formula_has_the_papers_weights_and_flops(phi, params, macs):
    spec = network(f"efficientnet_b-{phi}")
    cost = spec.complexity()
    assert round(cost.params / 1e6, 1) == params  # Table 3 prints one decimal; nothing was fitted to it
    assert cost.macs / 1e6 == pytest.approx(macs, rel=0.04)
    assert network(f"efficientnet_b-{phi}", head="fixed").complexity().params > cost.params


@pytest.mark.parametrize(
    ("scale", "macs"),
    [
        (Scale(r=0.70), 196), (Scale(d=0.45), 196), (Scale(w=0.65), 205),
        (Scale(r=0.46), 103), (Scale(w=0.38), 99), (Scale(d=0.01), 173),
    ],
)  # fmt: skip
def test_single_dimension_rows_of_table_1(scale, macs):
    assert round(network("efficientnet_b0", scale).complexity().macs / 1e6) == macs


def random_specs(names, n=40):
    rng = np.random.default_rng(0)
    for i in range(n):
        scale = Scale(*(float(x) for x in np.exp(rng.uniform(np.log(0.2), np.log(2.2), 3))))
        proxy = Base(resolution=int(rng.integers(16, 96)), width=float(rng.uniform(0.2, 1.0)), divisor=4)
        head = ("fixed", "scaled")[i // 2 % 2]
        yield network(names[i % len(names)], scale, int(rng.integers(1, 1001)), head, proxy if i % 3 == 0 else None)


@pytest.mark.parametrize("family", ["efficientnet", "resnet", "ghostnet"])
def test_spec_cost_equals_traced_cost_at_random_scales(family):
    for spec in random_specs([name for name in SCALABLE if name.startswith(family)]):
        with torch.device("meta"):
            module = spec.module(0.0)
        assert spec.complexity() == trace(module, spec.resolution), spec


@pytest.mark.parametrize("name", NETWORKS)
def test_spec_cost_of_mobile_networks_equals_traced_cost(name):
    spec = network(name)
    with torch.device("meta"):
        assert spec.complexity() == trace(spec.module(0.0), spec.resolution)


def test_torch_counts_the_same_macs():
    """A second, independent counter: torch's own, which counts two operations per multiply-add."""
    from torch.utils.flop_counter import FlopCounterMode

    for name in ("tinynet_e", "efficientnet_b-4"):
        spec = network(name)
        with torch.device("meta"):
            module, image = spec.build().eval(), torch.empty(1, 3, spec.resolution, spec.resolution)
        with FlopCounterMode(display=False) as counter:
            module(image)
        assert counter.get_total_flops() == 2 * spec.complexity().macs


@pytest.mark.parametrize("name", [*RESNETS, "ghostnet_a"])
def test_rows_add_up(name):
    spec = network(name)
    assert sum(r.macs for r in spec.rows()) == spec.complexity().macs
    assert sum(r.params for r in spec.rows()) == spec.complexity().params


def test_rows_are_those_of_table_7():
    assert [r.side for r in network("resnet50").rows()] == [224, 112, 56, 56, 28, 14, 7, 1]
    rows = network("ghostnet_a").rows()
    assert [r.side for r in rows] == [240, 120, 120, 60, 60, 30, 30, 15, 15, 15, 15, 8, 8, 8, 1, 1]
    assert [r.row.channels for r in rows] == [
        28, 28, 44, 44, 72, 72, 140, 140, 196, 196, 280, 280, 1680, 1680, 1400, 1000,
    ]  # fmt: skip
    assert GHOSTNET_A.head == 1400


@pytest.mark.parametrize("name", [*TINYNETS, "efficientnet_b0", "resnet18", "ghostnet_050", "ghostnet_100"])
def test_timms_weights_load_by_name_and_logits_agree(name):
    assert_same_logits(network(name).build(), timm.create_model(name), 96)


@pytest.mark.parametrize("name", RESNETS)
def test_torchvisions_weights_load_by_name_and_logits_agree(name):
    assert_same_logits(network(name).build(), torchvision.models.get_model(name, weights=None), 64)


def test_ghostnet_150_is_timms_at_that_width():
    theirs = TimmGhostNet(timm.create_model("ghostnet_100").cfgs, width=1.5)
    assert_same_logits(network("ghostnet_150").build(), theirs, 64)


@pytest.mark.parametrize(
    ("theirs", "layout", "width", "head", "activation"),
    [
        ("mobilenetv1_100", MOBILENET_V1, 1.0, 0, "relu6"),
        ("semnasnet_100", MNASNET_A1, 1.0, 1280, "relu"),
        ("semnasnet_050", MNASNET_A1, 0.5, 1280, "relu"),
    ],
)
def test_mobile_networks_are_timms_at_its_widths(theirs, layout, width, head, activation):
    ours = stacked("x", layout, width, 224, 32, head, activation).build()
    assert_same_logits(ours, timm.create_model(theirs), 64)


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


def test_layouts_have_the_published_number_of_blocks():
    assert sum(s[1] for s in FBNET_B) == 21  # 22 searched blocks, one of them a skip
    assert sum(s[1] for s in PROXYLESS_MOBILE) == 20  # 22 blocks with two left out
    assert sum(s[1] for s in MOBILENET_V1) == 13
    assert network("proxylessnas_mobile").complexity().params == 4_080_512  # mit-han-lab/proxylessnas


def test_hard_swish_is_the_only_difference():
    plain, other = network("ghostnet_a"), network("ghostnet_a_hswish")
    assert plain.complexity() == other.complexity()
    with torch.device("meta"):
        ours, theirs = plain.build(), other.build()
    assert [*ours.state_dict()] == [*theirs.state_dict()]
    assert torch.nn.Hardswish not in {type(m) for m in ours.modules()}
    assert torch.nn.Hardswish in {type(m) for m in theirs.modules()}
    assert {type(m.act) for m in theirs.modules() if hasattr(m, "conv_reduce")} == {torch.nn.ReLU}


def test_depth_and_width_do_what_they_say():
    spec = network("resnet50", Scale(r=0.5, d=0.5, w=0.5))
    assert spec.resolution == 112
    assert [s.repeats for s in spec.stages] == [2, 2, 3, 2]
    assert [s.c_out for s in spec.stages] == [128, 256, 512, 1024]
    assert (spec.stem, network("resnet50", Scale(w=0.5), head="scaled").stem) == (64, 32)
    assert network("ghostnet_100", Scale(w=0.5)).complexity() == network("ghostnet_050").complexity()


@pytest.mark.parametrize(
    ("d", "blocks"), [(1.0, [1, 2, 3, 4, 3, 6]), (0.5, [1, 1, 2, 2, 2, 3]), (2.0, [2, 4, 6, 8, 6, 12])]
)
def test_depth_moves_the_blocks_of_each_run_of_a_ghostnet(d, blocks):
    spec = network("ghostnet_a", Scale(d=d))
    assert [sum(run.times for run in stage) for stage in spec.runs] == blocks


@pytest.mark.parametrize("name", ["efficientnet_b0", "resnet18", "resnet50", "ghostnet_100"])
def test_options_of_build(name):
    spec = network(name, Scale(0.3, 2.0, 0.3), num_classes=7)
    module = spec.build(dropout=0.5, zero_init_residual=True, zero_init_classifier=True)
    assert module.dropout.p == 0.5
    assert not module(torch.randn(2, 3, 67, 67)).any()  # the classifier starts at zero
    blocks = [b for b in module.modules() if hasattr(b, "last_norms")]
    zeroed = [not any(norm.weight.any() for norm in b.last_norms()) for b in blocks]
    assert zeroed == [b.residual for b in blocks]
    assert any(zeroed)
    assert all(norm.weight.all() for m in spec.build().modules() if hasattr(m, "last_norms") for norm in m.last_norms())


def test_channel_rounding():
    assert [round_channels(c) for c in (1, 8, 11.9, 12, 17.28, 8.64)] == [8, 8, 16, 16, 16, 8]
    from timm.layers import make_divisible

    for c in np.linspace(1, 2000, 4001):
        assert round_channels(c) == make_divisible(c, 8)


@pytest.mark.parametrize("name", NAMES)
def test_every_name_builds(name):
    proxy = {"base": Base(32, 0.25)} if name in (*SCALABLE, *efficientnets.NAMES) else {}
    spec = network(name, num_classes=5, **proxy)
    with torch.device("meta"):
        assert spec.build()(torch.zeros(2, 3, spec.resolution, spec.resolution)).shape == (2, 5)


def test_a_channel_too_many_is_cut():
    spec = network("ghostnet_a", Scale(0.2, 0.3, 0.1), 3)
    assert spec.build(dropout=0.2)(torch.zeros(2, 3, spec.resolution, spec.resolution)).shape == (2, 3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "tinynet_f"}, "unknown network 'tinynet_f', nearest: tinynet_"),
        ({"name": "???"}, "known: efficientnet_b0"),
        ({"name": "mobilenetv2_100", "scale": Scale()}, "has its own scale; networks that take one: efficientnet_b0"),
        ({"name": "fbnet_b", "head": "scaled"}, "fbnet_b is a fixed network: it takes neither head nor base"),
        ({"name": "tinynet_a", "scale": Scale()}, "has its own scale"),
        ({"name": "efficientnet_b0", "num_classes": 0}, "num_classes must be a whole number above 0, got 0"),
        ({"name": "efficientnet_b0", "num_classes": 2.5}, "num_classes"),
        ({"name": "efficientnet_b0", "head": "big"}, "head must be 'fixed' or 'scaled', got 'big'"),
    ],
)
def test_bad_input(arguments, message):
    with pytest.raises(ValueError, match=message):
        network(**arguments)
