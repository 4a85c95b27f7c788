import numpy as np
import pytest
import timm
import torch
from parity import assert_same_logits
from timm.models.ghostnet import GhostNet as TimmGhostNet

from tinynet_core import Scale, network
from tinynet_core.networks.ghostnet import FAMILY, GHOSTNET_A
from tinynet_core.networks.tracing import trace


@pytest.mark.parametrize("name", ["ghostnet_050", "ghostnet_100"])
def test_timms_weights_load_by_name_and_logits_agree(name):
    assert_same_logits(network(name).build(), timm.create_model(name), 96)


def test_ghostnet_150_is_timms_at_that_width():
    theirs = TimmGhostNet(timm.create_model("ghostnet_100").cfgs, width=1.5)
    assert_same_logits(network("ghostnet_150").build(), theirs, 64)


def test_hard_swish_is_the_only_difference():
    plain, other = network("ghostnet_a"), network("ghostnet_a_hswish")
    assert plain.complexity() == other.complexity()
    ours, theirs = plain.build(), other.build()
    assert [*ours.state_dict()] == [*theirs.state_dict()]
    kinds = [{type(m) for m in net.modules()} for net in (ours, theirs)]
    assert torch.nn.Hardswish not in kinds[0]
    gates = {type(m.act) for m in theirs.modules() if hasattr(m, "conv_reduce")}
    assert kinds[1] >= {torch.nn.Hardswish}
    assert gates == {torch.nn.ReLU}


@pytest.mark.parametrize(
    ("name", "params", "macs"),
    [
        ("ghostnet_050", 2.59, 42.3), ("ghostnet_100", 5.18, 141.2), ("ghostnet_150", 9.07, 297.7),
        ("ghostnet_a", 11.94, 587.5),
    ],
)  # fmt: skip
def test_published_sizes(name, params, macs):
    cost = network(name).complexity()
    assert (round(cost.params / 1e6, 2), round(cost.macs / 1e6, 1)) == (params, macs)


def test_spec_cost_equals_traced_cost_for_200_random_scales():
    rng = np.random.default_rng(0)
    names = list(FAMILY)
    for i in range(200):
        scale = Scale(*(float(x) for x in np.exp(rng.uniform(np.log(0.2), np.log(2), 3))))
        spec = network(names[i % 4], scale, int(rng.integers(1, 1001)), ("fixed", "scaled")[i // 4 % 2])
        with torch.device("meta"):
            module = spec.module(0.0)
        assert spec.complexity() == trace(module, spec.resolution), spec


@pytest.mark.parametrize(
    ("d", "blocks"), [(1.0, [1, 2, 3, 4, 3, 6]), (0.5, [1, 1, 2, 2, 2, 3]), (2.0, [2, 4, 6, 8, 6, 12])]
)
def test_depth_moves_the_blocks_of_each_run(d, blocks):
    spec = network("ghostnet_a", Scale(d=d))
    assert [sum(run.times for run in stage) for stage in spec.runs] == blocks
    assert [stage[0].stride for stage in spec.runs] == [1, 2, 2, 2, 1, 2]


def test_width_between_published_widths_is_a_scale():
    half = network("ghostnet_100", Scale(w=0.5))
    assert half.complexity() == network("ghostnet_050").complexity()


def test_rows_are_those_of_table_7():
    rows = network("ghostnet_a").rows()
    assert [r.side for r in rows] == [240, 120, 120, 60, 60, 30, 30, 15, 15, 15, 15, 8, 8, 8, 1, 1]
    assert [r.row.channels for r in rows] == [
        28, 28, 44, 44, 72, 72, 140, 140, 196, 196, 280, 280, 1680, 1680, 1400, 1000,
    ]  # fmt: skip
    assert sum(r.macs for r in rows) == network("ghostnet_a").complexity().macs
    assert GHOSTNET_A.head == 1400


def test_a_channel_too_many_is_cut():
    spec = network("ghostnet_a", Scale(0.2, 0.3, 0.1), 3)
    assert spec.build(dropout=0.2)(torch.zeros(2, 3, spec.resolution, spec.resolution)).shape == (2, 3)


def test_zero_init_residual():
    module = network("ghostnet_100", Scale(0.3, 1, 0.3), 5).build(zero_init_residual=True)
    block = module.blocks[0][0]
    assert not block.ghost2.primary_conv[1].weight.any()
    assert not block.ghost2.cheap_operation[1].weight.any()
    assert block.ghost1.primary_conv[1].weight.all()
