"""The trained models of the cube explorer."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from tinynet_book.figures.style import binomial_half_width
from tinynet_core.scaling.formula import TinyFormula
from tinynet_core.study.classify import Experiment
from tinynet_core.study.pages import PAGES, offered, series
from tinynet_core.study.presets import BASELINE
from tinynet_core.study.study import MissingRecords, Study

SAMPLE, EQUAL_COST, GIANTS = "random sample", "sample at one cost", "inverse giant formula"
FRONTIER = "frontier of the random sample"
COMPARED = "compared networks"


@dataclass(frozen=True)
class Models:
    """The trained models, how many are ``missing``, and the ``formula`` of their frontier or why there is none."""

    frame: pd.DataFrame
    missing: int
    formula: TinyFormula | None
    reason: str


def trained_models(study: Study) -> Models:
    """The models of the random samples, of the inverse giant formula and of the comparisons that have a record.

    One row each, failed ones included: ``group``, ``key``, ``r``, ``d``, ``w``, ``c``, ``resolution``, ``macs``,
    ``params``, ``top1`` and its 95% binomial half-width, both fractions, ``seed``, ``status`` and ``reason``.
    """
    preset, formula, reason = study.preset, None, "the preset has no random sample"
    planned, frames = {GIANTS: series(study, "fig1").all()}, {}
    if preset.equal_costs:
        planned[EQUAL_COST] = [e for c in preset.equal_costs for e in preset.equal_cost_experiments(c)]
    if preset.random_sample:
        planned[SAMPLE] = preset.random_experiments()
        frames[SAMPLE], formula, reason = _random_sample(study)
    pages = [page for page in offered(preset) if PAGES[page].series or (formula and PAGES[page].fitted)]
    known = {e.key for experiments in planned.values() for e in experiments}
    planned[COMPARED] = [e for e in _baselines(study, pages) if e.key not in known]
    frames |= {group: _present(study, planned[group]) for group in planned.keys() - frames.keys()}
    found = [frame.assign(group=group) for group, frame in frames.items() if len(frame)]
    columns = ["group", "key", "r", "d", "w", "c", "resolution", "macs", "params", "top1", "seed", "status", "reason"]
    models = pd.concat(found) if found else pd.DataFrame(columns=[*columns, "frontier"])
    if "frontier" in models:
        models.loc[models.frontier.eq(True), "group"] = FRONTIER
    half = binomial_half_width(models.top1, preset.dataset.val_images)
    models = models[columns].assign(top1_half=half).sort_values(["macs", "key"], kind="stable", ignore_index=True)
    return Models(models, sum(map(len, planned.values())) - len(models), formula, reason)


def _baselines(study: Study, pages: Sequence[str]) -> list[Experiment]:
    """What ``pages`` compare of the baseline's scaled networks, each once, trained as the random sample is."""
    preset = study.preset
    alike = (BASELINE, preset.base, preset.recipe, preset.dataset)
    every = (e for page in pages for e in series(study, page).all())
    return list(dict.fromkeys(e for e in every if (e.network, e.base, e.recipe, e.dataset) == alike))


def _random_sample(study: Study) -> tuple[pd.DataFrame, TinyFormula | None, str]:
    """Figure 1's sample with its frontier and formula, or what there is of it and why there is no formula."""
    experiments = study.preset.random_experiments()
    try:
        return *study.sample(), ""
    except MissingRecords:
        missing = len(study.store.missing(experiments))
        reason = f"{missing} of the {len(experiments)} models of the random sample have no record yet"
        return _stored(study, experiments), None, reason
    except ValueError as error:
        return study.frame(experiments), None, f"too few models of the random sample can be used: {error}"


def _present(study: Study, experiments: list[Experiment]) -> pd.DataFrame:
    """The records that there are."""
    try:
        return study.frame(experiments)
    except MissingRecords:
        return _stored(study, experiments)


def _stored(study: Study, experiments: list[Experiment]) -> pd.DataFrame:
    frame = study.store.frame(experiments)
    return frame.assign(c=frame.macs / study.preset.c0)
