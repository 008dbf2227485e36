"""Stage curate over a run folder: the final QA of the stages before -> the data set.

curated.parquet, curated.jsonl   the data set
curate-dropped.parquet           QA that are near-duplicates, each with its reason and what it repeats
reserve.parquet                  with a number of QA asked for: further QA of cells that have their number
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from linksyn_gpu.config import RunConfig
from linksyn_gpu.config.loader import to_mapping
from linksyn_gpu.pipeline import store
from linksyn_gpu.pipeline.folder import Workspace
from linksyn_gpu.pipeline.growth import quota_of
from linksyn_gpu.pipeline.progress import Progress, silent
from linksyn_gpu.sampling.plan import plan_cells
from linksyn_gpu.tables import RowWriter

if TYPE_CHECKING:
    import pyarrow as pa

REASONS = {
    "near_duplicate": "the question is nearly the same as that of a better QA",
    "near_seed": "the question is nearly the same as that of a seed",
}


def curate(ws: Workspace, config: RunConfig, *, progress: Progress = silent) -> dict[str, Any]:
    """Choose the QA of the data set. Returns the stage's counts: 'qa' = 'kept' + 'dropped' + 'reserve'.

    Other settings need no `force`: the model is not asked again. Memory: 0.7 kB for each QA, and for each seed if they
    are compared with seeds.
    """
    from linksyn_gpu.quality.duplicates import clusters_of
    from linksyn_gpu.quality.select import best_first, best_of_cells, preference, representatives

    cells = plan_cells(quota_of(ws, config), config.qa or 0)
    asked = None if config.qa is None else [cell.n_paths for cell in cells]
    if not ws.begin("curate", {"curate": to_mapping(config.curate), "asked": asked}, growing=("curate", "asked")):
        return ws.counts("curate")
    name = "enhanced.parquet" if ws.finished("enhance") else "qa.parquet"
    progress("QA curated", 0, None)
    columns = store.read_table(ws, name, ["id", "cell"])
    ids, cell = columns.column("id").to_pylist(), columns.column("cell").to_numpy().astype(np.int64)
    seed_ids: list[str] = []
    if config.curate.against_seeds:
        seed_ids = store.read_seed_table(ws, ["id"]).table.column("id").to_pylist()
    rank = np.concatenate([np.zeros(0, np.int64), *(preference(batch) for batch in store.read_batches(ws, name))])
    order = best_first(rank, ids)
    cluster = clusters_of(_texts(ws, name, with_seeds=bool(seed_ids)), config.curate.near_duplicates)
    kept_row = representatives(cluster, order, len(seed_ids))
    single = kept_row == np.arange(len(ids))
    chosen = single if asked is None else best_of_cells(np.where(single, cell, -1), order, asked)
    repeated = [*seed_ids, *ids]

    def why(row: int) -> tuple[str, str]:
        if kept_row[row] >= 0:
            return "near_duplicate", ids[kept_row[row]]
        return "near_seed", repeated[
            cluster[len(seed_ids) + row]
        ]  # the first text of a cluster is a seed if one is in it

    dropped = _write(ws, name, chosen, single, why)
    counts = {
        "qa": len(ids),
        "kept": int(chosen.sum()),
        "dropped": sum(dropped.values()),
        "dropped_by_reason": dict(dropped),
        "reserve": int((single & ~chosen).sum()),
        **_quota(cells, asked, np.bincount(cell[single], minlength=len(cells)).tolist()),
    }
    ws.finish("curate", counts)
    progress("QA curated", len(ids), len(ids))
    return counts


def _texts(ws: Workspace, name: str, *, with_seeds: bool) -> Iterator[str]:
    """Compared texts of the seeds, if wanted, and of the QA."""
    from linksyn_gpu.quality.duplicates import compared_text

    if with_seeds:
        for batch in store.read_seed_table(ws, ["question", "options"]).table.to_batches():
            yield from map(compared_text, *(column.to_pylist() for column in batch.columns))
    for batch in store.read_batches(ws, name, ["question", "options"]):
        yield from map(compared_text, *(column.to_pylist() for column in batch.columns))


def _write(ws: Workspace, name: str, chosen: Any, single: Any, why: Any) -> Counter[str]:
    """Write the rows to their files, and count the drops by reason."""
    schema = store.read_schema(ws, name)
    reasons = Counter[str]()
    with (
        ws.replacing("curated.parquet") as parquet,
        ws.replacing("curated.jsonl") as jsonl,
        ws.replacing("reserve.parquet") as further,
        ws.replacing("curate-dropped.parquet") as left_out,
        RowWriter(schema, parquet, jsonl) as kept,
        RowWriter(schema, further) as reserve,
        RowWriter(curate_dropped_schema(schema), left_out) as dropped,
    ):
        first = 0
        for batch in store.read_batches(ws, name):
            rows = slice(first, first + batch.num_rows)
            kept.write(batch.filter(chosen[rows]).to_pylist())
            reserve.write(batch.filter(single[rows] & ~chosen[rows]).to_pylist())
            repeats = batch.filter(~single[rows]).to_pylist()
            for row, number in zip(repeats, first + np.flatnonzero(~single[rows]), strict=True):
                row["reason"], row["repeats"] = why(int(number))
                reasons[row["reason"]] += 1
            dropped.write(repeats)
            first += batch.num_rows
    return reasons


def curate_dropped_schema(qa: pa.Schema) -> pa.Schema:
    """Columns of curate-dropped.parquet: those of the QA, one of `REASONS`, and the id of the QA or seed it repeats."""
    import pyarrow as pa

    return pa.schema([*qa, ("reason", pa.string()), ("repeats", pa.string())])


def _quota(cells: Sequence[Any], asked: Sequence[int] | None, available: Sequence[int]) -> dict[str, Any]:
    """Counts of a campaign that was asked for a number of QA: 'asked' = 'kept' + 'missing', in all and by cell."""
    if asked is None:
        return {}
    missing = [max(0, want - have) for want, have in zip(asked, available, strict=True)]
    rows = [
        {
            "discipline": cell.discipline,
            "difficulty": cell.difficulty,
            "asked": want,
            "kept": want - lacks,
            "missing": lacks,
            "reserve": have - (want - lacks),
        }
        for cell, want, lacks, have in zip(cells, asked, missing, available, strict=True)
    ]
    return {"asked": sum(asked), "missing": sum(missing), "available": list(available), "cells": rows}
