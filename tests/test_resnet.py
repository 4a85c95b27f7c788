import numpy as np
import pytest
import timm
import torch
import torchvision
from parity import assert_same_logits

from tinynet_core import Scale, network
from tinynet_core.networks.tracing import trace

NAMES = ["resnet18", "resnet34", "resnet50"]


@pytest.mark.parametrize("name", NAMES)
def test_torchvisions_weights_load_by_name_and_logits_agree(name):
    theirs = torchvision.models.get_model(name, weights=None)
    assert_same_logits(network(name).build(), theirs, 128)


def test_timms_weights_load_by_name_and_logits_agree():
    assert_same_logits(network("resnet18").build(), timm.create_model("resnet18"), 64)


@pytest.mark.parametrize(
    ("name", "params"), [("resnet18", 11_689_512), ("resnet34", 21_797_672), ("resnet50", 25_557_032)]
)
def test_published_sizes(name, params):
    cost = network(name).complexity()
    assert cost.params == params
    published = {"resnet18": 1.8e9, "resnet34": 3.6e9, "resnet50": 3.8e9}[name]  # He et al. 2016, Table 1
    assert cost.macs == pytest.approx(published, rel=0.08)  # their ResNet-50 strides on the first 1x1 convolution


def test_spec_cost_equals_traced_cost_for_200_random_scales():
    rng = np.random.default_rng(0)
    for i in range(200):
        scale = Scale(*(float(x) for x in np.exp(rng.uniform(np.log(0.2), np.log(2), 3))))
        spec = network(NAMES[i % 3], scale, int(rng.integers(1, 1001)), ("fixed", "scaled")[i // 3 % 2])
        with torch.device("meta"):
            module = spec.module(0.0)
        assert spec.complexity() == trace(module, spec.resolution), spec


def test_depth_and_width_do_what_they_say():
    spec = network("resnet50", Scale(r=0.5, d=0.5, w=0.5))
    assert spec.resolution == 112
    assert [s.repeats for s in spec.stages] == [2, 2, 3, 2]
    assert [s.c_out for s in spec.stages] == [128, 256, 512, 1024]
    assert (spec.stem, network("resnet50", Scale(w=0.5), head="scaled").stem) == (64, 32)


def test_rows_add_up():
    for name in NAMES:
        spec = network(name)
        assert sum(r.macs for r in spec.rows()) == spec.complexity().macs
        assert sum(r.params for r in spec.rows()) == spec.complexity().params
        assert [r.side for r in spec.rows()] == [224, 112, 56, 56, 28, 14, 7, 1]


def test_zero_init_residual():
    module = network("resnet18", Scale(0.3, 1, 0.3), 5).build(zero_init_residual=True, zero_init_classifier=True)
    blocks = [b for layer in (module.layer1, module.layer4) for b in layer]
    assert all(not b.bn2.weight.any() for b in blocks)
    assert not module(torch.randn(2, 3, 67, 67)).any()
