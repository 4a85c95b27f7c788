"""The networks that each figure and table compares, as experiments under a preset. Nothing is trained here."""

import warnings
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from tinynet_core.networks.efficientnet import TINYNETS
from tinynet_core.networks.family import SCALABLE, family, network
from tinynet_core.networks.ghostnet import SHRUNK as GHOSTNETS_SHRUNK
from tinynet_core.networks.spec import Head
from tinynet_core.scaling.formula import TinyFormula
from tinynet_core.scaling.released import ExtrapolationWarning
from tinynet_core.scaling.scale import PAPER_BASE, Scale
from tinynet_core.scaling.shrink import BudgetWarning, Method, shrink
from tinynet_core.scaling.solve import UnreachableBudget, solve_width
from tinynet_core.study.classify import Experiment
from tinynet_core.study.detect import Detection
from tinynet_core.study.presets import BASELINE, Preset

TINY_OF_PHI = {1: "tinynet_b", 2: "tinynet_c", 3: "tinynet_d", 4: "tinynet_e"}
"""The TinyNet that the paper compares with EfficientNet-B⁻ᵠ: about 2⁻ᵠ of the baseline's FLOPs."""
WINDOW = 0.2
"""Largest relative distance in MACs between a budget and a sampled model that is a candidate for it.

Neighbouring budgets differ by a factor of two, over which the best r and d may change. A fifth is well inside.
"""
FEWEST = 3
"""Smallest number of candidates. If fewer lie within ``WINDOW``, the models nearest in the ratio of costs count."""
_WAYS: dict[str, Method] = {
    "resolution only": "r",
    "depth only": "d",
    "width only": "w",
    "formula fitted here": "formula",
}


class Sample(NamedTuple):
    """The ``models`` of ``Study.random_sample``, failed ones included, and the ``formula`` fitted on their frontier."""

    models: pd.DataFrame
    formula: TinyFormula


class Series(dict[str, list[Experiment]]):
    """Experiments by the name of their row, one for each seed. ``unreachable`` maps each row without a network to why.

    ``ways`` maps a way to shrink and a share c of the baseline's MACs to the name of their row, reachable or not.
    ``beside`` holds experiments of another page that the rows are compared with.
    """

    def __init__(self) -> None:
        super().__init__()
        self.unreachable: dict[str, str] = {}
        self.ways: dict[tuple[str, float], str] = {}
        self.beside: list[Experiment] = []

    def __missing__(self, name: str) -> list[Experiment]:
        if name in self.unreachable:
            raise UnreachableBudget(f"{name} cannot be reached: {self.unreachable[name]}")
        raise KeyError(name)

    def add(self, name: str, seeds: int, make: Callable[..., Experiment], *args) -> None:
        """Add the row ``name``: the experiment that ``make(*args)`` returns, with ``seeds`` seeds."""
        try:
            self[name] = seeded(make(*args), seeds)
        except UnreachableBudget as error:
            self.unreachable[name] = str(error).split(": ", 1)[-1]

    def add_way(self, way: str, c: float, seeds: int, make: Callable[..., Experiment], *args) -> None:
        """Add the row of one ``way`` to shrink to a share ``c`` of the baseline's MACs."""
        self.ways[way, c] = f"{way}, c = {c:g}"
        self.add(self.ways[way, c], seeds, make, *args)

    def all(self) -> list[Experiment]:
        """Return every experiment in the order of the rows, then the experiments in ``beside``."""
        return [*(e for experiments in self.values() for e in experiments), *self.beside]


def seeded(experiment: Experiment, seeds: int) -> list[Experiment]:
    """Return ``seeds`` copies of the experiment, with seeds 0, 1, ..."""
    return [experiment.model_copy(update={"seed": seed}) for seed in range(seeds)]


