"""Device memory that graph and walks need, and the engine that shares the device with them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from linksyn_gpu.backend import resolve
from linksyn_gpu.backend.gpu.memory import MemoryPlan, plan_memory
from linksyn_gpu.backend.protocol import CampaignSize
from linksyn_gpu.config import DEFAULT_PATHS, QuotaConfig, RunConfig
from linksyn_gpu.pipeline import store
from linksyn_gpu.pipeline.folder import Workspace
from linksyn_gpu.pipeline.growth import quota_of
from linksyn_gpu.sampling.plan import plan_cells
from linksyn_gpu.sampling.walk import calibration_size

if TYPE_CHECKING:
    from linksyn_gpu.config import SynthesisConfig
    from linksyn_gpu.llm import Engine
    from linksyn_gpu.llm.budget import Budget
    from linksyn_gpu.llm.journal import Index

JOURNALS = {
    "extract": "extract-journal",
    "synthesize": "journal",
    "enhance": "enhance-journal",
    "curate": "curate-journal",
}
"""Folder with the answers of each stage that asks a model."""

StartEngine = Callable[[], "Engine"]
"""Returns the running engine; starts it on the first call."""

UNKNOWN_SHARE = 4
"""1/4 of the free memory is reserved for a graph that is not built yet."""


def plan_of(
    ws: Workspace,
    length: int,
    round_paths: int,
    free_bytes: int,
    quota: QuotaConfig | None = None,
    *,
    n_paths: int = 0,
) -> MemoryPlan:
    """The memory plan of a run's graph, for rounds of `round_paths` walks of the cells of a quota.

    Parameters
    ----------
    n_paths : int
        Paths of the whole campaign, where their KP sets must be distinct.

    Raises
    ------
    BackendUnavailable
        The plan does not fit.
    """
    graph, _ = store.read_graph(ws)
    cells = plan_cells(quota or QuotaConfig(), 0)
    n_weights = len({cell.discipline for cell in cells} - {None})
    size = CampaignSize.of(graph, n_cells=len(cells), n_weights=n_weights, n_paths=n_paths)
    return plan_memory(size, round_paths, length, free_bytes)


def walk_bytes(ws: Workspace, config: RunConfig) -> int:
    """Device memory that a server started by engine 'vllm' must leave free for graph and walks.

    0 where they are computed on the CPU; `gpu_memory` where it is set; otherwise the peak of the memory plan, or
    1/`UNKNOWN_SHARE` of the free memory while there is no graph.
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
    paths, walk = config.paths or config.qa or DEFAULT_PATHS, config.walk
    most = max(-(-paths // walk.rounds), calibration_size(walk, ws.counts("build")["kps"]))
    n_paths = paths if walk.distinct else 0
    return plan_of(ws, walk.length, most, free, quota_of(ws, config), n_paths=n_paths).peak_bytes


@contextlib.contextmanager
def engine_of(ws: Workspace, config: RunConfig, given: StartEngine | None = None) -> Iterator[StartEngine]:
    """The given engine, or one that starts on the first call and stops at the end of the block."""
    if given is not None:
        yield given
        return
    from linksyn_gpu.llm.servers import launch

    with launch.lazily(config.synthesis, folder=ws.folder, walk_bytes=lambda: walk_bytes(ws, config)) as start:
        yield start


def run_budget(ws: Workspace, config: SynthesisConfig, stage: str, own: Index) -> Budget:
    """What a stage may still ask: the limits hold for all stages of a run together; `own` is its journal's index."""
    from linksyn_gpu.llm.budget import Budget
    from linksyn_gpu.llm.journal import Journal

    limits = config.max_requests, config.budget_tokens
    if limits == (None, None):
        return Budget()
    requests, tokens = len(own), own.tokens
    for name in (name for other, name in JOURNALS.items() if other != stage and ws.path(name).is_dir()):
        with Journal(ws.path(name), writable=False) as journal:
            requests += len(journal.index())
            tokens += journal.index().tokens
    return Budget(*limits, requests=requests, tokens=tokens)
