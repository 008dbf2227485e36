"""Stage curate over a run folder: the QA of a campaign that was asked for a number of them -> exactly that many.

curated.parquet, curated.jsonl   of each cell the best QA, at most as many as it was asked for
reserve.parquet                  all other kept QA
"""

from __future__ import annotations

from typing import Any

import numpy as np

from linksyn_gpu.config import RunConfig
from linksyn_gpu.errors import ConfigError
from linksyn_gpu.pipeline import store
from linksyn_gpu.pipeline.folder import Workspace
from linksyn_gpu.pipeline.growth import quota_of
from linksyn_gpu.pipeline.progress import Progress, silent
from linksyn_gpu.sampling.plan import plan_cells
from linksyn_gpu.tables import RowWriter


def curate(ws: Workspace, config: RunConfig, *, progress: Progress = silent) -> dict[str, Any]:
    """Choose the QA of the data set. Returns the stage's counts: 'asked' = 'kept' + 'missing', and 'reserve'.

    Memory: about 100 bytes for each QA.

    Raises
    ------
    ConfigError
        No number of QA was asked for, or the QA are not complete.
    """
    from linksyn_gpu.quality.select import best_of_cells, preference

    if config.qa is None:
        raise ConfigError("curate chooses a number of QA, and none was asked for: pass --qa")
    name = "enhanced.parquet" if ws.finished("enhance") else "qa.parquet"
    cells = plan_cells(quota_of(ws, config), config.qa)
    asked = [cell.n_paths for cell in cells]
    if not ws.begin("curate", {"asked": asked}, growing=("asked",)):
        return ws.counts("curate")
    progress("QA curated", 0, None)
    columns = store.read_table(ws, name, ["id", "cell"])
    cell = columns.column("cell").to_numpy().astype(np.int64)
    batches = store.read_batches(ws, name)
    rank = np.concatenate([np.zeros(0, np.int64), *(preference(batch) for batch in batches)])
    chosen = best_of_cells(cell, rank, columns.column("id").to_pylist(), asked)
    schema = store.read_schema(ws, name)
    with (
        ws.replacing("curated.parquet") as parquet,
        ws.replacing("curated.jsonl") as jsonl,
        ws.replacing("reserve.parquet") as surplus,
        RowWriter(schema, parquet, jsonl) as kept,
        RowWriter(schema, surplus) as reserve,
    ):
        first = 0
        for batch in store.read_batches(ws, name):
            here = chosen[first : first + batch.num_rows]
            kept.write(batch.filter(here).to_pylist())
            reserve.write(batch.filter(~here).to_pylist())
            first += batch.num_rows
    available = np.bincount(cell, minlength=len(cells)).tolist()
    missing = [max(0, want - have) for want, have in zip(asked, available, strict=True)]
    counts = {
        "asked": sum(asked),
        "kept": int(chosen.sum()),
        "missing": sum(missing),
        "reserve": int((~chosen).sum()),
        "available": available,
        "cells": [
            {
                "discipline": c.discipline,
                "difficulty": c.difficulty,
                "asked": n,
                "kept": n - m,
                "missing": m,
                "reserve": a - n + m,
            }
            for c, n, m, a in zip(cells, asked, missing, available, strict=True)
        ],
    }
    ws.finish("curate", counts)
    return counts
