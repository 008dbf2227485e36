"""Stage walk over a run folder: graph -> plan.json and paths.parquet.

A campaign consists of parts. The first has the paths asked for; each later one adds paths, for a larger `paths`, or for
the QA that are missing from `qa`. A part starts from the KP sets and the uses of seeds in the rows of the parts before
it, and from their visits in visits.npz, which include walks that were drawn again. Its paths therefore depend only on
the seeds, the settings and the parts, and earlier rows of paths.parquet never change. The manifest lists the parts,
before they are walked.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from linksyn_gpu.config import DEFAULT_PATHS, RunConfig
from linksyn_gpu.config.loader import file_digest, to_mapping
from linksyn_gpu.errors import ConfigError, DataError
from linksyn_gpu.pipeline import store
from linksyn_gpu.pipeline.folder import Workspace
from linksyn_gpu.pipeline.growth import license_graphs, planned_parts, quota_of
from linksyn_gpu.pipeline.progress import Progress, silent
from linksyn_gpu.sampling.plan import (
    cell_goals,
    further_paths,
    goals_digest,
    paths_for_missing_qa,
    plan_cells,
    plan_rounds,
    plan_table,
)

if TYPE_CHECKING:
    import pyarrow as pa

    from linksyn_gpu.tables import Bundles, Float64, Int64, KPGraph, WalkBatch


def walk(ws: Workspace, config: RunConfig, *, force: bool = False, progress: Progress = silent) -> dict[str, Any]:
    """Graph -> plan.json and paths.parquet, bundles included. Returns the stage's counts."""
    begin_walk(ws, config, force=force)
    while (part := next_part(ws, config, progress)) is not None:
        part.walk()
    return ws.counts("walk")


def begin_walk(ws: Workspace, config: RunConfig, *, force: bool = False) -> None:
    """Begin or continue the stage, and record the paths that the campaign needs and does not have yet.

    Raises
    ------
    ConfigError
        Fewer paths are asked for than the campaign has, or other settings.
    """
    settings = to_mapping(config)
    shaping = {name: settings[name] for name in ("seed", "walk", "quota", "bundle")}
    if config.walk.kp_scores is not None:
        shaping["content of --kp-scores"] = file_digest(config.walk.kp_scores)
    extent = {name: settings[name] for name in ("paths", "qa")}
    ws.begin("walk", shaping, operational=extent, force=force)
    parts = planned_parts(ws)
    if config.paths is not None:  # parts that were planned and not walked may be too large: a mistyped number
        gone = sum(revoked_paths(ws, len(planned_paths(parts))))
        while parts and not parts[-1].keys() - {"paths"} and sum(planned_paths(parts)) - gone > config.paths:
            parts = parts[:-1]
    if parts != planned_parts(ws):
        ws.record("walk", parts=parts)
    if (paths := _further_part(ws, config)) is not None:
        ws.record("walk", parts=[*planned_parts(ws), {"paths": paths}], operational=extent)


def planned_paths(parts: Sequence[Mapping[str, Any]]) -> list[int]:
    """Paths of each cell in all parts."""
    columns = max((len(part["paths"]) for part in parts), default=0)
    padded = [[*part["paths"], *[0] * (columns - len(part["paths"]))] for part in parts]
    return [sum(counts) for counts in zip(*padded, strict=True)]


def revoked_paths(ws: Workspace, n_cells: int) -> list[int]:
    """Paths of each cell that a takedown of seeds removed."""
    known = ws.facts("walk").get("revoked_paths", {})
    return [known.get(str(cell), 0) for cell in range(n_cells)]


def _further_part(ws: Workspace, config: RunConfig) -> list[int] | None:
    """Paths of each cell that the campaign needs beyond its parts; None: none, or it is not known yet."""
    planned = planned_paths(planned_parts(ws))
    planned = [n - gone for n, gone in zip(planned, revoked_paths(ws, len(planned)), strict=True)]
    have = sum(planned)
    if planned and len(planned) != len(plan_cells(quota_of(ws, config), 0)):
        raise ConfigError(
            f"{ws.folder}: the paths were sampled with another quota than the one of this call (they are bundles from "
            f"memory), so no paths can be added; choose another --out"
        )
    if config.qa is not None:
        asked = [cell.n_paths for cell in plan_cells(quota_of(ws, config), config.qa)]
        available = ws.counts("curate").get("available") if ws.finished("curate") else None
        if planned and available is None:
            return None
        per_path, bound = config.synthesis.per_path, config.quota.max_overdraw
        paths = paths_for_missing_qa(asked, available or [0] * len(asked), planned, per_path, bound)
        return paths if any(paths) else None
    wanted = config.paths or have or DEFAULT_PATHS
    if wanted < have:
        raise ConfigError(
            f"{ws.folder}: the campaign has {have:,} paths, and paths = {wanted:,} is less: a campaign can only grow. "
            f"Ask for {have:,} or more, choose another --out, or pass --force to start over"
        )
    if wanted == have:
        return None
    return further_paths([cell.n_paths for cell in plan_cells(quota_of(ws, config), wanted)], planned, wanted)


