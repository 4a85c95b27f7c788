"""What the pages on others' measurements say, computed again from the data; closed forms beside the bootstrap."""

from functools import cache
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
from notebook_code import run_cell
from scipy.stats import spearmanr

from tinynet_book.analysis import published
from tinynet_book.paper import public, table

NAMES = {"np": np, "pd": pd, "public": public, "spearmanr": spearmanr, "percentiles": published.percentiles}
TIMES = run_cell("28", "def ratios", **NAMES)
CODE = NAMES | {name: getattr(published, name) for name in ("anew", "cost", "least_squares")}
CODE |= {"NamedTuple": NamedTuple, "SimpleNamespace": SimpleNamespace, "cache": cache}
CODE["TRAINED"] = {x: cells.dropna(subset="top1") for x, cells in public.grid().query("width <= 1").groupby("base")}
CODE = run_cell("27", "class Surface", "def terms", "def one_way", "def best_splits", **CODE)
PRINT = {"TinyNet-A": 77.7, "TinyNet-B": 75.0, "TinyNet-C": 71.2, "TinyNet-D": 67.0, "TinyNet-E": 59.9}


@pytest.fixture(scope="module")
def far():
    return pd.concat([published.distances(test) for test in public.TESTS])


def test_the_released_tinynets_have_their_printed_accuracy():
    val = public.tinynets().query("test == 'val'").set_index("architecture").top1
    assert (val - pd.Series(PRINT)).abs().max() == pytest.approx(0.064)


def test_all_tinynets_lie_above_the_curve_of_their_rivals_on_every_set(far):
    gaps = {key: [round(x.value, 1) for x in some.distance] for key, some in far.groupby("test")}
    assert gaps["val"] == [2.1, 0.8, 0.6, 1.0, 1.1]
    assert gaps["Sketch"] == [3.9, 1.8, 0.7, 1.1, 1.2]
    assert all(x.value > 0 for x in far.distance)
    assert len(far) == 30
    assert {x.n for x in far.distance} == {17}
    assert len(public.rivals().query("test == 'val'")) == 25
    assert (far.least < [x.value for x in far.distance]).all()
    assert far.scatter.min().round(1) == 1.0
    assert far.scatter.max().round(1) == 1.7
    clear = far[[x.clear for x in far.distance]]
    assert set(clear[clear.test == "val"].architecture) == {"TinyNet-A"}


def test_a_distance_is_that_of_numpy_and_its_interval_holds_it(far):
    peers = public.rivals().query("test == 'val'")
    curve = np.polyfit(np.log(peers.macs), peers.top1, 2)
    for x in far[far.test == "val"].itertuples():
        assert x.distance.value == pytest.approx(x.top1 - np.polyval(curve, np.log(x.macs)))
        assert x.distance.low < x.distance.value < x.distance.high
        assert published.curve("val", x.macs) == pytest.approx(np.polyval(curve, np.log(x.macs)))


def made_up():
    """Cells whose accuracy has its top at r = w, and whose cost is r² w² of 400M."""
    cells = [(r, w) for r in (0.4, 0.6, 0.8, 1.0) for w in (0.4, 0.6, 0.8, 1.0)]
    frame = pd.DataFrame(cells, columns=["r", "width"]).assign(base="made up")
    frame["macs"] = 400e6 * frame.r**2 * frame.width**2
    return frame.assign(top1=70 + 5 * np.log(frame.macs / 400e6) - 2 * np.log(frame.r / frame.width) ** 2)


def test_the_surface_finds_the_split_that_made_the_cells():
    CODE["TRAINED"]["made up"] = made_up()
    found = CODE["fits"]("made up")
    assert found.rmse < 1e-6
    assert found.whole.best(100e6) == pytest.approx(0, abs=1e-6)
    assert found.whole.multipliers(100e6, 0.0) == pytest.approx([0.5**0.5] * 2)
    assert found.whole.top1(100e6, 0.1) == pytest.approx(70 + 5 * np.log(0.25) - 0.02)
    CODE["BUDGETS"] = [100e6]
    (row,) = CODE["best_splits"]("made up").itertuples()
    assert (row.width.low, row.width.high) == pytest.approx((0.5**0.5, 0.5**0.5))
    assert CODE["one_way"]("made up")[1].value == pytest.approx(0, abs=0.1)


def test_one_dimension_alone_on_imagenet_is_nowhere_clearly_better_by_width():
    gaps = {base: CODE["one_way"](base)[1] for base in public.GRIDS}
    assert {base: round(x.value, 1) for base, x in gaps.items()} == {
        "MobileNetV1": -0.2,
        "MobileNetV2": -0.2,
        "MnasNet-A1": -0.4,
    }
    assert [base for base, x in gaps.items() if x.high < 0] == ["MnasNet-A1"]
    assert max(x.high for x in gaps.values()) < 0.4
    print1 = table("table1").set_index("model").top1
    quoted = [print1["shrink B0 by w = 0.65"] - print1["shrink B0 by r = 0.70"]]
    quoted.append(print1["shrink B0 by w = 0.38"] - print1["shrink B0 by r = 0.46"])
    assert quoted == pytest.approx([2.3, 2.9])
    assert min(quoted) > 3 * max(abs(x.value) for x in gaps.values())


def test_the_best_split_takes_from_both_and_its_top_is_flat():
    CODE["BUDGETS"] = [200e6, 50e6]
    splits = {base: CODE["best_splits"](base) for base in public.GRIDS}
    found = {
        base: [(round(x.width.value, 2), round(x.r.value, 2)) for x in y.itertuples()] for base, y in splits.items()
    }
    assert found == {
        "MobileNetV1": [(0.79, 0.75), (0.55, 0.53)],
        "MobileNetV2": [(0.82, 0.94), (0.59, 0.60)],
        "MnasNet-A1": [(0.93, 0.83), (0.58, 0.59)],
    }
    for base in public.GRIDS:
        fitted = CODE["fits"](base).whole
        for macs in (100e6, 50e6):
            top = fitted.best(macs)
            moved = np.linspace(top - 0.5, top, 500)
            r = fitted.multipliers(macs, moved)[1]
            tenth = moved[np.argmin(abs(r / r[-1] - 0.9))]
            assert 0 < fitted.top1(macs, top) - fitted.top1(macs, tenth) < 0.2, (base, macs)


def test_the_ratios_of_times_by_kind_of_device():
    ratios = TIMES["ratios"]("tinynet_a", "efficientnet_b0")
    large = ratios[(ratios.device_class == "GPU") & (ratios.batch > 1)].ratio
    assert (len(large), large.min().round(2), large.median().round(3), large.max().round(2)) == (19, 0.75, 0.815, 0.91)
    cpu = ratios[ratios.device_class == "CPU"].ratio
    assert (len(cpu), cpu.min().round(2), cpu.max().round(2)) == (3, 0.94, 1.34)
    assert ratios.ratio["keras-cv-t4"] == pytest.approx(1129.93 / 981.976, rel=1e-4)
    assert ratios.ratio["authors-p40"] == pytest.approx(81.30 / 99.85, rel=1e-4)
    ncnn = TIMES["ratios"]("efficientnet_b0", "mobilenetv2_100").query("software == 'ncnn'").ratio
    assert ncnn.median().round(1) == 1.8


def test_activations_predict_the_time_on_every_gpu_better_than_macs():
    found = TIMES["predictors"]()
    gpu = found[found.device_class == "GPU"]
    assert (gpu.activations > gpu.macs).all()
    assert (gpu.activations > 0.9).all()
    assert found[found.device_class == "CPU"][["macs", "activations"]].max().max() < 0.8
    assert len(found) == 20
