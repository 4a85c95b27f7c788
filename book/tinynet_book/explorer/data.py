"""Data of the cube explorer: the trained models, and the networks of the tiny formula at each budget."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from tinynet_book.figures import binomial_half_width
from tinynet_core.networks import Family, family
from tinynet_core.scaling.formula import TinyFormula
from tinynet_core.scaling.released import ExtrapolationWarning
from tinynet_core.scaling.scale import PAPER_BASE, Scale
from tinynet_core.scaling.shrink import BudgetWarning, shrink
from tinynet_core.scaling.solve import UnreachableBudget
from tinynet_core.study.classify import Experiment
from tinynet_core.study.pages import PAGES, offered, series
from tinynet_core.study.presets import BASELINE, Preset
from tinynet_core.study.study import MissingRecords, Study

SAMPLE, EQUAL_COST, GIANTS = "random sample", "sample at one cost", "giants"
FRONTIER = "frontier of the random sample"
COMPARED = "compared networks"
COLUMNS = ["group", "key", "r", "d", "w", "c", "resolution", "macs", "params", "top1", "seed", "status", "reason"]
FULL_SIZE = {BASELINE: "EfficientNet-B0", "resnet50": "ResNet-50", "ghostnet_a": "GhostNet-A"}
BUDGETS = 81
"""Number of slider positions, evenly spaced in log c over the fitted range of the formula."""
BAND = 1.96
"""Half-width of a band in standard deviations: 95% of a normal distribution."""


@dataclass(frozen=True)
class Models:
    """The trained models, the number ``missing``, and the ``formula`` of their frontier or the ``reason`` for none."""

    frame: pd.DataFrame
    missing: int
    formula: TinyFormula | None
    reason: str


def trained_models(study: Study) -> Models:
    """Return the models with a record from the random samples, the giants and the comparisons.

    One row per model, failed ones included: ``COLUMNS``, and ``top1_half``, the 95% binomial half-width, a fraction.
    """
    preset, formula, reason = study.preset, None, "the preset has no random sample"
    planned, frames = {GIANTS: series(study, "fig1").all()}, {}
    planned[EQUAL_COST] = [e for c in preset.equal_costs for e in preset.equal_cost_experiments(c)]
    if preset.random_sample:
        planned[SAMPLE] = preset.random_experiments()
        frames[SAMPLE], formula, reason = _random_sample(study)
    pages = [page for page in offered(preset) if PAGES[page].series or (formula and PAGES[page].fitted)]
    known = {e.key for experiments in planned.values() for e in experiments}
    planned[COMPARED] = [e for e in _baselines(study, pages) if e.key not in known]
    frames |= {group: _stored(study, planned[group]) for group in planned.keys() - frames.keys()}
    found = [frame.assign(group=group) for group, frame in frames.items() if len(frame)]
    models = pd.concat(found) if found else pd.DataFrame(columns=COLUMNS)
    if "frontier" in models:
        models.loc[models.frontier.eq(True), "group"] = FRONTIER
    half = binomial_half_width(models.top1, preset.dataset.val_images)
    models = models[COLUMNS].assign(top1_half=half).sort_values(["macs", "key"], kind="stable", ignore_index=True)
    return Models(models, sum(map(len, planned.values())) - len(models), formula, reason)


def _baselines(study: Study, pages: Sequence[str]) -> list[Experiment]:
    """Return the scaled baselines that ``pages`` compare and that are trained like the random sample, each once."""
    preset = study.preset
    alike = (BASELINE, preset.base, preset.recipe, preset.dataset)
    every = (e for page in pages for e in series(study, page).all())
    return list(dict.fromkeys(e for e in every if (e.network, e.base, e.recipe, e.dataset) == alike))


def _random_sample(study: Study) -> tuple[pd.DataFrame, TinyFormula | None, str]:
    """Return the sample of Figure 1 with its formula, or the existing records and why there is no formula."""
    experiments = study.preset.random_experiments()
    try:
        return *study.sample(), ""
    except MissingRecords:
        missing = len(study.store.missing(experiments))
        reason = f"{missing} of the {len(experiments)} models of the random sample have no record yet"
    except ValueError as error:
        reason = f"too few models of the random sample can be used: {error}"
    return _stored(study, experiments), None, reason


def _stored(study: Study, experiments: list[Experiment]) -> pd.DataFrame:
    """Return the existing records of ``experiments``."""
    frame = study.store.frame(experiments)
    return frame.assign(c=frame.macs / study.preset.c0)


def sizes(preset: Preset) -> dict[str, Family]:
    """Return the baseline at the models' training size, and the networks that the paper shrinks, at full size."""
    own = {} if preset.base == PAPER_BASE else {f"this study's size, {preset.base.resolution} px": preset.family()}
    return own | {f"{label}, {family(name).resolution} px": family(name) for name, label in FULL_SIZE.items()}


