from collections import Counter
from typing import get_args

import pandas as pd
import pytest

from tinynet_book.paper.claims import Evidence, claims, ledger
from tinynet_book.site.conclusions import (
    answer,
    answered,
    at_a_glance,
    by_evidence,
    cards,
    conclusions,
    questions,
)
from tinynet_core import Store, shrink
from tinynet_core.study.presets import load_preset, project_root


def test_every_claim_answers_exactly_one_question():
    count = Counter(key for question in questions() for key in question.ids())
    assert {key for key, n in count.items() if n > 1} == set()
    assert count.keys() == claims().keys()
    for question in questions():
        for pattern in question.claims:
            assert question.model_copy(update={"claims": (pattern,)}).ids(), pattern


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        (["matches", "within tolerance"], "yes"),
        (["differs", "differs"], "no"),
        (["not attempted"] * 3, "open"),
        ([], "open"),
        (["matches", "differs", "not attempted"], "in part: 1 of 2 decided main claims hold"),
        (["matches", "not attempted", "not attempted"], "yes, as far as it could be decided (2 of 3 could not)"),
        (["differs", "not attempted"], "no, as far as it could be decided (1 of 2 could not)"),
    ],
)
def test_what_verdicts_say_together(verdicts, expected):
    assert answer(verdicts) == expected


def test_the_answers_take_every_row_of_the_ledger(tmp_path):
    table = ledger(Store(tmp_path))
    table.loc[table.id == "fig6-alleviates", ["verdict", "evidence"]] = "matches", "proxy"
    table.loc[table.id == "table5-gain", ["verdict", "evidence"]] = "differs", "proxy"  # no key claim: no answer by it
    found = answered(table)
    assert sorted(key for _, _, rows in found for key in rows.id) == sorted(table.id)
    answers = {question.question: text for question, text, _ in found}
    changed = answers.pop("Is it better than changing one dimension only?")
    assert changed == "proxy: yes"
    assert set(answers.values()) == {"open"}


def test_a_question_is_answered_on_each_kind_of_evidence_the_strongest_first():
    rows = [("a", "proxy", "matches"), ("b", "proxy", "not attempted"), ("a", "third party", "differs")]
    table = pd.DataFrame(rows, columns=["id", "evidence", "verdict"])
    far = "as far as it could be decided (1 of 2 could not)"
    assert by_evidence(table) == f"third party: no, {far}; proxy: yes, {far}"
    assert by_evidence(table[table.verdict == "not attempted"]) == "open"


def test_the_page_without_any_record_says_so(tmp_path):
    store = Store(tmp_path / "none")
    text = conclusions(load_preset("smoke"), answered(ledger(store)), store.frame())
    assert "There are no records" in text
    assert text.count("\n- Nothing was trained or measured for it.") == len(questions())
    assert text.count("Open.") == len(questions())


def test_why_is_told_with_the_numbers_of_the_ledger_the_strongest_evidence_first(tmp_path):
    store = Store(tmp_path)
    table = ledger(store)
    columns = ["id", "ours", "interval", "evidence", "verdict", "note"]
    rows = [
        ("duel-formula-beats-giant", "(-1.828)", "[-7.776, 4.121]", "proxy", "not attempted", "mean of 4"),
        ("table3-a-vs-b0", "(0.784)", "[-0.902, 2.586]", "third party", "not attempted", ""),
        ("fig2-giant-beaten", "does not hold", "", "proxy", "differs", "-3 of 40 ahead; few. Left out: one"),
        ("table3-tinynet_e-top1", "59.87 % top-1", "", "third party", "matches", "elsewhere"),
    ]
    for row in rows:
        table.loc[table.id == row[0], columns] = row
    paragraphs = conclusions(load_preset("smoke"), answered(table), store.frame()).split("\n\n")
    giant, formula, reached = paragraphs[1], paragraphs[3], paragraphs[len(questions())]
    assert giant.startswith(
        "**✗ [Is there something better than running EfficientNet's scaling rule backwards?](notebooks/"
    )
    assert giant.endswith("Proxy: no.\n- ✗ *proxy*: Of the random networks at a giant's cost −3 of 40 ahead; few.")
    assert formula.splitlines()[0].endswith("** Open.")
    first, second = formula.splitlines()[1:]
    assert first.startswith("- ○ *third party*: ")
    assert "+0.8 [−0.9, +2.6]" in first
    assert second.startswith("- ○ *proxy*: ")
    assert second.endswith("−1.8 [−7.8, +4.1].")
    assert reached.endswith(": 59.87 % top-1.")


