"""Two campaigns side by side."""

import html
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from linksyn_gpu.errors import ConfigError
from linksyn_gpu.pipeline import stages, store
from linksyn_gpu.pipeline.folder import Workspace
from linksyn_gpu.report.compare import _combined, comparison_figures, tables_of
from linksyn_gpu.report.figures import Figure, HeatMap, levels
from tests.cli.test_cli import invoke
from tests.conftest import QUICK, SEEDS
from tests.report.hostile import NAME

CELLS = ("--difficulty", "1=1", "--difficulty", "3=1")


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """Two campaigns over the same seeds: tau 0 and 1, and different numbers of paths."""
    base, folders = tmp_path_factory.mktemp("two"), []
    for name, tau, paths in (("even", 0, 40), ("popular", 1, 30)):
        folders.append(base / name)
        invoke("run", SEEDS, "--out", folders[-1], *QUICK, *CELLS, "--tau", tau, "--paths", paths)
    return folders


def compared(first, second):
    with Workspace(first, create=False, lock=False) as one, Workspace(second, create=False, lock=False) as other:
        return stages.compare(one, other)


def tables(comparison):
    return {table.title: {row[0]: row[1:] for row in table.rows} for table in tables_of(comparison)}


def test_what_differs_is_named_with_the_value_of_each(two, finished_run):
    found = tables(compared(*two))
    assert found["Settings that differ"] == {"walk.tau": ("0.0", "1.0"), "paths": ("40", "30")}
    assert found["Paths"]["paths asked for"] == ("40", "30", "-25.0%")
    assert found["Seeds and graph"]["seeds"] == ("180", "180", "same")
    other = tables(compared(two[0], finished_run))
    assert other["Settings that differ"]["walk.tau"] == ("0.0", "0.5 (default)")


def test_the_figures_are_those_of_each_report(two):
    comparison = compared(*two)
    found = tables(comparison)
    for number, folder in enumerate(two):
        with Workspace(folder, create=False, lock=False) as ws:
            alone, names = stages.gather(ws), store.read_kp_names(ws)
        assert found["Paths"]["KPs visited"][number] == f"{alone.coverage.visited:,}"
        assert found["Paths"]["Gini coefficient of the visits"][number] == f"{alone.coverage.gini:.3f}"
        assert [row[number] for row in found["Cells"].values()] == [
            f"{cell['delivered']} of {cell['asked']}" for cell in alone.cells
        ]
        visits = dict(zip(comparison.kps.names, comparison.kps.visits[number].tolist(), strict=True))
        assert [visits[name] for name in names] == alone.coverage.visits.tolist()


def test_a_figure_has_the_series_of_both_and_shared_ones_once(two):
    figures = {figure.name: figure for figure in comparison_figures(compared(*two))}
    assert len(figures) == len(comparison_figures(compared(*two))), "two figures would be written to one file"
    lorenz = figures["lorenz-curve"]
    assert [series.name for series in lorenz.series] == ["even: visits", "popular: visits", "all KPs the same"]
    assert [series.group for series in lorenz.series] == [0, 1, 2]
    lengths = figures["path-lengths"]
    assert lengths.series[0].x == lengths.series[1].x, "bars at the same categories"
    assert list(lengths.series[0].x) == sorted(lengths.series[0].x, key=int)
    assert [sum(n or 0 for n in series.y) for series in lengths.series] == [40, 30]
    maps = [figure for figure in figures.values() if isinstance(figure, HeatMap) and "asked" in figure.name]
    assert [figure.name for figure in maps] == ["cells-asked-1", "cells-asked-2"]
    assert maps[0].span == maps[1].span == (15.0, 20.0)


def test_kps_of_another_graph_count_as_not_visited(two, tmp_path):
    lines = Path(SEEDS).read_text(encoding="utf-8").splitlines()
    seeds = tmp_path / "seeds.jsonl"
    seeds.write_text("\n".join(lines[::2]), encoding="utf-8")
    invoke("run", seeds, "--out", tmp_path / "half", *QUICK)
    kps = compared(two[0], tmp_path / "half").kps
    with Workspace(tmp_path / "half", create=False, lock=False) as ws:
        fewer = {*store.read_kp_names(ws)}
    absent = [i for i, name in enumerate(kps.names) if name not in fewer]
    assert absent
    assert not kps.visits[1, absent].any()
    assert np.all(kps.visits.sum(axis=1) > 0)


def test_a_run_that_has_only_begun_can_be_compared(two, tmp_path):
    invoke("ingest", SEEDS, "--out", tmp_path / "begun")
    for pair in ((two[0], tmp_path / "begun"), (tmp_path / "begun", two[0]), (tmp_path / "begun", begun(tmp_path))):
        comparison = compared(*pair)
        assert tables(comparison)["Seeds and graph"]["seeds"][:2] == ("180", "180")
        assert comparison.kps is None
        assert all(isinstance(figure, Figure | HeatMap) for figure in comparison_figures(comparison))


def begun(folder):
    invoke("ingest", SEEDS, "--out", folder / "also")
    return folder / "also"


def test_campaigns_are_named_by_what_tells_their_folders_apart(two, tmp_path):
    assert compared(*two).names == ("even", "popular")
    invoke("ingest", SEEDS, "--out", tmp_path / "even")
    assert compared(two[0], tmp_path / "even").names == (f"{two[0].parent.name}/even", f"{tmp_path.name}/even")


def test_the_same_folder_twice_is_refused(two):
    with pytest.raises(ConfigError, match="the same folder"):
        compared(two[0], two[0] / ".." / "even")


def test_the_command_prints_the_tables_and_writes_the_figures(two, tmp_path):
    done = invoke("report", *two, "--figures", tmp_path, "--format", "svg")
    assert "Settings that differ" in done.stdout
    assert "walk.tau" in done.stdout
    assert {"kp-visits.svg", "kp-visits.csv", "lorenz-curve.svg"} <= {path.name for path in tmp_path.iterdir()}


def test_hostile_names_are_texts_on_the_page(hostile, tmp_path):
    campaign, other = (shutil.copytree(hostile, tmp_path / name) for name in ("out", "<img src=x onerror=alert(1)>"))
    invoke("report", campaign, other)
    page = (campaign / "comparison.html").read_text(encoding="utf-8")
    scripts = re.findall("<script.*?</script>", page, flags=re.DOTALL)
    rest = re.sub("<script.*?</script>", "", page, flags=re.DOTALL)
    assert "<img" not in rest
    assert html.escape(other.name) in rest
    assert "Content-Security-Policy" in rest
    (data,) = (text for text in scripts if 'id="report-data"' in text)
    figures = json.loads(data.split(">", 1)[1].rsplit("<", 1)[0])["figures"]
    assert any(label.startswith(NAME) for label in figures["kp-visits"]["series"][0]["labels"])


def test_levels_with_different_targets_have_the_same_categories():
    counts = {"levels_before": {"2": 3}, "levels_after": {"4": 3}}
    figures = [(number, levels({**counts, "asked_level": 4 - number})) for number in (0, 1)]
    made = _combined(figures, ("a", "b"))
    assert [series.name for series in made.series] == ["a: before", "a: after", "b: before", "b: after"]
    assert {tuple(series.x) for series in made.series} == {("1", "2", "3", "4", "5")}
    assert made.note == "a: The target is level 4. b: The target is level 3."
