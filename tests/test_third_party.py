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
from tinynet_book.paper import public

NAMES = {"np": np, "pd": pd, "public": public, "spearmanr": spearmanr, "percentiles": published.percentiles}
TIMES = run_cell("28", "def ratios", **NAMES)
CODE = NAMES | {name: getattr(published, name) for name in ("anew", "cost", "least_squares")}
CODE |= {"NamedTuple": NamedTuple, "SimpleNamespace": SimpleNamespace, "cache": cache}
CODE["TRAINED"] = {x: cells.dropna(subset="top1") for x, cells in public.grid().query("width <= 1").groupby("base")}
CODE = run_cell("27", "class Surface", "def terms", "def one_way", "def best_splits", **CODE)


@pytest.mark.parametrize("test", public.TESTS)
def test_every_tinynet_lies_above_the_curve_of_its_rivals_by_numpy(test):
    peers, far = public.rivals().query("test == @test"), published.distances(test)
    curves = [np.polyfit(np.log(some.macs), some.top1, 2) for some in (peers, *without_one(peers))]
    left = peers.top1 - np.polyval(curves[0], np.log(peers.macs))
    assert len(far) == 5
    for x in far.itertuples():
        gaps = [x.top1 - np.polyval(curve, np.log(x.macs)) for curve in curves]
        assert (x.distance.value, x.least) == pytest.approx((gaps[0], min(gaps[1:])))
        assert max(x.distance.low, 0) < x.distance.value < x.distance.high
        assert x.distance.n == len(curves) - 1 == 17
        assert published.curve(test, x.macs) == pytest.approx(x.top1 - gaps[0])
        assert x.scatter == pytest.approx(np.sqrt(np.sum(left**2) / (len(peers) - 3)))
    if test == "val":
        assert far.architecture[[x.clear for x in far.distance]].tolist() == ["TinyNet-A"]


def without_one(peers):
    return (peers[peers.architecture != name] for name in peers.architecture.unique())


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


@pytest.mark.parametrize("base", public.GRIDS)
def test_one_dimension_alone_is_nowhere_clearly_better_by_width_and_the_top_of_the_best_split_is_flat(base):
    gap, fitted = CODE["one_way"](base)[1], CODE["fits"](base).whole
    assert (gap.high < 0) == (base == "MnasNet-A1")
    assert -0.5 < gap.value < gap.high < 0.4
    for macs in (100e6, 50e6):
        top = fitted.best(macs)
        moved = np.linspace(top - 0.5, top, 500)
        r = fitted.multipliers(macs, moved)[1]
        tenth = moved[np.argmin(abs(r / r[-1] - 0.9))]
        assert 0 < fitted.top1(macs, top) - fitted.top1(macs, tenth) < 0.2


def test_the_ratios_of_times_by_hand():
    ratios = TIMES["ratios"]("tinynet_a", "efficientnet_b0")
    assert ratios.ratio["keras-cv-t4"] == pytest.approx(1129.93 / 981.976, rel=1e-4)
    assert ratios.ratio["authors-p40"] == pytest.approx(81.30 / 99.85, rel=1e-4)
    assert ((ratios.device_class == "GPU") & (ratios.batch > 1)).sum() == 19
    assert (ratios.device_class == "CPU").sum() == 3


def test_activations_predict_the_time_on_every_gpu_better_than_macs():
    found = TIMES["predictors"]()
    gpu = found[found.device_class == "GPU"]
    assert (gpu.activations > gpu.macs).all()
    assert (gpu.activations > 0.9).all()
    assert found[found.device_class == "CPU"][["macs", "activations"]].max().max() < 0.8
    assert len(found) == 20
