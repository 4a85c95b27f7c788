"""What a visitor does with the site, and where its links lead."""

import re
from html.parser import HTMLParser
from urllib.parse import parse_qs, unquote, urlsplit

import pandas as pd

from tinynet_book.paper.claims import ledger
from tinynet_core.study.pages import behind


def test_from_the_first_page_to_a_claim_its_page_and_its_data(context, address, study):
    table, view = ledger(study.store), context.new_page()
    view.goto(f"{address}/index.html")
    view.wait_for_url("**/intro.html")
    view.get_by_role("link", name="ledger").first.click()
    view.wait_for_url("**/claims.html")
    rows = view.locator("#ledger tbody tr:visible")
    every = [text.lower() for text in rows.all_text_contents()]
    assert len(every) == len(table)
    view.locator("#ledger-search").fill("tinynet-e gain")
    view.get_by_label("Place").select_option("Table 3")
    wanted = [text for text in every if text.startswith("table 3") and "tinynet-e" in text and "gain" in text]
    assert [text.lower() for text in rows.all_text_contents()] == wanted
    assert view.locator("#ledger-count").inner_text() == f"{len(wanted)} of {len(table)} findings"
    view.locator("#claim-table3-e-gain a[href^=notebooks]").click()
    view.wait_for_url("**/notebooks/12_table3_imagenet.html")
    note = view.locator("details.origin", has_text="Table 12.2: files").first
    note.locator("summary").click()
    with view.expect_download() as download:
        note.get_by_role("link", name="table-12-2.csv").click()
    assert len(pd.read_csv(download.value.path())) > 3
    with view.expect_download() as download:
        note.get_by_role("link", name="records.csv").click()
    frame = pd.read_csv(download.value.path())
    assert {record.key for record in behind(study, "table3")} == set(frame.key)
    view.close()


def test_the_ledger_is_sorted_and_filtered_from_its_address(context, address, study):
    view = context.new_page()
    view.goto(f"{address}/claims.html?verdict=differs")
    rows = view.locator("#ledger tbody tr:visible")
    assert rows.count() == (ledger(study.store).verdict == "differs").sum()
    view.get_by_role("button", name="paper", exact=True).focus()
    view.keyboard.press("Enter")
    assert view.locator("#ledger th[aria-sort=ascending]").inner_text().strip().startswith("paper")
    texts = [re.match(r"-?[\d.]+", text) for text in rows.locator("td:nth-child(4)").all_inner_texts()]
    numbers = [float(text[0]) for text in texts if text]
    assert numbers == sorted(numbers)
    assert len(numbers) > 5
    assert not any(texts[len(numbers) :])  # what is no number comes behind
    view.locator("#ledger-search").fill("equation")
    assert parse_qs(view.evaluate("location.search")[1:]) == {"verdict": ["differs"], "search": ["equation"]}
    view.goto(f"{address}/claims.html#claim-table3-e-gain")
    row, header = (view.locator(x).bounding_box() for x in ("#claim-table3-e-gain", "#ledger thead tr"))
    assert row["y"] >= header["y"] + header["height"] - 1
    view.close()


class Links(HTMLParser):
    """The ids and the links of a page."""

    def __init__(self, path):
        super().__init__()
        self.ids, self.links = set(), []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        named = dict(attributes)
        self.ids.add(named.get("id"))
        self.links += [named[name] for name in ("href", "src") if name in named and (tag, named[name]) != ("a", "#")]


def test_every_link_and_anchor_leads_somewhere(site):
    pages = {path: Links(path) for path in site.rglob("*.html") if "_static" not in path.parts}
    broken = []
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            anchors = pages[target].ids if target in pages else {unquote(parts.fragment)}
            if not target.exists() or (parts.fragment and unquote(parts.fragment) not in anchors):
                broken.append(f"{path.relative_to(site)}: {link}")
    assert broken == []
