import re
from collections import Counter
from typing import get_args

import pandas as pd
import pytest

from tinynet_book.paper.claims import Evidence, claims, ledger
from tinynet_book.site.conclusions import answer, answered, at_a_glance, by_evidence, cards, conclusions, questions
from tinynet_core import Store, shrink
from tinynet_core.study.presets import load_preset, project_root


@pytest.fixture
def table(tmp_path):
    """The ledger of a store without findings; ``put`` fills rows of it."""
    return ledger(Store(tmp_path))


def put(table, key, verdict, evidence, **more):
    found = {"verdict": verdict, "evidence": evidence} | more
    table.loc[table.id.str.fullmatch(key), [*found]] = [*found.values()]


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
        (["differs"], "no"),
        (["not attempted"], "open"),
        (["matches", "differs", "not attempted"], "in part: 1 of 2 decided main claims hold"),
        (["matches", "not attempted", "not attempted"], "yes, as far as it could be decided (2 of 3 could not)"),
        (["differs", "not attempted"], "no, as far as it could be decided (1 of 2 could not)"),
    ],
)
def test_what_verdicts_say_together(verdicts, expected):
    assert answer(verdicts) == expected


def test_the_answers_take_every_row_of_the_ledger_and_rest_on_key_claims(table):
    put(table, "fig6-alleviates", "matches", "proxy")
    put(table, "table5-gain", "differs", "proxy")  # no key claim
    found = answered(table)
    assert sorted(key for _, _, rows in found for key in rows.id) == sorted(table.id)
    assert {question.question: text for question, text, _ in found if text != "open"} == {
        "Is it better than changing one dimension only?": "proxy: yes"
    }


def test_a_question_is_answered_on_each_kind_of_evidence_the_strongest_first():
    rows = [("a", "proxy", "matches"), ("b", "proxy", "not attempted"), ("a", "third party", "differs")]
    table = pd.DataFrame(rows, columns=["id", "evidence", "verdict"])
    far = "as far as it could be decided (1 of 2 could not)"
    assert by_evidence(table) == f"third party: no, {far}; proxy: yes, {far}"
    assert by_evidence(table[table.verdict == "not attempted"]) == "open"


def test_why_is_told_with_the_numbers_of_the_ledger_the_strongest_evidence_first(table, made_up_study):
    put(table, "duel-formula-beats-giant", "not attempted", "proxy", ours="(-1.828)", interval="[-7.776, 4.121]")
    put(table, "table3-a-vs-b0", "not attempted", "third party", ours="(0.784)", interval="[-0.902, 2.586]")
    put(table, "fig2-giant-beaten", "differs", "proxy", note="-3 of 40 ahead; few. Left out: one")
    text = conclusions(made_up_study.preset, answered(table), made_up_study.store.frame())
    giant, formula = (text.split("\n\n")[i].splitlines() for i in (1, 3))
    assert giant[0].startswith("**✗ [Is there something better than running EfficientNet's scaling rule backwards?]")
    assert giant[0].endswith("Proxy: no.")
    assert giant[1:] == ["- ✗ *proxy*: Of the random networks at a giant's cost −3 of 40 ahead; few."]
    assert formula[0].endswith("** Open.")
    assert formula[1].startswith("- ○ *third party*: ")
    assert "+0.8 [−0.9, +2.6]" in formula[1]
    assert formula[2].startswith("- ○ *proxy*: ")
    assert "−1.8 [−7.8, +4.1]" in formula[2]


def test_the_table_of_answers_counts_many_main_claims_and_shows_one_of_few(table):
    put(table, "table3-tinynet_.*-top1", "matches", "third party")
    put(table, "fig3-order", "differs", "proxy", note="r over d; more")
    text = at_a_glance(answered(table))
    for question, answered_by in (
        ("Do the networks reach the printed accuracies", "✓ yes** | 5 of 5 hold | third party |"),
        ("Do resolution and depth matter more than width?", "✗ no, partly open** | r over d | proxy |"),  # one of three
    ):
        (line,) = (line for line in text.splitlines() if line.startswith(f"| [{question}"))
        assert line.endswith(f"| **{answered_by}")


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
    preset = load_preset("imagenet100")
    samples = {"fig1": preset.random_experiments(), "fig2": preset.equal_cost_experiments()}
    macs = {name: sum(e.spec().complexity().macs for e in sample) for name, sample in samples.items()}
    giants = 3 * preset.c0 * (1 + 0.5 + 0.25 + 0.125 + 0.0625)  # of three seeds, to a few percent
    for name, sample in samples.items():
        ((trainings, hours),) = re.findall(rf"`tinynet sweep imagenet100 --page {name}` \| (\d+) \| (\d+) \|", page)
        assert int(trainings) == len(sample) + 3 * 5
        assert int(hours) == pytest.approx(2.5 * 100 / macs["fig1"] * (macs[name] + giants), abs=3)


def test_the_cards_of_the_first_page_have_their_numbers_from_the_ledger(table):
    assert cards(table).count("not measured") == 2
    put(table, "duel-formula-beats-giant", "not attempted", "proxy", ours="(-1.828)", interval="[-7.776, 4.121]")
    put(table, "table3-a-vs-b0", "matches", "third party", ours="holds", note="n = 3; more")
    put(table, "table7-macs", "matches", "recomputed", ours="591 M")
    text = cards(table)
    assert "**1 of 1** claims about costs and arithmetic hold." in text
    assert "TinyNet-A minus EfficientNet-B0: **n = 3** points. ✓ yes." in text
    assert "Formula minus giants, at equal cost: **−1.8 [−7.8, +4.1]** points. ○\u00a0open." in text


def test_the_example_of_the_first_page_is_what_shrink_gives():
    page = (project_root() / "book" / "intro.md").read_text(encoding="utf-8")
    x = shrink("efficientnet_b0", macs=100e6)
    said = f"r = {x.scale.r:g}, d = {x.scale.d:g} and w = {x.scale.w:g}, an input of {x.network.resolution} pixels"
    assert f"{said} and {x.cost / 1e6:.1f} million multiply-adds" in page
