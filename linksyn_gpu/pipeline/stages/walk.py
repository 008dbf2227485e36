"""Stage walk over a run folder: graph -> plan.json and paths.parquet."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from linksyn_gpu.config import RunConfig
from linksyn_gpu.config.loader import to_mapping
from linksyn_gpu.errors import DataError
from linksyn_gpu.pipeline import store
from linksyn_gpu.pipeline.folder import Workspace
from linksyn_gpu.pipeline.progress import Progress, silent
from linksyn_gpu.sampling.plan import cell_goals, plan_cells, plan_rounds, plan_table

if TYPE_CHECKING:
    import pyarrow as pa


def walk(ws: Workspace, config: RunConfig, *, force: bool = False, progress: Progress = silent) -> dict[str, Any]:
    """Graph -> plan.json and paths.parquet, bundles included. Returns the stage's counts."""
    if begin_walk(ws, config, force=force):
        campaign = Campaign(ws, config, progress)
        with ws.replacing("paths.parquet") as part, store.paths_writer(part) as paths:
            for table in campaign.rounds():
                paths.write_table(table)
        campaign.finish()
    return ws.counts("walk")


def begin_walk(ws: Workspace, config: RunConfig, *, force: bool = False) -> bool:
    """Whether stage walk has work to do."""
    settings = to_mapping(config)
    shaping = ("paths", "seed", "walk", "quota", "bundle")
    return ws.begin("walk", {name: settings[name] for name in shaping}, force=force)


class Campaign:
    """The walks of a plan, and their counts.

    Raises
    ------
    DataError
        The graph has no edge.
    """

    def __init__(self, ws: Workspace, config: RunConfig, progress: Progress) -> None:
        self._ws, self._config, self._progress = ws, config, progress
        self._graph, self._statistics = store.read_graph(ws)
        if self._graph.n_edges == 0:
            raise DataError("the KP graph has no edge: no two knowledge points share a seed, so no walk is possible")
        self.cells = plan_cells(config.quota, config.paths)
        self._delivered = [0] * len(self.cells)
        self._drops = [Counter[str]() for _ in self.cells]
        self._redraws = 0
        self._visited = 0
        self._facts: dict[str, Any] = {}

    def rounds(self) -> Iterator[pa.Table]:
        """Walk and link one round after the other; gives the rows of paths.parquet."""
        from linksyn_gpu.sampling.bundle import SeedLinker
        from linksyn_gpu.sampling.labels import seed_labels
        from linksyn_gpu.sampling.walk import Walker

        config = self._config
        seeds = store.read_seed_table(self._ws, ["difficulty", "disciplines"])
        self._labels = seed_labels(seeds)
        statistics = replace(self._statistics, labels=self._labels)
        goals = cell_goals(self.cells, self._graph, statistics, config.quota, config.walk.tau)
        shared = (config.seed, config.backend)
        walker = Walker(self._graph, config.walk, *shared, goals=goals, memory=config.gpu_memory)
        linker = SeedLinker(self._graph, seeds, config.bundle, *shared, quota=config.quota)
        done = 0
        for part in plan_rounds(self.cells, config.walk.rounds):
            self._progress("paths walked", done, config.paths)
            linker.begin_round(self.cells[part.cell])
            batch, bundles = walker.sample_linked(part.n_paths, part.cell, linker)
            self._delivered[part.cell] += int(bundles.kept.sum())
            self._drops[part.cell] += bundles.drops
            self._redraws += batch.redraws
            yield store.paths_table(batch, bundles)
            done += part.n_paths
            self._progress("paths walked", done, config.paths)
        self._visited = int((walker.visits > 0).sum())
        self._facts = {**walker.backend.facts(), "walks_in_memory": min(walker.batch_size, config.paths)}
        del linker
        backend = walker.backend
        del walker
        backend.ops.release()  # before synthesis starts: a server may need the device

    def finish(self) -> None:
        """Write plan.json and record the stage as finished, after the last round.

        Raises
        ------
        DataError
            No path was kept.
        """
        kept, config = sum(self._delivered), self._config
        drops = sum(self._drops, Counter[str]())
        if kept == 0:
            raise DataError(
                f"none of {config.paths:,} paths was kept ({dict(drops)}): the graph or the quota is too narrow "
                f"for walk.length = {config.walk.length}; use a smaller length or a wider quota"
            )
        with self._ws.replacing("plan.json") as part:
            store.write_plan(part, plan_table(self.cells, self._labels, self._delivered, self._drops))
        counts = {
            "paths": config.paths,
            "kept": kept,
            "dropped": sum(drops.values()),
            "dropped_by_reason": dict(drops),
            "redraws": self._redraws,
            "kps_visited": self._visited,
        }
        self._ws.finish("walk", counts, backend=self._facts)
