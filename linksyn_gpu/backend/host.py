"""Operations that backends with arrays in host memory share."""

from __future__ import annotations

from typing import Any

import numpy as np

from linksyn_gpu.backend.protocol import MAX_BATCH
from linksyn_gpu.tables import Int64, KPGraph


def asarray(array: Any) -> Any:
    """Bring a host array into the backend's memory."""
    return np.asarray(array)


def to_host(array: Any) -> Any:
    """Bring a backend array to the host."""
    return np.asarray(array)


def walk_ids(begin: int, end: int) -> Int64:
    """Walk ids begin .. end - 1 in the backend's memory."""
    return np.arange(begin, end, dtype=np.int64)


def flatnonzero(array: Any) -> Any:
    """Rows where `array` is not 0, ascending."""
    return np.flatnonzero(array)


def walks_that_fit(graph: KPGraph, length: int, *, memory: int | None = None) -> int:
    """Walks that the backend's memory holds at once beside the graph, its tables and postings.

    Parameters
    ----------
    length : int
        Steps of a walk.
    memory : int, optional
        Bytes that may be taken; a host pages, so it is not looked at here.
    """
    del graph, length, memory
    return MAX_BATCH
