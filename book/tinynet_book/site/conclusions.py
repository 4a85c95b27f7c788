"""The page of conclusions: the paper in plain questions, each answered by the verdicts on its claims."""

from collections import Counter
from collections.abc import Iterable
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import get_args

import nbformat
import pandas as pd
import yaml
from pydantic import BaseModel, ConfigDict

from tinynet_book.analysis.comparison import ENOUGH_SEEDS
from tinynet_book.analysis.robustness import FEWEST, coverage, leave_one_out, prediction_errors
from tinynet_book.analysis.spread import study_spread, told_apart
from tinynet_book.figures import DIMENSIONS
from tinynet_book.paper.cells import TABLES, cells
from tinynet_book.paper.claims import THIRD_PARTY, Evidence, Verdict, claims, ledger, strongest
from tinynet_book.site.provenance import EXACT
from tinynet_core.scaling.formula import TinyFormula
from tinynet_core.study.classify import Experiment
from tinynet_core.study.pages import series
from tinynet_core.study.presets import Preset, project_root
from tinynet_core.study.store import Store
from tinynet_core.study.study import Study

AGREE = ("matches", "within tolerance")


class Question(BaseModel):
    """A question, what it is about in plain words, and its claims, by id or by a pattern with ``*``.

    ``key`` claims give the answer, all of them where it is empty; the others are evidence beside them. ``headline``
    marks what the abstract of the paper claims.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    question: str
    plain: str
    claims: tuple[str, ...]
    key: tuple[str, ...] = ()
    headline: bool = False

    def ids(self) -> list[str]:
        """Ids of its claims, in the order of the ledger."""
        return [key for key in claims() if any(fnmatchcase(key, pattern) for pattern in self.claims)]


@cache
def questions() -> tuple[Question, ...]:
    """All questions, in the order of the page."""
    written = yaml.safe_load(Path(__file__).with_name("questions.yaml").read_text(encoding="utf-8"))
    return tuple(map(Question.model_validate, written))


def answer(verdicts: Iterable[str]) -> str:
    """What the verdicts on the key claims of one question say together, in a few words."""
    count = Counter(verdicts)
    agree, differ, left = sum(count[v] for v in AGREE), count["differs"], count["not attempted"]
    if not agree and not differ:
        return "cannot be told"
    if agree and differ:
        return f"in part: {agree} of {agree + differ} decided main claims hold"
    whole = "yes" if agree else "no"
    return f"{whole}, as far as it could be decided ({left} of {agree + differ + left} could not)" if left else whole


def answered(ledger: pd.DataFrame) -> list[tuple[Question, str, pd.DataFrame]]:
    """Each question with its answers and the rows of the ``ledger`` (``claims.ledger``) behind it."""
    found = [(question, ledger[ledger.id.isin(question.ids())]) for question in questions()]
    return [(q, by_evidence(rows[rows.id.isin(q.key or q.ids())]), rows) for q, rows in found]


def by_evidence(rows: pd.DataFrame) -> str:
    """What the findings for some claims say together on each kind of evidence that decides any, the strongest first."""
    said = []
    for evidence in get_args(Evidence):
        at = rows[rows.evidence == evidence].set_index("id").verdict
        if (at != "not attempted").any():
            said.append(f"{evidence}: {answer(at.get(key, 'not attempted') for key in rows.id.unique())}")
    return "; ".join(said) or answer([])


WORDS: dict[Verdict, str] = {
    "matches": "Holds",
    "within tolerance": "Holds within tolerance",
    "differs": "Does not hold",
    "not attempted": "Open",
}
QUOTED_HOURS = 2.5
"""GPU-hours on average for one model of the random sample on ImageNet-100, one V100 (paper, section 4.2)."""


def conclusions(preset: Preset, store: Store) -> str:
    """The generated part of the page, in Markdown."""
    parts = [_basis(preset, store.frame())]
    found = answered(ledger(store))
    parts.append(at_a_glance(found))
    parts += [_section(*entry) for entry in found]
    return "\n\n".join(parts)


def standing(preset: Preset, table: pd.DataFrame, found: list[tuple[Question, str, pd.DataFrame]]) -> str:
    """In a few sentences, what held on a site of ``preset``: what the abstract claims (``found``), and in numbers."""
    table = strongest(table)
    counted = table.evidence.isin(EXACT)
    told = table.verdict != "not attempted"
    agree = table.verdict.isin(AGREE)
    public = told & (table.evidence == THIRD_PARTY)
    trained = told & ~counted & ~public
    printed = int((~told & table.id.isin(_printed())).sum())
    headlines = [f"*{question.question}* {_sentence(answer)}" for question, answer, _ in found if question.headline]
    return (
        f"{' '.join(headlines)} Of {counted.sum()} claims about costs, arithmetic and printed numbers, "
        f"{(counted & agree).sum()} agree. Of the {(~counted).sum()} that need a training or a clock, {public.sum()} "
        f"are decided by public lists and measurements of others ({(public & agree).sum()} agree, "
        f"{(public & ~agree).sum()} do not) and {trained.sum()} here ({(trained & agree).sum()} agree, "
        f"{(trained & ~agree).sum()} do not). The "
        f"others are open: {printed} are numbers of the paper's tables, of ImageNet, COCO or a phone, and for the rest "
        f"the trainings of this site do not tell. It was made with the preset `{preset.name}`: "
        f"{preset.about[0].lower()}{preset.about[1:]}"
    )


def how_to_check(preset: Preset) -> str:
    """Which commands build a site of ``preset`` again and compare it, and where the rest is found."""
    return (
        f"In a checkout of the project, `make book PRESET={preset.name}` builds this site again, without training "
        f"where the checkout has its records; `tinynet verify {preset.name}` trains some of its networks again and "
        "compares them, bit by bit on the same kind of machine. Below each figure and table are its numbers, its "
        "notebook, and the command that makes it."
    )


def at_a_glance(found: list[tuple[Question, str, pd.DataFrame]]) -> str:
    """Every question of ``questions.answered`` with its answer and what became of its claims, as a Markdown table."""
    head = ["| question | evidence: answer | of its claims | pages |", "|---|---|---|---|"]
    return "\n".join([*head, *(_line(*entry) for entry in found)])


def next_steps() -> str:
    """What a reader with a GPU should run next, with the hours that the paper's own rate implies, in Markdown."""
    hundred, thousand = Study("imagenet100", train=False), Study("imagenet1k", train=False)
    random = hundred.preset.random_experiments()
    rate = sum(e.work for e in random) / (QUOTED_HOURS * len(random))
    steps = (
        ("Do random networks beat the rule run backwards (Figures 1 and 3)?", "imagenet100", "fig1",
         [*random, *series(hundred, "fig1").all()]),
        ("Which dimension matters at one cost (Figure 2)?", "imagenet100", "fig2",
         [*hundred.preset.equal_cost_experiments(), *series(hundred, "fig2").all()]),
        ("Are the TinyNets better on ImageNet itself (Table 3)?", "imagenet1k", "table3",
         series(thousand, "table3").all()),
    )  # fmt: skip
    lines = [
        f"| {what} | `tinynet sweep {preset} --page {page}` | {len(dict.fromkeys(tasks))} | {_hours(tasks, rate)} |"
        for what, preset, page, tasks in steps
    ]
    return "\n".join(["| question | command | trainings | GPU-hours (quoted rate) |", "|---|---|---|---|", *lines])


