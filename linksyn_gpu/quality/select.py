"""Which of the kept QA a data set holds: one of each cluster of near-duplicates, and of each cell the best."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

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


def best_first(rank: Int64, ids: Sequence[str]) -> Int64:
    """[n] row numbers by rank, the largest first; of equal ones the lowest id, hence independent of the order."""
    return np.lexsort((np.asarray(ids), -rank))


def representatives(cluster: Int64, order: Int64, n_others: int = 0) -> Int64:
    """[n] the row that represents each row's cluster: its first one in `order`.

    Parameters
    ----------
    cluster : int64 [n_others + n]
        Number of each text's cluster.
    order : int64 [n]
        Rows as `best_first` gives them.
    n_others : int
        Texts before the rows, such as seeds: a cluster with one of them has no representative, which is -1.
    """
    first = np.full(int(cluster.max(initial=-1)) + 1, -1, np.int64)
    own = cluster[n_others:]
    first[own[order[::-1]]] = order[::-1]
    first[cluster[:n_others]] = -1
    return first[own]


def best_of_cells(cell: NDArray[np.int64], order: Int64, sizes: Sequence[int]) -> Bool:
    """[n] which QA are among the first of their cells.

    Parameters
    ----------
    cell : int64 [n]
        -1: not to be chosen.
    order : int64 [n]
        Rows as `best_first` gives them.
    sizes : sequence of int
        QA that each cell may have.
    """
    rows = order[cell[order] >= 0]
    rows = rows[np.argsort(cell[rows], kind="stable")]
    first = np.searchsorted(cell[rows], np.arange(len(sizes)))
    place = np.arange(rows.size) - first[cell[rows]]
    chosen = np.zeros(cell.size, bool)
    chosen[rows] = place < np.asarray(sizes, np.int64)[cell[rows]]
    return chosen
