"""Every classifier of the pages, and the timing of their networks."""

from collections.abc import Mapping

from tinynet_book.measure.latencies import ModelLatencies, distinct
from tinynet_core.study.classify import Experiment
from tinynet_core.study.pages import PAGES, of, offered, series
from tinynet_core.study.record import Record
from tinynet_core.study.series import Series
from tinynet_core.study.study import Study
from tinynet_core.study.sweep import run


def classifiers(study: Study) -> dict[str, Series]:
    """Every training of a classifier that the pages compare, by page and row; Table 3 and the samples come first.

    A network that several pages compare is in each. The samples are pages with a single row, which has no name.
    """
    found = {"table3": series(study, "table3")}
    sampled = study.sampled.preset
    if sampled.random_sample:
        found["random sample"] = _one_row(sampled.random_experiments())
    for c in sampled.equal_costs:
        name = "equal-cost sample" if c == sampled.equal_costs[0] else f"equal-cost sample, c = {c:g}"
        found[name] = _one_row(sampled.equal_cost_experiments(c))
    sample = study.sampled.sample() if sampled.random_sample else None
    offers = offered(study.preset)
    named = [page for page in PAGES if page in offers and PAGES[page].series]
    fitted = [page for page in PAGES if page in offers and PAGES[page].fitted]
    for page in (*named, *fitted):
        found.setdefault(page, series(of(study, page), page, sample))
    if study.preset.networks:
        found["further networks"] = _one_row(study.preset.named_experiments())
    return found


def latencies_run(study: Study, pages: Mapping[str, Series] | None = None) -> ModelLatencies:
    """The networks of ``pages``, by default of all, each once, to be timed as often as the preset says."""
    times = study.preset.latency
    everything = (e for found in (pages or classifiers(study)).values() for e in found.all())
    return ModelLatencies(networks=distinct(everything, times.models), runs=times.model_runs, warmup=times.warmup)


def latencies(study: Study, pages: Mapping[str, Series] | None = None) -> Record:
    """The timings of ``latencies_run``, made now in this process where there is no record of them and the study may."""
    task = latencies_run(study, pages)
    return run(task, study.store, progress=True) if study.train else study.records([task])[0]


def _one_row(experiments: list[Experiment]) -> Series:
    found = Series()
    found[""] = experiments
    return found
