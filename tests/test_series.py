"""Which networks the pages compare: their costs, their multipliers, their recipes and their seeds."""

from functools import cache

import pandas as pd
import pytest

from tinynet_core import Study, network, released_formula
from tinynet_core.networks.efficientnet import TINYNETS
from tinynet_core.scaling.solve import UnreachableBudget
from tinynet_core.study.pages import PAGES, series, stages
from tinynet_core.study.presets import load_preset
from tinynet_core.study.series import TINY_OF_PHI, Sample, Series, duel, giant, giant_label, seeded, tiny_label

pytestmark = pytest.mark.filterwarnings("error::UserWarning")
PRESETS = ("smoke", "reduced", "creatures", "imagenet100", "imagenet1k")
PROXIES = ("smoke", "reduced", "creatures")
COMPARING = [
    name for name, page in PAGES.items() if (page.series or page.fitted) and name not in ("longer", "inherited")
]
ASIDE = {"table2", "fig4", "table6"}
"""Pages that no main question rests on."""
FAR = {("reduced", "resolution only, c = 0.5"): 0.31, ("creatures", "resolution only, c = 0.5"): 0.31}
"""Rows that whole pixels keep more than 10% off their budget, and how far."""
RIVALS = {
    "table2": dict.fromkeys(
        ("ResNet-34", "ResNet-50-A", "ResNet-50-B", "Shrunken by EfficientNet rule, 1.8B"), "Baseline ResNet-50"
    ),
    "table6": {"GhostNet-B": "GhostNet-1.5x", "GhostNet-C": "GhostNet-1.0x", "GhostNet-D": "GhostNet-0.5x"},
}
"""Rows that keep the ratio of their cost to that of another row, in a proxy as at the paper's size."""
MODELS = pd.DataFrame(
    [(0.9, 0.8, 1.1, 0.7), (0.52, 0.9, 1.2, 0.6), (0.27, 0.7, 0.9, 0.5), (0.14, 0.7, 0.7, 0.4), (0.07, 0.5, 0.6, 0.3)],
    columns=["c", "r", "d", "top1"],
).assign(status="done")
"""A random sample of five, of which the more accurate are the larger."""


@cache
def made(page: str, name: str) -> Series:
    """The series of a page; the sample is ``MODELS``, the formula that of the TinyNets."""
    preset, about = load_preset(name), PAGES[page]
    return about.series(preset) if about.series else about.fitted(preset, Sample(MODELS, released_formula()))


def macs(series: Series, row: str) -> int:
    return series[row][0].spec().complexity().macs


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("page", COMPARING)
def test_rows_are_distinct_have_their_seeds_and_meet_the_budget_in_their_name(page, name):
    series, preset = made(page, name), load_preset(name)
    assert series
    for row, experiments in series.items():
        aside = page in ASIDE or row.endswith(("+ RA", "fixed head"))
        assert experiments == seeded(experiments[0], preset.seeds_aside if aside else preset.compared_seeds)
        if "c = " in row and name in PROXIES:
            off = macs(series, row) / (float(row.partition("c = ")[2]) * preset.c0) - 1
            assert off == pytest.approx(FAR.get((name, row), 0), abs=0.005 if (name, row) in FAR else 0.1), row
    keys = {tuple(e.key for e in experiments) for experiments in series.values()}
    may_meet = (page, name) == ("duel", "smoke")  # two ways to one network
    assert len(keys) == len(series) or may_meet
    assert not series.keys() & series.unreachable.keys()


@pytest.mark.parametrize("name", PROXIES)
def test_ways_move_what_they_say_and_a_duel_trains_nothing_that_another_page_has(name):
    preset, series, table3 = load_preset(name), made("duel", name), made("table3", name)
    moved = {"resolution only": "r", "depth only": "d", "width only": "w"}
    for (way, _), row in series.ways.items():
        if row in series:
            assert series[row][0].head == ("scaled" if way == "giants" else "fixed")
            assert way not in moved or all(getattr(series[row][0].scale, x) == 1 for x in "rdw" if x != moved[way])
    for row, runs in made("fig6", name).items():
        assert row == "EfficientNet-B0" or series[row] == runs
    for phi, tiny in TINY_OF_PHI.items():
        if 2.0**-phi in preset.budgets:
            rival = series[f"giants, c = {2.0**-phi:g}"]
            assert rival[0] == giant(preset, phi)
            assert rival == table3[giant_label(phi)]
            assert series[f"TinyNet as released, c = {2.0**-phi:g}"] == table3[tiny_label(tiny)]


