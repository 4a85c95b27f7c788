import numpy as np
import pytest
import timm
import torch
from parity import assert_same_logits

from tinynet_core import Base, Scale, network
from tinynet_core.networks import NAMES, SCALABLE
from tinynet_core.networks import efficientnet as family
from tinynet_core.networks.efficientnet import TINYNETS
from tinynet_core.networks.rounding import round_channels
from tinynet_core.networks.tracing import trace

RELEASED = {  # resolution, parameters, MACs in millions, repeats
    "tinynet_a": (192, 6_187_972, 336.87, (1, 2, 2, 4, 4, 5, 1)),
    "tinynet_b": (188, 3_730_562, 200.71, (1, 2, 2, 3, 3, 4, 1)),
    "tinynet_c": (184, 2_457_234, 99.54, (1, 2, 2, 3, 3, 3, 1)),
    "tinynet_d": (152, 2_338_446, 51.58, (1, 1, 1, 2, 2, 3, 1)),
    "tinynet_e": (106, 2_042_972, 24.36, (1, 1, 1, 2, 2, 2, 1)),
    "efficientnet_b0": (224, 5_288_548, 385.81, (1, 2, 2, 3, 3, 4, 1)),
}


@pytest.mark.parametrize("name", RELEASED)
def test_released_networks(name):
    resolution, params, macs, repeats = RELEASED[name]
    spec = network(name)
    cost = spec.complexity()
    assert (spec.resolution, cost.params) == (resolution, params)
    assert cost.macs / 1e6 == pytest.approx(macs, abs=0.005)
    assert tuple(s.repeats for s in spec.stages) == repeats


@pytest.mark.parametrize(("phi", "params", "macs"), [(1, 3.6, 201), (2, 3.0, 98), (3, 2.0, 51), (4, 1.3, 24)])
def test_inverse_giant_formula_has_the_papers_weights_and_flops(phi, params, macs):
    spec = network(f"efficientnet_b-{phi}")
    cost = spec.complexity()
    assert round(cost.params / 1e6, 1) == params  # Table 3 prints one decimal; nothing was fitted to it
    assert cost.macs / 1e6 == pytest.approx(macs, rel=0.04)
    if phi > 1:
        power = np.log((spec.scale.r, spec.scale.d, spec.scale.w)) / np.log((1.15, 1.2, 1.1))
        assert power == pytest.approx(power[0], abs=1e-3)  # r : d : w moves along the formula, to four digits
    assert network(f"efficientnet_b-{phi}", head="fixed").complexity().params > cost.params


def test_b_minus_1_is_the_published_triple():
    assert network("efficientnet_b-1").scale == Scale(r=0.86, d=0.8, w=0.89)


@pytest.mark.parametrize(
    ("scale", "macs"),
    [
        (Scale(r=0.70), 196), (Scale(d=0.45), 196), (Scale(w=0.65), 205),
        (Scale(r=0.46), 103), (Scale(w=0.38), 99), (Scale(d=0.01), 173),
    ],
)  # fmt: skip
def test_single_dimension_rows_of_table_1(scale, macs):
    assert round(network("efficientnet_b0", scale).complexity().macs / 1e6) == macs


def random_specs(n):
    rng = np.random.default_rng(0)
    for i in range(n):
        scale = Scale(*(float(x) for x in np.exp(rng.uniform(np.log(0.2), np.log(2.5), 3))))
        base = (
            Base()
            if i % 2
            else Base(resolution=int(rng.integers(16, 96)), width=float(rng.uniform(0.2, 1.0)), divisor=4)
        )
        head = ("fixed", "scaled")[i // 2 % 2]
        yield network("efficientnet_b0", scale, int(rng.integers(1, 1001)), head, base)


def test_spec_cost_equals_traced_cost_for_200_random_scales():
    for spec in random_specs(200):
        with torch.device("meta"):
            module = spec.build()
        assert spec.complexity() == trace(module, spec.resolution), spec


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


@pytest.mark.parametrize("name", [*TINYNETS, "efficientnet_b0"])
def test_timm_weights_load_by_name_and_logits_agree(name):
    spec = network(name)
    assert_same_logits(spec.build(), timm.create_model(name), spec.resolution)


def test_options_of_build():
    spec = network("efficientnet_b0", Scale(0.3, 2.0, 0.3), num_classes=7)
    module = spec.build(dropout=0.5, zero_init_residual=True, zero_init_classifier=True)
    assert module.dropout.p == 0.5
    assert not module.classifier.weight.any()
    blocks = [b for stage in module.blocks for b in stage]
    zeroed = [not (b.bn3 if hasattr(b, "bn3") else b.bn2).weight.any() for b in blocks]
    assert zeroed == [b.residual for b in blocks]
    assert any(zeroed)
    assert not all(zeroed)
    assert module(torch.zeros(2, 3, 67, 67)).shape == (2, 7)
    plain = spec.build()
    assert plain.classifier.weight.any()
    assert all((b.bn3 if hasattr(b, "bn3") else b.bn2).weight.all() for stage in plain.blocks for b in stage)


def test_channel_rounding():
    assert [round_channels(c) for c in (1, 8, 11.9, 12, 17.28, 8.64)] == [8, 8, 16, 16, 16, 8]
    from timm.layers import make_divisible

    for c in np.linspace(1, 2000, 4001):
        assert round_channels(c) == make_divisible(c, 8)


@pytest.mark.parametrize("name", NAMES)
def test_every_name_builds(name):
    proxy = {"base": Base(32, 0.25)} if name in (*SCALABLE, *family.NAMES) else {}
    spec = network(name, num_classes=5, **proxy)
    assert spec.build()(torch.zeros(2, 3, spec.resolution, spec.resolution)).shape == (2, 5)


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


def test_trace_leaves_the_module_as_it_was():
    module = network("efficientnet_b0", Scale(0.3, 0.3, 0.3)).build().train()
    trace(module, 64)
    assert module.training
    assert not any(m._forward_hooks for m in module.modules())
