"""The cube explorer in Chromium, on a phone and on a desk, with everything but this machine cut off."""

import pandas as pd
import pytest
from test_browser import serious

from tinynet_core.study.series import shrunk

READ = "JSON.parse(document.getElementById('data').textContent)"
WIDE = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


@pytest.fixture
def open_page(browser, context, address, watch):
    """Opens a page of the site; what it did wrong is in the list that comes with it."""
    views = []

    def visit(page, width=1280, **options):
        view = browser.new_page(**options) if options else context.new_page()
        view.set_viewport_size({"width": width, "height": 900})
        views.append(view)
        wrong = watch(view, ("error",))
        view.goto(f"{address}/{page}", wait_until="networkidle")
        return view, wrong

    yield visit
    for view in views:
        view.close()


def shown(view):
    """The numbers beside the slider, as a position of the data has them."""
    cells = [
        [cell.text_content() for cell in row.locator("td").all()] for row in view.locator("#networks tbody tr").all()
    ]
    return {
        **{name: view.locator(f"#{name}").text_content() for name in "rd"},
        **{f"{name}_band": view.locator(f"#{name}-band").text_content().removeprefix("band ") for name in "rd"},
        "rows": cells,
        "commands": [code.text_content() for code in view.locator("#commands pre").all()],
    }


def held(step):
    """The same from the data."""
    networks = [n for n in step["networks"] if "rows" in n]
    return {
        **{name: step[name] for name in ("r", "d", "r_band", "d_band")},
        "rows": [[text for _, text in n["rows"]] for n in networks],
        "commands": [n["command"] for n in networks],
    }


def test_the_slider_moves_with_the_keyboard_and_shows_what_the_data_hold(open_page, site, study):
    """And the first position is what the package gives."""
    view, wrong = open_page("explorer/index.html")
    sample, data = study.sampled.sample(), view.evaluate(READ)
    c = pd.read_csv(site / "explorer" / "budgets.csv").c.unique()[data["start"]]
    mean, std = sample.formula.predict([c], return_std=True)
    assert shown(view)["r"] == f"{mean[0, 0]:.3f}"
    assert shown(view)["d_band"] == f"{mean[0, 1] - 1.96 * std[0, 1]:.2f} to {mean[0, 1] + 1.96 * std[0, 1]:.2f}"
    experiment = shrunk(study.sampled.preset, c, "formula", sample.formula)
    assert f"{experiment.cost()['macs'] / 1e6:.2f}" in shown(view)["rows"][0]
    slider, last = view.get_by_label("Budget c"), len(data["steps"]) - 1
    assert slider.input_value() == str(data["start"])
    slider.focus()
    for key, place in (
        ("ArrowRight", data["start"] + 1),
        ("Home", 0),
        ("ArrowUp", 1),
        ("End", last),
        ("ArrowLeft", last - 1),
    ):
        view.keyboard.press(key)
        assert shown(view) == held(data["steps"][place])
        assert data["steps"][place]["c"] in slider.get_attribute("aria-valuetext")
        drawn = view.evaluate(
            "(() => { const t = plot.data.find(t => t.sign === '✚'); return [t.x[0], t.y[0], t.z[0]]; })()"
        )
        assert drawn == data["steps"][place]["at"]
    for width in (390, 1280):
        view.set_viewport_size({"width": width, "height": 900})
        assert view.evaluate(WIDE) <= 0
    assert wrong == []


def test_models_can_be_chosen_turned_to_and_sorted_with_the_keyboard(open_page):
    view, wrong = open_page("explorer/index.html")
    data = view.evaluate(READ)
    view.get_by_label("Choose a model").focus()
    view.keyboard.press("End")
    assert view.locator("#chosen dd").all_text_contents() == data["models"][-1]["cells"]
    assert view.locator("#models tr.chosen").get_attribute("data-key") == data["models"][-1]["key"]
    assert view.evaluate("plot.data.at(-1).x[0]") == data["models"][-1]["at"][0]
    before = view.evaluate("plot.layout.scene.camera.eye.x")
    view.locator("#plot").focus()
    view.keyboard.press("ArrowLeft")
    assert view.evaluate("plot.layout.scene.camera.eye.x") != before
    view.keyboard.press("0")
    assert view.evaluate("plot.layout.scene.camera.eye.x") == pytest.approx(before)
    view.get_by_role("button", name="top-1 (%)").focus()
    for order in ("ascending", "descending"):
        view.keyboard.press("Enter")
        values = [
            float(x)
            for x in view.locator("#models tbody td:nth-child(8)").evaluate_all("c => c.map(x => x.dataset.by)")
        ]
        assert values == sorted(values, reverse=order == "descending")
        assert view.locator("#models th:nth-child(8)").get_attribute("aria-sort") == order
    view.get_by_role("checkbox", name="random sample", exact=True).uncheck()
    hidden = view.evaluate("plot.data.filter(t => t.visible === false).map(t => t.name)")
    assert hidden == ["random sample"]
    assert wrong == []
    assert serious(view, "html") == []


def test_the_page_of_the_book_shows_it_in_its_own_theme(open_page):
    view, wrong = open_page("explorer.html")
    frame = view.frame_locator("iframe.explorer")
    frame.locator("#plot canvas").first.wait_for()
    inside = view.frames[1]
    assert view.get_attribute("iframe.explorer", "title")
    view.evaluate("document.documentElement.dataset.theme = 'dark'")
    inside.wait_for_function("document.documentElement.dataset.theme === 'dark'")
    assert inside.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(18, 18, 18)"
    places = {}
    for name in ("#plot", "#budget", "#networks"):
        box = frame.locator(name).bounding_box()
        places[name] = (box["x"], box["y"] + box["height"])
    assert places["#budget"][0] > places["#plot"][0] + 300  # beside it
    assert max(bottom for _, bottom in places.values()) <= 900  # in the first screen
    for width in (390, 1280):
        view.set_viewport_size({"width": width, "height": 900})
        inside.wait_for_function("innerHeight >= document.body.scrollHeight")  # one scroll bar, not two
        assert view.evaluate(WIDE) <= 0
        assert inside.evaluate(WIDE) <= 0
    assert wrong == []


def test_without_javascript_the_table_is_there_and_no_other_page_loads_its_script(open_page, site):
    pages = [p.read_text(encoding="utf-8") for p in site.rglob("*.html") if p.parent.name != "explorer"]
    assert not [text for text in pages if "plotly.min.js" in text or "explorer.js" in text]
    view, wrong = open_page("explorer/index.html", java_script_enabled=False)
    assert view.locator("noscript").count() == 1
    assert view.locator("#models tbody tr").count() > 5
    assert wrong == []
