"""The paper's tables as data, our counts beside them, and every alternative that a note gives, computed."""

import math
from pathlib import Path
from unittest import mock

import pandas as pd
import pytest
import timm
import torch
import yaml
from timm.models import mobilenetv3

from tinynet_book import paper
from tinynet_book.paper import costs, recount, rows, table
from tinynet_book.paper.cells import TABLES, cells
from tinynet_book.paper.claims import claims, verdict
from tinynet_core import Scale, giant, network
from tinynet_core.networks.fixed import FBNET_B, stacked
from tinynet_core.networks.trace import trace
from tinynet_core.study.series import giant_label

COSTED = [f"table{i}" for i in range(1, 7)]
DIFFERENT = {
    "table1": ["TinyNet-C"],
    "table2": [],
    "table3": [
        "MobileNetV3 Large 1.25x", "FBNet-B", "MobileNetV3 Small 1.25x", "MnasNet-A1 0.35x", "MobileNetV3 Small 0.75x",
        "EfficientNet-B⁻³", "MobileNetV2 0.35x (r=0.71)", "MnasNet-A1 0.35x (r=0.57)", "MobileNetV3 Small 0.5x",
        "EfficientNet-B⁻⁴",
    ],
    "table4": ["EfficientNet-B⁻⁴"],
    "table5": ["EfficientNet-B⁻³"],
    "table6": ["MobileNetV3 Small 0.75x"],
}  # fmt: skip


def note(name, model):
    return next(x["note"] for x in rows(name) if x["model"] == model)


@pytest.mark.parametrize("name", COSTED)
def test_the_rows_that_differ(name):
    frame = costs(name)
    for i, row in frame.iterrows():
        mine = [cell for cell in cells(name) if cell.row == i and cell.column in ("params", "macs")]
        judged = [verdict(claims()[cell.id], row[cell.column] / 1e6) for cell in mine]
        assert row["match"] == ("differs" not in judged), row.model
    assert frame.model[~frame["match"]].tolist() == DIFFERENT[name]
    assert (frame.note[~frame["match"]].str.len() > 40).all()


def test_networks_without_published_multipliers_say_so():
    own = (*(f"efficientnet_b-{i}" for i in (2, 3, 4)), "resnet50_", *(f"ghostnet_{x}" for x in "bcd"))
    for row in (row for name in COSTED for row in rows(name)):
        ours = row.get("network", "").startswith(own)
        assert row.get("note", "").startswith("r, d, w were never published: this project's") == ours


@pytest.mark.parametrize("name", ["resnet50_a", "resnet50_giant_b", "ghostnet_d_hswish"])
def test_a_second_counter_agrees_on_our_own_networks(name):
    spec = network(name)
    cost = spec.complexity()
    assert recount(spec) == (cost.macs, cost.params)


def millions(build, resolution=224):
    with torch.device("meta"):
        module = build()
    cost = trace(module, resolution)
    return cost.params / 1e6, cost.macs / 1e6


@pytest.mark.parametrize(
    ("model", "variant", "width", "changed"),
    [
        ("MobileNetV3 Large 1.25x", "mobilenetv3_large_100", 1.25, {}),
        ("MobileNetV3 Small 1.25x", "mobilenetv3_small_100", 1.25, {"num_features": 1280}),
        ("MobileNetV3 Small 0.75x", "mobilenetv3_small_075", 0.75, {"num_features": 1280}),
        ("MobileNetV3 Small 0.5x", "mobilenetv3_small_050", 0.5, {"fix_stem": False}),
    ],
)
def test_what_was_tried_for_mobilenet_v3(model, variant, width, changed):
    """timm's, whose expanded widths are multiples of the block's rounded input, with options changed."""
    create = mobilenetv3._create_mnv3
    with mock.patch.object(mobilenetv3, "_create_mnv3", lambda v, p=False, **k: create(v, p, **{**k, **changed})):
        params, macs = millions(lambda: mobilenetv3._gen_mobilenet_v3(variant, width))
    assert f"{params:.2f}M and {macs:.1f}M" in note("table3", model)
    if model == "MobileNetV3 Small 0.5x":  # the only one without an alternative of the printed size
        bare = network(variant).complexity().macs - network(variant).build().get_classifier().weight.numel()
        assert f"gives {bare / 1e6:.1f}M" in note("table3", model)