def budgets(preset: Preset, formula: TinyFormula) -> pd.DataFrame:
    """Return the network of ``formula`` at every position of the slider: one row per budget c and size.

    ``r`` and ``d`` are posterior means with the ends of their bands; ``w`` is solved on exact MACs. The preset's own
    budgets are among the positions. A budget is left out if no width meets it at the models' training size.
    """
    fractions = _fractions(preset, float(formula.c_.min()), float(formula.c_.max()))
    mean, std = formula.predict(fractions, return_std=True)
    rows: list[dict[str, Any]] = []
    for c, (r, d), (r_half, d_half) in zip(fractions, mean, BAND * std, strict=True):
        band = {"c": c, "r": r, "r_low": r - r_half, "r_high": r + r_half}
        band |= {"d": d, "d_low": d - d_half, "d_high": d + d_half}
        found = [band | {"size_label": label} | _solved(net, formula, c) for label, net in sizes(preset).items()]
        rows += found if "w" in found[0] else []
    return pd.DataFrame(rows)


def _fractions(preset: Preset, low: float, high: float) -> list[float]:
    """Return log-spaced fractions from ``low`` to ``high``. A preset's budget replaces values within half a step."""
    grid = np.clip(np.geomspace(low, high, BUDGETS), low, high)
    inside = [c for c in preset.budgets if low <= c <= high]
    half = np.log(high / low) / (BUDGETS - 1) / 2
    return sorted([*inside, *(float(x) for x in grid if all(abs(np.log(x / c)) > half for c in inside))])


def _solved(net: Family, formula: TinyFormula, c: float) -> dict[str, Any]:
    """Return the network of this size whose MACs are nearest to the fraction ``c`` of its baseline's MACs."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExtrapolationWarning)  # rounding at an end of the range
            warnings.simplefilter("ignore", BudgetWarning)
            result = shrink(net, c * net.at().complexity().macs, formula=formula)
    except UnreachableBudget as error:
        return {"reason": str(error)}
    cost = result.complexity
    return {
        **{"w": result.scale.w, "resolution": result.network.resolution, "macs": cost.macs, "off": result.error},
        **{"params": cost.params, "command": _command(net, result.scale)},
    }


def _command(net: Family, scale: Scale) -> str:
    """Return a shell command that prints the network at ``scale``, or Python code if no command has this size."""
    if net == family(net.name, classes=net.classes):
        classes = "" if net.classes == 1000 else f" --classes {net.classes}"
        return f"tinynet cost {net.name} --r {scale.r} --d {scale.d} --w {scale.w} --head fixed{classes}"
    base = f"tn.Base({net.base.resolution}, {net.base.width}, {net.base.divisor})"
    return (
        f"import tinynet_core as tn\nscale = tn.Scale(r={scale.r}, d={scale.d}, w={scale.w})\n"
        f'net = tn.network("{net.name}", scale, {net.classes}, "fixed", {base})\n'
        "print(net.resolution, net.complexity(), *net.rows(), sep='\\n')"
    )
