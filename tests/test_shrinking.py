"""Budgets to networks: real costs meet them, the nearest network is found, and what cannot be met is said."""

import math

import numpy as np
import pytest
import torch

import tinynet_core as tn
from tinynet_core import Scale, UnreachableBudget, family, giant, network, shrink, solve_width, traced
from tinynet_core.cli import compared_text
from tinynet_core.scaling.shrink import compare
from tinynet_core.scaling.solve import Curve, solve

B0 = "efficientnet_b0"
C0 = network(B0).complexity().macs
pytestmark = pytest.mark.filterwarnings("ignore::tinynet_core.scaling.shrink.BudgetWarning")


def steps(x):
    return int(x * 10) ** 2


@pytest.mark.parametrize("budget", [1, 7, 50, 99, 100, 101, np.int64(3600), 9999, 10_000])
def test_nearest_step_is_found(budget):
    grid = {steps(x) for x in (*np.arange(0.05, 10, 0.01), 10)}
    found = solve(steps, budget, Curve(Scale, 0.05, 10, neutral=1, places=()))
    assert found.cost == steps(found.x) == steps(float(f"{found.x:.4g}"))  # also when typed in again
    assert abs(found.cost - budget) == min(abs(c - budget) for c in grid)
    assert found.error == pytest.approx((found.cost - budget) / budget)


@pytest.mark.parametrize("method", ["formula", "giant", "w"])
@pytest.mark.parametrize("c", [0.9, 0.25, 0.13])
def test_real_macs_meet_the_budget(method, c):
    found = shrink(B0, c * C0, method)
    assert found.complexity.macs == found.cost == network(B0, found.scale).complexity().macs
    assert found.error == pytest.approx(found.cost / (c * C0) - 1)
    assert abs(found.error) < 0.05


def test_a_network_that_is_off_the_budget_warns():
    with pytest.warns(
        tn.BudgetWarning, match=r"shrunk by d: the nearest network found .* off the budget of 185,000,000"
    ):
        shrink(B0, 185e6, "d")


def test_nearest_is_nearest():
    net, widths = family("ghostnet_a"), np.arange(0.02, 2, 0.004)
    for budget in (50e6, 202e6):
        found = solve_width(net, budget, 0.825, 0.85)
        assert abs(found.cost - budget) <= abs(net.screen(0.825, 0.85, widths).macs - budget).min()
    answer = shrink(net, params=5e6, method="w")
    assert abs(answer.cost - 5e6) <= abs(net.screen(1.0, 1.0, widths).params - 5e6).min()


@pytest.mark.parametrize("name", ["tinynet_a", "tinynet_b", "tinynet_c"])
def test_released_widths_come_back(name):
    released = network(name)
    width = solve_width(B0, released.complexity().macs, released.scale.r, released.scale.d)
    assert width.cost == released.complexity().macs
    assert width.x == pytest.approx(released.scale.w, abs=0.04)  # other widths give the same channels


@pytest.mark.parametrize("method", ["formula", "giant", "w"])
@pytest.mark.parametrize("fix", [{"r": 1.0}, {"d": 0.8}])
def test_what_is_fixed_stays_and_the_budget_is_met(method, fix):
    answer = shrink(B0, 0.4 * C0, method, fix=fix)
    assert {x: getattr(answer.scale, x) for x in fix} == fix
    assert abs(answer.error) < 0.03
    assert (answer.r_std is None) == ("r" in fix or method != "formula")


@pytest.mark.parametrize("fix", [{"r": 0.9, "d": 0.7}, {"r": 0.9, "w": 0.6}, {"d": 0.8, "w": 0.7}])
def test_of_two_fixed_the_third_is_solved_whatever_the_method(fix):
    assert shrink(B0, 0.4 * C0, "formula", fix=fix).scale == shrink(B0, 0.4 * C0, "giant", fix=fix).scale


@pytest.mark.parametrize("method", ["formula", "giant", "w"])
def test_all_of_several_budgets_hold_and_the_one_that_binds_is_named(method):
    """The whole network keeps to the parameters of the first."""
    for macs, params, binding in ((0.2 * C0, 50e6, "macs"), (0.2 * C0, 5e6, "macs"), (0.9 * C0, 2.5e6, "params")):
        answer = shrink(B0, macs, method, params=params)
        alone = shrink(B0, macs, method) if binding == "macs" else shrink(B0, method=method, params=params)
        assert (answer.budget, answer.scale) == (binding, alone.scale)
        assert answer.complexity.macs <= 1.01 * macs
        assert answer.complexity.params <= 1.01 * params


def test_each_method_moves_only_what_it_says():
    for method in "rdw":
        scale = shrink(B0, 0.5 * C0, method).scale
        assert [x for x in "rdw" if getattr(scale, x) != 1] == [method]
    s = shrink(B0, 0.5 * C0, "giant").scale
    powers = np.log((s.r, s.d, s.w)) / np.log((giant(1).r, giant(1).d, giant(1).w))
    assert powers == pytest.approx([powers[0]] * 3, abs=1e-3)


