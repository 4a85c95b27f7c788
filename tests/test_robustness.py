"""The formula without one of its models, and by other choices, against the same done by hand."""

import numpy as np
import pandas as pd
import pytest
from notebook_code import run_cell
from scipy.stats import binomtest, norm

import tinynet_core as tn
from tinynet_book.analysis import robustness
from tinynet_book.analysis.robustness import Variant, sensitivity
from tinynet_core import Base, Scale, TinyFormula, family, frontier, released_formula
from tinynet_core.scaling.frontier import pareto_front

NET = family("efficientnet_b0", Base(56, 0.25, 2), classes=30)
pytestmark = [
    pytest.mark.filterwarnings("ignore::tinynet_core.scaling.released.ExtrapolationWarning"),
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
]


def models(n):
    """A sample whose accuracy grows with cost, and with a balance of r and d."""
    rng = np.random.default_rng(0)
    c = np.sort(rng.uniform(0.05, 1, n))
    r, d = 0.5 + 0.4 * c + rng.normal(0, 0.08, n), 0.7 + 0.3 * c + rng.normal(0, 0.1, n)
    return pd.DataFrame({"c": c, "r": r, "d": d, "macs": c * 5e6, "top1": 0.5 + 0.3 * c - (r - 0.9) ** 2 / 4})


def test_each_model_is_predicted_by_the_others():
    leave_one_out = run_cell("23", "def leave_one_out", np=np, tn=tn, robustness=robustness)["leave_one_out"]
    kept = models(7)
    left = leave_one_out(kept, TinyFormula(restarts=0))
    for i in (0, 4):
        others = kept.drop(index=i)
        formula = TinyFormula(restarts=0).fit(others.c, others.r, others.d)
        mean, std = formula.predict(kept.c[[i]], return_std=True)
        row = left.iloc[i]
        assert [row.r_formula, row.d_formula, row.r_std, row.d_std] == [*mean[0], *std[0]]
        assert row.r_z == (kept.r[i] - mean[0, 0]) / std[0, 0]
        assert row.d_mean == pytest.approx(others.d.mean())
    np.testing.assert_allclose(left[["r_released", "d_released"]], released_formula().predict(kept.c))
    assert left.extrapolated.tolist() == [True, False, False, False, False, False, True]


def test_errors_of_the_predictors_and_coverage():
    """Bands of 1 and 2 standard deviations, about."""
    code = run_cell("23", "def prediction_errors", np=np, pd=pd, norm=norm, binomtest=binomtest)
    z = np.array([0.0, 0.5, -0.9, 1.5, -1.5, 1.9, 2.5, -3.0, 0.1, 0.2])
    left = pd.DataFrame({"r": 0.8, "r_formula": 0.8 + 0.1 * z, "r_mean": 0.5, "r_released": 0.8, "r_z": z})
    left = left.join(left.rename(columns=lambda name: name.replace("r", "d", 1)).assign(d_z=0.0))
    errors = code["prediction_errors"](left)
    assert errors.loc["formula"].tolist() == pytest.approx([0.1 * np.sqrt((z @ z) / 10)] * 2)
    assert errors.r.tolist()[1:] == pytest.approx([0.3, 0])
    assert code["coverage"](left).set_index(["dimension", "level"]).inside.tolist() == [5, 8, 10, 10]


def test_the_networks_that_the_ways_propose():
    sample = models(40)
    ways = {"default": Variant(0.3), "linear": Variant(0.3, mean="linear"), "few": Variant(0.05), "all": Variant(None)}
    table = sensitivity(sample, ways, (0.5, 1.2, 0.01), NET)
    assert table.way.tolist() == [name for name in ways for _ in range(3)]
    assert table.models.tolist()[::3] == [12, 12, 2, len(pareto_front(sample.macs, sample.top1))]
    first = table.iloc[0]
    kept = sample.iloc[frontier(sample.macs, sample.top1, 0.3)]
    mean, std = TinyFormula().fit(kept.c, kept.r, kept.d).predict([0.5], return_std=True)
    assert [first.r, first.d, first.r_std] == pytest.approx([*mean[0].round(3), std[0, 0]])
    proposed = NET.at(Scale(first.r, first.d, first.w))
    assert (first.macs, first.pixels) == (proposed.complexity().macs, proposed.resolution)
    assert first.off == pytest.approx(first.macs / (0.5 * NET.at().complexity().macs) - 1)
    assert (table.iloc[:2][["r_moved", "d_moved", "w_moved", "r_sds", "d_sds"]] == 0).all(axis=None)
    other = table.iloc[3]
    assert other.r_sds == pytest.approx((other.r - first.r) / first.r_std)
    assert other.d_moved == pytest.approx(other.d - first.d)
    outside = "outside the fitted range"
    assert table.note.tolist()[:3] == ["", outside, f"{outside}, no width meets the budget"]
    assert np.isnan(table.w[2])
    assert table.note.tolist()[6:9] == ["too few models to fit: 2"] * 3
    assert table.iloc[6:9].r.isna().all()


def test_predictions_that_are_no_network_are_named():
    c = np.linspace(0.2, 1, 12)
    steep = pd.DataFrame({"c": c, "r": 0.05 + 1.2 * (c - 0.19), "d": 1.0, "macs": c * 5e6, "top1": c})
    table = sensitivity(steep, {"line": Variant(1.0, mean="linear")}, (0.04,), NET)
    assert table.note[0].startswith("no network: r = -")
    assert table.pixels[0] == 0
    assert np.isnan(table.w[0])


def test_half_samples():
    sample = models(60)
    half_samples = run_cell("23", "def half_samples", np=np, pd=pd, tn=tn, robustness=robustness, sample=sample)
    table = half_samples["half_samples"](0.4, (0.25, 0.5), draws=8)
    assert table.c.tolist() == [0.25, 0.5]
    assert (table[["r_low", "d_low"]].to_numpy() < table[["r_high", "d_high"]].to_numpy()).all()
    kept = sample.iloc[frontier(sample.macs, sample.top1, 0.4)]
    whole = TinyFormula(restarts=0).fit(kept.c, kept.r, kept.d).predict([0.25, 0.5])
    assert np.abs(table[["r_low", "d_low"]].to_numpy() - whole).max() < 0.3