def _hours(experiments: list[Experiment], rate: float) -> str:
    return f"{sum(e.work for e in dict.fromkeys(experiments)) / rate:,.0f}"


def _basis(preset: Preset, records: pd.DataFrame) -> str:
    if records.empty:
        return "There are no records: nothing was trained for this site."
    trained = records[records.kind.isin(["training", "detection"])]
    failed = int((trained.status == "failed").sum())
    hours = trained.wall_s.sum() / 3600
    return (
        f"This site rests on {len(trained)} trained networks of the preset `{preset.name}`, of which {failed} failed; "
        f"one core needs {hours:.1f} hours for them. What it says of accuracy is **{preset.evidence}** "
        f"evidence: {preset.about}"
    )


def _line(question: Question, answer: str, rows: pd.DataFrame) -> str:
    verdicts = strongest(rows).verdict
    agree, differ, left = (int(verdicts.isin(x).sum()) for x in (AGREE, ["differs"], ["not attempted"]))
    claims = f"{agree} hold, {differ} do not, {left} open"
    links = ", ".join(f"[{page_name(x).partition(':')[0]}](notebooks/{x}.ipynb)" for x in dict.fromkeys(rows.notebook))
    return f"| {question.question} | **{answer}** | {claims} | {links} |"


def _section(question: Question, answer: str, rows: pd.DataFrame) -> str:
    """The question, its answer, every sentence of the paper behind it, and what became of the numbers in its tables."""
    head = f"## {question.question}\n\n{question.plain}\n\n**{_sentence(answer)}**"
    printed = rows.id.isin(_printed())
    parts = [head, "\n".join(_item(row, row.id in question.key) for row in rows[~printed].itertuples())]
    if printed.any():
        count = strongest(rows[printed]).verdict.value_counts()
        counts = ", ".join(f"{count[v]} {v}" for v in get_args(Verdict) if v in count)
        parts.append(
            f"Of {count.sum()} numbers in the paper's tables: {counts}. [The ledger](claims.md) has them; see also "
            f"{_links(rows[printed])}."
        )
    return "\n\n".join(part for part in parts if part)


