import pytest
from bs4 import BeautifulSoup

from tinynet_book import Finding, write_claims
from tinynet_book.paper.claims import claims, ledger
from tinynet_book.site.conclusions import page_name
from tinynet_book.site.ledger_page import COLUMNS, FILTERS, ledger_html
from tinynet_core import Store

TWO = ("27_width_against_resolution", "18_fig6_dimensions")
"""Pages of which both have a finding on one claim."""


@pytest.fixture
def table(tmp_path):
    store = Store(tmp_path)
    keys = ("a" * 64, "b" * 64, "c" * 64)
    found = {
        "fig3-rho-resolution": Finding(value=0.5, evidence="proxy", note="<b>&", records=keys, low=0.3, high=0.7),
        "fig3-resolution-over-width": Finding(value=None, evidence="proxy"),
        "fig3-order": Finding(value=True, evidence="proxy"),
    }
    write_claims(store, "03_fig3_frontier", found)
    of = {page: [c.id for c in claims().values() if page in (c.notebook, c.public)] for page in TWO}
    source = Finding(value=None, evidence="third party", records=("https://github.com/a/b",))
    for page, found in zip(TWO, (source, Finding(value=None, evidence="proxy")), strict=True):
        write_claims(store, page, dict.fromkeys(of[page], found))
    return ledger(store)


@pytest.fixture
def page(table):
    return BeautifulSoup(ledger_html(table, {name: page_name(name) for name in table.notebook}), "html.parser")


def test_every_claim_has_a_row_with_all_that_is_known(page):
    rows = [[cell.get_text() for cell in row(["td", "th"])] for row in page("tr")]
    assert len(rows) == 2 + len(claims())  # the head, and one claim with two findings
    assert page.find(id="claim-fig6-lower").find("a", href="https://github.com/a/b").get_text() == "source"
    assert page.find(id="claim-fig6-lower-proxy")
    texts = [cell.get_text() for cell in page.find(id="claim-fig3-rho-resolution")("td")]
    said = dict(zip(COLUMNS, texts, strict=True))
    assert (said["paper"], said["ours"], said["interval"]) == ("0.81 rho", "0.5 rho", "[0.3, 0.7]")
    assert (said["verdict"], said["evidence"], said["note"]) == ("differs", "proxy", "<b>&")
    assert said["records"] == "aaaaaaaaaaaa, bbbbbbbbbbbb and 1 more"


def test_every_row_can_be_chosen_by_every_list(page):
    rows = page("tr", id=True)
    for name in FILTERS:
        options = page.find(attrs={"data-filter": name})("option")
        assert {option.get_text() for option in options} - {"all"} == {row[f"data-{name}"] for row in rows}
    assert {"Table 7", "Abstract", "Section 3.1"} <= {row["data-place"] for row in rows}
