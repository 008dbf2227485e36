"""Figures of a run from the files of its folder, and report.html."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from linksyn_gpu.pipeline import store
from linksyn_gpu.pipeline.folder import STAGES, Workspace
from linksyn_gpu.pipeline.stages.enhance import JOURNAL as ENHANCE_JOURNAL
from linksyn_gpu.report.stats import Coverage, RunStats
from linksyn_gpu.sampling.value import divergence, gini, target_shares

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
    cells = store.read_plan(ws) if stages["walk"] is not None else []
    coverage = _coverage(ws, open_plan=len(cells) == 1 and _is_open(cells[0])) if cells else None
    kept_by, samples = _kept(ws) if ws.path("qa.parquet").is_file() else ({}, [])
    return RunStats(stages, cells, coverage, kept_by, samples, _outcomes(ws))


def _outcomes(ws: Workspace) -> dict[str, int]:
    """What the journals of unfinished stages hold now: the counts of a stage are those of its last call."""
    from linksyn_gpu.llm.journal import Journal

    found = {}
    for stage, name in (("synthesize", "journal"), ("enhance", ENHANCE_JOURNAL)):
        if ws.settings(stage) is not None and not ws.finished(stage) and ws.path(name).is_dir():
            with Journal(ws.path(name), writable=False) as journal:
                found[stage] = len(journal.index())
    return found


def _is_open(cell: dict[str, Any]) -> bool:
    return cell["discipline"] is None and cell["difficulty"] is None


def _coverage(ws: Workspace, *, open_plan: bool) -> Coverage:
    """Count visits and seeds of kept paths, in one pass over paths.parquet."""
    graph, _ = store.read_graph(ws)
    visits = np.zeros(graph.n_kps, np.int64)
    used = np.zeros(graph.n_seeds or 0, np.int64)
    for batch in store.read_batches(ws, "paths.parquet"):
        kept = batch.filter(batch.column("drop_reason").is_null())
        visits += np.bincount(kept.column("nodes").flatten().to_numpy(), minlength=visits.size)
        used += np.bincount(kept.column("seeds").flatten().to_numpy(), minlength=used.size)
    live = np.asarray(graph.degree > 0)
    settings = ws.settings("walk") or {}
    target = target_shares(np.asarray(graph.seed_count), settings["walk"]["tau"])
    total = int(visits.sum())
    return Coverage(
        visits=visits,
        popularity=graph.seed_count / max(1, int(graph.seed_count.sum())),
        reachable=int(live.sum()),
        visited=int((visits > 0).sum()),
        gini=gini(visits[live]),
        divergence=divergence(visits, target, live) if total and open_plan else float("nan"),
        noise_floor=(int(live.sum()) - 1) / (2 * total) if total else float("nan"),
        seeds_used=int((used > 0).sum()),
    )


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
