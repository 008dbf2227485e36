"""What can be computed from the graph of a run: analytics of its KPs, and the memory that walks on it need."""

from __future__ import annotations

from typing import Any

import numpy as np

from linksyn_gpu.backend import resolve
from linksyn_gpu.config import RunConfig
from linksyn_gpu.pipeline import store
from linksyn_gpu.pipeline.folder import Workspace
from linksyn_gpu.pipeline.serving import plan_of


def analyze(ws: Workspace, config: RunConfig) -> dict[str, Any]:
    """Graph -> analytics.parquet. Returns its figures.

    Raises
    ------
    BackendUnavailable
        The packages that compute them are not installed.
    """
    ws.counts("build")
    backend = resolve(config.backend)
    graph, _ = store.read_graph(ws)
    columns = backend.ops.analytics(graph)
    store.write_analytics(ws, graph, columns)
    first = np.argsort(-columns["pagerank"], kind="stable")[:10]
    return {
        "backend": backend.facts(),
        "kps": graph.n_kps,
        "components": int(np.unique(columns["component"]).size),
        "communities": int(np.unique(columns["community"]).size),
        "largest_core": int(columns["core"].max(initial=0)),
        "top": [(graph.names[i] if graph.names else str(i), float(columns["pagerank"][i])) for i in first],
    }


def memory_plan(ws: Workspace, length: int, round_paths: int, memory: int | None) -> str:
    """What the graph of a run would take on a device, as a table.

    Raises
    ------
    BackendUnavailable
        It does not fit; or no device is usable and `memory` is not given.
    """
    ws.counts("build")
    if memory is None:
        memory = resolve("gpu").ops.free_memory()
    return plan_of(ws, length, round_paths, memory).table()
