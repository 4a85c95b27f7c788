"""Which networks the pages compare: their costs, their multipliers, their recipes and their seeds."""

import pandas as pd
import pytest

from tinynet_book.paper import costs
from tinynet_core import Study, network, released_formula
from tinynet_core.networks.efficientnet import TINYNETS
from tinynet_core.networks.spec import Complexity
from tinynet_core.scaling.scale import Scale
from tinynet_core.scaling.solve import UnreachableBudget
from tinynet_core.study.pages import PAGES, series, stages
from tinynet_core.study.presets import load_preset
from tinynet_core.study.series import (
    TINY_OF_PHI,
    Sample,
    Series,
    duel,
    giant,
    seeded,
    tiny_label,
)

pytestmark = [
    pytest.mark.filterwarnings("ignore::tinynet_core.scaling.shrink.BudgetWarning"),
    pytest.mark.filterwarnings("ignore::tinynet_core.scaling.formula.ExtrapolationWarning"),
]
PRESETS = ("smoke", "reduced", "creatures", "imagenet100", "imagenet1k")
PROXIES = ("smoke", "reduced", "creatures")
COMPARING = [name for name, page in PAGES.items() if (page.series or page.fitted) and name != "longer"]
ASIDE = {"table2", "fig4", "table6", "heads"}
"""Pages that no main question rests on."""
FAR = {
    ("reduced", "resolution only, c = 0.5"): 0.31,
    ("creatures", "resolution only, c = 0.5"): 0.31,
    ("smoke", "ResNet-18"): 0.21,
    ("creatures", "ResNet-18"): 0.19,
}
"""Rows that whole pixels, or a stem that does not shrink, keep more than 15% off their budget, and how far."""
RESNETS = {
    "Baseline ResNet-50": "resnet50",
    "ResNet-34": "resnet34",
    "Shrunken by EfficientNet rule, 3.7B": "resnet50_giant_a",
    "ResNet-50-A": "resnet50_a",
    "ResNet-18": "resnet18",
    "Shrunken by EfficientNet rule, 1.8B": "resnet50_giant_b",
    "ResNet-50-B": "resnet50_b",
}
GHOSTNETS = {
    "GhostNet-B": ("ghostnet_b", "GhostNet-1.5x", "ghostnet_150"),
    "GhostNet-C": ("ghostnet_c", "GhostNet-1.0x", "ghostnet_100"),
    "GhostNet-D": ("ghostnet_d", "GhostNet-0.5x", "ghostnet_050"),
}
MODELS = pd.DataFrame(
    [(0.9, 0.8, 1.1, 0.7), (0.52, 0.9, 1.2, 0.6), (0.27, 0.7, 0.9, 0.5), (0.14, 0.7, 0.7, 0.4), (0.07, 0.5, 0.6, 0.3)],
    columns=["c", "r", "d", "top1"],
).assign(status="done")
"""A random sample of five, of which the more accurate are the larger."""
MADE: dict[tuple[str, str], Series] = {}


def made(page: str, name: str) -> Series:
    """The series of a page, made once for all tests; the sample is ``MODELS``, the formula that of the TinyNets."""
    if (page, name) not in MADE:
        preset = load_preset(name)
        about = PAGES[page]
        sample = Sample(MODELS, released_formula())
        MADE[page, name] = about.series(preset) if about.series else about.fitted(preset, sample)
    return MADE[page, name]


def cost(series: Series, row: str) -> Complexity:
    return series[row][0].spec().complexity()


def check(preset: str, row: str, macs: int, wanted: float, near: float) -> None:
    assert macs / wanted - 1 == pytest.approx(FAR.get((preset, row), 0), abs=0.005 if (preset, row) in FAR else near)


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("page", COMPARING)
def test_rows_are_distinct_and_have_their_seeds(page, name):
    series, preset = made(page, name), load_preset(name)
    assert series
    for row, experiments in series.items():
        aside = page in ASIDE or row.endswith("+ RA")
        seeds = preset.seeds_aside if aside else preset.compared_seeds
        assert experiments == seeded(experiments[0], seeds)
        assert len({e.key for e in experiments}) == seeds
    keys = {tuple(e.key for e in experiments) for experiments in series.values()}
    may_meet = (page, name) in {("duel", "smoke"), ("heads", "creatures")}  # two ways to one network
    assert len(keys) == len(series) or may_meet
    assert not series.keys() & series.unreachable.keys()


def test_the_ways_of_one_budget_are_trained_longer_with_all_shares_of_the_schedule():
    preset = load_preset("creatures")
    plan, usual, long = preset.longer, made("duel", "creatures"), made("longer", "creatures")
    assert long.keys() == {row for row in usual if row.endswith(f", c = {plan.c:g}")}
    assert len(long) >= 6
    for row, runs in long.items():
        assert runs == seeded(runs[0], plan.seeds)
        assert runs[0].spec() == usual[row][0].spec()
        recipe = runs[0].recipe
        assert recipe.epochs == plan.times * preset.recipe.epochs
        assert recipe.warmup_epochs / recipe.epochs == preset.recipe.warmup_epochs / preset.recipe.epochs
        assert recipe.ema_decay**plan.times == pytest.approx(preset.recipe.ema_decay)
    assert made("longer", "reduced") == {}


