"""The page in headless Chromium: its scripts run under its own policy, its charts appear, hostile texts do nothing."""

import importlib.util
import re
import shutil
import subprocess

import pytest

from tests.report.hostile import hostile_campaign

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="needs a browser: apt-get install chromium"),
    pytest.mark.skipif(importlib.util.find_spec("plotly") is None, reason="needs Plotly: pip install -e '.[report]'"),
    pytest.mark.slow,
]
DARK, LIGHT = 0, 1
"""Values of Chromium's setting preferredColorScheme."""
TITLE = "out - linksyn-gpu report"


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    return hostile_campaign(tmp_path_factory.mktemp("browser")) / "report.html"


def opened(page, profile, scheme=LIGHT):
    """The document after its scripts ran, without their sources, and the lines of the browser's console."""
    words = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}", "--enable-logging=stderr"]
    words += ["--virtual-time-budget=5000", f"--blink-settings=preferredColorScheme={scheme}", "--dump-dom"]
    done = subprocess.run([CHROMIUM, *words, page.as_uri()], capture_output=True, text=True, timeout=120, check=True)
    document = re.sub("<script.*?</script>", "", done.stdout, flags=re.S)
    return document, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def title_of(document):
    return re.search("<title>(.*?)</title>", document)[1]


def test_every_chart_is_drawn_without_a_message_on_the_console_and_hostile_texts_are_inert(page, tmp_path):
    document, console = opened(page, tmp_path)
    assert console == []
    places = re.findall('id="(plot-[a-z_-]+)"', document)
    assert len(places) >= 8
    assert document.count('<div class="plot-container') == len(places)
    assert title_of(document) == TITLE
    assert "<img" not in document
    assert "example.org" not in "".join(re.findall("<a [^>]*>", document))
    assert document.count("<button") == len(re.findall('<button type="button" data-sample', document)) > 3


def test_text_of_charts_is_dark_on_light_and_light_on_dark(page, tmp_path):
    fills = [opened(page, tmp_path, scheme)[0].count("fill: rgb(230, 233, 239)") for scheme in (LIGHT, DARK)]
    assert fills[0] == 0
    assert fills[1] > 20


def test_a_script_that_is_not_of_the_page_does_not_run(page, tmp_path):
    text = page.read_text(encoding="utf-8").replace("</body>", "<script>document.title = 'owned'</script></body>")
    changed, unprotected = tmp_path / "changed.html", tmp_path / "unprotected.html"
    changed.write_text(text, encoding="utf-8")
    unprotected.write_text(text.replace("Content-Security-Policy", "no-policy"), encoding="utf-8")
    titles = [title_of(opened(file, tmp_path / "profile")[0]) for file in (changed, unprotected)]
    assert titles == [TITLE, "owned"]
