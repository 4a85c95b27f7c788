"""What a visitor does with the site, and what must hold of every page for all of them."""

import re
from html.parser import HTMLParser
from urllib.parse import parse_qs, unquote, urlsplit

import pandas as pd
import pytest
from bs4 import BeautifulSoup
from test_site import LACKING

from tinynet_book.paper import rows
from tinynet_book.paper.claims import claims, ledger
from tinynet_core.study.pages import behind


@pytest.fixture(scope="module")
def pages(site):
    """The pages that were notebooks, parsed."""
    return {
        path: BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")
        for path in sorted((site / "notebooks").glob("*.html"))
    }


def test_from_the_first_page_to_a_claim_its_page_and_its_data(browser, address, study):
    view = browser.new_page(viewport={"width": 1280, "height": 1000})
    view.goto(f"{address}/index.html")
    view.wait_for_url("**/intro.html")
    assert view.locator("article img").first.bounding_box()["y"] < 450
    cards = view.locator(".sd-card")
    assert [card.locator(".sd-card-title").inner_text() for card in cards.all()] == [
        *("The arithmetic", "ImageNet, measured by others", "Our trainings")
    ]
    assert max(card.bounding_box()["y"] for card in cards.all()) < 1000
    heads = [head.inner_text().removesuffix("#") for head in view.locator("article h2").all()]
    assert heads == ["What holds", "Use it", "Check it", "The map"]
    view.get_by_role("link", name="ledger").first.click()
    view.wait_for_url("**/claims.html")
    rows = view.locator("#ledger tbody tr:visible")
    assert rows.count() == len(ledger(study.store))
    view.locator("#ledger-search").fill("tinynet-e gain")
    view.get_by_label("Place").select_option("Table 3")
    table = ledger(study.store)
    words = table[["source", "statement", "notebook"]].agg(" ".join, axis=1).str.lower()
    wanted = table.id[
        words.str.contains("tinynet-e") & words.str.contains("gain") & table.source.str.startswith("Table 3")
    ]
    shown = [row.get_attribute("id") for row in rows.all()]
    assert set(shown) >= {f"claim-{key}" for key in wanted} != set()
    assert view.locator("#ledger-count").inner_text() == f"{len(shown)} of {len(table)} findings"
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


def test_the_ledger_is_sorted_and_filtered_from_its_address(browser, address, study):
    view = browser.new_page()
    view.goto(f"{address}/claims.html?verdict=differs")
    rows = view.locator("#ledger tbody tr:visible")
    assert rows.count() == (ledger(study.store).verdict == "differs").sum()
    head = view.get_by_role("button", name="paper", exact=True)
    head.focus()
    view.keyboard.press("Enter")
    assert view.locator("#ledger th[aria-sort=ascending]").inner_text().strip().startswith("paper")
    texts = [
        re.match(r"-?[\d.]+", x) for x in view.locator("#ledger tbody tr:visible td:nth-child(4)").all_inner_texts()
    ]
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


def test_every_figure_and_table_has_a_number_a_caption_and_its_origin(pages):
    for path, page in ((path, page) for path, page in pages.items() if path.stem not in LACKING):
        shown = [x.get_text(" ", strip=True) for x in page.select(".numbered")]
        assert len(shown) == len(page.select("details.origin")) >= 2
        kinds = {"Figure": ".cell_output img", "Table": ".cell_output table"}
        wanted = [
            f"{kind} {int(path.stem[:2])}.{i + 1} ." for kind in kinds for i in range(len(page.select(kinds[kind])))
        ]
        assert sorted(re.match(r"\S+ \S+ \.", text)[0] for text in shown) == sorted(wanted)
        assert all(len(text) > 40 and text.endswith(".") for text in shown), shown
        links = [x.a["href"] for x in page.select(".numbered")]
        assert links == [f"#{text.split(' .')[0].lower().replace(' ', '-').replace('.', '-')}" for text in shown]
        assert all(page.find(id=link[1:]) for link in links)


def test_the_numbers_of_a_figure_can_be_had_but_of_pictures(pages):
    without = []
    for path, page in pages.items():
        for note in page.select("details.origin"):
            name = note.summary.get_text(strip=True).partition(":")[0]
            links = [link["href"] for link in note.select('a[href$=".csv"]') if "records" not in link["href"]]
            if not links:
                without.append(name)
            for link in links:
                assert pd.read_csv((path.parent / unquote(link)).resolve()).size
    assert [name for name in without if name.startswith("Table")] == []
    assert {"Figure 14.1", "Figure 16.2", "Figure 22.1"} >= set(without)  # two of pictures, one empty with one seed


def test_a_printed_number_in_a_table_is_in_the_ledger(pages):
    """Derived columns, such as differences, aside; Figure 7 has three systems that no table prints."""
    known = {float(claim.paper) for claim in claims().values() if not isinstance(claim.paper, bool)}
    known |= {float(row[key]) for row in rows("others") for key in ("macs", "top1")}
    seen = 0
    for path, page in pages.items():
        for link in page.select('a[href*="table-"][href$=".csv"]'):
            table = pd.read_csv((path.parent / unquote(link["href"])).resolve(), dtype=str, keep_default_na=False)
            for name in table.columns[table.columns.str.contains(r"\bprinted\b|paper \(|quoted")]:
                if not re.search("points|ratio|off|left|check", name):
                    numbers = re.findall(r"\d[\d,]*(?:\.\d+)?", " ".join(table[name]))
                    assert {float(x.replace(",", "")) for x in numbers} <= known, (path.stem, name)
                    seen += len(numbers)
    assert seen > 300
