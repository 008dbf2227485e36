"""Paths on the CPU: lengths, visits, and which are kept."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from linksyn_gpu.backend.cpu.kernels import bundle, walk
from linksyn_gpu.backend.cpu.kernels.core import allocate, operand, run_tasks, thread_count
from linksyn_gpu.backend.cpu.tasks import ROWS_PER_TASK, WALKS_PER_TASK, count_tasks
from linksyn_gpu.tables import Bool, Int32, Int64, UInt64

LEAST_SLOTS = 1 << 12


@dataclass(eq=False)
class KeySet:
    """Keys of the KP sets sampled so far: open addressing, at most half full."""

    slots: UInt64 = field(default_factory=lambda: np.zeros(LEAST_SLOTS, np.uint64))
    """[a power of two] 0 where empty."""
    used: int = 0
    holds_zero: bool = False
    """Key 0, which marks an empty slot, is stored here."""

    @property
    def keys(self) -> set[int]:
        """The keys, as the reference stores them."""
        held = set(self.slots[self.slots != 0].tolist())
        return held | {0} if self.holds_zero else held


def path_lengths(nodes: Int32) -> Int32:
    """Count what is not padding."""
    nodes = operand(nodes, np.int32)
    out = np.empty(nodes.shape[0], np.int32)
    run_tasks(walk.length_tasks, count_tasks(nodes.shape[0], ROWS_PER_TASK), nodes, out)
    return out


def count_occurrences(table: Int32, keep: Bool, size: int) -> Int64:
    """One array of counters per task, then their sum."""
    table, keep = operand(table, np.int32), operand(keep, np.bool_)
    # Each task has its own counters: never more counters than numbers to count.
    n_tasks = max(1, min(thread_count(), table.size // max(1, size)))
    counts = np.empty((n_tasks, size), np.int64)
    run_tasks(walk.occurrence_tasks, n_tasks, table, keep, counts)
    total: Int64 = counts.sum(axis=0)
    return total


def key_set() -> KeySet:
    """Make an empty table."""
    return KeySet()


def screen_paths(nodes: Int32, min_length: int, seen: KeySet | None) -> NDArray[np.uint8]:
    """Row by row over a hash table, after all keys are computed in parallel."""
    status = (path_lengths(nodes) < min_length).astype(np.uint8)
    if seen is not None:
        needed = 2 * (seen.used + status.size)
        if needed > seen.slots.size:
            slots = allocate(1 << (needed - 1).bit_length(), np.uint64)
            slots.fill(0)
            bundle.rehash(seen.slots, slots, _slot_shift(slots))
            seen.slots = slots
        added, seen.holds_zero = bundle.screen_rows(
            path_keys(nodes), seen.slots, _slot_shift(seen.slots), seen.holds_zero, status
        )
        seen.used += added
    return status


def _slot_shift(slots: UInt64) -> np.uint64:
    """The top bits of a key are its slot: path keys are sums of well mixed words."""
    return np.uint64(64 - (slots.size - 1).bit_length())


def path_keys(nodes: Int32) -> UInt64:
    """Path by path, in all threads."""
    nodes = operand(nodes, np.int32)
    keys = np.empty(nodes.shape[0], np.uint64)
    run_tasks(bundle.path_key_tasks, count_tasks(nodes.shape[0], WALKS_PER_TASK), nodes, keys)
    return keys