@pytest.mark.parametrize("name", PROXIES)
@pytest.mark.parametrize("page", ["table1", "fig6"])
def test_single_dimensions_and_the_formula_meet_their_budgets(page, name):
    preset, series = load_preset(name), made(page, name)
    budgeted = [row for row in series if "c = " in row]
    expected = {0.5, 0.25} if page == "table1" else set(preset.budgets)
    assert {float(row.partition("c = ")[2]) for row in [*budgeted, *series.unreachable]} == expected
    assert len(budgeted) + len(series.unreachable) == 4 * len(expected)
    for row in budgeted:
        check(name, row, cost(series, row).macs, float(row.partition("c = ")[2]) * preset.c0, 0.1)
    moved = {"resolution only": "r", "depth only": "d", "width only": "w"}
    for row in budgeted:
        scale, way = series[row][0].scale, row.partition(",")[0]
        assert all(getattr(scale, x) == 1 for x in "rdw" if way in moved and x != moved[way])
        assert series[row][0].head == "fixed"


@pytest.mark.parametrize("name", PRESETS)
def test_depth_alone_ends_at_one_block_a_stage(name):
    """What cannot be had names the smallest cost there is: that of one block a stage."""
    smallest = load_preset(name).spec(Scale(d=1e-3)).complexity().macs
    reason = made("table1", name).unreachable["depth only, c = 0.25"]
    assert f"below the smallest reachable cost {smallest:,}" in reason
    assert "depth only, c = 0.5" in made("table1", name)


@pytest.mark.parametrize("name", PROXIES)
@pytest.mark.parametrize("page", ["table1", "table3", "fig4", "heads"])
def test_tinynets_keep_their_resolution_and_depth(page, name):
    tiny = {row: runs for row, runs in made(page, name).items() if row.startswith("TinyNet")}
    assert tiny
    for row, (first, *_) in tiny.items():
        released = TINYNETS[f"tinynet_{row[len('TinyNet-')].lower()}"]
        assert (first.scale.r, first.scale.d) == (released.r, released.d)
        assert first.head == ("scaled" if "scaled" in row else "fixed")


@pytest.mark.parametrize("name", PROXIES)
def test_table3_halves_the_cost_at_every_phi(name):
    preset, series = load_preset(name), made("table3", name)
    assert cost(series, "Baseline EfficientNet-B0").macs == preset.c0
    share = network("tinynet_a").complexity().macs / network("efficientnet_b0").complexity().macs
    assert cost(series, "TinyNet-A").macs == pytest.approx(share * preset.c0, rel=0.02)
    for phi, tiny in TINY_OF_PHI.items():
        for row in (f"EfficientNet-B^-{phi}", tiny_label(tiny)):
            check(name, row, cost(series, row).macs, 2.0**-phi * preset.c0, 0.08)


@pytest.mark.parametrize("name", PROXIES)
def test_resnets_keep_their_shares(name):
    series = made("table2", name)
    whole = cost(series, "Baseline ResNet-50").macs
    full = {row: network(net).complexity().macs for row, net in RESNETS.items()}
    assert [*series] == [*RESNETS]
    for row, net in RESNETS.items():
        check(name, row, cost(series, row).macs, full[row] / full["Baseline ResNet-50"] * whole, 0.07)
        if "giant" in net or net[-2:] in ("_a", "_b"):
            own, scale = network(net).scale, series[row][0].scale
            assert (scale.r, scale.d) == (own.r, own.d)


@pytest.mark.parametrize("name", PROXIES)
def test_ghostnets_keep_their_ratio_to_the_rival(name):
    series = made("table6", name)
    for row, (net, rival, rival_net) in GHOSTNETS.items():
        own = network(net)
        ratio = own.complexity().macs / network(rival_net).complexity().macs
        check(name, row, cost(series, row).macs, ratio * cost(series, rival).macs, 0.03)
        assert (series[row][0].scale.r, series[row][0].scale.d) == (own.scale.r, own.scale.d)


@pytest.mark.parametrize("name", PROXIES)
def test_heads_are_equal_in_what_their_row_says(name):
    preset, series = load_preset(name), made("heads", name)
    assert not series.unreachable
    phis = [phi for phi in TINY_OF_PHI if 2.0**-phi in preset.budgets]
    assert len(series) == 6 * len(phis)
    assert len(phis) >= 2
    for phi in phis:
        for head in ("fixed", "scaled"):
            tiny, giant = f"{tiny_label(TINY_OF_PHI[phi])}, {head} head", f"EfficientNet-B^-{phi}, {head} head"
            for row in (tiny, giant):
                assert cost(series, row).macs == pytest.approx(2.0**-phi * preset.c0, rel=0.1)
            wanted = cost(series, tiny).params
            assert cost(series, f"{giant}, equal parameters").params == pytest.approx(wanted, rel=0.07)
            assert {series[row][0].head for row in (tiny, giant, f"{giant}, equal parameters")} == {head}


