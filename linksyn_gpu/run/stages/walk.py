"""Stages ingest, build and walk over a run folder, and what can be said of their graph."""

from __future__ import annotations

import contextlib
import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from linksyn_gpu.backend import resolve
from linksyn_gpu.config import RunConfig
from linksyn_gpu.config.loader import to_mapping
from linksyn_gpu.errors import DataError
from linksyn_gpu.run import store
from linksyn_gpu.run.folder import Workspace
from linksyn_gpu.run.progress import Progress, silent
from linksyn_gpu.sampling.plan import cell_affinities, plan_cells, plan_rounds
from linksyn_gpu.tables import PATH_STATUS, Bundles, Cell, KPGraph, Seeds, WalkBatch

if TYPE_CHECKING:
    import pyarrow as pa

FEW_SEEDS = len(PATH_STATUS)
REASONS = np.array([None, *PATH_STATUS[1:], "few_seeds"], dtype=object)


def ingest(
    ws: Workspace, files: Sequence[str], config: RunConfig, *, force: bool = False, progress: Progress = silent
) -> dict[str, Any]:
    """Files -> seeds.parquet and rejects.jsonl. Returns the stage's counts."""
    from linksyn_gpu.seeds.normalize import read_seeds
    from linksyn_gpu.seeds.readers import find_files

    settings = {
        "seeds": to_mapping(config.seeds),
        "input": _fingerprints([file.path for file in find_files(files)]),
    }
    if ws.begin("ingest", settings, force=force):
        progress("records read", 0, None)
        seeds = read_seeds(files, config.seeds)
        store.write_seeds(ws, seeds)
        counts = seed_counts(seeds)
        progress("records read", counts["records"], counts["records"])
        ws.finish("ingest", counts)
    return ws.counts("ingest")


def seed_counts(seeds: Seeds) -> dict[str, Any]:
    """Counts of stage ingest: records = seeds + rejected."""
    return {
        "records": len(seeds) + len(seeds.rejects),
        "seeds": len(seeds),
        "rejected": len(seeds.rejects),
        "rejected_by_reason": dict(Counter(reject.reason for reject in seeds.rejects)),
        "notes": dict(seeds.notes),
    }


def build(ws: Workspace, config: RunConfig, *, force: bool = False, progress: Progress = silent) -> dict[str, Any]:
    """Seeds -> graph/*.npy and kps.parquet. Returns the stage's counts."""
    from linksyn_gpu.sampling.graph import build_graph_from_incidence, kp_statistics, read_incidence

    if (ws.settings("extract") or {"extract": {"merge": "none"}})["extract"]["merge"] != "none":
        config = replace(config, graph=replace(config.graph, kp_form="exact"))  # names are one already where they are
    settings = {"graph": to_mapping(config.graph)}
    del settings["graph"]["memory_limit"]  # changes no bit of the graph
    if ws.begin("build", settings, force=force):
        backend = resolve(config.backend)
        seeds = store.read_seed_table(ws, ["knowledge_points", "difficulty", "disciplines"])
        progress("KP graph", 0, None)
        incidence = read_incidence(seeds, config.graph, backend.name)
        graph = build_graph_from_incidence(
            incidence.indptr,
            incidence.kp_indices,
            len(incidence.names),
            config.graph,
            names=incidence.names,
            backend=backend.name,
        )
        graph = replace(graph, drops=graph.drops + incidence.drops)
        store.write_graph(ws, graph, kp_statistics(seeds, incidence), store.read_aliases(ws))
        counts = graph_counts(graph)
        progress("KP graph", counts["edges"], counts["edges"])
        ws.finish("build", counts, backend=backend.facts())
        backend.ops.release()
    return ws.counts("build")


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
            batch = walker.sample_round(part.n_paths, part.cell)
            bundles = linker.link_round(batch, self._cells[part.cell].difficulty)
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
        backend.ops.release()  # before synthesis starts: a server may want the device

    def counts(self) -> dict[str, Any]:
        return {
            "paths": self._config.paths,
            "kept": sum(self.delivered),
            "dropped": sum(self._drops.values()),
            "dropped_by_reason": dict(self._drops),
            "redraws": self._redraws,
            "kps_visited": self._visited,
        }


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
    with ws.replacing("analytics.parquet") as part:
        store.write_analytics(part, graph, columns)
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
    from linksyn_gpu.run.serving import plan_of

    ws.counts("build")
    if memory is None:
        memory = resolve("gpu").ops.free_memory()
    return plan_of(ws, length, round_paths, memory).table()


def graph_counts(graph: KPGraph) -> dict[str, Any]:
    """Counts of stage build: size and components of the graph."""
    from scipy.sparse.csgraph import connected_components

    n_components, label = connected_components(graph.to_scipy(), directed=False)
    return {
        "seeds": graph.n_seeds,
        "kps": graph.n_kps,
        "edges": graph.n_edges,
        "components": int(n_components),
        "kps_in_largest_component": int(np.bincount(label).max()),
        "isolated_kps": int((graph.degree == 0).sum()),
        "drops": dict(graph.drops),
    }


def _fingerprints(paths: Sequence[Path]) -> dict[str, str]:
    """Name input files by their content, so that a changed file is not taken for the old one."""
    found: dict[str, str] = {}
    for path in paths:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        name = path.name if path.name not in found else f"{path.name} (file {len(found) + 1})"
        found[name] = f"sha256 {digest}"
    return found
