from dataclasses import replace
from itertools import product

import numpy as np
import pandas as pd
import pytest
from notebook_code import run_cell

from tinynet_book.analysis.enumeration import enumerate_scales
from tinynet_core import Scale, giant, network, released_formula, shrink, solve_width
from tinynet_core.networks.ghostnet import SHRUNK as GHOSTNETS
from tinynet_core.networks.resnet import SHRUNK as RESNETS
from tinynet_core.scaling.scale import GIANT

off_giant_curve = run_cell("08", "def off_giant_curve", np=np, pd=pd, GIANT=GIANT)["off_giant_curve"]
nearest = run_cell("08", "def nearest", np=np, pd=pd)["nearest"]
ANY = (1, 1e12)
GHOSTNET_NUMBERS = {"ghostnet_b": (300, 8.0), "ghostnet_c": (141, 5.0), "ghostnet_d": (52, 2.6)}  # Table 6, in M


def blocks(spec):
    if spec.name.startswith("ghostnet"):
        return "-".join(str(sum(run.times for run in stage)) for stage in spec.runs)
    return "-".join(str(stage.repeats) for stage in spec.stages)


@pytest.mark.parametrize(
    ("name", "head"),
    [("efficientnet_b0", "fixed"), ("efficientnet_b0", "scaled"), ("resnet50", "fixed"), ("ghostnet_a", "scaled")],
)
def test_it_finds_what_a_plain_loop_finds(name, head):
    r, d, w = (0.5, 0.52), (0.6, 0.9), (0.70, 0.71)
    expected = set()
    for scale in product(np.arange(*r, 0.001), np.arange(0.6, 0.9001, 0.01), np.arange(0.70, 0.7101, 0.001)):
        spec = network(name, Scale(*map(float, scale)), head=head)
        cost = spec.complexity()
        expected.add((spec.resolution, blocks(spec), cost.macs, cost.params))
    found = enumerate_scales(name, ANY, r=r, d=d, w=w, head=head)
    rows = {(x.resolution, x.repeats, x.macs, x.params) for x in found.itertuples()}
    assert rows == expected
    assert len(rows) == len(found) > 4
    for x in found.itertuples():
        for scale in ((x.r, x.d, x.w), (x.r, x.d, x.w_low), (x.r, x.d, x.w_high), (x.r_low, x.d, x.w)):
            spec = network(name, Scale(*scale), head=head)
            cost = spec.complexity()
            assert (spec.resolution, blocks(spec)) == (x.resolution, x.repeats)
            assert (cost.macs, cost.params) == (x.macs, x.params)
        assert x.r_low <= x.r <= x.r_high
        assert x.d_low < x.d < x.d_high
        assert x.w_low <= x.w <= x.w_high
    for key in ("macs", "params"):
        low, high = found[key].quantile([0.3, 0.7])
        some = enumerate_scales(name, **{"macs": ANY, key: (low, high)}, r=r, d=d, w=w, head=head)
        assert some.equals(found[(low <= found[key]) & (found[key] < high)].reset_index(drop=True))
        assert 0 < len(some) < len(found)


def test_distance_from_the_giant_curve():
    """With r alone off, r and d are off by one factor x at the best phi: 1.2 / x = 1.15^phi and x = 1.2^phi."""
    rows = [giant(-2.2), Scale(r=1.2)]
    found = pd.DataFrame([{f"{x}_{end}": getattr(row, x) for x in "rdw" for end in ("low", "high")} for row in rows])
    phi = np.log(1.2) / np.log(1.15 * 1.2)
    assert off_giant_curve(found).tolist() == pytest.approx([0, 1.2**phi - 1], abs=2e-3)


@pytest.mark.parametrize("name", GHOSTNETS)
def test_ghostnets_are_the_nearest_to_the_formula(name):
    macs, params = (1e6 * x for x in GHOSTNET_NUMBERS[name])
    windows = (macs - 0.5e6, macs + 0.5e6), (params - 0.05e6, params + 0.05e6)
    either = [enumerate_scales("ghostnet_a", *windows, head=head).assign(head=head) for head in ("fixed", "scaled")]
    ((r, d),) = released_formula().predict([macs / 591e6])
    row = nearest(pd.concat(either, ignore_index=True), r, d, macs, params)
    assert row["head"] == "scaled"
    assert Scale(row.r, row.d, row.w) == GHOSTNETS[name]
    cost = network(name).complexity()
    assert (cost.macs, cost.params) == (row.macs, row.params)
    assert network(f"{name}_hswish").complexity() == cost


@pytest.mark.parametrize(("name", "macs"), [("resnet50_a", 3.6e9), ("resnet50_b", 1.8e9)])
def test_resnets_follow_the_formula(name, macs):
    r, d = released_formula().predict([macs / 4.1e9])[0].tolist()
    width = solve_width("resnet50", macs, r, d)
    formula = network("resnet50", Scale(r, d, width.x))
    assert replace(network(name), scale=None) == replace(formula, name=name, scale=None)
    assert RESNETS[name].r == pytest.approx(r, rel=0.005)


@pytest.mark.parametrize(("name", "macs"), [("resnet50_giant_a", 3.7e9), ("resnet50_giant_b", 1.8e9)])
def test_resnets_follow_the_giant_formula(name, macs):
    scale = shrink("resnet50", macs, "giant").scale
    assert network(name).complexity() == network("resnet50", scale).complexity()
    assert [getattr(RESNETS[name], x) for x in "rdw"] == pytest.approx([scale.r, scale.d, scale.w], rel=0.005)
