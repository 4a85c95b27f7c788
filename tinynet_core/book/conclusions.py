"""The page of conclusions: the paper's claims as plain questions, each with its answer here and the evidence."""

from datetime import timedelta

import pandas as pd

from tinynet_core.experiments import Experiment
from tinynet_core.paper.claims import ledger
from tinynet_core.paper.questions import answered
from tinynet_core.presets import Preset, load_preset
from tinynet_core.series import giants, table3
from tinynet_core.store import Store

QUOTED_HOURS = 2.5
"""GPU-hours on average for one model of the random sample on ImageNet-100, one V100 (paper, section 4.2)."""


def conclusions(preset: Preset, store: Store) -> str:
    """The generated part of the page, in Markdown."""
    parts = [_basis(preset, store.frame())]
    found = answered(ledger(store))
    head = "| question | answer here | claims: agree, differ, open | pages |\n|---|---|---|---|"
    parts.append("\n".join([head, *(_line(*entry) for entry in found)]))
    parts += [_section(*entry) for entry in found]
    return "\n\n".join(parts)


def next_steps() -> str:
    """What a reader with a GPU should run next, with the hours that the paper's own rate implies, in Markdown."""
    hundred, thousand = load_preset("imagenet100"), load_preset("imagenet1k")
    random = hundred.random_experiments()
    rate = sum(e.work for e in random) / (QUOTED_HOURS * len(random))
    steps = (
        ("Do random networks beat the rule run backwards (Figures 1 and 3)?", "imagenet100", "fig1",
         [*random, *giants(hundred).all()]),
        ("Which dimension matters at one cost (Figure 2)?", "imagenet100", "fig2",
         [*hundred.equal_cost_experiments(), *giants(hundred).all()]),
        ("Are the TinyNets better on ImageNet itself (Table 3)?", "imagenet1k", "table3", table3(thousand).all()),
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
    failed = int((records.status == "failed").sum())
    hours = timedelta(seconds=round(records.wall_s.sum()))
    trained = int(records.kind.isin(["training", "detection"]).sum())
    return (
        f"This site rests on {trained} trained networks of the preset `{preset.name}`, of which {failed} failed; one "
        f"core needs {hours} (h:mm:ss) for them. What it says of accuracy is **{preset.evidence}** "
        f"evidence: {preset.about}"
    )


def _line(question, answer: str, rows: pd.DataFrame) -> str:
    count = rows.verdict.value_counts()
    agree = count.get("matches", 0) + count.get("within tolerance", 0)
    numbers = f"{agree}, {count.get('differs', 0)}, {count.get('not attempted', 0)}"
    links = ", ".join(f"[{name.split('_')[1]}](notebooks/{name}.ipynb)" for name in dict.fromkeys(rows.notebook))
    return f"| {question.question} | **{answer}** | {numbers} | {links} |"


def _section(question, answer: str, rows: pd.DataFrame) -> str:
    head = "| the paper says | paper | here | evidence | verdict | how sure |\n|---|---|---|---|---|---|"
    shown = rows if len(rows) <= 12 else rows[rows.verdict.isin(["differs", "not attempted"])]
    lines = [
        "| " + " | ".join(_cell(x) for x in (r.statement, r.paper, r.ours, r.evidence, r.verdict, r.note)) + " |"
        for r in shown.itertuples()
    ]
    left_out = len(rows) - len(shown)
    rest = f"\n\nThe other {left_out} claims agree with the paper; [all of them](claims.md)." if left_out else ""
    return (
        f"## {question.question}\n\n{question.plain}\n\n**{answer[0].upper()}{answer[1:]}.**\n\n"
        + "\n".join([head, *lines])
        + rest
    )


def _cell(value: object) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ")