def shrunk(
    preset: Preset, c: float, method: Method, formula: TinyFormula | None = None, head: Head | None = None
) -> Experiment:
    """Return the baseline shrunk to ``c`` times its MACs by ``method``, without warnings."""
    with warnings.catch_warnings():  # the pages themselves show the distance to the budget, and the fitted range
        warnings.simplefilter("ignore", BudgetWarning)
        warnings.simplefilter("ignore", ExtrapolationWarning)
        scale = shrink(preset.family(head), c * preset.c0, method, formula).scale
    return preset.experiment(scale, head=head)


def with_width(preset: Preset, macs: float, r: float, d: float, head: Head, name: str = BASELINE) -> Experiment:
    """Return the network called ``name`` at ``r`` and ``d``, with the width solved for ``macs``."""
    width = solve_width(family(name, preset.base_for(name), head, preset.dataset.classes), macs, r, d)
    return preset.named(name, Scale(r, d, width.x), head=head)


def giant(preset: Preset, phi: int, head: Head = "scaled") -> Experiment:
    """Return EfficientNet-B⁻ᵠ: the inverse giant formula at 2⁻ᵠ of the baseline's MACs."""
    return shrunk(preset, 2.0**-phi, "giant", head=head)


def tinynet(preset: Preset, name: str, c: float, head: Head = "fixed") -> Experiment:
    """Return a network with a released TinyNet's r and d, and the width solved for ``c`` times the baseline's MACs."""
    return with_width(preset, c * preset.c0, TINYNETS[name].r, TINYNETS[name].d, head)


def published(preset: Preset, name: str, whole: str, rival: str | None = None) -> Experiment:
    """Return the network called ``name``, which is the network ``whole`` at a scale of its own.

    In a proxy, it keeps its r and d, and the width is solved for a budget. The budget is the MACs of ``rival`` in the
    proxy, times the ratio of the MACs of both networks at the paper's size. ``rival`` defaults to ``whole``.
    """
    own, rival = network(name), rival or whole
    if preset.base == PAPER_BASE or own.scale is None or name == whole or name in SCALABLE:
        return preset.named(name)
    ratio = own.complexity().macs / network(rival).complexity().macs
    macs = ratio * preset.named(rival).spec().complexity().macs
    return with_width(preset, macs, own.scale.r, own.scale.d, "scaled" if name in GHOSTNETS_SHRUNK else "fixed", whole)


def giants(preset: Preset) -> Series:
    """Return the baseline and EfficientNet-B⁻¹ ... B⁻⁴ (Figures 1 and 2)."""
    series, seeds = Series(), preset.compared_seeds
    series.add("EfficientNet-B0", seeds, preset.experiment, Scale())
    for phi in TINY_OF_PHI:
        series.add(giant_label(phi), seeds, giant, preset, phi)
    return series


def table1(preset: Preset, sample: Sample) -> Series:
    """Return the networks of Table 1 at 1/2 and 1/4 of the baseline's MACs, with the formula of ``sample``."""
    series, seeds = Series(), preset.compared_seeds
    for c, phi in ((0.5, 1), (0.25, 2)):
        series.add(giant_label(phi), seeds, giant, preset, phi)
        _ways(series, preset, sample.formula, c)
        series.add(tiny_label(TINY_OF_PHI[phi]), seeds, tinynet, preset, TINY_OF_PHI[phi], c)
    return series


def fig6(preset: Preset, sample: Sample) -> Series:
    """Return the baseline, and for every budget, shrinking by one dimension alone and by the formula (Figure 6)."""
    series = Series()
    series.add("EfficientNet-B0", preset.compared_seeds, preset.experiment, Scale())
    for c in preset.budgets:
        _ways(series, preset, sample.formula, c)
    return series


