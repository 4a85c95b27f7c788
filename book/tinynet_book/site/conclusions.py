"""The page of conclusions: the paper's claims as plain questions, each with its answer here and the evidence."""

from functools import cache
from typing import get_args

import nbformat
import pandas as pd

from tinynet_book.paper.cells import TABLES, cells
from tinynet_book.paper.claims import THIRD_PARTY, Verdict, ledger, strongest
from tinynet_book.paper.questions import AGREE, Question, answered
from tinynet_book.site.provenance import EXACT
from tinynet_core.study.classify import Experiment
from tinynet_core.study.pages import series
from tinynet_core.study.presets import Preset, project_root
from tinynet_core.study.store import Store
from tinynet_core.study.study import Study

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
        f"are decided by what others measured in public ({(public & agree).sum()} agree, {(public & ~agree).sum()} do "
        f"not) and {trained.sum()} here ({(trained & agree).sum()} agree, {(trained & ~agree).sum()} do not). The "
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
