"""Every page in Chromium, on a desk and on a phone, with everything but this machine cut off."""

import gzip
import json
from functools import cache
from urllib.parse import unquote, urlsplit

import pytest
import yaml
from axe_playwright_python.sync_playwright import Axe
from test_site import LACKING

from tinynet_core.study.presets import project_root

ROOT = project_root()
CONTENTS = yaml.safe_load((ROOT / "book" / "_toc.yml").read_text(encoding="utf-8"))
CHAPTERS = [chapter for part in CONTENTS["parts"] for chapter in part["chapters"]]
PAGES = [CONTENTS["root"], *(x["file"] for chapter in CHAPTERS for x in (chapter, *chapter.get("sections", ())))]
MOST_BYTES = 1_000_000
STILL = "* { transition: none !important }"
SCREENS = {390: 844, 1280: 900}
"""Height by width of a phone and a desk, in pixels."""
MESSAGES = (("error", "warning"), ("error",))
"""What no page may say, and what the explorer may not, of whose drawing in 3-D the browser warns that it is slow."""
PACKED = (".png", ".woff", ".woff2")
"""Files that packing makes no smaller."""
SETTLED = "document.fonts.ready.then(() => window.MathJax?.startup?.promise).then(() => null)"
LOADED = "performance.getEntriesByType('resource').map(e => e.name).filter(url => url.startsWith(location.origin))"
LOOK = """() => ({
  formulas: document.querySelectorAll('.math').length,
  rendered: document.querySelectorAll('.math mjx-container').length,
  wide: document.documentElement.scrollWidth - document.documentElement.clientWidth,
  font: parseFloat(getComputedStyle(document.querySelector('article p')).fontSize),
  answers: Math.max(...[...document.querySelectorAll('.sd-card')].map(e => e.getBoundingClientRect().bottom)),
  answer: Math.max(...['.admonition.box', '.cell_output img'].map(
    part => document.querySelector(`article ${part}`)?.getBoundingClientRect().bottom ?? Infinity)),
  searches: [...document.querySelectorAll('form.bd-search')].filter(f => f.offsetParent !== null).length,
})"""
SHORTEN = """document.querySelectorAll('tbody tr:nth-child(n+12), details:not([open]) > :not(summary)')
  .forEach(e => e.remove())"""
"""The rows of a long table are alike, and axe-core does not judge what is folded."""
FINDINGS = """async ({within, known}) => {
  const behind = new Map([[null, '']]), seen = new Map(), skip = new Set(known);
  for (const e of document.querySelectorAll('*')) {
    const s = getComputedStyle(e), ground = s.backgroundColor + s.backgroundImage + s.opacity;
    const under = (behind.get(e.parentElement) ?? '') + (s.backgroundImage === 'none' &&
      s.opacity === '1' && s.backgroundColor === 'rgba(0, 0, 0, 0)' ? '' : ground + ';');
    behind.set(e, under);
    const said = [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim()) && e.getClientRects().length;
    const style = [under, s.color, s.fontSize, s.fontWeight, s.textShadow, s.position].join();
    if (said && !skip.has(style) && !seen.has(style) && e.closest(within)) seen.set(style, e);
  }
  const options = {preload: false, resultTypes: ['violations']};
  const runs = seen.size ? [[{include: [...seen.values()]}, {...options, runOnly: ['color-contrast']}]] : [];
  if (!window.judged)
    runs.push([{include: [within]}, {...options, rules: {'color-contrast': {enabled: false}}}]);
  window.judged = true;
  const found = [];
  for (const [where, how] of runs)
    for (const v of (await axe.run(where, how)).violations)
      if (['serious', 'critical'].includes(v.impact))
        found.push(...v.nodes.map(n => `${v.id}: ${n.html.slice(0, 200)}`));
  return {found, styles: [...seen.keys()]};
}"""
"""Axe-core on an element with text for each way in which text stands on the page that was on no page before (its own
colour, size and all that lies behind), and once on everything but contrast."""
SEEN: set[str] = set()


@cache
def packed_size(path):
    """Bytes of a file as a server sends them that packs text, which every host of static pages does."""
    content = path.read_bytes()
    return len(content if path.suffix in PACKED else gzip.compress(content, 6))


def serious(view, within):
    """Serious findings of axe-core on a page or frame, in both themes ``within`` an element, as a selector of CSS."""
    view.add_style_tag(content=STILL)
    view.evaluate(SHORTEN)
    view.evaluate(Axe().axe_script)
    found = []
    for theme in ("light", "dark"):
        view.evaluate(f"document.documentElement.dataset.theme = '{theme}'")
        judged = view.evaluate(FINDINGS, {"within": within, "known": [*SEEN]})
        found += [f"{theme}: {text}" for text in judged["found"]]
        SEEN.update([] if judged["found"] else judged["styles"])
    return found


def test_the_list_of_pages_is_complete(site):
    built = {str(p.relative_to(site).with_suffix("")) for p in site.rglob("*.html") if "_static" not in p.parts}
    assert built - {"index", "genindex", "search", "py-modindex", "explorer/index"} == set(PAGES)


@pytest.mark.parametrize("page", PAGES)
def test_page(context, site, address, watch, page):
    view = context.new_page()
    wrong = watch(view, MESSAGES[page == "explorer"])
    view.goto(f"{address}/{page}.html")
    view.evaluate(SETTLED)
    view.add_style_tag(content=STILL)
    looks = {}
    for width, height in SCREENS.items():
        view.set_viewport_size({"width": width, "height": height})
        looks[width] = view.evaluate(LOOK)
    loaded = {f"/{page}.html", *(urlsplit(url).path for url in view.evaluate(LOADED))}
    findings = serious(view, "html" if page == PAGES[0] else "article")  # what is around it is the same on every page
    view.close()
    assert findings == []
    sizes = {path: packed_size(site / unquote(path).lstrip("/")) for path in loaded if "." in path}
    assert len(sizes) > 10
    if page != "explorer":
        assert sum(sizes.values()) <= MOST_BYTES, json.dumps(sizes, indent=1)
    assert wrong == []
    for width, look in looks.items():
        assert look["rendered"] == look["formulas"] >= 4 * page.endswith("04_eq1_tiny_formula"), width
        assert look["wide"] <= 1, width
        assert look["font"] >= 15, width
        assert look["searches"] <= 1, width
        if page.startswith("notebooks/") and page.rpartition("/")[2] not in LACKING:  # the box and the picture
            assert look["answer"] <= 1.5 * SCREENS[width], width
    if page == "intro":  # the sentence, the picture and the three answers
        assert 0 < looks[1280]["answers"] <= SCREENS[1280]
