"""Stage build over a run folder: seeds -> graph/*.npy and kps.parquet."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from linksyn_gpu.backend import resolve
from linksyn_gpu.config import RunConfig
from linksyn_gpu.config.loader import to_mapping
from linksyn_gpu.pipeline import store
from linksyn_gpu.pipeline.folder import Workspace
from linksyn_gpu.pipeline.growth import check_kps, recorded_config
from linksyn_gpu.pipeline.progress import Progress, silent
from linksyn_gpu.tables import KPGraph


def build(ws: Workspace, config: RunConfig, *, force: bool = False, progress: Progress = silent) -> dict[str, Any]:
    """Seeds -> graph/*.npy and kps.parquet. Returns the stage's counts."""
    if (ws.settings("extract") or {"extract": {"merge": "none"}})["extract"]["merge"] != "none":
        config = replace(config, graph=replace(config.graph, kp_form="exact"))  # extract merged the names already
    settings = {"graph": to_mapping(config.graph)}
    del settings["graph"]["memory_limit"]  # does not change the graph
    if ws.begin("build", settings, force=force):
        _build(ws, config, progress)
    return ws.counts("build")


def build_again(ws: Workspace) -> None:
    """Build the graph with the settings of before, after seeds were revoked."""
    ws.reopen("build")
    _build(ws, recorded_config(ws, "build"), silent)


def _build(ws: Workspace, config: RunConfig, progress: Progress) -> None:
    from linksyn_gpu.sampling.graph import graph_of_incidence, kp_statistics, only_seeds, read_incidence

    backend = resolve(config.backend)
    seeds = store.read_seed_table(ws, ["knowledge_points", "difficulty", "disciplines"])
    counted = progress.of("build")
    counted("edges", 0, None)
    incidence = read_incidence(seeds, config.graph, backend.name)
    if ws.intact("kps.parquet"):
        check_kps(ws, store.read_kp_names(ws), incidence.names)
    if revoked := ws.facts("ingest").get("revoked", ()):
        keep = np.ones(len(seeds), bool)
        keep[list(revoked)] = False
        incidence = only_seeds(incidence, keep, backend.name)
    graph = graph_of_incidence(incidence, config.graph, backend.name)
    store.write_graph(ws, graph, kp_statistics(seeds, incidence, backend.name), store.read_aliases(ws))
    del incidence  # before release
    counts = graph_counts(graph)
    counted("edges", counts["edges"], counts["edges"])
    ws.finish("build", counts, backend=backend.facts())
    backend.ops.release()


def graph_counts(graph: KPGraph) -> dict[str, Any]:
    """Counts of stage build: size and components of the graph."""
    label = graph.component
    if label is None:
        from scipy.sparse.csgraph import connected_components

        label = connected_components(graph.to_scipy(), directed=False)[1]
    sizes = np.bincount(label)
    return {
        "seeds": graph.n_seeds,
        "kps": graph.n_kps,
        "edges": graph.n_edges,
        "components": int(sizes.size),
        "kps_in_largest_component": int(sizes.max()),
        "isolated_kps": int((graph.degree == 0).sum()),
        "drops": dict(graph.drops),
    }
