"""The page of conclusions: plain questions about the paper, each answered by the verdicts on its claims."""

import re
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

from tinynet_book.paper.claims import THIRD_PARTY, Evidence, Verdict, claims, strongest
from tinynet_book.site import markdown_table
from tinynet_book.site.page import SIGNS as VERDICTS
from tinynet_book.tables import typeset
from tinynet_core.study.presets import Preset, project_root

AGREE = ("matches", "within tolerance")
MANY = 3  # if a question has more main claims, their number is shown
SIGNS = {"yes": "✓ yes", "no": "✗ no", "in part": "◐ in part", "open": "○ open"}
CARDS = (
    ("ImageNet, measured by others", "table3-a-vs-b0", (THIRD_PARTY,), "TinyNet-A minus EfficientNet-B0"),
    ("Our trainings", "duel-formula-beats-giant", ("proxy", "trained"), "Formula minus giants, at equal cost"),
)
"""Cards of the first page: title, claim, kinds of evidence, and the meaning of the number."""
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
_CLAUSE_ENDS = re.compile(r"; |\. | \(")
_SENTENCE_ENDS = re.compile(r"\. ")


class Question(BaseModel):
    """A question and its claims, by id or by a pattern with ``*``.

    The ``key`` claims give the answer; if ``key`` is empty, all claims do. The others are further evidence. ``why``
    has a sentence by claim, or by ``claim@evidence``, with ``{}`` in place of the finding in the ledger.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    question: str
    claims: tuple[str, ...]
    key: tuple[str, ...] = ()
    why: dict[str, str]

    def ids(self) -> list[str]:
        """Return the ids of the question's claims, in the order of the ledger."""
        return [key for key in claims() if any(fnmatchcase(key, pattern) for pattern in self.claims)]


Answered = list[tuple[Question, str, pd.DataFrame]]
"""Questions, each with its answer and the rows of the ledger behind it."""


@cache
def questions() -> tuple[Question, ...]:
    """Return all questions, in the order of the page."""
    written = yaml.safe_load(Path(__file__).with_name("questions.yaml").read_text(encoding="utf-8"))
    return tuple(map(Question.model_validate, written))


def answered(ledger: pd.DataFrame) -> Answered:
    """Return each question with its answers and its rows of the ``ledger`` (``claims.ledger``)."""
    found = [(question, ledger[ledger.id.isin(question.ids())]) for question in questions()]
    return [(q, by_evidence(rows[rows.id.isin(q.key or q.ids())]), rows) for q, rows in found]


def by_evidence(rows: pd.DataFrame) -> str:
    """Return the joint answer of ``rows`` for each kind of evidence that decides a claim, the strongest first."""
    said = []
    for evidence in get_args(Evidence):
        at = rows[rows.evidence == evidence].set_index("id").verdict
        if (at != "not attempted").any():
            said.append(f"{evidence}: {answer(at.get(key, 'not attempted') for key in rows.id.unique())}")
    return "; ".join(said) or answer([])


def answer(verdicts: Iterable[str]) -> str:
    """Return the joint answer of the verdicts on the key claims of one question, in a few words."""
    count = Counter(verdicts)
    agree, differ, left = sum(count[v] for v in AGREE), count["differs"], count["not attempted"]
    if not agree and not differ:
        return "open"
    if agree and differ:
        return f"in part: {agree} of {agree + differ} decided main claims hold"
    whole = "yes" if agree else "no"
    return f"{whole}, as far as it could be decided ({left} of {agree + differ + left} could not)" if left else whole


def conclusions(preset: Preset, found: Answered, records: pd.DataFrame) -> str:
    """Return the generated part of the page, in Markdown."""
    whys = ["::::{container} answers", *(_section(*entry) for entry in found), "::::"]
    return "\n\n".join([*whys, "## What this rests on", _basis(preset, records)])


def cards(table: pd.DataFrame) -> str:
    """Return three cards side by side: the arithmetic, ImageNet as measured by others, and the trainings here."""
    exact = table[table.evidence == "recomputed"]
    agree = f"**{exact.verdict.isin(AGREE).sum()} of {len(exact)}** claims about costs and arithmetic hold."
    parts = [("The arithmetic", "notebooks/06_table3_costs", agree)]
    for title, key, evidence, what in CARDS:
        rows = table[(table.id == key) & table.evidence.isin(evidence)]
        found = f"**{number(rows.iloc[0])}** points. {sign(rows.verdict)}." if len(rows) else "not measured."
        page = claims()[key].page(evidence[0])
        parts.append((title, f"notebooks/{page}", f"{what}: {found}".replace("○ ", "○\u00a0")))
    card = ":::{{grid-item-card}} {}\n:link: {}\n:link-type: doc\n{}\n:::"
    shown = "\n\n".join(card.format(*part) for part in parts)
    return f"::::{{grid}} 1 1 3 3\n:gutter: 2\n\n{shown}\n::::"


