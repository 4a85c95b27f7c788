"""The only list of the notebook pages of the book, and the tasks and records that each page needs.

To add a notebook page, add a notebook in ``notebooks/``, a line in ``ALL`` here, and a line in ``book/_toc.yml``.
To add a page of text only, add ``book/X.md`` and a line in ``book/_toc.yml``.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Literal, NamedTuple

from tinynet_core.data import check_source
from tinynet_core.files import UserError
from tinynet_core.study import series as rows
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
    """A page: its ``name`` in ``tinynet sweep --page``, its ``notebook``, and what it needs.

    ``parts`` are keys that the preset must have. ``series`` returns the networks from the preset, and ``fitted`` from
    the preset and its random sample. ``kinds`` are kinds of tasks that run after the trainings. The page also needs the
    networks of the pages in ``shows``, and if ``repeats``, those of the pages in ``REPEATED`` with all their seeds.
    ``part`` is the part of the preset that the page is about. ``evidence`` names other evidence than own trainings.
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
        """Whether the page needs records."""
        needs = self.parts or self.series or self.fitted or self.kinds or self.shows
        return bool(needs) and self.evidence != "recomputed"


ALL = (
    Page("fig1", "01_fig1_random_sampling", (SAMPLE,), rows.giants, part="sampled"),
    Page("fig2", "02_fig2_accuracy_against_rdw", (EQUAL_COST,), rows.giants, part="sampled"),
    Page("fig3", "03_fig3_frontier", (SAMPLE,), part="sampled"),
    Page("eq1", "04_eq1_tiny_formula", (SAMPLE,), part="sampled"),
    Page("table1", "05_table1_tinynet", (SAMPLE,), fitted=rows.table1, part="sampled"),
    Page("costs", "06_table3_costs", evidence="recomputed"),
    Page("table7", "07_table7_ghostnet_a", evidence="recomputed"),
    Page("open", "08_open_questions_cost", evidence="recomputed"),
    Page("own", "09_your_own_network", evidence="recomputed"),
    Page("scale", "11_scale", (SAMPLE,), part="sampled", evidence="quoted"),
    Page("table2", "17_table2_resnet", (), rows.table2, part="sampled"),
    Page("table3", "12_table3_imagenet", (), rows.table3),
    Page("fig4", "13_fig4_learning_curves", (), rows.two_smallest, part="closeup"),
    Page("fig5", "14_fig5_activation_maps", kinds=("maps",), part="closeup"),
    Page("table5", "16_table5_detection", ("detection",), kinds=("detection",), part="detection"),
    Page("table4", "15_table4_latency", kinds=("latency",), evidence="measured"),
    Page("fig6", "18_fig6_dimensions", (SAMPLE,), fitted=rows.fig6),
    Page("table6", "19_table6_ghostnet", (), rows.table6),
    Page("fig7", "20_fig7_systems", shows=("table3", "table6")),
    Page("robustness", "23_robustness_of_the_formula", (SAMPLE,), repeats=True, part="sampled"),
    Page("duel", "24_duel_equal_cost", (SAMPLE, EQUAL_COST), fitted=rows.duel, part="sampled"),
    Page("remeasured", "26_released_tinynets", evidence="third party"),
    Page("grids", "27_width_against_resolution", evidence="third party"),
    Page("field", "28_networks_in_the_field", evidence="third party"),
    Page("worlds", "22_second_world", (SAMPLE, "second_world"), part="sampled"),
    Page("longer", "21_trained_longer", (SAMPLE, "longer"), fitted=rows.longer, part="sampled"),
    Page("inherited", "25_inherited_weights", ("inherited",), rows.inherited, part="sampled"),
)
PAGES = {page.name: page for page in ALL if page.recorded}
"""Pages that need records, by name. Networks are trained in this order."""
REPEATED = ("table1", "table3", "fig6")
"""Pages whose networks are trained with all ``compared_seeds`` of the preset."""


def page_of(notebook: str) -> Page:
    """Return the page of a notebook, given its file name without ``.ipynb``."""
    for page in ALL:
        if page.notebook == notebook:
            return page
    raise UserError(f"notebook {notebook} has no line in the list ALL of {__name__}")


def offered(preset: Preset) -> set[str]:
    """Return the names of the pages for which ``preset`` has all the keys they need."""
    return {name for name in PAGES if not lacking(preset, name)}


