"""Picture of a report page, by an installed Chromium: `python bench/screenshot.py DIR/report.html --out FILE.png`

`--frames` measures the map instead: the time to draw a frame while it moves, and between frames.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRAWN = "() => document.querySelectorAll('.plot:not(:has(.plot-container))').length === 0"


@contextmanager
def opened(page: Path, width: int, height: int, theme: str) -> Iterator[Any]:
    """The page in a headless browser, with all charts drawn."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        size = {"width": width, "height": height}
        tab = browser.new_page(viewport=size, color_scheme=theme, reduced_motion="reduce")
        tab.goto(page.resolve().as_uri())
        for y in range(0, tab.evaluate("document.documentElement.scrollHeight"), height // 2):
            tab.evaluate(f"scrollTo({{top: {y}, behavior: 'instant'}})")  # charts are drawn when they come near
            tab.wait_for_timeout(40)
        tab.wait_for_function(DRAWN)
        tab.evaluate("scrollTo({top: 0, behavior: 'instant'})")
        tab.wait_for_timeout(400)
        yield tab
        browser.close()


def frames(tab: Any, count: int) -> dict[str, float]:
    """Milliseconds of the map's frames."""
    tab.locator("#map").scroll_into_view_if_needed()
    found = tab.evaluate(f"report.map.frames({count})")
    return {
        "kps": tab.evaluate("report.data.graph.names.length"),
        "edges": tab.evaluate("report.data.graph.counts.length"),
        "draw_median_ms": statistics.median(found["cost"]),
        "draw_p95_ms": statistics.quantiles(found["cost"], n=20)[-1],
        "draw_most_ms": max(found["cost"]),
        "between_frames_median_ms": statistics.median(found["interval"]),
        "between_frames_p95_ms": statistics.quantiles(found["interval"], n=20)[-1],
        "edges_after_movement_ms": found["settled"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("page", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--width", type=int, default=1280)
    parser.add_argument("--height", type=int, default=900)
    parser.add_argument("--theme", choices=("light", "dark"), default="light")
    parser.add_argument("--at", help="id of the section that the picture begins with; 'all': the whole page")
    parser.add_argument("--sample", type=int, metavar="N", help="show the path of sample N on the map")
    parser.add_argument("--frames", type=int, metavar="N", help="measure N frames of the map")
    options = parser.parse_args()
    with opened(options.page, options.width, options.height, options.theme) as tab:
        if options.frames is not None:
            print(json.dumps({k: round(v, 2) for k, v in frames(tab, options.frames).items()}, indent=1))
        if options.sample is not None:
            tab.evaluate(f"document.querySelector('[data-path=\"{options.sample - 1}\"]').click()")
            tab.wait_for_timeout(800)
        if options.at not in (None, "all"):
            tab.evaluate(f"document.getElementById({json.dumps(options.at)}).scrollIntoView({{behavior: 'instant'}})")
            tab.wait_for_timeout(400)
        if options.out is not None:
            tab.screenshot(path=options.out, full_page=options.at == "all")


if __name__ == "__main__":
    main()
