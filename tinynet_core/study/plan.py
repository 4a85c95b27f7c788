"""What the pages of the book need: which tasks, in which order, and which of their records are missing or stale."""

from collections.abc import Iterator, Sequence
from contextlib import suppress

from tinynet_core.data import check_source
from tinynet_core.study.classify import Experiment
from tinynet_core.study.pages import EQUAL_COST, PAGES, REPEATED, SAMPLE, check_names, of, offered, series
from tinynet_core.study.record import Record
from tinynet_core.study.series import Series
from tinynet_core.study.staleness import Stale, outdated
from tinynet_core.study.study import MissingRecords, Study
from tinynet_core.study.task import Task
from tinynet_core.study.tasks import KINDS


def stages(study: Study, pages: Sequence[str] = ()) -> Iterator[list[Task]]:
    """What ``pages`` need, in stages: each is known once the one before it has its records.

    Without ``pages`` it is all that this preset can have. Raises ``UserError`` for a page that does not exist.
    """
    first, after = plan(study, pages)
    wanted = _wanted(study, pages)
    yield first
    fitted = [page for page in PAGES if PAGES[page].fitted and page in wanted]
    after_sample: list[Task] = [e for page in fitted for e in series(of(study, page), page).all()]
    yield list(dict.fromkeys([*after_sample, *_repeats(study, wanted, True)]))
    yield [task for task in after if not task.alone]
    for kind in _kinds(wanted):
        if KINDS[kind].fitted:
            yield KINDS[kind].planned(study)
    yield [task for task in after if task.alone]


def plan(study: Study, pages: Sequence[str] = ()) -> tuple[list[Task], list[Task]]:
    """What ``pages`` need as far as the preset says it: the trainings, and what is made after all trainings."""
    check_names([*pages])
    wanted, sampled = _wanted(study, pages), study.sampled.preset
    parts = {part for page in wanted for part in PAGES[page].parts}
    first: list[Task] = [*study.preset.named_experiments()] if "cost" in wanted or not pages else []
    if SAMPLE in parts:
        first += sampled.random_experiments()
    if EQUAL_COST in parts:
        first += [e for c in sampled.equal_costs for e in sampled.equal_cost_experiments(c)]
    if "second_world" in parts:
        first += sampled.elsewhere.random_experiments()
    shown = wanted.union(*(PAGES[page].shows for page in wanted))
    known = [page for page in PAGES if PAGES[page].series and page in shown]
    first += [e for page in known for e in series(of(study, page), page).all()]
    first += _repeats(study, wanted, False)
    after = [task for kind in _kinds(wanted) if not KINDS[kind].fitted for task in KINDS[kind].planned(study)]
    first += [needed for task in after for needed in task.needs]
    return list(dict.fromkeys(first)), after


def known(study: Study, pages: Sequence[str] = ()) -> list[Task]:
    """What ``pages`` need, as far as the records that are there tell: each task once."""
    tasks: list[Task] = []
    with suppress(MissingRecords):  # what follows from the random sample is known when the sample is whole
        for stage in stages(study, pages):
            tasks += stage
    return list(dict.fromkeys(tasks))


def behind(study: Study, page: str) -> list[Record]:
    """The records in the store that a page needs."""
    return [record for task in known(study, [page]) if (record := study.store.get(task)) is not None]


def stale(study: Study, pages: Sequence[str] = ()) -> list[Stale]:
    """What of the records that ``pages`` need is stale; without ``pages``, of all that this preset can have."""
    records = {record.key: record for record in study.store.records()}
    reasons = [(task, outdated(records[task.key])) for task in known(study, pages) if task.key in records]
    return [Stale(task, task.key, reason) for task, reason in reasons if reason]


def check_sources(study: Study, pages: Sequence[str] = ()) -> None:
    """Raise ``UserError`` where the folder of any data set that ``pages`` need is missing: before any training."""
    first, after = plan(study, pages)
    for dataset in dict.fromkeys(dataset for task in study.store.missing([*first, *after]) for dataset in task.data):
        check_source(dataset)


def repeated(study: Study, pages: Sequence[str] = REPEATED) -> Series:
    """The networks of some pages under the preset's own recipe, each once with its seeds; empty with one seed.

    Parameters
    ----------
    study
        The preset with its store.
    pages
        As in ``tinynet sweep --page``.

    Returns
    -------
    Series
        Experiments by the name of their row and page, one for each seed.
    """
    found, seen = Series(), set[str]()
    for page in pages if study.preset.compared_seeds > 1 else ():
        for name, experiments in series(study, page).items():
            if experiments[0].key not in seen and experiments[0].recipe == study.preset.recipe:
                found[f"{name} ({page})"] = experiments
                seen.add(experiments[0].key)
    return found


def _repeats(study: Study, wanted: set[str], fitted: bool) -> list[Experiment]:
    """What ``wanted`` needs of ``REPEATED`` for its seeds: of the pages ``fitted`` on the sample, or of the others."""
    needed = [page for page in REPEATED if bool(PAGES[page].fitted) == fitted]
    return repeated(study.sampled, needed).all() if any(PAGES[page].repeats for page in wanted) else []


def _kinds(wanted: set[str]) -> list[str]:
    return [kind for page in PAGES if page in wanted for kind in PAGES[page].kinds]


def _wanted(study: Study, pages: Sequence[str]) -> set[str]:
    """``pages``, or all that this preset can have; the page of all models wants those of the others too."""
    offers = offered(study.preset)
    wanted = set(pages) or offers
    others = {page for page in offers if PAGES[page].series or PAGES[page].fitted}
    return wanted | (others if "cost" in wanted else set())