def next_part(ws: Workspace, config: RunConfig, progress: Progress = silent) -> CampaignPart | None:
    """The first part of the campaign that is not walked, or that must be walked again; None: the stage is finished.

    Raises
    ------
    DataError
        The graph has no edge.
    """
    if ws.finished("walk"):
        return None
    parts = planned_parts(ws)
    ends = np.cumsum([sum(part["paths"]) for part in parts])
    rows = store.count_rows(ws, "paths.parquet")
    if any("digest" in part for part in parts):  # paths of an older version have no visits: they are counted again
        visits = store.read_visits(ws)
        covered = 0 if visits is None else visits[1]
        rows = covered if covered <= rows else 0  # visits of other rows come from a call that was killed
    return CampaignPart(ws, config, int(np.searchsorted(ends, rows, side="right")), progress)


class CampaignPart:
    """Paths that are walked together, after the parts before them.

    Parameters
    ----------
    number : int
        Number of the part; the number of parts: none is left to walk, and the stage only needs to be finished.

    Raises
    ------
    DataError
        The graph has no edge, or was built from other seeds when the part was walked first.
    """

    def __init__(self, ws: Workspace, config: RunConfig, number: int, progress: Progress) -> None:
        self._ws, self._config, self._number, self._progress = ws, config, number, progress.of("walk")
        self._graph, self._statistics = store.read_graph(ws)
        if self._graph.n_edges == 0 and not ws.revoking:  # a takedown counts paths, and walks none
            raise DataError("the KP graph has no edge: no two knowledge points share a seed, so no walk is possible")
        self._parts = planned_parts(ws)
        self.earlier_rows = sum(planned_paths(self._parts[:number]))
        """Paths of the parts before this one."""
        self.cells = [
            replace(cell, n_paths=n)
            for cell, n in zip(plan_cells(quota_of(ws, config), 0), planned_paths(self._parts), strict=True)
        ]
        self._delivered = [0] * len(self.cells)
        self._drops = [Counter[str]() for _ in self.cells]
        self._visited = np.zeros(self._graph.n_kps, bool)
        self._redraws = 0
        self._digest = hashlib.sha256()
        self._goals_digest = ""
        self._visits: Int64 | None = None
        self._scores: dict[str, Any] | None = None
        self._facts: dict[str, Any] = {}
        if number < len(self._parts) and self._parts[number].get("seeds", self._graph.n_seeds) != self._graph.n_seeds:
            raise DataError(
                f"{ws.path('paths.parquet')} or visits.npz is missing or damaged, and part {number + 1} was walked "
                f"before seeds were added: restore the file, or run without the added seeds first, or pass --force to "
                f"start over"
            )

    def walk(self) -> None:
        """Write the paths of this part behind those of the parts before it."""
        with self.writer() as put:
            for table in self.rounds():
                put(table)
        self.finish()

    @contextlib.contextmanager
    def writer(self) -> Iterator[Callable[[pa.Table], None]]:
        """A function that adds rows to paths.parquet, which already has those of the earlier parts.

        Raises
        ------
        DataError
            The paths of a part that was walked again are not those of before.
        """
        with self._ws.replacing("paths.parquet") as part, store.paths_writer(part) as paths:

            def put(table: pa.Table) -> None:
                self._count(table)
                paths.write_table(table)

            for table in store.read_rows(self._ws, "paths.parquet", 0, self.earlier_rows):
                put(table)
            yield put
            if self._number < len(self._parts):
                # Before the file has the paths: what they refer to is then known, also after a kill in between.
                self._parts[self._number] = self._walked(self._parts[self._number])
                self._ws.record("walk", parts=self._parts)

    def rounds(self) -> Iterator[pa.Table]:
        """Walk and link one round after the other; gives the rows of paths.parquet that this part adds."""
        if self._number == len(self._parts):
            return
        from linksyn_gpu.sampling.bundle import SeedLinker
        from linksyn_gpu.sampling.labels import seed_labels
        from linksyn_gpu.sampling.walk import Walker

        config, own = self._config, self._parts[self._number]["paths"]
        cells = [replace(cell, n_paths=n) for cell, n in zip(self.cells, own, strict=True)]
        seeds = store.read_seed_table(self._ws, ["difficulty", "disciplines"])
        statistics = replace(self._statistics, labels=seed_labels(seeds))
        groups = license_graphs(self._ws, config)
        settings = config.quota, config.walk.tau, self._factor()
        goals = cell_goals(cells, self._graph, statistics, *settings, groups)
        self._goals_digest = goals_digest(goals)
        if self._parts[self._number].get("goals", self._goals_digest) != self._goals_digest:
            raise DataError(
                f"the targets of part {self._number + 1} differ from those of its first walk in the last bits: another "
                f"kind of processor or mathematical library computed them. Use that machine, or pass --force to start "
                f"over"
            )
        shared = (config.seed, config.backend)
        n_paths = sum(cell.n_paths for cell in self.cells)
        walker = Walker(self._graph, config.walk, *shared, goals=goals, memory=config.gpu_memory, n_paths=n_paths)
        graphs: dict[str | None, KPGraph] = {name: graph for name, (graph, _) in groups.items()} or {None: self._graph}
        linkers = {
            name: SeedLinker(graph, seeds, config.bundle, *shared, quota=config.quota, loaded=walker.loaded_of(graph))
            for name, graph in graphs.items()
            if any(cell.license_group == name for cell in cells)
        }
        visits = store.read_visits(self._ws) if self.earlier_rows else None
        if visits is not None:
            walker.add_visits(visits[0])
        for table in store.read_rows(self._ws, "paths.parquet", 0, self.earlier_rows):
            batch, bundles = store.paths_of(table, config.walk.length)
            walker.resume(batch, count=visits is None)
            for linker in linkers.values():
                linker.resume(bundles)
        done, total = 0, sum(own)
        self._progress("paths walked", done, total)
        for batch, bundles in walker.linked_rounds(plan_rounds(cells, config.walk.rounds), cells, linkers):
            self._redraws += batch.redraws
            self._add_to_digest(batch, bundles)
            yield store.paths_table(batch, bundles)
            done += len(batch)
            self._progress("paths walked", done, total)
        self._visits = walker.cell_visits
        self._facts = {**walker.backend.facts(), "walks_in_memory": min(walker.batch_size, total)}
        linkers.clear()
        backend = walker.backend
        del walker
        backend.ops.release()  # before synthesis starts: a server may need the device

    def _factor(self) -> Float64 | None:
        """Factor of each KP's target by the scores of a student model, which the report reads from kp-factors.npy."""
        from linksyn_gpu.sampling.scores import match_scores, read_scores, score_factor

        walk = self._config.walk
        if walk.kp_scores is None:
            return None
        scores = read_scores(walk.kp_scores, walk.kp_scores_kind)
        match = match_scores(scores, self._graph.names or (), store.read_aliases(self._ws))
        self._scores = match.counts()
        factor = score_factor(match.scores, walk.kp_scores_kind, walk.kp_scores_strength)
        store.write_factors(self._ws, factor)
        return factor

    def _add_to_digest(self, batch: WalkBatch, bundles: Bundles) -> None:
        for array in (batch.ids, batch.cell, batch.nodes, bundles.seeds, bundles.status):
            self._digest.update(np.ascontiguousarray(array).data)

    def _count(self, table: pa.Table) -> None:
        """Count rows of paths.parquet."""
        cell = table.column("cell").to_numpy()
        reasons = table.column("drop_reason").to_numpy(zero_copy_only=False)
        for number in np.unique(cell).tolist():
            found = Counter(reasons[cell == number].tolist())
            self._delivered[number] += found.pop(None, 0)
            self._drops[number] += found
        self._visited[table.column("nodes").combine_chunks().flatten().to_numpy()] = True

    def finish(self) -> None:
        """Write plan.json; the stage is finished after the last part.

        Raises
        ------
        DataError
            No path of the campaign was kept.
        """
        from linksyn_gpu.sampling.labels import seed_labels

        ws, kept, drops = self._ws, sum(self._delivered), sum(self._drops, Counter[str]())
        if kept == 0 and not ws.revoking:  # a takedown may take all paths
            raise DataError(
                f"none of {sum(drops.values()):,} paths was kept ({dict(drops)}): the graph or the quota is too narrow "
                f"for walk.length = {self._config.walk.length}; use a smaller length or a wider quota"
            )
        if self._visits is not None:
            store.write_visits(ws, self._visits, self.earlier_rows + sum(self._parts[self._number]["paths"]))
        with ws.replacing("plan.json") as file:
            labels = seed_labels(store.read_seed_table(ws, ["difficulty", "disciplines"]))
            store.write_plan(file, plan_table(self.cells, labels, self._delivered, self._drops))
        if self._number + 1 < len(self._parts):
            return
        counts = {
            "paths": sum(cell.n_paths for cell in self.cells),
            "kept": kept,
            "dropped": sum(drops.values()),
            "dropped_by_reason": dict(drops),
            "redraws": sum(part.get("redraws", 0) for part in self._parts),
            "kps_visited": int(self._visited.sum()),
            "quota_sums": self._config.quota.sums,
            **({"kp_scores": self._scores} if self._scores is not None else {}),
        }
        facts = {"backend": self._facts} if self._facts else {}
        ws.finish("walk", counts, **facts)

    def _walked(self, part: Mapping[str, Any]) -> dict[str, Any]:
        """The entry of this part in the manifest, now that it is walked."""
        digest = self._digest.hexdigest()
        if part.get("digest", digest) != digest:
            raise DataError(
                f"the paths of part {self._number + 1} are not those of before: it was walked by another version of "
                f"this program. Use that one, or pass --force to start over"
            )
        size = {"seeds": self._graph.n_seeds, "kps": self._graph.n_kps}
        if revoked := self._ws.facts("ingest").get("revoked"):
            size["revoked"] = len(revoked)
        return {**part, "redraws": self._redraws, **size, "goals": self._goals_digest, "digest": digest}
