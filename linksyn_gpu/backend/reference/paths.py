"""The reference's view of paths: lengths, visits, and which must be drawn again."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from linksyn_gpu.tables import Bool, Int32, Int64, UInt64


@dataclass(frozen=True, eq=False)
class KeySet:
    """Keys of the KP sets sampled so far."""

    keys: set[int]


def path_lengths(nodes: Int32) -> Int32:
    """Count what is not padding."""
    return np.asarray((nodes >= 0).sum(axis=1), np.int32)


def count_occurrences(table: Int32, keep: Bool, size: int) -> Int64:
    """One bincount of the kept rows."""
    kept = table[keep]
    return np.bincount(kept[kept >= 0], minlength=size).astype(np.int64)


def key_set() -> KeySet:
    """Make an empty Python set."""
    return KeySet(set())


def screen_paths(nodes: Int32, min_length: int, seen: KeySet | None) -> NDArray[np.uint8]:
    """Row by row."""
    status = np.where(path_lengths(nodes) < min_length, 1, 0).astype(np.uint8)
    if seen is not None:
        for row, key in enumerate(path_keys(nodes).tolist()):
            if status[row] == 0:
                if key in seen.keys:
                    status[row] = 2
                seen.keys.add(key)
    return status


def path_keys(nodes: Int32) -> UInt64:
    """Sum over the columns whose KP is not in an earlier column."""
    x = (nodes.astype(np.int64) + 1).astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    x ^= x >> np.uint64(31)
    counted = nodes >= 0
    for column in range(1, nodes.shape[1]):
        counted[:, column] &= (nodes[:, :column] != nodes[:, column, None]).all(axis=1)
    keys: UInt64 = np.where(counted, x, np.uint64(0)).sum(axis=1, dtype=np.uint64)
    return keys