def duel(preset: Preset, sample: Sample) -> Series:
    """Return the formula and its rivals at each budget of the preset.

    The rivals are the other ways of Figure 6, the giants with their scaled head, the released TinyNet of the same cost
    if there is one, and random search. Random search takes the most accurate model of the sample near the budget and
    solves its width for the budget. It is trained again, so that the luck of its first training does not count.
    """
    series, seeds = Series(), preset.compared_seeds

    def random_search(c: float) -> Experiment:
        best = candidates(sample.models, c).iloc[0]
        return with_width(preset, c * preset.c0, float(best.r), float(best.d), "fixed")

    for c in preset.budgets:
        _ways(series, preset, sample.formula, c)
        series.add_way("giants", c, seeds, shrunk, preset, c, "giant", None, "scaled")
        series.add_way("random search", c, seeds, random_search, c)
    for phi, name in TINY_OF_PHI.items():
        if (c := 2.0**-phi) in preset.budgets:
            series.add_way("TinyNet as released", c, seeds, tinynet, preset, name, c)
    return series


def longer(preset: Preset, sample: Sample) -> Series:
    """Return the duel, with the same names, at one budget and the preset's longer schedule. Empty if it has none."""
    if (plan := preset.longer) is None:
        return Series()
    recipe = preset.recipe.scaled(epochs=plan.times * preset.recipe.epochs)
    usual = preset.model_copy(update={"budgets": (plan.c,)})
    series = duel(usual.model_copy(update={"recipe": recipe, "compared_seeds": plan.seeds}), sample)
    series.beside = duel(usual, sample).all()
    return series


def inherited(preset: Preset) -> Series:
    """Return the giants with the preset's short schedule, from the baseline's weights and from random weights."""
    series, plan = Series(), preset.inherited
    if plan is None:
        return series
    short = preset.model_copy(update={"recipe": preset.recipe.scaled(epochs=plan.epochs)})
    for phi in TINY_OF_PHI:
        label = f"{giant_label(phi)}, random weights"
        series.add(label, plan.seeds, giant, short, phi)
        if label in series:
            series[f"{giant_label(phi)}, the baseline's weights"] = [
                experiment.model_copy(update={"pretraining": preset.experiment(Scale(), experiment.seed)})
                for experiment in series[label]
            ]
    return series


def candidates(models: pd.DataFrame, c: float) -> pd.DataFrame:
    """Return the finished ``models`` near ``c`` times the baseline's MACs, the most accurate first.

    ``models`` has columns c, r, d, top1 and status. Raises ``UnreachableBudget`` if no model has finished.
    """
    done = models[models.status == "done"]
    if done.empty:
        raise UnreachableBudget(f"none of {len(models)} models of the random sample finished")
    near = done[(done.c / c - 1).abs() <= WINDOW]
    if len(near) < FEWEST:
        near = done.loc[np.log(done.c / c).abs().nsmallest(FEWEST).index]
    return near.sort_values("top1", ascending=False, kind="stable")


def _ways(series: Series, preset: Preset, formula: TinyFormula, c: float) -> None:
    """Add the rows of each dimension alone, and of the formula, at ``c`` times the baseline's MACs."""
    for name, method in _WAYS.items():
        series.add_way(name, c, preset.compared_seeds, shrunk, preset, c, method, formula, "fixed")


def table2(preset: Preset) -> Series:
    """Return ResNet-50, -34 and -18, and ResNet-50 shrunk by the giant and by the tiny formula (Table 2)."""
    series = Series()
    preset = preset.model_copy(update={"recipe": preset.resnet_recipe or preset.recipe})
    for label, name in (
        ("Baseline ResNet-50", "resnet50"),
        ("ResNet-34", "resnet34"),
        ("Shrunken by EfficientNet rule, 3.7B", "resnet50_giant_a"),
        ("ResNet-50-A", "resnet50_a"),
        ("ResNet-18", "resnet18"),
        ("Shrunken by EfficientNet rule, 1.8B", "resnet50_giant_b"),
        ("ResNet-50-B", "resnet50_b"),
    ):
        series.add(label, preset.seeds_aside, published, preset, name, "resnet50")
    return series


