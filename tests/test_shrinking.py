import warnings

import numpy as np
import pytest

from tinynet_core import Base, BudgetWarning, Scale, TinyFormula, giant, network, shrink, solve_width
from tinynet_core.budget import UnreachableBudget

C0 = network("efficientnet_b0").complexity().macs


def real_macs(scale, **options):
    return network("efficientnet_b0", scale, **options).complexity().macs


@pytest.fixture
def formula():
    c = np.linspace(0.04, 1, 12)
    return TinyFormula().fit(c, 0.4 + 0.55 * c, 0.6 + 0.5 * c)


@pytest.mark.parametrize("method", ["formula", "giant", "w"])
@pytest.mark.parametrize("c", [0.9, 0.5, 0.25, 0.13])
def test_real_macs_meet_the_budget(method, c, formula):
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        scale = shrink("efficientnet_b0", c * C0, method, formula)
    off = abs(real_macs(scale) / (c * C0) - 1)
    assert off < 0.01 or any(isinstance(w.message, BudgetWarning) for w in said)
    assert off < 0.05


def test_nearest_is_nearest():
    """No width on a fine grid comes closer to the budget."""
    for budget in (50e6, 100e6, 202e6):
        found = solve_width("efficientnet_b0", budget, 0.825, 0.85)
        grid = [real_macs(Scale(0.825, 0.85, w)) for w in np.arange(0.02, 2, 0.004)]
        assert abs(found.cost - budget) <= min(abs(m - budget) for m in grid)


@pytest.mark.parametrize(("name", "c"), [("tinynet_a", 0.873), ("tinynet_b", 0.52), ("tinynet_c", 0.258)])
def test_released_widths_come_back(name, c):
    released = network(name)
    width = solve_width("efficientnet_b0", released.complexity().macs, released.scale.r, released.scale.d)
    assert width.cost == released.complexity().macs
    assert width.x == pytest.approx(released.scale.w, abs=0.04)  # other widths give the same channels


def test_each_method_moves_only_what_it_says(formula):
    assert shrink("efficientnet_b0", 0.5 * C0, "w").r == 1.0
    assert shrink("efficientnet_b0", 0.5 * C0, "r").w == 1.0
    depth = shrink("efficientnet_b0", 0.5 * C0, "d")
    assert (depth.r, depth.w) == (1.0, 1.0)
    s = shrink("efficientnet_b0", 0.5 * C0, "giant")
    assert np.log((s.r, s.d, s.w)) / np.log((giant(1).r, giant(1).d, giant(1).w)) == pytest.approx(
        [np.log(s.r) / np.log(1.15)] * 3
    )
    f = shrink("efficientnet_b0", 0.5 * C0, "formula", formula)
    assert (f.r, f.d) == pytest.approx(tuple(formula.predict([0.5])[0]))


def test_depth_underflow_is_the_papers():
    """Table 1: B0 at its minimum depth still costs 173M."""
    with pytest.raises(UnreachableBudget, match=r"efficientnet_b0 shrunk by d: .*smallest reachable cost 173,2"):
        shrink("efficientnet_b0", 100e6, "d")


def test_a_coarse_budget_is_met_as_near_as_it_goes_and_said():
    with pytest.warns(BudgetWarning, match=r"nearest reachable network .* off the budget"):
        shrink("efficientnet_b0", 185e6, "d")


def test_it_works_on_a_proxy_baseline_too():
    base = Base(40, 0.35)
    c0 = real_macs(Scale(), base=base, num_classes=20)
    scale = shrink("efficientnet_b0", c0 / 2, "w", base=base, num_classes=20)
    assert real_macs(scale, base=base, num_classes=20) / c0 == pytest.approx(0.5, rel=0.05)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("efficientnet_b0", 1000, "w"), "below the smallest reachable cost"),
        (("efficientnet_b0", 1e15, "w"), "above the largest reachable cost"),
        (("efficientnet_b0", -5, "w"), "budget must be"),
        (("efficientnet_b0", 1e8, "formula"), "needs formula="),
        (("efficientnet_b0", 1e8, "magic"), "method must be one of"),
        (("tinynet_a", 1e8, "w"), "must be a scalable one"),
    ],
)
def test_bad_input(arguments, message):
    with pytest.raises(ValueError, match=message):
        shrink(*arguments)


def test_a_formula_that_predicts_no_network_says_so():
    c = np.linspace(0.5, 1, 8)
    falling = TinyFormula().fit(c, np.linspace(0.01, 2, 8), np.linspace(0.01, 2, 8))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if (falling.predict([0.3]) > 0).all():
            pytest.fail("the fixture no longer predicts below zero")
        with pytest.raises(UnreachableBudget, match="not a network"):
            shrink("efficientnet_b0", 0.3 * C0, "formula", falling)
