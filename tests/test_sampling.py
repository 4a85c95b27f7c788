"""Random candidates: uniform within their window, the same for a seed, and at one cost where asked."""

import numpy as np
import pytest

from tinynet_core import Base, Scale, family, network, sample_scales, sample_scales_at
from tinynet_core.scaling.frontier import RANGE


def macs(scale, base=Base()):  # noqa: B008
    return network("efficientnet_b0", scale, base=base).complexity().macs


def test_samples_lie_in_the_range_and_the_window():
    scales = sample_scales("efficientnet_b0", 100, seed=3)
    values = np.array([(s.r, s.d, s.w) for s in scales])
    assert RANGE[0] <= values.min() < values.max() <= RANGE[1]
    costs = np.array([macs(s) for s in scales]) / macs(Scale())
    assert 0.03 <= costs.min() < costs.max() <= 1.05
    assert sample_scales("efficientnet_b0", 50, seed=3) == scales[:50]
    assert sample_scales("efficientnet_b0", 50, seed=4) != scales[:50]


def test_acceptance_rate_is_the_one_of_uniform_sampling():
    """14.3% of uniform triples lie in the paper's window."""
    c = family("efficientnet_b0").screen(*np.random.default_rng(1).uniform(*RANGE, (3, 4000))).macs / macs(Scale())
    assert np.mean((c >= 0.03) & (c <= 1.05)) == pytest.approx(0.143, abs=0.02)


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
