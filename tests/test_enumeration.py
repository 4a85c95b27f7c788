import numpy as np
import pandas as pd
import pytest
from notebook_code import run_cell

from tinynet_book.analysis.enumeration import enumerate_scales
from tinynet_core import Scale, TinyFormula, giant, network, shrink, solve_width
from tinynet_core.networks.efficientnet import TINYNETS
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
    for i in np.arange(*r, 0.001):
        for j in np.arange(0.6, 0.9001, 0.01):
            for k in np.arange(0.70, 0.7101, 0.001):
                spec = network(name, Scale(float(i), float(j), float(k)), head=head)
                cost = spec.complexity()
                expected.add((spec.resolution, blocks(spec), cost.macs, cost.params))
    found = enumerate_scales(name, ANY, r=r, d=d, w=w, head=head)
    rows = {(x.resolution, x.repeats, x.macs, x.params) for x in found.itertuples()}
    assert rows == expected
    assert len(rows) == len(found) > 4
    low, high = found.macs.quantile([0.3, 0.7])
    some = enumerate_scales(name, (low, high), r=r, d=d, w=w, head=head)
    assert some.equals(found[(low <= found.macs) & (found.macs < high)].reset_index(drop=True))
    assert 0 < len(some) < len(found)


@pytest.mark.parametrize(
    ("name", "head", "macs", "params"),
    [
        ("efficientnet_b0", "scaled", (97.5e6, 98.5e6), (2.95e6, 3.05e6)),
        ("ghostnet_a", "fixed", (299.5e6, 300.5e6), (7.95e6, 8.05e6)),
    ],
)
def test_every_row_is_a_network_with_that_cost(name, head, macs, params):
    found = enumerate_scales(name, macs, params, head=head)
    assert len(found) > 10
    for x in found[::7].itertuples():
        for r, d, w in ((x.r, x.d, x.w), (x.r, x.d, x.w_low), (x.r, x.d, x.w_high), (x.r_low, x.d, x.w)):
            spec = network(name, Scale(r, d, w), head=head)
            cost = spec.complexity()
            assert (spec.resolution, blocks(spec)) == (x.resolution, x.repeats)
            assert (cost.macs, cost.params) == (x.macs, x.params)
        assert x.r_low <= x.r <= x.r_high
        assert x.d_low < x.d < x.d_high
        assert x.w_low <= x.w <= x.w_high
        assert macs[0] <= x.macs < macs[1]
        assert params[0] <= x.params < params[1]


def test_a_released_network_is_among_those_with_its_cost():
    cost = network("tinynet_c").complexity()
    found = enumerate_scales("efficientnet_b0", (cost.macs, cost.macs + 1), (cost.params, cost.params + 1))
    spec = network("tinynet_c")
    row = found[(found.resolution == spec.resolution) & (found.repeats == blocks(spec))].iloc[0]
    for axis in "rdw":
        assert row[f"{axis}_low"] <= getattr(TINYNETS["tinynet_c"], axis) <= row[f"{axis}_high"]


def test_b_minus_4_cannot_have_a_fixed_head():
    """Its 1.3M weights are fewer than the 1.28M of a classifier on 1280 channels and anything before it."""
    assert enumerate_scales("efficientnet_b0", (23.5e6, 24.5e6), (1.25e6, 1.35e6)).empty


def test_distance_from_the_giant_curve():
    phi = -2.2
    on = giant(phi)
    cost = network("efficientnet_b0", on, head="scaled").complexity()
    found = enumerate_scales(
        "efficientnet_b0", (cost.macs, cost.macs + 1), (cost.params, cost.params + 1), head="scaled"
    )
    assert off_giant_curve(found).min() == 0
    one = found.head(1).assign(r_low=1.2, r_high=1.2, d_low=1.0, d_high=1.0, w_low=1.0, w_high=1.0)
    # r wants phi = log 1.2 / log 1.15, d wants 0; where both are off by one factor x: 1.2 / x = 1.15^phi, x = 1.2^phi
    phi = np.log(1.2) / np.log(1.15 * 1.2)
    assert off_giant_curve(one).iloc[0] == pytest.approx(1.2**phi - 1, abs=2e-3)


def test_nearest():
    found = enumerate_scales("ghostnet_a", (299.5e6, 300.5e6), (7.95e6, 8.05e6), head="scaled")
    row = found.iloc[5]
    inside = nearest(found, row.r, row.d, row.macs, row.params)
    assert (inside.resolution, inside.repeats) == (row.resolution, row.repeats)


@pytest.fixture(scope="module")
def formula():
    """The tiny formula on the five released TinyNets and B0, written out once more."""
    c0 = network("efficientnet_b0").complexity().macs
    c = [1.0, *(network(name).complexity().macs / c0 for name in TINYNETS)]
    scales = [Scale(), *TINYNETS.values()]
    return TinyFormula().fit(c, [s.r for s in scales], [s.d for s in scales])


@pytest.mark.parametrize("name", GHOSTNETS)
def test_ghostnets_are_the_nearest_to_the_formula(name, formula):
    macs, params = (1e6 * x for x in GHOSTNET_NUMBERS[name])
    windows = (macs - 0.5e6, macs + 0.5e6), (params - 0.05e6, params + 0.05e6)
    either = [enumerate_scales("ghostnet_a", *windows, head=head).assign(head=head) for head in ("fixed", "scaled")]
    ((r, d),) = formula.predict([macs / 591e6])
    row = nearest(pd.concat(either, ignore_index=True), r, d, macs, params)
    assert row["head"] == "scaled"
    assert Scale(row.r, row.d, row.w) == GHOSTNETS[name]
    cost = network(name).complexity()
    assert (cost.macs, cost.params) == (row.macs, row.params)
    assert network(f"{name}_hswish").complexity() == cost


@pytest.mark.parametrize(("name", "macs"), [("resnet50_a", 3.6e9), ("resnet50_b", 1.8e9)])
def test_resnets_follow_the_formula(name, macs, formula):
    ((r, d),) = formula.predict([macs / 4.1e9])
    width = solve_width("resnet50", macs, float(r), float(d))
    wanted, got = network("resnet50", Scale(float(r), float(d), width.x)), network(name)
    assert (got.resolution, got.stages) == (wanted.resolution, wanted.stages)
    assert got.complexity() == wanted.complexity()
    assert RESNETS[name].r == pytest.approx(r, rel=0.005)


@pytest.mark.parametrize(("name", "macs"), [("resnet50_giant_a", 3.7e9), ("resnet50_giant_b", 1.8e9)])
def test_resnets_follow_the_giant_formula(name, macs):
    scale = shrink("resnet50", macs, "giant").scale
    assert network(name).complexity() == network("resnet50", scale).complexity()
    assert [getattr(RESNETS[name], x) for x in "rdw"] == pytest.approx([scale.r, scale.d, scale.w], rel=0.005)