def test_the_table_of_answers_counts_many_main_claims_and_shows_one_of_few(tmp_path):
    table = ledger(Store(tmp_path))
    table.loc[table.id.str.fullmatch("table3-tinynet_.*-top1"), ["verdict", "evidence"]] = "matches", "third party"
    table.loc[table.id == "fig3-order", ["verdict", "evidence", "note"]] = "differs", "proxy", "r over d; more"
    lines = at_a_glance(answered(table)).splitlines()
    reached = next(x for x in lines if x.startswith("| [Do the networks reach the printed accuracies"))
    assert reached.endswith("| **✓ yes** | 5 of 5 hold | third party |")
    dimensions = next(x for x in lines if x.startswith("| [Do resolution and depth matter more than width?]"))
    assert dimensions.endswith("| **✗ no, partly open** | r over d | proxy |")  # one of three main claims is decided


def test_sentences_of_answers_are_about_claims_of_their_question():
    for question in questions():
        assert question.why
        for claim, text in question.why.items():
            key, _, evidence = claim.partition("@")
            assert key in question.ids()
            assert text.count("{}") == 1
            assert not evidence or evidence in get_args(Evidence)


def test_the_next_steps_rest_on_the_quoted_hours():
    """2.5 GPU-hours on average for one model of the random sample (paper, section 4.2)."""
    page = (project_root() / "book" / "gpu.md").read_text(encoding="utf-8")
    table = [[cell.strip() for cell in line.split("|")[1:-1]] for line in page.splitlines() if "| `tinynet" in line]
    frame = pd.DataFrame(table, columns=["what", "command", "trainings", "hours"]).set_index("command")
    assert frame.loc["`tinynet sweep imagenet100 --page fig1`", "trainings"] == "115"
    preset = load_preset("imagenet100")
    random = [e.spec().complexity().macs for e in preset.random_experiments()]
    equal = [e.spec().complexity().macs for e in preset.equal_cost_experiments()]
    giants = 3 * preset.c0 * (1 + 0.5 + 0.25 + 0.125 + 0.0625)  # of three seeds, to a few percent
    hours = 2.5 * 100 / sum(random)
    fig1, fig2 = (float(frame.loc[f"`tinynet sweep imagenet100 --page {p}`", "hours"]) for p in ("fig1", "fig2"))
    assert fig1 == pytest.approx(hours * (sum(random) + giants), abs=3)
    assert fig2 == pytest.approx(hours * (sum(equal) + giants), abs=3)


def test_the_cards_of_the_first_page_have_their_numbers_from_the_ledger(tmp_path):
    table = ledger(Store(tmp_path))
    assert cards(table).count("not measured") == 2
    columns = ["ours", "interval", "evidence", "verdict", "note"]
    table.loc[table.id == "duel-formula-beats-giant", columns] = (
        "(-1.828)",
        "[-7.776, 4.121]",
        "proxy",
        "not attempted",
        "",
    )
    table.loc[table.id == "table3-a-vs-b0", columns] = "holds", "", "third party", "matches", "n = 3; more"
    table.loc[table.id == "table7-macs", columns] = "591 M", "", "recomputed", "matches", ""
    text = cards(table)
    assert "**1 of 1** claims about costs and arithmetic hold." in text
    assert "TinyNet-A minus EfficientNet-B0: **n = 3** points. ✓ yes." in text
    assert "Formula minus giants, at equal cost: **−1.8 [−7.8, +4.1]** points. ○\u00a0open." in text
    for card in text.split("grid-item-card")[1:]:
        assert len(card.split()) <= 40


def test_the_example_of_the_first_page_is_what_shrink_gives():
    page = (project_root() / "book" / "intro.md").read_text(encoding="utf-8")
    x = shrink("efficientnet_b0", macs=100e6)
    said = f"r = {x.scale.r:g}, d = {x.scale.d:g} and w = {x.scale.w:g}, an input of {x.network.resolution} pixels"
    assert f"{said} and {x.cost / 1e6:.1f} million multiply-adds" in page
