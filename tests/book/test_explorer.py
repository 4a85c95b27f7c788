"""The cube explorer in Chromium, inside its page of the book, with everything but this machine cut off."""

import pytest
from test_browser import serious

READ = "JSON.parse(document.getElementById('data').textContent)"
EYE = "plot.layout.scene.camera.eye.x"
CHOSEN = "(() => { const t = plot.data.find(t => t.sign === '✚'); return [t.x[0], t.y[0], t.z[0]]; })()"
"""Where in the cube the network of the chosen budget is drawn."""
WIDE = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


@pytest.fixture(scope="module")
def opened(context, address, watch):
    """The page, the explorer in it, and the list of what they do wrong."""
    view = context.new_page()
    wrong = watch(view, ("error",))
    view.goto(f"{address}/explorer.html")
    view.frame_locator("iframe.explorer").locator("#plot canvas").first.wait_for()
    yield view, view.frames[1], wrong
    view.close()


def test_it_fills_the_first_screen_of_its_page_in_the_same_theme(opened):
    view, explorer, wrong = opened
    view.evaluate("document.documentElement.dataset.theme = 'dark'")
    explorer.wait_for_function("document.documentElement.dataset.theme === 'dark'")
    assert explorer.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(18, 18, 18)"
    plot, *others = (explorer.locator(name).bounding_box() for name in ("#plot", "#budget", "#networks"))
    assert others[0]["x"] > plot["x"] + 300  # beside it
    assert max(box["y"] + box["height"] for box in (plot, *others)) <= 900
    for width in (390, 1280):
        view.set_viewport_size({"width": width, "height": 900})
        explorer.wait_for_function("innerHeight >= document.body.scrollHeight")  # one scroll bar, not two
        assert explorer.evaluate(WIDE) <= 0
    assert wrong == []


def shown(explorer):
    """The numbers beside the slider, as a position of the data has them."""
    rows = explorer.locator("#networks tbody tr").all()
    return {
        **{name: explorer.locator(f"#{name}").text_content() for name in "rd"},
        **{f"{name}_band": explorer.locator(f"#{name}-band").text_content().removeprefix("band ") for name in "rd"},
        "rows": [row.locator("td").all_text_contents() for row in rows],
        "commands": explorer.locator("#commands pre").all_text_contents(),
    }


def held(step):
    """The same from the data."""
    networks = [n for n in step["networks"] if "rows" in n]
    return {
        **{name: step[name] for name in ("r", "d", "r_band", "d_band")},
        "rows": [[text for _, text in n["rows"]] for n in networks],
        "commands": [n["command"] for n in networks],
    }


def test_the_slider_moves_with_the_keyboard_and_shows_what_the_data_hold(opened):
    view, explorer, wrong = opened
    data = explorer.evaluate(READ)
    steps, start, last = data["steps"], data["start"], len(data["steps"]) - 1
    slider = explorer.get_by_label("Budget c")
    assert slider.input_value() == str(start)
    slider.focus()
    places = {"ArrowRight": start + 1, "Home": 0, "ArrowUp": 1, "End": last, "ArrowLeft": last - 1}
    for key, place in places.items():
        view.keyboard.press(key)
        assert shown(explorer) == held(steps[place])
        assert steps[place]["c"] in slider.get_attribute("aria-valuetext")
        assert explorer.evaluate(CHOSEN) == steps[place]["at"]
    assert wrong == []


def test_models_can_be_chosen_turned_to_and_sorted_with_the_keyboard(opened):
    view, explorer, wrong = opened
    model = explorer.evaluate(READ)["models"][-1]
    explorer.get_by_label("Choose a model").focus()
    view.keyboard.press("End")
    assert explorer.locator("#chosen dd").all_text_contents() == model["cells"]
    assert explorer.locator("#models tr.chosen").get_attribute("data-key") == model["key"]
    assert explorer.evaluate("plot.data.at(-1).x[0]") == model["at"][0]
    before = explorer.evaluate(EYE)
    explorer.locator("#plot").focus()
    view.keyboard.press("ArrowLeft")
    assert explorer.evaluate(EYE) != before
    view.keyboard.press("0")
    assert explorer.evaluate(EYE) == pytest.approx(before)
    explorer.get_by_role("button", name="top-1 (%)").focus()
    for order in ("ascending", "descending"):
        view.keyboard.press("Enter")
        cells = explorer.locator("#models tbody td:nth-child(8)")
        values = cells.evaluate_all("cells => cells.map(cell => Number(cell.dataset.by))")
        assert values == sorted(values, reverse=order == "descending")
        assert explorer.locator("#models th:nth-child(8)").get_attribute("aria-sort") == order
    explorer.get_by_role("checkbox", name="random sample", exact=True).uncheck()
    hidden = explorer.evaluate("plot.data.filter(t => t.visible === false).map(t => t.name)")
    assert hidden == ["random sample"]
    assert wrong == []
    assert serious(explorer, "html") == []
