"""The systems of Figure 7 as data and as pictures, and the differences that Table 6 is read for."""

import pytest

from tinynet_book.paper import rows
from tinynet_book.paper.systems import TINY_FORMULA, family, margins, systems
from tinynet_core.study.presets import load_preset
from tinynet_core.study.series import table3, table6


@pytest.fixture(scope="module")
def every():
    return systems()


def test_every_system_is_there_once(every):
    """29 rows of Table 3, 19 of Table 6, of which B0 and MobileNetV3 Small 0.75x are in both, and three GreedyNAS."""
    assert len(every) == 29 + 19 - 2 + 3
    assert every.model.is_unique
    assert every.flops.is_monotonic_increasing
    printed = {x["model"].removeprefix("Baseline "): x["top1"] for t in ("table3", "table6") for x in rows(t)}
    ours = every[every.family != "GreedyNAS"]
    assert dict(zip(ours.model, ours.top1, strict=True)) == printed
    assert all(every.augmented == every.model.str.endswith("+ RA"))


def test_costs_are_counted_but_for_greedynas(every):
    assert every.model[every.macs.isna()].tolist() == ["GreedyNAS-C", "GreedyNAS-B", "GreedyNAS-A"]
    counted = every.dropna()
    assert counted.set_index("model").macs["GhostNet-1.0x"] == 141_150_512
    off = counted.macs / 1e6 / counted.flops - 1
    assert off.abs().max() < 0.06  # the printed 23M of MobileNetV3 Small 0.5x, 24.2M by timm's definition


@pytest.mark.filterwarnings("ignore::tinynet_core.scaling.shrink.BudgetWarning")
def test_every_row_trained_here_has_a_family(every):
    preset = load_preset("smoke")
    assert {family(name) for page in (table3, table6) for name in page(preset)} <= set(every.family)


def test_margins_by_hand(every):
    tiny = every.family.str.startswith(TINY_FORMULA)
    full = margins(every[every.family == f"{TINY_FORMULA} + HSwish + RA"], every[~tiny]).set_index("model")
    assert full.rival.tolist() == ["TinyNet-D", "GhostNet-1.0x", "GhostNet-1.5x", "TinyNet-A + RA"]
    assert full.margin.tolist() == [1.6, 1.1, 1.2, 1.7]  # 68.6 - 67.0, 75.0 - 73.9, 77.6 - 76.4, 79.4 - 77.7
    relu = margins(every[every.family == TINY_FORMULA], every[~tiny & ~every.augmented])
    assert relu.margin.tolist() == [0.7, 0.3, 0.6, 1.6]  # 74.2 - 73.9, and 78.7 - GreedyNAS-A's 77.1