def test_what_was_tried_for_fbnet_b_and_mnasnet():
    cost = stacked("fbnet_b", FBNET_B, 1.0, 224, 16, 1752, "relu").complexity()
    assert f"{cost.params / 1e6:.2f}M, but then {cost.macs / 1e6:.1f}M" in note("table3", "FBNet-B")
    large, small = (network(n).complexity().macs for n in ("mnasnet_a1_035", "mnasnet_a1_035_128"))
    text = f"{(large + 1_280_000) / 1e6:.2f}M at 224 and {(small + 1_280_000) / 1e6:.2f}M at 128 pixels"
    assert text in note("table3", "MnasNet-A1 0.35x") == note("table3", "MnasNet-A1 0.35x (r=0.57)")


def test_the_tensorflow_release_cuts_decimals_off():
    """Millions of MACs at 224, 192, 160, 128 and 96 pixels, as printed with the release of MobileNetV2."""
    released = [59, 43, 30, 20, 11]
    counted = [millions(lambda: timm.create_model("mobilenetv2_035"), side)[1] for side in (224, 192, 160, 128, 96)]
    assert [math.floor(x) for x in counted] == released != [round(x) for x in counted]
    assert released[2] == rows("table3")[23]["macs"]
    assert f"{counted[2]:.1f}M" in note("table3", "MobileNetV2 0.35x (r=0.71)")


@pytest.mark.parametrize(("number", "beside"), [(3, Scale(0.605, 0.49, 0.695)), (4, Scale(0.49, 0.37, 0.6))])
def test_the_giant_curve_jumps_over_the_printed_flops(number, beside):
    own = network(f"efficientnet_b-{number}")
    row = next(x for x in rows("table3") if x["model"] == giant_label(number))
    phi = math.log(own.scale.r) / math.log(1.15)
    curve = [network("efficientnet_b0", giant(phi + i / 1000), head="scaled").complexity().macs for i in range(150)]
    above = min(x for x in curve if x > own.complexity().macs)
    cost = network("efficientnet_b0", beside, head="scaled").complexity()
    params, macs = cost.params / 1e6, cost.macs / 1e6
    assert own.complexity().macs < row["macs"] * 1e6 < above
    assert f"a block more and {above / 1e6:.1f}M" in row["note"]
    assert f"r {beside.r:g}, d {beside.d:g}, w {beside.w:g} has {params:.2f}M and {macs:.1f}M" in row["note"]
    assert (round(params, 1), round(macs)) == (row["params"], row["macs"])


def test_table_7_is_ghostnet_a():
    printed = table("table7")
    ours = [x for x in network("ghostnet_a").rows() for _ in range(x.row.repeats)]
    first = [0, *printed.repeat.cumsum()[:-1]]  # where each printed row begins among ours, block by block
    assert len(ours) == printed.repeat.sum()
    for want, i in zip(printed.itertuples(), first, strict=True):
        got = ours[i]
        assert (got.side, got.c_in) == (want.side, want.c_in)
        assert pd.isna(want.out) or got.row.channels == want.out
        assert pd.isna(want.stride) or got.row.stride == want.stride
        assert pd.isna(want.se) or got.row.squeeze


PRINTED = yaml.safe_load((Path(paper.__file__).parent / "tables.yaml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", TABLES)
def test_every_number_of_a_table_is_a_claim(name):
    """Read from the file without the package: what is a number there has a claim of that number."""
    numbers = {(i, column): x for i, row in enumerate(PRINTED[name]) for column, x in row.items()}
    numbers = {place: x for place, x in numbers.items() if isinstance(x, int | float)}
    found = {(cell.row, cell.column): claims()[cell.id] for cell in cells(name)}
    assert {place: claim.paper for place, claim in found.items()} == numbers
    assert {claim.source for claim in found.values()} == {f"Table {name[-1]}"}
    assert all(claim.statement.endswith(".") for claim in found.values())


def test_a_printed_expansion_holds_to_half_a_step_of_the_inner_channels():
    claim = claims()["table7-row_3-exp"]  # from 28 channels, of which three times is 84, between 80 and 88
    assert verdict(claim, 88 / 28) == "within tolerance"
    assert verdict(claim, 96 / 28) == "differs"
