"""Which QA a data set of a given size holds: of each cell the best, and exactly as many as it was asked for."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from linksyn_gpu.tables import Bool, Int64


def preference(rows: pa.RecordBatch) -> Int64:
    """[n] preference for each QA, larger is better: at the judged level first, then by length of the explanation.

    This project's own rule. A QA that no judge has seen counts as one at the level asked for.
    """
    length = _int64(pc.utf8_length(rows.column("explanation")))
    if "level_judged" not in rows.schema.names:
        return length
    judged, asked = (rows.column(name).cast(pa.int64()) for name in ("level_judged", "asked_level"))
    return length - (_int64(pc.abs(pc.subtract(judged, asked))) << 32)


def _int64(numbers: pa.Array) -> Int64:
    return np.asarray(numbers.fill_null(0).to_numpy(zero_copy_only=False), np.int64)


def best_of_cells(cell: Int64, rank: Int64, ids: Sequence[str], sizes: Sequence[int]) -> Bool:
    """[n] which QA are among the best of their cells; of equal ones the lowest id, hence independent of the order.

    Parameters
    ----------
    cell : int64 [n]
    rank : int64 [n]
        Larger is better.
    ids : sequence of str
        [n], distinct.
    sizes : sequence of int
        QA that each cell was asked for.
    """
    order = np.lexsort((np.asarray(ids), -rank, cell))
    first = np.searchsorted(cell[order], np.arange(len(sizes)))
    place = np.arange(cell.size) - first[cell[order]]
    chosen = np.zeros(cell.size, bool)
    chosen[order] = place < np.asarray(sizes, np.int64)[cell[order]]
    return chosen
