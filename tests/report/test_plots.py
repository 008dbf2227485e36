"""Figures as files: PDF, SVG and PNG with their data as CSV."""

import csv
import re
import sys
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from linksyn_gpu.errors import ConfigError
from linksyn_gpu.report.figures import Figure, HeatMap, Series
from linksyn_gpu.report.plots import FORMATS, write_figures
from tests.cli.test_cli import invoke
from tests.conftest import SEEDS

pytest.importorskip("matplotlib", reason="NOT CHECKED: pip install 'linksyn-gpu[figures]'")
BEGINS = {"pdf": b"%PDF-", "svg": b"<?xml", "png": b"\x89PNG"}
HOSTILE = (
    "$x_{",
    "a\x00b\x1b[2J",
    "<script>alert(1)</script>",
    "w" * 200,
    "Größe",
    "=1+1",
    "a\nb\u202ec",
    "%s {0}",
)


def data(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def hostile_figures():
    bars = Series("QA", HOSTILE, [float(n) for n in range(len(HOSTILE))], "bars")
    numbers = [float(n) for n in range(1, len(HOSTILE) + 1)]
    grid = [[float(r), None] for r in range(len(HOSTILE))]
    return [
        Figure("lying", "Lying", HOSTILE[0], HOSTILE[2], [bars], horizontal=True),
        Figure("standing", "Standing", HOSTILE[4], HOSTILE[5], [bars]),
        Figure("points", "Points", "x", "y", [Series(HOSTILE[0], numbers, numbers, "points", HOSTILE)], log_x=True),
        Figure("lines", "Lines", "x", "y", [Series(name[:60], numbers, [None, *numbers[1:]]) for name in HOSTILE]),
        HeatMap("map", "Map", "x", "y", HOSTILE[:2], HOSTILE, grid, HOSTILE[0]),
        HeatMap("empty", "Empty", "x", "y", ["a"], ["b"], [[None]], "share", percent=True),
    ]


def test_a_run_gives_files_of_its_figures_with_their_data(finished_run, tmp_path):
    form = "svg"
    done = invoke("report", finished_run, "--figures", tmp_path, "--format", form)
    names = {path.stem for path in tmp_path.glob(f"*.{form}")}
    assert {"coverage-curve", "visits-by-rank", "visits-against-target", "path-lengths", "seed-uses"} <= names
    assert names == {path.stem for path in tmp_path.glob("*.csv")}
    assert f"{len(names)} as {form}" in done.stdout
    captions = re.findall(r"^## (.*)$", (tmp_path / "captions.md").read_text(), re.MULTILINE)
    assert {*captions} == names
    rows = data(tmp_path / "path-lengths.csv")
    assert rows[0] == ["series", "knowledge points of a path", "kept paths"]
    assert sum(float(row[2]) for row in rows[1:]) == 12


@pytest.mark.parametrize("form", FORMATS)
def test_the_same_data_give_the_same_bytes(tmp_path, form):
    figures = [hostile_figures()[0], hostile_figures()[-2]]
    first, second = (write_figures(figures, tmp_path / name, form) for name in "ab")
    assert first.files[0].read_bytes().startswith(BEGINS[form])
    for one, other in zip(first.files, second.files, strict=True):
        assert one.read_bytes() == other.read_bytes(), one.name


def test_texts_of_the_data_are_drawn_as_they_are_and_kept_in_the_csv(tmp_path):
    write_figures(hostile_figures(), tmp_path, "svg")
    for path in tmp_path.glob("*.svg"):
        assert not [part for part in ET.parse(path).iter() if part.tag.endswith("script")]
    rows = data(tmp_path / "standing.csv")
    assert [row[1] for row in rows[1:]] == list(HOSTILE)


def test_no_label_is_cut_off():
    import matplotlib

    from linksyn_gpu.report import plots

    with matplotlib.rc_context({**plots.STYLE, "font.family": plots._fonts()}):
        for figure in hostile_figures():
            canvas = plots._drawn(figure)
            canvas.draw_without_rendering()
            box = canvas.get_tightbbox()
            width, height = canvas.get_size_inches()
            assert box.x0 > -0.02, figure.name
            assert box.y0 > -0.02, figure.name
            assert box.x1 < width + 0.02, figure.name
            assert box.y1 < height + 0.02, figure.name


def test_numbers_in_a_map_can_be_read_on_their_colour():
    """The lighter half of the scale has dark digits."""
    import matplotlib

    from linksyn_gpu.report import plots

    figure = HeatMap("map", "Map", "x", "y", ["a", "b"], ["c"], [[0.0, 1.0]], "paths", span=(0.0, 1.0))
    with matplotlib.rc_context(plots.STYLE):
        axes = plots._drawn(figure).axes[0]
    assert [text.get_color() for text in axes.texts] == ["white", "black"]
    assert np.ptp(axes.images[0].get_clim()) == 1.0


def test_characters_that_no_font_has_are_reported(tmp_path):
    figure = Figure("one", "One", "x", "y", [Series("QA", ["\U000e0101a\U0010fffd"], [1.0], "bars")])
    assert "\U0010fffd" in write_figures([figure], tmp_path, "png").without_glyph


def test_without_matplotlib_the_error_says_how_to_install_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ConfigError, match=re.escape("pip install 'linksyn-gpu[figures]'")):
        write_figures([], tmp_path, "pdf")


def test_a_format_without_figures_is_refused(finished_run):
    refused = invoke("report", finished_run, "--format", "svg", code=2)
    assert "add --figures" in refused.stderr


def test_a_run_without_data_writes_no_figures(tmp_path):
    invoke("ingest", SEEDS, "--out", tmp_path / "out")
    done = invoke("report", tmp_path / "out", "--figures", tmp_path / "figures")
    assert "No figures were written" in done.stderr
    assert not (tmp_path / "figures").exists()
