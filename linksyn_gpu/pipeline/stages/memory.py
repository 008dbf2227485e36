"""Seeds and bundles that are in memory, as finished stages of a run folder."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from linksyn_gpu.config import DecontaminateConfig
from linksyn_gpu.config.loader import to_mapping
from linksyn_gpu.errors import DataError
from linksyn_gpu.pipeline import store
from linksyn_gpu.pipeline.benchmarks import benchmark_digests, screening, without_contaminated
from linksyn_gpu.pipeline.folder import Workspace
from linksyn_gpu.pipeline.stages.build import graph_counts
from linksyn_gpu.pipeline.stages.ingest import seed_counts
from linksyn_gpu.sampling.labels import seed_labels
from linksyn_gpu.sampling.plan import plan_table
from linksyn_gpu.seeds.normalize import SeedTally
from linksyn_gpu.tables import Bundles, Cell, Seeds


def keep_seeds(
    ws: Workspace,
    seeds: Seeds,
    others: Mapping[str, str] | None = None,
    *,
    decontaminate: DecontaminateConfig | None = None,
    force: bool = False,
) -> dict[str, Any]:
    """Seeds -> seeds.arrow and rejects.jsonl, as stage ingest. Returns the stage's counts.

    `others` are hashes of what else must be the same for the folder to be continued.
    """
    named = {"seeds in memory": _hash_of_table(seeds), **(others or {})}
    against = decontaminate or DecontaminateConfig()
    settings = {"seeds": {}, "decontamination": benchmark_digests(against), "input": named}
    if ws.begin("ingest", settings, operational={"decontaminate": to_mapping(against)}, force=force):
        with screening(ws, against) as screen:
            kept = seeds if screen is None else without_contaminated(seeds, screen)
            store.write_seeds(ws, kept)
        ws.finish("ingest", seed_counts(SeedTally.of(kept), screen))
    return ws.counts("ingest")


def keep_bundles(ws: Workspace, bundles: Bundles, *, force: bool = False) -> None:
    """Bundles with their seeds, graph and paths -> the files of the stages ingest, build and walk.

    Raises
    ------
    DataError
        The bundles were not made by `link_seeds`, from paths of `Walker.sample` on a graph of `build_graph`.
    """
    paths, graph, seeds = bundles.linked()
    if graph.statistics is None or not paths.settings:
        raise DataError("bundles need paths of Walker.sample, on a graph that build_graph made from seeds")
    hashes = {
        "graph": _hash_of(graph.indptr, graph.indices, graph.weight),
        "bundles": _hash_of(paths.nodes, bundles.seeds),
    }
    keep_seeds(ws, seeds, hashes, force=force)
    if ws.begin("build", {"graph": {}}):
        store.write_graph(ws, graph, graph.statistics)
        ws.finish("build", graph_counts(graph))
    if ws.begin("walk", {"paths": len(paths), **paths.settings}):
        cells = paths.cells or [Cell(None, None, len(paths))]
        with ws.replacing("paths.parquet") as part, store.paths_writer(part) as writer:
            writer.write_table(store.paths_table(paths, bundles))
        with ws.replacing("plan.json") as part:
            each = (paths.cell == number for number in range(len(cells)))
            of_cell = [Bundles(bundles.seeds[rows], bundles.status[rows]) for rows in each]
            delivered, drops = [int(b.kept.sum()) for b in of_cell], [b.drops for b in of_cell]
            store.write_plan(part, plan_table(cells, seed_labels(seeds), delivered, drops))
        counts = {
            "paths": len(paths),
            "kept": int(bundles.kept.sum()),
            "dropped": sum(bundles.drops.values()),
            "dropped_by_reason": dict(bundles.drops),
            "redraws": paths.redraws,
            "kps_visited": int(np.unique(paths.nodes[paths.nodes >= 0]).size),
        }
        ws.finish("walk", counts)


def _hash_of(*arrays: Any) -> str:
    found = hashlib.sha256()
    for array in arrays:
        found.update(np.ascontiguousarray(array).data)
    return f"sha256 {found.hexdigest()}"


def _hash_of_table(seeds: Seeds) -> str:
    found = hashlib.sha256()
    # Columns that older versions did not have are left out: a folder of them is continued.
    columns = [name for name in seeds.table.column_names if name not in ("source_id", "explanation")]
    for batch in seeds.table.select(columns).combine_chunks().to_batches():
        found.update(batch.serialize())
    return f"sha256 {found.hexdigest()}"
