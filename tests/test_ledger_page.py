import re
from html.parser import HTMLParser

import matplotlib
import pytest

from tinynet_book import Finding, figures, write_claims
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


class Rows(HTMLParser):
    """The cells of every row of the table, as text."""

    def __init__(self, html):
        super().__init__()
        self.rows, self.attributes, self.open = [], [], False
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        if tag == "tr":
            self.rows.append([])
            self.attributes.append(dict(attributes))
        self.open = self.open or tag in ("td", "th")
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        self.open = self.open and tag not in ("td", "th")

    def handle_data(self, data):
        if self.open:
            self.rows[-1][-1] += data


def html(table):
    return ledger_html(table, {name: page_name(name) for name in table.notebook})


def test_every_claim_has_a_row_with_all_that_is_known(table):
    parsed = Rows(html(table))
    assert len(parsed.rows) == 2 + len(claims())  # the head, and one claim with two findings
    ids = [a["id"] for a in parsed.attributes if "id" in a]
    assert len(set(ids)) == len(ids)
    assert {"claim-fig6-lower", "claim-fig6-lower-proxy"} <= set(ids)
    assert '<a href="https://github.com/a/b">source</a>' in html(table)
    assert parsed.rows[0] == list(COLUMNS.values())
    assert {len(row) for row in parsed.rows} == {len(COLUMNS)}
    (row,) = (
        cells
        for cells, a in zip(parsed.rows, parsed.attributes, strict=True)
        if a.get("id") == "claim-fig3-rho-resolution"
    )
    said = dict(zip(COLUMNS, row, strict=True))
    assert said["paper"] == "0.81 rho"
    assert (said["ours"], said["interval"], said["tolerance"]) == ("0.5 rho", "[0.3, 0.7]", "0.1")
    assert (said["verdict"], said["evidence"], said["note"]) == ("differs", "proxy", "<b>&")
    assert said["records"] == "aaaaaaaaaaaa, bbbbbbbbbbbb and 1 more"
    assert said["page"] == "Figure 3: what the best models have in common"


def test_every_row_can_be_chosen_by_every_list(table):
    text = html(table)
    rows = [a for a in Rows(text).attributes if "id" in a]
    for name in FILTERS:
        options = re.search(rf'data-filter="{name}">(.*?)</select>', text)[1]
        values = set(re.findall("<option>(.*?)</option>", options))
        assert {row[f"data-{name}"] for row in rows} == values
    assert {"Table 7", "Abstract", "Section 3.1"} <= {row["data-place"] for row in rows}


def test_bars_hold_every_claim_once(table):
    matplotlib.use("Agg")
    figure = figures.verdicts_by_evidence(table)
    (axes,) = figure.axes
    widths = sum(bar.get_width() for bars in axes.containers for bar in bars)
    assert widths == len(table)
    assert axes.get_xlabel() == f"findings on claims of the paper (n = {len(table)})"
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["matches (1)", "differs (1)", f"not attempted ({len(table) - 2})"]
    matplotlib.pyplot.close(figure)
