"""Scales, bases, the rules that tie resolution, depth and width together, and random candidates."""

import math

import numpy as np
import pytest

from tinynet_core import Base, Scale, eq5_width, family, giant, network, sample_scales, sample_scales_at
from tinynet_core.scaling.frontier import RANGE


@pytest.mark.parametrize("name", "rdw")
def test_a_scale_is_frozen_and_holds_positive_floats(name):
    for value in (0, math.nan, math.inf, "1", True):
        with pytest.raises(ValueError, match=rf"Scale\.{name} must be a finite number above 0, got"):
            Scale(**{name: value})
    with pytest.raises(AttributeError):
        setattr(Scale(), name, 2)


def test_pixels_are_those_of_the_released_networks_and_whole_ones_stay():
    assert [Base().pixels(r) for r in (0.86, 0.84, 0.825, 0.68, 0.475, 1)] == [192, 188, 184, 152, 106, 224]
    assert all(Base(224).pixels(side / 224) == side for side in range(8, 300))
    with pytest.raises(ValueError, match="leaves no pixel"):
        Base().pixels(0.001)


@pytest.mark.parametrize("bad", [{"resolution": 0}, {"resolution": 40.5}, {"width": 0}, {"divisor": 3}])
def test_base_refuses(bad):
    with pytest.raises(ValueError, match="must be"):
        Base(**bad)


def test_giant_formula_and_its_inverse():
    assert giant(0) == Scale()
    assert giant(3) == Scale(1.521, 1.728, 1.331)  # 1.15^3 is 1.520875
    assert giant(3).r * giant(-3).r == pytest.approx(1, abs=2e-4)
    assert giant(-60).d == pytest.approx(1.2**-60, rel=1e-3)


@pytest.mark.parametrize(
    ("c", "r", "d", "w"),
    [(0.9, 0.86, 1.2, 1.007), (0.5, 0.84, 1.1, 0.803), (0.25, 0.825, 0.85, 0.657), (0.06, 0.475, 0.6, 0.666)],
)
def test_eq5_on_the_released_triples(c, r, d, w):
    assert eq5_width(c, r, d) == pytest.approx(w, abs=5e-4)
    assert r**2 * d * eq5_width(c, r, d) ** 2 == pytest.approx(c)


def macs(scale, base=Base()):  # noqa: B008
    return network("efficientnet_b0", scale, base=base).complexity().macs


def test_samples_lie_in_the_range_and_the_window():
    scales = sample_scales("efficientnet_b0", 100, seed=3)
    values = np.array([(s.r, s.d, s.w) for s in scales])
    assert RANGE[0] <= values.min() < values.max() <= RANGE[1]
    costs = np.array([macs(s) for s in scales]) / macs(Scale())
    assert 0.03 <= costs.min() < costs.max() <= 1.05
    assert sample_scales("efficientnet_b0", 50, seed=3) == scales[:50]


@pytest.mark.parametrize("base", [Base(), Base(40, 0.35)])
def test_equal_cost_samples_have_equal_cost(base):
    for scale in sample_scales_at(family("efficientnet_b0", base), 10, 0.5, seed=1):
        assert macs(scale, base) / macs(Scale(), base) == pytest.approx(0.5, rel=0.03)
        assert RANGE[0] <= scale.w <= RANGE[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n": 0}, "n must be at least 1"),
        ({"n": 5, "window": (0.5, 0.1)}, "window must satisfy"),
        ({"n": 5, "window": (1000.0, 1001.0)}, "accepts too few"),
    ],
)
def test_bad_samples(arguments, message):
    with pytest.raises(ValueError, match=message):
        sample_scales("efficientnet_b0", **arguments)
