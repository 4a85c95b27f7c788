"""The paper in plain questions, each answered by the verdicts on its claims."""

from collections import Counter
from collections.abc import Iterable
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import get_args

import pandas as pd
import yaml
from pydantic import BaseModel, ConfigDict

from tinynet_book.paper.claims import Evidence, claims

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
        """Ids of its claims, in the order of the ledger; raises ``ValueError`` for a pattern that fits none."""
        known = list(claims())
        for pattern in self.claims:
            if not any(fnmatchcase(key, pattern) for key in known):
                raise ValueError(f"question {self.question!r}: no claim is called {pattern}")
        return [key for key in known if any(fnmatchcase(key, pattern) for pattern in self.claims)]


@cache
def questions() -> tuple[Question, ...]:
    """All questions, in the order of the page."""
    return tuple(
        map(
            Question.model_validate,
            yaml.safe_load(Path(__file__).with_name("questions.yaml").read_text(encoding="utf-8")),
        )
    )


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
