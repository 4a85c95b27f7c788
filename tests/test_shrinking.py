import warnings

import numpy as np
import pytest

from tinynet_core import (
    Base,
    BudgetWarning,
    Scale,
    TinyFormula,
    giant,
    network,
    released_formula,
    shrink,
    shrunk,
    solve_width,
)
from tinynet_core.latency import Latency
from tinynet_core.networks import SCALABLE
from tinynet_core.networks.efficientnet import TINYNETS
from tinynet_core.scaling.shrink import SMALLEST_INPUT, _path
from tinynet_core.scaling.solve import UnreachableBudget

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
        [np.log(s.r) / np.log(1.15)] * 3, abs=1e-3
    )
    f = shrink("efficientnet_b0", 0.5 * C0, "formula", formula)
    assert (f.r, f.d) == tuple(formula.predict([0.5])[0].round(3))


@pytest.mark.parametrize("name", ["efficientnet_b0", "resnet18", "ghostnet_a"])
def test_the_giant_formula_ends_at_the_smallest_input(name):
    scale_at, low, _, _ = _path("giant", SCALABLE[name].resolution)
    assert SCALABLE[name].pixels(scale_at(low).r) == SMALLEST_INPUT


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
        (("efficientnet_b0",), "give exactly one budget of macs, params, peak_activations, latency_ms, got none"),
        (("efficientnet_b0", 1e8, "magic"), "method must be one of"),
        (("tinynet_a", 1e8, "w"), "must be a scalable one"),
        (("efficientnet_b00", 1e8, "w"), "unknown network 'efficientnet_b00', nearest: efficientnet_b0"),
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


@pytest.mark.parametrize(("net", "macs"), [("efficientnet_b0", 100e6), ("resnet50", 1.8e9), ("ghostnet_a", 141e6)])
def test_the_default_formula_is_that_of_the_released_networks(net, macs):
    formula = released_formula()
    assert len(formula.c_) == 6
    with warnings.catch_warnings():
        warnings.simplefilter("error", BudgetWarning)
        scale = shrink(net, macs)
    assert network(net, scale).complexity().macs == pytest.approx(macs, rel=0.01)
    c0 = network(net).complexity().macs
    assert (scale.r, scale.d) == tuple(formula.predict([macs / c0])[0].round(3))


def test_the_released_formula_is_near_what_it_was_fitted_on():
    formula = released_formula()
    for name, scale in TINYNETS.items():
        mean, std = formula.predict([network(name).complexity().macs / C0], return_std=True)
        assert (abs(mean[0] - (scale.r, scale.d)) < 1.96 * std[0]).all(), name


def test_shrunk_tells_all():
    answer = shrunk("efficientnet_b0", "macs", 100e6)
    assert answer.cost == answer.spec.complexity().macs
    assert answer.error == pytest.approx(answer.cost / 100e6 - 1)
    _, std = released_formula().predict([answer.cost / C0], return_std=True)
    assert (answer.r_std, answer.d_std) == pytest.approx(tuple(std[0]))
    assert shrunk("efficientnet_b0", "macs", 100e6, "w").r_std is None


@pytest.mark.parametrize("net", ["efficientnet_b0", "resnet18", "ghostnet_a_hswish"])
@pytest.mark.parametrize(
    ("budget", "method"),
    [("params", "w"), ("params", "formula"), ("peak_activations", "r"), ("peak_activations", "giant"), ("params", "d")],
)
def test_other_budgets_are_met_on_exact_counts(net, budget, method):
    wanted = {"d": 0.7}.get(method, 0.5) * getattr(network(net).complexity(), budget)
    answer = shrunk(net, budget, wanted, method)
    assert answer.cost == getattr(network(net, answer.scale).complexity(), budget)
    assert abs(answer.error) < (0.4 if method == "d" else 0.05)


def test_no_scale_of_the_path_is_nearer():
    """Against every width on a fine grid."""
    answer = shrunk("ghostnet_a", "params", 5e6, "w")
    grid = [network("ghostnet_a", Scale(w=w)).complexity().params for w in np.arange(0.2, 1.2, 0.002)]
    assert abs(answer.cost - 5e6) == min(abs(p - 5e6) for p in grid)


def test_a_budget_that_a_dimension_does_not_move_says_what_is_reachable():
    with pytest.raises(
        UnreachableBudget, match=r"shrunk by r: .*smallest reachable cost 5,288,548 \(the largest is 5,288"
    ):
        shrink("efficientnet_b0", params=2e6, method="r")


def test_two_budgets_are_refused():
    with pytest.raises(ValueError, match=r"exactly one budget of .*, got macs, params"):
        shrink("efficientnet_b0", 1e8, params=1e6)
    with pytest.raises(ValueError, match="budget must be one of macs, params"):
        shrunk("efficientnet_b0", "flops", 1e8)


@pytest.fixture
def clock(monkeypatch):
    """Latency that is exactly 1 ms for every 20M MACs and 2 ms more, without measuring."""
    asked = []

    def measure(spec):
        asked.append(spec)
        ms = 2 + spec.complexity().macs / 20e6
        return Latency(ms, ms, ms, 1, 1, "a clock")

    monkeypatch.setattr("tinynet_core.latency.measure_latency", measure)
    return asked


@pytest.mark.parametrize("method", ["formula", "giant", "w"])
def test_latency_is_met_in_few_measurements(clock, method):
    answer = shrunk("efficientnet_b0", "latency_ms", 9.0, method)
    assert answer.cost == pytest.approx(9.0, rel=0.03)
    assert answer.cost == 2 + answer.spec.complexity().macs / 20e6
    assert len(clock) <= 5


def test_latency_out_of_reach(clock):
    with pytest.raises(
        UnreachableBudget,
        match=r"budget 50 is above the largest reachable 21\.3, that of the whole network \(latency_ms\)",
    ):
        shrink("efficientnet_b0", latency_ms=50.0)
    with pytest.raises(
        UnreachableBudget,
        match=r"budget 1 would need .* MACs.*smallest reachable cost 173,.* measured: 10\.\d+ at|budget 1 would need",
    ):
        shrink("efficientnet_b0", latency_ms=1.0, method="d")


def test_a_dimension_that_does_not_move_the_budget_is_refused():
    with pytest.raises(UnreachableBudget, match=r"the method does not change it: smallest reachable cost 25,557,032"):
        shrink("resnet50", params=25.5e6, method="r")


def test_one_is_preferred_where_it_is_as_near_as_any():
    peak = network("resnet18").complexity().peak_activations
    assert shrink("resnet18", peak_activations=peak, method="w") == Scale()
    assert shrink("efficientnet_b0", C0, "giant") == Scale()


@pytest.mark.parametrize(("net", "budget"), [("ghostnet_a", "peak_activations"), ("resnet50", "peak_activations")])
def test_the_formula_with_other_budgets_finds_what_its_curve_has(net, budget):
    """The cost is not monotone along the formula: every network of a grid of MACs must be found again, or a nearer."""
    c0 = network(net).complexity().macs
    for c in (0.1, 0.18, 0.4, 0.7):
        wanted = getattr(network(net, shrink(net, c * c0)).complexity(), budget)
        assert abs(shrunk(net, budget, wanted).error) < 0.04


def test_formula_out_of_its_range_names_the_range():
    with pytest.raises(UnreachableBudget, match=r"not a network; the formula was fitted for 258,.* to 4,089,184,256"):
        shrink("resnet50", 10e9)
