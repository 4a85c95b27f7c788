import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from scipy.stats import linregress

from tinynet_book import figures
from tinynet_book.analysis.comparison import Comparison
from tinynet_book.analysis.equal_cost import Lead, explained_share, lead, over_line

IMAGES = 1000


def comparison(top1, costs):
    rows = [
        {"model": name, "status": "done", "top1": x, "macs": costs[name], "params": 1, "key": f"{name}{i}"}
        for name, values in top1.items()
        for i, x in enumerate(values)
    ]
    return Comparison(pd.DataFrame(rows), IMAGES, "proxy")


def test_one_cost_by_scipy():
    rng = np.random.default_rng(0)
    cost = rng.uniform(1, 100, 40)
    time = cost**0.7 * np.exp(rng.normal(0, 0.3, 40))
    found = explained_share([cost], time)
    assert found.rho == pytest.approx(linregress(np.log(cost), np.log(time)).rvalue ** 2, abs=1e-12)
    assert 0 < found.low < found.rho < found.high < 1
    assert found.n == 40
    assert found == explained_share([cost], time)


def test_a_power_law_of_two_costs_explains_all():
    rng = np.random.default_rng(1)
    a, b = rng.uniform(1, 9, (2, 30))
    both = explained_share([a, b], 3 * a**0.5 * b**2)
    assert (both.rho, both.low) == (pytest.approx(1), pytest.approx(1))
    assert explained_share([a], 3 * a**0.5 * b**2).rho < 0.5
    assert np.isnan(explained_share([a], np.ones(30), resamples=5).rho)


def test_the_interval_covers():
    def true_share(slope, noise, spread):
        return slope**2 * spread / (slope**2 * spread + noise**2)

    rng, hits = np.random.default_rng(2), 0
    for i in range(60):
        x = rng.normal(0, 1, 60)
        found = explained_share([np.exp(x)], np.exp(x + rng.normal(0, 1, 60)), resamples=300, seed=i)
        hits += found.low <= true_share(1, 1, 1) <= found.high
    assert hits >= 50  # of 60; a true 95% gives fewer than 51 in one of 100 cases


@pytest.mark.parametrize(
    ("costs", "times", "message"),
    [
        ([[1, 2]], [1, 2], "at least 3 networks"),
        ([[1, 2, 3], [1, 2, 4]], [1, 2, 3], "at least 4 networks"),
        ([[1, 2, 3]], [[1, 2, 3]], "one-dimensional"),
        ([[1, 2, 0]], [1, 2, 3], "finite and above 0"),
        ([[1, 2, 3]], [1, 2, np.nan], "leave networks that were not timed out"),
    ],
)
def test_bad_costs(costs, times, message):
    with pytest.raises(ValueError, match=message):
        explained_share(costs, times)


def test_a_lead_over_the_line_by_hand():
    costs = {"tiny": 20.0, "small": 10.0, "large": 40.0, "huge": 80.0}
    compared = comparison({"tiny": [0.7], "small": [0.5], "large": [0.7], "huge": [0.9]}, costs)
    found = lead(compared, "tiny", ["huge", "small", "large"], costs)
    assert (found.cost, found.between) == (20.0, ("small", "large"))
    assert found.gap.value == pytest.approx(10)  # half-way between 10 and 40 on a logarithmic axis: 60%
    variance = 0.7 * 0.3 + 0.25 * 0.5 * 0.5 + 0.25 * 0.7 * 0.3
    assert found.gap.half == pytest.approx(196 * np.sqrt(variance / IMAGES))
    assert found.verdict == "too few seeds"
    names = {"tiny": 0.7, "small": 0.5, "large": 0.7, "huge": 0.9}
    seeds = comparison({name: [x, x + 0.01, x - 0.01] for name, x in names.items()}, costs)
    assert lead(seeds, "tiny", ["huge", "small", "large"], costs).verdict == "ahead"


def test_a_rival_of_the_same_cost_is_compared_alone():
    costs = {"tiny": 10.0, "small": 10.0, "large": 40.0}
    compared = comparison({"tiny": [0.5, 0.52, 0.51], "small": [0.6, 0.62, 0.61], "large": [0.9, 0.9, 0.9]}, costs)
    found = lead(compared, "tiny", ["small", "large"], costs)
    assert found.between == ("small",)
    assert found.gap == compared.difference("tiny", "small")
    assert found.verdict == "behind"


def test_just_outside_of_the_line_the_last_rival_counts():
    costs = {"tiny": 9.6, "small": 10.0, "middle": 20.0, "large": 40.0}
    compared = comparison({"tiny": [0.5], "small": [0.6], "middle": [0.7], "large": [0.9]}, costs)
    rivals = ["small", "middle", "large"]
    assert lead(compared, "tiny", rivals, costs).gap == compared.difference("tiny", "small")
    assert lead(compared, "tiny", rivals, costs | {"tiny": 41.9}).between == ("large",)
    assert lead(compared, "tiny", rivals, costs | {"tiny": 9.4}).gap is None
    assert lead(compared, "tiny", rivals, costs | {"tiny": 20.5}).between == ("middle", "large")


