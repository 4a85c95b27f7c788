"""The pages of the book: what each rests on, and the networks that it compares. The only list of them."""

import warnings
from collections.abc import Callable
from typing import Literal, NamedTuple

from tinynet_core.errors import UserError
from tinynet_core.scaling.formula import ExtrapolationWarning
from tinynet_core.scaling.shrink import BudgetWarning
from tinynet_core.study import series as networks
from tinynet_core.study.presets import Preset, load_preset
from tinynet_core.study.series import Sample, Series
from tinynet_core.study.study import Study

Part = Literal["preset", "sampled", "closeup", "detection"]
Evidence = Literal["recomputed", "quoted", "measured"]
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
    Page("ema", "10_ema_warmup", (), networks.averages, part="sampled"),
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
    Page("heads", "21_heads", (), networks.heads),
    Page("spread", "22_spread_of_seeds", (SAMPLE,), repeats=True, part="sampled"),
    Page("robustness", "23_robustness_of_the_formula", (SAMPLE,), repeats=True, part="sampled"),
    Page("duel", "24_duel_equal_cost", (SAMPLE, EQUAL_COST), fitted=networks.duel, part="sampled"),
    Page("cost", "25_cost_against_accuracy", (SAMPLE,), kinds=("latencies",)),
    Page("worlds", "", (SAMPLE, "second_world"), part="sampled"),
    Page("longer", "", (SAMPLE, "longer"), fitted=networks.longer, part="sampled"),
)
PAGES = {page.name: page for page in ALL if page.recorded}
"""Pages that rest on records, by name. Networks are trained in this order."""
REPEATED = ("table1", "table3", "fig6", "heads")
"""Pages of networks that are trained with as many seeds as the preset compares."""


def page_of(notebook: str) -> Page:
    """The page of a notebook, by the name of its file without ``.ipynb``."""
    return next(page for page in ALL if page.notebook == notebook)


def offered(preset: Preset) -> set[str]:
    """The pages for which ``preset`` has what they need."""
    sampled = load_preset(preset.sampled_on) if preset.sampled_on else preset
    has = {part for part in (SAMPLE, EQUAL_COST, "second_world", "longer") if getattr(sampled, part)}
    has |= {"detection"} if preset.detection else set()
    return {name for name, page in PAGES.items() if has.issuperset(page.parts)}


def check_names(pages: tuple[str, ...] | list[str]) -> None:
    """Raise ``UserError`` for a page that does not exist."""
    if unknown := [page for page in pages if page not in PAGES]:
        raise UserError(f"unknown page {unknown[0]!r}, known: {', '.join(PAGES)}")


def of(study: Study, page: str) -> Study:
    """The study that a page is about: this one, or that with the samples."""
    return study.sampled if PAGES[page].part == "sampled" else study


def series(study: Study, page: str, sample: Sample | None = None) -> Series:
    """The networks that a page compares under a preset.

    It warns neither of a network off its budget, which the pages show, nor of a budget outside the fitted range,
    which the pages on the formula and on the duel name.

    Parameters
    ----------
    study
        The preset with its store.
    page
        As in ``tinynet sweep --page``.
    sample
        The random sample with its formula, for pages that need it; the study's own where left out.

    Returns
    -------
    Series
        Experiments by the name of their row, one for each seed.

    Raises
    ------
    UserError
        The page compares no networks by name.
    MissingRecords
        It needs the random sample, which is not trained.
    """
    about = PAGES[page]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", BudgetWarning)
        warnings.simplefilter("ignore", ExtrapolationWarning)
        if about.series is not None:
            return about.series(study.preset)
        if about.fitted is None:
            raise UserError(f"page {page} compares no networks by name")
        return about.fitted(study.preset, sample or study.sampled.sample())