def _printed() -> set[str]:
    return {cell.id for name in TABLES for cell in cells(name)}


def _sentence(answer: str) -> str:
    return f"{answer[0].upper()}{answer[1:]}."


def _item(row, main: bool) -> str:
    """One claim: its verdict, bold where it is a ``main`` one, what the paper says, and what was found."""
    mark = "**" if main else "*"
    here = row.evidence or "here"
    if row.paper == "holds":
        found = f"{here[0].upper()}{here[1:]}: {row.note}." if row.note else ""
        return f"- {mark}{WORDS[row.verdict]}:{mark} {row.statement} {found}".rstrip()
    word = "Another number" if row.verdict == "differs" else WORDS[row.verdict]
    ours = row.ours.strip("()") if row.verdict != "not attempted" else f"not decided {row.ours}".rstrip()
    told = f"; {row.note}" if row.note else ""
    return f"- {mark}{word}:{mark} {row.statement} Paper: {row.paper}; {here}: {ours}{told}."


def _links(rows: pd.DataFrame) -> str:
    return ", ".join(map(page_link, dict.fromkeys(rows.notebook)))


def page_link(notebook: str) -> str:
    """A Markdown link to the page of a notebook."""
    return f"[{page_name(notebook)}](notebooks/{notebook}.ipynb)"


@cache
def page_name(notebook: str) -> str:
    """The title of the page of a notebook."""
    first = nbformat.read(project_root() / "notebooks" / f"{notebook}.ipynb", as_version=4).cells[0]
    return first.source.splitlines()[0].removeprefix("# ")


NEAR = 0.8
"""Accuracy of the network that another is to be told from."""


def firmness(study: Study) -> str:
    """A Markdown list for the page of conclusions."""
    return "\n".join([_seeds(study.sampled), *_formula(study.sampled)])


def _seeds(study: Study) -> str:
    spread = study_spread(study)
    if not spread.known:
        return "- *Seeds:* every network has one, so nothing can be told of the luck in an accuracy."
    below, above = told_apart(NEAR, spread.sd, ENOUGH_SEEDS, spread.freedom)
    return (
        f"- *Seeds:* the standard deviation between the seeds of one network is {spread.at(0.5)} at 50% top-1, "
        f"{spread.at(0.8)} at 80% and {spread.at(0.95)} at 95% ({spread.runs} runs of {spread.networks} networks). "
        f"Beside a network at {NEAR:.0%}, {ENOUGH_SEEDS} seeds of each show a difference in four of five studies only "
        f"where the other is truly below {below:.1%} or above {above:.1%} ({page_link('22_spread_of_seeds')})."
    )


def _formula(study: Study) -> list[str]:
    if study.preset.random_sample is None:
        return ["- *The formula:* this preset has no random sample to fit one on."]
    models = study.random_sample()
    kept = models[models.frontier].sort_values("macs")
    if len(kept) <= FEWEST:
        return [f"- *The formula:* {len(kept)} frontier models are too few to leave one out."]
    left = leave_one_out(kept, TinyFormula(restarts=1))
    errors, bands = prediction_errors(left), coverage(left, (0.95,)).set_index("dimension").inside
    lines = []
    for x in "rd":
        gain = 1 - (errors[x]["formula"] / errors[x]["mean of the others"]) ** 2
        lines.append(
            f"- *The formula, {DIMENSIONS[x]}:* for a frontier model left out of the fit its squared error is "
            f"{abs(gain):.0%} {'less' if gain > 0 else 'more'} than that of taking the mean of the others; "
            f"{bands[x]} of {len(left)} lie in its 95% band ({page_link('23_robustness_of_the_formula')})."
        )
    return lines
