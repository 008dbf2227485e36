"""The page in headless Chromium: its own scripts run and no others, charts and map work, hostile texts do nothing."""

import importlib.util
import json
import re
import shutil

import pytest

from tests.cli.test_cli import invoke

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
MISSING = [name for name in ("playwright", "plotly", "igraph") if importlib.util.find_spec(name) is None]
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="needs a browser: apt-get install chromium"),
    pytest.mark.skipif(bool(MISSING), reason=f"needs {', '.join(MISSING)}: pip install -e '.[dev]'"),
    pytest.mark.slow,
]
TITLE = "out - linksyn-gpu report"
DRAWN = "() => document.querySelectorAll('.plot .plot-container').length === document.querySelectorAll('.plot').length"


@pytest.fixture(scope="module")
def page(hostile):
    return hostile / "report.html"


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


def open_page(browser, file, messages, **options):
    """A tab with the page; what its console prints is added to `messages`."""
    tab = browser.new_context(viewport={"width": 1280, "height": 900}, **options).new_page()
    tab.on("console", lambda message: messages.append(message.text))
    tab.on("pageerror", lambda error: messages.append(str(error)))
    tab.goto(file.as_uri())
    return tab


@pytest.fixture
def opened(browser, page):
    """A function that opens the page; at the end of the test the console must be empty."""
    messages, tabs = [], []

    def open_one(file=page, **options):
        tabs.append(open_page(browser, file, messages, **options))
        return tabs[-1]

    yield open_one
    for tab in tabs:
        tab.context.close()
    assert messages == []


@pytest.fixture(scope="module")
def shared(browser, page):
    """A tab for all tests that do not need one of their own."""
    messages = []
    tab = open_page(browser, page, messages)
    yield tab
    tab.context.close()
    assert messages == []


def draw_all(tab):
    for place in tab.query_selector_all(".plot"):
        place.scroll_into_view_if_needed()
    tab.wait_for_function(DRAWN)


def state(tab):
    return tab.evaluate("report.map.state()")


def test_every_chart_is_drawn_and_hostile_texts_are_inert(shared):
    tab = shared
    draw_all(tab)
    assert tab.locator(".plot").count() >= 8
    for name in ("qa-by-discipline", "cells-asked"):
        drawn = tab.evaluate("name => document.querySelector(`#${name} .plot`).data[0].y", name)
        assert len(set(drawn)) == 4, "long names with the same beginning do not share a bar"
        assert max(map(len, drawn)) < 60
        assert "$x^2$ <b>" in tab.evaluate("name => document.querySelector(`#${name} .plot`).textContent", name)
    for details in tab.query_selector_all("details"):
        details.evaluate("place => { place.open = true; }")
    assert tab.title() == TITLE
    assert tab.locator("img, iframe").count() == 0
    assert tab.locator("a:not([href^='#']):not(.plot a)").count() == 0
    assert "https://example.org" not in tab.evaluate("[...document.links].map(link => link.href).join(' ')")
    assert "</script><script>document.title='owned'" in tab.inner_text("#qa"), "texts are shown as they are"


def test_a_script_that_is_not_of_the_page_does_not_run(browser, page, tmp_path):
    text = page.read_text(encoding="utf-8").replace("</body>", "<script>document.title = 'owned'</script></body>")
    titles = []
    for name, content in (("changed", text), ("open", text.replace("Content-Security-Policy", "no-policy"))):
        (tmp_path / f"{name}.html").write_text(content, encoding="utf-8")
        tab = browser.new_page()
        tab.goto((tmp_path / f"{name}.html").as_uri())
        titles.append(tab.title())
        tab.close()
    assert titles == [TITLE, "owned"]


def test_search_by_keyboard_finds_a_kp_and_shows_its_seeds_neighbours_and_qa(shared):
    tab = shared
    graph = tab.evaluate("report.data.graph")
    kp = next(i for i, found in enumerate(graph["qa"]) if found)
    name = graph["names"][kp]
    tab.focus("#map-search")
    tab.keyboard.type(name)
    tab.wait_for_selector("#map-found li[aria-selected='true']")
    tab.keyboard.press("Enter")
    assert state(tab)["selected"] == name
    panel = tab.inner_text("#map-panel")
    assert name in panel
    for label, values in (("Seeds", "seeds"), ("Visits", "visits"), ("Neighbours", "degree")):
        assert re.search(rf"{label}\s+{graph[values][kp]}\b", panel), label
    assert graph["questions"][graph["qa"][kp][0]] in panel
    tab.locator("#map-panel button").first.click()
    assert state(tab)["selected"] not in (None, name)
    tab.focus("#map")
    tab.keyboard.press("Escape")
    assert state(tab)["selected"] is None
    tab.fill("#map-search", "no such name")
    assert "No drawn KP" in tab.inner_text("#map-found")
    tab.focus("#map")
    assert not tab.is_visible("#map-found")


