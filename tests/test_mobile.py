import pytest
import timm
import torch
from parity import assert_same_logits

from tinynet_core import network
from tinynet_core.networks.mobile import FBNET_B, MNASNET_A1, MOBILENET_V1, NAMES, PROXYLESS_MOBILE, stacked
from tinynet_core.networks.tracing import trace


@pytest.mark.parametrize("name", NAMES)
def test_spec_cost_equals_traced_cost(name):
    spec = network(name)
    with torch.device("meta"):
        module = spec.module(0.0)
    assert spec.complexity() == trace(module, spec.resolution)


def test_mobilenetv1_at_full_width_is_timms():
    ours = stacked("x", MOBILENET_V1, 1.0, 224, 32, 0, "relu6").build()
    assert_same_logits(ours, timm.create_model("mobilenetv1_100"), 64)


@pytest.mark.parametrize(("theirs", "width"), [("semnasnet_100", 1.0), ("semnasnet_050", 0.5)])
def test_mnasnet_a1_is_timms_at_its_widths(theirs, width):
    ours = stacked("x", MNASNET_A1, width, 224, 32, 1280, "relu").build()
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
    cost = stacked("x", layout, 1.0, 224, 16, 1984, "relu").complexity()
    theirs = timm.create_model("fbnetc_100").eval()
    assert cost == trace(theirs, 224)


def test_layouts_have_the_published_number_of_blocks():
    assert sum(s[1] for s in FBNET_B) == 21  # 22 searched blocks, one of them a skip
    assert sum(s[1] for s in PROXYLESS_MOBILE) == 20  # 22 blocks with two left out
    assert network("proxylessnas_mobile").complexity().params == 4_080_512  # mit-han-lab/proxylessnas
    assert sum(s[1] for s in MOBILENET_V1) == 13
