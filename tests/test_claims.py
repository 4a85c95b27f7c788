import pytest

from tinynet_book import Estimate
from tinynet_book import claim as hand_over
from tinynet_book.analysis.intervals import Interval
from tinynet_book.paper.claims import (
    THIRD_PARTY,
    Claim,
    Finding,
    claims,
    decided,
    finding,
    ledger,
    strongest,
    verdict,
    write_claims,
)
from tinynet_core import Store
from tinynet_core.study.presets import project_root


def claim(paper, tolerance=0.0):
    return Claim(id="x", source="", statement="", paper=paper, tolerance=tolerance, notebook="")


TINIEST = claims()["table3-tinynet_e-params"]
"""Its printed 2.0M stands for what rounds to 2.0, not for anything that rounds to 2."""


@pytest.mark.parametrize(
    ("row", "value", "expected"),
    [
        (claim(True), True, "matches"),
        (claim(True), False, "differs"),
        (claim(0.81, 0.1), 0.812, "matches"),
        (claim(0.81, 0.1), 0.9, "within tolerance"),
        (claim(0.81, 0.1), 0.5, "differs"),
        (TINIEST, 2.043, "matches"),
        (TINIEST, 2.3, "differs"),
        (claim(0.81, 0.1), float("nan"), "not attempted"),
        (claim(0.81, 0.1), None, "not attempted"),
    ],
)
def test_verdicts(row, value, expected):
    assert verdict(row, value) == expected


@pytest.mark.parametrize(("paper", "value", "kind"), [(True, 0.5, "bool"), (0.5, True, "float")])
def test_a_sentence_is_not_judged_by_a_number_nor_a_number_by_a_sentence(paper, value, kind):
    with pytest.raises(ValueError, match=f"claim x needs a {kind}"):
        verdict(claim(paper), value)


def test_no_gain_at_all_is_not_within_the_tolerance_of_a_gain():
    gains = [c for key, c in claims().items() if key.endswith("gain")]
    assert len(gains) > 10
    for row in gains:
        assert 0 < row.tolerance <= abs(row.paper) / 2, row.id
        assert verdict(row, 0.0) == verdict(row, -row.paper) == "differs"


def test_every_claim_is_of_a_notebook_that_hands_over_its_claims():
    notebooks = {p.stem: p.read_text(encoding="utf-8") for p in (project_root() / "notebooks").glob("*.ipynb")}
    assert {page for c in claims().values() for page in (c.notebook, c.public) if page} == {
        name for name, text in notebooks.items() if "book.claim(" in text
    }


SIMILAR, AT_MOST_A_POINT_BEHIND = claims()["table4-e-similar"], claims()["table3-a-vs-b0"]


@pytest.mark.parametrize(
    ("sentence", "found", "expected"),
    [
        (claim(True), True, True),
        (claim(True), [Interval(1.0, 0.1, 2.0), Interval(2.0, 1.0, 3.0)], True),
        (claim(True), [Interval(1.0, -0.1, 2.0), Interval(2.0, 1.0, 3.0)], None),
        (claim(True), [Interval(-1.0, -2.0, -0.1), Interval(2.0, 1.0, 3.0)], False),
        (claim(True), [Interval(1.0), Interval(2.0, 1.0, 3.0)], None),
        (claim(True), None, None),
        (SIMILAR, Interval(0.95, 0.8, 1.1), True),
        (SIMILAR, Interval(0.85, 0.7, 1.0), None),
        (SIMILAR, Interval(0.55, 0.5, 0.6), False),
        (SIMILAR, Interval(1.25, 1.2, 1.3), False),
        (AT_MOST_A_POINT_BEHIND, Interval(1.0, -0.9, 3.0), True),
        (AT_MOST_A_POINT_BEHIND, Interval(1.0, -1.1, 3.0), None),
    ],
)
def test_a_sentence_is_decided_by_intervals_on_one_side_or_in_the_range_that_it_asks_for(sentence, found, expected):
    assert decided(sentence, Estimate(found, "proxy"))[0] is expected
    assert decided(sentence, Estimate(found, "proxy", open="too few"))[0] is None


