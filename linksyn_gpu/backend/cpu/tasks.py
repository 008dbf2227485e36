"""How work on the CPU is cut into tasks."""

from __future__ import annotations

from typing import Any

import numpy as np

from linksyn_gpu.backend.rng import LOW
from linksyn_gpu.tables import Int64

WALKS_PER_TASK = 1024
ENTRIES_PER_TASK = 1 << 16
ROWS_PER_TASK = 1 << 14


def offsets(sizes: Any) -> Int64:
    """Begin of each of consecutive blocks, and end of the last."""
    out = np.zeros(sizes.size + 1, np.int64)
    np.cumsum(sizes, out=out[1:])
    return out


def split(offsets: Int64, work: int) -> Int64:
    """Cut blocks into runs of about `work` units: a hub is a separate run and keeps one thread busy, not all."""
    n_tasks = max(1, int(offsets[-1]) // work)
    targets = np.linspace(0, int(offsets[-1]), n_tasks + 1)[1:-1]
    inner = np.searchsorted(offsets, targets)
    return np.unique(np.concatenate([[0], inner, [offsets.size - 1]])).astype(np.int64)


def count_tasks(size: int, per_task: int) -> int:
    """Tasks for `size` units of work."""
    return max(1, -(-size // per_task))


def key_words(key: int) -> tuple[np.uint64, np.uint64]:
    """A 64-bit key as Philox takes it: low word, high word."""
    return np.uint64(key & LOW), np.uint64(key >> 32)