def table3(preset: Preset) -> Series:
    """Return the paper's own networks of Table 3, under its names, and the giants with the fixed head."""
    series, seeds = Series(), preset.compared_seeds
    series.add("Baseline EfficientNet-B0", seeds, preset.experiment, Scale())
    series.add("TinyNet-A", seeds, published, preset, "tinynet_a", BASELINE)
    for label, plain in (("EfficientNet-B0 + RA", "Baseline EfficientNet-B0"), ("TinyNet-A + RA", "TinyNet-A")):
        series[label] = _augmented(series.get(plain, [])[: preset.seeds_aside])
    for phi, name in TINY_OF_PHI.items():
        label, c = giant_label(phi), 2.0**-phi
        if preset.base == PAPER_BASE:
            series.add(label, seeds, preset.named, f"efficientnet_b-{phi}")
            series.add(tiny_label(name), seeds, preset.named, name)
        else:
            series.add(label, seeds, giant, preset, phi)
            series.add(tiny_label(name), seeds, tinynet, preset, name, c)
        series.add(f"{label}, fixed head", preset.seeds_aside, giant, preset, phi, "fixed")
    return series


def two_smallest(preset: Preset) -> Series:
    """Return EfficientNet-B⁻⁴ and TinyNet-E (Figures 4 and 5), under the ``closeup`` of the preset."""
    series, everything = Series(), table3(preset.close)
    series.update({name: everything[name] for name in ("EfficientNet-B⁻⁴", "TinyNet-E")})
    return series


def table6(preset: Preset) -> Series:
    """Return the GhostNets of Table 6, each with its rival, and EfficientNet-B0 and -B1."""
    series, seeds = Series(), preset.seeds_aside
    series.add("EfficientNet-B1", seeds, preset.named, "efficientnet_b1")
    _ghosts(series, "GhostNet-A", seeded(preset.named("ghostnet_a"), seeds))
    series.add("EfficientNet-B0", seeds, preset.experiment, Scale())
    for label, name, rival, rival_label in (
        ("GhostNet-B", "ghostnet_b", "ghostnet_150", "GhostNet-1.5x"),
        ("GhostNet-C", "ghostnet_c", "ghostnet_100", "GhostNet-1.0x"),
        ("GhostNet-D", "ghostnet_d", "ghostnet_050", "GhostNet-0.5x"),
    ):
        series.add(rival_label, seeds, preset.named, rival)
        _ghosts(series, label, seeded(published(preset, name, "ghostnet_a", rival), seeds))
    return series


def _ghosts(series: Series, label: str, plain: Sequence[Experiment]) -> None:
    """Add a GhostNet with ReLU, with HSwish, and with HSwish and RandAugment."""
    series[label] = list(plain)
    series[f"{label} + HSwish"] = [e.model_copy(update={"network": f"{e.network}_hswish"}) for e in plain]
    series[f"{label} + HSwish + RA"] = _augmented(series[f"{label} + HSwish"])


def _augmented(experiments: Sequence[Experiment]) -> list[Experiment]:
    """Replace colour jitter by RandAugment of magnitude 9 and standard deviation 0.5 (paper, section 4.3)."""
    augmented = {"rand_augment": 9.0, "rand_augment_std": 0.5, "jitter": 0.0}
    return [e.model_copy(update={"recipe": e.recipe.model_copy(update=augmented)}) for e in experiments]


def giant_label(phi: int) -> str:
    """Return the name of the giant with MACs 2⁻ᵠ, such as EfficientNet-B⁻¹."""
    return f"EfficientNet-B⁻{'¹²³⁴'[phi - 1]}"


def tiny_label(name: str) -> str:
    """Return the name of a TinyNet as the paper writes it, such as TinyNet-A for ``tinynet_a``."""
    return f"TinyNet-{name[-1].upper()}"


def detectors(preset: Preset) -> dict[str, list[Detection]]:
    """Return the detectors of Table 5 on networks of Table 3. Raise ``PresetError`` if the preset has no detectors."""
    plan, classifiers, names = preset.part("detection"), table3(preset), ("EfficientNet-B⁻³", "TinyNet-D")
    return {name: [plan.detection(e) for e in classifiers[name][: preset.seeds_aside]] for name in names}
