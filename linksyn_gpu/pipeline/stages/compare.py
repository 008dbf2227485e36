"""Two run folders -> their comparison, at any moment of each."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from linksyn_gpu.config import RunConfig
from linksyn_gpu.config.loader import to_mapping
from linksyn_gpu.errors import ConfigError
from linksyn_gpu.pipeline import store
from linksyn_gpu.pipeline.folder import Workspace
from linksyn_gpu.pipeline.stages.report import gather, shown_setting
from linksyn_gpu.report.compare import Comparison, KPVisits
from linksyn_gpu.report.stats import RunStats


def compare(first: Workspace, second: Workspace) -> Comparison:
    """Read the figures of two runs.

    Raises
    ------
    ConfigError
        Both are the same folder.
    """
    folders = first.folder.resolve(), second.folder.resolve()
    if folders[0] == folders[1]:
        raise ConfigError(f"{first.folder} and {second.folder} are the same folder: give two campaigns to compare")
    runs = gather(first), gather(second)
    return Comparison(_names(*folders), runs, _settings(*runs), _kp_visits((first, second), runs))


def write_comparison(ws: Workspace, comparison: Comparison) -> None:
    """Write comparison.html."""
    from linksyn_gpu.report.page import render_comparison

    page = render_comparison(comparison)
    with ws.replacing("comparison.html") as part:
        part.write_text(page, encoding="utf-8")


def _names(first: Path, second: Path) -> tuple[str, str]:
    """The shortest ends of two paths that differ."""
    n = 1
    while first.parts[-n:] == second.parts[-n:]:
        n += 1
    return "/".join(first.parts[-n:]), "/".join(second.parts[-n:])


def _settings(first: RunStats, second: RunStats) -> list[tuple[str, str, str]]:
    """Settings that differ, with the default values where a run has no other."""
    own, other = (dict(stats.overview.settings) if stats.overview is not None else {} for stats in (first, second))
    defaults = to_mapping(RunConfig())
    found = []
    for name in dict.fromkeys([*own, *other]):
        if own.get(name) != other.get(name):
            default = f"{_default(name, defaults)} (default)"
            found.append((name, own.get(name, default), other.get(name, default)))
    return found


def _default(name: str, defaults: Mapping[str, Any]) -> str:
    value: Any = defaults
    for part in name.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return "not set" if value is None else shown_setting(value) or "empty"


def _kp_visits(folders: tuple[Workspace, Workspace], runs: tuple[RunStats, RunStats]) -> KPVisits | None:
    places: dict[str, int] = {}
    found = []
    for ws, stats in zip(folders, runs, strict=True):
        if stats.coverage is None or not stats.coverage.visits.any():
            return None
        own = np.array([places.setdefault(name, len(places)) for name in store.read_kp_names(ws)], np.int64)
        found.append((own, stats.coverage.visits))
    visits = np.zeros((2, len(places)), np.float64)
    for row, (own, counts) in zip(visits, found, strict=True):
        row[own] = counts
    return KPVisits(list(places), visits)