def test_nothing_is_said_outside_of_the_line():
    costs = {"tiny": 5.0, "small": 10.0, "large": 40.0}
    compared = comparison({"tiny": [0.5], "small": [0.6], "large": [0.9]}, costs)
    for changed in ({}, {"tiny": 50.0}, {"tiny": float("nan")}):
        found = lead(compared, "tiny", ["small", "large"], costs | changed)
        assert (found.gap, found.between, found.verdict) == (None, (), "outside")
    assert lead(compared, "tiny", ["small"], costs | {"tiny": 10.0}).verdict == "outside"
    assert lead(compared, "absent", ["small", "large"], costs).verdict == "outside"
    untimed = {"tiny": 20.0, "small": 10.0}
    assert lead(compared, "tiny", ["small", "large"], untimed).verdict == "outside"


@pytest.fixture
def models():
    rng = np.random.default_rng(0)
    macs = rng.uniform(1e5, 1e6, 12)
    frame = pd.DataFrame({"macs": macs, "params": macs / 3, "activations": macs / 5, "latency_ms": macs / 1e6})
    top1 = rng.uniform(0.2, 0.9, 12)
    frame = frame.assign(top1_mean=top1, frontier=top1 > 0.6, latency_low_ms=0.9 * frame.latency_ms)
    return frame.assign(latency_high_ms=1.1 * frame.latency_ms)


def test_figures_name_units_and_n(models):
    named = models[:2].assign(name=["TinyNet-A", "EfficientNet-B^-1"])
    half = {"TinyNet-A": 2.0, "EfficientNet-B^-1": 3.0}
    untimed = {"latency_ms": np.nan}
    figure = figures.accuracy_against_costs(models.assign(**untimed), named.assign(**untimed), half, 500, "proxy")
    labels = [axes.get_xlabel() for axes in figure.axes]
    assert labels == ["MACs (millions)", "parameters (millions)", "activations (millions)", "latency (ms)"]
    assert all(axes.get_ylabel() == "top-1 (%, proxy), 500 validation images" for axes in figure.axes)
    titles = [axes.get_title() for axes in figure.axes]
    assert titles[:3] == ["n = 12 random models, 2 compared"] * 3
    assert titles[3] == "n = 0 random models, 0 compared"
    shown = [t.get_text() for t in figure.legends[0].get_texts()]
    assert shown == ["random models", "their frontier in MACs", "TinyNet", "EfficientNet"]
    assert {t.get_text() for t in figure.axes[0].texts} == {"A", "B^-1"}
    figure = figures.latency_against_costs(models, {"macs": "MACs: R² = 1.00", "params": "parameters"})
    assert figure.axes[0].get_title() == "MACs: R² = 1.00, n = 12"
    assert figure.axes[0].get_legend().get_texts()[0].get_text() == "power 1.00"
    plt.close("all")


def test_figures_of_correlations_and_leads():
    rows = [("top-1", "sample", "MACs", 0.5, 0.2, 0.7, 9), ("latency", "sample", "MACs", 0.9, 0.8, 1.0, 8)]
    found = pd.DataFrame(rows, columns=["target", "group", "cost", "rho", "low", "high", "n"])
    figure = figures.cost_correlations(found, "models")
    assert [axes.get_xlabel()[:21] for axes in figure.axes] == ["Spearman's rho with t", "Spearman's rho with l"]
    compared = comparison({"a": [0.5], "b": [0.4]}, {"a": 1.0, "b": 1.0})
    inside = Lead("TinyNet-A", 1.0, ("b",), compared.difference("a", "b"))
    outside = Lead("TinyNet-B", 1.0, (), None)
    figure = figures.leads_at_equal_cost({"macs": [inside, outside], "params": [outside, outside]}, 3)
    (axes,) = figure.axes
    assert [t.get_text() for t in axes.get_yticklabels()] == ["TinyNet-A", "TinyNet-B"]
    assert axes.get_xlabel().endswith("3 seeds a network")
    plt.close("all")


def test_distances_from_a_line_and_their_interval():
    """The line has 20% at 1, 40% at 2 and 60% at 4; two models at 2 are 10 and 30 points above, one at 4 is on it."""
    each, mean = over_line([2, 2, 4], [0.5, 0.7, 0.6], [1, 4], [0.2, 0.6], [0.01, 0.02])
    assert each == pytest.approx([10, 30, 0])
    between = np.var([10, 30, 0], ddof=1) / 3
    rivals = (1 / 3 * 1) ** 2 + (2 / 3 * 2) ** 2  # the mean shares of the two ends, times their errors in points
    assert (mean.value, mean.half) == (pytest.approx(40 / 3), pytest.approx(1.96 * np.sqrt(between + rivals)))
    _, alone = over_line([2], [0.5], [1, 4], [0.2, 0.6], [0.01, 0.02])
    assert np.isnan(alone.half)


def test_the_interval_of_distances_from_a_line_covers():
    rng, covered = np.random.default_rng(0), 0
    for _ in range(500):
        macs = np.exp(rng.uniform(0, np.log(16), 20))
        line = rng.normal([0.2, 0.6], 0.03)
        _, mean = over_line(
            macs, 0.2 + 0.4 * np.log(macs) / np.log(16) + rng.normal(0, 0.1, 20), [1, 16], line, [0.03, 0.03]
        )
        covered += abs(mean.value) <= mean.half
    assert 0.91 < covered / 500 < 0.975