def test_a_click_shows_the_panel_and_keys_and_buttons_move_and_zoom(shared):
    tab = shared
    tab.locator("#map").scroll_into_view_if_needed()
    tab.click("#zoom-fit")
    tab.wait_for_timeout(500)  # a travel to a KP that was found has ended
    tab.click("#zoom-fit")
    name = tab.evaluate("report.data.graph.names[0]")
    x, y = tab.evaluate("name => report.map.at(name)", name)
    tab.click("#map", position={"x": x, "y": y})
    assert state(tab)["selected"] is not None
    assert state(tab)["selected"] in tab.inner_text("#map-panel")
    before = state(tab)
    tab.click("#zoom-in")
    tab.keyboard.press("Tab")
    tab.focus("#map")
    tab.keyboard.press("ArrowRight")
    after = state(tab)
    assert after["zoom"] == pytest.approx(1.5 * before["zoom"])
    assert after["left"] > before["left"]
    box = tab.locator("#map").bounding_box()
    tab.mouse.move(box["x"] + 200, box["y"] + 200)
    tab.mouse.wheel(0, -240)
    tab.wait_for_function(f"report.map.state().zoom > {after['zoom']}")
    tab.keyboard.press("0")
    assert state(tab)["zoom"] < after["zoom"]
    for field, value in (("#map-size", "seeds"), ("#map-colour", "community")):
        tab.select_option(field, value)
    assert "around" in tab.inner_text("#map-legend")


def test_a_sample_shows_its_path_on_the_map_and_is_copied_to_the_letter(opened):
    tab = opened(permissions=["clipboard-read", "clipboard-write"])
    sample = tab.evaluate("report.data.samples[0]")
    tab.locator("[data-copy='0']").click()
    tab.wait_for_function("document.querySelector(\"[data-copy='0']\").textContent === 'Copied'")
    assert json.loads(tab.evaluate("navigator.clipboard.readText()")) == sample
    tab.locator("[data-path='0']").click()
    assert state(tab)["path"] == sample["path"]
    assert "Path of sample 1" in tab.inner_text("#map-panel")


@pytest.mark.parametrize("by", ["system", "button"])
def test_a_dark_page_has_light_text_also_in_charts(opened, by):
    tab = opened(color_scheme="dark" if by == "system" else "light")
    if by == "button":
        tab.click("#theme")
    draw_all(tab)
    brightness = """place => {
      const [r, g, b] = getComputedStyle(place)[place instanceof SVGElement ? 'fill' : 'color'].match(/\\d+/g);
      return (+r + +g + +b) / 3; }"""
    assert tab.locator("body").evaluate(brightness) > 180
    assert tab.locator(".plot .xtick text").first.evaluate(brightness) > 180
    if by == "button":
        return
    tab.emulate_media(media="print")
    tab.evaluate("dispatchEvent(new Event('beforeprint'))")
    tab.wait_for_function(DRAWN)
    assert tab.locator("body").evaluate(brightness) < 60
    assert tab.locator(".plot .xtick text").first.evaluate(brightness) < 80
    assert not tab.is_visible("header.top")
    tab.emulate_media(media="screen")
    tab.evaluate("dispatchEvent(new Event('afterprint'))")
    assert tab.locator("body").evaluate(brightness) > 180


def test_nothing_is_wider_than_the_window(shared):
    for width in (390, 1280, 1920):
        shared.set_viewport_size({"width": width, "height": 900})
        shared.wait_for_timeout(200)
        draw_all(shared)
        assert shared.evaluate("document.documentElement.scrollWidth") <= width
    shared.set_viewport_size({"width": 1280, "height": 900})


def test_each_chart_has_its_numbers_as_a_table(shared):
    tab = shared
    for figure in tab.query_selector_all("figure.chart"):
        figure.query_selector("details").evaluate("place => { place.open = true; }")
    tab.wait_for_function(
        "[...document.querySelectorAll('figure.chart details')].every(place => place.querySelector('td'))"
    )
    rows = tab.locator("#path-lengths td").all_text_contents()
    assert sum(int(text.replace(",", "")) for text in rows[2::3]) == tab.evaluate(
        "report.data.figures['path-lengths'].series[0].y.reduce((a, b) => a + b)"
    )


def test_the_page_of_two_campaigns_draws_the_series_of_both(opened, hostile, tmp_path):
    folders = [shutil.copytree(hostile, tmp_path / name) for name in ("one", "<b onclick=alert(1)>")]
    invoke("report", *folders)
    tab = opened(folders[0] / "comparison.html")
    draw_all(tab)
    assert tab.title() == "one and <b onclick=alert(1)> - linksyn-gpu"
    assert tab.locator("main b").count() == 0
    legend = tab.locator("[data-figure='path-lengths'] .legendtext").all_text_contents()
    assert legend == ["one", "<b onclick=alert(1)>"]
    tab.locator("#theme").click()
    draw_all(tab)
