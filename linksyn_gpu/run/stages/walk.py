"""Stage walk over a run folder: graph -> plan.json and paths.parquet."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from linksyn_gpu.config import RunConfig
from linksyn_gpu.config.loader import to_mapping
from linksyn_gpu.errors import DataError
from linksyn_gpu.run import store
from linksyn_gpu.run.folder import Workspace
from linksyn_gpu.run.progress import Progress, silent
from linksyn_gpu.sampling.plan import cell_affinities, plan_cells, plan_rounds
from linksyn_gpu.tables import PATH_STATUS, Bundles, Cell, KPGraph, WalkBatch

if TYPE_CHECKING:
    import pyarrow as pa

FEW_SEEDS = len(PATH_STATUS)
REASONS = np.array([None, *PATH_STATUS[1:], "few_seeds"], dtype=object)


def walk(ws: Workspace, config: RunConfig, *, force: bool = False, progress: Progress = silent) -> dict[str, Any]:
    """Graph -> plan.json and paths.parquet, bundles included. Returns the stage's counts."""
    if begin_walk(ws, config, force=force):
        with walking(ws, config, progress) as rounds:
            for _ in rounds:
                pass
    return ws.counts("walk")


def begin_walk(ws: Workspace, config: RunConfig, *, force: bool = False) -> bool:
    """Whether stage walk has work to do."""
    settings = to_mapping(config)
    shaping = ("paths", "seed", "walk", "quota", "bundle")
    return ws.begin("walk", {name: settings[name] for name in shaping}, force=force)


@contextlib.contextmanager
def walking(ws: Workspace, config: RunConfig, progress: Progress) -> Iterator[Iterator[pa.Table]]:
    """Give the paths of a campaign, round by round; the stage is finished when the block ends well.

    The block must take all rounds: they are written down as they are taken.
    """
    graph, statistics = store.read_graph(ws)
    if graph.n_edges == 0:
        raise DataError("the KP graph has no edge: no two knowledge points share a seed, so nothing can walk")
    cells = plan_cells(config.quota, config.paths)
    campaign = _Campaign(ws, config, graph, cells, progress)
    affinities = cell_affinities(cells, statistics, config.quota)
    with ws.replacing("paths.parquet") as part:
        yield store.writing_paths(part, campaign.rounds(affinities))
    counts = campaign.counts()
    if counts["kept"] == 0:
        raise DataError(
            f"none of {config.paths:,} paths was kept ({counts['dropped_by_reason']}): the graph or the quota is "
            f"too narrow for walk.length = {config.walk.length}; lower it, or widen the quota"
        )
    with ws.replacing("plan.json") as part:
        store.write_plan(part, cells, campaign.delivered)
    ws.finish("walk", counts, backend=campaign.facts)


class _Campaign:
    """Walks and links the rounds of a plan, and counts what came of them."""

    def __init__(
        self, ws: Workspace, config: RunConfig, graph: KPGraph, cells: Sequence[Cell], progress: Progress
    ) -> None:
        self._ws, self._config, self._graph, self._cells = ws, config, graph, cells
        self._progress = progress
        self.delivered = [0] * len(cells)
        self._drops = Counter[str]()
        self._redraws = 0
        self._visited = 0
        self.facts: dict[str, Any] = {}

    def rounds(self, affinities: Sequence[Any]) -> Iterator[tuple[WalkBatch, Bundles, Any]]:
        from linksyn_gpu.sampling.bundle import SeedLinker
        from linksyn_gpu.sampling.walk import Walker

        config = self._config
        walker = Walker(
            self._graph, config.walk, config.seed, config.backend, affinities=affinities, memory=config.gpu_memory
        )
        seeds = store.read_seed_table(self._ws, ["difficulty"])
        linker = SeedLinker(
            self._graph, seeds, config.bundle, config.seed, config.backend, batch_size=walker.batch_size
        )
        done = 0
        for part in plan_rounds(self._cells, config.walk.rounds):
            self._progress("paths walked", done, config.paths)
            drawn = walker.sample_round(part.n_paths, part.cell)
            linked = linker.link_round(drawn, self._cells[part.cell].difficulty)
            batch = walker.to_host(drawn)
            bundles = linker.to_host(linked, batch)
            self.delivered[part.cell] += int(bundles.kept.sum())
            self._drops += bundles.drops
            self._redraws += batch.redraws
            code = np.where((batch.status == 0) & ~bundles.kept, FEW_SEEDS, batch.status)
            yield batch, bundles, REASONS[code]
            done += part.n_paths
            self._progress("paths walked", done, config.paths)
        self._visited = int((walker.visits > 0).sum())
        self.facts = {**walker.backend.facts(), "walks_in_memory": min(walker.batch_size, config.paths)}
        del linker
        backend = walker.backend
        del walker
        backend.release()  # before synthesis starts: a server may want the device

    def counts(self) -> dict[str, Any]:
        return {
            "paths": self._config.paths,
            "kept": sum(self.delivered),
            "dropped": sum(self._drops.values()),
            "dropped_by_reason": dict(self._drops),
            "redraws": self._redraws,
            "kps_visited": self._visited,
        }
