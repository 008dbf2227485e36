"""Figures of a run from the files of its folder, and report.html."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from linksyn_gpu.pipeline import report_rows, store
from linksyn_gpu.pipeline.folder import STAGES, Workspace
from linksyn_gpu.pipeline.growth import license_graphs, recorded_config
from linksyn_gpu.pipeline.stages.enhance import JOURNAL as ENHANCE_JOURNAL
from linksyn_gpu.pipeline.stages.forecast import campaign_figures, read_forecast
from linksyn_gpu.report.stats import PathRows, RunStats
from linksyn_gpu.sampling.labels import seed_labels
from linksyn_gpu.sampling.plan import cell_goals
from linksyn_gpu.tables import Cell, Float64

SAMPLES = 20


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
    for name in ("extract", "synthesize", "enhance", "curate"):
        stages[name] = ws.counts_so_far(name)  # also before they are finished
    stats = RunStats(
        stages,
        judged=_judged(ws),
        outcomes=_outcomes(ws),
        examples=report_rows.drop_examples(ws, (stages["ingest"] or {}).get("rejected_by_reason", {})),
        overview=report_rows.run_overview(ws, STAGES),
        clusters=report_rows.cluster_sizes(ws),
        certificate=report_rows.read_certificate(ws),
        knowledge=report_rows.read_knowledge(ws),
    )
    if (file := report_rows.file_of_final(ws)) is not None:
        final, kept_by = report_rows.final_rows(ws, file)
        samples = report_rows.sample_rows(ws, file, SAMPLES)
        stats = replace(stats, final=final, kept_by=kept_by, samples=samples)
    if (walked := stages["walk"]) is None:
        return stats
    coverage, cells, campaign = campaign_figures(ws)
    lengths, seed_use = report_rows.path_counts(ws, stages["ingest"]["seeds"] if stages["ingest"] else 0)
    paths = PathRows(lengths, seed_use, _expected_visits(ws, cells))
    forecast = read_forecast(ws, walked["paths"])
    return replace(stats, coverage=coverage, cells=cells, campaign=campaign, forecast=forecast, paths=paths)


def _expected_visits(ws: Workspace, rows: Sequence[Mapping[str, Any]]) -> Float64:
    """Visits of each KP if the visits of each cell were shared out exactly by its target, over the reachable KPs."""
    config = recorded_config(ws, "walk")
    graph, statistics = store.read_graph(ws)
    labels = seed_labels(store.read_seed_table(ws, ["difficulty", "disciplines"]))
    cells = [Cell(row["discipline"], row["difficulty"], row["asked"], row["license_group"]) for row in rows]
    settings = config.quota, config.walk.tau, store.read_factors(ws)
    goals = cell_goals(cells, graph, replace(statistics, labels=labels), *settings, license_graphs(ws, config))
    live = np.asarray(graph.degree > 0)
    expected = np.zeros(graph.n_kps, np.float64)
    for row, goal in zip(rows, goals, strict=True):
        target = np.where(live, goal.target, 0.0)
        expected += row["visits"] * target / max(float(target.sum()), np.finfo(np.float64).tiny)
    return expected


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