def test_the_ways_of_one_budget_are_trained_longer_with_all_shares_of_the_schedule():
    preset = load_preset("creatures")
    plan, usual, long = preset.longer, made("duel", "creatures"), made("longer", "creatures")
    assert long.keys() == {row for row in usual if row.endswith(f", c = {plan.c:g}")}
    for row, (first, *_) in long.items():
        assert first.spec() == usual[row][0].spec()
        assert first.recipe == preset.recipe.scaled(epochs=plan.times * preset.recipe.epochs)
    assert long.beside == [e for row in long for e in usual[row]]


@pytest.mark.parametrize("name", PROXIES)
def test_tinynets_keep_their_resolution_and_depth_and_table_3_halves_the_cost_at_every_phi(name):
    for page in ("table1", "table3", "fig4"):
        for row, (first, *_) in made(page, name).items():
            if row.startswith("TinyNet"):
                released = TINYNETS[f"tinynet_{row[len('TinyNet-')].lower()}"]
                assert (first.scale.r, first.scale.d) == (released.r, released.d)
                assert first.head == "fixed"
    preset, series = load_preset(name), made("table3", name)
    assert macs(series, "Baseline EfficientNet-B0") == preset.c0
    share = network("tinynet_a").complexity().macs / network("efficientnet_b0").complexity().macs
    assert macs(series, "TinyNet-A") == pytest.approx(share * preset.c0, rel=0.02)
    for phi, tiny in TINY_OF_PHI.items():
        for row in (giant_label(phi), f"{giant_label(phi)}, fixed head", tiny_label(tiny)):
            assert series[row][0].head == ("scaled" if row == giant_label(phi) else "fixed")
            assert macs(series, row) == pytest.approx(2.0**-phi * preset.c0, rel=0.1)


@pytest.mark.parametrize("name", PROXIES)
@pytest.mark.parametrize("page", RIVALS)
def test_networks_of_other_families_keep_their_ratio_to_the_rival(page, name):
    series, papers = made(page, name), made(page, "imagenet1k")
    for row, rival in RIVALS[page].items():
        ratio = macs(papers, row) / macs(papers, rival)
        assert macs(series, row) / macs(series, rival) == pytest.approx(ratio, rel=0.07 if page == "table2" else 0.03)
        if own := network(papers[row][0].network).scale:
            assert (series[row][0].scale.r, series[row][0].scale.d) == (own.r, own.d)


def test_at_the_papers_size_tables_are_the_released_networks():
    names = {"Baseline EfficientNet-B0": "efficientnet_b0", "EfficientNet-B⁻⁴": "efficientnet_b-4"}
    names |= {f"TinyNet-{x}": f"tinynet_{x.lower()}" for x in "ABCDE"}
    names |= {f"GhostNet-{x}": f"ghostnet_{x.lower()}" for x in "ABCD"}
    names |= {f"GhostNet-{x}x": f"ghostnet_{x.replace('.', '')}0" for x in ("0.5", "1.0", "1.5")}
    rows = {**made("table3", "imagenet1k"), **made("table6", "imagenet1k")}
    for row, name in names.items():
        assert rows[row][0].spec().complexity() == network(name).complexity()


def test_random_search_keeps_r_and_d_of_the_best_near_the_budget_and_what_cannot_be_had_says_why():
    """Of five models never three are inside the window, so the three nearest in ratio count, the largest is best."""
    series = made("duel", "reduced")
    for c, r, d in ((0.75, 0.8, 1.1), (0.5, 0.8, 1.1), (0.25, 0.9, 1.2), (0.125, 0.7, 0.9)):
        (first, *_) = series[f"random search, c = {c:g}"]
        assert (first.scale.r, first.scale.d) == (r, d), c
    with pytest.raises(UnreachableBudget, match=r"c = 0.0625 cannot be reached: .* smallest reachable cost"):
        series["random search, c = 0.0625"]
    failed = duel(load_preset("reduced"), Sample(MODELS.assign(status="failed"), released_formula()))
    assert failed.unreachable["random search, c = 0.5"] == "none of 5 models of the random sample finished"


def test_a_duel_under_a_preset_that_is_sampled_on_another(monkeypatch):
    """The sample and its formula are those of the other preset, the networks those of whoever asks."""

    def sampled_by(study):
        return Sample(MODELS.assign(r=0.8 if study.preset.name == "imagenet100" else 0.5), released_formula())

    monkeypatch.setattr(Study, "sample", sampled_by)
    study = Study("imagenet1k", store="none", train=False)
    mine, small = series(study, "duel"), study.sampled.preset
    (first,) = mine["random search, c = 0.5"]
    assert (first.dataset, first.scale.r) == (study.preset.dataset, 0.8)
    page = [e for stage in stages(study, ["duel"]) for e in stage]
    assert {e.dataset for e in page} == {small.dataset}
    assert sum(e.scale.r == 0.8 for e in page) == len(small.budgets) * small.compared_seeds
    assert not set(mine.all()) & set(page)