def number(row: pd.Series, ends: re.Pattern[str] = _CLAUSE_ENDS) -> str:
    """Return the number of a row of the ledger with its interval, to one decimal, or else its note up to ``ends``."""
    return _own_number(row) or typeset(ends.split(row.note)[0]) or row.ours.strip("()") or "not measured"


def _own_number(row: pd.Series) -> str:
    found = _NUMBER.match(row.ours.strip("()"))
    ends = _NUMBER.findall(row.interval)
    if not found:
        return ""
    if not ends:
        return typeset(row.ours.strip("()"))
    value, low, high = (f"{float(x):+.1f}".replace("-", "−") for x in (found[0], *ends))
    return f"{value} [{low}, {high}]"


def sign(verdicts: Iterable[str]) -> str:
    """Return the joint answer of the verdicts as a sign and a word."""
    said = answer(verdicts)
    shown = next(shown for start, shown in SIGNS.items() if said.startswith(start))
    return f"{shown}, partly open" if "as far as" in said else shown


def at_a_glance(found: Answered) -> str:
    """Return a Markdown table of all questions: answer, the number that decides, and the kind of evidence."""
    lines = []
    for question, _, rows in found:
        row, verdicts = _decided(question, rows)
        there = rows[(rows.evidence == row.evidence) & rows.id.isin(question.key)]
        about = ((x, question.why.get(f"{x.id}@{x.evidence}") or question.why.get(x.id)) for _, x in there.iterrows())
        told = "; ".join(text.format(number(x)).removesuffix(".") for x, text in about if text) or number(row)
        if len(verdicts) > MANY:
            told = f"{sum(x in AGREE for x in verdicts)} of {len(verdicts)} hold"
        link = f"[{question.question}](notebooks/{row.notebook}.ipynb)"
        lines.append((link, f"**{sign(verdicts)}**", told, row.evidence or "none"))
    return markdown_table(["question", "answer", "decided by", "evidence"], lines)


def _decided(question: Question, rows: pd.DataFrame) -> tuple[pd.Series, list[Verdict]]:
    """Return the first deciding row of the page with most such rows, and the main verdicts on its kind of evidence."""
    main = strongest(rows[rows.id.isin(question.key or question.ids())])
    decided = main[main.verdict != "not attempted"]
    main_rows = decided if len(decided) else main
    row = main_rows[main_rows.notebook == main_rows.notebook.mode()[0]].iloc[0]
    there = rows[rows.evidence == row.evidence].set_index("id").verdict
    return row, [there.get(key, "not attempted") for key in main.id]


def _basis(preset: Preset, records: pd.DataFrame) -> str:
    trained = records[records.kind.isin(["training", "detection"])]
    return (
        f"This site rests on {len(trained)} trained networks of the preset `{preset.name}`, of which "
        f"{(trained.status == 'failed').sum()} failed; one core needs {trained.wall_s.sum() / 3600:.1f} hours for "
        f"them. Its statements about accuracy are **{preset.evidence}** evidence: {preset.about}"
    )


def _section(question: Question, said: str, rows: pd.DataFrame) -> str:
    """Return a question with its answer and the findings for a few claims, the strongest evidence first."""
    decided, verdicts = _decided(question, rows)
    link = f"[{question.question}](notebooks/{decided.notebook}.ipynb)"
    head = f"**{sign(verdicts)[0]} {link}** {said[0].upper()}{said[1:]}."
    lines = []
    for claim, text in question.why.items():
        key, _, evidence = claim.partition("@")
        there = rows[(rows.id == key) & (rows.evidence == evidence if evidence else rows.evidence != "")]
        if len(there):
            row = there.iloc[0]
            found = text.format(number(row, _SENTENCE_ENDS))
            lines.append((row.evidence, f"- {VERDICTS[row.verdict][0]} *{row.evidence}*: {found}"))
    lines.sort(key=lambda line: get_args(Evidence).index(line[0]))
    return "\n".join([head, *(line for _, line in lines or [("", "- Nothing was trained or measured for it.")])])


@cache
def page_name(notebook: str) -> str:
    """Return the title of the page of a notebook."""
    first = nbformat.read(project_root() / "notebooks" / f"{notebook}.ipynb", as_version=4).cells[0]
    return first.source.splitlines()[0].removeprefix("# ")