def test_the_paper_heads_are_rows_of_table_3():
    """TinyNet with the fixed and EfficientNet-B^-phi with the scaled head are trained once for both pages."""
    heads, table3 = made("heads", "reduced"), made("table3", "reduced")
    for phi, tiny in TINY_OF_PHI.items():
        assert heads[f"{tiny_label(tiny)}, fixed head"] == table3[tiny_label(tiny)]
        assert heads[f"EfficientNet-B^-{phi}, scaled head"] == table3[f"EfficientNet-B^-{phi}"]


def test_at_the_papers_size_table_3_is_the_released_networks():
    """Millions of multiply-adds and parameters of timm's modules of the same networks."""
    series = made("table3", "imagenet1k")
    known = {
        "Baseline EfficientNet-B0": (385.81, 5_288_548),
        "TinyNet-A": (336.87, 6_187_972),
        "TinyNet-B": (200.71, 3_730_562),
        "TinyNet-C": (99.54, 2_457_234),
        "TinyNet-D": (51.58, 2_338_446),
        "TinyNet-E": (24.36, 2_042_972),
    }
    for row, (macs, params) in known.items():
        found = cost(series, row)
        assert (round(found.macs / 1e6, 2), found.params) == (macs, params)
    assert series["TinyNet-E"][0].network == "tinynet_e"
    assert cost(series, "EfficientNet-B^-4").macs == network("efficientnet_b-4").complexity().macs


def test_at_the_papers_size_table_2_is_the_named_resnets():
    """With 100 classes for 1,000 each network has 900 multiply-adds less for each feature of its last stage."""
    series = made("table2", "imagenet100")
    printed = costs("table2").set_index("network").macs
    for row, net in RESNETS.items():
        assert series[row][0].network == net
        assert cost(series, row).macs == printed[net] - 900 * network(net).stages[-1].c_out
    assert series["ResNet-18"][0].dataset.classes == 100


def test_a_row_that_cannot_be_had_says_why():
    series = Series()

    def impossible():
        raise UnreachableBudget("budget 1 is below the smallest reachable cost 2")

    series.add("TinyNet-Z", impossible, 3)
    assert dict(series) == {}
    with pytest.raises(UnreachableBudget, match="TinyNet-Z cannot be had: budget 1 is below"):
        series["TinyNet-Z"]
    with pytest.raises(KeyError):
        series["another"]


@pytest.mark.parametrize("name", PROXIES)
def test_a_duel_is_at_equal_cost(name):
    preset, series = load_preset(name), made("duel", name)
    rows = [*series, *series.unreachable]
    assert {row.partition(", c = ")[0] for row in rows} >= {"inverse giant formula", "random search"}
    for c in preset.budgets:
        assert sum(row.endswith(f", c = {c:g}") for row in rows) == 6 + (c in [2.0**-phi for phi in TINY_OF_PHI])
    for row in series:
        check(name, row, cost(series, row).macs, float(row.partition("c = ")[2]) * preset.c0, 0.1)
        assert series[row][0].head == ("scaled" if row.startswith("inverse") else "fixed")


@pytest.mark.parametrize("name", PROXIES)
def test_a_duel_trains_nothing_that_another_page_has(name):
    """The ways of Figure 6, EfficientNet-B^-phi and the TinyNets of Table 3 are the same experiments."""
    preset, series = load_preset(name), made("duel", name)
    for row, runs in made("fig6", name).items():
        assert row == "EfficientNet-B0" or series[row] == runs
    table3 = made("table3", name)
    for phi, tiny in TINY_OF_PHI.items():
        if 2.0**-phi in preset.budgets:
            rival = series[f"inverse giant formula, c = {2.0**-phi:g}"]
            assert rival[0] == giant(preset, phi)
            assert rival == table3[f"EfficientNet-B^-{phi}"]
            assert series[f"TinyNet as released, c = {2.0**-phi:g}"] == table3[tiny_label(tiny)]


def test_random_search_keeps_r_and_d_of_the_best_near_the_budget():
    """Of five models never three are inside the window, so the three nearest in ratio count, the largest is best."""
    series = made("duel", "reduced")
    for c, r, d in ((0.75, 0.8, 1.1), (0.5, 0.8, 1.1), (0.25, 0.9, 1.2), (0.125, 0.7, 0.9)):
        (first, *_) = series[f"random search, c = {c:g}"]
        assert (first.scale.r, first.scale.d) == (r, d), c
    assert "below the smallest reachable cost" in series.unreachable["random search, c = 0.0625"]
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
    assert len(page) > small.random_sample.models + small.equal_cost_sample.models
    assert not set(mine.all()) & set(page)