@pytest.mark.parametrize(
    ("arguments", "budgets", "message"),
    [
        *(((B0, bad), {}, "budget must be a finite number above 0") for bad in (0, math.nan, "100", True)),
        ((B0, 100e6, "d"), {}, r"shrunk by d: .* below the smallest reachable cost 173,2"),  # as in Table 1
        ((B0,), {}, "give a budget: one or more of macs, params, peak_activations, latency_ms"),
        ((B0, 1e8), {"fix": {"r": 1, "d": 1, "w": 1}}, "fix must hold one or two of r, d and w, got d, r, w"),
        ((B0, 1e8, "r"), {"fix": {"r": 1}}, "method 'r' moves r, and fix keeps it at 1: give another method"),
        ((B0, 1e8, "magic"), {}, "method must be one of"),
        ((B0, None, "r"), {"params": 2e6}, "every network that was tried costs 5,288,548: the method does not"),
        (("resnet50", 10e9), {}, r"the whole network has 4,089,184,256 MACs, and the formula makes it smaller"),
        ((B0, 12e6), {}, r"smallest reachable cost [\d,]+, at the formula's r = [\d.]+ and d = [\d.]+ for this budget"),
    ],
)
@pytest.mark.filterwarnings("ignore::tinynet_core.scaling.released.ExtrapolationWarning")
def test_bad_input(arguments, budgets, message):
    with pytest.raises(ValueError, match=message):
        shrink(*arguments, **budgets)


def test_the_default_formula_is_that_of_the_released_networks():
    formula, found = tn.released_formula(), shrink("ghostnet_a", 141e6)
    c0 = network("ghostnet_a").complexity().macs
    assert (found.scale.r, found.scale.d) == tuple(formula.predict([141e6 / c0])[0].round(3))
    _, std = formula.predict([found.cost / c0], return_std=True)
    assert (found.r_std, found.d_std) == pytest.approx(tuple(std[0]))


@pytest.mark.parametrize(
    ("budget", "method"),
    [("params", "w"), ("params", "formula"), ("peak_activations", "giant"), ("params", "d")],
)
def test_other_budgets_are_met_on_exact_counts(budget, method):
    wanted = {"d": 0.7}.get(method, 0.5) * getattr(network(B0).complexity(), budget)
    answer = shrink(B0, method=method, **{budget: wanted})
    assert answer.cost == getattr(network(B0, answer.scale).complexity(), budget)
    assert abs(answer.error) < (0.4 if method == "d" else 0.05)


@pytest.mark.parametrize(("net", "c"), [("ghostnet_a", 0.1), ("resnet50", 0.7)])
def test_the_formula_with_other_budgets_finds_what_its_curve_has(net, c):
    """The cost is not monotone along the formula: a network of a grid of MACs must be found again, or a nearer."""
    wanted = shrink(net, c * network(net).complexity().macs).complexity.peak_activations
    assert abs(shrink(net, peak_activations=wanted).error) < 0.04


def test_one_is_preferred_where_it_is_as_near_as_any():
    peak = network("resnet18").complexity().peak_activations
    assert shrink("resnet18", peak_activations=peak, method="w").scale == Scale()
    assert shrink(B0, C0, "giant").scale == Scale()
    proxy = family(B0, tn.Base(40, 0.35), classes=20)
    assert shrink(proxy, proxy.cost(Scale()).macs, "w").scale == Scale()


@pytest.fixture
def clock(monkeypatch):
    """Latency that is exactly 1 ms for every 20M MACs and 2 ms more; which networks were measured."""
    asked = []
    measure = lambda spec: asked.append(spec) or 2 + spec.complexity().macs / 20e6  # noqa: E731
    monkeypatch.setattr("tinynet_core.export.measure_latency", measure)
    return asked


@pytest.mark.parametrize("method", ["formula", "giant", "w"])
def test_latency_is_met_in_few_measurements(clock, method):
    answer = shrink(B0, latency_ms=9.0, method=method)
    assert answer.cost == pytest.approx(9.0, rel=0.03)
    assert answer.cost == 2 + answer.complexity.macs / 20e6
    assert len(clock) <= 5


def test_latency_out_of_reach(clock):
    with pytest.raises(UnreachableBudget, match=r"budget 50 ms is above the 21\.3 ms of the whole network"):
        shrink(B0, latency_ms=50.0)
    with pytest.raises(UnreachableBudget, match=r"1 ms would need .* MACs.*smallest reachable cost 173,"):
        shrink(B0, latency_ms=1.0, method="d")


def test_a_budget_that_the_whole_network_keeps_to_is_held_all_the_same():
    """With the formula a network of fewer multiply-adds can have more parameters than the whole one."""
    deep = tn.TinyFormula().fit([0.3, 0.6, 0.95], [0.4, 0.5, 0.6], [2.5, 2.6, 2.7])
    most = network("resnet50").complexity().params
    alone = shrink("resnet50", 2e9, formula=deep)
    assert alone.complexity.params > 1.01 * most
    with pytest.raises(UnreachableBudget, match="params, more than"):
        shrink("resnet50", 2e9, formula=deep, params=1.001 * most)


def test_a_network_that_cannot_be_exported_has_no_time_and_keeps_its_row():
    class Odd(torch.nn.Conv2d):
        def forward(self, x):
            return torch.fft.fft2(super().forward(x)).real

    found = compare(traced(lambda scale: Odd(3, round(16 * scale.w), 3), 32), [2e5], ["w"], latency=True)
    assert found.macs[0] > 1e5
    assert "cannot be exported to ONNX" in found.reason[0]
    assert "not timed: <lambda> cannot be exported" in compared_text(found)