@pytest.mark.parametrize(
    ("found", "most", "value", "shown"),
    [
        (0.82, 9, 0.82, (None, None, None)),
        (Interval(0.8, 0.76, 0.83), 9, 0.8, (0.76, 0.83, None)),
        (Interval(0.93, 0.92, 0.95), 9, 0.93, (0.92, 0.95, None)),
        (Interval(0.9, 0.85, 0.92), 9, None, (0.85, 0.92, 0.9)),
        (Interval(0.5, 0.4, 0.6), 0.7, None, (0.4, 0.6, 0.5)),
        (Interval(0.5), 9, None, (None, None, 0.5)),
    ],
)
def test_a_number_is_decided_where_its_interval_tells(found, most, value, shown):
    kept = finding(claim(0.81, 0.1), Estimate(found, "proxy", "n = 3", most=most))
    assert (kept.value, (kept.low, kept.high, kept.estimate)) == (value, shown)
    assert kept.note.startswith("n = 3. Open: ") == (value is None)


def test_findings_are_kept_and_judged(tmp_path):
    store = Store(tmp_path)
    assert (ledger(store).verdict == "not attempted").all()
    estimates = {
        "fig3-rho-resolution": Estimate(Interval(0.75, 0.72, 0.9), "proxy", "n = 20", ("k",)),
        "fig3-resolution-over-width": Estimate([Interval(-1.0, -2.0, -0.5)], "proxy"),
        "fig3-order": Estimate(None, "proxy", open="too few"),
    }
    shown = hand_over(store, estimates)
    assert shown.verdict.tolist() == ["within tolerance", "differs", "not attempted"]
    full = ledger(store).set_index("id")
    columns = ["paper", "ours", "interval", "records"]
    assert full.loc["fig3-rho-resolution", columns].tolist() == ["0.81 rho", "0.75 rho", "[0.72, 0.9]", "k"]
    assert full.loc["fig3-order", ["interval", "note"]].tolist() == ["", "too few"]
    assert len(full) == len(claims()) > 350


@pytest.mark.parametrize(
    ("estimates", "message"),
    [
        ({"fig3-order": Estimate(True, "proxy"), "b0-macs": Estimate(1.0, "proxy")}, "of the claims of one page"),
        ({"fig3-order": Estimate(True, "proxy")}, "must give findings for"),
        ({"nonsense": Estimate(1.0, "proxy")}, "unknown claim 'nonsense'"),
    ],
)
def test_a_page_must_answer_all_its_claims(tmp_path, estimates, message):
    with pytest.raises(ValueError, match=message):
        hand_over(Store(tmp_path), estimates)
    assert not (tmp_path / "claims").exists()


def test_a_claim_has_one_finding_on_each_kind_of_evidence_and_the_strongest_that_decides_counts(tmp_path):
    store, page = Store(tmp_path), "18_fig6_dimensions"
    mine = [c.id for c in claims().values() if c.notebook == page]
    own = {key: Finding(value=True if claims()[key].paper is True else None, evidence="proxy") for key in mine}
    assert set(write_claims(store, page, own).evidence) == {"proxy"}
    grids = {c.id: Finding(value=None, evidence=THIRD_PARTY) for c in claims().values() if "27_" in c.public}
    grids |= {c.id: Finding(value=False, evidence=THIRD_PARTY) for c in claims().values() if "27_" in c.notebook}
    shown = write_claims(store, "27_width_against_resolution", grids)
    assert sorted(shown.verdict) == ["differs", "not attempted"]
    rows = ledger(store).query("id == 'fig6-lower'")
    assert rows[["evidence", "verdict", "notebook"]].values.tolist() == [
        [THIRD_PARTY, "not attempted", "27_width_against_resolution"],
        ["proxy", "matches", page],
    ]
    best = strongest(ledger(store)).set_index("id")
    assert best.index.tolist() == list(claims())
    assert best.loc["fig6-lower", ["evidence", "verdict"]].tolist() == ["proxy", "matches"]
    assert best.loc["table1-resolution-loses-more", "verdict"] == "differs"


def test_third_parties_are_asked_of_every_printed_accuracy_on_imagenet_and_of_none_on_other_data():
    asked = {key for key, c in claims().items() if c.public}
    accuracies = {key for key in claims() if key.endswith(("top1", "top5"))}
    assert accuracies - asked == {key for key in accuracies if key.startswith(("table1", "table2"))}
    assert not any(c.notebook == c.public for c in claims().values())
