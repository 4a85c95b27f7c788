"""The notebooks of the book: what each rests on, and which tasks and records follow. The only list of them.

A new one has a line here and in ``book/_toc.yml``; a page of text has one there alone.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Literal, NamedTuple

from tinynet_core.data import check_source
from tinynet_core.files import UserError
from tinynet_core.study import series as networks
from tinynet_core.study.classify import Experiment
from tinynet_core.study.presets import Preset, load_preset
from tinynet_core.study.record import KINDS, Record, outdated
from tinynet_core.study.series import Sample, Series
from tinynet_core.study.study import MissingRecords, Study
from tinynet_core.study.task import Task

Part = Literal["preset", "sampled", "closeup", "detection"]
Evidence = Literal["recomputed", "quoted", "measured", "third party"]
SAMPLE, EQUAL_COST = "random_sample", "equal_cost_sample"


class Page(NamedTuple):
    """A page: its ``name`` in ``tinynet sweep --page``, its ``notebook``, and what it rests on.

    ``parts`` are keys of the preset without which there is no such page. ``series`` gives its networks from the preset,
    ``fitted`` from the preset and its random sample; ``kinds`` are tasks that are made after the trainings. It also
    rests on the networks of the pages that it ``shows``. ``repeats``: on those of ``REPEATED`` with all their seeds.
    ``part`` is what of the preset it is about, ``evidence`` what a page is worth that rests on no training.
    """

    name: str
    notebook: str
    parts: tuple[str, ...] = ()
    series: Callable[[Preset], Series] | None = None
    fitted: Callable[[Preset, Sample], Series] | None = None
    kinds: tuple[str, ...] = ()
    shows: tuple[str, ...] = ()
    repeats: bool = False
    part: Part = "preset"
    evidence: Evidence | None = None

    @property
    def recorded(self) -> bool:
        """Whether it rests on records."""
        needs = self.parts or self.series or self.fitted or self.kinds or self.shows
        return bool(needs) and self.evidence != "recomputed"


ALL = (
    Page("fig1", "01_fig1_random_sampling", (SAMPLE,), networks.giants, part="sampled"),
    Page("fig2", "02_fig2_accuracy_against_rdw", (EQUAL_COST,), networks.giants, part="sampled"),
    Page("fig3", "03_fig3_frontier", (SAMPLE,), part="sampled"),
    Page("eq1", "04_eq1_tiny_formula", (SAMPLE,), part="sampled"),
    Page("table1", "05_table1_tinynet", (SAMPLE,), fitted=networks.table1, part="sampled"),
    Page("costs", "06_table3_costs", evidence="recomputed"),
    Page("table7", "07_table7_ghostnet_a", evidence="recomputed"),
    Page("open", "08_open_questions_cost", evidence="recomputed"),
    Page("own", "09_your_own_network", evidence="recomputed"),
    Page("scale", "11_scale", (SAMPLE,), part="sampled", evidence="quoted"),
    Page("table2", "17_table2_resnet", (), networks.table2, part="sampled"),
    Page("table3", "12_table3_imagenet", (), networks.table3),
    Page("fig4", "13_fig4_learning_curves", (), networks.two_smallest, part="closeup"),
    Page("fig5", "14_fig5_activation_maps", kinds=("maps",), part="closeup"),
    Page("table5", "16_table5_detection", ("detection",), kinds=("detection",), part="detection"),
    Page("table4", "15_table4_latency", kinds=("latency",), evidence="measured"),
    Page("fig6", "18_fig6_dimensions", (SAMPLE,), fitted=networks.fig6),
    Page("table6", "19_table6_ghostnet", (), networks.table6),
    Page("fig7", "20_fig7_systems", shows=("table3", "table6")),
    Page("robustness", "23_robustness_of_the_formula", (SAMPLE,), repeats=True, part="sampled"),
    Page("duel", "24_duel_equal_cost", (SAMPLE, EQUAL_COST), fitted=networks.duel, part="sampled"),
    Page("remeasured", "26_released_tinynets", evidence="third party"),
    Page("grids", "27_width_against_resolution", evidence="third party"),
    Page("field", "28_networks_in_the_field", evidence="third party"),
    Page("worlds", "22_second_world", (SAMPLE, "second_world"), part="sampled"),
    Page("longer", "21_trained_longer", (SAMPLE, "longer"), fitted=networks.longer, part="sampled"),
    Page("inherited", "25_inherited_weights", ("inherited",), networks.inherited, part="sampled"),
)
PAGES = {page.name: page for page in ALL if page.recorded}
"""Pages that rest on records, by name. Networks are trained in this order."""
REPEATED = ("table1", "table3", "fig6")
"""Pages of networks that are trained with as many seeds as the preset compares."""


def page_of(notebook: str) -> Page:
    """The page of a notebook, by the name of its file without ``.ipynb``."""
    for page in ALL:
        if page.notebook == notebook:
            return page
    raise UserError(f"notebook {notebook} has no line in {__name__}, which says what it rests on")


def offered(preset: Preset) -> set[str]:
    """The pages for which ``preset`` has what they need."""
    return {name for name in PAGES if not lacking(preset, name)}


def lacking(preset: Preset, page: str) -> list[str]:
    """The keys that a page needs and ``preset`` has not."""
    sampled = load_preset(preset.sampled_on) if preset.sampled_on else preset
    parts = {part: preset if part == "detection" else sampled for part in PAGES[page].parts}
    return [part for part, of_preset in parts.items() if not getattr(of_preset, part)]


def of(study: Study, page: str) -> Study:
    """The study that a page is about: this one, or that with the samples."""
    return study.sampled if PAGES[page].part == "sampled" else study


def series(study: Study, page: str, sample: Sample | None = None) -> Series:
    """The networks that ``page`` of ``tinynet sweep --page`` compares under the preset of ``study``, each row's seeds.

    ``sample`` is the random sample with its formula, for pages that need it; the study's own where left out. Raises
    ``UserError`` for a page that compares no networks by name, ``MissingRecords`` where the sample is needed and not
    trained.
    """
    about = PAGES[page]
    if about.series is not None:
        return about.series(study.preset)
    if about.fitted is None:
        raise UserError(f"page {page} compares no networks by name")
    return about.fitted(study.preset, sample or study.sampled.sample())


def stages(study: Study, pages: Sequence[str] = ()) -> Iterator[list[Task]]:
    """What ``pages`` need, in stages: each is known once the one before it has its records.

    Without ``pages`` it is all that this preset can have. Raises ``UserError`` for a page that does not exist.
    """
    first, after = plan(study, pages)
    yield [task for task in first if not task.needs]
    yield [task for task in first if task.needs]
    yield [*dict.fromkeys(_networks(study, set(pages) or offered(study.preset), fitted=True))]
    yield [task for task in after if not task.alone]
    yield [task for task in after if task.alone]


def plan(study: Study, pages: Sequence[str] = ()) -> tuple[list[Task], list[Task]]:
    """What ``pages`` need as far as the preset says it: the trainings, and what is made after all trainings."""
    if unknown := [page for page in pages if page not in PAGES]:
        raise UserError(f"unknown page {unknown[0]!r}, known: {', '.join(PAGES)}")
    wanted, sampled = set(pages) or offered(study.preset), study.sampled.preset
    parts = {part for page in wanted for part in PAGES[page].parts}
    first: list[Task] = [] if pages else [*study.preset.named_experiments()]
    if SAMPLE in parts:
        first += sampled.random_experiments()
    if EQUAL_COST in parts:
        first += [e for c in sampled.equal_costs for e in sampled.equal_cost_experiments(c)]
    if "second_world" in parts:
        first += sampled.elsewhere.random_experiments()
    first += _networks(study, wanted, fitted=False)
    kinds = [kind for page in PAGES if page in wanted for kind in PAGES[page].kinds]
    after = [task for kind in kinds for task in KINDS[kind].planned(study)]
    first += [needed for task in [*first, *after] for needed in task.needs]
    return list(dict.fromkeys(first)), after


def _networks(study: Study, wanted: set[str], fitted: bool) -> Iterator[Experiment]:
    """The networks of the pages ``wanted``: of those that are ``fitted`` on the sample, or of the others."""
    shown = wanted.union(*(PAGES[page].shows for page in wanted))
    for name, page in PAGES.items():
        if name in shown and (page.fitted if fitted else page.series):
            yield from series(of(study, name), name).all()
    if any(PAGES[page].repeats for page in wanted):
        pages = [page for page in REPEATED if bool(PAGES[page].fitted) == fitted]
        yield from repeated(study.sampled, pages).all()


def repeated(study: Study, pages: Sequence[str] = REPEATED) -> Series:
    """The networks of ``pages`` under the own recipe of the preset of ``study``, each once with its seeds.

    They are by the name of their row and page. It is empty where the preset has one seed.
    """
    found, seen = Series(), set[str]()
    for page in pages if study.preset.compared_seeds > 1 else ():
        for name, experiments in series(study, page).items():
            if experiments[0].key not in seen and experiments[0].recipe == study.preset.recipe:
                found[f"{name} ({page})"] = experiments
                seen.add(experiments[0].key)
    return found


def known(study: Study, pages: Sequence[str] = ()) -> list[Task]:
    """What ``pages`` need, as far as the records that are there tell: each task once."""
    tasks: list[Task] = []
    with suppress(MissingRecords):  # what follows from the random sample is known when the sample is whole
        for stage in stages(study, pages):
            tasks += stage
    return list(dict.fromkeys(tasks))


def behind(study: Study, *pages: str) -> list[Record]:
    """The records in the store that ``pages`` need; without ``pages``, that all of the preset's pages need."""
    return [record for task in known(study, pages) if (record := study.store.get(task)) is not None]


def stale(study: Study, *pages: str) -> list[str]:
    """Why records that ``pages`` need are stale: a line for each reason, that of the most records first."""
    reasons = Counter(filter(None, map(outdated, behind(study, *pages))))
    return [f"{n} record{'s' * (n > 1)}: {reason}" for reason, n in reasons.most_common()]


def check_sources(study: Study, pages: Sequence[str] = ()) -> None:
    """Raise ``UserError`` where the folder of any data set that ``pages`` need is missing: before any training."""
    first, after = plan(study, pages)
    for dataset in dict.fromkeys(dataset for task in study.store.missing([*first, *after]) for dataset in task.data):
        check_source(dataset)
