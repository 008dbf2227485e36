"""What graph and walks take of a device, for whoever shares it: people who plan, and a server beside them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from linksyn_gpu.backend import resolve
from linksyn_gpu.backend.gpu.memory import MemoryPlan, plan_memory
from linksyn_gpu.config import RunConfig
from linksyn_gpu.run import store
from linksyn_gpu.run.folder import Workspace

if TYPE_CHECKING:
    from linksyn_gpu.llm import Engine

StartEngine = Callable[[], "Engine"]
"""Gives the running engine: starts it when it is first called."""

UNKNOWN_SHARE = 4
"""One part in so many of the free memory is kept for a graph that is not built yet."""


def plan_of(ws: Workspace, length: int, round_paths: int, free_bytes: int) -> MemoryPlan:
    """The memory plan of a run's graph, for rounds of so many walks.

    Raises
    ------
    BackendUnavailable
        It does not fit.
    """
    ws.counts("build")
    graph, _ = store.read_graph(ws)
    n_evidence = 0 if graph.evidence is None else graph.evidence.size
    return plan_memory(graph.n_kps, graph.indices.size, n_evidence, round_paths, length, free_bytes)


def walk_bytes(ws: Workspace, config: RunConfig) -> int:
    """Device memory that a server started by engine 'vllm' must leave to graph and walks.

    0 where they are computed on the CPU; `gpu_memory` where it is set; else what the memory plan says, or, as long
    as there is no graph, one part in `UNKNOWN_SHARE` of what is free.
    """
    if config.synthesis.engine != "vllm":
        return 0
    backend = resolve(config.backend)
    if backend.name != "gpu":
        return 0
    if config.gpu_memory is not None:
        return config.gpu_memory
    free = backend.ops.free_memory()
    if not ws.finished("build"):
        return free // UNKNOWN_SHARE
    return plan_of(ws, config.walk.length, -(-config.paths // config.walk.rounds), free).peak_bytes


@contextlib.contextmanager
def engine_of(ws: Workspace, config: RunConfig, given: StartEngine | None = None) -> Iterator[StartEngine]:
    """The engine of a run, started when it is first called for, stopped at the end of the block; or the one given."""
    if given is not None:
        yield given
        return
    from linksyn_gpu.llm.servers import launch

    with launch.lazily(config.synthesis, folder=ws.folder, walk_bytes=lambda: walk_bytes(ws, config)) as start:
        yield start
