"""Every page in Chromium, on a phone and on a desk, with everything but this machine cut off."""

import gzip
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe

from tinynet_core.study.presets import project_root

ROOT = project_root()
PAGES = [
    *(
        "intro",
        "conclusions",
        "reading",
        "data",
        "dataset",
        "claims",
        "calibration",
        "plan",
        "runs",
        "references",
        "performance",
        "cluster",
        "gpu",
        "own_family",
        "preset_schema",
        "command_line",
        "citing",
        "explorer",
    ),
    *("api", *(f"api/{name}" for name in ("networks", "shrinking", "training", "studies"))),
    *(f"notebooks/{p.stem}" for p in sorted((ROOT / "notebooks").glob("*.ipynb"))),
]
SHOTS = ROOT / "_build" / "screenshots"
THEMES = ("light", "dark")
MOST_BYTES = 1_000_000
MESSAGES = (("error", "warning"), ("error",))
"""What no page may say, and what the explorer may not, of whose drawing in 3-D the browser warns that it is slow."""
PACKED = (".png", ".woff", ".woff2")
"""Files that packing makes no smaller."""
LOOK = """() => ({
  broken: [...document.images].filter(i => !(i.complete && i.naturalWidth > 0)).map(i => i.src),
  silent: [...document.images].filter(i => !(i.alt && i.alt.trim())).map(i => i.src),
  formulas: document.querySelectorAll('.math').length,
  rendered: document.querySelectorAll('.math mjx-container').length,
  wide: document.documentElement.scrollWidth - document.documentElement.clientWidth,
  font: parseFloat(getComputedStyle(document.querySelector('article p')).fontSize),
  title: document.title,
  searches: [...document.querySelectorAll('form.bd-search')].filter(f => f.offsetParent !== null).length,
})"""


def sent(request):
    """Bytes of an answer as a server sends them that packs text, which every host of static pages does."""
    body = request.response().body()
    return len(body if urlsplit(request.url).path.endswith(PACKED) else gzip.compress(body, 6))


def serious(view, theme):
    """Serious findings of axe-core on the page in one of its themes."""
    view.add_style_tag(content="* { transition: none !important }")
    view.evaluate(f"document.documentElement.dataset.theme = '{theme}'")
    found = [
        x
        for x in Axe().run(view, options={"preload": False}).response["violations"]
        if x["impact"] in ("serious", "critical")
    ]
    return [f"{theme}: {x['id']}: {node['html'][:200]}" for x in found for node in x["nodes"]]


def test_the_list_of_pages_is_complete(site):
    built = {str(p.relative_to(site).with_suffix("")) for p in site.rglob("*.html") if "_static" not in p.parts}
    assert built - {"index", "genindex", "search", "py-modindex", "explorer/index"} == set(PAGES)


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("page", PAGES)
def test_page(browser, address, watch, page, width):
    view = browser.new_page(viewport={"width": width, "height": 900})
    wrong = watch(view, MESSAGES[page == "explorer"])
    weight = []
    view.on("requestfinished", lambda r: weight.append(sent(r)))

    view.goto(f"{address}/{page}.html", wait_until="networkidle")
    if view.evaluate("document.querySelectorAll('.math').length"):
        view.wait_for_selector("mjx-container", timeout=30_000)
    look = view.evaluate(LOOK)
    SHOTS.mkdir(parents=True, exist_ok=True)
    view.screenshot(path=SHOTS / f"{page.replace('/', '_')}-{width}.png")
    findings = [x for theme in THEMES if width > 1000 for x in serious(view, theme)]
    view.close()
    assert findings == []
    if page != "explorer":
        assert sum(weight) <= MOST_BYTES, sorted(weight)[-5:]
    assert wrong == []
    assert look["broken"] == []
    assert look["silent"] == []
    assert look["rendered"] == look["formulas"]
    assert look["wide"] <= 1
    assert look["font"] >= 15
    assert look["searches"] <= 1
    assert look["title"]


def test_formulas_are_there_to_be_rendered(browser, address):
    view = browser.new_page()
    view.goto(f"{address}/notebooks/04_eq1_tiny_formula.html", wait_until="networkidle")
    view.wait_for_selector("mjx-container", timeout=30_000)
    assert view.locator("mjx-container").count() >= 4
    view.close()
