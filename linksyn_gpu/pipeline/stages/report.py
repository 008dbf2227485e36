"""Figures of a run from the files of its folder, and report.html."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

from linksyn_gpu.pipeline import store
from linksyn_gpu.pipeline.folder import STAGES, Workspace
from linksyn_gpu.pipeline.stages.enhance import JOURNAL as ENHANCE_JOURNAL
from linksyn_gpu.pipeline.stages.forecast import campaign_figures, read_forecast
from linksyn_gpu.report.stats import RunStats

SAMPLES = 5


def report(ws: Workspace) -> RunStats:
    """Files of a run -> its figures, and report.html."""
    stats = gather(ws)
    write_page(ws, stats)
    return stats


def write_page(ws: Workspace, stats: RunStats) -> None:
    """Write report.html."""
    from linksyn_gpu.report.page import render_page

    with ws.replacing("report.html") as part:
        part.write_text(render_page(stats, ws.folder.resolve().name), encoding="utf-8")


def gather(ws: Workspace) -> RunStats:
    """Read the figures of a run, finished or not."""
    stages = {name: ws.counts(name) if ws.finished(name) else None for name in STAGES}
    for name in ("extract", "synthesize", "enhance"):
        stages[name] = ws.counts_so_far(name)  # also before they are finished
    kept_by, samples = _kept(ws) if ws.path("qa.parquet").is_file() else ({}, [])
    stats = RunStats(stages, kept_by=kept_by, samples=samples, judged=_judged(ws), outcomes=_outcomes(ws))
    if (walked := stages["walk"]) is None:
        return stats
    coverage, cells, campaign = campaign_figures(ws)
    forecast = read_forecast(ws, walked["paths"])
    return replace(stats, coverage=coverage, cells=cells, campaign=campaign, forecast=forecast)


def _judged(ws: Workspace) -> dict[tuple[str, str], int]:
    """QA by the level that their cell asked for and the level that the judge gave."""
    names = ["difficulty_asked", "level_judged"]
    if not ws.path("enhanced.parquet").is_file() or not {*names} <= {*store.read_schema(ws, "enhanced.parquet").names}:
        return {}
    counts = Counter[tuple[str, str]]()
    for batch in store.read_batches(ws, "enhanced.parquet", names):
        for asked, judged in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            if judged is not None:
                counts["any" if asked is None else str(asked), str(judged)] += 1
    return dict(counts)


def _outcomes(ws: Workspace) -> dict[str, int]:
    """What the journals of unfinished stages hold now: the counts of a stage are those of its last call."""
    from linksyn_gpu.llm.journal import Journal

    found = {}
    for stage, name in (("synthesize", "journal"), ("enhance", ENHANCE_JOURNAL)):
        if ws.settings(stage) is not None and not ws.finished(stage) and ws.path(name).is_dir():
            with Journal(ws.path(name), writable=False) as journal:
                found[stage] = len(journal.index())
    return found


def _kept(ws: Workspace) -> tuple[dict[str, Counter[str]], list[dict[str, Any]]]:
    """Counts and a few samples of the kept QA."""
    names = ("language", "question_type", "discipline", "difficulty")
    counts: dict[str, Counter[str]] = {name: Counter() for name in names}
    samples: list[dict[str, Any]] = []
    for batch in store.read_batches(ws, "qa.parquet"):
        for name in names:
            counts[name].update(str(v) if v is not None else "unknown" for v in batch.column(name).to_pylist())
        if len(samples) < SAMPLES:
            samples += batch.slice(0, SAMPLES - len(samples)).to_pylist()
    return counts, samples
