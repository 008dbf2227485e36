"""Paths on the device: lengths, visits, and which are kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cupy as cp
import numpy as np

from linksyn_gpu.backend.gpu.cuda import launch
from linksyn_gpu.backend.gpu.device import DeviceArray, flatnonzero


@dataclass(eq=False)
class KeySet:
    """Keys of the KP sets sampled so far."""

    keys: Any
    """uint64, ascending"""


def path_lengths(nodes: DeviceArray) -> DeviceArray:
    """Count what is not padding."""
    lengths = cp.empty(nodes.shape[0], np.int32)
    launch("path_lengths", nodes.shape[0], nodes, *_layout(nodes), lengths)
    return lengths


def count_occurrences(table: DeviceArray, keep: Any, size: int) -> DeviceArray:
    """One counter per number, added to atomically."""
    counts = cp.zeros(size, np.int64)
    launch("count_occurrences", table.size, table, keep, *_layout(table), size, counts)
    return counts


def key_set() -> KeySet:
    """Make an empty set."""
    return KeySet(cp.empty(0, np.uint64))


def screen_paths(nodes: DeviceArray, min_length: int, seen: KeySet | None) -> Any:
    """Sort the keys of paths that are long enough, and find equal ones."""
    short = path_lengths(nodes) < min_length
    status = short.astype(np.uint8)
    rows = flatnonzero(~short)
    if seen is None or rows.size == 0:
        return status
    keys = path_keys(nodes)[rows]
    order = cp.argsort(keys)  # stable: the earliest row of a set comes first
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


def path_keys(nodes: DeviceArray) -> DeviceArray:
    """One thread per path."""
    keys = cp.empty(nodes.shape[0], np.uint64)
    launch("path_keys", nodes.shape[0], nodes, *_layout(nodes), keys)
    return keys


def _layout(table: Any) -> tuple[int, int, int, int]:
    """Rows, columns, and the strides of both in elements."""
    row_stride, column_stride = (step // table.itemsize for step in table.strides)
    return table.shape[0], table.shape[1], row_stride, column_stride
