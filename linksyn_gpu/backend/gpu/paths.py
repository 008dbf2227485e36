"""What walks leave behind, on the device: lengths, visits, and which paths are kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cupy as cp
import numpy as np

from linksyn_gpu.backend.gpu.cuda import launch
from linksyn_gpu.backend.gpu.device import Array, flatnonzero


@dataclass(eq=False)
class KeySet:
    """Names of the KP sets sampled so far in a campaign."""

    keys: Any
    """uint64, ascending"""


def path_lengths(nodes: Array) -> Array:
    """KPs on each path: int32 [n]."""
    lengths = cp.empty(nodes.shape[0], np.int32)
    launch("path_lengths", nodes.shape[0], nodes, *_layout(nodes), lengths)
    return lengths


def count_occurrences(table: Array, keep: Any, size: int) -> Array:
    """How often each number 0 .. size - 1 stands in the kept rows of a -1 padded table: int64 [size].

    Visits of KPs over paths, and uses of seeds over bundles.
    """
    counts = cp.zeros(size, np.int64)
    launch("count_occurrences", table.size, table, keep, *_layout(table), size, counts)
    return counts


def key_set() -> KeySet:
    """Make an empty set of KP sets already sampled."""
    return KeySet(cp.empty(0, np.uint64))


def screen_paths(nodes: Array, min_length: int, seen: KeySet | None) -> Any:
    """Judge each path, in row order: index into `tables.PATH_STATUS`.

    Too short: fewer than `min_length` KPs. Repeated: its set of KPs is in `seen` or was kept in an earlier row
    (not asked when `seen` is None). The sets of kept paths are added to `seen`.
    """
    short = path_lengths(nodes) < min_length
    status = short.astype(np.uint8)
    rows = flatnonzero(~short)
    if seen is None or rows.size == 0:
        return status
    keys = path_keys(nodes)[rows]
    order = cp.argsort(keys)  # stable: the earliest row of a set stands first
    keys = keys[order]
    repeated = cp.zeros(keys.size, np.bool_)
    repeated[1:] = keys[1:] == keys[:-1]
    if seen.keys.size:
        at = cp.minimum(cp.searchsorted(seen.keys, keys), seen.keys.size - 1)
        repeated |= seen.keys[at] == keys
    status[rows[order]] = 2 * repeated.astype(np.uint8)
    seen.keys = cp.concatenate((seen.keys, keys[flatnonzero(~repeated)]))
    seen.keys.sort()
    return status


def path_keys(nodes: Array) -> Array:
    """64-bit name of each path's set of KPs: the sum, over its distinct KPs, of splitmix64's finaliser.

    Two sets share a name with probability 2^-64; then the later path is taken for a repeat and drawn again.
    """
    keys = cp.empty(nodes.shape[0], np.uint64)
    launch("path_keys", nodes.shape[0], nodes, *_layout(nodes), keys)
    return keys


def _layout(table: Any) -> tuple[int, int, int, int]:
    """Rows, columns, and the strides of both in elements."""
    row_stride, column_stride = (step // table.itemsize for step in table.strides)
    return table.shape[0], table.shape[1], row_stride, column_stride