def lacking(preset: Preset, page: str) -> list[str]:
    """Return the keys that a page needs and ``preset`` lacks."""
    sampled = load_preset(preset.sampled_on) if preset.sampled_on else preset
    parts = {part: preset if part == "detection" else sampled for part in PAGES[page].parts}
    return [part for part, of_preset in parts.items() if not getattr(of_preset, part)]


def of(study: Study, page: str) -> Study:
    """Return the study that a page is about: ``study`` itself, or the study with its random samples."""
    return study.sampled if PAGES[page].part == "sampled" else study


def series(study: Study, page: str, sample: Sample | None = None) -> Series:
    """Return the networks that ``page``, a name for ``tinynet sweep --page``, compares under the preset of ``study``.

    Each row has its seeds. ``sample`` is the random sample with its formula and defaults to the study's own. Raises
    ``UserError`` if the page compares no networks by name, ``MissingRecords`` if it needs a sample without records.
    """
    about = PAGES[page]
    if about.series is not None:
        return about.series(study.preset)
    if about.fitted is None:
        raise UserError(f"page {page} compares no networks by name")
    return about.fitted(study.preset, sample or study.sampled.sample())


def stages(study: Study, pages: Sequence[str] = ()) -> Iterator[list[Task]]:
    """Yield the tasks that ``pages`` need, in stages. A stage is known only when the stage before it has its records.

    Without ``pages``, yield the tasks of all pages of this preset. Raises ``UserError`` for an unknown page.
    """
    first, after = plan(study, pages)
    yield [task for task in first if not task.needs]
    yield [task for task in first if task.needs]
    yield [*dict.fromkeys(_networks(study, set(pages) or offered(study.preset), fitted=True))]
    yield [task for task in after if not task.alone]
    yield [task for task in after if task.alone]


def plan(study: Study, pages: Sequence[str] = ()) -> tuple[list[Task], list[Task]]:
    """Return the tasks of ``pages`` that the preset alone determines: trainings, and tasks after all trainings."""
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
    """Yield the networks of the pages ``wanted``: either of pages ``fitted`` on the sample or of the other pages."""
    shown = wanted.union(*(PAGES[page].shows for page in wanted))
    for name, page in PAGES.items():
        if name in shown and (page.fitted if fitted else page.series):
            yield from series(of(study, name), name).all()
    if any(PAGES[page].repeats for page in wanted):
        pages = [page for page in REPEATED if bool(PAGES[page].fitted) == fitted]
        yield from repeated(study.sampled, pages).all()


def repeated(study: Study, pages: Sequence[str] = REPEATED) -> Series:
    """Return the networks of ``pages`` with the main recipe of ``study``, each once with its seeds.

    The key is the name of the row and of the page. The series is empty if the preset has one seed.
    """
    found, seen = Series(), set[str]()
    for page in pages if study.preset.compared_seeds > 1 else ():
        for name, experiments in series(study, page).items():
            if experiments[0].key not in seen and experiments[0].recipe == study.preset.recipe:
                found[f"{name} ({page})"] = experiments
                seen.add(experiments[0].key)
    return found


def known(study: Study, pages: Sequence[str] = ()) -> list[Task]:
    """Return the tasks that ``pages`` need, as far as existing records determine them. Each task comes once."""
    tasks: list[Task] = []
    with suppress(MissingRecords):  # tasks fitted on the random sample need all its records
        for stage in stages(study, pages):
            tasks += stage
    return list(dict.fromkeys(tasks))


def behind(study: Study, *pages: str) -> list[Record]:
    """Return the records in the store that ``pages`` need. The default is all pages of the preset."""
    return [record for task in known(study, pages) if (record := study.store.get(task)) is not None]


def stale(study: Study, *pages: str) -> list[str]:
    """Return why records that ``pages`` need are stale: one line per reason, the most frequent reason first."""
    reasons = Counter(filter(None, map(outdated, behind(study, *pages))))
    return [f"{n} record{'s' * (n > 1)}: {reason}" for reason, n in reasons.most_common()]


def check_sources(study: Study, pages: Sequence[str] = ()) -> None:
    """Raise ``UserError`` before any training if the folder of a data set that ``pages`` need is missing."""
    first, after = plan(study, pages)
    for dataset in dict.fromkeys(dataset for task in study.store.missing([*first, *after]) for dataset in task.data):
        check_source(dataset)
