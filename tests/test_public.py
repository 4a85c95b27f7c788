"""What others published, as it is kept here: its form, and the costs that come with it."""

import re

import numpy as np
import pandas as pd
import timm
import torch
from notebook_code import run_cell

from tinynet_book.paper import public, rows
from tinynet_core import network
from tinynet_core.networks.fixed import MNASNET_A1, MOBILENET_V1, stacked
from tinynet_core.networks.trace import trace

CODE = run_cell("26", "def disagreements", np=np, pd=pd, public=public)
PRINTED = {row["model"].removeprefix("Baseline ") for name in ("table3", "table6") for row in rows(name)}


def test_every_number_has_a_source_with_its_repository_file_and_commit():
    sources = public.sources()
    assert sources.index.is_unique
    assert {*public.results().source, *public.grid().source, *public.times().source} <= set(sources.index)
    known = sources[sources.commit != ""]
    assert known.commit.map(lambda x: bool(re.fullmatch(r"[0-9a-f]{40}|v[\d.]+", x))).all()
    assert set(sources.index) - set(known.index) == {"argusswift", "pistony-issue", "ghostnet-issue", "mindspore-lite"}
    assert sources.address.str.fullmatch(r"https://(github\.com|mindspore\.cn)/\S+").all()


def test_the_form_of_every_accuracy():
    frame = public.results()
    assert set(frame.kind) == set(public.KINDS)
    assert set(frame.test) == set(public.TESTS)
    assert set(frame.row) - {""} <= PRINTED
    assert set(frame.architecture) == set(public.networks().index)
    assert frame.top1.between(0, 100).all()
    assert ((frame.top5 > frame.top1) | frame.top5.isna()).all()
    assert (frame.input.isna() | (frame.input == frame.architecture.map(public.networks().input))).all()
    assert not frame.duplicated(["network", "source", "test", "top1"]).any()


MOBILENET_V2 = (
    ("ds", 1, 3, 1, 1, 16, False),
    ("ir", 2, 3, 2, 6, 24, False),
    ("ir", 3, 3, 2, 6, 32, False),
    ("ir", 4, 3, 2, 6, 64, False),
    ("ir", 3, 3, 1, 6, 96, False),
    ("ir", 3, 3, 2, 6, 160, False),
    ("ir", 1, 3, 1, 6, 320, False),
)
"""Sandler et al. 2018, Table 2."""
LAYOUTS = {"MobileNetV1": (MOBILENET_V1, 0), "MobileNetV2": (MOBILENET_V2, 1280), "MnasNet-A1": (MNASNET_A1, 1280)}


def test_the_form_of_the_grid_and_of_the_times():
    grid = public.grid()
    for x in grid.itertuples():
        layout, head = LAYOUTS[x.base]
        wide = round(head * max(x.width, 1)) if x.base == "MobileNetV2" else head
        assert x.macs == stacked(x.base, layout, x.width, x.input, 32, wide, "relu6").complexity().macs
    assert grid.base.value_counts()[[*public.GRIDS]].tolist() == [16, 22, 25]
    frame = public.times()
    assert not frame.duplicated(["run", "network"]).any()
    assert (frame.images_per_s > 0).all()


def test_networks_are_those_of_this_package_or_of_timm_with_our_counts():
    networks = public.networks()
    for x in networks[networks.network != ""].itertuples():
        spec, cost = network(x.network), network(x.network).complexity()
        assert (x.input, x.macs, x.params) == (spec.resolution, cost.macs, cost.params), x.network
    for x in networks[networks.network == ""][::4].itertuples():  # a part shows that the file was made by this counter
        with torch.device("meta"):
            cost = trace(timm.create_model(x.timm), x.input)
        assert (x.macs, x.params) == (cost.macs, cost.params), x.timm


def test_printed_costs_are_ours_or_are_listed_with_a_reason():
    off = CODE["disagreements"]()
    assert off.reason.str.len().min() > 5
    assert (off.off.abs() < 0.24).all()
    unexplained = off[(off.reason == "unexplained") & (off.off.abs() > 0.03)]
    assert set(unexplained.source) == {"google-lite", "keras-cv", "osmr", "paddle-efficientnet"}
    grid = public.grid()
    far = abs(grid.macs / grid.gmacs.astype(float) / 1e9 - 1) > 0.03
    assert set(grid[far].base) <= {"MobileNetV1", "MobileNetV2"}  # small ones, printed in whole millions
    assert (grid[far].gmacs.astype(float) < 0.035).all()


def test_a_printed_number_is_ours_rounded_or_cut_off():
    numbers = {("0.36", 0.3558): True, ("0.34", 0.3498): True, ("0.35", 0.3368): False, ("1.9", 1.59): False}
    assert {x: CODE["agrees"](*x) for x in numbers} == numbers


def test_the_list_of_its_authors_decides_then_their_weights_and_no_other_training():
    assert public.printed("MobileNetV3 Small 0.75x", "top1").found == 65.4
    assert public.printed("TinyNet-E", "top5").found == 81.774
    other = public.printed("MobileNetV3 Small 0.5x", "top1")
    assert (other.found.low, other.found.high, other.found.n) == (57.918, 59.2, 2)
    assert other.open.startswith("no weights of this training")
    assert public.printed("EfficientNet-B⁻⁴", "top1").open == "nobody else published one"
    assert {public.printed(name, "top1").evidence for name in PRINTED} == {"third party"}
