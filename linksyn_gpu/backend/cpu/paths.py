"""What walks leave behind, on the CPU: lengths, visits, and which paths are kept."""

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
    """Names of the KP sets sampled so far in a campaign: open addressing, at most half full."""

    slots: UInt64 = field(default_factory=lambda: np.zeros(LEAST_SLOTS, np.uint64))
    """[a power of two] 0 where empty."""
    used: int = 0
    holds_zero: bool = False
    """The name 0, which means an empty slot, is kept here."""

    @property
    def keys(self) -> set[int]:
        """The names, as `reference.KeySet` has them."""
        held = set(self.slots[self.slots != 0].tolist())
        return held | {0} if self.holds_zero else held


def path_lengths(nodes: Int32) -> Int32:
    """KPs on each path: int32 [n]."""
    nodes = operand(nodes, np.int32)
    out = np.empty(nodes.shape[0], np.int32)
    run_tasks(walk.length_tasks, count_tasks(nodes.shape[0], ROWS_PER_TASK), nodes, out)
    return out


def count_occurrences(table: Int32, keep: Bool, size: int) -> Int64:
    """How often each number 0 .. size - 1 stands in the kept rows of a -1 padded table: int64 [size].

    Visits of KPs over paths, and uses of seeds over bundles.
    """
    table, keep = operand(table, np.int32), operand(keep, np.bool_)
    # A task has counters of its own: never more counters than numbers to count.
    n_tasks = max(1, min(thread_count(), table.size // max(1, size)))
    counts = np.empty((n_tasks, size), np.int64)
    run_tasks(walk.occurrence_tasks, n_tasks, table, keep, counts)
    total: Int64 = counts.sum(axis=0)
    return total


def key_set() -> KeySet:
    """Make an empty set of KP sets already sampled."""
    return KeySet()


def screen_paths(nodes: Int32, min_length: int, seen: KeySet | None) -> NDArray[np.uint8]:
    """Judge each path, in row order: index into `tables.PATH_STATUS`.

    Too short: fewer than `min_length` KPs. Repeated: its set of KPs is in `seen` or was kept in an earlier row
    (not asked when `seen` is None). The sets of kept paths are added to `seen`.
    """
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
    """The top bits of a key name its slot: path keys are sums of well mixed words."""
    return np.uint64(64 - (slots.size - 1).bit_length())


def path_keys(nodes: Int32) -> UInt64:
    """64-bit name of each path's set of KPs: the sum, over its distinct KPs, of splitmix64's finaliser.

    Two sets share a name with probability 2^-64; then the later path is taken for a repeat and drawn again.
    """
    nodes = operand(nodes, np.int32)
    keys = np.empty(nodes.shape[0], np.uint64)
    run_tasks(bundle.path_key_tasks, count_tasks(nodes.shape[0], WALKS_PER_TASK), nodes, keys)
    return keys
